//! Wall clocks that are set: by a minute, a day or a year, in the middle of everything.

use crate::world::{ADA, BOB, World};
use undertone_call::Outcome;
use undertone_client::LegacyPolicy;
use undertone_client::engine::{Event, Input};
use undertone_protocol::Protection;
use undertone_relay::{Limits, Rooms};

const CAROL: usize = 2;
const DAVE: usize = 3;
const NAMES: [&str; 4] = ["ada", "bob", "carol", "dave"];
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

/// Three in a room who hear each other; a fourth may come.
fn talking(seed: u64, protection: Protection) -> World {
    let mut world = World::room(seed, &NAMES, protection);
    [ADA, BOB, CAROL].into_iter().for_each(|device| world.enter(device));
    world.run(1_500);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1_000));
    world
}

#[test]
fn call_5_a_clock_that_was_set_keeps_nobody_from_calling() {
    for by in [90, -90, DAY, -DAY, YEAR] {
        let mut world = World::new(31);
        world.run(1_000);
        world.set_clock(by, true);
        let peer = world.peer(BOB);
        world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
        world.run(200);
        world.input(BOB, Input::Accept);
        world.run(1_000);
        assert!(world.both_hear(500), "by {by} s: {:?} {:?}", world.devices[ADA].events, world.devices[BOB].events);
    }
}

/// Why everybody has to be told: who has the old time refuses the invites of the new one, and is refused.
#[test]
fn call_5_an_invite_by_another_clock_does_not_ring() {
    for by in [90, -90, DAY] {
        let mut world = World::new(32);
        world.skew = by;
        let wall = world.clock();
        world.input(BOB, Input::SignalUp { wall });
        world.welcome(BOB);
        let peer = world.peer(BOB);
        world.input(ADA, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
        world.run(1_000);
        let events = &world.devices[BOB].events;
        assert!(!events.iter().any(|event| matches!(event, Event::Incoming { .. })), "{events:?}");
        let said = |event: &Event| matches!(event, Event::Rejected { reason } if reason.contains("clock"));
        assert!(events.iter().any(said), "and it says why: {events:?}");
    }
}

#[test]
fn a_call_goes_on_when_the_clock_is_set() {
    for by in [90, -90, DAY, -DAY, YEAR] {
        for protection in [Protection::Blind, Protection::Hop] {
            let mut world = World::talking_with(33, protection);
            world.set_clock(by, true);
            assert!(world.both_hear(2_000), "by {by} s");
            assert_eq!((world.over(ADA), world.over(BOB)), (None, None), "by {by} s");
            let told = world.devices[ADA].events.iter().filter(|event| matches!(event, Event::Online)).count();
            assert_eq!(told, 1, "nobody was away");
        }
    }
}

/// Grants end by the clock: who comes back within them comes back, and who does not is told, and not of a forgery.
#[test]
fn rly_1_a_call_is_joined_again_for_as_long_as_its_grant_is_good_by_the_new_clock() {
    for (by, comes_back) in [(90, true), (-DAY, true), (DAY, false), (YEAR, false)] {
        let mut world = World::talking(34);
        world.set_clock(by, true);
        world.rooms = None;
        world.run(2_000);
        world.rooms = Some(Rooms::new(*world.server.public(), Limits::default()));
        world.run(3_000);
        if comes_back {
            assert!(world.both_hear(1_000), "by {by} s: {:?}", world.devices[ADA].events.last());
        } else {
            // Both ask the relay with what is over by now; neither says that the other is false.
            let ends = [ADA, BOB].map(|device| world.over(device));
            assert!(ends.contains(&Some(Outcome::RefusedByPolicy)), "by {by} s: {ends:?}");
            assert!(!ends.contains(&Some(Outcome::RefusedByProof)), "by {by} s: {ends:?}");
        }
    }
}

#[test]
fn grp_8_a_room_outlives_a_clock_that_is_set() {
    for by in [90, -90, DAY, -DAY, YEAR] {
        for protection in [Protection::Blind, Protection::Hop] {
            let mut world = talking(35, protection);
            world.set_clock(by, true);
            assert!(world.all_hear(&[ADA, BOB, CAROL], 1_000), "by {by} s");
            // Those inside renew what is over by the new clock within a minute or so.
            world.pass(75);
            world.run(1_500);
            world.enter(DAVE);
            world.run(2_000);
            let ends = [ADA, BOB, CAROL, DAVE].map(|device| world.over(device));
            assert_eq!(ends, [None; 4], "by {by} s, {protection:?}");
            assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000), "by {by} s, {protection:?}");
        }
    }
}

/// A newcomer who is there before the others have renewed: it waits, and ends nothing.
#[test]
fn grp_8_papers_that_are_over_by_a_new_clock_accuse_nobody() {
    let mut world = talking(36, Protection::Blind);
    world.set_clock(DAY, true);
    world.enter(DAVE);
    world.run(1_000);
    assert_eq!([ADA, BOB, CAROL, DAVE].map(|device| world.over(device)), [None; 4]);
    world.pass(75);
    world.run(2_000);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1_000), "{:?}", world.devices[DAVE].events.last());
}

/// A server whose clock alone goes back: devices keep the newest time it has shown, so it lets nobody new in, and those
/// who talk go on.
#[test]
fn call_5_a_server_whose_clock_alone_goes_back_ends_nothing() {
    let mut world = talking(37, Protection::Blind);
    world.set_clock(-DAY, false);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 2_000));
    world.enter(DAVE);
    world.run(1_000);
    assert_eq!(world.over(DAVE), Some(Outcome::RefusedByPolicy));
    assert_eq!([ADA, BOB, CAROL].map(|device| world.over(device)), [None; 3]);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1_000));
    let said = |event: &Event| matches!(event, Event::Rejected { reason } if reason.contains("clock went back"));
    assert!(world.devices[ADA].events.iter().any(said));
}
