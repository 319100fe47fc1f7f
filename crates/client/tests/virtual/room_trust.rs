//! What members of a room learn of each other's directory and keys: rules KT-13 and the second half of GRP-7.

use crate::world::{ADA, BOB, World};
use undertone_call::Outcome;
use undertone_call::room::{Event as RoomEvent, KeySignal};
use undertone_client::engine::{Event, Input};
use undertone_protocol::Protection;

const CAROL: usize = 2;
const ALL: [usize; 3] = [ADA, BOB, CAROL];

/// Three people, of whom Bob comes first and is host.
fn room(seed: u64) -> World {
    World::room(seed, &["ada", "bob", "carol"], Protection::Blind)
}

fn enter(world: &mut World, devices: &[usize]) {
    for device in devices {
        world.enter(*device);
        world.run(100);
    }
    world.run(1_500);
}

/// Whether this device was told that this one has no forward secrecy.
fn forward_secrecy(world: &World, device: usize, of: usize) -> Option<bool> {
    let of = world.devices[of].address.device;
    world.devices[device].events.iter().rev().find_map(|event| match event {
        Event::Room { event: RoomEvent::In { member, forward_secrecy, .. }, .. } if member.device == of => {
            Some(*forward_secrecy)
        }
        _ => None,
    })
}

#[test]
fn kt_13_who_was_shown_the_same_log_asks_for_nothing() {
    let mut world = room(1);
    enter(&mut world, &[BOB, ADA, CAROL]);
    assert!(world.all_hear(&ALL, 1_000));
    assert_eq!(world.compared, 0);
}

#[test]
fn kt_13_a_host_that_was_shown_another_log_ends_the_room() {
    let mut world = room(2);
    world.branches.insert(BOB, 2);
    enter(&mut world, &[BOB, ADA, CAROL]);
    for device in [ADA, CAROL] {
        assert_eq!(world.over(device), Some(Outcome::RefusedByProof));
        let bob = &world.devices[BOB].address.user;
        let disproved = |event: &Event| matches!(event, Event::Disproved { peer, call: Some(_), .. } if peer == bob);
        assert!(world.devices[device].events.iter().any(disproved), "{:?}", world.devices[device].events);
    }
}

#[test]
fn kt_13_a_host_that_lies_about_the_log_is_host_no_more() {
    let mut world = room(3);
    enter(&mut world, &[BOB, ADA, CAROL]);
    assert!(world.all_hear(&ALL, 1_000));
    let epoch = world.epochs(CAROL).last().copied().unwrap();
    let key = world.epoch_key(BOB, |statement| statement.epoch = epoch + 1);
    let roster = world.roster();
    let checkpoint = b"a note that no log has signed".to_vec();
    world.key_signal(BOB, CAROL, (1, epoch + 1), &KeySignal::Prepare { key, roster, checkpoint, applied: 0 });
    world.run(200);
    assert_eq!(world.compared, 1, "the server was asked once");
    let bob = world.index(BOB).unwrap();
    let refused =
        |event: &Event| matches!(event, Event::Room { event: RoomEvent::HostRefused { index }, .. } if *index == bob);
    assert!(world.devices[CAROL].events.iter().any(refused));
    assert_eq!(world.over(CAROL), None, "the server has done nothing");
}

#[test]
fn grp_7_keys_can_be_sealed_to_a_devices_own_key() {
    // As a member, and as the host whom others answer.
    for first in [[BOB, ADA, CAROL], [ADA, BOB, CAROL]] {
        let mut world = room(4);
        world.input(BOB, Input::ForwardSecrecy(false));
        enter(&mut world, &first);
        assert!(world.all_hear(&ALL, 2_000));
        assert_eq!(world.joins[&BOB].ephemeral, None);
        for device in [ADA, CAROL] {
            assert_eq!(forward_secrecy(&world, device, BOB), Some(false));
        }
        assert_eq!(forward_secrecy(&world, BOB, ADA), Some(true));
        world.devices[BOB].engine.lose_key();
        world.run(4_000);
        assert!(world.all_hear(&ALL, 1_000), "a lost key comes back the same way");
    }
}

#[test]
fn grp_7_a_device_with_rsa_alone_is_heard_and_everybody_sees_what_it_costs() {
    let mut world = room(5);
    world.give_rsa(BOB);
    world.input(BOB, Input::ForwardSecrecy(false));
    enter(&mut world, &[ADA, BOB, CAROL]);
    assert!(world.all_hear(&ALL, 2_000));
    assert_eq!(forward_secrecy(&world, CAROL, BOB), Some(false));
    world.devices[BOB].engine.lose_key();
    world.run(4_000);
    assert!(world.all_hear(&ALL, 1_000));
}

/// GRP-1: a host that can hand out nothing says nothing any more, and the next in order follows it while it is still in.
#[test]
fn grp_1_a_host_that_cannot_reach_the_server_is_followed() {
    let mut world = room(6);
    enter(&mut world, &ALL);
    assert!(world.all_hear(&ALL, 1_000));
    let ada = world.index(ADA);
    world.deaf.insert(ADA);
    world.dumb.insert(ADA);
    world.input(ADA, Input::SignalDown);
    // Those who are in lose nothing by it.
    world.run(8_000);
    for device in [BOB, CAROL] {
        assert_ne!(world.hosts(device).last().copied(), ada, "{:?}", world.devices[device].events);
    }
    assert!(world.all_hear(&[BOB, CAROL], 1_000));
    // Back, it goes by the one that followed it.
    world.deaf.clear();
    world.dumb.clear();
    world.welcome(ADA);
    world.run(3_000);
    assert!(world.all_hear(&ALL, 1_000));
}

/// GRP-1: where the server is away for everybody, nobody is followed, and everybody goes on talking.
#[test]
fn grp_1_where_the_server_is_away_for_all_the_host_stays() {
    let mut world = room(7);
    enter(&mut world, &ALL);
    assert!(world.all_hear(&ALL, 1_000));
    let hosts = ALL.map(|device| world.hosts(device));
    for device in ALL {
        world.deaf.insert(device);
        world.dumb.insert(device);
        world.input(device, Input::SignalDown);
    }
    assert!(world.all_hear(&ALL, 20_000));
    assert_eq!(ALL.map(|device| world.hosts(device)), hosts);
    world.deaf.clear();
    world.dumb.clear();
    ALL.into_iter().for_each(|device| world.welcome(device));
    world.run(3_000);
    assert!(world.all_hear(&ALL, 1_000));
    assert_eq!(ALL.map(|device| world.hosts(device)), hosts, "nobody was followed");
}

/// GRP-8: who was taken off the list and is put on it again, while a relay let them stay, is heard again by everybody.
#[test]
fn grp_8_whoever_is_put_on_the_list_again_is_heard_again() {
    let mut world = room(8);
    enter(&mut world, &ALL);
    assert!(world.all_hear(&ALL, 1_000));
    world.lax = true;
    let members = world.access[0].list().members.clone();
    let bob = world.devices[BOB].address.user.clone();
    world.deaf.insert(BOB);
    world.relist(members.iter().filter(|member| member.user != bob).cloned().collect());
    world.run(2_000);
    world.deaf.clear();
    assert!(world.all_hear(&[ADA, CAROL], 1_000));
    let heard = world.devices[ADA].heard_from.get(&world.index(BOB).unwrap()).copied().unwrap_or_default();
    assert_eq!(heard, 0, "who is not on the list is not heard");
    world.relist(members);
    world.run(3_000);
    assert!(world.all_hear(&ALL, 1_000), "{:?}", world.devices[BOB].events);
}
