//! What a member can do to others by sending much (rules DOS-1, RLY-4), in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use bytes::Bytes;
use undertone_keys::Time;
use undertone_protocol::limits::{MEMBER_PACKETS, RECEIVER_QUEUE};
use undertone_relay::{ConnectionId, Limits};
use world::{World, packet};

/// Sends so many packets at this second; returns how many were queued for others and how many were too many.
fn send_at(world: &mut World, second: u64, from: ConnectionId, packet: &[u8], count: u32) -> (u64, u64) {
    world.now = Time::from_millis(second * 1_000);
    let before = world.rooms.stats();
    for _ in 0..count {
        world.send(from, packet);
    }
    let after = world.rooms.stats();
    assert_eq!(after.refused, before.refused, "too many is not the same as wrong");
    (after.queued - before.queued, after.excess - before.excess)
}

#[test]
fn dos_1_a_member_sends_at_its_rate_and_what_is_beyond_is_counted() {
    let mut world = World::with_limits(Limits { member_packets: 100, ..Limits::default() });
    let ((ada, index), (bob, other)) = (world.member(), world.member());
    let (sound, answer) = (packet(index, 1), packet(other, 1));
    assert_eq!(send_at(&mut world, 0, ada, &sound, 1_000), (200, 800), "two seconds' worth at once");
    assert_eq!(send_at(&mut world, 0, bob, &answer, 200), (200, 0), "each has a rate of their own");
    assert_eq!(send_at(&mut world, 1, ada, &sound, 1_000), (100, 900));
    assert_eq!(send_at(&mut world, 60, ada, &sound, 1_000), (200, 800), "nobody saves up for more");
    // What is refused is paid for as well: rubbish costs the relay no less.
    world.now = Time::from_millis(120_000);
    (0..200).for_each(|_| world.send(ada, b"no packet at all"));
    assert_eq!(send_at(&mut world, 120, ada, &sound, 10), (0, 10));
}

#[test]
fn dos_1_bytes_are_bounded_like_packets() {
    let mut world = World::with_limits(Limits { member_bytes: 14_000, ..Limits::default() });
    let ((ada, index), _) = (world.member(), world.member());
    let mut large = packet(index, 1);
    large.resize(1_400, 0);
    assert_eq!(send_at(&mut world, 0, ada, &large, 100), (20, 80));
    assert_eq!(send_at(&mut world, 1, ada, &large, 100), (10, 90));
}

/// Ten seconds in which Bob says a frame each 20 ms, and somebody loud `noise` packets right after it; Carol's network carries
/// so many in that time. What Bob said, and what of it she heard.
fn drown(world: &mut World, noise: u32, carried: usize) -> (Vec<Vec<u8>>, Vec<Bytes>) {
    let ((loud, loud_index), (bob, bob_index), (carol, _)) = (world.member(), world.member(), world.member());
    let rubbish = packet(loud_index, 1);
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    for step in 0..500_u32 {
        world.now = Time::from_millis(u64::from(step) * 20);
        let sound = packet(bob_index, step);
        world.send(bob, &sound);
        for _ in 0..noise {
            world.send(loud, &rubbish);
        }
        said.push(sound);
        let arrived = std::iter::from_fn(|| world.rooms.poll_media(carol, usize::MAX)).take(carried);
        heard.extend(arrived.filter(|packet| *packet != rubbish));
    }
    for full in [loud, bob] {
        assert!(world.received(full).len() <= RECEIVER_QUEUE, "what the relay holds is a queue for each");
    }
    (said, heard)
}

#[test]
fn dos_1_who_sends_a_hundred_times_their_rate_drowns_nobody() {
    let mut world = World::new();
    // More that do not matter than a queue holds, behind the one that does.
    let (said, heard) = drown(&mut world, 100, usize::MAX);
    assert!(heard == said, "{} of {} frames were heard", heard.len(), said.len());
    // What was taken is what the rate allows.
    let stats = world.rooms.stats();
    let taken = stats.received - stats.excess;
    assert!(taken <= u64::from(MEMBER_PACKETS) * 12 + 500 && stats.excess > 25_000, "{stats:?}");
}

