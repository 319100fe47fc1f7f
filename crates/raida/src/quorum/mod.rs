//! A secret of 32 bytes over many nodes: any `k` of them give it back, and fewer learn nothing (rule RKX-5).
//!
//! Whoever is to fetch it says with an [`Offer`] which swarm and which coin; the other side splits a secret, posts a share on each node for
//! that coin, and says with a [`Set`] where the shares are and what each of them is: its commitments. Both travel end to end, inside
//! envelopes. A node sees one share, and the name of the set that it is a part of; what the shares are found by it does not see.
//!
//! ```
//! use undertone_keys::quorum::QuorumSecret;
//! use undertone_keys::testing::SeededRng;
//! use undertone_raida::coin::Coin;
//! use undertone_raida::quorum::{Collected, split};
//! # use undertone_raida::swarm::Swarm;
//! # let node = |n| format!("[[node]]\nraida={n}\naddress=\"192.0.2.{n}:1\"\ncoin=\"00.{n}\"\n");
//! # let swarm = Swarm::read(&format!("name=\"{}\"\ncoin_id=6\nthreshold=2\n{}{}{}", "0".repeat(32), node(1), node(2), node(3))).unwrap();
//! # let mut rng = SeededRng::new(1);
//! let sender: Coin = "00.26".parse()?;
//! let secret = QuorumSecret::generate(&mut rng);
//! let split = split(&swarm, sender, &secret, &mut rng);
//! // The first node is gone; the other two make the secret.
//! let mut collected = Collected::new(&swarm, &split.set)?;
//! for (at, share) in split.shares.iter().enumerate().skip(1) {
//!     collected.add(at, share)?;
//! }
//! assert_eq!(collected.secret()?.expose(), secret.expose());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod collected;
mod share;

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use undertone_keys::digest::{self, labelled_sha256};
use undertone_keys::quorum::QuorumSecret;
use zeroize::Zeroizing;

pub use collected::{Collected, Incomplete, ShareFault};
pub use share::SHARE;

use crate::coin::{Coin, Named};
use crate::coin_file::NODES;
use crate::command::{KEY_ID, KeyId};
use crate::labels;
use crate::swarm::{Swarm, SwarmId};

/// Bytes of an encoded offer or set at most.
pub const LONGEST: usize = 1_024;
const COMMITMENT: usize = 32;

/// What whoever is to fetch a secret says first. CBOR map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Offer {
    /// The swarm.
    #[n(0)]
    pub swarm: SwarmId,
    /// The coin that shares are to be posted for.
    #[cbor(n(1), with = "minicbor::bytes")]
    coin: [u8; Named::LENGTH],
}

/// Where a secret's shares are, and what each is. CBOR map. Whoever has this and the coin that the shares are for has the secret.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Set {
    /// The swarm.
    #[n(0)]
    pub swarm: SwarmId,
    /// The coin that the shares were posted with.
    #[cbor(n(1), with = "minicbor::bytes")]
    sender: [u8; Named::LENGTH],
    /// Drawn: what the ids of the shares are made of.
    #[cbor(n(2), with = "minicbor::bytes")]
    locator: [u8; 16],
    /// 32 bytes for each node of the swarm, in the order of their numbers.
    #[cbor(n(3), with = "minicbor::bytes")]
    commitments: Vec<u8>,
}

impl core::fmt::Debug for Set {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Set({} shares in {})", self.commitments.len() / COMMITMENT, self.swarm)
    }
}

/// A set that is none, or none of this swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The bytes.
    #[error("what the other side says of the quorum secret is malformed")]
    Malformed,
    /// Another swarm, or another description of it.
    #[error("the other side's description of the swarm is another: both need the same file")]
    AnotherSwarm,
}

impl Offer {
    /// Shares are to be posted for this coin.
    #[must_use]
    pub fn new(swarm: &Swarm, coin: Coin) -> Self {
        Self { swarm: swarm.id(), coin: coin.named().to_bytes() }
    }

