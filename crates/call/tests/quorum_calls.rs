//! Calls whose terms say that a quorum secret is mixed in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_call::quorum::{LONGEST, QuorumNodes};
use undertone_call::{DialError, Event, Input, Outcome};
use undertone_keys::choice::LegacyPolicy;
use undertone_protocol::{Protection, Terms};
use world::{Swarm, World};

const ADA: usize = 0;
const BOB: usize = 1;

fn world(seed: u64, names: &[&'static str]) -> World {
    let mut world = World::new(seed, names);
    (world.terms, world.offer) = (Terms::one_to_one(Protection::Blind).with_quorum(), Some(b"a swarm".to_vec()));
    world.legacy = LegacyPolicy::Allow;
    world.devices.iter_mut().for_each(|device| device.phone.set_legacy(LegacyPolicy::Allow));
    world
}

/// Ada calls Bob, who takes it; nine seconds go by.
fn call(world: &mut World) {
    let id = world.call_id();
    world.dial(ADA, "bob", id).unwrap();
    world.run(1);
    world.input(BOB, Input::Accept);
    world.run(9);
}

fn established(world: &World, device: usize) -> Option<&undertone_call::Established> {
    world.devices[device].events.iter().find_map(|event| match event {
        Event::Established(established) => Some(&**established),
        _ => None,
    })
}

fn over(world: &World, device: usize) -> Option<Outcome> {
    world.devices[device].events.iter().find_map(|event| match event {
        Event::Over { outcome, .. } => Some(*outcome),
        _ => None,
    })
}

#[test]
fn neg_1_quorum_secret_in_call_is_in_the_key_of_both() {
    for names in [["ada", "bob"], ["ada*", "bob"], ["ada", "bob*"]] {
        let mut world = world(1, &names);
        call(&mut world);
        let nodes = Some(QuorumNodes { threshold: 17, nodes: 25, good: 20 });
        let (ada, bob) = (established(&world, ADA).unwrap(), established(&world, BOB).unwrap());
        assert!(bool::from(subtle::ConstantTimeEq::ct_eq(&ada.key, &bob.key)));
        assert_eq!((ada.quorum, bob.quorum), (nodes, nodes));
        assert_eq!(ada.sas.digits(), bob.sas.digits());
        assert!(ada.terms.quorum && world.left.len() == 1);
    }
}

#[test]
fn neg_1_quorum_secret_in_call_that_is_wrong_opens_nothing() {
    for names in [["ada", "bob"], ["ada*", "bob"]] {
        let mut world = world(2, &names);
        world.swarm = Swarm::Wrong;
        call(&mut world);
        assert!(established(&world, ADA).is_none() && established(&world, BOB).is_none());
        assert_eq!(
            (over(&world, ADA), over(&world, BOB)),
            (Some(Outcome::RefusedByProof), Some(Outcome::RefusedByProof))
        );
    }
}

#[test]
fn neg_1_quorum_secret_in_call_that_does_not_come_together_ends_it_with_that_word() {
    for swarm in [Swarm::TakesNone, Swarm::GivesNone] {
        let mut world = world(3, &["ada", "bob"]);
        world.swarm = swarm;
        call(&mut world);
        assert_eq!((over(&world, ADA), over(&world, BOB)), (Some(Outcome::NoQuorum), Some(Outcome::NoQuorum)));
    }
    // A swarm that says nothing at all holds nobody for longer than a key would.
    let mut world = world(4, &["ada", "bob"]);
    world.swarm = Swarm::Silent;
    call(&mut world);
    world.run(3);
    assert_eq!((over(&world, ADA), over(&world, BOB)), (Some(Outcome::Offline), Some(Outcome::PeerVanished)));
}

#[test]
fn neg_1_whoever_does_not_use_the_swarm_says_so() {
    let mut world = world(5, &["ada", "bob", "bob"]);
    let id = world.call_id();
    world.dial(ADA, "bob", id).unwrap();
    world.run(1);
    let offered = world.devices[BOB].events.iter().any(|event| {
        matches!(event, Event::Incoming { quorum: Some(offer), terms, .. } if offer == b"a swarm" && terms.quorum)
    });
    assert!(offered);
    // Said of another call it changes nothing.
    let other = world.call_id();
    world.input(BOB, Input::NoQuorum(other));
    assert_eq!(over(&world, BOB), None);
    world.input(BOB, Input::NoQuorum(id));
    world.run(1);
    assert_eq!((over(&world, BOB), over(&world, ADA)), (Some(Outcome::NoQuorum), None), "the other device may");
    world.input(2, Input::NoQuorum(id));
    world.run(1);
    assert_eq!(over(&world, ADA), Some(Outcome::NoQuorum));
}

#[test]
fn neg_1_terms_and_swarm_go_together() {
    let mut world = world(6, &["ada", "bob"]);
    let id = world.call_id();
    world.offer = None;
    assert_eq!(world.dial(ADA, "bob", id), Err(DialError::Quorum));
    world.offer = Some(vec![0; LONGEST + 1]);
    assert_eq!(world.dial(ADA, "bob", id), Err(DialError::Quorum));
    (world.offer, world.terms) = (Some(Vec::new()), Terms::one_to_one(Protection::Blind));
    assert_eq!(world.dial(ADA, "bob", id), Err(DialError::Quorum));
    // Without a swarm nothing has changed.
    world.offer = None;
    call(&mut world);
    let (ada, bob) = (established(&world, ADA).unwrap(), established(&world, BOB).unwrap());
    assert_eq!((ada.quorum, bob.quorum, world.left.len()), (None, None, 0));
}

#[test]
fn neg_1_in_glare_a_call_with_a_quorum_secret_is_not_taken_for_one_without() {
    for same in [true, false] {
        let mut world = world(7, &["ada", "bob"]);
        let (mut first, mut second) = (world.call_id(), world.call_id());
        if second < first {
            (first, second) = (second, first);
        }
        world.dial(ADA, "bob", first).unwrap();
        if !same {
            (world.terms, world.offer) = (Terms::one_to_one(Protection::Blind), None);
        }
        world.dial(BOB, "ada", second).unwrap();
        world.offer = Some(b"a swarm".to_vec());
        world.run(3);
        assert_eq!(established(&world, BOB).is_some(), same);
        assert_eq!(established(&world, ADA).and_then(|call| call.quorum).is_some(), same);
    }
}

#[test]
fn call_3_under_loss_a_quorum_secret_is_exchanged_once() {
    for seed in 0..20 {
        let mut world = world(seed, &["ada", "bob"]);
        (world.loss, world.doubled) = (30, 30);
        let id = world.call_id();
        world.dial(ADA, "bob", id).unwrap();
        world.run(10);
        world.input(BOB, Input::Accept);
        world.run(20);
        assert_eq!(world.left.len(), 1);
    }
}
