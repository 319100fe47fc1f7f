use proptest::prelude::*;
use tlog_tiles::tlog;

use super::*;

#[test]
fn kt_3_every_leaf_of_every_small_tree_is_proven_and_no_other() {
    let tree = Memory::of(70);
    for size in 0..=70 {
        let leaves: Vec<Hash> = (0..size).map(|i| tree.leaf(i)).collect();
        let root = tree.root(size);
        assert_eq!(root, mth(&leaves), "{size}");
        for index in 0..size {
            let Ok(proof) = prove_inclusion(index, size, &tree);
            for (other, leaf) in (0..).zip(&leaves) {
                let expected = if other == index { Ok(()) } else { Err(BadProof::Root) };
                assert_eq!(
                    verify_inclusion(index, size, leaf, &proof, &root),
                    expected,
                    "{other} as {index} of {size}"
                );
            }
        }
    }
}

#[test]
fn kt_4_every_small_tree_is_consistent_with_every_smaller_one() {
    let tree = Memory::of(70);
    for size in 0..=70 {
        for old in 0..=size {
            let Ok(proof) = prove_consistency(old, size, &tree);
            let (old_root, root) = (tree.root(old), tree.root(size));
            assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()), "{old} {size}");
            for longer in [&[proof.as_slice(), &[root]].concat(), &[&[old_root], proof.as_slice()].concat()] {
                let verdict = verify_consistency(old, &old_root, size, &root, longer);
                assert_eq!(verdict, Err(BadProof::Length), "{old} {size}");
            }
            if let Some((_, shorter)) = proof.split_last() {
                let verdict = verify_consistency(old, &old_root, size, &root, shorter);
                assert_eq!(verdict, Err(BadProof::Length), "{old} {size}");
            }
        }
    }
}

#[test]
fn kt_3_a_tampered_inclusion_proof_is_refused() {
    let tree = Memory::of(100);
    let (root, leaf) = (tree.root(100), tree.leaf(42));
    let Ok(proof) = prove_inclusion(42, 100, &tree);
    assert_eq!(verify_inclusion(42, 100, &leaf, &proof, &root), Ok(()));
    for i in 0..proof.len() {
        let mut bad = proof.clone();
        bad[i][31] ^= 1;
        assert_eq!(verify_inclusion(42, 100, &leaf, &bad, &root), Err(BadProof::Root), "{i}");
        bad = proof.clone();
        bad.swap(i, (i + 1) % proof.len());
        assert_eq!(verify_inclusion(42, 100, &leaf, &bad, &root), Err(BadProof::Root), "{i}");
    }
    for bad in [&proof[1..], &proof[..proof.len() - 1], &[], &[proof.as_slice(), &[root]].concat()] {
        assert_eq!(verify_inclusion(42, 100, &leaf, bad, &root), Err(BadProof::Length));
    }
    assert_eq!(verify_inclusion(43, 100, &leaf, &proof, &root), Err(BadProof::Root));
    assert_eq!(verify_inclusion(42, 100, &leaf, &proof, &tree.root(99)), Err(BadProof::Root));
    assert_eq!(verify_inclusion(42, 100, &root, &proof, &root), Err(BadProof::Root));
    for (index, size) in [(100, 100), (42, 42), (0, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
        assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Err(BadProof::Range), "{index} {size}");
    }
    // An inner node is no leaf, though its hash stands in the tree: its path is shorter.
    let Ok(inner) = tree.subtree(1, 21);
    assert_eq!(verify_inclusion(21, 50, &inner, &proof[1..], &root), Ok(()), "as a tree of half as many leaves");
    assert_eq!(verify_inclusion(42, 100, &inner, &proof[1..], &root), Err(BadProof::Length));
}

