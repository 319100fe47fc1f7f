//! Entry bundles (C2SP tlog-tiles): the leaves themselves, 256 to a file.

use super::{Tile, leaf_hash};

/// The entries of one tile of level 0.
///
/// | bytes | what |
/// |-------|------|
/// | 2     | length n of the entry, big-endian |
/// | n     | the entry; it hashes to the tile's hash at the same place |
///
/// as often as the tile is wide, and nothing behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bundle {
    tile: Tile,
}

/// Why bytes are not the entries they are served as, or entries are not to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadEntries {
    /// Bytes that end within an entry.
    #[error("the entry bundle is malformed")]
    Malformed,
    /// An entry over 65,535 bytes.
    #[error("an entry is longer than 65,535 bytes")]
    TooLong,
    /// More or fewer entries than the bundle has.
    #[error("the entry bundle has the wrong number of entries")]
    Count,
    /// An entry is not the one in the tree.
    #[error("an entry is not the one that the log's tree holds")]
    Hash,
}

impl Bundle {
    /// The bundle with this place and width; `None` where no tree has it (see [`Tile::new`]).
    #[must_use]
    pub fn new(index: u64, width: u16) -> Option<Self> {
        Tile::new(0, index, width).map(|tile| Self { tile })
    }

    /// The bundle at this place as it is in the tree of `size` leaves; `None` where that tree has none there.
    #[must_use]
    pub fn at(index: u64, size: u64) -> Option<Self> {
        Tile::at(0, index, size).map(|tile| Self { tile })
    }

    /// The tile of these entries' hashes.
    #[must_use]
    pub const fn tile(&self) -> Tile {
        self.tile
    }

    /// The place in the log of its first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        // A tile's leaves can be counted.
        self.tile.index() * 256
    }

    /// The bytes of the bundle, to be served.
    ///
    /// # Errors
    /// [`BadEntries::Count`] or [`BadEntries::TooLong`].
    pub fn encode<E: AsRef<[u8]>>(&self, entries: &[E]) -> Result<Vec<u8>, BadEntries> {
        if entries.len() != usize::from(self.tile.width()) {
            return Err(BadEntries::Count);
        }
        let mut bytes = Vec::new();
        for entry in entries.iter().map(AsRef::as_ref) {
            let length = u16::try_from(entry.len()).map_err(|_| BadEntries::TooLong)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        Ok(bytes)
    }

    /// Cuts the bytes of the bundle into entries. That they are the log's is for [`VerifiedTiles::entries`] to say.
    ///
    /// # Errors
    /// [`BadEntries::Malformed`] or [`BadEntries::Count`].
    ///
    /// [`VerifiedTiles::entries`]: super::VerifiedTiles::entries
    pub fn decode<'b>(&self, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, BadEntries> {
        let width = usize::from(self.tile.width());
        let mut entries = Vec::with_capacity(width);
        let mut rest = bytes;
        while let Some((length, behind)) = rest.split_first_chunk() {
            let cut = behind.split_at_checked(u16::from_be_bytes(*length).into());
            let (entry, behind) = cut.ok_or(BadEntries::Malformed)?;
            if entries.len() == width {
                return Err(BadEntries::Count);
            }
            entries.push(entry);
            rest = behind;
        }
        match rest {
            [] if entries.len() == width => Ok(entries),
            [] => Err(BadEntries::Count),
            _ => Err(BadEntries::Malformed),
        }
    }

    /// The bytes of the tile of level 0 above these entries.
    #[must_use]
    pub fn hashes<E: AsRef<[u8]>>(entries: &[E]) -> Vec<u8> {
        entries.iter().flat_map(|entry| leaf_hash(entry.as_ref())).collect()
    }
}
