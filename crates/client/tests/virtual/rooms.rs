//! Rooms of several shipped engines on the shipped relay core, in virtual time.

use crate::world::{ADA, BOB, CAROL, DAVE, NAMES, World};
use bytes::Bytes;
use undertone_call::Outcome;
use undertone_call::room::Event as RoomEvent;
use undertone_client::LegacyPolicy;
use undertone_client::engine::{Event, Input};
use undertone_protocol::limits::MAX_SPEAKERS;
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Protection, Rights};

/// These people in a room, and everybody hears everybody.
fn talking(seed: u64, count: usize, protection: Protection) -> World {
    let mut world = World::room(seed, &NAMES[..count.max(2)], protection);
    for device in 0..count {
        world.enter(device);
    }
    world.run(1500);
    let everybody: Vec<usize> = (0..count).collect();
    assert!(world.all_hear(&everybody, 1000), "{:?}", world.devices[BOB].events);
    world
}

#[test]
fn grp_8_everybody_on_the_list_hears_everybody_under_either_protection() {
    for protection in [Protection::Blind, Protection::Hop] {
        for count in [2, 3, 5] {
            let mut world = talking(1, count, protection);
            let opened = world.rooms.as_ref().unwrap().stats().opened;
            assert_eq!(opened > 0, protection == Protection::Hop, "the relay opened {opened} packets");
            // The same keys everywhere, and no key in a hop room.
            let newest: Vec<Option<u32>> = (0..count).map(|device| world.epochs(device).last().copied()).collect();
            assert!(newest.iter().all(|epoch| *epoch == newest[0]), "{newest:?}");
            assert_eq!(newest[0].is_some(), protection == Protection::Blind);
            assert!(world.all_hear(&(0..count).collect::<Vec<_>>(), 20_000));
        }
    }
}

#[test]
fn grp_1_whoever_comes_first_is_host_and_the_room_needs_nobody_else() {
    let mut world = World::room(2, &NAMES[..3], Protection::Blind);
    world.enter(BOB);
    world.enter(CAROL);
    world.run(1500);
    assert!(world.all_hear(&[BOB, CAROL], 1000));
    world.enter(ADA);
    world.run(1500);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
    assert_eq!(world.hosts(ADA).last().copied(), world.index(BOB));
}

/// As many as may speak all do, and those beyond hear each of them and are heard by nobody.
#[test]
fn grp_8_fifty_speak_and_listeners_beyond_hear_them_all() {
    const IN: usize = MAX_SPEAKERS + 6;
    let names: Vec<String> = (0..IN).map(|place| format!("p{place:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for protection in [Protection::Blind, Protection::Hop] {
        let mut world = World::room(50, &names, protection);
        (0..IN).for_each(|device| world.enter(device));
        world.run(4_000);
        world.devices.iter_mut().for_each(|device| device.heard_from.clear());
        let speakers: Vec<usize> = (0..MAX_SPEAKERS).collect();
        assert!(world.all_hear(&speakers, 400), "{protection:?}");
        for device in 0..IN {
            let heard = &world.devices[device].heard_from;
            let others = MAX_SPEAKERS - usize::from(device < MAX_SPEAKERS);
            assert_eq!(heard.len(), others, "{protection:?}: {device} hears so many");
            assert!(heard.values().all(|frames| *frames + 2 >= 20), "{protection:?}: {device} {heard:?}");
        }
    }
}

/// Whoever left, or was put out, opens nothing that is sealed a moment later, and nobody else loses a word.
#[test]
fn grp_5_left_member_opens_nothing() {
    for kicked in [false, true] {
        let mut world = talking(3, 4, Protection::Blind);
        let before = world.epochs(ADA).last().copied().unwrap();
        // Dave keeps his keys, whatever his client would do: a copy of what he could open is kept by asking his engine
        // about every packet the relay takes, while his engine is still in the call.
        if kicked {
            let others = [ADA, BOB, CAROL].map(|device| world.listed(device, device == ADA));
            world.relist(others.to_vec());
        } else {
            world.devices[DAVE].reachable = false;
        }
        // What the relay has taken so far he may open; what it takes half a second after he is gone he may not.
        world.run(if kicked { 500 } else { 9_000 });
        let from = world.packets.len();
        assert!(world.all_hear(&[ADA, BOB, CAROL], 1000), "kicked {kicked}");
        assert!(world.epochs(ADA).last().copied().unwrap() > before);
        let later: Vec<Vec<u8>> = world.packets.split_off(from);
        assert!(later.len() >= 140);
        if kicked {
            assert_eq!(world.over(DAVE), Some(Outcome::Removed));
        } else {
            // His engine is still there with every key it ever had, and cannot reach the relay.
            let opens = |packet: &&Vec<u8>| world.devices[DAVE].engine.would_open(packet);
            assert_eq!(later.iter().filter(opens).count(), 0, "of {}", later.len());
            assert!(later.iter().all(|packet| world.devices[CAROL].engine.would_open(packet)));
        }
    }
}

#[test]
fn grp_2_joiner_cannot_read_the_past_and_leavers_are_told_of() {
    let mut world = World::room(4, &NAMES[..4], Protection::Blind);
    [ADA, BOB, CAROL].into_iter().for_each(|device| world.enter(device));
    world.run(2000);
    let before = world.packets.clone();
    world.enter(DAVE);
    world.run(1500);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000));
    assert!(before.len() > 100 && !before.iter().any(|packet| world.devices[DAVE].engine.would_open(packet)));

    world.input(DAVE, Input::HangUp);
    world.run(500);
    assert_eq!(world.over(DAVE), Some(Outcome::Ended));
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
    let out = |event: &Event| matches!(event, Event::Room { event: RoomEvent::Out { .. }, .. });
    assert_eq!(world.devices[BOB].events.iter().filter(|event| out(event)).count(), 1);
}

