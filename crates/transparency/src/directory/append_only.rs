//! "This epoch only added leaves" (rule KT-12).
//!
//! The proof names the subtrees that stayed as they were and the new leaves. A tree made of the former alone has the
//! root of the epoch before, a tree made of both the root of the epoch. That the same subtrees stand in both is the
//! proof, and it is one only if none of them lies below another or above a new leaf: what is left out of the second
//! tree could have been changed (facebook/akd#495).

use akd_core::WhatsAppV1Configuration as Config;
use akd_core::configuration::Configuration;

use super::claim::committed_value;
use super::node::{Digest, LEAF_BITS, Node, bit, common_bits, parent_value, root_hash};
use super::wire::{AppendOnlyProof, Nodes};

/// Why an epoch is not known to have only added. Each accuses the server; a witness does not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendOnlyError {
    /// KT-12: something other than a leaf was inserted.
    #[error("something other than a leaf was inserted")]
    NotALeaf,
    /// KT-12: a node of the proof stands twice, or above another.
    #[error("a node of the proof stands in the place of another")]
    Overlap,
    /// KT-12: what stayed is not the tree of the epoch before.
    #[error("what stayed unchanged is not the tree of the epoch before")]
    StartRoot,
    /// KT-12: what stayed and what came is not the tree of the epoch.
    #[error("what stayed unchanged and what was inserted is not the tree of the epoch")]
    EndRoot,
}

/// The root hash of the directory before its first epoch.
#[must_use]
pub fn empty_root() -> Digest {
    root_hash(Config::empty_root_value().0)
}

/// Verifies that the tree with root hash `end` of `epoch` is the tree with root hash `start` of the epoch before with
/// leaves added.
///
/// # Errors
/// [`AppendOnlyError`].
pub fn verify_append_only(
    start: &Digest,
    end: &Digest,
    epoch: u64,
    proof: &AppendOnlyProof,
) -> Result<(), AppendOnlyError> {
    let leaf = |node: &Node| {
        let leaf = (node.label().label_len == LEAF_BITS).then(|| committed_value(node.value(), epoch));
        leaf.and_then(|value| Node::new(*node.label(), value)).ok_or(AppendOnlyError::NotALeaf)
    };
    let unchanged = proof.unchanged.as_slice();
    if root(unchanged)? != *start {
        return Err(AppendOnlyError::StartRoot);
    }
    let inserted: Vec<Node> = proof.inserted.as_slice().iter().map(leaf).collect::<Result<_, _>>()?;
    if root(&merge(unchanged, &inserted))? != *end {
        return Err(AppendOnlyError::EndRoot);
    }
    Ok(())
}

/// Two ordered lists as one.
fn merge(a: &[Node], b: &[Node]) -> Vec<Node> {
    let mut all = [a, b].concat();
    // The stable sort finds the two runs and merges them.
    all.sort_by_key(Nodes::place);
    all
}

/// The root hash of the tree that has these nodes, in order, as its leaves.
fn root(nodes: &[Node]) -> Result<Digest, AppendOnlyError> {
    // In this order whatever lies below a node follows it, so an overlap shows between neighbours.
    let apart = |a: &Node, b: &Node| common_bits(a.label(), b.label()) < a.label().label_len;
    if !nodes.is_sorted_by(apart) {
        return Err(AppendOnlyError::Overlap);
    }
    if nodes.is_empty() {
        return Ok(empty_root());
    }
    let (left, right) = split(nodes, 0);
    Ok(root_hash(parent_value(subtree(left).as_ref(), subtree(right).as_ref())))
}

/// The node above all of `nodes`: themselves if they are one. Every level down has a longer label, so there are 256
/// levels at most.
fn subtree(nodes: &[Node]) -> Option<Node> {
    let (first, last) = (nodes.first()?, nodes.last()?);
    if nodes.len() == 1 {
        return Some(*first);
    }
    // What the first and the last share, all between them share too.
    let at = common_bits(first.label(), last.label());
    let (left, right) = split(nodes, at);
    let label = first.label().get_prefix(at);
    Node::new(label, parent_value(subtree(left).as_ref(), subtree(right).as_ref()))
}

/// The nodes whose labels go on with 0 after `at` bits, and those that go on with 1.
fn split(nodes: &[Node], at: u32) -> (&[Node], &[Node]) {
    nodes.split_at(nodes.partition_point(|node| !bit(node.label(), at)))
}