#[test]
fn rly_4_a_slow_receiver_loses_of_what_there_is_most() {
    let mut world = World::new();
    // Well within a member's rate, twelve times what Carol's network carries, and not in step with a queue of 64: there, what
    // is oldest would be Bob's by chance.
    let (said, heard) = drown(&mut world, 24, 2);
    assert_eq!(world.rooms.stats().excess, 0);
    assert!(heard.len() + RECEIVER_QUEUE >= said.len(), "{} of {} frames were heard", heard.len(), said.len());
    assert!(heard == said[..heard.len()], "and in their order");
}

#[test]
fn dos_1_megabits_of_video_and_a_stall_are_no_flood() {
    let mut world = World::new();
    let ((ada, index), _) = (world.member(), world.member());
    let mut picture = packet(index, 1);
    picture.resize(1_200, 0);
    // Nine packets each 10 ms: 8.6 Mbit/s, for ten seconds.
    for step in 0..1_000_u64 {
        world.now = Time::from_millis(step * 10);
        for _ in 0..9 {
            world.send(ada, &picture);
        }
    }
    // The network holds a second of it up, and hands it over at once.
    world.now = Time::from_millis(11_000);
    for _ in 0..900 {
        world.send(ada, &picture);
    }
    let stats = world.rooms.stats();
    assert_eq!((stats.excess, stats.refused), (0, 0), "{stats:?}");
}

/// A shell reads many packets into one piece of memory; what waits for somebody slow must not keep all of it.
#[test]
fn dos_1_what_waits_keeps_nothing_of_what_came_with_it() {
    let mut world = World::new();
    let ((ada, index), (bob, _)) = (world.member(), world.member());
    let said = packet(index, 1);
    let mut read = said.clone();
    read.resize(64 * 1024, 0);
    let read = Bytes::from(read);
    let inside = read.as_ptr_range();
    world.input(undertone_relay::Input::Datagram { connection: ada, bytes: read.slice(..said.len()) });
    let heard = world.received(bob);
    assert_eq!(heard, [said]);
    assert!(!inside.contains(&heard[0].as_ptr()), "it is a slice of what was read");
}

#[test]
fn rly_1_a_packet_stays_in_its_senders_room() {
    let mut world = World::new();
    let [ada, bob] = ["ada", "bob"].map(|user| world.join_as(user, 1, 0));
    let [carol, dave] = ["carol", "dave"].map(|user| world.join_as(user, 3, 0));
    // Both rooms have given the same indices: nothing in the packet says which room it is for.
    let said = packet(world.index(ada).unwrap(), 1);
    assert_eq!(world.index(ada), world.index(carol));
    world.send(ada, &said);
    assert_eq!(world.received(bob), [said]);
    assert!(world.received(carol).is_empty() && world.received(dave).is_empty());
}

/// A packet costs the relay as often as somebody gets it: that is what is bounded, for each and for all together.
#[test]
fn dos_1_what_a_packet_costs_counts_for_everybody_it_goes_to() {
    let mut world = World::with_limits(Limits { room_deliveries: 1_000, ..Limits::default() });
    let (ada, index) = world.member();
    let others: Vec<_> = (0..10).map(|_| world.member()).collect();
    let sound = packet(index, 1);
    // Two seconds of a half of it: 1,000 deliveries, 100 packets to ten.
    assert_eq!(send_at(&mut world, 0, ada, &sound, 500), (1_000, 400));
    let (bob, other) = others[0];
    let answer = packet(other, 1);
    assert_eq!(send_at(&mut world, 0, bob, &answer, 500), (1_000, 400), "one alone does not use up what is for all");
    let (carol, third) = others[1];
    assert_eq!(send_at(&mut world, 0, carol, &packet(third, 1), 5), (0, 5), "now it is used up");
    assert_eq!(send_at(&mut world, 1, ada, &sound, 500), (500, 450), "and comes back with time");
    assert_eq!(send_at(&mut world, 1, carol, &packet(third, 1), 500), (500, 450));
}

