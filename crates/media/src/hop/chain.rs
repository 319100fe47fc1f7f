//! Where a hop's keys come from: a chain with a link for each epoch, that leads one way.
//!
//! ```text
//! c(0)         = what the connection's TLS session exports, 32 bytes
//! key(n, way)  = HKDF(c(n); to-relay or to-member, grant hash)
//! c(n + 1)     = HKDF(c(n); next, n + 1 as u32)
//! ```

use undertone_keys::Secret;
use undertone_keys::aead::AeadKey;
use undertone_keys::hkdf::{Prk, Sha256};

use super::{HopOpener, HopSealer};
use crate::key_id::Epoch;
use crate::labels;
use crate::replay::ReplayWindow;

/// Which way packets go on a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the member to its relay.
    ToRelay,
    /// From the relay to the member.
    ToMember,
}

/// What one TLS session exports for hop keys: 32 bytes. Neither a key nor convertible into one but by [`Self::chain`].
#[derive(Debug)]
pub struct HopExporter(Secret<32>);

impl HopExporter {
    /// Takes the exporter's output under the label of rule MED-8.
    #[must_use]
    pub const fn new(exported: Secret<32>) -> Self {
        Self(exported)
    }

    /// The chain of this session's epochs, for the grant with this hash.
    #[must_use]
    pub fn chain(self, grant: [u8; 32]) -> HopChain {
        HopChain { next: Epoch(0), secret: self.0, grant }
    }
}

/// The chain of one connection's epochs. It stands before the next one: what the epochs before came from is wiped.
#[derive(Debug)]
pub struct HopChain {
    /// The epoch whose keys [`Self::step`] gives.
    next: Epoch,
    /// What they come from.
    secret: Secret<32>,
    grant: [u8; 32],
}

impl HopChain {
    /// The keys of the next epoch. There is no way back to them: the chain goes on to the epoch after, and forgets.
    #[must_use]
    pub fn step(&mut self) -> HopKeys {
        let epoch = self.next;
        let prk = Prk::<Sha256>::extract(&[], &[self.secret.expose()]);
        let key = |label| HopKey { secret: prk.derive(label, &[&self.grant]), epoch };
        let (to_relay, to_member) = (key(labels::HOP_TO_RELAY), key(labels::HOP_TO_MEMBER));
        // At one renewal a second numbers last for 136 years; were they to come round, keys would still differ.
        self.next = Epoch(epoch.0.wrapping_add(1));
        self.secret = prk.derive(labels::HOP_NEXT, &[&self.next.0.to_be_bytes()]);
        HopKeys { epoch, to_relay, to_member }
    }
}

/// The two keys of one epoch.
#[derive(Debug)]
pub struct HopKeys {
    /// Which epoch.
    pub epoch: Epoch,
    /// What the member seals under.
    pub to_relay: HopKey,
    /// What the relay seals under.
    pub to_member: HopKey,
}

impl HopKeys {
    /// The key of one direction; the other is dropped.
    #[must_use]
    pub fn key(self, direction: Direction) -> HopKey {
        match direction {
            Direction::ToRelay => self.to_relay,
            Direction::ToMember => self.to_member,
        }
    }
}

/// The key of one direction of one hop in one epoch. It is not a
/// [`MediaKey`](undertone_keys::call_agreement::MediaKey): what a relay holds cannot be put where a call's own key belongs.
///
/// ```compile_fail
/// # use undertone_keys::{CallId, Secret, Time};
/// # use undertone_media::hop::HopExporter;
/// # use undertone_media::{Epoch, Ring};
/// let hop = HopExporter::new(Secret::from_slice(&[7; 32]).unwrap()).chain([1; 32]).step().to_relay;
/// Ring::new(CallId::from_bytes([1; 16])).install(Time::ZERO, Epoch(1), hop);
/// ```
///
/// The same with the key that belongs there compiles:
///
/// ```
/// # use undertone_keys::call_agreement::MediaKey;
/// # use undertone_keys::{CallId, Secret, Time};
/// # use undertone_media::{Epoch, Ring};
/// let media = MediaKey::new(Secret::from_slice(&[7; 32]).unwrap());
/// Ring::new(CallId::from_bytes([1; 16])).install(Time::ZERO, Epoch(1), media);
/// ```
#[derive(Debug)]
pub struct HopKey {
    pub(super) secret: Secret<32>,
    epoch: Epoch,
}

impl HopKey {
    /// The end that seals. Takes the key: there is one sealer to a key, and so one counter.
    #[must_use]
    pub fn sealer(self) -> HopSealer {
        HopSealer { key: AeadKey::new(&self.secret), epoch: low_byte(self.epoch), next: 0 }
    }

    /// The end that opens.
    #[must_use]
    pub fn opener(self) -> HopOpener {
        HopOpener { key: AeadKey::new(&self.secret), epoch: low_byte(self.epoch), window: ReplayWindow::default() }
    }
}

/// What stands in a packet of an epoch.
const fn low_byte(epoch: Epoch) -> u8 {
    let [.., low] = epoch.0.to_be_bytes();
    low
}
