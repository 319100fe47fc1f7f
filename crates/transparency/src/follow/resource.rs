//! What a log is asked for, besides its checkpoint.

use std::fmt;

use crate::directory::AppendOnlyProof;
use crate::log::{Bundle, Tile, TilePath};

/// Bytes of an entry that is still read. Leaves have 103; what is longer than this is no answer at all.
const MAX_ENTRY: usize = 4 << 10;

/// What is asked of the log. Its `Display` form is the path below the log's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A tile of hashes.
    Tile(Tile),
    /// A bundle of entries.
    Entries(Bundle),
    /// The proof that this epoch only added to the one before, [`AppendOnlyProof`]: `audit/<epoch>`.
    Audit(u64),
}

impl Resource {
    /// Bytes of an answer at most.
    #[must_use]
    pub fn most(&self) -> usize {
        match self {
            Self::Tile(tile) => tile.byte_len(),
            Self::Entries(bundle) => usize::from(bundle.tile().width()) * (2 + MAX_ENTRY),
            Self::Audit(_) => AppendOnlyProof::MAX_BYTES,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile(tile) => TilePath::Tile(*tile).fmt(f),
            Self::Entries(bundle) => TilePath::Entries(*bundle).fmt(f),
            Self::Audit(epoch) => write!(f, "audit/{epoch}"),
        }
    }
}
