//! What moderators may do in a room, and nobody else; and whom the server puts out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::{Time, UserId};
use undertone_media::packet::Kind;
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::limits::{CONTROL_PACKET, CONTROL_PACKETS, GRANT_LIFETIME};
use undertone_protocol::{Grant, Rights};
use undertone_relay::{ConnectionId, Input};
use world::{WALL, World, packet, packet_of};

struct Member {
    device: SigningKey<Device>,
    grant: Grant,
    connection: ConnectionId,
    index: u16,
}

fn join(world: &mut World, user: &str, moderate: bool) -> Member {
    join_with(world, user, Rights { speak: true, moderate })
}

fn join_with(world: &mut World, user: &str, rights: Rights) -> Member {
    let device = world.device();
    let mut grant = world.grant(&device);
    grant.member.user = UserId::parse(user, "x").unwrap();
    grant.rights = rights;
    grant.expires = WALL.plus(GRANT_LIFETIME.as_secs());
    let (connection, index) = again(world, &device, &grant);
    Member { device, grant, connection, index: index.unwrap() }
}

fn again(world: &mut World, device: &SigningKey<Device>, grant: &Grant) -> (ConnectionId, Option<u16>) {
    let (connection, binding) = world.connect();
    let papers = world.papers(device, grant, binding, 0);
    world.enter(connection, papers);
    (connection, world.index(connection))
}

#[test]
fn rly_1_who_may_moderate_mutes_and_others_do_not() {
    let mut world = World::new();
    let (ada, bob, carol) =
        (join(&mut world, "ada", true), join(&mut world, "bob", false), join(&mut world, "carol", false));
    world.say(carol.connection, &ToRelay::Mute { index: bob.index, muted: true });
    world.send(bob.connection, &packet(bob.index, 1));
    assert_eq!(world.received(ada.connection).len(), 1, "carol may not");

    world.say(ada.connection, &ToRelay::Mute { index: bob.index, muted: true });
    let told = ToMember::Muted { index: bob.index, muted: true };
    for member in [&ada, &bob, &carol] {
        assert_eq!(world.told[&member.connection].last(), Some(&told));
    }
    world.send(bob.connection, &packet(bob.index, 2));
    assert!(world.received(ada.connection).is_empty());
    assert!(world.received(bob.connection).is_empty());

    // Coming back does not help, and whoever comes later knows.
    let (back, index) = again(&mut world, &bob.device, &bob.grant);
    let index = index.unwrap();
    world.send(back, &packet(index, 3));
    assert!(world.received(ada.connection).is_empty());
    let dave = join(&mut world, "dave", false);
    assert!(world.told[&dave.connection].contains(&ToMember::Muted { index, muted: true }));

    world.say(back, &ToRelay::Mute { index, muted: false });
    world.send(back, &packet(index, 4));
    assert!(world.received(ada.connection).is_empty(), "bob may not lift it");
    world.say(ada.connection, &ToRelay::Mute { index, muted: false });
    world.send(back, &packet(index, 5));
    assert_eq!(world.received(ada.connection).len(), 1);
}

/// Silenced, or a listener: both may not speak.
fn silent(world: &mut World, listener: bool) -> (Member, Member) {
    let ada = join(world, "ada", true);
    let bob = if listener {
        join_with(world, "bob", Rights { speak: false, moderate: false })
    } else {
        join(world, "bob", false)
    };
    if !listener {
        world.say(ada.connection, &ToRelay::Mute { index: bob.index, muted: true });
    }
    (ada, bob)
}

#[test]
fn rly_1_control_packets_of_whoever_may_not_speak_go_on_and_nothing_else() {
    for listener in [false, true] {
        let mut world = World::new();
        let (ada, bob) = silent(&mut world, listener);
        let report = packet_of(Kind::Control, bob.index, 1);
        world.send(bob.connection, &report);
        assert_eq!(world.received(ada.connection), [report], "it is forwarded as it came");
        for kind in [Kind::Audio, Kind::Video, Kind::Data] {
            world.send(bob.connection, &packet_of(kind, bob.index, 2));
        }
        // Another's index is no more one's own than in any other packet.
        world.send(bob.connection, &packet_of(Kind::Control, ada.index, 3));
        let mut padded = packet_of(Kind::Control, bob.index, 4);
        padded.resize(CONTROL_PACKET, 0);
        world.send(bob.connection, &padded);
        assert_eq!(world.received(ada.connection).len(), 1, "as large as such a packet may be");
        padded.push(0);
        world.send(bob.connection, &padded);
        assert!(world.received(ada.connection).is_empty());
        assert_eq!(world.rooms.stats().refused, 5);
        // Whoever may speak sends them as large as any other.
        let mut large = packet_of(Kind::Control, ada.index, 5);
        large.resize(1_000, 0);
        world.send(ada.connection, &large);
        assert_eq!(world.received(bob.connection).len(), 1);
    }
}

