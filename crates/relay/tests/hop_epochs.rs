//! Hop epochs (rule MED-8): when a relay renews them, whom it tells, and that nobody loses a frame by it. In virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use std::time::Duration;

use undertone_keys::Time;
use undertone_media::Epoch;
use undertone_media::ring::{PREVIOUS_AFTER_REMOVAL, PREVIOUS_VIDEO};
use undertone_protocol::Rights;
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_relay::renewal::{BETWEEN, COALESCE, RENEW};
use undertone_relay::{ConnectionId, Input};
use world::hop::Member;
use world::{ROOM, WALL, World};

const MS: Duration = Duration::from_millis(1);
const SPEAK: Rights = Rights { speak: true, moderate: false };
const MODERATE: Rights = Rights { speak: true, moderate: true };

/// These people in a room whose epochs were renewed for the last of them, long enough ago.
fn settled(names: &[&str]) -> (World, Vec<Member>) {
    let mut world = World::new();
    let mut members = Vec::new();
    for name in names {
        let device = world.device();
        let rights = if members.is_empty() { MODERATE } else { SPEAK };
        members.push(Member::enter_as(&mut world, &device, name, rights));
    }
    quiet(&mut world, &members, Duration::from_secs(5));
    for member in &mut members {
        let named = member.named(&world);
        assert_eq!(named, [(Epoch(1), false)], "one renewal for all who came together");
        member.hop.follow(world.now, Epoch(1), false).unwrap();
    }
    (world, members)
}

/// Lets time pass in which everybody shows that they are there and says nothing.
fn quiet(world: &mut World, members: &[Member], time: Duration) {
    let end = world.now + time;
    while world.now < end {
        let then = end.min(world.now + Duration::from_secs(1));
        world.until(then);
        for member in members {
            world.say(member.connection, &ToRelay::Ping { sent_ms: 0 });
        }
    }
}

/// Whether what the first says reaches the others, and under which epochs.
fn epochs(world: &mut World, members: &mut [Member]) -> Vec<u8> {
    let (first, others) = members.split_first_mut().unwrap();
    let packet = first.seal(b"sound");
    world.send(first.connection, &packet);
    let mut epochs = vec![packet[18]];
    for other in others {
        let mut packets = world.received(other.connection);
        let packet = packets.pop().expect("a frame was lost");
        assert_eq!(other.hop.open(world.now, &mut packet.to_vec()).unwrap().payload, b"sound");
        epochs.push(packet[18]);
    }
    epochs
}

#[test]
fn med_8_hop_epochs_begin_at_once_when_somebody_is_gone() {
    type Go = fn(&mut World, &Member, &Member);
    let ways: [(&str, Go); 6] = [
        ("leaves", |world, _, bob| world.say(bob.connection, &ToRelay::Leave)),
        ("crashes", |world, _, bob| world.input(Input::Disconnected { connection: bob.connection })),
        ("is removed", |world, ada, bob| world.say(ada.connection, &ToRelay::Remove { index: bob.index })),
        ("is expelled", |world, _, bob| {
            let users = vec![bob.grant.member.user.clone()];
            world.input(Input::Expel { room: ROOM, users, wall: WALL });
        }),
        ("is revoked", |world, _, bob| {
            world.input(Input::Revoke { members: vec![bob.grant.member.clone()], wall: WALL });
        }),
        ("says nonsense", |world, _, bob| {
            let body = vec![0xff];
            world.input(Input::Control { connection: bob.connection, body, wall: WALL });
        }),
    ];
    for (how, go) in ways {
        let (mut world, mut members) = settled(&["ada", "bob", "carol", "dave"]);
        let mut bob = members.remove(1);
        let last_words = bob.seal(b"last words");
        go(&mut world, &members[0], &bob);
        for member in &members {
            assert_eq!(member.named(&world), [(Epoch(1), false), (Epoch(2), true)], "{how}");
        }
        assert_eq!(bob.named(&world), [(Epoch(1), false)], "{how}: whoever is gone is told of no epoch");
        // All seal and open under the new one, nobody lost a frame, and Bob is neither handed anything nor heard.
        assert_eq!(epochs(&mut world, &mut members), [1, 2, 2], "{how}: Ada was not told yet");
        members[0].hop.follow(world.now, Epoch(2), true).unwrap();
        assert_eq!(epochs(&mut world, &mut members), [2, 2, 2], "{how}");
        assert!(world.received(bob.connection).is_empty(), "{how}");
        world.send(bob.connection, &last_words);
        assert!(world.received(members[0].connection).is_empty(), "{how}");
        // What the relay hands to the others opens with no key that Bob has, or comes to.
        let packet = members[0].seal(b"later");
        world.send(members[0].connection, &packet);
        let handed = world.received(members[1].connection);
        for epoch in 2..300 {
            assert!(bob.hop.open(world.now, &mut handed[0].to_vec()).is_err(), "{how}");
            bob.hop.follow(world.now, Epoch(epoch), false).unwrap();
        }
    }
}

