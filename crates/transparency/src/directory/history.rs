//! "These are all of the user's versions from one on" (rules KT-5, KT-6 and KT-11).
//!
//! `akd` makes two kinds of histories: all versions, or the most recent n. A client that has checked a history up to
//! version v asks for everything from v on, so that the server sends the most recent (latest - v + 1), and checks here
//! that it reaches down to v.

use akd_core::utils::get_marker_versions;

use super::claim::{Claim, ClaimError, Tree, fresh_value, stale_value};
use super::lookup::Lookup;
use super::node::Digest;
use super::vrf::VrfKey;
use super::wire::{HistoryProof, MAX_UPDATES, Update};

/// Why a history is not believed. Each accuses the server that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// KT-6: no versions, too many, or more than there have been epochs.
    #[error("{updates} versions up to version {latest} are no history in epoch {epoch}")]
    Versions {
        /// How many were sent.
        updates: usize,
        /// The newest.
        latest: u32,
        /// The epoch of the root.
        epoch: u64,
    },
    /// KT-11: it begins later or ends earlier than what was asked for.
    #[error("the history reaches from version {oldest} to {latest}, {from} was asked for")]
    Reach {
        /// The oldest version sent.
        oldest: u32,
        /// The newest version sent.
        latest: u32,
        /// The version asked for.
        from: u32,
    },
    /// KT-6: a version of an epoch that is not after its forerunner's and not past the root's.
    #[error("version {version} cannot be of epoch {published}")]
    Epoch {
        /// The version.
        version: u32,
        /// The epoch in which it is said to have been published.
        published: u64,
    },
    /// KT-6: not exactly the marker proofs that are due.
    #[error("the history has {past} past and {future} future markers where others are due")]
    Markers {
        /// How many proofs that earlier versions exist.
        past: usize,
        /// How many proofs that later versions do not.
        future: usize,
    },
    /// KT-6: no proof that the version before was superseded, or one before version 1.
    #[error("version {version} does not supersede the one before it")]
    Superseded {
        /// The version.
        version: u32,
    },
    /// KT-5 or KT-6: one of the leaves is not proven.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// Verifies the history of the user with this directory label in the tree of `epoch` with this root hash, and gives
/// its versions, oldest first. They reach without a gap from `from` (or before; 0 and 1 ask for the complete history)
/// to the newest in the tree.
///
/// It costs a VRF verification for version 1, two for every other version sent, and one for each marker.
///
/// # Errors
/// [`HistoryError`] names the check that failed.
pub fn verify_history(
    key: &VrfKey,
    root: &Digest,
    epoch: u64,
    user: &[u8],
    from: u32,
    proof: &HistoryProof,
) -> Result<Vec<Lookup>, HistoryError> {
    let HistoryProof { latest, updates, past, future } = proof;
    let latest = *latest;
    let none = HistoryError::Versions { updates: updates.len(), latest, epoch };
    let earlier = updates.len().checked_sub(1).ok_or(none)?;
    let oldest = u32::try_from(earlier).ok().and_then(|earlier| latest.checked_sub(earlier)).ok_or(none)?;
    if oldest == 0 || updates.len() > MAX_UPDATES || u64::from(latest) > epoch {
        return Err(none);
    }
    if oldest > from.max(1) || latest < from {
        return Err(HistoryError::Reach { oldest, latest, from });
    }
    let (past_versions, future_versions) = get_marker_versions(oldest.into(), latest.into(), epoch);
    if past.len() != past_versions.len() || future.len() != future_versions.len() {
        return Err(HistoryError::Markers { past: past.len(), future: future.len() });
    }

    let versions = (oldest..=latest).zip(updates.iter().rev());
    let mut before = 0;
    for (version, update) in versions.clone() {
        if update.epoch <= before || update.epoch < version.into() || update.epoch > epoch {
            return Err(HistoryError::Epoch { version, published: update.epoch });
        }
        before = update.epoch;
    }

    let tree = Tree::new(key, root, user);
    for (version, absence) in future_versions.into_iter().zip(future) {
        tree.absent(Claim::fresh(version), absence)?;
    }
    for (version, marker) in past_versions.into_iter().zip(past) {
        tree.present(Claim::fresh(version), marker.value, &marker.leaf)?;
    }
    versions.map(|(version, update)| verify_update(&tree, version, update)).collect()
}

/// Verifies that the user with this directory label had this version in the tree with this root hash, and gives when it was
/// published. Nothing follows from it about later versions.
///
/// # Errors
/// [`HistoryError`] names the check that failed.
pub fn verify_version(
    key: &VrfKey,
    root: &Digest,
    user: &[u8],
    version: u32,
    update: &Update,
) -> Result<Lookup, HistoryError> {
    verify_update(&Tree::new(key, root, user), version, update)
}

fn verify_update(tree: &Tree<'_>, version: u32, update: &Update) -> Result<Lookup, HistoryError> {
    let Update { epoch, value, nonce, existence, superseded } = update;
    tree.present(Claim::fresh(version.into()), fresh_value(value, nonce, *epoch), existence)?;
    match (version, superseded) {
        (1, None) => {}
        (2.., Some(stale)) => tree.present(Claim::stale(u64::from(version) - 1), stale_value(*epoch), stale)?,
        _ => return Err(HistoryError::Superseded { version }),
    }
    Ok(Lookup { version, epoch: *epoch, value: *value })
}
