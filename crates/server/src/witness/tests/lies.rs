use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_transparency::checkpoint::{CheckpointError, NotFollowing, origin};
use undertone_transparency::directory::AppendOnlyError;
use undertone_transparency::leaf::{Leaf, LeafOrder};
use undertone_transparency::log::{BadEntries, BadProof, BadTile, Bundle, Tile, TilePath};
use undertone_transparency::note::BadNoteSignature;

use super::world::{Tree, Watcher, World};
use crate::witness::{Fault, Resource};

/// A log of some epochs whose newest checkpoint is cosigned.
fn cosigned() -> (World, Watcher) {
    let mut world = World::new();
    world.publish(5);
    world.heartbeat(2);
    let mut watcher = Watcher::new(&world);
    watcher.look(&world);
    (world, watcher)
}

fn tile(path: &str) -> Resource {
    match path.parse().unwrap() {
        TilePath::Tile(tile) => Resource::Tile(tile),
        TilePath::Entries(bundle) => Resource::Entries(bundle),
    }
}

#[test]
fn kt_1_a_wrong_signature_or_another_log() {
    let (mut world, mut watcher) = cosigned();
    let honest = world.note();
    world.key = SigningKey::generate(&mut SeededRng::new(7));
    let other = world.note();
    let missing = CheckpointError::Signature(BadNoteSignature::Missing);
    assert_eq!(watcher.refuse(&world, &other).fault, Fault::Checkpoint(missing));
    // The id of the true key on the signature of the other.
    let text = String::from_utf8(honest.clone()).unwrap();
    let line = text.lines().last().unwrap();
    let mut bytes = honest;
    let at = bytes.len() - line.len() / 2;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    let accused = watcher.refuse(&world, &bytes);
    assert_eq!(accused.fault, Fault::Checkpoint(CheckpointError::Signature(BadNoteSignature::Signature)));
    assert_eq!((accused.fault.rule(), accused.ends_cosigning()), ("KT-1", false));
    assert!(matches!(watcher.refuse(&world, b"<html>").fault, Fault::Checkpoint(CheckpointError::Note(_))));
    let (world, mut watcher) = cosigned();
    let elsewhere = undertone_transparency::checkpoint::Checkpoint {
        origin: origin("example.net").unwrap(),
        size: 1,
        root: [0; 32],
    };
    let elsewhere = elsewhere.sign(&world.key).to_bytes();
    assert_eq!(watcher.refuse(&world, &elsewhere).fault, Fault::Checkpoint(CheckpointError::Origin));
}

#[test]
fn kt_4_rollback_is_refused_and_proves_nothing_against_the_log() {
    let (mut world, mut watcher) = cosigned();
    let whole = world.tree.clone();
    world.tree = Tree::of(&whole.entries[..3]);
    // Anybody can show an old checkpoint, so it is no conviction.
    assert_eq!(watcher.suspects(&world), Fault::Log(NotFollowing::SmallerSize { known: 4, shown: 3 }));
    world.tree = whole;
    world.heartbeat(1);
    watcher.look(&world);
}

#[test]
fn kt_4_same_size_other_root_convicts_the_log() {
    let (mut world, mut watcher) = cosigned();
    world.tree = Tree::of(&world.tree.entries[..3]);
    world.clock += 1;
    world.heartbeat(1);
    assert_eq!(watcher.convicts(&world), Fault::Log(NotFollowing::SameSizeOtherRoot { size: 4 }));
}

#[test]
fn kt_4_a_forked_log_convicts_itself_with_its_own_tiles() {
    for (kept, more) in [(3, 2), (1, 500), (0, 5), (2, 255)] {
        let (mut world, mut watcher) = cosigned();
        // The other branch is honest in itself, and longer.
        let leaf = Leaf { time: WallTime::from_unix(world.clock + 1), ..world.leaf() };
        world.tree = Tree::of(&world.tree.entries[..kept]);
        (0..more).for_each(|_| world.push(&leaf));
        let (known, shown) = (4, kept as u64 + more);
        let why = NotFollowing::NotConsistent { known, shown, proof: BadProof::Root };
        assert_eq!(watcher.convicts(&world), Fault::Log(why), "{kept} and {more}");
    }
    // And from a size at which the old tree is a complete subtree, far below the edge.
    let mut world = World::new();
    world.heartbeat(255);
    let mut watcher = Watcher::new(&world);
    watcher.look(&world);
    world.tree = Tree::of(&world.tree.entries[..255]);
    world.heartbeat(5_000);
    assert!(matches!(watcher.convicts(&world), Fault::Log(NotFollowing::NotConsistent { .. })));
}