#[test]
fn rly_5_med_8_hop_epochs_begin_when_somebody_falls_silent() {
    let (mut world, members) = settled(&["ada", "bob", "carol"]);
    let [ada, bob, carol] = <[Member; 3]>::try_from(members).ok().unwrap();
    let heard = [ada, carol];
    quiet(&mut world, &heard, Duration::from_secs(10));
    let gone =
        |message: &&ToMember| matches!(message, ToMember::Gone { .. } | ToMember::HopEpoch { removed: true, .. });
    for member in &heard {
        let told: Vec<&ToMember> = world.told[&member.connection].iter().filter(gone).collect();
        let [ToMember::Gone { index, .. }, ToMember::HopEpoch { epoch: 2, .. }] = told[..] else { panic!("{told:?}") };
        assert_eq!(*index, bob.index);
    }
}

#[test]
fn med_8_hop_epochs_of_those_who_come_together_are_one() {
    let (mut world, mut members) = settled(&["ada", "bob"]);
    let came = world.now;
    for name in ["carol", "dave", "erin", "frank"] {
        let device = world.device();
        members.push(Member::enter_as(&mut world, &device, name, SPEAK));
        world.until(world.now + 20 * MS);
    }
    assert_eq!(members[0].named(&world).len(), 1, "nothing yet");
    world.until(came + (COALESCE - MS));
    assert_eq!(members[0].named(&world).len(), 1, "nothing a moment before its time");
    world.until(came + COALESCE);
    let newest: Vec<_> = members.iter().map(|member| member.named(&world).last().copied()).collect();
    // Epochs are a connection's own: the newcomers are in their first, and this is their second.
    let (older, newer) = (Some((Epoch(2), false)), Some((Epoch(1), false)));
    assert_eq!(newest, [older, older, newer, newer, newer, newer]);
    // Who comes a moment later waits until a second is over since.
    let device = world.device();
    members.push(Member::enter_as(&mut world, &device, "grace", SPEAK));
    world.until(came + (COALESCE + BETWEEN - MS));
    assert_eq!(members[0].named(&world).len(), 2);
    world.until(came + COALESCE + BETWEEN);
    assert_eq!(members[0].named(&world).len(), 3);
}

