//! Hop rooms (rules RLY-3, MED-8): what members seal for the relay, what it seals for each of them, and what stays shut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_media::hop::HopError;
use undertone_media::packet::Kind;
use undertone_protocol::control::Refusal;
use undertone_protocol::limits::RECEIVER_QUEUE;
use undertone_protocol::{Grant, Protection, Rights};
use world::World;
use world::hop::Member;

#[test]
fn rly_3_a_packet_is_opened_once_and_sealed_for_each_receiver() {
    let mut world = World::new();
    let [mut ada, mut bob, mut cid] = [(); 3].map(|()| Member::enter(&mut world));
    for n in 0..20_u8 {
        let packet = ada.seal(&[n; 80]);
        world.send(ada.connection, &packet);
    }
    assert_eq!(world.rooms.stats().opened, 20);
    let expected: Vec<(u16, Vec<u8>)> = (0..20).map(|n| (ada.index, vec![n; 80])).collect();
    assert_eq!(bob.hear(&mut world), expected);
    assert_eq!(cid.hear(&mut world), expected);
    assert!(ada.hear(&mut world).is_empty(), "nobody hears themselves");

    // What is for Bob does not open for Cid, though it says the same.
    let packet = ada.seal(b"the same");
    world.send(ada.connection, &packet);
    let (for_bob, for_cid) = (world.received(bob.connection), world.received(cid.connection));
    assert_ne!(for_bob, for_cid);
    assert_eq!(cid.hop.open(world.now, &mut for_bob[0].to_vec()), Err(HopError::Forged));
    assert!(bob.hop.open(world.now, &mut for_bob[0].to_vec()).is_ok());
}

#[test]
fn reflected_frame_is_dropped() {
    let mut world = World::new();
    let [mut ada, mut bob] = [(); 2].map(|()| Member::enter(&mut world));
    let packet = ada.seal(b"sound");
    world.send(ada.connection, &packet);
    let received = world.received(bob.connection);
    // The relay's packet sent back to it, by its receiver and by the sender; the sender's own sent again.
    for (from, bytes) in [
        (bob.connection, received[0].to_vec()),
        (ada.connection, received[0].to_vec()),
        (bob.connection, packet.clone()),
        (ada.connection, packet.clone()),
    ] {
        world.send(from, &bytes);
    }
    assert!(world.received(ada.connection).is_empty() && world.received(bob.connection).is_empty());
    assert_eq!((world.rooms.stats().refused, world.rooms.stats().opened), (4, 1));
    // And a packet of one's own, as the network may bring it back, opens for nobody.
    assert_eq!(ada.hop.open(world.now, &mut packet.clone()), Err(HopError::Forged));
    assert_eq!(bob.hop.open(world.now, &mut packet.clone()), Err(HopError::Forged));
}

#[test]
fn med_11_a_hop_frame_under_another_senders_index_is_dropped() {
    let mut world = World::new();
    let [mut ada, bob] = [(); 2].map(|()| Member::enter(&mut world));
    let packet = ada.seal_as(bob.index, b"words in another's mouth");
    world.send(ada.connection, &packet);
    world.send(ada.connection, b"no packet at all");
    assert!(world.received(bob.connection).is_empty());
    assert_eq!(world.rooms.stats().refused, 2);
}

/// A listener's signs of life are opened and sealed anew like everything else; sound under their name does not open at all.
#[test]
fn rly_1_a_listener_of_a_hop_room_is_still_forwarded_its_control_packets() {
    let mut world = World::new();
    let mut ada = Member::enter(&mut world);
    let mut bob = Member::enter_with(&mut world, Rights { speak: false, moderate: false });
    let report = bob.seal_of(Kind::Control, bob.index, b"a report");
    world.send(bob.connection, &report);
    assert_eq!(ada.hear(&mut world), [(bob.index, b"a report".to_vec())]);
    let sound = bob.seal(b"sound");
    world.send(bob.connection, &sound);
    let mut renamed = bob.seal(b"sound");
    renamed[2] = Kind::Control.to_byte();
    world.send(bob.connection, &renamed);
    assert!(ada.hear(&mut world).is_empty());
    assert_eq!((world.rooms.stats().refused, world.rooms.stats().opened), (2, 1));
}

#[test]
fn neg_1_a_room_is_of_one_protection() {
    // Blind first, then a hop grant for the same room, and the other way round.
    for first in [Protection::Blind, Protection::Hop] {
        let second = if first == Protection::Blind { Protection::Hop } else { Protection::Blind };
        let mut world = World::new();
        let mut refusals = Vec::new();
        for protection in [first, second] {
            let device = world.device();
            let (connection, binding) = world.connect();
            let grant = Grant { protection, ..world.grant(&device) };
            let papers = world.papers(&device, &grant, binding, 0);
            world.enter(connection, papers);
            refusals.push(world.refusal(connection));
        }
        assert_eq!(refusals, [None, Some(Refusal::Protection)]);
    }
}

/// One receiver reads nothing; every other gets every packet, in either protection.
#[test]
fn slow_receiver_delays_nobody() {
    let mut world = World::new();
    let [mut ada, mut quick, mut slow] = [(); 3].map(|()| Member::enter(&mut world));
    let count = 3 * RECEIVER_QUEUE;
    for n in 0..count {
        let packet = ada.seal(&n.to_be_bytes());
        world.send(ada.connection, &packet);
        assert_eq!(quick.hear(&mut world), [(ada.index, n.to_be_bytes().to_vec())]);
    }
    // The newest are there, in order, and open: the relay's counter went on over those that were dropped.
    let left = slow.hear(&mut world);
    let newest: Vec<Vec<u8>> = (count - RECEIVER_QUEUE..count).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(left.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), newest);
    assert_eq!(world.rooms.stats().dropped as usize, count - RECEIVER_QUEUE);

    let mut world = World::new();
    let (blind, index) = world.member();
    let ((quick, _), (slow, _)) = (world.member(), world.member());
    for n in 0..count {
        world.send(blind, &world::packet(index, u32::try_from(n).unwrap()));
        assert_eq!(world.received(quick).len(), 1);
    }
    assert_eq!(world.received(slow).len(), RECEIVER_QUEUE);
}
