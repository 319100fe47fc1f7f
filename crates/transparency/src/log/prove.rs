//! Roots and proofs from stored subtrees.

use super::{EMPTY_ROOT, Hash, node_hash};

/// Where the hashes of complete subtrees are found.
///
/// Only subtrees are asked for that are complete in the tree of the size that the caller named. Each is complete for
/// ever, so an implementation may keep what it once returned.
pub trait Subtrees {
    /// Why a hash cannot be had.
    type Error;

    /// The hash of the complete subtree of 2^`level` leaves that is the `index`-th of its level: of the leaves from
    /// `index` * 2^`level` on. Level 0 is the leaves' own hashes.
    ///
    /// # Errors
    /// The storage's own.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

impl<S: Subtrees + ?Sized> Subtrees for &S {
    type Error = S::Error;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        (**self).subtree(level, index)
    }
}

/// The subtrees that become complete when `leaf` is appended to a tree of `size` leaves: (level, index, hash), the
/// leaf itself at level 0 first. Two on average; these are all that a log has to store for it.
///
/// # Errors
/// Those of `tree`, which is asked for the left neighbours of the subtrees that are completed.
pub fn appended<S: Subtrees>(size: u64, leaf: Hash, tree: &S) -> Result<Vec<(u8, u64, Hash)>, S::Error> {
    let mut complete = vec![(0, size, leaf)];
    let mut hash = leaf;
    let mut index = size;
    let mut level = 0;
    // An odd index is a right child, and its coming completes the parent.
    while index & 1 == 1 {
        hash = node_hash(&tree.subtree(level, index - 1)?, &hash);
        index >>= 1;
        level += 1;
        complete.push((level, index, hash));
    }
    Ok(complete)
}

/// The root of the tree of the first `size` leaves.
///
/// # Errors
/// Those of `tree`.
pub fn root<S: Subtrees>(size: u64, tree: &S) -> Result<Hash, S::Error> {
    range(0, size, tree)
}

/// The proof that leaf `index` is in the tree of `size` leaves (RFC 6962, 2.1.1), lowest level first. Without such a
/// leaf it is empty and verifies nothing.
///
/// # Errors
/// Those of `tree`.
pub fn prove_inclusion<S: Subtrees>(index: u64, size: u64, tree: &S) -> Result<Vec<Hash>, S::Error> {
    if index >= size {
        return Ok(Vec::new());
    }
    // From the root down to the leaf, taking the hash of the side where the leaf is not.
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = split(start, end);
        if index < middle {
            proof.push(range(middle, end, tree)?);
            end = middle;
        } else {
            proof.push(range(start, middle, tree)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `size` leaves begins with the `old` leaves of an earlier one (RFC 6962, 2.1.2), lowest
/// level first. It is empty when `old` is zero or `size`; when `old` is larger it is empty too, and verifies nothing.
///
/// # Errors
/// Those of `tree`.
pub fn prove_consistency<S: Subtrees>(old: u64, size: u64, tree: &S) -> Result<Vec<Hash>, S::Error> {
    if old == 0 || old >= size {
        return Ok(Vec::new());
    }
    // From the root down to the subtree in which the old tree's last leaf closes the old tree.
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end != old {
        let middle = split(start, end);
        if old <= middle {
            proof.push(range(middle, end, tree)?);
            end = middle;
        } else {
            proof.push(range(start, middle, tree)?);
            start = middle;
        }
    }
    // A subtree that starts at leaf 0 is the old tree itself, whose root the verifier has.
    if start != 0 {
        proof.push(range(start, end, tree)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Where the tree over the leaves `start..end`, two at least, splits.
fn split(start: u64, end: u64) -> u64 {
    start + (1 << (end - start - 1).ilog2())
}

/// MTH of the leaves `start..end`, where `start` is a multiple of a power of two that is not below the count.
fn range<S: Subtrees>(start: u64, end: u64, tree: &S) -> Result<Hash, S::Error> {
    let mut complete = Vec::new();
    let mut next = start;
    while next < end {
        let level = (end - next).ilog2();
        // Never above 63.
        complete.push(tree.subtree(level as u8, next >> level)?);
        next += 1 << level;
    }
    Ok(fold(complete))
}

/// The root over complete subtrees of falling sizes, which is how the right edge of a tree looks.
pub(super) fn fold(complete: impl IntoIterator<Item = Hash, IntoIter: DoubleEndedIterator>) -> Hash {
    complete.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
}
