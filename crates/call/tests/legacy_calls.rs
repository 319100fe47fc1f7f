//! Calls in which one side, or both, have RSA-2048 alone (rules ID-3, CALL-2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_call::{Event, Input};
use undertone_keys::choice::{Agreement, LegacyPolicy};
use world::World;

const ADA: usize = 0;
const BOB: usize = 1;

fn agreement(world: &World, device: usize) -> Option<Agreement> {
    world.devices[device].events.iter().find_map(|event| match event {
        Event::Established(call) => Some(call.agreement),
        _ => None,
    })
}

#[test]
fn call_2_every_pair_of_keys_talks_and_both_sides_are_told_which() {
    for (names, expected) in [
        (["ada", "bob"], Agreement::P256),
        (["ada", "bob*"], Agreement::Rsa2048),
        (["ada*", "bob"], Agreement::Rsa2048),
        (["ada*", "bob*"], Agreement::Rsa2048),
    ] {
        let mut world = World::new(1, &names);
        world.legacy = LegacyPolicy::Allow;
        let call = world.call_id();
        world.dial(ADA, "bob", call).unwrap();
        world.run(1);
        let asked = world.devices[BOB].events.iter().find_map(|event| match event {
            Event::Incoming { agreement, .. } => Some(*agreement),
            _ => None,
        });
        assert_eq!(asked, Some(expected), "{names:?}: a person sees it before the call");
        world.input(BOB, Input::Accept);
        world.run(2);
        assert_eq!([ADA, BOB].map(|device| agreement(&world, device)), [Some(expected); 2], "{names:?}");
        world.input(ADA, Input::HangUp);
        world.run(1);
        assert_eq!(world.words(BOB).last().unwrap(), "ended");
    }
}

#[test]
fn id_3_nobody_calls_by_rsa_without_having_said_so() {
    for (policy, error) in [(LegacyPolicy::Ask, "a person must allow it"), (LegacyPolicy::Refuse, "refuses")] {
        let mut world = World::new(2, &["ada", "bob*"]);
        world.legacy = policy;
        let call = world.call_id();
        let refused = world.dial(ADA, "bob", call).unwrap_err();
        assert!(refused.to_string().contains(error), "{refused}");
        assert!(world.seen.is_empty(), "and nothing has left");
    }
    // A device with P-256 beside one with RSA: the call goes to the first.
    let mut world = World::new(3, &["ada", "bob*", "bob"]);
    let call = world.call_id();
    world.dial(ADA, "bob", call).unwrap();
    world.run(1);
    assert!(world.devices[BOB].events.is_empty());
    assert_eq!(world.devices[2].events.len(), 1);
}

#[test]
fn call_2_lost_and_doubled_signals_change_nothing() {
    for seed in 0..20 {
        let mut world = World::new(seed, &["ada*", "bob"]);
        (world.loss, world.doubled) = (30, 30);
        let call = world.call_id();
        world.dial(ADA, "bob", call).unwrap();
        world.run(8);
        world.input(BOB, Input::Accept);
        world.run(12);
        assert_eq!([ADA, BOB].map(|device| agreement(&world, device)), [Some(Agreement::Rsa2048); 2], "seed {seed}");
    }
}

/// In glare the lower call id survives and is taken without anybody being asked; by RSA nobody is put into a call that way.
#[test]
fn id_3_in_glare_nobody_is_put_into_a_call_by_rsa() {
    use undertone_keys::CallId;
    for (policy, taken) in [(LegacyPolicy::Ask, false), (LegacyPolicy::Refuse, false), (LegacyPolicy::Allow, true)] {
        // Bob has a modern and an old device. Ada calls him, and his old one calls her.
        let mut world = World::new(4, &["ada", "bob", "bob*"]);
        world.legacy = policy;
        let (low, high) = (CallId::from_bytes([1; 16]), CallId::from_bytes([2; 16]));
        world.dial(ADA, "bob", high).unwrap();
        world.legacy = LegacyPolicy::Allow;
        world.dial(2, "ada", low).unwrap();
        world.run(3);
        assert_eq!(agreement(&world, ADA).is_some(), taken, "{policy:?}: {:?}", world.words(ADA));
        if !taken {
            assert_eq!(world.devices[ADA].phone.ringing().map(|ringing| ringing.agreement), Some(Agreement::Rsa2048));
            world.input(ADA, Input::Refuse);
            world.run(1);
            assert!(!world.devices[ADA].phone.is_busy());
        }
    }
    // Whoever refuses it is not even rung.
    let mut world = World::new(5, &["ada", "bob*"]);
    world.devices[ADA].phone.set_legacy(LegacyPolicy::Refuse);
    let call = world.call_id();
    world.dial(BOB, "ada", call).unwrap();
    world.run(2);
    assert_eq!(world.words(ADA), ["rejected: a call from a device that has RSA alone, which is refused here"]);
    assert_eq!(world.words(BOB), ["refused_by_policy"]);
}
