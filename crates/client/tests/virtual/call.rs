//! What a network or a server does to a call, in virtual time.

use crate::world::{ADA, BOB, World};
use undertone_call::Outcome;
use undertone_client::LegacyPolicy;
use undertone_client::engine::{Event, Input, Side};
use undertone_protocol::Protection;
use undertone_relay::{Limits, Rooms};

#[test]
fn a_side_that_loses_its_network_comes_back_into_the_same_call() {
    for lost in [ADA, BOB] {
        let mut world = World::talking(1);
        world.devices[lost].reachable = false;
        world.run(5_000);
        let here = world.devices[lost].events.iter().any(|e| matches!(e, Event::Interrupted { who: Side::Here, .. }));
        assert!(here, "the side that is cut off says so");
        world.devices[lost].reachable = true;
        world.run(2_000);
        assert!(world.both_hear(1_000), "{:?}", world.devices[lost].events.last());
        assert_eq!((world.over(ADA), world.over(BOB)), (None, None));
    }
}

#[test]
fn a_relay_that_forgets_everything_is_joined_again() {
    for protection in [Protection::Blind, Protection::Hop] {
        let mut world = World::talking_with(2, protection);
        for round in 0..3 {
            world.rooms = None;
            world.run(4_000);
            world.rooms = Some(Rooms::new(*world.server.public(), Limits::default()));
            world.run(2_000);
            assert!(world.both_hear(1_000), "{protection:?}, round {round}");
        }
        assert_eq!((world.over(ADA), world.over(BOB)), (None, None));
    }
}

/// Both see what the call is, the relay opens what it carries, and only in the room that was asked for.
#[test]
fn rly_3_a_hop_call_is_opened_by_the_relay_and_a_blind_one_is_not() {
    for protection in [Protection::Blind, Protection::Hop] {
        let mut world = World::talking_with(30, protection);
        for device in [ADA, BOB] {
            let info = world.devices[device].events.iter().find_map(|event| match event {
                Event::Established(info) => Some((info.protection, info.epoch)),
                _ => None,
            });
            assert_eq!(info, Some((protection, (protection == Protection::Blind).then_some(1))));
        }
        let stats = world.rooms.as_ref().unwrap().stats();
        assert!(stats.received > 100);
        let opened = if protection == Protection::Hop { stats.received - stats.refused } else { 0 };
        assert_eq!(stats.opened, opened);
        assert!(world.both_hear(1_000));
    }
}

/// The two know different indices when the relay forgets: one of them was away while the other came back.
#[test]
fn med_2_a_relay_that_restarts_twice_while_one_side_is_away_ends_no_call() {
    for away in [ADA, BOB] {
        let mut world = World::talking(20);
        world.devices[away].reachable = false;
        for _ in 0..3 {
            world.rooms = None;
            world.run(1_000);
            world.rooms = Some(Rooms::new(*world.server.public(), Limits::default()));
            world.run(1_500);
        }
        // One more restart, after which the side that was away is the first to be back.
        world.rooms = None;
        world.run(1_000);
        world.devices[1 - away].reachable = false;
        world.devices[away].reachable = true;
        world.rooms = Some(Rooms::new(*world.server.public(), Limits::default()));
        world.run(1_500);
        world.devices[1 - away].reachable = true;
        world.run(3_000);
        let last = [ADA, BOB].map(|device| world.devices[device].events.last().cloned());
        assert_eq!((world.over(ADA), world.over(BOB)), (None, None), "{last:?}");
        assert!(world.both_hear(1_000), "{last:?}");
    }
}

/// Hung up while the server was away: the other side hears of it, and does not wait for somebody who has gone.
#[test]
fn call_3_a_goodbye_waits_for_the_server() {
    let mut world = World::talking(23);
    world.input(ADA, Input::SignalDown);
    world.input(ADA, Input::HangUp);
    assert!(world.devices[ADA].engine.has_more_to_say());
    world.run(2_000);
    assert_eq!((world.over(ADA), world.over(BOB)), (Some(Outcome::Ended), None));
    world.welcome(ADA);
    world.run(200);
    assert_eq!(world.over(BOB), Some(Outcome::Ended));
    assert!(!world.devices[ADA].engine.has_more_to_say());
}

#[test]
fn rly_5_a_peer_that_never_comes_back_ends_the_call() {
    let mut world = World::talking(3);
    world.devices[BOB].reachable = false;
    world.run(9_500);
    let there = world.devices[ADA].events.iter().any(|e| matches!(e, Event::Interrupted { who: Side::There, .. }));
    assert!(there, "noticed within ten seconds");
    world.run(16_000);
    assert_eq!(world.over(ADA), Some(Outcome::PeerVanished));
}

#[test]
fn call_3_a_server_that_does_not_open_the_call_is_a_result() {
    // It never answers.
    let mut world = World::new(5);
    world.mute = true;
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
    world.run(11_000);
    assert_eq!(world.over(ADA), Some(Outcome::Offline));
    assert!(!world.devices[ADA].engine.is_busy());

    // It goes away in between.
    let mut world = World::new(6);
    world.mute = true;
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
    world.input(ADA, Input::SignalDown);
    assert_eq!(world.over(ADA), Some(Outcome::Offline));
}

#[test]
fn call_5_two_who_call_each_other_at_the_same_moment_talk() {
    for (seed, late) in [(7, 0), (8, 20), (9, 40), (10, 60), (11, 80), (12, 120)] {
        let mut world = World::new(seed);
        let (ada, bob) = (world.peer(ADA), world.peer(BOB));
        world.input(
            ADA,
            Input::Dial { peer: bob, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None },
        );
        world.run(late);
        // Whoever was rung first may not call any more: then they simply answer.
        if world.devices[BOB].engine.is_busy() {
            world.input(BOB, Input::Accept);
        } else {
            world.input(
                BOB,
                Input::Dial { peer: ada, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None },
            );
        }
        world.run(2_000);
        assert!(world.both_hear(500), "late by {late}: {:?}", world.devices[ADA].events);
        let established = |device: usize| {
            world.devices[device].events.iter().find_map(|event| match event {
                Event::Established(info) => Some(info.call),
                _ => None,
            })
        };
        assert_eq!(established(ADA), established(BOB));
    }
}
