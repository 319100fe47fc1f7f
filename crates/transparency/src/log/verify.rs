//! What a client checks: inclusion and consistency, for any input of any size.
//!
//! The length of a proof follows from the sizes alone and is checked before anything is hashed, so a proof has one
//! form and the work is bounded by 64 levels.

use core::iter::zip;

use super::{EMPTY_ROOT, Hash, node_hash};

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadProof {
    /// There is no such leaf, or the old tree is the larger one.
    #[error("the proof is about leaves that the log does not have")]
    Range,
    /// More or fewer hashes than a proof for these sizes has.
    #[error("the proof has the wrong length")]
    Length,
    /// It leads to another root than the one it is for.
    #[error("the proof leads to another root")]
    Root,
}

/// Verifies that the leaf with hash `leaf` is the `index`-th of the tree with `size` leaves and this `root`.
///
/// # Errors
/// [`BadProof`] says why it is not shown.
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof::Range);
    }
    let sides = sides(index, size, 0);
    if proof.len() != sides.len() {
        return Err(BadProof::Length);
    }
    let computed = zip(sides, proof).fold(*leaf, |hash, (side, other)| side.join(&hash, other));
    if computed == *root { Ok(()) } else { Err(BadProof::Root) }
}

/// Verifies that the tree with `size` leaves and this `root` begins with the tree of `old` leaves and `old_root`.
///
/// Every tree begins with the empty one, so for `old` zero the proof is empty and `old_root` is [`EMPTY_ROOT`]; for
/// equal sizes it is empty and the roots are equal.
///
/// # Errors
/// [`BadProof`] says why it is not shown.
pub fn verify_consistency(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> Result<(), BadProof> {
    if old > size {
        return Err(BadProof::Range);
    }
    let holds_without_proof = match old {
        0 => Some(*old_root == EMPTY_ROOT && (size > 0 || *root == EMPTY_ROOT)),
        _ if old == size => Some(old_root == root),
        _ => None,
    };
    if let Some(holds) = holds_without_proof {
        return match (proof.is_empty(), holds) {
            (false, _) => Err(BadProof::Length),
            (true, false) => Err(BadProof::Root),
            (true, true) => Ok(()),
        };
    }
    // The walk starts at the last complete subtree of the old tree. Where that is the whole old tree its hash is
    // known, otherwise it is the proof's first.
    let level = old.trailing_zeros();
    let (start, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some(first_and_rest) => first_and_rest,
        None => return Err(BadProof::Length),
    };
    let sides = sides(old - 1, size, level);
    if rest.len() != sides.len() {
        return Err(BadProof::Length);
    }
    // Up to the new root with all hashes, up to the old one with those to the left: what is to the right came later.
    let (mut before, mut after) = (*start, *start);
    for (side, other) in zip(sides, rest) {
        if side == Side::Left {
            before = side.join(&before, other);
        }
        after = side.join(&after, other);
    }
    if before == *old_root && after == *root { Ok(()) } else { Err(BadProof::Root) }
}

/// On which side of the path the next hash of a proof stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    /// The parent of `hash` and `other`, which stands on this side.
    fn join(self, hash: &Hash, other: &Hash) -> Hash {
        match self {
            Self::Left => node_hash(other, hash),
            Self::Right => node_hash(hash, other),
        }
    }
}

/// The sides on the way from the subtree of 2^`level` leaves that ends with or holds leaf `index` up to the root of a
/// tree of `size` leaves. `index` is below `size`.
///
/// Below the level where the paths of this leaf and of the last leaf meet, every level has a neighbour on either
/// side, by the leaf's bit. Above it the path runs along the right edge, where only left neighbours exist.
fn sides(index: u64, size: u64, level: u32) -> Vec<Side> {
    let meeting = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let side = |level: u32| match (index >> level & 1 == 1, level < meeting) {
        (true, _) => Some(Side::Left),
        (false, true) => Some(Side::Right),
        (false, false) => None,
    };
    (level..u64::BITS).filter_map(side).collect()
}
