//! Rooms in which somebody lies: a member, the server, the relay; and what chance does without anybody's will.

use crate::world::{ADA, BOB, CAROL, DAVE, ERIN, NAMES, World};
use undertone_call::Outcome;
use undertone_client::engine::Input;
use undertone_protocol::control::ToMember;
use undertone_protocol::{Protection, Rights};

#[test]
fn grp_2_no_members_word_drives_the_epochs() {
    let mut world = World::in_room(1, 4);
    let before = world.newest(ADA);
    let changes = world.epochs(ADA).len();
    // Four times a second for twenty seconds, one member says whatever it likes.
    for round in 0..80_u32 {
        for (epoch, stuck) in [(u32::MAX, true), (1 << 31, false), (world.newest(ADA), true), (before + 4000, true)] {
            let signal = world.request(DAVE, epoch, stuck);
            world.key_signal(DAVE, ADA, (0, 0), &signal);
        }
        if round % 8 == 0 {
            assert!(world.all_hear(&[ADA, BOB, CAROL], 250), "round {round}");
        } else {
            world.run(250);
        }
    }
    assert!(world.newest(ADA) < before + 20_000, "{} to {}", before, world.newest(ADA));
    assert!(world.epochs(ADA).len() - changes <= 4, "{:?}", &world.epochs(ADA)[changes..]);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000));
}

#[test]
fn grp_2_joiner_cannot_read_the_past_by_asking_at_once() {
    let mut world = World::room(2, &NAMES[..4], Protection::Blind);
    [ADA, BOB, CAROL].into_iter().for_each(|device| world.enter(device));
    world.run(2000);
    let before = world.packets.clone();
    world.enter(DAVE);
    for _ in 0..30 {
        let signal = world.request(DAVE, 0, false);
        world.key_signal(DAVE, ADA, (0, 0), &signal);
        world.run(20);
    }
    world.run(1000);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000));
    assert!(before.len() > 200 && !before.iter().any(|packet| world.devices[DAVE].engine.would_open(packet)));
}

#[test]
fn grp_7_a_key_counts_from_the_host_alone() {
    let mut world = World::in_room(3, 3);
    let epoch = world.newest(BOB) + 1;
    // From a member that is not host; for another epoch than its letter says; in another's name; with a secret that does not
    // fit; of a call with other terms.
    let key = world.epoch_key(CAROL, |statement| statement.epoch = epoch);
    let forged = world.prepare(&key);
    world.key_signal(CAROL, BOB, (1, epoch), &forged);
    let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
    let elsewhere = world.prepare(&key);
    world.key_signal(ADA, BOB, (1, epoch + 1), &elsewhere);
    world.key_signal(CAROL, BOB, (1, epoch), &elsewhere);
    let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.commitment) = (epoch, [1; 32]));
    let unfit = world.prepare(&key);
    world.key_signal(ADA, BOB, (1, epoch), &unfit);
    let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.terms.quorum) = (epoch, true));
    let other = world.prepare(&key);
    world.key_signal(ADA, BOB, (1, epoch), &other);
    world.run(1000);
    assert!(world.newest(BOB) < epoch, "{:?}", world.epochs(BOB));
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
    // A list that nobody has is waited for and never comes: nothing is done without end for it.
    let key = world.epoch_key(ADA, |statement| {
        (statement.epoch, statement.access, statement.version) = (epoch, [1; 32], u32::MAX);
    });
    let future = world.prepare(&key);
    world.key_signal(ADA, BOB, (1, epoch), &future);
    world.run(5000);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
    // Two lists of one number are two stories.
    let key = world.epoch_key(ADA, |statement| (statement.epoch, statement.access) = (epoch, [1; 32]));
    let fork = world.prepare(&key);
    world.key_signal(ADA, BOB, (1, epoch), &fork);
    assert_eq!(world.over(BOB), Some(Outcome::RefusedByProof));
}

/// GRP-1: two statements of one host for one epoch end its part, and the next in order goes on.
#[test]
fn grp_3_a_host_that_tells_two_stories_is_host_no_more() {
    let mut world = World::in_room(12, 4);
    let epoch = world.newest(BOB) + 1;
    for to in [BOB, BOB] {
        let key = world.epoch_key(ADA, |statement| statement.epoch = epoch);
        world.key_signal(ADA, to, (1, epoch), &world.prepare(&key));
    }
    world.run(12_000);
    let bob = world.index(BOB).unwrap();
    assert_eq!(world.host_of([BOB, CAROL, DAVE]), [Some(bob); 3]);
    assert!(world.all_hear(&[BOB, CAROL, DAVE], 1000), "{:?}", world.devices[CAROL].events);
}

#[test]
fn grp_8_two_changes_at_once_are_both_heard_of() {
    let mut world = World::in_room(4, 5);
    let members = |world: &World, devices: &[usize]| {
        devices.iter().map(|device| world.listed(*device, *device == ADA)).collect::<Vec<_>>()
    };
    let first = members(&world, &[ADA, BOB, CAROL, DAVE]);
    world.relist(first);
    let second = members(&world, &[ADA, BOB, CAROL]);
    world.relist(second);
    world.run(3000);
    assert_eq!([DAVE, ERIN].map(|device| world.over(device)), [Some(Outcome::Removed); 2]);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
}

