use super::super::testing;
use super::*;

/// RFC 9420, 7.8, by its own recursion.
fn by_the_book(tree: &Tree, index: usize) -> [u8; 32] {
    let node = tree.nodes().get(index).and_then(Option::as_ref);
    let node = node.map_or_else(|| vec![0], |node| [&[1], &node[1..]].concat());
    if index.is_multiple_of(2) {
        let leaf = u32::try_from(index / 2).unwrap().to_be_bytes();
        return sha256(&[&[1], &leaf, &node]);
    }
    let half = 1 << (index.trailing_ones() - 1);
    let (left, right) = (by_the_book(tree, index - half), by_the_book(tree, index + half));
    sha256(&[&[2], &node, &[32], &left, &[32], &right])
}

fn root(tree: &Tree) -> usize {
    tree.nodes().len().div_ceil(2).next_power_of_two() - 1
}

fn sparse(leaves: usize, key: u8) -> Tree {
    let node = |index: usize| {
        let filled = !(index * 7 + usize::from(key)).is_multiple_of(3) || index == 2 * leaves - 2;
        let node = if index.is_multiple_of(2) { testing::leaf(key) } else { testing::parent(key) };
        filled.then_some(node)
    };
    Tree::new((0..2 * leaves - 1).map(node).collect()).unwrap()
}

#[test]
fn mls_1_a_trees_hash_is_the_one_of_the_book() {
    for leaves in 1..20 {
        let tree = sparse(leaves, u8::try_from(leaves).unwrap());
        assert_eq!(TreeHashes::of(&tree).root(), by_the_book(&tree, root(&tree)), "{leaves} leaves");
    }
}

/// A tree that grows, shrinks and changes hashes the same whichever way it came about.
#[test]
fn mls_1_hashes_that_are_kept_are_those_that_are_computed_anew() {
    let sizes = [1_usize, 2, 5, 4, 9, 17, 16, 3, 1, 33, 32];
    let mut before = sparse(1, 0);
    let mut hashes = TreeHashes::of(&before);
    for (step, leaves) in sizes.into_iter().enumerate() {
        let key = u8::try_from(step / 2).unwrap();
        let after = sparse(leaves, key);
        let patch = super::super::TreePatch::between(&before, &after);
        let changed = patch.nodes.iter().map(|node| usize::try_from(node.index).unwrap());
        hashes = hashes.after(&before, &after, changed);
        assert_eq!(hashes, TreeHashes::of(&after), "step {step}");
        before = after;
    }
}

#[test]
fn mls_1_another_node_is_another_hash() {
    let tree = sparse(6, 1);
    let hash = TreeHashes::of(&tree).root();
    for index in 0..tree.nodes().len() {
        let mut nodes = tree.nodes().to_vec();
        let other = if index.is_multiple_of(2) { testing::leaf(99) } else { testing::parent(99) };
        nodes[index] = Some(other);
        assert_ne!(TreeHashes::of(&Tree::new(nodes).unwrap()).root(), hash, "{index}");
    }
}
