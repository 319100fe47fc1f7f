//! Tiles that are known to be those of one checkpoint's tree.

use std::collections::BTreeMap;

use super::prove::fold;
use super::{BadEntries, Bundle, Hash, Subtrees, Tile, leaf_hash};

/// The tiles of one tree, as far as they were handed in, each verified under the tree's root.
///
/// A mirror is not trusted: a tile is taken only when its hashes lead to the root. The partial tiles at the right
/// edge make up the root together and come first; a full tile hashes to one place in the tile above it and comes
/// after that. Through [`Subtrees`] roots of earlier sizes and proofs can then be computed from them; a hash in a
/// tile that is not there yet is answered with [`MissingTile`], whose tiles the caller fetches, adds, and asks again.
///
/// ```
/// use undertone_transparency::log::{Subtrees, Tile, VerifiedTiles, leaf_hash, node_hash};
/// let leaves = [leaf_hash(b"one"), leaf_hash(b"two")];
/// let root = node_hash(&leaves[0], &leaves[1]);
/// // The tree's only tile, as `tile/0/000.p/2` serves it.
/// let tiles = VerifiedTiles::open(2, &root, &[leaves.concat()])?;
/// assert_eq!(tiles.subtree(0, 1), Ok(leaves[1]));
/// assert!(VerifiedTiles::open(2, &root, &[vec![0; 64]]).is_err());
/// # Ok::<(), undertone_transparency::log::BadTile>(())
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedTiles {
    size: u64,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

/// Why a tile's bytes are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadTile {
    /// Not 32 bytes for each hash, or not all tiles of the edge.
    #[error("the tile has the wrong length")]
    Length,
    /// Its hashes do not lead to the root.
    #[error("the tile is not the one of this checkpoint's tree")]
    Hash,
    /// The tree of this size has no such tile, or another width of it.
    #[error("the checkpoint's tree has no such tile")]
    NotInTree,
    /// The tile above it is not there yet.
    #[error("the tile above is not verified yet")]
    Order,
}

/// A hash was asked for in a tile that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MissingTile {
    /// These tiles are to be fetched and added, in this order.
    #[error("tiles are missing")]
    Fetch(Vec<Tile>),
    /// The tree has no such complete subtree.
    #[error("the checkpoint's tree has no such subtree")]
    NotInTree,
}

impl VerifiedTiles {
    /// Starts with the tiles of [`Tile::edge`] of this `size`, in that order, under the checkpoint's `root`.
    ///
    /// Where a mirror has only the full tile in the place of a partial one, its first bytes are the partial tile's.
    ///
    /// # Errors
    /// [`BadTile::Length`] or [`BadTile::Hash`].
    pub fn open<B: AsRef<[u8]>>(size: u64, root: &Hash, edge: &[B]) -> Result<Self, BadTile> {
        let places = Tile::edge(size);
        if places.len() != edge.len() {
            return Err(BadTile::Length);
        }
        let mut tiles = BTreeMap::new();
        // The complete subtrees along the right edge, largest first: the binary digits of the size.
        let mut along = Vec::new();
        for (tile, bytes) in places.iter().zip(edge) {
            let hashes = hashes(tile, bytes.as_ref())?;
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (left, right) = rest.split_at(1 << rest.len().ilog2());
                along.push(complete(left));
                rest = right;
            }
            tiles.insert((tile.level(), tile.index()), hashes);
        }
        if fold(along) == *root { Ok(Self { size, tiles }) } else { Err(BadTile::Hash) }
    }

    /// The leaves of the tree.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The tiles that have to be added before hashes of `tile` are there, highest first and `tile` last. None when it
    /// is there already, and none when this tree has no such tile.
    #[must_use]
    pub fn missing(&self, tile: Tile) -> Vec<Tile> {
        let mut missing = Vec::new();
        let mut next = Tile::at(tile.level(), tile.index(), self.size).filter(|own| *own == tile);
        // The tile above a full one is in the tree too, at the latest as part of the edge, which is there.
        while let Some(tile) = next.filter(|tile| !self.tiles.contains_key(&(tile.level(), tile.index()))) {
            missing.push(tile);
            let (level, index) = tile.subtree();
            next = Tile::with_subtree(level, index, self.size);
        }
        missing.reverse();
        missing
    }

    /// Adds a full tile below those that are there. One that is there already is compared.
    ///
    /// # Errors
    /// [`BadTile`]; nothing is added then.
    pub fn add(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), BadTile> {
        if Tile::at(tile.level(), tile.index(), self.size) != Some(tile) {
            return Err(BadTile::NotInTree);
        }
        let hashes = hashes(&tile, bytes)?;
        if let Some(known) = self.tiles.get(&(tile.level(), tile.index())) {
            return if *known == hashes { Ok(()) } else { Err(BadTile::Hash) };
        }
        let (level, index) = tile.subtree();
        let expected = self.subtree(level, index).map_err(|_| BadTile::Order)?;
        if complete(&hashes) != expected {
            return Err(BadTile::Hash);
        }
        self.tiles.insert((tile.level(), tile.index()), hashes);
        Ok(())
    }

    /// The entries of a bundle, once each is known to be the one in the tree. The bundle's tile has to be there.
    ///
    /// # Errors
    /// [`BadEntries`]; [`BadEntries::Hash`] also when the tile is not there.
    pub fn entries<'b>(&self, bundle: &Bundle, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, BadEntries> {
        let entries = bundle.decode(bytes)?;
        let hashes = self.tiles.get(&(0, bundle.tile().index())).ok_or(BadEntries::Hash)?;
        let same = entries.iter().map(|entry| leaf_hash(entry)).eq(hashes.iter().copied());
        if same { Ok(entries) } else { Err(BadEntries::Hash) }
    }
}

impl Subtrees for VerifiedTiles {
    type Error = MissingTile;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, MissingTile> {
        let tile = Tile::with_subtree(level, index, self.size).ok_or(MissingTile::NotInTree)?;
        let Some(hashes) = self.tiles.get(&(tile.level(), tile.index())) else {
            return Err(MissingTile::Fetch(self.missing(tile)));
        };
        // The subtree is complete, so all hashes below it are in the tile as it is in this tree.
        let count = 1_usize << (level % 8);
        let first = (index << (level % 8)) as usize % 256;
        hashes.get(first..first + count).map(complete).ok_or(MissingTile::NotInTree)
    }
}

/// The hashes in a tile's bytes.
fn hashes(tile: &Tile, bytes: &[u8]) -> Result<Vec<Hash>, BadTile> {
    let (hashes, rest) = bytes.as_chunks();
    if hashes.len() == usize::from(tile.width()) && rest.is_empty() {
        Ok(hashes.to_vec())
    } else {
        Err(BadTile::Length)
    }
}

/// The hash of the complete subtree over these hashes, whose number is a power of two.
fn complete(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while let [_, _, ..] = level.as_slice() {
        level = level.chunks(2).map(|pair| fold(pair.iter().copied())).collect();
    }
    fold(level)
}