#[test]
fn kt_4_a_tampered_consistency_proof_is_refused() {
    let tree = Memory::of(100);
    let forked = {
        let mut tree = Memory::of(41);
        (41..100_u64).for_each(|i| tree.append(leaf_hash(&(i + 1_000).to_be_bytes())));
        tree
    };
    for old in [42, 64] {
        let (old_root, root) = (tree.root(old), tree.root(100));
        let Ok(proof) = prove_consistency(old, 100, &tree);
        for i in 0..proof.len() {
            let mut bad = proof.clone();
            bad[i][0] ^= 0x80;
            assert_eq!(verify_consistency(old, &old_root, 100, &root, &bad), Err(BadProof::Root), "{i}");
        }
        assert_eq!(verify_consistency(old, &root, 100, &root, &proof), Err(BadProof::Root));
        assert_eq!(verify_consistency(old, &old_root, 100, &old_root, &proof), Err(BadProof::Root));
        assert_eq!(verify_consistency(old, &old_root, 100, &root, &[]), Err(BadProof::Length));
        // What a log that rewrote leaf 41 can show: its own proof or the honest one.
        let fork_root = forked.root(100);
        let Ok(fork_proof) = prove_consistency(old, 100, &forked);
        for proof in [proof, fork_proof] {
            assert_eq!(verify_consistency(old, &old_root, 100, &fork_root, &proof), Err(BadProof::Root));
        }
    }
}

#[test]
fn kt_4_equal_and_empty_and_smaller_trees() {
    let (one, two) = ([1; 32], [2; 32]);
    for size in [1, 2, 7, u64::MAX] {
        assert_eq!(verify_consistency(size, &one, size, &one, &[]), Ok(()));
        assert_eq!(verify_consistency(size, &one, size, &two, &[]), Err(BadProof::Root));
        assert_eq!(verify_consistency(size, &one, size, &one, &[one]), Err(BadProof::Length));
        assert_eq!(verify_consistency(0, &EMPTY_ROOT, size, &one, &[]), Ok(()));
        assert_eq!(verify_consistency(0, &one, size, &one, &[]), Err(BadProof::Root));
        assert_eq!(verify_consistency(0, &EMPTY_ROOT, size, &one, &[one]), Err(BadProof::Length));
        assert_eq!(verify_consistency(size, &one, size - 1, &one, &[]), Err(BadProof::Range));
        assert_eq!(verify_consistency(size, &one, 0, &EMPTY_ROOT, &[]), Err(BadProof::Range));
    }
    assert_eq!(verify_consistency(0, &EMPTY_ROOT, 0, &EMPTY_ROOT, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &EMPTY_ROOT, 0, &one, &[]), Err(BadProof::Root));
    assert_eq!(verify_consistency(1, &one, 2, &two, &[]), Err(BadProof::Length));
}

#[test]
fn kt_3_a_proof_of_no_leaf_is_empty_and_verifies_nothing() {
    let tree = Memory::of(3);
    assert_eq!(prove_inclusion(3, 3, &tree), Ok(Vec::new()));
    assert_eq!(prove_inclusion(u64::MAX, u64::MAX, &tree), Ok(Vec::new()));
    assert_eq!(prove_consistency(4, 3, &tree), Ok(Vec::new()));
    assert_eq!(verify_consistency(4, &tree.root(3), 3, &tree.root(3), &[]), Err(BadProof::Range));
}

