//! The way from the root of the tree to a place, which is what every proof shows.

use akd::NodeLabel;
use akd::{AzksValue, Configuration, WhatsAppV1Configuration};
use undertone_transparency::directory::wire::Children;
use undertone_transparency::directory::{Digest, Node, Path};

use super::codec;
use super::storage::{StorageError, View};

/// Bits of a place that are known.
const KNOWN: u32 = 128;

/// A node below the root, and its children.
pub(super) type Below<N> = (Node, [Option<N>; 2]);

/// A tree of one epoch.
pub(super) trait Tree {
    /// How a node is named.
    type Name: Copy;

    /// The children of the root.
    fn top(&self) -> Result<[Option<Self::Name>; 2], StorageError>;

    /// A node below the root.
    fn node(&self, name: Self::Name) -> Result<Below<Self::Name>, StorageError>;
}

/// Where the way to a place ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The leaf is there, with this label.
    Present([u8; 32], Path, Digest),
    /// It is not: the way ends at a node with these children, neither of which leads there.
    Absent(Path, Children),
}

/// Follows the way to a leaf's place, of which the first half is known.
pub(super) fn walk<T: Tree>(tree: &T, place: &[u8; 16]) -> Result<Way, StorageError> {
    let mut padded = [0; 32];
    padded.iter_mut().zip(place).for_each(|(byte, known)| *byte = *known);
    let place = NodeLabel::new(padded, KNOWN);
    let mut beside = Vec::with_capacity(32);
    let (mut depth, mut children) = (0, tree.top()?);
    loop {
        let [left, right] = children.map(|child| child.map(|name| tree.node(name)).transpose());
        let (left, right) = (left?, right?);
        let (ahead, other) = if bit(&place, depth) { (&right, &left) } else { (&left, &right) };
        let only = |child: &Option<(Node, _)>| child.as_ref().map(|(node, _)| *node);
        match ahead {
            Some((node, below)) if common_bits(&place, node.label()) == node.label().label_len.min(KNOWN) => {
                beside.push(only(other));
                let length = node.label().label_len;
                if length == 256 {
                    return Ok(Way::Present(node.label().label_val, path(beside)?, *node.value()));
                }
                // Two leaves that begin alike for so long are no accident.
                if length <= depth || length >= KNOWN {
                    return Err(StorageError::Damaged);
                }
                depth = length;
                children = *below;
            }
            Some(_) | None => return Ok(Way::Absent(path(beside)?, Children::new(only(&left), only(&right)))),
        }
    }
}

fn path(beside: Vec<Option<Node>>) -> Result<Path, StorageError> {
    Path::new(beside).ok_or(StorageError::Damaged)
}

/// How many bits two labels have in common from their beginning.
pub(super) fn common_bits(a: &NodeLabel, b: &NodeLabel) -> u32 {
    let mut bits = 0;
    for (a, b) in a.label_val.iter().zip(&b.label_val) {
        bits += (a ^ b).leading_zeros();
        if a != b {
            break;
        }
    }
    bits.min(a.label_len).min(b.label_len)
}

/// The bit of a label at a place counted from its beginning.
pub(super) fn bit(label: &NodeLabel, at: u32) -> bool {
    label.label_val.get(at as usize / 8).is_some_and(|byte| byte << (at % 8) & 0x80 != 0)
}

/// A node as proofs show it: leaves with their epoch hashed in.
pub(super) fn shown(node: &akd::tree_node::TreeNode) -> Result<Node, StorageError> {
    let value = match node.label.label_len {
        256 => WhatsAppV1Configuration::hash_leaf_with_commitment(node.hash, node.last_epoch).0,
        _ => node.hash.0,
    };
    Node::new(node.label, value).ok_or(StorageError::Damaged)
}

/// The root hash of the tree whose root has this value.
pub(super) fn root_hash(value: AzksValue) -> Digest {
    WhatsAppV1Configuration::compute_root_hash_from_val(&value)
}

/// The tree as it is stored, for where there is no snapshot of it.
#[derive(Debug)]
pub(super) struct Stored<'v, V>(pub(super) &'v V);

impl<V: View> Stored<'_, V> {
    /// The root hash.
    pub(super) fn root(&self) -> Result<Digest, StorageError> {
        Ok(root_hash(self.read(&NodeLabel::root())?.hash))
    }

    fn read(&self, label: &NodeLabel) -> Result<akd::tree_node::TreeNode, StorageError> {
        let packed = self.0.node(&codec::label_key(label))?.ok_or(StorageError::Damaged)?;
        codec::read(label, &packed)
    }
}

impl<V: View> Tree for Stored<'_, V> {
    type Name = NodeLabel;

    fn top(&self) -> Result<[Option<NodeLabel>; 2], StorageError> {
        let root = self.read(&NodeLabel::root())?;
        Ok([root.left_child, root.right_child])
    }

    fn node(&self, label: NodeLabel) -> Result<Below<NodeLabel>, StorageError> {
        let node = self.read(&label)?;
        Ok((shown(&node)?, [node.left_child, node.right_child]))
    }
}