#[test]
fn grp_8_what_was_said_while_a_device_was_away_it_asks_for() {
    for away in [ADA, BOB] {
        let mut world = World::in_room(5, 4);
        world.deaf.insert(away);
        let others = [ADA, BOB, CAROL].map(|device| world.listed(device, device == ADA));
        world.relist(others.to_vec());
        world.run(1000);
        world.deaf.remove(&away);
        world.welcome(away);
        world.run(3000);
        assert_eq!(world.over(DAVE), Some(Outcome::Removed), "{away} was away");
        assert!(world.all_hear(&[ADA, BOB, CAROL], 1000), "{away} was away");
    }
}

#[test]
fn ekr_1_emergency_a_lost_key_is_asked_for() {
    let mut world = World::in_room(6, 4);
    // The epoch changes while nothing reaches Bob.
    world.deaf.insert(BOB);
    world.input(DAVE, Input::HangUp);
    world.run(600);
    world.deaf.remove(&BOB);
    world.run(4000);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000), "{:?}", world.devices[BOB].events);
}

#[test]
fn grp_4_keys_that_were_held_up_and_come_all_at_once_are_taken() {
    let mut world = World::in_room(7, 5);
    world.held_up.insert(BOB, Vec::new());
    for _ in 0..4 {
        world.input(ERIN, Input::HangUp);
        world.run(700);
        world.enter(ERIN);
        world.run(700);
    }
    let kept = world.held_up.remove(&BOB).unwrap();
    assert!(kept.len() >= 6);
    for message in kept {
        world.input(BOB, Input::Signal(message));
    }
    world.run(1500);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE, ERIN], 1000), "{:?}", world.epochs(BOB));
}

/// GRP-5 against a server that keeps the host's letters back while somebody listens who has left: each of those it keeps
/// them from is silent after a while, and none of them is heard by the leaver.
#[test]
fn grp_5_without_the_next_epoch_nobody_goes_on_talking() {
    let mut world = World::in_room(8, 4);
    world.deaf.extend([ADA, BOB, CAROL]);
    world.dumb.extend([ADA, BOB, CAROL]);
    world.input(DAVE, Input::HangUp);
    world.run(20_000);
    // Each has its own key by now, or none: nobody's frames open for anybody.
    let from = world.packets.len();
    assert!(!world.all_hear(&[ADA, BOB, CAROL], 1000));
    assert!(!world.packets[from..].iter().any(|packet| world.devices[DAVE].engine.would_open(packet)));
    assert_eq!(world.over(BOB), None);
    // When the words come after all the room goes on.
    world.deaf.clear();
    world.dumb.clear();
    [ADA, BOB, CAROL].into_iter().for_each(|device| world.welcome(device));
    world.run(6_000);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000), "{:?}", world.devices[BOB].events);
}

#[test]
fn med_3_a_join_that_has_gone_does_not_come_again() {
    let mut world = World::in_room(9, 4);
    let (dave, index) = (world.devices[DAVE].relay.unwrap(), world.index(DAVE).unwrap());
    let _ = dave;
    // The relay says that Dave has gone, keeps feeding him, and shows the same papers again.
    let member = undertone_protocol::control::Member {
        index,
        grant: world.grants[&DAVE].clone(),
        join: world.joins[&DAVE].sign(&world.devices[DAVE].identity),
    };
    let before = world.newest(ADA);
    for device in [ADA, BOB, CAROL] {
        let reason = undertone_protocol::control::Refusal::Left;
        world.input(device, Input::Relay(ToMember::Gone { index, reason }));
        world.input(device, Input::Relay(ToMember::Arrived { member: member.clone() }));
    }
    world.run(2000);
    let from = world.packets.len();
    assert!(world.newest(ADA) > before);
    world.run(1000);
    let later = &world.packets[from..];
    assert!(
        later.len() > 100
            && !later.iter().any(|packet| {
                let own = undertone_media::MediaHeader::decode(packet).is_ok();
                own && world.devices[DAVE].engine.would_open(packet) && !world.sent_by(DAVE, packet)
            })
    );
}

#[test]
fn grp_8_rights_that_changed_are_those_of_the_list() {
    let mut world = World::in_room(10, 4);
    // Dave is to listen, and his client does not hear of it: he is put out, and the others go on.
    world.deaf.insert(DAVE);
    let rights = Rights { speak: false, moderate: false };
    let mut members: Vec<_> = (0..4).map(|device| world.listed(device, device == ADA)).collect();
    members[DAVE].rights = rights;
    world.relist(members);
    world.run(12_000);
    assert!(world.all_hear(&[ADA, BOB, CAROL], 1000));
    assert_eq!([ADA, BOB, CAROL].map(|device| world.over(device)), [None; 3]);
    assert!(!world.devices[DAVE].engine.can_send());
}

/// RLY-1: a call that lasts longer than grants do; here they are good for half an hour.
#[test]
fn rly_1_grants_are_renewed_and_newcomers_find_good_papers() {
    let mut world = World::room(11, &NAMES[..4], Protection::Blind);
    world.grants_last = 1_800;
    [ADA, BOB, CAROL].into_iter().for_each(|device| world.enter(device));
    world.run(1500);
    let first = world.grants.clone();
    world.pass(2_100);
    assert!([ADA, BOB, CAROL].iter().all(|device| world.grants[device] != first[device]), "each has another one");
    assert_eq!([ADA, BOB, CAROL].map(|device| world.over(device)), [None; 3], "{:?}", world.devices[BOB].events.last());
    world.enter(DAVE);
    world.run(2000);
    assert!(world.all_hear(&[ADA, BOB, CAROL, DAVE], 1000));
}
