//! "This user was never in the directory" (rule KT-6).
//!
//! A user's first version is the leaf "fresh 1", and leaves never go away: where it is missing, no version ever was.
//! `akd` has no such call of its own.

use super::claim::{Claim, ClaimError, Tree};
use super::node::Digest;
use super::vrf::VrfKey;
use super::wire::AbsenceProof;

/// Why a user's absence is not believed: it is then *unproven*, and ends no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user's absence is not proven: {0}")]
pub struct AbsenceError(#[from] pub ClaimError);

/// Verifies that the user with this directory label is not in the tree with this root hash.
///
/// # Errors
/// [`AbsenceError`] names the check of KT-5 or KT-6 that failed.
pub fn verify_absence(key: &VrfKey, root: &Digest, user: &[u8], proof: &AbsenceProof) -> Result<(), AbsenceError> {
    Tree::new(key, root, user).absent(Claim::fresh(1), proof).map_err(AbsenceError)
}
