//! The strict check of everything that claims a leaf is not in the tree (rule KT-6).
//!
//! A leaf is absent when the tree has no way on towards its place: at the deepest node whose label begins the place,
//! the child on the place's side is missing or parts from the place before it ends. A child that itself begins the
//! place is a way on, and the two nodes shown then say nothing about what lies below it. `akd_core` 0.13 checks only
//! that neither child *is* the place.

use akd_core::NodeLabel;

use super::akd_form::{self, Irregular};
use super::node::{LEAF_BITS, Node, bit, common_bits};
use super::wire::Children;

/// Why two children exclude nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// KT-6: no node has these two children.
    #[error("no node has these two children")]
    Children,
    /// KT-6: they stand elsewhere in the tree.
    #[error("they are not below a prefix of its place")]
    Elsewhere,
    /// KT-6: one of them is the place itself or leads to it.
    #[error("one of the children leads to it")]
    LeadsThere,
    /// KT-6: a proof in `akd`'s form contradicts itself.
    #[error("the proof contradicts itself")]
    Irregular,
}

/// How many bits of label the node with these two children has.
pub(super) fn fork(children: &Children) -> Result<u32, GuardError> {
    let [left, right] = [children.left(), children.right()];
    let at = match (left, right) {
        (Some(left), Some(right)) => common_bits(left.label(), right.label()),
        // Only the root has a single child. A root without any is the empty tree, which proves nothing to anybody:
        // the directory's first epoch publishes a sentinel.
        (Some(_), None) | (None, Some(_)) => 0,
        (None, None) => return Err(GuardError::Children),
    };
    let goes = |node: &Node, side: bool| at < node.label().label_len && bit(node.label(), at) == side;
    let apart = left.is_none_or(|left| goes(left, false)) && right.is_none_or(|right| goes(right, true));
    if apart { Ok(at) } else { Err(GuardError::Children) }
}

/// The label of the node whose two children exclude `place`.
pub(super) fn longest_prefix(place: &NodeLabel, children: &Children) -> Result<NodeLabel, GuardError> {
    let at = fork(children)?;
    let prefix = place.get_prefix(at);
    for child in [children.left(), children.right()].into_iter().flatten() {
        if child.label().get_prefix(at) != prefix {
            return Err(GuardError::Elsewhere);
        }
        if common_bits(child.label(), place) == child.label().label_len {
            return Err(GuardError::LeadsThere);
        }
    }
    Ok(prefix)
}

/// The same for a proof in `akd`'s form, to be called before any verifier of `akd` or `akd_core` sees it. Beyond the
/// children it checks that the longest prefix is what they share, that the path proves exactly that node, and that
/// every label is in the one form it can have (a missing child is `akd`'s empty label with the empty node's hash).
///
/// # Errors
/// [`GuardError`].
pub fn check(proof: &akd_core::NonMembershipProof) -> Result<(), GuardError> {
    let (children, path) = akd_form::children_and_path(proof).map_err(|Irregular| GuardError::Irregular)?;
    let prefix = longest_prefix(&proof.label, &children)?;
    // The value is of no matter here: whether the path is one is a question of its labels.
    let leads_there = prefix == proof.longest_prefix && path.root(&prefix, [0; 32]).is_some();
    if leads_there && proof.label.label_len == LEAF_BITS { Ok(()) } else { Err(GuardError::Irregular) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(bits: &str) -> Option<Node> {
        let mut bytes = [0; 32];
        for (at, _) in bits.match_indices('1') {
            bytes[at / 8] |= 0x80 >> (at % 8);
        }
        Node::new(NodeLabel::new(bytes, bits.len() as u32), [1; 32])
    }

    #[test]
    fn kt_6_only_children_that_part_from_the_place_exclude_it() {
        let mut place = [0; 32];
        place[0] = 0b1011_0000;
        let place = NodeLabel::new(place, 256);
        let ask = |left: &str, right: &str| {
            let node = |bits: &str| if bits.is_empty() { None } else { node(bits) };
            longest_prefix(&place, &Children::new(node(left), node(right))).map(|prefix| prefix.label_len)
        };
        assert_eq!(ask("100", "1010"), Ok(2));
        assert_eq!(ask("0", "11"), Ok(0));
        assert_eq!(ask("00", ""), Ok(0));
        assert_eq!(ask("", "11"), Ok(0));
        // The root's children, one of which leads to the place; the place's own ancestors all the way down.
        assert_eq!(ask("0", "1"), Err(GuardError::LeadsThere));
        assert_eq!(ask("0", "10"), Err(GuardError::LeadsThere));
        assert_eq!(ask("100", "101"), Err(GuardError::LeadsThere));
        assert_eq!(ask("", "101"), Err(GuardError::LeadsThere));
        assert_eq!(ask("1010", "10110"), Err(GuardError::LeadsThere));
        assert_eq!(ask("010", "011"), Err(GuardError::Elsewhere));
        assert_eq!(ask("", ""), Err(GuardError::Children));
        assert_eq!(ask("1010", "100"), Err(GuardError::Children));
        assert_eq!(ask("10", "101"), Err(GuardError::Children));
        assert_eq!(ask("11", ""), Err(GuardError::Children));
        assert_eq!(ask("", "00"), Err(GuardError::Children));
    }
}