/// However many go one after the other, the first is followed by new epochs at once and the others together.
#[test]
fn med_8_hop_epochs_of_many_who_go_are_one_a_second() {
    let names = ["ada", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    let (mut world, mut members) = settled(&names);
    let start = world.now;
    for _ in 0..6 {
        let gone = members.pop().unwrap();
        world.say(gone.connection, &ToRelay::Leave);
        world.until(world.now + 10 * MS);
    }
    assert_eq!(members[0].named(&world)[1..], [(Epoch(2), true)]);
    world.until(start + (BETWEEN - MS));
    assert_eq!(members[0].named(&world).len(), 2);
    world.until(start + BETWEEN);
    assert_eq!(members[0].named(&world)[1..], [(Epoch(2), true), (Epoch(3), true)]);
    quiet(&mut world, &members, Duration::from_secs(60));
    assert_eq!(members[0].named(&world).len(), 3, "and that was all");
}

#[test]
fn med_8_hop_epochs_last_five_minutes_at_most() {
    let (mut world, members) = settled(&["ada", "bob"]);
    // Those who came had theirs a second after the first; five have passed since.
    let began = Time::ZERO + BETWEEN;
    for round in 1..4 {
        let due = began + RENEW * round;
        let passes = due.since(world.now) - MS;
        quiet(&mut world, &members, passes);
        assert_eq!(members[0].named(&world).len(), usize::try_from(round).unwrap());
        world.until(due);
        for member in &members {
            assert_eq!(member.named(&world).last(), Some(&(Epoch(round + 1), false)));
        }
    }
    // An event begins the five minutes anew.
    let (device, came) = (world.device(), world.now);
    let mut members = members;
    members.push(Member::enter_as(&mut world, &device, "carol", SPEAK));
    let begun = came + BETWEEN;
    quiet(&mut world, &members, begun.since(came) + RENEW - MS);
    assert_eq!(members[0].named(&world).len(), 5, "the join's renewal and none since");
    world.until(begun + RENEW);
    assert_eq!(members[0].named(&world).len(), 6);
}

/// After a removal what the others sealed before opens for two seconds more; after that the relay has no key for it.
#[test]
fn grp_4_med_8_hop_epochs_before_a_removal_open_for_two_seconds() {
    for removed in [true, false] {
        let (mut world, mut members) = settled(&["ada", "bob", "carol"]);
        let old: Vec<Vec<u8>> = (0..3_u8).map(|n| members[0].seal(&[n; 40])).collect();
        let lasts = if removed { PREVIOUS_AFTER_REMOVAL } else { Duration::from_secs(30) };
        let begun = if removed {
            let carol = members.pop().unwrap();
            world.say(carol.connection, &ToRelay::Leave);
            world.now
        } else {
            let device = world.device();
            members.push(Member::enter_as(&mut world, &device, "dave", SPEAK));
            world.until(world.now + COALESCE);
            world.now
        };
        let bob = members[1].connection;
        quiet(&mut world, &members, lasts - MS);
        world.send(members[0].connection, &old[0]);
        assert_eq!(world.received(bob).len(), 1, "removed: {removed}");
        world.until(begun + lasts);
        world.send(members[0].connection, &old[1]);
        assert!(world.received(bob).is_empty(), "removed: {removed}");
        quiet(&mut world, &members, PREVIOUS_VIDEO);
        world.send(members[0].connection, &old[2]);
        assert!(world.received(bob).is_empty());
    }
}

#[test]
fn rly_2_med_8_hop_epochs_are_of_hop_rooms_alone() {
    let mut world = World::new();
    let (ada, _) = world.member();
    let (bob, _) = world.member();
    let (carol, _) = world.member();
    world.until(Time::ZERO + Duration::from_secs(2));
    world.say(carol, &ToRelay::Leave);
    world.pass(400, |world| {
        for member in [ada, bob] {
            world.say(member, &ToRelay::Ping { sent_ms: 0 });
        }
    });
    let said = |member: &ConnectionId| world.told[member].iter().any(|told| matches!(told, ToMember::HopEpoch { .. }));
    assert!(![ada, bob, carol].iter().any(said));
}

/// A room that everybody left has no epochs to renew; whoever comes later begins with new keys.
#[test]
fn med_8_hop_epochs_end_with_the_room() {
    let (mut world, members) = settled(&["ada", "bob"]);
    for member in members {
        world.say(member.connection, &ToRelay::Leave);
    }
    world.until(world.now + Duration::from_secs(60));
    let mut members = vec![Member::enter(&mut world), Member::enter(&mut world)];
    assert_eq!(epochs(&mut world, &mut members), [0, 0]);
    quiet(&mut world, &members, Duration::from_secs(2));
    assert_eq!(members[0].named(&world), [(Epoch(1), false)]);
    for member in members {
        world.say(member.connection, &ToRelay::Leave);
    }
    world.until(world.now + Duration::from_secs(200));
    assert_eq!(world.rooms.poll_timeout(), None, "nothing to wait for");
}
