//! What changes in a ratchet tree from one epoch to the next. A commit in a group of a thousand changes a dozen nodes of two
//! thousand: the server is told these, and not the tree again.

use minicbor::{Decode, Encode};

use super::tree::{Node, Tree, TreeError, check_node};
use crate::limits::MAX_TREE_NODES;

/// A node that changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodePatch {
    /// Its place, from the left.
    #[n(0)]
    pub index: u32,
    /// The node as RFC 9420 encodes it, with its type in front; empty where it becomes blank.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub node: Vec<u8>,
}

/// The way from one tree to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TreePatch {
    /// How many nodes the next tree has; the last of them is not blank.
    #[n(0)]
    pub length: u32,
    /// What becomes different, ascending. What is behind the end of the tree before is blank unless it stands here.
    #[n(1)]
    pub nodes: Vec<NodePatch>,
}

impl TreePatch {
    /// The way from `before` to `after`: from [`Tree::default`], all of it.
    #[must_use]
    pub fn between(before: &Tree, after: &Tree) -> Self {
        let old = before.nodes().iter().map(Option::as_ref).chain(core::iter::repeat(None));
        let changed = after.nodes().iter().map(Option::as_ref).zip(old).enumerate();
        let nodes = changed.filter(|(_, (new, old))| new != old).filter_map(|(index, (new, _))| {
            // A tree's length fits: it is bounded by `MAX_TREE_NODES`.
            let index = u32::try_from(index).ok()?;
            Some(NodePatch { index, node: new.map(|node| node.to_vec()).unwrap_or_default() })
        });
        let nodes = nodes.collect();
        Self { length: u32::try_from(after.nodes().len()).unwrap_or(u32::MAX), nodes }
    }

    /// The tree that this leads to from `before`.
    ///
    /// # Errors
    /// [`TreeError`]: also for places that do not ascend or lie outside, and for a node that stays as it was.
    pub fn apply(&self, before: &Tree) -> Result<Tree, TreeError> {
        let length = usize::try_from(self.length).ok().filter(|length| *length <= MAX_TREE_NODES);
        let length = length.ok_or(TreeError::TooLarge)?;
        let mut nodes = before.nodes().to_vec();
        nodes.resize(length, None);
        let mut least = 0;
        for NodePatch { index, node } in &self.nodes {
            let index = usize::try_from(*index).map_err(|_| TreeError::Malformed)?;
            let place = nodes.get_mut(index).filter(|_| index >= least).ok_or(TreeError::Malformed)?;
            let new = if node.is_empty() {
                None
            } else {
                check_node(index, node)?;
                Some(Node::from(node.as_slice()))
            };
            // One way from a tree to another, so that nothing is said that says nothing.
            if *place == new {
                return Err(TreeError::Malformed);
            }
            *place = new;
            least = index + 1;
        }
        Tree::of_checked(nodes)
    }
}