#[test]
fn rly_1_control_packets_of_whoever_may_not_speak_have_a_rate() {
    let mut world = World::new();
    let (ada, bob) = silent(&mut world, true);
    let send = |world: &mut World, member: &Member, count: u32| {
        (0..count).for_each(|number| world.send(member.connection, &packet_of(Kind::Control, member.index, number)));
        world.received(ada.connection).len()
    };
    let rate = usize::try_from(CONTROL_PACKETS).unwrap();
    assert_eq!(send(&mut world, &bob, 60), 2 * rate, "two seconds' worth at once");
    assert_eq!(world.rooms.stats().excess, 60 - 2 * u64::from(CONTROL_PACKETS), "too many is not the same as wrong");
    world.now = Time::from_millis(1_000);
    assert_eq!(send(&mut world, &bob, 60), rate);
    // Coming back is no way to more, and what others send is theirs.
    let (connection, index) = again(&mut world, &bob.device, &bob.grant);
    let back = Member { connection, index: index.unwrap(), ..bob };
    assert_eq!(send(&mut world, &back, 60), 0);
    let cid = join(&mut world, "cid", false);
    assert_eq!(send(&mut world, &cid, 60), 60, "who may speak is held to the rate of a member alone");
}

#[test]
fn rly_1_who_was_removed_comes_back_with_a_newer_grant_alone() {
    let mut world = World::new();
    let (ada, bob, carol) =
        (join(&mut world, "ada", true), join(&mut world, "bob", false), join(&mut world, "carol", false));
    world.say(carol.connection, &ToRelay::Remove { index: bob.index });
    assert_eq!(world.refusal(bob.connection), None, "carol may not");
    world.say(ada.connection, &ToRelay::Remove { index: bob.index });
    assert_eq!(world.refusal(bob.connection), Some(Refusal::Removed));
    assert!(world.closed.contains(&bob.connection));
    let gone = ToMember::Gone { index: bob.index, reason: Refusal::Removed };
    assert_eq!(world.told[&carol.connection].last(), Some(&gone));

    let (connection, index) = again(&mut world, &bob.device, &bob.grant);
    assert_eq!((index, world.refusal(connection)), (None, Some(Refusal::Removed)));
    // Another device of theirs stays as it was: the server's word takes all of a user's, and lists name users.
    let other = join(&mut world, "bob", false);
    let newer = Grant { expires: bob.grant.expires.plus(1), ..bob.grant.clone() };
    assert!(again(&mut world, &bob.device, &newer).1.is_some());

    let user = bob.grant.member.user.clone();
    world.input(Input::Expel { room: world::ROOM, users: vec![user], wall: WALL });
    assert_eq!(world.refusal(other.connection), Some(Refusal::Removed));
    assert_eq!(again(&mut world, &other.device, &other.grant).1, None);

    // Nobody's index, and one's own, are no reason to end anything.
    world.say(ada.connection, &ToRelay::Remove { index: 999 });
    world.say(ada.connection, &ToRelay::Remove { index: ada.index });
    assert_eq!(world.refusal(ada.connection), None);
}

#[test]
fn grp_8_a_newcomer_learns_how_many_are_in_whatever_fits_into_one_message() {
    let mut world = World::new();
    for n in 0..20 {
        let member = join(&mut world, &format!("m{n}"), false);
        let told = &world.told[&member.connection];
        let Some(ToMember::Joined { members, others, .. }) = told.first() else { panic!("{told:?}") };
        let arrived = told.iter().filter(|message| matches!(message, ToMember::Arrived { .. })).count();
        assert_eq!((usize::from(*others), members.len() + arrived), (n, n));
    }
}

