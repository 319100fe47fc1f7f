use undertone_transparency::note::NoteSignature;

use super::world::{End, NOON, Shelf, Tree, Watcher, World};
use crate::witness::Fault;

/// Looks until it is killed, starting anew each time after one write more; returns all lines that were told.
fn killed_everywhere(world: &World, shelf: &Shelf, start: u64) -> Vec<(u64, NoteSignature)> {
    let mut told = Vec::new();
    for writes in 0..50 {
        let mut watcher = Watcher::on(world, shelf.clone());
        // The clock goes on between the starts, so a second cosignature would be another one.
        watcher.clock = start + writes;
        shelf.left.set(Some(usize::from(writes > 0)));
        match watcher.see(world, &world.note()) {
            Ok(line) => told.push(line),
            Err(End::Killed) => {}
            Err(End::Accused(accused)) => panic!("{accused}"),
        }
        shelf.left.set(None);
    }
    told
}

#[test]
fn kt_12_killed_between_any_two_writes_it_cosigns_the_same_once() {
    let mut world = World::new();
    world.publish(4);
    world.heartbeat(600);
    world.publish(9);
    let shelf = Shelf::default();
    let first = killed_everywhere(&world, &shelf, NOON);
    assert!(first.len() > 10, "it comes to an end");
    assert!(first.iter().all(|line| *line == first[0]), "and then says one thing");
    world.publish(2);
    let second = killed_everywhere(&world, &shelf, NOON + 100);
    assert!(second.iter().all(|line| *line == second[0]) && second[0] != first[0]);
}

#[test]
fn kt_12_killed_between_keeping_and_posting_the_same_line_is_posted_again() {
    let world = World::new();
    let shelf = Shelf::default();
    let line = Watcher::on(&world, shelf.clone()).look(&world);
    // Nobody was told. The next process has another clock and the same line.
    let mut again = Watcher::on(&world, shelf.clone());
    again.clock += 1_000;
    let writes = shelf.writes.get();
    assert_eq!(again.look(&world), line);
    assert_eq!(shelf.writes.get(), writes);
}

#[test]
fn kt_12_a_fork_shown_after_a_crash_is_caught_by_what_was_only_seen() {
    let mut world = World::new();
    let shelf = Shelf::default();
    Watcher::on(&world, shelf.clone()).look(&world);
    world.publish(3);
    // Killed before a single leaf of it was checked: the checkpoint alone is kept.
    let mut watcher = Watcher::on(&world, shelf.clone());
    shelf.left.set(Some(1));
    assert!(matches!(watcher.see(&world, &world.note()), Err(End::Killed)));
    shelf.left.set(None);
    assert_eq!((watcher.kept.memory().checked(), watcher.kept.memory().seen().unwrap().size()), (1, 2));
    // The log thinks better of it.
    world.tree.entries.pop();
    world.tree = Tree::of(&world.tree.entries);
    world.heartbeat(1);
    let mut watcher = Watcher::on(&world, shelf);
    assert!(matches!(watcher.convicts(&world), Fault::Log(_)));
}

#[test]
fn kt_12_a_witness_that_forgot_meets_its_own_cosignature() {
    let mut world = World::new();
    let shelf = Shelf::default();
    let mut watcher = Watcher::on(&world, shelf.clone());
    watcher.look(&world);
    let backup = shelf.bytes.borrow().clone();
    world.publish(1);
    let line = watcher.look(&world);
    let mut shown = world.signed(&world.tree);
    shown.push(line.clone()).unwrap();
    assert_eq!(watcher.see(&world, &shown.to_bytes()).unwrap(), (2, line.clone()), "it knows this one");
    // Restored from a backup; or with a new folder.
    *shelf.bytes.borrow_mut() = backup;
    for shelf in [shelf, Shelf::default()] {
        let accused = Watcher::on(&world, shelf).refuse(&world, &shown.to_bytes());
        assert_eq!(accused.fault, Fault::Forgotten { size: 2 });
        assert!(accused.ends_cosigning() && !accused.evidence.convicts(), "it is not the log's fault");
    }
    // Somebody else's line under its name says nothing.
    let mut forged = line;
    forged.bytes[20] ^= 1;
    let mut shown = world.signed(&world.tree);
    shown.push(forged).unwrap();
    assert!(Watcher::new(&world).see(&world, &shown.to_bytes()).is_ok());
}
