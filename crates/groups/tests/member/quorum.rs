//! Groups whose terms say that a quorum secret is mixed in: with it, without it, with a wrong one.

use undertone_groups::member::{Event, How, Reason};
use undertone_groups::{Change, CommitError, Group, JoinError, Protection, PskId, Quorum, Terms, psk, quorum};
use undertone_keys::Secret;

use crate::net::{SUITE, World, ms};
use crate::world::{ID, List, Person, load};

fn world(seed: u64) -> World {
    let mut world = World::new(3, seed);
    world.terms = Terms::new(Protection::Blind, SUITE, true);
    world
}

/// Whoever is not let in for want of the secret is given it by the first.
fn join_with_it(world: &mut World, index: usize) {
    world.join(index);
    world.run(ms(700));
    if index > 0 {
        world.hand_on(0, index);
    }
    world.run(ms(100));
}

#[test]
fn neg_1_whoever_has_the_quorum_secret_is_in_every_epoch() {
    let mut world = world(1);
    (0..3).for_each(|index| join_with_it(&mut world, index));
    world.settle(ms(4_000));
    for index in 1..3 {
        let welcomed = |event: &Event| matches!(event, Event::Joined { how: How::Welcomed, .. });
        assert_eq!(world.saw(index, welcomed), 1, "the Welcome waited for the secret");
    }
    // A disk that has nothing: the secret comes from a member once more.
    world.vanish(2, ms(200));
    world.settle(ms(4_000));
    world.devices[2].person.disk.clear();
    join_with_it(&mut world, 2);
    world.settle(ms(6_000));
    // A disk that has it: a start needs nobody.
    world.vanish(1, ms(60_000));
    world.join(1);
    world.settle(ms(6_000));
    assert_eq!(
        world.saw(1, |event| matches!(event, Event::CannotBeServed(Reason::Psk))),
        1,
        "before the first time alone"
    );
}

#[test]
fn neg_1_whoever_has_no_quorum_secret_waits_for_it_and_is_told() {
    let mut world = world(2);
    (0..2).for_each(|index| join_with_it(&mut world, index));
    world.join(2);
    world.run(ms(20_000));
    assert_eq!(world.epoch(2), None);
    assert!(world.epoch(0).is_some() && world.epoch(0) == world.epoch(1), "the others go on");
    assert!(world.saw(2, |event| matches!(event, Event::CannotBeServed(Reason::Psk))) > 0 && world.lacks_quorum(2));
    world.hand_on(1, 2);
    world.settle(ms(4_000));
    assert!(!world.lacks_quorum(2));
}

#[test]
fn neg_1_a_wrong_quorum_secret_opens_nothing_and_is_noticed() {
    let mut world = world(3);
    (0..2).for_each(|index| join_with_it(&mut world, index));
    world.join(2);
    world.run(ms(10_000));
    // More of them than are kept.
    for byte in 0..9 {
        world.mislead(2, byte);
        world.run(ms(2_000));
        assert!(world.lacks_quorum(2) && world.epoch(2).is_none(), "{byte}");
    }
    assert!(world.epoch(0).is_some() && world.epoch(0) == world.epoch(1), "the others go on");
    let refused = |event: &Event| matches!(event, Event::CommitRefused { .. });
    assert_eq!(world.saw(0, refused) + world.saw(1, refused), 0, "no commit was brought that mixes in another");
    let keys = |index: usize| world.devices[index].ring.values().copied().collect::<Vec<_>>();
    assert!(keys(2).iter().all(|key| !keys(0).contains(key)), "it has no key of theirs");
    world.hand_on(1, 2);
    world.settle(ms(4_000));
}

/// Who makes the group draws the secret. The group says which it is, and whoever commits in it mixes it in, wanted or not; what others do
/// about one who does not is in `foreign_leaf_is_refused`.
#[test]
fn neg_1_every_commit_mixes_in_the_quorum_secret_that_the_group_names() {
    let (mut ada, mut bob) = (Person::new("ada", 1), Person::new("bob", 2));
    let list = List::of(&[&ada, &bob]);
    let terms = Terms::new(Protection::Blind, SUITE, true);
    ada.create(&terms);
    bob.create(&terms);
    let named = |person: &Person| person.group().terms().quorum;
    assert!(matches!(named(&ada), Quorum::Known(_)) && named(&ada) != named(&bob), "each draws its own");
    ada.commit(Change::update(), &list);
    ada.accepted();
    // It is in the store, under the name that the group has for it, until the group is forgotten with all that is its.
    let Quorum::Known(id) = named(&ada) else { panic!() };
    let stored = load(&ada.disk);
    assert!(quorum::kept(&stored, ID, &id).is_some() && Group::open(&stored, ID).unwrap().quorum().is_some());
    let writes = quorum::forget(&ada.store, ID).unwrap();
    ada.write(writes);
    assert!(ada.group().quorum().is_none());
    let without = Group::open(&ada.store, ID).unwrap().commit(&mut ada.rng, Change::update(), &list.roll());
    assert_eq!(without.unwrap_err(), CommitError::Psk);
}

/// Eight keys are mixed into one commit at most, and the quorum secret is one of them.
#[test]
fn rkx_5_a_commit_has_room_for_seven_keys_beside_the_quorum_secret() {
    let (mut ada, mut bob) = (Person::new("ada", 1), Person::new("bob", 2));
    let list = List::of(&[&ada, &bob]);
    let terms = Terms::new(Protection::Blind, SUITE, true);
    ada.create(&terms);
    let ids: Vec<_> = (0..8).map(|n| PskId::new(&[n]).unwrap()).collect();
    for person in [&mut ada, &mut bob] {
        for id in &ids {
            let secret = Secret::filled_by(|out| out.fill(7));
            let writes = psk::register(&person.store, &mut person.rng, id, &secret).unwrap();
            person.write(writes);
        }
    }
    let with = |count: usize| Change { psks: ids[..count].to_vec(), ..Change::default() };
    let commit = |ada: &mut Person, count| {
        Group::open(&ada.store, ID).unwrap().commit(&mut ada.rng, with(count), &list.roll()).map(|step| step.send.len())
    };
    assert_eq!(commit(&mut ada, 8), Err(CommitError::TooMany));
    assert_eq!(commit(&mut ada, 7), Ok(1));
    let secret = ada.group().quorum().unwrap();
    let writes = quorum::keep(&bob.store, &mut bob.rng, ID, &secret).unwrap();
    bob.write(writes);
    let (info, tree) = ada.public();
    assert_eq!(bob.try_external(&terms, &info, &tree, false, &ids, &list).err(), Some(JoinError::Exists));
    assert!(bob.try_external(&terms, &info, &tree, false, &ids[..7], &list).is_ok());
}
