use undertone_keys::WallTime;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_transparency::note::WitnessKey;

use super::world::{NOON, Shelf, ShelfError, Tree, Watcher, World};
use crate::witness::{BadMemory, CannotCosign, Kept, Memory, Resource};

#[test]
fn kt_12_an_honest_log_is_cosigned_as_it_grows() {
    let mut world = World::new();
    let mut watcher = Watcher::new(&world);
    watcher.look(&world);
    for round in 1..40 {
        match round % 4 {
            0 => world.heartbeat(round),
            1 => world.publish(1 + round),
            2 => {
                world.publish(2);
                world.heartbeat(1);
                world.publish(5);
            }
            _ => {}
        }
        watcher.clock += 60;
        let line = watcher.look(&world);
        assert_eq!(watcher.kept.memory().checked(), world.tree.size());
        // Nothing new: nothing is asked for, and the same line comes again.
        let asked = world.asked.borrow().len();
        watcher.clock += 60;
        assert_eq!(watcher.look(&world), line);
        assert_eq!(world.asked.borrow().len(), asked);
    }
}

#[test]
fn kt_12_a_long_log_is_read_once_and_in_order() {
    let mut world = World::new();
    world.heartbeat(66_000);
    world.publish(10);
    let mut watcher = Watcher::new(&world);
    watcher.look(&world);
    let asked = world.asked.take();
    let entries = |resource: &&Resource| matches!(resource, Resource::Entries(_));
    assert_eq!(asked.iter().filter(entries).count(), 66_002_usize.div_ceil(256));
    // What is forgotten on the way to bound memory costs little.
    assert!(asked.len() < 700, "{} requests", asked.len());
    world.heartbeat(300);
    watcher.look(&world);
    assert!(world.asked.take().len() < 10);
}

#[test]
fn kt_12_sizes_around_the_borders_of_tiles() {
    let mut world = World::new();
    let mut watcher = Watcher::new(&world);
    for size in [2, 3, 255, 256, 257, 511, 512, 513, 1_024] {
        world.heartbeat(size - world.tree.size() as u32);
        watcher.look(&world);
        Watcher::new(&world).look(&world);
    }
}

#[test]
fn kt_12_an_empty_log_is_not_cosigned() {
    let mut world = World::new();
    let entries = std::mem::take(&mut world.tree).entries;
    let mut watcher = Watcher::new(&world);
    watcher.check(&world, &world.note()).unwrap();
    let refused = watcher.kept.memory().cosign(&watcher.key, watcher.now()).unwrap_err();
    assert_eq!(refused, CannotCosign::Unchecked { checked: 0, seen: 0 });
    world.tree = Tree::of(&entries);
    watcher.look(&world);
}

#[test]
fn kt_2_a_clock_that_goes_back_cosigns_nothing_new() {
    let mut world = World::new();
    let mut watcher = Watcher::new(&world);
    watcher.look(&world);
    let (now, earlier) = (watcher.now(), WallTime::from_unix(NOON - 1));
    // The same checkpoint again needs no clock, a new one does.
    let memory = watcher.kept.memory();
    assert_eq!(memory.cosign(&watcher.key, earlier).as_ref(), Ok(memory));
    world.publish(1);
    watcher.check(&world, &world.note()).unwrap();
    let memory = watcher.kept.memory();
    assert_eq!(memory.cosign(&watcher.key, earlier), Err(CannotCosign::Clock { last: now, now: earlier }));
    assert_eq!(memory.cosign(&watcher.key, now).unwrap().cosigned(), 2);
    let other = SigningKey::generate(&mut SeededRng::new(1));
    assert_eq!(memory.cosign(&other, now), Err(CannotCosign::Key));
}

#[test]
fn kt_12_a_memory_belongs_to_its_log_and_witness() {
    let world = World::new();
    let shelf = Shelf::default();
    let mut watcher = Watcher::on(&world, shelf.clone());
    watcher.look(&world);
    let bytes = shelf.bytes.borrow().clone().unwrap();
    let (log, own) = (world.log_key(), watcher.own.clone());
    assert_eq!(Memory::from_bytes(&bytes, &log, &own).as_ref(), Ok(watcher.kept.memory()));

    let mut elsewhere = World::new();
    elsewhere.key = SigningKey::generate(&mut SeededRng::new(3));
    assert_eq!(Memory::from_bytes(&bytes, &elsewhere.log_key(), &own), Err(BadMemory::OtherLog));
    let other = WitnessKey::new("other.example.net".parse().unwrap(), *own.key());
    assert_eq!(Memory::from_bytes(&bytes, &log, &other), Err(BadMemory::OtherWitness));
    // Every bit counts, but for those of the leaf, which only the log's tree can tell.
    let leaf = watcher.kept.memory().leaf().unwrap().to_bytes();
    let leaf_at = bytes.windows(leaf.len()).position(|part| part == leaf).unwrap() + 23..;
    let fields = leaf_at.start..leaf_at.start + leaf.len() - 23;
    for at in (0..bytes.len()).filter(|at| !fields.contains(at)) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Memory::from_bytes(&bad, &log, &own).is_err(), "byte {at}");
        assert!(Memory::from_bytes(&bytes[..at], &log, &own).is_err());
    }
}

#[test]
fn kt_4_what_is_kept_never_goes_back() {
    let mut world = World::new();
    let shelf = Shelf::default();
    let mut watcher = Watcher::on(&world, shelf.clone());
    watcher.look(&world);
    let before = watcher.kept.memory().clone();
    world.publish(1);
    watcher.look(&world);
    let mut kept = Kept::open(shelf, &world.log_key(), &watcher.own).unwrap();
    assert_eq!(kept.keep(before), Err(ShelfError::Bad(BadMemory::Back)));
    assert_eq!(kept.memory(), watcher.kept.memory());
}