#[test]
fn kt_3_the_largest_tree_has_roots_and_proofs() {
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
        let Ok(whole) = root(size, &Alike);
        for index in [0, 1, size / 2, size - 2, size - 1] {
            let Ok(proof) = prove_inclusion(index, size, &Alike);
            assert_eq!(verify_inclusion(index, size, &Alike::leaf(), &proof, &whole), Ok(()), "{index} {size}");
            assert_eq!(verify_inclusion(index, size, &whole, &proof, &whole), Err(BadProof::Root));
        }
        for old in [1, 2, 3, size / 2, size / 2 + 1, size - 1] {
            let Ok(old_root) = root(old, &Alike);
            let Ok(proof) = prove_consistency(old, size, &Alike);
            assert_eq!(verify_consistency(old, &old_root, size, &whole, &proof), Ok(()), "{old} {size}");
        }
    }
    let Ok(complete) = appended(u64::MAX, Alike::leaf(), &Alike);
    assert_eq!(complete.len(), 65);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn kt_3_and_kt_4_proofs_are_those_of_tlog_tiles(size in 1_u64..1_200, a in any::<u64>(), b in any::<u64>()) {
        let tree = Memory::of(size);
        let mut stored: Vec<tlog::Hash> = Vec::new();
        for i in 0..size {
            let more = tlog::stored_hashes(i, &i.to_be_bytes(), &Stored(&stored)).unwrap();
            // What is stored for a leaf is the same, too.
            let Ok(ours) = appended(i, leaf_hash(&i.to_be_bytes()), &tree);
            prop_assert!(ours.iter().map(|(_, _, hash)| *hash).eq(more.iter().map(|hash| hash.0)));
            stored.extend(more);
        }
        let theirs = |hash: Hash| tlog::Hash(hash);
        let ours = |proof: Vec<tlog::Hash>| -> Vec<Hash> { proof.iter().map(|hash| hash.0).collect() };
        let root = tree.root(size);
        prop_assert_eq!(root, tlog::tree_hash(size, &Stored(&stored)).unwrap().0);

        let index = a % size;
        let Ok(proof) = prove_inclusion(index, size, &tree);
        prop_assert_eq!(&proof, &ours(tlog::prove_record(size, index, &Stored(&stored)).unwrap()));
        prop_assert_eq!(verify_inclusion(index, size, &tree.leaf(index), &proof, &root), Ok(()));
        let their_proof = proof.into_iter().map(theirs).collect();
        prop_assert!(tlog::check_record(&their_proof, size, theirs(root), index, theirs(tree.leaf(index))).is_ok());

        let old = 1 + b % size;
        let Ok(proof) = prove_consistency(old, size, &tree);
        prop_assert_eq!(&proof, &ours(tlog::prove_tree(size, old, &Stored(&stored)).unwrap()));
        prop_assert_eq!(verify_consistency(old, &tree.root(old), size, &root, &proof), Ok(()));
    }

    /// Both verifiers give one answer for every proof, good or bad.
    #[test]
    fn kt_3_and_kt_4_verdicts_are_those_of_tlog_tiles(
        first in 0_u64..40,
        second in 0_u64..40,
        proof in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let tree = Memory::of(40);
        // Hashes that stand somewhere in the tree, so that now and then one fits.
        let proof: Vec<Hash> = proof.iter().map(|i| tree.hashes[&(i % 3, u64::from(i / 3) % 10)]).collect();
        let their_proof: Vec<tlog::Hash> = proof.iter().map(|hash| tlog::Hash(*hash)).collect();
        let (root, leaf) = (tree.root(second), tree.leaf(first));
        let ours = verify_inclusion(first, second, &leaf, &proof, &root);
        let theirs = tlog::check_record(&their_proof, second, tlog::Hash(root), first, tlog::Hash(leaf));
        prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        let old_root = tree.root(first);
        let ours = verify_consistency(first, &old_root, second, &root, &proof);
        // The empty tree is not theirs to judge.
        if first > 0 {
            let theirs = tlog::check_tree(&their_proof, second, tlog::Hash(root), first, tlog::Hash(old_root));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        }
    }

    #[test]
    fn kt_3_and_kt_4_any_input_gets_an_answer(
        first in sizes(),
        second in sizes(),
        proof in proptest::collection::vec(any::<Hash>(), 0..140),
    ) {
        let _ = verify_inclusion(first, second, &[1; 32], &proof, &[2; 32]);
        let _ = verify_consistency(first, &[1; 32], second, &[2; 32], &proof);
        let Ok(inclusion) = prove_inclusion(first, second, &Alike);
        let Ok(consistency) = prove_consistency(first, second, &Alike);
        prop_assert!(inclusion.len() <= 64 && consistency.len() <= 65);
    }
}

/// All sizes, those near powers of two more often.
fn sizes() -> impl Strategy<Value = u64> {
    let near = (0_u32..64, 0_u64..3).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add(off).wrapping_sub(1));
    prop_oneof![any::<u64>(), near, Just(0), Just(u64::MAX)]
}

/// Hashes in the order of `tlog_tiles`.
struct Stored<'s>(&'s [tlog::Hash]);

impl tlog::HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}