#[test]
fn neg_1_a_room_takes_people_of_one_call() {
    let mut world = World::new();
    let ada = join(&mut world, "ada", true);
    let bob = world.device();
    let mut grant = world.grant(&bob);
    grant.call = undertone_keys::CallId::from_bytes([9; 16]);
    let (connection, _) = {
        let (connection, binding) = world.connect();
        let mut papers = world.papers(&bob, &grant, binding, 0);
        let joined = undertone_protocol::Join {
            grant: Grant::hash(&papers.grant),
            call: grant.call,
            join: undertone_keys::JoinId::from_bytes([4; 16]),
            ephemeral: Some(*undertone_keys::agreement::EphemeralKey::generate(&mut world.rng).public()),
            binding,
            min_index: 0,
        };
        papers.join = joined.sign(&bob);
        world.enter(connection, papers);
        (connection, ())
    };
    assert_eq!(world.refusal(connection), Some(Refusal::Grant));
    assert_eq!(world.refusal(ada.connection), None);
}

#[test]
fn dos_1_nobody_uses_up_a_rooms_indices_by_coming_and_going() {
    let mut world = World::new();
    let ada = join(&mut world, "ada", true);
    let bob = join(&mut world, "bob", false);
    let mut let_in = 0;
    for _ in 0..500 {
        let_in += u32::from(again(&mut world, &bob.device, &bob.grant).1.is_some());
    }
    assert!(let_in < 100, "{let_in}");
    assert!(again(&mut world, &ada.device, &ada.grant).1.is_some());
}

#[test]
fn call_6_a_revoked_device_is_out_within_a_second_and_its_grants_are_void() {
    let mut world = World::new();
    let (ada, bob, carol) =
        (join(&mut world, "ada", true), join(&mut world, "bob", false), join(&mut world, "carol", false));
    let other = join(&mut world, "bob", false);
    let elsewhere = {
        let grant = Grant { room: undertone_keys::RoomId::from_bytes([7; 16]), ..bob.grant.clone() };
        again(&mut world, &bob.device, &grant).0
    };
    // At once, and in every room: nothing waits for a tick.
    world.input(Input::Revoke { members: vec![bob.grant.member.clone()], wall: WALL });
    for connection in [bob.connection, elsewhere] {
        assert_eq!(world.refusal(connection), Some(Refusal::Revoked));
        assert!(world.closed.contains(&connection));
    }
    let gone = ToMember::Gone { index: bob.index, reason: Refusal::Revoked };
    for member in [&ada, &carol, &other] {
        assert_eq!(world.told[&member.connection].last(), Some(&gone), "everybody sees it go");
        assert_eq!(world.refusal(member.connection), None, "and nobody else goes");
    }
    world.send(bob.connection, &packet(bob.index, 1));
    assert!(world.received(ada.connection).is_empty());

    // No grant of its lets it in again: not the old one, not one for another room, not one that was being signed then.
    let signed_later = |seconds| Grant { expires: bob.grant.expires.plus(seconds), ..bob.grant.clone() };
    let another_room = Grant { room: undertone_keys::RoomId::from_bytes([8; 16]), ..bob.grant.clone() };
    for grant in [bob.grant.clone(), another_room, signed_later(1), signed_later(60)] {
        let (connection, index) = again(&mut world, &bob.device, &grant);
        assert_eq!((index, world.refusal(connection)), (None, Some(Refusal::Revoked)));
    }
    // The same device as somebody else's is none of this account's business.
    let mut grant = bob.grant.clone();
    grant.member.user = UserId::parse("robert", "x").unwrap();
    assert!(again(&mut world, &bob.device, &grant).1.is_some());

    // Others come and go, and time does, until no grant from before can be good any more: it is refused all the while.
    world.now = world.now + GRANT_LIFETIME / 2;
    world.input(Input::Tick);
    assert_eq!(again(&mut world, &bob.device, &bob.grant).1, None);
    assert!(again(&mut world, &carol.device, &carol.grant).1.is_some());
}

#[test]
fn call_6_a_relay_that_starts_anew_is_told_again_who_was_revoked() {
    let mut world = World::new();
    let bob = join(&mut world, "bob", false);
    world.input(Input::Revoke { members: vec![bob.grant.member.clone()], wall: WALL });
    // A relay that ended has forgotten it; before it lets anybody in it hears it again, later than it was.
    let mut world = World::new();
    world.input(Input::Revoke { members: vec![bob.grant.member.clone()], wall: WALL.plus(30) });
    let (connection, index) = again(&mut world, &bob.device, &bob.grant);
    assert_eq!((index, world.refusal(connection)), (None, Some(Refusal::Revoked)));
}