#[test]
fn grp_5_nobody_loses_a_frame_while_people_come_and_go() {
    let mut world = talking(5, 3, Protection::Blind);
    let refused = |world: &World, device: usize| world.devices[device].engine.media_stats().refused;
    let before = [ADA, BOB, CAROL].map(|device| refused(&world, device));
    for _ in 0..5 {
        // Erin and Dave are on nobody's mind: the list has three. Carol comes and goes.
        world.input(CAROL, Input::HangUp);
        assert!(world.all_hear(&[ADA, BOB], 600));
        world.enter(CAROL);
        world.run(600);
        assert!(world.all_hear(&[ADA, BOB, CAROL], 600));
    }
    // What did not open was sealed before its key had come round: a handful in all.
    let lost = refused(&world, ADA) - before[0] + refused(&world, BOB) - before[1];
    assert!(lost <= 10, "{lost} frames did not open");
}

/// Every five minutes there is another key, and nobody loses a frame by it.
#[test]
fn grp_2_rotation_after_five_minutes_loses_no_frame() {
    let mut world = talking(14, 3, Protection::Blind);
    world.pass(285);
    world.run(100);
    let before = world.epochs(CAROL);
    let refused = [ADA, BOB, CAROL].map(|device| world.devices[device].engine.media_stats().refused);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 20_000));
    let after = world.epochs(CAROL);
    assert_eq!((before.len() + 1, after.last()), (after.len(), world.epochs(ADA).last()), "{before:?} {after:?}");
    let lost = [ADA, BOB, CAROL].map(|device| world.devices[device].engine.media_stats().refused);
    assert_eq!(lost, refused, "a frame did not open");
}

#[test]
fn grp_1_the_creators_device_begins_anew_and_the_call_goes_on() {
    let mut world = talking(6, 4, Protection::Blind);
    for _ in 0..3 {
        let newest = world.epochs(BOB).last().copied();
        world.restart(ADA);
        world.enter(ADA);
        world.run(2000);
        assert!(world.epochs(BOB).last().copied() > newest, "epochs only grow");
        assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000), "{:?}", world.devices[ADA].events);
    }
    world.restart(BOB);
    world.enter(BOB);
    world.run(2000);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000));
}

