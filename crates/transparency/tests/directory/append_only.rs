use akd::auditor::audit_verify;
use akd::{
    AppendOnlyProof as AkdProof, AzksElement, AzksValue, Configuration, NodeLabel, SingleAppendOnlyProof,
    WhatsAppV1Configuration as Config,
};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use undertone_transparency::directory::{AppendOnlyError, AppendOnlyProof, Digest, empty_root, verify_append_only};

use crate::world::{World, user};

/// Our verdict, after `akd`'s auditor gave the same.
fn verdict(
    world: &World,
    start: &Digest,
    end: &Digest,
    epoch: u64,
    proof: &SingleAppendOnlyProof,
) -> Result<(), AppendOnlyError> {
    let ours = verify_append_only(start, end, epoch, &AppendOnlyProof::from_akd(proof).unwrap());
    let theirs = AkdProof { proofs: vec![proof.clone()], epochs: vec![epoch - 1] };
    let theirs = world.wait(audit_verify::<Config>(vec![*start, *end], theirs));
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?} {theirs:?}");
    ours
}

/// Some epochs with new and updated users.
fn grown(users: u32) -> World {
    let mut world = World::new(users);
    world.publish(&[("user 0", 2)]);
    world.publish(&[("user 0", 3), ("new", 1)]);
    let names: Vec<String> = (0..20).map(|n| user(n + users / 2)).collect();
    world.publish(&names.iter().map(|name| (name.as_str(), 9)).collect::<Vec<_>>());
    world
}

#[test]
fn kt_12_honest_epochs_are_accepted_by_us_and_by_akd() {
    for users in [0, 1, 2, 10, 300] {
        let world = grown(users);
        for epoch in 1..=world.epoch() {
            let proof = world.audit(epoch);
            let [start, end] = [&world.roots[epoch as usize - 1], &world.roots[epoch as usize]];
            verdict(&world, start, end, epoch, &proof).unwrap();
            let wire = AppendOnlyProof::from_akd(&proof).unwrap();
            assert_eq!(AppendOnlyProof::from_bytes(&wire.to_bytes()).unwrap(), wire);
            assert_eq!(AppendOnlyProof::from_akd(&wire.to_akd()).unwrap(), wire);
            assert_eq!(wire.inserted.as_slice().len(), proof.inserted.len());

            assert_eq!(verdict(&world, end, end, epoch, &proof), Err(AppendOnlyError::StartRoot));
            assert_eq!(verdict(&world, start, start, epoch, &proof), Err(AppendOnlyError::EndRoot));
            assert_eq!(verdict(&world, start, end, epoch + 1, &proof), Err(AppendOnlyError::EndRoot));
        }
    }
}

