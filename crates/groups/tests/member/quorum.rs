//! Groups whose terms say that a quorum secret is mixed in: with it, without it, with a wrong one.

use undertone_groups::member::{Event, Reason};
use undertone_groups::{Change, CommitError, Group, Protection, Refused, Terms};

use crate::net::{SUITE, World, ms};
use crate::world::{ID, List, Person};

fn world(seed: u64, quorum: [Option<u8>; 3]) -> World {
    let terms = Terms::new(Protection::Blind, SUITE, true);
    let mut world = World::new(3, seed);
    (world.terms, world.quorum) = (terms, quorum.to_vec());
    world
}

#[test]
fn neg_1_whoever_has_the_quorum_secret_is_in_every_epoch() {
    let mut world = world(1, [Some(7); 3]);
    for index in 0..3 {
        world.join(index);
        world.run(ms(700));
    }
    world.settle(ms(4_000));
    // The disk of one of them is older than what it knew: the secret comes from elsewhere, and it is in again.
    world.vanish(2, ms(200));
    world.settle(ms(4_000));
    world.join(2);
    world.settle(ms(6_000));
    let reasons = |index| world.saw(index, |event| matches!(event, Event::CannotBeServed(_)));
    assert_eq!((0..3).map(reasons).sum::<usize>(), 0);
}

#[test]
fn neg_1_whoever_has_no_quorum_secret_waits_for_it_and_is_told() {
    let mut world = world(2, [Some(7), Some(7), None]);
    for index in 0..3 {
        world.join(index);
        world.run(ms(700));
    }
    world.run(ms(20_000));
    assert_eq!(world.epoch(2), None);
    assert!(world.epoch(0).is_some() && world.epoch(0) == world.epoch(1), "the others go on");
    assert!(world.saw(2, |event| matches!(event, Event::CannotBeServed(Reason::Psk))) > 0);
    world.learn(2, 7);
    world.settle(ms(40_000));
}

#[test]
fn neg_1_a_wrong_quorum_secret_opens_nothing() {
    let mut world = world(3, [Some(7), Some(7), Some(8)]);
    for index in 0..3 {
        world.join(index);
        world.run(ms(700));
    }
    world.run(ms(20_000));
    let refused = |event: &Event| matches!(event, Event::CannotBeServed(Reason::Refused(Refused::Invalid)));
    assert!(world.saw(2, refused) > 0, "the Welcome does not open");
    assert_eq!(world.epoch(2), None);
    // It may make an epoch of its own by an external commit, to which nobody follows it.
    world.run(ms(40_000));
    assert!(world.epoch(0).is_some() && world.epoch(0) == world.epoch(1), "the others go on");
    let keys = |index: usize| world.devices[index].ring.values().copied().collect::<Vec<_>>();
    assert!(keys(2).iter().all(|key| !keys(0).contains(key)), "it has no key of theirs");
}

/// Whoever would leave the secret out makes no commit at all; what others do about one is in `foreign_leaf_is_refused`.
#[test]
fn neg_1_no_commit_is_made_without_the_quorum_secret() {
    let mut ada = Person::new("ada", 1);
    let list = List::of(&[&ada]);
    ada.create(&Terms::new(Protection::Blind, SUITE, true));
    let without = Group::open(&ada.store, ID).unwrap().commit(&mut ada.rng, Change::update(), &list.roll());
    assert_eq!(without.unwrap_err(), CommitError::Psk);
}