#[test]
fn kt_12_a_root_that_was_not_appended_to() {
    let (mut world, mut watcher) = cosigned();
    world.publish_only(3);
    let honest = world.leaf();
    // The tree of the leaf is another one than the proof is about.
    world.push(&Leaf { root: [7; 32], ..honest });
    assert_eq!(watcher.suspects(&world), Fault::Audit { epoch: 3, why: AppendOnlyError::EndRoot });
    // It stays so, whatever is served for it, and nothing behind it is ever cosigned.
    world.lies.insert(Resource::Audit(3), world.audits[&2].clone());
    assert_eq!(watcher.suspects(&world), Fault::Audit { epoch: 3, why: AppendOnlyError::StartRoot });
    world.lies.insert(Resource::Audit(3), b"no proof".to_vec());
    assert_eq!(watcher.suspects(&world), Fault::Proof { epoch: 3 });
    assert_eq!(watcher.kept.memory().cosigned(), 4);
}

#[test]
fn kt_12_a_tree_that_was_made_anew() {
    let (mut world, mut watcher) = cosigned();
    // Another directory with the same users and other values: honest in itself, and no continuation of the first.
    let mut other = World::new();
    other.publish_only(1);
    other.publish_only(9);
    other.clock = world.clock + 1;
    let leaf = other.leaf();
    world.push(&leaf);
    world.audits.insert(3, other.audits[&3].clone());
    assert_eq!(watcher.suspects(&world), Fault::Audit { epoch: 3, why: AppendOnlyError::StartRoot });
}

#[test]
fn kt_12_the_first_epoch_begins_with_the_empty_tree() {
    let mut world = World::new();
    world.publish_only(2);
    // Epoch 2's proof and root, said to be the first.
    world.tree = Tree::default();
    world.push(&Leaf { epoch: 1, ..world.leaf() });
    world.lies.insert(Resource::Audit(1), world.audits[&2].clone());
    let mut watcher = Watcher::new(&world);
    assert_eq!(watcher.suspects(&world), Fault::Audit { epoch: 1, why: AppendOnlyError::StartRoot });
    // A log that begins later than the directory hides what was before.
    world.tree = Tree::default();
    world.push(&world.leaf());
    let mut watcher = Watcher::new(&world);
    assert_eq!(watcher.convicts(&world), Fault::First { epoch: 2 });
}

/// A log that goes on with this leaf.
fn with_leaf(change: impl FnOnce(Leaf) -> Leaf) -> Fault {
    let (mut world, mut watcher) = cosigned();
    world.clock += 10;
    let leaf = change(world.leaf());
    world.push(&leaf);
    let fault = watcher.convicts(&world);
    // However long it goes on, and however honest: this stays in the log.
    world.heartbeat(300);
    assert_eq!(watcher.convicts(&world), fault);
    fault
}

#[test]
fn kt_3_a_left_out_epoch() {
    let fault = with_leaf(|leaf| Leaf { epoch: 4, ..leaf });
    assert_eq!(fault, Fault::Order { index: 4, why: LeafOrder::Gap { before: 2, after: 4 } });
    assert_eq!(fault.rule(), "KT-3");
}

#[test]
fn kt_3_an_epoch_that_goes_back_or_has_two_directories() {
    let fault = with_leaf(|leaf| Leaf { epoch: 1, ..leaf });
    assert_eq!(fault, Fault::Order { index: 4, why: LeafOrder::Epoch { before: 2, after: 1 } });
    let fault = with_leaf(|leaf| Leaf { root: [1; 32], ..leaf });
    assert_eq!(fault, Fault::Order { index: 4, why: LeafOrder::Root { epoch: 2 } });
}

#[test]
fn kt_8_time_that_goes_back_or_stands_still() {
    for back in [10, 11, 1_000] {
        let fault = with_leaf(|leaf| Leaf { time: WallTime::from_unix(leaf.time.as_unix() - back), ..leaf });
        assert!(matches!(fault, Fault::Order { index: 4, why: LeafOrder::Time { .. } }), "{fault}");
        assert_eq!(fault.rule(), "KT-8");
    }
}

#[test]
fn kt_14_a_changed_vrf_key() {
    let fault = with_leaf(|leaf| Leaf { vrf_key: sha256(&[b"another"]), ..leaf });
    assert_eq!(fault, Fault::Order { index: 4, why: LeafOrder::VrfKey { before: 2, after: 2 } });
    assert_eq!(fault.rule(), "KT-14");
}

