//! Nodes of the tree, paths to its root, and how both are packed.
//!
//! | bytes | of a packed node |
//! |---|---|
//! | 2 | length of its label in bits, big-endian, 1 to 256; 0: no node there, and nothing follows |
//! | length / 8, rounded up | the label; the bits that are left over are zero |
//! | 32 | the node's value |

use akd_core::configuration::Configuration;
use akd_core::{AzksValue, NodeLabel, WhatsAppV1Configuration as Config};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use undertone_keys::cbor::Malformed;

/// A hash of the directory's tree (BLAKE3).
pub type Digest = [u8; 32];

/// The length of a leaf's label in bits, and so the number of nodes above a leaf at most.
pub(super) const LEAF_BITS: u32 = 256;
/// The longest path.
pub(super) const MAX_PATH: usize = 256;

/// A node below the root: its label of 1 to 256 bits and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    label: NodeLabel,
    value: Digest,
}

impl Node {
    /// A node, if the label is one that can stand below the root: 1 to 256 bits long and zero behind its length.
    #[must_use]
    pub fn new(label: NodeLabel, value: Digest) -> Option<Self> {
        let possible = (1..=LEAF_BITS).contains(&label.label_len) && label.get_prefix(label.label_len) == label;
        possible.then_some(Self { label, value })
    }

    /// Where it stands.
    #[must_use]
    pub const fn label(&self) -> &NodeLabel {
        &self.label
    }

    /// A leaf's commitment hashed with its epoch, or the hash over the two children.
    #[must_use]
    pub const fn value(&self) -> &Digest {
        &self.value
    }

    fn pack(node: Option<&Self>, bytes: &mut Vec<u8>) {
        let Some(Self { label, value }) = node else { return bytes.extend([0, 0]) };
        // Never cut: labels have at most 256 bits.
        bytes.extend((label.label_len as u16).to_be_bytes());
        bytes.extend(label.label_val.iter().take(label.label_len.div_ceil(8) as usize));
        bytes.extend(value);
    }

    /// The first node of `bytes` and what follows it.
    fn unpack(bytes: &[u8]) -> Result<(Option<Self>, &[u8]), Malformed> {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed)?;
        let length = u16::from_be_bytes(*length);
        if length == 0 {
            return Ok((None, rest));
        }
        let (packed, rest) = rest.split_at_checked(usize::from(length).div_ceil(8)).ok_or(Malformed)?;
        let (value, rest) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let mut label = [0; 32];
        label.get_mut(..packed.len()).ok_or(Malformed)?.copy_from_slice(packed);
        let node = Self::new(NodeLabel::new(label, length.into()), *value).ok_or(Malformed)?;
        Ok((Some(node), rest))
    }
}

/// Nodes of which any may be missing, packed one after the other.
pub(super) fn pack<'a>(nodes: impl IntoIterator<Item = Option<&'a Node>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    nodes.into_iter().for_each(|node| Node::pack(node, &mut bytes));
    bytes
}

/// The reverse of [`pack`] where none is missing: what is, ends it before it takes any memory.
pub(super) fn unpack_all(mut bytes: &[u8]) -> Result<Vec<Node>, Malformed> {
    let mut nodes = Vec::new();
    while !bytes.is_empty() {
        let (node, rest) = Node::unpack(bytes)?;
        nodes.push(node.ok_or(Malformed)?);
        bytes = rest;
    }
    Ok(nodes)
}

/// The reverse of [`pack`], for `most` nodes at most.
pub(super) fn unpack(mut bytes: &[u8], most: usize) -> Result<Vec<Option<Node>>, Malformed> {
    let mut nodes = Vec::new();
    while !bytes.is_empty() {
        let (node, rest) = Node::unpack(bytes)?;
        if nodes.len() == most {
            return Err(Malformed);
        }
        nodes.push(node);
        bytes = rest;
    }
    Ok(nodes)
}

/// The nodes beside the way from the root down to some node, the root's child first. The inner nodes on the way do not
/// stand in it: each is where its child's label and the label beside it part. CBOR: one byte string of packed nodes.
///
/// Only the root can have a single child, so only the first may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Option<Node>>);

impl Path {
    /// A path, unless it is longer than 256 nodes or misses one below the first.
    #[must_use]
    pub fn new(beside: Vec<Option<Node>>) -> Option<Self> {
        let whole = beside.len() <= MAX_PATH && beside.iter().skip(1).all(Option::is_some);
        whole.then_some(Self(beside))
    }

    /// The nodes beside the way, the root's child first.
    #[must_use]
    pub fn beside(&self) -> &[Option<Node>] {
        &self.0
    }

