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
