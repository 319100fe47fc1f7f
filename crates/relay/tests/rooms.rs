//! The relay's core, in virtual time: who gets in, what goes out, who is thrown out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_keys::UserId;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::limits::{LIVENESS, RECEIVER_QUEUE};
use undertone_protocol::{Grant, VERSION};
use undertone_relay::{ConnectionId, Input, Limits};
use world::{Papers, WALL, World, packet};

#[test]
fn rly_2_blind_rooms_forward_bytes_as_they_are() {
    let mut world = World::new();
    let (a, index) = world.member();
    let ((b, _), (c, _)) = (world.member(), world.member());
    let sent: Vec<Vec<u8>> = (0..20).map(|n| packet(index, n)).collect();
    for packet in &sent {
        world.send(a, packet);
    }
    for receiver in [b, c] {
        let received = world.received(receiver);
        assert!(received.iter().zip(&sent).all(|(got, sent)| got == sent) && received.len() == sent.len());
    }
    assert!(world.received(a).is_empty(), "nobody hears themselves");
}

#[test]
fn rly_1_nobody_enters_without_a_good_grant_and_their_own_join() {
    let mut world = World::new();
    let (device, other) = (world.device(), world.device());
    let good = world.grant(&device);
    let attempt = |world: &mut World, change: &dyn Fn(&mut World, [u8; 32]) -> Papers| {
        let (connection, binding) = world.connect();
        let papers = change(world, binding);
        world.enter(connection, papers);
        (world.refusal(connection), world.index(connection), world.closed.contains(&connection))
    };
    let refused = |reason| (Some(reason), None, true);

    let forged = attempt(&mut world, &|world, binding| {
        let mut papers = world.papers(&device, &good, binding, 0);
        papers.grant = good.sign(&SigningKey::generate(&mut SeededRng::new(9)));
        papers
    });
    assert_eq!(forged, refused(Refusal::Grant));
    let expired = attempt(&mut world, &|world, binding| {
        let late = Grant { expires: WALL, ..good.clone() };
        world.papers(&device, &late, binding, 0)
    });
    assert_eq!(expired, refused(Refusal::Grant));
    let stolen = attempt(&mut world, &|world, binding| world.papers(&other, &good, binding, 0));
    assert_eq!(stolen, refused(Refusal::Join));
    // A join that was signed over another connection: a replay.
    let replayed = attempt(&mut world, &|world, _| world.papers(&device, &good, [0xee; 32], 0));
    assert_eq!(replayed, refused(Refusal::Join));
    let fine = attempt(&mut world, &|world, binding| world.papers(&device, &good, binding, 0));
    assert_eq!(fine, (None, Some(0), false));

    let (connection, binding) = world.connect();
    let papers = world.papers(&device, &good, binding, 0);
    world.say(connection, &ToRelay::Join { version: VERSION + 1, grant: papers.grant, join: papers.join });
    assert_eq!(world.refusal(connection), Some(Refusal::Version));
    let (connection, _) = world.connect();
    world.input(Input::Control { connection, body: vec![0xff; 40], wall: WALL });
    assert_eq!(world.refusal(connection), Some(Refusal::Malformed));
}

#[test]
fn med_11_a_frame_under_another_senders_index_is_dropped() {
    let mut world = World::new();
    let (a, index) = world.member();
    let (b, other) = world.member();
    world.send(a, &packet(other, 1));
    world.send(a, b"no packet at all");
    world.send(a, &vec![2; 3000]);
    assert!(world.received(b).is_empty());
    assert_eq!(world.rooms.stats().refused, 3);
    world.send(a, &packet(index, 1));
    assert_eq!(world.received(b).len(), 1);
}

#[test]
fn rly_4_a_receiver_that_reads_nothing_loses_the_oldest_and_delays_nobody() {
    let mut world = World::new();
    let (a, index) = world.member();
    let ((slow, _), (quick, _)) = (world.member(), world.member());
    let count = u32::try_from(RECEIVER_QUEUE).unwrap() * 3;
    for number in 0..count {
        world.send(a, &packet(index, number));
        assert_eq!(world.received(quick).len(), 1);
    }
    let left = world.received(slow);
    assert_eq!(left.len(), RECEIVER_QUEUE);
    assert_eq!(left.last().map(|bytes| bytes.to_vec()), Some(packet(index, count - 1)));
}

#[test]
fn rly_5_silence_leave_and_crash_reach_all_members() {
    let mut world = World::new();
    let ((a, _), (b, index_b), (c, index_c)) = (world.member(), world.member(), world.member());
    world.say(c, &ToRelay::Leave);
    let gone = |index, reason| ToMember::Gone { index, reason };
    for member in [a, b] {
        assert_eq!(world.told[&member].last(), Some(&gone(index_c, Refusal::Left)));
    }
    // B falls silent; A goes on pinging.
    let seconds = LIVENESS.as_secs() + 1;
    assert!(seconds < 10);
    world.pass(seconds, |world| world.say(a, &ToRelay::Ping { sent_ms: 1 }));
    assert!(world.told[&a].contains(&gone(index_b, Refusal::Silent)));
    assert_eq!(world.refusal(b), Some(Refusal::Silent));
    assert!(world.closed.contains(&b) && !world.closed.contains(&a));
    // Somebody who connects and never joins is let go as well.
    let (idle, _) = world.connect();
    world.pass(6, |world| world.say(a, &ToRelay::Ping { sent_ms: 1 }));
    assert_eq!(world.refusal(idle), Some(Refusal::Silent));
}