    /// The root hash of the tree in which this path leads to the node `label` with `value`, or nothing when it leads
    /// to no such place in any tree.
    pub(super) fn root(&self, label: &NodeLabel, value: Digest) -> Option<Digest> {
        let mut node = Node { label: *label, value };
        for beside in self.0.iter().rev() {
            let at = beside.map_or(0, |beside| common_bits(label, &beside.label));
            // Both children go on below their parent. This is also what makes every parent shorter than its child.
            if at >= node.label.label_len || beside.is_some_and(|beside| at >= beside.label.label_len) {
                return None;
            }
            let (on_way, beside) = (Some(&node), beside.as_ref());
            let (left, right) = if bit(label, at) { (beside, on_way) } else { (on_way, beside) };
            node = Node { label: label.get_prefix(at), value: parent_value(left, right) };
        }
        (node.label.label_len == 0).then(|| root_hash(node.value))
    }
}

impl<C> Encode<C> for Path {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&pack(self.0.iter().map(Option::as_ref)))?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Path {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let nodes = unpack(d.bytes()?, MAX_PATH).ok().and_then(Self::new);
        nodes.ok_or_else(|| DecodeError::message("not a path"))
    }
}

/// The value of an inner node. A missing child has a value and a label of its own.
pub(super) fn parent_value(left: Option<&Node>, right: Option<&Node>) -> Digest {
    let of = |node: Option<&Node>| match node {
        Some(node) => (AzksValue(node.value), node.label.value::<Config>()),
        None => (Config::empty_node_hash(), Config::empty_label().value::<Config>()),
    };
    let ((left, left_label), (right, right_label)) = (of(left), of(right));
    Config::compute_parent_hash_from_children(&left, &left_label, &right, &right_label).0
}

/// The hash that is published for a root with this value.
pub(super) fn root_hash(value: Digest) -> Digest {
    Config::compute_root_hash_from_val(&AzksValue(value))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn label(bits: &str) -> NodeLabel {
        let mut bytes = [0; 32];
        for (at, _) in bits.match_indices('1') {
            bytes[at / 8] |= 0x80 >> (at % 8);
        }
        NodeLabel::new(bytes, bits.len() as u32)
    }

    #[test]
    fn kt_6_bits_are_counted_as_akd_counts_them() {
        for (a, b) in [("0", "1"), ("1011", "1010"), ("10110111011", "1011011101"), ("1", "1"), ("01", "0101")] {
            let (a, b) = (label(a), label(b));
            assert_eq!(a.get_prefix(common_bits(&a, &b)), a.get_longest_common_prefix::<Config>(b));
            for at in 0..a.label_len {
                let down = a.get_prefix(at).get_prefix_ordering(a);
                assert_eq!(bit(&a, at), down == akd_core::PrefixOrdering::WithOne);
            }
        }
    }

    #[test]
    fn kt_6_a_node_packs_only_the_bytes_that_mean_something() {
        let node = Node::new(label("10110111011"), [7; 32]).unwrap();
        let bytes = pack([Some(&node), None]);
        assert_eq!(bytes.len(), 2 + 2 + 32 + 2);
        assert_eq!(unpack(&bytes, 2), Ok(vec![Some(node), None]));
        assert_eq!(unpack(&bytes, 1), Err(Malformed));
        assert_eq!(unpack(&bytes[..bytes.len() - 1], 2), Err(Malformed));
        let mut stray = bytes;
        stray[3] |= 1;
        assert_eq!(unpack(&stray, 2), Err(Malformed));
        assert_eq!(unpack(&[&[1, 1][..], &[0; 65]].concat(), 2), Err(Malformed));
        assert!(Node::new(NodeLabel::root(), [0; 32]).is_none());
        assert!(Node::new(Config::empty_label(), [0; 32]).is_none());
    }

    #[test]
    fn kt_6_only_the_root_may_lack_a_child() {
        let node = Node::new(label("0"), [7; 32]);
        assert!(Path::new(vec![None, node]).is_some());
        assert!(Path::new(vec![node, None]).is_none());
        assert!(Path::new(vec![node; MAX_PATH]).is_some());
        assert!(Path::new(vec![node; MAX_PATH + 1]).is_none());
    }

    #[test]
    fn kt_6_a_path_ends_at_the_root_and_grows_downwards() {
        let leaf = label("1011");
        let beside = |bits: &str| Node::new(label(bits), [1; 32]);
        let root = |beside: &[Option<Node>]| Path::new(beside.to_vec()).unwrap().root(&leaf, [2; 32]);
        assert!(root(&[beside("0"), beside("100")]).is_some());
        assert!(root(&[None, beside("100")]).is_some());
        // Not from the root on, out of order, the same fork twice, a prefix of the way, on the way.
        assert!(root(&[beside("100")]).is_none());
        assert!(root(&[beside("100"), beside("0")]).is_none());
        assert!(root(&[beside("0"), beside("00")]).is_none());
        assert!(root(&[beside("0"), beside("101")]).is_none());
        assert!(root(&[beside("0"), beside("10110")]).is_none());
        assert!(root(&[]).is_none());
    }
}
