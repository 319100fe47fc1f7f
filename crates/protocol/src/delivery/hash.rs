//! The hash of a ratchet tree (RFC 9420, section 7.8). It stands in every group info, so the server can check, without knowing
//! anything about a node, that the tree it is about to hand to newcomers is the one that the group info tells of.

use std::collections::BTreeSet;

use undertone_keys::digest::sha256;

use super::reader::length_prefix;
use super::tree::{Node, Tree};

/// Bytes of the hash of every suite that is spoken: they all use SHA-256.
pub const TREE_HASH: usize = 32;

const LEAF: u8 = 1;
const PARENT: u8 = 2;

/// How high a node stands: a leaf at 0.
const fn level(index: usize) -> u32 {
    index.trailing_ones()
}

/// What is above a node, in a tree that goes on for ever (RFC 9420, appendix C).
const fn parent(index: usize) -> usize {
    let level = level(index);
    let side = (index >> (level + 1)) & 1;
    (index | (1 << level)) ^ (side << (level + 1))
}

/// The hashes of all subtrees of one tree. Kept from epoch to epoch they make the next hash cost what the commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHashes {
    /// By node, for a tree that is full to its width: a power of two of leaves, and what is above them.
    hashes: Vec<[u8; TREE_HASH]>,
}

impl TreeHashes {
    /// The hashes of a tree.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let mut hashes = Self { hashes: Vec::new() };
        hashes.resize(tree);
        let all = 0..hashes.hashes.len();
        hashes.compute(tree, all.collect());
        hashes
    }

    /// The hashes of `after`, of which all nodes but `changed` are as they are in the tree that these hashes are of.
    #[must_use]
    pub fn after(&self, before: &Tree, after: &Tree, changed: impl IntoIterator<Item = usize>) -> Self {
        let mut next = self.clone();
        let (old, new) = (before.nodes().len(), after.nodes().len());
        let width = next.hashes.len();
        next.resize(after);
        let now = next.hashes.len();
        // What was cut off is blank, and what the tree has grown by was never looked at.
        let changed: BTreeSet<usize> = changed
            .into_iter()
            .chain(new.min(old)..old.max(new))
            .chain(width..now)
            .filter(|index| *index < now)
            .collect();
        next.compute(after, changed);
        next
    }

    /// The hash of the whole tree: of its root.
    #[must_use]
    pub fn root(&self) -> [u8; TREE_HASH] {
        // A full tree's root stands in its middle.
        self.hashes.get(self.hashes.len() / 2).copied().unwrap_or_default()
    }

    fn resize(&mut self, tree: &Tree) {
        let leaves = tree.nodes().len().div_ceil(2).next_power_of_two();
        self.hashes.resize(2 * leaves - 1, [0; TREE_HASH]);
    }

    /// Computes these nodes' hashes and those of all above them, from below.
    fn compute(&mut self, tree: &Tree, changed: BTreeSet<usize>) {
        let root = self.hashes.len() / 2;
        let mut waiting: BTreeSet<(u32, usize)> = changed.into_iter().map(|index| (level(index), index)).collect();
        while let Some((level, index)) = waiting.pop_first() {
            let node = tree.nodes().get(index).and_then(Option::as_ref);
            let hash = if level == 0 { leaf_hash(index, node) } else { self.parent_hash(level, index, node) };
            if let Some(place) = self.hashes.get_mut(index) {
                *place = hash;
            }
            if index != root {
                let above = parent(index);
                waiting.insert((level + 1, above));
            }
        }
    }

    fn parent_hash(&self, level: u32, index: usize, node: Option<&Node>) -> [u8; TREE_HASH] {
        let child = |turn: usize| self.hashes.get(index ^ (turn << (level - 1))).copied().unwrap_or_default();
        let (left, right) = (child(1), child(3));
        let prefix = length(TREE_HASH);
        sha256(&[&[PARENT], &presence(node), body(node), &prefix, &left, &prefix, &right])
    }
}

/// `TreeHashInput` of a leaf: type, index among the leaves, `optional<LeafNode>`.
fn leaf_hash(index: usize, node: Option<&Node>) -> [u8; TREE_HASH] {
    let leaf = u32::try_from(index / 2).unwrap_or(u32::MAX).to_be_bytes();
    sha256(&[&[LEAF], &leaf, &presence(node), body(node)])
}

fn presence(node: Option<&Node>) -> [u8; 1] {
    [u8::from(node.is_some())]
}

/// A node without its type.
fn body(node: Option<&Node>) -> &[u8] {
    node.and_then(|node| node.get(1..)).unwrap_or_default()
}

/// The length before a hash, which takes one byte.
fn length(hash: usize) -> [u8; 1] {
    let [first, ..] = length_prefix(hash).unwrap_or_default().0;
    [first]
}

#[cfg(test)]
mod tests;
