//! The verified tiles of one checkpoint, as many as are needed at a time.

use crate::answer::Hashes;
use crate::log::{BadTile, Tile, VerifiedTiles, prove_inclusion};

use super::evidence::Entry;

/// Tiles below the edge that are held at the same time, 8 KiB each.
const MAX_TILES: usize = 64;

/// Verified tiles, of which not more than some are held.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    edge: VerifiedTiles,
    pub(super) all: VerifiedTiles,
    added: usize,
}

impl Tiles {
    pub(super) fn new(edge: VerifiedTiles) -> Self {
        Self { all: edge.clone(), edge, added: 0 }
    }

    pub(super) fn add(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), BadTile> {
        self.all.add(tile, bytes)?;
        self.added += 1;
        Ok(())
    }

    /// Bounds the memory of a long catching up: what is still needed is fetched again.
    pub(super) fn forget(&mut self) {
        if self.added >= MAX_TILES {
            (self.all, self.added) = (self.edge.clone(), 0);
        }
    }

    /// An entry with the proof of its place, for evidence. Its tile is there, and with it every hash of the proof.
    pub(super) fn place(&self, index: u64, bytes: &[u8], size: u64) -> Option<Entry> {
        let inclusion = Hashes(prove_inclusion(index, size, &self.all).ok()?);
        Some(Entry { index, bytes: bytes.to_vec(), inclusion })
    }
}
