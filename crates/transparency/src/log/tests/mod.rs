mod proofs;
mod tiles;
mod vectors;

use std::collections::HashMap;
use std::convert::Infallible;

use super::*;

/// A tree in memory, grown by [`appended`].
#[derive(Default)]
struct Memory {
    size: u64,
    hashes: HashMap<(u8, u64), Hash>,
}

impl Memory {
    /// The tree whose i-th leaf is the number i.
    fn of(size: u64) -> Self {
        let mut tree = Self::default();
        (0..size).for_each(|i| tree.append(leaf_hash(&i.to_be_bytes())));
        tree
    }

    fn append(&mut self, leaf: Hash) {
        let Ok(complete) = appended(self.size, leaf, self);
        self.hashes.extend(complete.into_iter().map(|(level, index, hash)| ((level, index), hash)));
        self.size += 1;
    }

    fn leaf(&self, index: u64) -> Hash {
        self.hashes[&(0, index)]
    }

    fn root(&self, size: u64) -> Hash {
        let Ok(root) = root(size, self);
        root
    }
}

impl Subtrees for Memory {
    type Error = Infallible;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        assert!((index + 1) << level <= self.size, "asked for an incomplete subtree");
        Ok(self.hashes[&(level, index)])
    }
}

/// The tree of which all leaves are the same, as large as one likes.
struct Alike;

impl Alike {
    fn leaf() -> Hash {
        leaf_hash(b"the same again")
    }
}

impl Subtrees for Alike {
    type Error = Infallible;

    fn subtree(&self, level: u8, _: u64) -> Result<Hash, Infallible> {
        Ok((0..level).fold(Self::leaf(), |hash, _| node_hash(&hash, &hash)))
    }
}

/// RFC 6962's definition, word for word.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}