/// A room larger than its allowance hears little, and not nothing.
#[test]
fn dos_1_a_packet_to_more_than_the_allowance_goes_when_that_is_full() {
    let mut world = World::with_limits(Limits { room_deliveries: 4, ..Limits::default() });
    let (ada, index) = world.member();
    for _ in 0..20 {
        world.member();
    }
    let sound = packet(index, 1);
    assert_eq!(send_at(&mut world, 0, ada, &sound, 3), (20, 2));
    assert_eq!(send_at(&mut world, 1, ada, &sound, 3), (0, 3));
    assert_eq!(send_at(&mut world, 2, ada, &sound, 3), (20, 2));
}

#[test]
fn dos_1_coming_back_is_no_way_to_send_more() {
    let mut world = World::with_limits(Limits { member_packets: 100, ..Limits::default() });
    let _listener = world.member();
    let device = world.device();
    let come = |world: &mut World| {
        let (connection, binding) = world.connect();
        let papers = world.papers(&device, &world.grant(&device), binding, 0);
        world.enter(connection, papers);
        let sound = packet(world.index(connection).unwrap(), 1);
        (connection, sound)
    };
    let (first, sound) = come(&mut world);
    assert_eq!(send_at(&mut world, 0, first, &sound, 1_000), (200, 800));
    // It comes a second time and takes its own place; nothing of what it may send is new.
    let (second, sound) = come(&mut world);
    assert_eq!(send_at(&mut world, 0, second, &sound, 1_000), (0, 1_000));
    world.input(undertone_relay::Input::Disconnected { connection: second });
    let (third, sound) = come(&mut world);
    assert_eq!(send_at(&mut world, 1, third, &sound, 1_000), (100, 900), "a second's worth");
    world.input(undertone_relay::Input::Disconnected { connection: third });
    world.now = Time::from_millis(10_000);
    let (fourth, sound) = come(&mut world);
    assert_eq!(send_at(&mut world, 10, fourth, &sound, 1_000), (200, 800), "and after a while all of it");
}

/// A shell looks at those that are named, and at nobody else.
#[test]
fn rly_4_who_has_packets_is_named_once_until_they_are_taken() {
    let mut world = World::new();
    let ((ada, index), (bob, _)) = (world.member(), world.member());
    let sound = packet(index, 1);
    (0..10).for_each(|_| world.send(ada, &sound));
    let named = |world: &mut World| std::iter::from_fn(|| world.rooms.poll_ready()).collect::<Vec<_>>();
    assert_eq!(named(&mut world), [bob]);
    assert_eq!(world.received(bob).len(), 10);
    world.send(ada, &sound);
    assert_eq!(named(&mut world), [bob]);
    // Left waiting, it is named again.
    world.send(ada, &sound);
    assert!(named(&mut world).is_empty());
    world.now = Time::from_millis(1_000);
    world.input(undertone_relay::Input::Tick);
    assert_eq!(named(&mut world), [bob]);
}

/// Who may not speak uses up nothing of what those share who may.
#[test]
fn dos_1_what_is_refused_takes_nothing_from_the_others() {
    let mut world = World::with_limits(Limits { room_deliveries: 100, ..Limits::default() });
    let (ada, index) = world.member();
    // Two of them: a device alone can use up half, and that would be no test.
    let silent = [world.member(), world.member()];
    (0..7).for_each(|_| {
        world.member();
    });
    // Under another's index, and too large: refused, as often as the packets of a member may come.
    for (silent, own) in silent {
        let mut large = packet(own, 1);
        large.resize(1_501, 0);
        for _ in 0..500 {
            world.send(silent, &packet(index, 1));
            world.send(silent, &large);
        }
    }
    assert_eq!(world.rooms.stats().queued, 0);
    // Ada has all of it: two seconds of a half, for nine that hear her.
    let before = world.rooms.stats();
    (0..50).for_each(|_| world.send(ada, &packet(index, 1)));
    let after = world.rooms.stats();
    assert_eq!((after.queued - before.queued, after.excess - before.excess), (99, 39));
}