    /// For an envelope.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// From an envelope.
    ///
    /// # Errors
    /// [`SetError`].
    pub fn decode(bytes: &[u8], swarm: &Swarm) -> Result<Self, SetError> {
        let offer: Self = cbor::decode(bytes).map_err(|_| SetError::Malformed)?;
        offer.coin().ok_or(SetError::Malformed)?;
        if offer.swarm == swarm.id() { Ok(offer) } else { Err(SetError::AnotherSwarm) }
    }

    /// The coin. `None` for a name that no coin has, or that means nobody.
    #[must_use]
    pub fn coin(&self) -> Option<Coin> {
        Named::from_bytes(self.coin).coin().filter(|coin| !coin.named().is_none())
    }
}

impl Set {
    /// For an envelope.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// From an envelope.
    ///
    /// # Errors
    /// [`SetError`].
    pub fn decode(bytes: &[u8], swarm: &Swarm) -> Result<Self, SetError> {
        let set: Self = Some(bytes)
            .filter(|bytes| bytes.len() <= LONGEST)
            .and_then(|bytes| cbor::decode(bytes).ok())
            .ok_or(SetError::Malformed)?;
        if set.swarm != swarm.id() {
            return Err(SetError::AnotherSwarm);
        }
        let whole = set.commitments.len() == swarm.nodes().len() * COMMITMENT && set.sender().is_some();
        if whole { Ok(set) } else { Err(SetError::Malformed) }
    }

    /// Whose shares they are.
    #[must_use]
    pub fn sender(&self) -> Option<Coin> {
        Named::from_bytes(self.sender).coin().filter(|coin| !coin.named().is_none())
    }

    /// What the share of the node at this place of the swarm is found by.
    #[must_use]
    pub fn id(&self, place: usize) -> KeyId {
        let place = u8::try_from(place).unwrap_or(u8::MAX);
        let hash = digest::hmac_sha256(&self.locator, &[labels::SHARE_ID.as_bytes(), &[0, place]]);
        KeyId(hash.first_chunk::<KEY_ID>().copied().unwrap_or_default())
    }

    /// What stands in the shares: it names the set, and does not say what they are found by.
    #[must_use]
    pub fn name(&self) -> [u8; 16] {
        let hash = labelled_sha256(labels::SET, &[&self.swarm.0, &self.locator]);
        hash.first_chunk().copied().unwrap_or_default()
    }

    fn commitment(&self, place: usize) -> Option<&[u8; COMMITMENT]> {
        self.commitments.as_chunks().0.get(place)
    }
}

/// A secret that was split.
pub struct Split {
    /// What the other side is told.
    pub set: Set,
    /// A share of [`SHARE`] bytes for each node of the swarm, in the order of their numbers.
    pub shares: Vec<Zeroizing<Vec<u8>>>,
}

impl core::fmt::Debug for Split {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Split({:?})", self.set)
    }
}

fn commit(share: &[u8]) -> [u8; COMMITMENT] {
    labelled_sha256(labels::COMMITMENT, &[share])
}

/// Splits a secret over all nodes of a swarm, by Shamir's scheme over GF(256), byte by byte. A commitment is a hash and not a point of a
/// curve, which a quantum computer would open.
pub fn split(swarm: &Swarm, sender: Coin, secret: &QuorumSecret, rng: &mut impl rand_core::CryptoRng) -> Split {
    let mut locator = [0; 16];
    rng.fill_bytes(&mut locator);
    let mut set = Set { swarm: swarm.id(), sender: sender.named().to_bytes(), locator, commitments: Vec::new() };
    let shares = share::split(&set.name(), swarm.threshold(), swarm.nodes().len().min(NODES), secret, rng);
    set.commitments = shares.iter().flat_map(|share| commit(share)).collect();
    Split { set, shares }
}

#[cfg(test)]
mod tests;