/// The host goes, in each way there is: the next in order follows it, and everybody who is left hears everybody.
#[test]
fn grp_1_handover_when_the_host_leaves_dies_or_is_cut_off() {
    for (round, how) in ["leaves", "dies", "is cut off", "is deaf and dumb"].into_iter().enumerate() {
        let mut world = talking(7, 4, Protection::Blind);
        let (before, host) = (world.epochs(BOB).last().copied(), world.index(ADA).unwrap());
        assert_eq!(world.hosts(BOB).last(), Some(&host));
        match round {
            0 => world.input(ADA, Input::HangUp),
            1 => world.devices[ADA].reachable = false,
            2 => {
                // The server's words do not reach anybody from her, and hers nobody: only the sound goes through.
                world.deaf.insert(ADA);
                world.dumb.insert(ADA);
                world.wordless.insert(ADA);
            }
            _ => {
                world.devices[ADA].reachable = false;
                world.deaf.insert(ADA);
                world.dumb.insert(ADA);
            }
        }
        world.run(if round == 0 { 700 } else { 11_000 });
        assert!(world.all_hear(&[BOB, CAROL, DAVE], 1000), "{how}: {:?}", world.devices[CAROL].events);
        assert!(world.epochs(BOB).last().copied() > before, "{how}");
        let bob = world.index(BOB).unwrap();
        assert_eq!([BOB, CAROL, DAVE].map(|device| world.hosts(device).last().copied()), [Some(bob); 3], "{how}");
    }
    // A hop room needs nobody's keys.
    let mut world = talking(7, 3, Protection::Hop);
    world.input(ADA, Input::HangUp);
    world.run(30_000);
    assert!(world.all_hear(&[BOB, CAROL], 1000));
}

#[test]
fn grp_8_ghost_member_with_a_grant_is_heard_by_nobody_and_gets_no_key() {
    let mut world = talking(8, 4, Protection::Blind);
    // Dave is taken off, and a server that is not honest lets him in all the same, on a fresh grant.
    let (room, rights) = (world.access[0].list().room, Rights { speak: true, moderate: false });
    let others = [ADA, BOB, CAROL].map(|device| world.listed(device, device == ADA));
    world.relist(others.to_vec());
    world.run(500);
    assert_eq!(world.over(DAVE), Some(Outcome::Removed));
    world.devices[DAVE].events.clear();
    world.devices[DAVE].heard_from.clear();
    world.now = undertone_keys::Time::from_millis(world.now.as_millis() + 2_000);
    let old = Box::new(world.access[0].clone());
    world.input(DAVE, Input::JoinRoom { access: old, quorum: None });
    let granted = Ok(world.room_grant(DAVE, rights));
    world.input(DAVE, Input::Entered { room, granted });
    world.run(1000);
    let taken = world.packets.len();
    world.run(1000);
    let heard: u32 = world.devices[DAVE].heard_from.values().sum();
    assert_eq!(heard, 0, "Dave hears nothing");
    let after = &world.packets[taken..];
    assert!(!after.iter().any(|packet| world.devices[DAVE].engine.would_open(packet)));
    assert_eq!(world.over(BOB), None, "one who was put out ends nothing");
    assert!(world.all_hear(&[ADA, BOB, CAROL], 500));
}

#[test]
fn grp_8_ghost_member_of_a_servers_making_is_put_out_or_left() {
    let mut world = talking(9, 3, Protection::Blind);
    // The server grants a place to a device that is none of Carol's, in Carol's name.
    let server = *world.server.public();
    let mut rng = undertone_keys::testing::SeededRng::new(5);
    let mut impostor = World::device(&mut rng, "carol", server);
    impostor.address.user = world.devices[CAROL].address.user.clone();
    world.devices.push(impostor);
    let impostor = world.devices.len() - 1;
    world.welcome(impostor);
    // Whoever may put people out does, and the others go on; the impostor was heard by nobody and got no key.
    world.enter(impostor);
    world.run(3000);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000), "{:?}", world.devices[CAROL].events);
    assert!(!world.devices[impostor].engine.can_send());
    // A relay that lets it stay is left.
    world.lax = true;
    world.devices[impostor].events.clear();
    world.now = undertone_keys::Time::from_millis(world.now.as_millis() + 2_000);
    world.input(impostor, Input::HangUp);
    world.enter(impostor);
    world.run(5_000);
    assert_eq!([ADA, BOB, CAROL].map(|device| world.over(device)), [None; 3]);
    world.run(6_000);
    assert_eq!([ADA, BOB, CAROL].map(|device| world.over(device)), [Some(Outcome::RefusedByProof); 3]);
}

