//! Nodes of the tree in bytes.
//!
//! A label, as the key it is found under:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | length in bits, big-endian, 0 to 256 |
//! | length / 8, rounded up | the bits; those left over are zero |
//!
//! The rest of a node:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: 1 leaf, 2 root, 3 inner; plus 4 with a left child, plus 8 with a right child, plus 16 |
//! | number | last epoch |
//! | number | how many epochs before it the lowest epoch below is |
//! | number | length of the parent's label in bits: it is a prefix of the node's own; 65,535 for none |
//! | 32 | the hash |
//! | each child | number: length of its label in bits; then the label without the whole bytes it shares with this one |
//!
//! A number has seven bits in each byte, the lowest first, and the highest bit in all bytes but the last (LEB128).
//! Without the 16, as files of format 1 have it, numbers have 8, 8, 2 and 2 bytes, big-endian, and the second is the
//! lowest epoch itself.
//!
//! `akd` keeps the state before the newest of each node beside it, for databases in which an epoch appears bit by bit.
//! Here it appears at once, and a reader sees one state: only the newest is kept, which halves the rows.

use akd::storage::types::DbRecord;
use akd::tree_node::{TreeNode, TreeNodeType, TreeNodeWithPreviousValue};
use akd::{Configuration, NodeLabel, WhatsAppV1Configuration};

use super::storage::{NodeRow, StorageError};

const LEFT: u8 = 4;
const RIGHT: u8 = 8;
/// Numbers are as short as they can be.
const SHORT: u8 = 16;
/// In place of the length of the parent's label.
const NO_PARENT: u16 = u16::MAX;

/// Packs a label of the tree: as long as it says, and zero behind.
pub(super) fn label_key(label: &NodeLabel) -> Vec<u8> {
    let mut key = Vec::with_capacity(34);
    key.extend((label.label_len as u16).to_be_bytes());
    key.extend(label.label_val.iter().take(label.label_len.div_ceil(8) as usize));
    key
}

/// The label of a key.
pub(super) fn read_label(key: &[u8]) -> Result<NodeLabel, StorageError> {
    let (length, bytes) = key.split_first_chunk().ok_or(StorageError::Damaged)?;
    label(u16::from_be_bytes(*length), &[], bytes)
}

/// Packs a node.
pub(super) fn row(node: &TreeNode) -> NodeRow {
    let children = [(LEFT, node.left_child), (RIGHT, node.right_child)];
    let has = children.iter().filter(|(_, child)| child.is_some()).map(|(bit, _)| bit).sum::<u8>();
    let parent = node.parent;
    let parent = if parent == WhatsAppV1Configuration::empty_label() { NO_PARENT } else { parent.label_len as u16 };
    let mut packed = Vec::with_capacity(51 + 68);
    packed.push(node.node_type as u8 | has | SHORT);
    push_number(node.last_epoch, &mut packed);
    push_number(node.last_epoch.wrapping_sub(node.min_descendant_epoch), &mut packed);
    push_number(parent.into(), &mut packed);
    packed.extend(node.hash.0);
    for child in children.into_iter().filter_map(|(_, child)| child) {
        push_number(child.label_len.into(), &mut packed);
        packed.extend(child.label_val.iter().take(child.label_len.div_ceil(8) as usize).skip(shared(&node.label)));
    }
    NodeRow { label: label_key(&node.label), node: packed }
}

/// Reads a node.
pub(super) fn read(label_of: &NodeLabel, packed: &[u8]) -> Result<TreeNode, StorageError> {
    let (kind, rest) = packed.split_first().ok_or(StorageError::Damaged)?;
    let mut reader = Reader { rest, short: kind & SHORT != 0 };
    let last_epoch = reader.number(8)?;
    let lowest = reader.number(8)?;
    let lowest = if reader.short { last_epoch.wrapping_sub(lowest) } else { lowest };
    let parent = match reader.length()? {
        NO_PARENT => WhatsAppV1Configuration::empty_label(),
        length if u32::from(length) <= label_of.label_len => label_of.get_prefix(length.into()),
        _ => return Err(StorageError::Damaged),
    };
    let hash = reader.take(32)?.try_into().map_err(|_| StorageError::Damaged)?;
    let mut child = |bit: u8| -> Result<Option<NodeLabel>, StorageError> {
        if kind & bit == 0 {
            return Ok(None);
        }
        let length = reader.length()?;
        let shared = shared(label_of);
        let own = usize::from(length).div_ceil(8).checked_sub(shared).ok_or(StorageError::Damaged)?;
        let beginning = label_of.label_val.get(..shared).ok_or(StorageError::Damaged)?;
        label(length, beginning, reader.take(own)?).map(Some)
    };
    let (left_child, right_child) = (child(LEFT)?, child(RIGHT)?);
    if !reader.rest.is_empty() {
        return Err(StorageError::Damaged);
    }
    let node_type = match kind & !(LEFT | RIGHT | SHORT) {
        1 => TreeNodeType::Leaf,
        2 => TreeNodeType::Root,
        3 => TreeNodeType::Interior,
        _ => return Err(StorageError::Damaged),
    };
    Ok(TreeNode {
        label: *label_of,
        last_epoch,
        min_descendant_epoch: lowest,
        parent,
        node_type,
        left_child,
        right_child,
        hash: akd::AzksValue(hash),
    })
}

