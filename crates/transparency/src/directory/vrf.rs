//! The VRF (RFC 9381, ECVRF-EDWARDS25519-SHA512-TAI) that turns a user's label and a version into a place in the tree.

use core::fmt;

use akd_core::configuration::Configuration;
use akd_core::{AkdLabel, NodeLabel, VersionFreshness, WhatsAppV1Configuration as Config};

use super::claim::{Claim, Freshness};
use super::ecvrf::{Output, PublicKey, unverified_output};
use super::node::LEAF_BITS;

pub(super) use super::ecvrf::PROOF_LEN;

/// The directory's public VRF key: 32 bytes, pinned (rule KT-14) and named by its hash in every leaf of the log.
#[derive(Clone)]
pub struct VrfKey(PublicKey);

/// The bytes are no point of the curve, or one of small order (rule KT-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a VRF key")]
pub struct BadVrfKey;

impl VrfKey {
    /// Takes a key from outside.
    ///
    /// # Errors
    /// [`BadVrfKey`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadVrfKey> {
        PublicKey::from_bytes(bytes).map(Self).ok_or(BadVrfKey)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The place that the proof assigns to a version of `user`, if it is this key's proof for exactly that.
    pub(super) fn place(&self, user: &AkdLabel, claim: Claim, proof: &[u8; PROOF_LEN]) -> Option<NodeLabel> {
        let freshness = match claim.freshness {
            Freshness::Fresh => VersionFreshness::Fresh,
            Freshness::Stale => VersionFreshness::Stale,
        };
        let input = Config::get_hash_from_label_input(user, freshness, claim.version);
        self.0.verify(&input, proof).map(leaf)
    }
}

impl fmt::Debug for VrfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VrfKey")
    }
}

/// The place a proof leads to if it holds. Says nothing about whether it holds.
pub(super) fn unverified_place(proof: &[u8; PROOF_LEN]) -> Option<NodeLabel> {
    unverified_output(proof).map(leaf)
}

/// The leaf with this output as its label.
const fn leaf(output: Output) -> NodeLabel {
    NodeLabel { label_val: output, label_len: LEAF_BITS }
}