#[test]
fn rly_1_moderators_mute_and_listeners_are_not_heard() {
    let mut world = talking(10, 3, Protection::Blind);
    let bob = world.index(BOB).unwrap();
    world.input(CAROL, Input::MuteMember { index: bob, muted: true });
    assert!(world.all_hear(&[ADA, BOB, CAROL], 500), "Carol may not");
    world.input(ADA, Input::MuteMember { index: bob, muted: true });
    world.run(100);
    assert!(!world.devices[BOB].engine.can_send());
    let before = world.devices[CAROL].heard_from.get(&bob).copied();
    world.run(500);
    assert_eq!(world.devices[CAROL].heard_from.get(&bob).copied(), before);
    let told = |event: &&Event| matches!(event, Event::Muted { muted: true, me: true, .. });
    assert_eq!(world.devices[BOB].events.iter().filter(told).count(), 1);
    world.input(ADA, Input::MuteMember { index: bob, muted: false });
    world.run(100);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 500));

    // Carol becomes a listener: she joins anew, hears everybody, and says nothing.
    let rights = Rights { speak: false, moderate: false };
    let mut members = vec![world.listed(ADA, true), world.listed(BOB, false), world.listed(CAROL, false)];
    members[2].rights = rights;
    world.relist(members);
    world.run(1500);
    assert!(!world.devices[CAROL].engine.can_send());
    assert!(world.all_hear(&[ADA, BOB], 500));
    let heard = world.devices[CAROL].heard;
    world.run(1000);
    assert!(world.devices[CAROL].heard - heard >= 96);
    assert_eq!(world.over(ADA), None);
}

#[test]
fn id_4_grp_7_replayed_letters_count_for_nobody() {
    let mut world = talking(11, 3, Protection::Blind);
    let newest = world.epochs(BOB).last().copied();
    // Every envelope that ever went by comes again, from everybody to everybody.
    let call = undertone_keys::CallId::from_bytes(*world.access[0].list().room.as_bytes());
    for envelope in world.carried.clone() {
        for (from, to) in [(ADA, BOB), (CAROL, BOB), (ADA, CAROL), (BOB, ADA)] {
            let from = world.devices[from].address.clone();
            let deliver = ToDevice::Deliver { from, call, envelope: envelope.clone(), grant: None };
            world.input(to, Input::Signal(deliver));
        }
    }
    world.run(1000);
    assert_eq!(world.epochs(BOB).last().copied(), newest, "nothing old counts again");
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
}

#[test]
fn call_3_whoever_is_in_a_room_is_busy() {
    let mut world = talking(12, 2, Protection::Blind);
    let server = *world.server.public();
    let mut rng = undertone_keys::testing::SeededRng::new(8);
    let caller = World::device(&mut rng, "zoe", server);
    world.devices.push(caller);
    let zoe = world.devices.len() - 1;
    world.welcome(zoe);
    let peer = world.peer(BOB);
    world.input(zoe, Input::Dial { peer, protection: Protection::Blind, legacy: LegacyPolicy::Ask, quorum: None });
    world.run(2000);
    assert_eq!(world.over(zoe), Some(Outcome::Busy));
    assert!(!world.devices[BOB].events.iter().any(|event| matches!(event, Event::Incoming { .. })));
    assert!(world.all_hear(&[ADA, BOB], 500));
}

#[test]
fn med_4_packets_that_come_again_open_nothing_in_a_room() {
    let mut world = talking(13, 3, Protection::Blind);
    let bob = world.devices[BOB].engine.media_stats();
    for packet in world.packets.clone() {
        let mut bytes = Bytes::from(packet).to_vec();
        let now = world.now;
        assert!(world.devices[BOB].engine.open_packet(now, &mut bytes).is_none());
    }
    assert_eq!(world.devices[BOB].engine.media_stats().opened, bob.opened);
}
