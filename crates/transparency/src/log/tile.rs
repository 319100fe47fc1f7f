//! Tiles (C2SP tlog-tiles): the tree cut into pieces of 8 levels that never change and that plain files can hold.

use super::{Hash, Subtrees};

/// Levels of the tree in one tile.
const HEIGHT: u8 = 8;
/// Hashes in a full tile.
const FULL: u16 = 256;
/// The level of the highest tile that a tree of at most 2^64 - 1 leaves can have.
const TOP: u8 = 7;

/// A run of neighbouring hashes of one level of the tree, and everything above them up to the next tile.
///
/// The tile of `level` l and `index` n with `width` w holds, for i from 0 to w - 1, the hash of the complete subtree
/// of 256^l leaves that is the (n * 256 + i)-th of its kind. Its bytes are these hashes one after the other, 32 bytes
/// each. A tile of width 256 is full; a partial one stands at the right edge of a tree and is never hashed into a
/// tile above.
///
/// A value of this type is a tile that some tree of at most 2^64 - 1 leaves has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile with these coordinates; `None` where no tree has it: a width of 0 or over 256, or more leaves below
    /// it than can be counted.
    #[must_use]
    pub fn new(level: u8, index: u64, width: u16) -> Option<Self> {
        let hashes = index.checked_mul(u64::from(FULL))?.checked_add(u64::from(width))?;
        let in_some_tree = level <= TOP && hashes <= u64::MAX >> (level * HEIGHT);
        (in_some_tree && (1..=FULL).contains(&width)).then_some(Self { level, index, width })
    }

    /// The tile at these coordinates as it is in the tree of `size` leaves, full or partial; `None` where that tree
    /// has none there.
    #[must_use]
    pub fn at(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level) * u32::from(HEIGHT))?;
        let width = hashes.checked_sub(index.checked_mul(u64::from(FULL))?)?;
        Self::new(level, index, width.min(u64::from(FULL)) as u16)
    }

    /// The tile from which the subtree of 2^`level` leaves with this `index` can be computed, as it is in the tree of
    /// `size` leaves; `None` where that tree has no such complete subtree.
    #[must_use]
    pub fn with_subtree(level: u8, index: u64, size: u64) -> Option<Self> {
        let complete = size.checked_shr(u32::from(level))?;
        let (tile_level, inside) = (level / HEIGHT, level % HEIGHT);
        // `index` is below `complete`, so nothing is shifted out.
        (index < complete).then(|| Self::at(tile_level, index << inside >> HEIGHT, size))?
    }

    /// The partial tiles at the right edge of the tree of `size` leaves, highest first, eight at most. The tree's
    /// root is made of all of their hashes and of nothing else.
    #[must_use]
    pub fn edge(size: u64) -> Vec<Self> {
        let edge_of = |level: u8| {
            let hashes = size >> (level * HEIGHT);
            Self::new(level, hashes / u64::from(FULL), (hashes % u64::from(FULL)) as u16)
        };
        (0..=TOP).rev().filter_map(edge_of).collect()
    }

    /// The tiles that a log publishes when its tree grows from `old` to `size` leaves: those that the new tree has
    /// and the old one has not, or has only narrower. Lowest level first; none when the tree did not grow.
    pub fn added(old: u64, size: u64) -> impl Iterator<Item = Self> {
        (0..=TOP).flat_map(move |level| {
            let hashes = |size: u64| size >> (level * HEIGHT);
            let touched = if hashes(old) < hashes(size) {
                hashes(old) / u64::from(FULL)..hashes(size).div_ceil(u64::from(FULL))
            } else {
                0..0
            };
            touched.filter_map(move |index| Self::at(level, index, size))
        })
    }

    /// The level: 0 for the tiles of leaf hashes, 7 at most.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The place among the tiles of its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The hashes in it: 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has all its hashes, and so one in the tile above.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == FULL
    }

    /// Bytes of the tile as it is served: 8,192 at most.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        usize::from(self.width) * size_of::<Hash>()
    }

    /// The leaves of the smallest tree that has this tile.
    #[must_use]
    pub const fn leaves(&self) -> u64 {
        (self.index * FULL as u64 + self.width as u64) << (self.level * HEIGHT)
    }

    /// The hashes it holds, in order, as level and index of [`Subtrees::subtree`].
    pub fn holds(&self) -> impl Iterator<Item = (u8, u64)> + use<> {
        let (level, first) = (self.level * HEIGHT, self.index * u64::from(FULL));
        (first..first + u64::from(self.width)).map(move |index| (level, index))
    }

    /// The full tile's own hash, as level and index of [`Subtrees::subtree`].
    #[must_use]
    pub const fn subtree(&self) -> (u8, u64) {
        ((self.level + 1) * HEIGHT, self.index)
    }

    /// The bytes of the tile, to be served.
    ///
    /// # Errors
    /// Those of `tree`.
    pub fn read<S: Subtrees>(&self, tree: &S) -> Result<Vec<u8>, S::Error> {
        let mut bytes = Vec::with_capacity(self.byte_len());
        for (level, index) in self.holds() {
            bytes.extend_from_slice(&tree.subtree(level, index)?);
        }
        Ok(bytes)
    }
}