#[test]
fn kt_3_an_entry_that_is_no_leaf() {
    let (mut world, mut watcher) = cosigned();
    world.tree.push(b"something else".to_vec());
    assert_eq!(watcher.convicts(&world), Fault::Leaf { index: 4 });
    assert_eq!(Watcher::new(&world).convicts(&world), Fault::Leaf { index: 4 });
}

#[test]
fn kt_3_faults_at_the_border_of_two_bundles_convict_as_well() {
    let mut world = World::new();
    world.heartbeat(255);
    let mut watcher = Watcher::new(&world);
    watcher.look(&world);
    world.push(&Leaf { epoch: 9, ..world.leaf() });
    assert!(matches!(watcher.convicts(&world), Fault::Order { index: 256, why: LeafOrder::Gap { .. } }));
    world.heartbeat(70_000);
    assert!(matches!(watcher.convicts(&world), Fault::Order { index: 256, why: LeafOrder::Gap { .. } }));
    assert!(matches!(Watcher::new(&world).convicts(&world), Fault::Order { index: 256, .. }));
}

#[test]
fn kt_4_truncated_reordered_and_swapped_tiles() {
    let mut world = World::new();
    world.heartbeat(1_000);
    let (full, partial) = (tile("tile/0/001"), tile("tile/0/003.p/233"));
    let top = tile("tile/1/000.p/3");
    let wrong = |resource, why| Fault::Tile { resource, size: 1_001, why };
    // The last tile of the edge stands for all of them.
    let edge = partial;
    let mut lie = |resource: Resource, bytes: Vec<u8>| {
        world.lies = [(resource, bytes)].into();
        let fault = Watcher::new(&world).suspects(&world);
        world.lies.clear();
        fault
    };
    let honest = World::new();
    let reference = {
        let mut reference = honest;
        reference.heartbeat(1_000);
        reference
    };
    let bytes = |resource| reference.serve(resource);
    let swapped = |resource| {
        let mut bytes = bytes(resource);
        let (first, rest) = bytes.split_at_mut(32);
        first.swap_with_slice(&mut rest[..32]);
        bytes
    };
    assert_eq!(lie(partial, bytes(partial)[32..].to_vec()), wrong(edge, BadTile::Length));
    assert_eq!(lie(partial, Vec::new()), wrong(edge, BadTile::Length));
    assert_eq!(lie(partial, swapped(partial)), wrong(edge, BadTile::Hash));
    assert_eq!(lie(top, swapped(top)), wrong(edge, BadTile::Hash));
    assert_eq!(lie(full, bytes(full)[..8_191].to_vec()), wrong(full, BadTile::Length));
    assert_eq!(lie(full, swapped(full)), wrong(full, BadTile::Hash));
    assert_eq!(lie(full, bytes(tile("tile/0/002"))), wrong(full, BadTile::Hash));

    let entries = tile("tile/entries/001");
    let wrong = |why| Fault::Entries { resource: entries, size: 1_001, why };
    let honest = bytes(entries);
    assert_eq!(lie(entries, honest[..honest.len() - 1].to_vec()), wrong(BadEntries::Malformed));
    assert_eq!(lie(entries, honest[105..].to_vec()), wrong(BadEntries::Count));
    assert_eq!(lie(entries, [&honest[105..], &honest[..105]].concat()), wrong(BadEntries::Hash));
    assert_eq!(lie(entries, bytes(tile("tile/entries/002"))), wrong(BadEntries::Hash));
    // And the truth is taken after all that.
    Watcher::new(&world).look(&world);
}

#[test]
fn kt_12_what_was_checked_before_a_fault_is_not_checked_again() {
    let mut world = World::new();
    world.heartbeat(1_000);
    let second = Resource::Entries(Bundle::new(2, 256).unwrap());
    world.lies.insert(second, Vec::new());
    let mut watcher = Watcher::new(&world);
    watcher.suspects(&world);
    assert_eq!(watcher.kept.memory().checked(), 512);
    world.lies.clear();
    world.asked.borrow_mut().clear();
    watcher.look(&world);
    let again = [Bundle::new(0, 256), Bundle::new(1, 256)].map(|bundle| Resource::Entries(bundle.unwrap()));
    assert!(!world.asked.borrow().iter().any(|asked| again.contains(asked)));
    assert!(!world.asked.borrow().contains(&Resource::Tile(Tile::new(0, 0, 256).unwrap())));
}
