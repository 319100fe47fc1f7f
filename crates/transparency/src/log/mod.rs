//! The log's Merkle tree (RFC 6962, section 2.1) and its tiles (C2SP tlog-tiles).
//!
//! ```text
//! MTH({})     = SHA-256()
//! MTH({d})    = SHA-256(0x00 || d)
//! MTH(D[0:n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n])), k the largest power of two below n
//! ```
//! One side asks [`Subtrees`] for hashes of complete subtrees, which never change once they are complete, and makes
//! roots and proofs of them. The other side, the `verify_` functions, needs no storage. Between them stand tiles:
//! what a mirror serves, and what [`VerifiedTiles`] turns into trusted [`Subtrees`] again under the root of a
//! checkpoint.
//!
//! Sizes and indices are 64-bit numbers; every function here gives an answer for every value of them.

use undertone_keys::digest::sha256;

mod entries;
mod path;
mod prove;
mod tile;
mod verified;
mod verify;

pub use entries::{BadEntries, Bundle};
pub use path::{BadPath, TilePath};
pub use prove::{Subtrees, appended, prove_consistency, prove_inclusion, root};
pub use tile::Tile;
pub use verified::{BadTile, MissingTile, VerifiedTiles};
pub use verify::{BadProof, verify_consistency, verify_inclusion};

#[cfg(test)]
mod tests;

/// A hash of a leaf or of a subtree: 32 bytes.
pub type Hash = [u8; 32];

/// The root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The hash of a leaf: SHA-256(0x00 || `data`).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// The hash of two subtrees side by side: SHA-256(0x01 || `left` || `right`).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}
