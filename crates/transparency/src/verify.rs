//! One call from a server's answer to devices that may be believed (rules KT-1 to KT-8), or a precise accusation.
//!
//! ```text
//! checkpoint --pinned key, KT-1--> signed --witnesses, KT-2--> --last leaf, KT-3--> --seen before, KT-4-->
//!     directory root --VRF and path, KT-5, KT-6--> hash of a list --signatures and chain, KT-7--> devices, KT-8: of when?
//! ```
//! The checks are made in this order, and the first that fails is the accusation. None of them can be overridden
//! (rule KT-9).

use minicbor::{Decode, Encode};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::sign::{Account, VerifyingKey};
use undertone_keys::{UserId, WallTime};

pub use crate::accusation::Accusation;
use crate::answer::{Answer, Found};
use crate::chain::{Chain, InForce, Shown};
use crate::directory::{VrfKey, verify_absence, verify_lookup};
pub use crate::head::{AHEAD, FRESH, Pins, Provenance, Purpose, SHOWABLE, WITNESSED_WITHIN};
use crate::known::{KnownList, NewestAt};
use crate::label;
use crate::seen::Seen;

/// Seconds after which an announcement to begin an account anew is good, while any other device may act (rule ID-7).
pub const ANEW: u64 = 72 * 60 * 60;

/// What a device asks, and what it compares the answer with.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The pinned keys.
    pub pins: &'a Pins,
    /// Whose devices.
    pub user: &'a UserId,
    /// What this device saw last of the log: a later checkpoint must follow it.
    pub seen: Option<&'a Seen>,
    /// The newest list of this user that this device knows, and up to when it was the newest.
    pub known: Option<&'a KnownList>,
    /// The wall clock.
    pub now: WallTime,
    /// What for.
    pub purpose: Purpose,
}

/// What an answer proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The user's devices.
    Devices(Box<VerifiedDevices>),
    /// No such user, now or ever before.
    Absent(Box<Provenance>),
}

/// A user's newest device list, as the directory proves it. Made by [`Question::verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDevices {
    pub(crate) list: DeviceList,
    pub(crate) announced: Option<Announced>,
    pub(crate) published: u64,
    pub(crate) newest: Option<NewestAt>,
    pub(crate) provenance: Provenance,
}

/// An account is to begin anew under another key: somebody has said so, and until then its devices may object (rule ID-7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The new account key.
    pub account: VerifyingKey<Account>,
    /// From when on it counts, by the log's clock.
    pub effective: WallTime,
}

/// The same in short: what is stored beside a peer, and shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attested {
    /// The epoch of the directory.
    #[n(0)]
    pub epoch: u64,
    /// The epoch in which the device list was published.
    #[n(1)]
    pub published: u64,
    /// Leaves of the log.
    #[n(2)]
    pub size: u64,
    /// The root of the log.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// When the log said so, by the server's clock.
    #[n(4)]
    pub time: WallTime,
    /// The witnesses that cosigned, by name.
    #[n(5)]
    pub witnesses: Vec<String>,
    /// How many had to.
    #[n(6)]
    pub threshold: u32,
    /// Leaves of the log that they cosigned: fewer than `size` where they saw an earlier state, which grew to this one. Absent in records
    /// from before that was told apart.
    #[n(7)]
    pub witnessed: Option<u64>,
}

impl Attested {
    /// Whether as many witnesses as were asked for, and at least one, saw the same log (rule KT-12).
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        self.threshold > 0 && u32::try_from(self.witnesses.len()).is_ok_and(|count| count >= self.threshold)
    }

    /// How many leaves the log has grown by since the witnesses saw it.
    #[must_use]
    pub fn leaves_since(&self) -> u64 {
        self.size.saturating_sub(self.witnessed.unwrap_or(self.size))
    }
}

