//! What a single leaf says, and the two proofs about a leaf: it is there, or it is not.

use core::fmt;

use akd_core::configuration::Configuration;
use akd_core::{AkdLabel, AkdValue, AzksValue, WhatsAppV1Configuration as Config};

use super::guard::{self, GuardError};
use super::node::{Digest, parent_value};
use super::vrf::VrfKey;
use super::wire::{AbsenceProof, Present};

/// Which of a version's two leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// "Fresh": there from the version's own epoch on.
    Fresh,
    /// "Stale": there from the next version's epoch on.
    Stale,
}

/// A leaf of the user asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which of the version's leaves.
    pub freshness: Freshness,
    /// Counts from 1.
    pub version: u64,
}

/// Why a proof about one leaf is not believed. Each accuses the server that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// KT-5: the VRF proof is not by the pinned key, or for another user, version or leaf.
    #[error("the VRF proof for leaf {0} does not hold")]
    Vrf(Claim),
    /// KT-6: the path leads to this leaf in no tree.
    #[error("the path to leaf {0} is not one of a tree")]
    Path(Claim),
    /// KT-6: the path leads to another root than the epoch's.
    #[error("the path from leaf {0} leads to another root")]
    Root(Claim),
    /// KT-6: the nodes shown do not exclude the leaf.
    #[error("leaf {0} is not excluded: {1}")]
    Absence(Claim, GuardError),
}

/// One epoch's tree as one user's proofs show it.
pub(super) struct Tree<'a> {
    key: &'a VrfKey,
    root: &'a Digest,
    user: AkdLabel,
}

impl Claim {
    pub(super) const fn fresh(version: u64) -> Self {
        Self { freshness: Freshness::Fresh, version }
    }

    pub(super) const fn stale(version: u64) -> Self {
        Self { freshness: Freshness::Stale, version }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let freshness = match self.freshness {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
        };
        write!(f, "\"{freshness} {}\"", self.version)
    }
}

impl<'a> Tree<'a> {
    pub(super) fn new(key: &'a VrfKey, root: &'a Digest, user: &[u8]) -> Self {
        Self { key, root, user: AkdLabel(user.to_vec()) }
    }

    /// The leaf is in the tree with this value.
    pub(super) fn present(&self, claim: Claim, value: Digest, proof: &Present) -> Result<(), ClaimError> {
        let place = self.key.place(&self.user, claim, &proof.vrf).ok_or(ClaimError::Vrf(claim))?;
        let root = proof.path.root(&place, value).ok_or(ClaimError::Path(claim))?;
        if root == *self.root { Ok(()) } else { Err(ClaimError::Root(claim)) }
    }

    /// The leaf is not in the tree.
    pub(super) fn absent(&self, claim: Claim, proof: &AbsenceProof) -> Result<(), ClaimError> {
        let place = self.key.place(&self.user, claim, &proof.vrf).ok_or(ClaimError::Vrf(claim))?;
        let children = &proof.children;
        let prefix = guard::longest_prefix(&place, children).map_err(|error| ClaimError::Absence(claim, error))?;
        let value = parent_value(children.left(), children.right());
        let root = proof.path.root(&prefix, value).ok_or(ClaimError::Path(claim))?;
        if root == *self.root { Ok(()) } else { Err(ClaimError::Root(claim)) }
    }
}

/// The value of a "fresh" leaf: what was published, under a nonce that hides it, with the epoch of publication.
pub(super) fn fresh_value(published: &[u8; 32], nonce: &[u8; 32], epoch: u64) -> Digest {
    Config::hash_leaf_with_value(&AkdValue(published.to_vec()), epoch, nonce).0
}

/// The value of a "stale" leaf: nothing but the epoch in which the next version came.
pub(super) fn stale_value(epoch: u64) -> Digest {
    committed_value(&Config::stale_azks_value().0, epoch)
}

/// The value of any leaf with this commitment.
pub(super) fn committed_value(commitment: &Digest, epoch: u64) -> Digest {
    Config::hash_leaf_with_commitment(AzksValue(*commitment), epoch).0
}
