//! The room of one, whose packets come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_protocol::Protection;
use undertone_protocol::control::Refusal;
use world::{World, packet};

#[test]
fn rly_2_an_echo_hands_back_bytes_as_they_are_and_is_for_one_alone() {
    let mut world = World::new();
    let device = world.device();
    let mut grant = world.grant(&device);
    grant.protection = Protection::Echo;
    let (connection, binding) = world.connect();
    let papers = world.papers(&device, &grant, binding, 0);
    world.enter(connection, papers);
    let index = world.index(connection).unwrap();
    let sent = packet(index, 1);
    world.send(connection, &sent);
    // Another's index, or no packet, does not come back.
    world.send(connection, &packet(index + 1, 2));
    world.send(connection, b"noise");
    assert_eq!(world.received(connection), [sent.as_slice()]);
    let stats = world.rooms.stats();
    assert_eq!((stats.opened, stats.refused), (0, 2));

    // Nobody else comes in, whatever papers they have, and nobody comes in on other terms.
    let stranger = world.device();
    let mut other = grant.clone();
    (other.member.device, other.identity) = (undertone_keys::DeviceId::of(stranger.public()), *stranger.public());
    let (second, binding) = world.connect();
    let papers = world.papers(&stranger, &other, binding, 0);
    world.enter(second, papers);
    assert_eq!(world.refusal(second), Some(Refusal::Full));
    grant.protection = Protection::Blind;
    let (third, binding) = world.connect();
    let papers = world.papers(&device, &grant, binding, 0);
    world.enter(third, papers);
    assert_eq!(world.refusal(third), Some(Refusal::Protection));
}
