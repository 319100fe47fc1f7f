//! A server that grants a place in a room to somebody who is on no list: a ghost (rule GRP-8).

use crate::world::{ADA, BOB, World};
use undertone_call::Outcome;
use undertone_client::engine::{Event, Input, Output};
use undertone_protocol::{Access, Listed, Protection, Rights};

const CAROL: usize = 2;
const HONEST: [usize; 3] = [ADA, BOB, CAROL];

/// Ada, Bob and Carol have a room. Eve has an account on the same server, and no place in it.
fn room(seed: u64) -> (World, usize) {
    let mut world = World::room(seed, &["ada", "bob", "carol"], Protection::Blind);
    let server = *world.server.public();
    let eve = World::device(&mut world.rng, "eve", server);
    world.devices.push(eve);
    let eve = world.devices.len() - 1;
    world.welcome(eve);
    (world, eve)
}

/// The server grants Eve what somebody on the list would be granted, and has a list of its own to show for it.
fn let_in(world: &mut World, eve: usize, moderate: bool) {
    let honest = world.access.last().unwrap();
    let rights = Rights { speak: true, moderate };
    let here = &world.devices[eve];
    let ghost = Listed { user: here.address.user.clone(), account: *here.list.account(), rights };
    let mut members = honest.list().members.clone();
    members.push(ghost);
    members.sort_by(|a, b| a.user.cmp(&b.user));
    let forged = honest.next(members, here.address.clone(), undertone_keys::WallTime::from_unix(2));
    let forged = Access::sign(forged, &here.identity).unwrap();
    let (room, join) = (forged.list().room, Input::JoinRoom { access: Box::new(forged), quorum: None });
    let engine = &mut world.devices[eve].engine;
    engine.handle_input(world.now, join, &mut world.rng);
    assert!(matches!(engine.poll_output(), Some(Output::Enter(_))));
    // Nobody but Eve sees that list: the others ask for the newest, and are shown the one that Ada signed.
    let granted = Ok(world.room_grant(eve, rights));
    world.input(eve, Input::Entered { room, granted });
    // The relay lets her in, be it for a moment.
    let connected = world.devices[eve].events.iter().any(|event| matches!(event, Event::Connected { .. }));
    assert!(connected, "{:?}", world.devices[eve].events);
}

/// What the honest have sealed from here on, none of which Eve opens, nor do they open anything of hers.
fn is_deaf_and_dumb(world: &World, eve: usize, since: usize) {
    let theirs = world.packets[since..].iter().filter(|packet| !world.sent_by(eve, packet));
    let (mut count, mut opened) = (0, 0);
    for packet in theirs {
        (count, opened) = (count + 1, opened + u32::from(world.devices[eve].engine.would_open(packet)));
    }
    assert!(count > 100 && opened == 0, "{opened} of {count} open for a ghost");
    assert_eq!(world.devices[eve].heard_from.values().sum::<u32>(), 0);
    for honest in HONEST {
        let of_eve = |event: &&Event| match event {
            Event::Room { event: undertone_call::room::Event::In { member, .. }, .. } => {
                *member == world.devices[eve].address
            }
            _ => false,
        };
        assert_eq!(world.devices[honest].events.iter().filter(of_eve).count(), 0, "nobody takes her for a member");
    }
}

#[test]
fn grp_8_ghost_member_of_a_server_is_put_out_and_holds_no_key() {
    let (mut world, eve) = room(1);
    HONEST.into_iter().for_each(|device| world.enter(device));
    world.run(1500);
    let taken = world.packets.len();
    let_in(&mut world, eve, false);
    world.run(500);
    assert!(world.all_hear(&HONEST, 2000), "{:?}", world.devices[BOB].events);
    is_deaf_and_dumb(&world, eve, taken);
    // Ada may put strangers out, and does.
    assert_eq!(world.index(eve), None, "{:?}", world.devices[eve].events);
    world.run(12_000);
    assert_eq!(HONEST.map(|device| world.over(device)), [None; 3]);
}

/// A relay that is in league with the server puts nobody out. The honest talk for the ten seconds that somebody may need to hear of a
/// newer list, and then not with a ghost among them.
#[test]
fn grp_8_ghost_member_whom_the_relay_keeps_holds_no_key_and_is_left() {
    let (mut world, eve) = room(2);
    world.lax = true;
    HONEST.into_iter().for_each(|device| world.enter(device));
    world.run(1500);
    let taken = world.packets.len();
    let_in(&mut world, eve, true);
    for _ in 0..9 {
        assert!(world.all_hear(&HONEST, 1000));
    }
    assert!(world.index(eve).is_some());
    is_deaf_and_dumb(&world, eve, taken);
    world.run(2_000);
    assert_eq!(HONEST.map(|device| world.over(device)), [Some(Outcome::RefusedByProof); 3]);
}

/// Whoever came first is host, but for whom the list does not name.
#[test]
fn grp_8_ghost_member_who_was_there_first_is_nobodys_host() {
    let (mut world, eve) = room(3);
    let_in(&mut world, eve, true);
    world.run(3000);
    let taken = world.packets.len();
    let ghost = world.index(eve);
    HONEST.into_iter().for_each(|device| world.enter(device));
    world.run(3000);
    assert!(world.all_hear(&HONEST, 2000), "{:?}", world.devices[BOB].events);
    for honest in HONEST {
        assert!(!world.hosts(honest).contains(&ghost.unwrap()));
    }
    is_deaf_and_dumb(&world, eve, taken);
}
