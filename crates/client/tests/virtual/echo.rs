//! A person who hears themselves, in virtual time.

use crate::world::{ADA, BOB, World};
use undertone_call::Outcome;
use undertone_client::LegacyPolicy;
use undertone_client::engine::{Event, Input};
use undertone_keys::WallTime;
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Protection, VERSION};
use undertone_relay::{Limits, Rooms};

/// A world in which nobody talks yet and Ada listens to herself.
fn echo(seed: u64) -> World {
    let mut world = World::new(seed);
    world.welcome(ADA);
    world.welcome(BOB);
    world.input(ADA, Input::Echo);
    world.run(500);
    world
}

fn heard(world: &mut World, ms: u64) -> u32 {
    let before = world.devices[ADA].heard;
    world.run(ms);
    world.devices[ADA].heard - before
}

#[test]
fn an_echo_is_sealed_comes_back_and_is_opened_by_nobody_else() {
    let mut world = echo(1);
    assert!(heard(&mut world, 1_000) >= 48, "{:?}", world.devices[ADA].events);
    let stats = world.rooms.as_ref().unwrap().stats();
    assert!(stats.received > 50 && stats.opened == 0 && stats.refused == 0, "{stats:?}");
    let packet = world.packets.last().unwrap().clone();
    assert!(world.devices[ADA].engine.would_open(&packet));
    // What comes back twice is played once.
    let mut copy = packet.clone();
    assert!(world.devices[ADA].engine.open_packet(world.now, &mut copy).is_none());
    world.input(ADA, Input::HangUp);
    assert_eq!(world.over(ADA), Some(Outcome::Ended));
    assert!(!world.devices[ADA].engine.is_busy());
}

#[test]
fn an_echo_outlives_a_relay_that_forgets_it() {
    let mut world = echo(2);
    for _ in 0..2 {
        world.rooms = None;
        world.run(4_000);
        world.rooms = Some(Rooms::new(*world.server.public(), Limits::default()));
        world.run(2_000);
        assert!(heard(&mut world, 1_000) >= 48);
    }
}

#[test]
fn who_tests_themselves_is_busy() {
    let mut world = echo(3);
    let peer = world.peer(ADA);
    world.input(BOB, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
    world.run(2_000);
    assert_eq!(world.over(BOB), Some(Outcome::Busy));
    assert!(!world.devices[ADA].events.iter().any(|event| matches!(event, Event::Incoming { .. })));
    assert_eq!(world.over(ADA), None);
}

/// No invite and no list makes an echo of what is meant for two.
#[test]
fn neg_1_nobody_is_called_on_the_terms_of_an_echo() {
    let mut world = World::new(4);
    world.welcome(ADA);
    world.welcome(BOB);
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Echo, legacy: LegacyPolicy::Ask, quorum: None });
    world.run(2_000);
    assert!(!world.devices[BOB].events.iter().any(|event| matches!(event, Event::Incoming { .. })));
    assert_eq!(world.over(ADA), Some(Outcome::RefusedByPolicy));
    // A grant for something else than an echo of this device begins none.
    let mut world = World::new(5);
    let you = world.devices[ADA].address.clone();
    world.input(ADA, Input::Signal(ToDevice::Welcome { version: VERSION, now: WallTime::from_unix(1), you }));
    world.mute = true;
    world.input(ADA, Input::Echo);
    world.protection = Protection::Blind;
    let grant = world.grant(ADA, undertone_keys::CallId::from_bytes([9; 16]));
    world.input(ADA, Input::Signal(ToDevice::CallOpened { number: 0, grant }));
    let refused = |event: &Event| matches!(event, Event::Refused { outcome: Outcome::RefusedByProof, .. });
    assert!(world.devices[ADA].events.iter().any(refused));
    assert!(!world.devices[ADA].engine.is_busy());
}