/// The rest of a node while it is read.
struct Reader<'a> {
    rest: &'a [u8],
    short: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], StorageError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(StorageError::Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number, which in format 1 had so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, StorageError> {
        if !self.short {
            return Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(StorageError::Damaged)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(StorageError::Damaged)
    }

    fn length(&mut self) -> Result<u16, StorageError> {
        self.number(2)?.try_into().map_err(|_| StorageError::Damaged)
    }
}

fn push_number(mut number: u64, packed: &mut Vec<u8>) {
    while number >= 0x80 {
        packed.push(number as u8 | 0x80);
        number >>= 7;
    }
    packed.push(number as u8);
}

/// The record that `akd` wants for a node.
pub(super) fn record(node: TreeNode) -> DbRecord {
    DbRecord::TreeNode(TreeNodeWithPreviousValue { label: node.label, latest_node: node, previous_node: None })
}

/// Whole bytes that a node's label shares with its children's.
const fn shared(label: &NodeLabel) -> usize {
    label.label_len as usize / 8
}

/// The label of this length with these bytes, which come in two parts.
fn label(length: u16, beginning: &[u8], rest: &[u8]) -> Result<NodeLabel, StorageError> {
    let mut value = [0; 32];
    if length > 256 || beginning.len() + rest.len() != usize::from(length).div_ceil(8) {
        return Err(StorageError::Damaged);
    }
    let (first, after) = value.split_at_mut_checked(beginning.len()).ok_or(StorageError::Damaged)?;
    first.copy_from_slice(beginning);
    after.get_mut(..rest.len()).ok_or(StorageError::Damaged)?.copy_from_slice(rest);
    let label = NodeLabel::new(value, length.into());
    if label.get_prefix(label.label_len) == label { Ok(label) } else { Err(StorageError::Damaged) }
}

#[cfg(test)]
mod tests {
    use akd::AzksValue;

    use super::*;

    fn node(length: u32, children: [Option<u32>; 2]) -> TreeNode {
        let bits = NodeLabel::new([0b1010_1010; 32], 256);
        let below = |child: Option<u32>, first: u8| {
            let mut value = [0b0101_0101; 32];
            value[..length as usize / 8].copy_from_slice(&bits.label_val[..length as usize / 8]);
            value.iter_mut().skip(length as usize / 8).take(1).for_each(|byte| *byte ^= first);
            child.map(|longer| NodeLabel::new(value, 256).get_prefix(longer))
        };
        TreeNode {
            label: bits.get_prefix(length),
            last_epoch: 9,
            min_descendant_epoch: 2,
            parent: bits.get_prefix(length / 2),
            node_type: if children == [None, None] { TreeNodeType::Leaf } else { TreeNodeType::Interior },
            left_child: below(children[0], 0),
            right_child: below(children[1], 0x80),
            hash: AzksValue([7; 32]),
        }
    }

    #[test]
    fn a_node_is_read_as_it_was_written() {
        for length in [0, 1, 7, 8, 9, 15, 16, 17, 250] {
            for children in [[None, None], [Some(256), None], [None, Some(length + 1)], [Some(length + 3), Some(256)]] {
                let node = node(length, children);
                let row = row(&node);
                assert_eq!(read_label(&row.label).unwrap(), node.label);
                assert_eq!(read(&node.label, &row.node).unwrap(), node);
            }
        }
        let placeholder = TreeNode { parent: WhatsAppV1Configuration::empty_label(), ..node(256, [None, None]) };
        assert_eq!(read(&placeholder.label, &row(&placeholder).node).unwrap(), placeholder);
    }

    #[test]
    fn a_node_of_format_1_is_read() {
        let node = TreeNode { parent: node(8, [None, None]).label, ..node(12, [Some(20), Some(256)]) };
        let mut old = vec![3 + LEFT + RIGHT];
        old.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 8]);
        old.extend([7; 32]);
        old.extend([0, 20]);
        old.extend(&node.left_child.unwrap().label_val[1..3]);
        old.extend([1, 0]);
        old.extend(&node.right_child.unwrap().label_val[1..]);
        let new = row(&node);
        assert_eq!(read(&node.label, &old).unwrap(), node);
        assert_eq!(read(&node.label, &new.node).unwrap(), node);
        assert_eq!(old.len() - new.node.len(), 16);
        let far = TreeNode { last_epoch: u64::MAX, min_descendant_epoch: 0, ..node };
        assert_eq!(read(&far.label, &row(&far).node).unwrap(), far);
        let endless = [&[3 + SHORT][..], &[0xff; 80]].concat();
        assert_eq!(read(&far.label, &endless), Err(StorageError::Damaged));
    }

    #[test]
    fn bytes_that_are_no_node_are_refused() {
        let node = node(12, [Some(20), Some(256)]);
        let good = row(&node);
        for cut in 0..good.node.len() {
            assert_eq!(read(&node.label, &good.node[..cut]), Err(StorageError::Damaged), "{cut}");
        }
        assert_eq!(read(&node.label, &[good.node.as_slice(), &[0]].concat()), Err(StorageError::Damaged));
        for cut in 0..good.label.len() {
            assert!(read_label(&good.label[..cut]).is_err(), "{cut}");
        }
        assert!(read_label(&[0, 1, 0xc0]).is_err(), "a bit behind its length");
        assert!(read_label(&[&[1, 1][..], &[0; 33]].concat()).is_err(), "longer than any");
    }
}