impl Question<'_> {
    /// Checks an answer.
    ///
    /// # Errors
    /// The first [`Accusation`]. The answer and everything in this question are the evidence for it.
    pub fn verify(&self, answer: &[u8]) -> Result<Proven, Accusation> {
        let answer = Answer::from_bytes(answer).map_err(|_| Accusation::Malformed)?;
        let provenance = self.pins.head(&answer.head, self.seen, self.now, self.purpose)?;
        let key = VrfKey::from_bytes(&self.pins.vrf).map_err(|_| Accusation::VrfKey)?;
        let (place, leaf) = (label::devices(self.user), *provenance.seen().leaf());
        let proven = match &answer.found {
            Found::Absent(proof) => {
                verify_absence(&key, &leaf.root, &place, proof)?;
                if self.known.is_some() {
                    return Err(Accusation::Denied(self.user.clone()));
                }
                Proven::Absent(Box::new(provenance.clone()))
            }
            Found::Present { proof, lists } => {
                let found = verify_lookup(&key, &leaf.root, leaf.epoch, &place, proof)?;
                let chain = self.chain(lists, found.version, &found.value)?;
                let published = found.epoch;
                if let Some(known) = self.known {
                    known.comes_before(found.version, published)?;
                }
                let shown = Shown {
                    answer: &answer,
                    key: &key,
                    place: &place,
                    found,
                    provenance: &provenance,
                    seen: self.seen,
                    known: self.known,
                };
                let InForce { list, announced, newest } = shown.in_force(chain)?;
                let provenance = provenance.clone();
                Proven::Devices(Box::new(VerifiedDevices { list, announced, published, newest, provenance }))
            }
        };
        provenance.is_fresh(self.now, self.purpose)?;
        Ok(proven)
    }

    /// Rule KT-7: the newest list is the one that the directory names, and all that are shown follow each other.
    fn chain(&self, lists: &[Vec<u8>], version: u32, value: &[u8; 32]) -> Result<Chain, Accusation> {
        let known = self.known.map(|known| &known.list);
        if let Some(known) = known.map(DeviceList::version).filter(|known| version < *known) {
            return Err(Accusation::OldList { known, proven: version });
        }
        let mut chain = Chain::new(known.cloned());
        for bytes in lists {
            chain.add(ClaimedList::from_bytes(bytes)?.verify(self.user)?)?;
        }
        let newest = chain.newest().ok_or(Accusation::OtherList)?;
        if newest.hash() != *value {
            return Err(Accusation::OtherList);
        }
        if newest.version() != version {
            return Err(Accusation::Version { list: newest.version(), proven: version });
        }
        Ok(chain)
    }
}

impl Proven {
    /// From which state of the directory it was proven.
    #[must_use]
    pub const fn provenance(&self) -> &Provenance {
        match self {
            Self::Devices(devices) => devices.provenance(),
            Self::Absent(provenance) => provenance,
        }
    }
}

impl VerifiedDevices {
    /// The list in force.
    #[must_use]
    pub const fn list(&self) -> &DeviceList {
        &self.list
    }

    /// That the account is to begin anew, where that was announced and is not in force yet.
    #[must_use]
    pub const fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }

    /// The epoch of the directory in which the newest list was published.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// Up to when the list in force was the newest: until now, or until another one was announced behind it. None where several
    /// were, and nothing was known before.
    #[must_use]
    pub const fn newest_at(&self) -> Option<NewestAt> {
        self.newest
    }

    /// From which state of the directory it was proven.
    #[must_use]
    pub const fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The same in short.
    #[must_use]
    pub fn attested(&self) -> Attested {
        self.provenance.attested(self.published)
    }
}

impl Provenance {
    /// The same in short, for a list that was published in this epoch.
    #[must_use]
    pub fn attested(&self, published: u64) -> Attested {
        let Self { seen, witnessed } = self;
        Attested {
            epoch: seen.leaf().epoch,
            published,
            size: seen.size(),
            root: *seen.checkpoint().root(),
            time: seen.time(),
            witnesses: witnessed.names().map(ToString::to_string).collect(),
            threshold: u32::try_from(witnessed.threshold).unwrap_or(u32::MAX),
            witnessed: witnessed.size(),
        }
    }
}