#[test]
fn kt_12_altered_proofs_are_refused_by_us_and_by_akd() {
    let world = grown(60);
    let epoch = 4;
    let honest = world.audit(epoch);
    let [start, end] = [&world.roots[3], &world.roots[4]];
    let strategy = (0..5, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..256usize);
    let runs = Runs { cases: 60, failure_persistence: None, ..Runs::default() };
    let mut runner = TestRunner::new_with_rng(
        runs,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    runner
        .run(&strategy, |(kind, which, other, bit)| {
            let mut proof = honest.clone();
            let (stayed, came) = (which.index(proof.unchanged_nodes.len()), other.index(proof.inserted.len()));
            match kind {
                0 => proof.unchanged_nodes[stayed].value.0[bit / 8] ^= 0x80 >> (bit % 8),
                1 => proof.inserted[came].value.0[bit / 8] ^= 0x80 >> (bit % 8),
                2 => drop(proof.unchanged_nodes.remove(stayed)),
                3 => drop(proof.inserted.remove(came)),
                _ => proof.inserted[came].label.label_val[bit / 8] ^= 0x80 >> (bit % 8),
            }
            prop_assert!(verdict(&world, start, end, epoch, &proof).is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn kt_12_a_leaf_inserted_below_or_in_the_place_of_what_stayed_is_refused() {
    // What facebook/akd#495 was about: a subtree stays, a leaf is inserted in it, and the auditor forgets the former.
    let stayed = NodeLabel::new([0; 32], 1);
    let leaf = NodeLabel::new([0; 32], 256);
    let empty = Config::empty_label().value::<Config>();
    let above = |label: NodeLabel, value: AzksValue| {
        Config::compute_parent_hash_from_children(&value, &label.value::<Config>(), &Config::empty_node_hash(), &empty)
    };
    let (old, new) = (AzksValue(Config::hash(b"old")), AzksValue(Config::hash(b"new")));
    let committed = |value, epoch| AzksValue(Config::hash_leaf_with_commitment(value, epoch).0);
    let subtree = above(leaf, committed(old, 1));
    let start = Config::compute_root_hash_from_val(&above(stayed, subtree));
    let end = Config::compute_root_hash_from_val(&above(stayed, above(leaf, committed(new, 2))));
    let world = World::new(0);
    let proof = SingleAppendOnlyProof {
        unchanged_nodes: vec![AzksElement { label: stayed, value: subtree }],
        inserted: vec![AzksElement { label: leaf, value: new }],
    };
    assert_eq!(verdict(&world, &start, &end, 2, &proof), Err(AppendOnlyError::Overlap));

    // The same leaf again, and a node below another among those that stayed.
    let start = Config::compute_root_hash_from_val(&above(leaf, committed(old, 1)));
    let proof = SingleAppendOnlyProof {
        unchanged_nodes: vec![AzksElement { label: leaf, value: committed(old, 1) }],
        inserted: vec![AzksElement { label: leaf, value: new }],
    };
    assert_eq!(verdict(&world, &start, &end, 2, &proof), Err(AppendOnlyError::Overlap));
    let proof = SingleAppendOnlyProof {
        unchanged_nodes: [stayed, leaf].map(|label| AzksElement { label, value: subtree }).to_vec(),
        inserted: Vec::new(),
    };
    assert_eq!(verdict(&world, &start, &end, 2, &proof), Err(AppendOnlyError::Overlap));
}

#[test]
fn kt_12_only_leaves_are_inserted() {
    // akd's auditor takes a short label for a leaf; no VRF leads to one.
    let inner = AzksElement { label: NodeLabel::new([0; 32], 7), value: AzksValue([1; 32]) };
    let proof = SingleAppendOnlyProof { unchanged_nodes: Vec::new(), inserted: vec![inner] };
    let proof = AppendOnlyProof::from_akd(&proof).unwrap();
    assert_eq!(verify_append_only(&empty_root(), &[0; 32], 1, &proof), Err(AppendOnlyError::NotALeaf));
}

#[test]
fn kt_12_an_epoch_without_anything_new_keeps_its_root() {
    let world = World::new(0);
    let nothing = SingleAppendOnlyProof { unchanged_nodes: Vec::new(), inserted: Vec::new() };
    verdict(&world, &empty_root(), &empty_root(), 1, &nothing).unwrap();
}

#[test]
fn kt_12_nodes_have_one_order() {
    let world = grown(10);
    let wire = AppendOnlyProof::from_akd(&world.audit(2)).unwrap();
    let bytes = wire.to_bytes();
    let mut proof = wire.to_akd();
    proof.unchanged_nodes.reverse();
    proof.inserted.reverse();
    assert_eq!(AppendOnlyProof::from_akd(&proof).unwrap().to_bytes(), bytes);
    proof.inserted.push(proof.inserted[0]);
    assert!(AppendOnlyProof::from_akd(&proof).is_err());
    // The two new leaves are the last two records of 2 + 32 + 32 bytes.
    let (rest, last) = bytes.split_at(bytes.len() - 66);
    let (rest, first) = rest.split_at(rest.len() - 66);
    assert!(AppendOnlyProof::from_bytes(&[rest, last, first].concat()).is_err());
    assert!(AppendOnlyProof::from_bytes(&[rest, first, last].concat()).is_ok());
}
