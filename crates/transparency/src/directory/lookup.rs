//! "This is the user's newest version" (rules KT-5 and KT-6).

use akd_core::utils::get_marker_versions;

use super::claim::{Claim, ClaimError, Tree, fresh_value};
use super::node::Digest;
use super::vrf::{VrfKey, unverified_place};
use super::wire::LookupProof;

/// One version of a user, proven to be in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Counts from 1; the version of the device list.
    pub version: u32,
    /// The epoch in which it was published.
    pub epoch: u64,
    /// The hash of the signed device list.
    pub value: [u8; 32],
}

/// Why a look-up is not believed. Each accuses the server that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// KT-6: a user has at most one new version in an epoch, the first in epoch 1 at the earliest.
    #[error("version {version} cannot be of epoch {published} in a directory at epoch {epoch}")]
    Version {
        /// The version claimed.
        version: u32,
        /// The epoch in which it is said to have been published.
        published: u64,
        /// The epoch of the root.
        epoch: u64,
    },
    /// KT-6: not one proof for each of the version's [`marker_versions`].
    #[error("{shown} earlier versions are shown where {due} are due")]
    Markers {
        /// How many came.
        shown: usize,
        /// How many [`marker_versions`] there are.
        due: usize,
    },
    /// KT-5 or KT-6: one of the leaves is not proven.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// The earlier versions that a look-up of `version` has to show, in ascending order. Empty for 1, 2, 4, 16, 256 ...;
/// otherwise the largest power of two below it, the prefixes of its binary form and a few landmarks.
///
/// Every owner whose own history ends before `version` has proven one of these absent, or `version` itself. `akd`'s
/// own look-up shows only the largest power of two that is not above the version. That is too little: an owner at
/// version 1 proves 2, 4, 16 ... absent, and would never learn of a version 8 that is shown to others.
#[must_use]
pub fn marker_versions(version: u32) -> Vec<u64> {
    if version == 0 {
        return Vec::new();
    }
    let version = version.into();
    get_marker_versions(version, version, version).0
}

/// Verifies a look-up of the user with this directory label in the tree of `epoch` with this root hash.
///
/// It costs two VRF verifications, and one more for each of the version's [`marker_versions`].
///
/// # Errors
/// [`LookupError`] names the check that failed.
pub fn verify_lookup(
    key: &VrfKey,
    root: &Digest,
    epoch: u64,
    user: &[u8],
    proof: &LookupProof,
) -> Result<Lookup, LookupError> {
    let LookupProof { version, epoch: published, value, nonce, .. } = *proof;
    check_version(version, published, epoch)?;
    let markers = marker_versions(version);
    if markers.len() != proof.markers.len() {
        return Err(LookupError::Markers { shown: proof.markers.len(), due: markers.len() });
    }
    let tree = Tree::new(key, root, user);
    tree.absent(Claim::stale(version.into()), &proof.freshness)?;
    tree.present(Claim::fresh(version.into()), fresh_value(&value, &nonce, published), &proof.existence)?;
    for (version, marker) in markers.into_iter().zip(&proof.markers) {
        tree.present(Claim::fresh(version), marker.value, &marker.leaf)?;
    }
    Ok(Lookup { version, epoch: published, value })
}

impl LookupProof {
    /// The place of the newest version's leaf: what the VRF proof in it leads to. Says nothing about whether it holds; once
    /// [`verify_lookup`] has said so, it is the place.
    #[must_use]
    pub fn place(&self) -> Option<Digest> {
        unverified_place(&self.existence.vrf).map(|place| place.label_val)
    }
}

/// A user has at most one new version in an epoch, so version n is not older than epoch n.
const fn check_version(version: u32, published: u64, epoch: u64) -> Result<(), LookupError> {
    if version == 0 || version as u64 > published || published > epoch {
        return Err(LookupError::Version { version, published, epoch });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kt_6_versions_are_bounded_by_epochs() {
        assert_eq!(check_version(1, 1, 1), Ok(()));
        assert_eq!(check_version(u32::MAX, u64::MAX, u64::MAX), Ok(()));
        for (version, published, epoch) in [(0, 1, 1), (1, 0, 1), (2, 1, 9), (1, 10, 9)] {
            assert_eq!(
                check_version(version, published, epoch),
                Err(LookupError::Version { version, published, epoch })
            );
        }
    }

    #[test]
    fn kt_6_every_version_shown_meets_every_shorter_history() {
        for epoch in [64, 65, 255, 256, 257, 300] {
            for shown in 2..=epoch.min(270) {
                let mut present = marker_versions(shown as u32);
                present.push(shown);
                for latest in 1..shown {
                    let denied = get_marker_versions(1, latest, epoch).1;
                    assert!(present.iter().any(|version| denied.contains(version)), "{shown} beside {latest}");
                }
            }
        }
    }

    #[test]
    fn kt_6_the_single_marker_of_akd_leaves_ghost_versions_room() {
        // Why marker_versions is more than that: version 8 with its marker 8, and an owner at version 1.
        assert_eq!(get_marker_versions(1, 1, 100).1, [2, 4, 16]);
        assert_eq!(marker_versions(8), [4]);
    }

    #[test]
    fn kt_6_marker_versions_are_few() {
        for version in [1, 2, 4, 16, 256, 65536] {
            assert!(marker_versions(version).is_empty());
        }
        assert_eq!(marker_versions(0), [] as [u64; 0]);
        assert_eq!(marker_versions(3), [2]);
        assert_eq!(marker_versions(7), [4, 6]);
        assert!(marker_versions(u32::MAX).len() <= super::super::wire::MAX_MARKERS);
    }
}
