//! The ratchet tree of an MLS group as the delivery service keeps it: a list of nodes whose insides are nobody's business but
//! the members', in the encoding of RFC 9420, section 12.4.3.3, `optional<Node> ratchet_tree<V>`.

use std::sync::Arc;

use super::reader::{Reader, Short, length_prefix};
use crate::limits::{MAX_TREE, MAX_TREE_NODE, MAX_TREE_NODES};

const LEAF: u8 = 1;
const PARENT: u8 = 2;

/// Why bytes are no ratchet tree that is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// They cannot be read, a leaf stands where a parent belongs, or the last node is blank.
    #[error("malformed bytes")]
    Malformed,
    /// More nodes than [`MAX_TREE_NODES`], one of more bytes than [`MAX_TREE_NODE`], or more than [`MAX_TREE`] bytes in all.
    #[error("the tree is too large")]
    TooLarge,
}

impl From<Short> for TreeError {
    fn from(Short: Short) -> Self {
        Self::Malformed
    }
}

/// Reads over a `LeafNode` (RFC 9420, 7.2).
pub(super) fn skip_leaf(reader: &mut Reader<'_>) -> Result<(), Short> {
    // encryption_key, signature_key
    reader.vector()?;
    reader.vector()?;
    // A basic credential has an identity and one of X.509 its certificates: either way one vector.
    reader.u16()?;
    reader.vector()?;
    // What the device can do: versions, suites, extensions, proposals, credentials.
    for _ in 0..5 {
        reader.vector()?;
    }
    match reader.u8()? {
        // Of a key package: its lifetime.
        1 => {
            reader.take(16)?;
        }
        // Of an update.
        2 => {}
        // Of a commit: the parent's hash.
        3 => {
            reader.vector()?;
        }
        _ => return Err(Short),
    }
    // extensions, signature
    reader.vector()?;
    reader.vector()?;
    Ok(())
}

/// Reads over a `Node`: its type, and a `LeafNode` or a `ParentNode` (RFC 9420, 7.1).
fn skip_node(reader: &mut Reader<'_>) -> Result<(), Short> {
    match reader.u8()? {
        LEAF => skip_leaf(reader),
        PARENT => {
            // encryption_key, parent_hash, unmerged_leaves
            for _ in 0..3 {
                reader.vector()?;
            }
            Ok(())
        }
        _ => Err(Short),
    }
}

/// A node as it is encoded, type and all; shared between the trees of several epochs.
pub type Node = Arc<[u8]>;

/// Whether these bytes are one node that may stand at this place, and nothing more.
pub(super) fn check_node(index: usize, bytes: &[u8]) -> Result<(), TreeError> {
    if bytes.len() > MAX_TREE_NODE {
        return Err(TreeError::TooLarge);
    }
    let mut reader = Reader(bytes);
    skip_node(&mut reader)?;
    reader.end()?;
    // Leaves stand at even places, parents at odd ones (RFC 9420, appendix C).
    let kind = if index.is_multiple_of(2) { LEAF } else { PARENT };
    if bytes.first() == Some(&kind) { Ok(()) } else { Err(TreeError::Malformed) }
}

/// A ratchet tree: its nodes from the left, and `None` for those that are blank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Option<Node>>,
    bytes: usize,
}

impl Tree {
    /// A tree of these nodes.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn new(nodes: Vec<Option<Node>>) -> Result<Self, TreeError> {
        for (index, node) in nodes.iter().enumerate() {
            if let Some(node) = node {
                check_node(index, node)?;
            }
        }
        Self::of_checked(nodes)
    }

    /// The nodes are known to be some, each at its place.
    pub(super) fn of_checked(nodes: Vec<Option<Node>>) -> Result<Self, TreeError> {
        // "The last entry is not blank" (RFC 9420, 12.4.3.3): a tree has one encoding. There is no tree of nothing.
        if !matches!(nodes.last(), Some(Some(_))) {
            return Err(TreeError::Malformed);
        }
        let bytes = nodes.iter().map(|node| 1 + node.as_ref().map_or(0, |node| node.len())).sum();
        if nodes.len() > MAX_TREE_NODES || bytes > MAX_TREE {
            return Err(TreeError::TooLarge);
        }
        Ok(Self { nodes, bytes })
    }

    /// Reads a tree as RFC 9420 encodes it.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let mut outer = Reader(bytes);
        let mut reader = Reader(outer.vector()?);
        outer.end()?;
        let mut nodes = Vec::new();
        while !reader.0.is_empty() {
            if nodes.len() >= MAX_TREE_NODES {
                return Err(TreeError::TooLarge);
            }
            match reader.u8()? {
                0 => nodes.push(None),
                1 => {
                    let begin = reader.0;
                    skip_node(&mut reader)?;
                    let node = begin.get(..begin.len() - reader.0.len()).ok_or(TreeError::Malformed)?;
                    check_node(nodes.len(), node)?;
                    nodes.push(Some(Node::from(node)));
                }
                _ => return Err(TreeError::Malformed),
            }
        }
        Self::of_checked(nodes)
    }

    /// The tree as RFC 9420 encodes it: what somebody downloads who comes in.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Bounded by `MAX_TREE`, which is far below what a length can say.
        let (prefix, size) = length_prefix(self.bytes).unwrap_or_default();
        let mut out = Vec::with_capacity(size + self.bytes);
        out.extend_from_slice(prefix.get(..size).unwrap_or_default());
        for node in &self.nodes {
            match node {
                None => out.push(0),
                Some(node) => {
                    out.push(1);
                    out.extend_from_slice(node);
                }
            }
        }
        out
    }

    /// The nodes from the left, leaves at the even places.
    #[must_use]
    pub fn nodes(&self) -> &[Option<Node>] {
        &self.nodes
    }

    /// Bytes of the encoded tree, but for the length before it.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes
    }
}
