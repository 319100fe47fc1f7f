//! Hop epochs in whole clients (rule MED-8): nobody loses a frame by them, and nobody follows further than they should.

use std::collections::BTreeSet;

use crate::world::{ADA, BOB, World};
use undertone_call::Outcome;
use undertone_client::engine::{Event, Input};
use undertone_protocol::Protection;
use undertone_protocol::control::ToMember;

const NAMES: [&str; 4] = ["ada", "bob", "carol", "dave"];
const CAROL: usize = 2;
const DAVE: usize = 3;

/// These in a hop room, where everybody hears everybody.
fn talking(seed: u64, count: usize) -> World {
    let mut world = World::room(seed, &NAMES, Protection::Hop);
    (0..count).for_each(|device| world.enter(device));
    world.run(1_500);
    assert!(world.all_hear(&(0..count).collect::<Vec<_>>(), 1_000));
    world
}

/// The epochs that everybody's packets were of while so many milliseconds passed, and whether each of them was heard.
fn said_in(world: &mut World, millis: u64, speakers: &[usize]) -> BTreeSet<u8> {
    world.packets.clear();
    let refused = world.rooms.as_ref().unwrap().stats().refused;
    world.devices.iter_mut().for_each(|device| device.heard = 0);
    world.run(millis);
    let frames = usize::try_from(millis / 20).unwrap();
    for device in speakers {
        let heard = usize::try_from(world.devices[*device].heard).unwrap();
        assert_eq!(heard, frames * (speakers.len() - 1), "{device} lost frames");
    }
    assert_eq!(world.rooms.as_ref().unwrap().stats().refused, refused, "the relay opened everything");
    world.packets.iter().map(|packet| packet[18]).collect()
}

#[test]
fn med_8_hop_epochs_of_a_room_change_with_who_is_in_and_nobody_loses_a_frame() {
    let mut world = talking(41, 3);
    let before = said_in(&mut world, 2_000, &[ADA, BOB, CAROL]);
    // Dave comes, and goes: all the while every frame of the others reaches the others.
    world.enter(DAVE);
    world.run(40);
    world.devices[ADA].heard = 0;
    world.run(2_000);
    assert!(world.devices[ADA].heard >= 290, "three are heard: {}", world.devices[ADA].heard);
    world.input(DAVE, Input::HangUp);
    world.run(500);
    assert_eq!(world.over(DAVE), Some(Outcome::Ended));
    let after = said_in(&mut world, 2_000, &[ADA, BOB, CAROL]);
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    // Five minutes without anybody's coming or going.
    let seen = said_in(&mut world, 310_000, &[ADA, BOB, CAROL]);
    assert_eq!(seen.len(), 2, "one renewal in five minutes: {seen:?}");
}

/// In a call of two the same.
#[test]
fn med_8_hop_epochs_of_a_call_are_renewed_too() {
    let mut world = World::talking_with(42, Protection::Hop);
    world.run(2_000);
    let seen = said_in(&mut world, 310_000, &[ADA, BOB]);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((world.over(ADA), world.over(BOB)), (None, None));
}

/// A relay that names an epoch out of turn is left and joined anew; what it names twice, or to a room without hop keys, is
/// nothing.
#[test]
fn med_8_hop_epochs_out_of_turn_make_a_new_connection() {
    let mut world = talking(43, 2);
    let before = world.devices[ADA].relay.unwrap();
    world.input(ADA, Input::Relay(ToMember::HopEpoch { epoch: 0, removed: false }));
    world.input(ADA, Input::Relay(ToMember::HopEpoch { epoch: 1, removed: false }));
    assert_eq!(world.devices[ADA].relay, Some(before));
    assert!(world.all_hear(&[ADA, BOB], 1_000));
    world.input(ADA, Input::Relay(ToMember::HopEpoch { epoch: 1_000_000, removed: true }));
    let rejected = |event: &Event| matches!(event, Event::Rejected { reason } if reason.contains("1000000"));
    assert!(world.devices[ADA].events.iter().any(rejected), "she is told why");
    world.run(2_000);
    assert_ne!(world.devices[ADA].relay.unwrap(), before);
    assert!(world.all_hear(&[ADA, BOB], 1_000));

    let mut world = World::room(44, &NAMES, Protection::Blind);
    (0..2).for_each(|device| world.enter(device));
    world.run(1_500);
    let before = world.devices[ADA].relay;
    world.input(ADA, Input::Relay(ToMember::HopEpoch { epoch: 7, removed: true }));
    assert_eq!(world.devices[ADA].relay, before);
    assert!(world.all_hear(&[ADA, BOB], 1_000));
}