#[test]
fn med_2_indices_are_never_given_twice_also_by_a_relay_that_forgot_the_call() {
    let mut world = World::new();
    let ((_, first), (b, second)) = (world.member(), world.member());
    assert_eq!((first, second), (0, 1));
    world.say(b, &ToRelay::Leave);
    assert_eq!(world.member().1, 2);

    // An emptied room remembers for as long as somebody may try to come back, and no longer.
    let mut world = World::new();
    let (a, _) = world.member();
    world.say(a, &ToRelay::Leave);
    world.pass(60, |_| {});
    let (b, index) = world.member();
    assert_eq!(index, 1);
    world.say(b, &ToRelay::Leave);
    world.pass(121, |_| {});
    assert_eq!(world.member().1, 0);

    // After a restart a member that has seen indices up to 2 joins first.
    let mut world = World::new();
    let device = world.device();
    let grant = world.grant(&device);
    let (connection, binding) = world.connect();
    let papers = world.papers(&device, &grant, binding, 3);
    world.enter(connection, papers);
    assert_eq!(world.index(connection), Some(3));
    assert_eq!(world.member().1, 4);
    // Nobody can use up the others' indices.
    let greedy = world.device();
    let grant = world.grant(&greedy);
    let (connection, binding) = world.connect();
    let papers = world.papers(&greedy, &grant, binding, 60_000);
    world.enter(connection, papers);
    assert_eq!(world.refusal(connection), Some(Refusal::Full));
}

#[test]
fn a_device_that_joins_again_replaces_itself() {
    let mut world = World::new();
    let (a, _) = world.member();
    let device = world.device();
    let grant = world.grant(&device);
    let mut indices = Vec::new();
    for _ in 0..2 {
        let (connection, binding) = world.connect();
        let papers = world.papers(&device, &grant, binding, 0);
        world.enter(connection, papers);
        indices.push((connection, world.index(connection).unwrap()));
    }
    assert_eq!(world.refusal(indices[0].0), Some(Refusal::Replaced));
    assert_ne!(indices[0].1, indices[1].1);
    assert!(world.told[&a].contains(&ToMember::Gone { index: indices[0].1, reason: Refusal::Replaced }));
}

#[test]
fn dos_1_one_user_cannot_fill_the_relay() {
    let mut world = World::with_limits(Limits { rooms: 4, places_per_user: 3, ..Limits::default() });
    // Three places at a time, however many devices and rooms.
    let held: Vec<ConnectionId> = (0..4).map(|room| world.join_as("eve", room, 0)).collect();
    let entered = |world: &World, connection| world.index(connection).is_some();
    assert_eq!(held.iter().filter(|connection| entered(&world, **connection)).count(), 3);
    assert_eq!(world.refusal(held[3]), Some(Refusal::Full));
    world.say(held[0], &ToRelay::Leave);
    let again = world.join_as("eve", 9, 0);
    assert!(entered(&world, again), "a place that was left is free");
    // Rooms she emptied stand back where somebody needs one.
    world.say(again, &ToRelay::Leave);
    for (user, room) in [("ada", 20), ("bob", 21)] {
        let connection = world.join_as(user, room, 0);
        assert!(entered(&world, connection), "{user}: {:?}", world.refusal(connection));
    }
    let late = world.join_as("carl", 22, 0);
    assert_eq!(world.refusal(late), Some(Refusal::Full), "rooms with people in them do not");
}

#[test]
fn dos_1_a_join_that_asks_for_too_much_leaves_nothing_behind() {
    let mut world = World::with_limits(Limits { rooms: 1, ..Limits::default() });
    for min_index in [60_000, u16::MAX] {
        let greedy = world.join_as("eve", 1, min_index);
        assert_eq!(world.refusal(greedy), Some(Refusal::Full));
    }
    let other = world.join_as("ada", 2, 0);
    assert_eq!(world.index(other), Some(0));
    // Somebody who comes back into a room of their own whose indices are used up leaves no room that nobody empties.
    world.say(other, &ToRelay::Leave);
    world.pass(130, |_| {});
    assert_eq!(world.rooms.poll_timeout(), None, "a relay without rooms and connections has nothing to wait for");
}

#[test]
fn a_relay_that_goes_down_says_so_to_everybody() {
    let mut world = World::new();
    let ((a, _), (b, _)) = (world.member(), world.member());
    let (waiting, _) = world.connect();
    world.input(Input::Shutdown);
    for connection in [a, b, waiting] {
        assert_eq!(world.refusal(connection), Some(Refusal::ShuttingDown));
        assert!(world.closed.contains(&connection));
    }
}

/// A device key may stand in the lists of two accounts; each is a member of its own.
#[test]
fn a_device_of_two_users_replaces_itself_as_one_and_the_same_user_alone() {
    let mut world = World::new();
    let device = world.device();
    let enter = |world: &mut World, user: &str| {
        let (connection, binding) = world.connect();
        let mut grant = world.grant(&device);
        grant.member.user = UserId::parse(user, "x").unwrap();
        let papers = world.papers(&device, &grant, binding, 0);
        world.enter(connection, papers);
        connection
    };
    let (ada, bob) = (enter(&mut world, "ada"), enter(&mut world, "bob"));
    assert_eq!((world.index(ada), world.index(bob)), (Some(0), Some(1)));
    assert_eq!((world.refusal(ada), world.refusal(bob)), (None, None));
    let again = enter(&mut world, "ada");
    assert_eq!((world.refusal(ada), world.refusal(bob)), (Some(Refusal::Replaced), None));
    assert_eq!(world.index(again), Some(2));
}
