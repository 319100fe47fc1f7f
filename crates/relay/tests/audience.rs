//! Rooms with an audience: who sees whom there, and what is handed on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_keys::UserId;
use undertone_media::packet::Kind;
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::{Audience, Rights};
use undertone_relay::{ConnectionId, Limits};
use world::{World, packet, packet_of};

const SPEAKS: Rights = Rights { speak: true, moderate: false };
const MODERATES: Rights = Rights { speak: false, moderate: true };
const LISTENS: Rights = Rights { speak: false, moderate: false };

fn join(world: &mut World, user: &str, rights: Rights) -> ConnectionId {
    let device = world.device();
    let (connection, binding) = world.connect();
    let mut grant = world.grant(&device);
    grant.member.user = UserId::parse(user, "x").unwrap();
    (grant.rights, grant.audience) = (rights, Some(Audience::Served));
    let papers = world.papers(&device, &grant, binding, 0);
    world.enter(connection, papers);
    connection
}

/// The indices that a member was shown when it came and since.
fn shown(world: &World, connection: ConnectionId) -> Vec<u16> {
    let told = world.told[&connection].iter();
    told.flat_map(|message| match message {
        ToMember::Joined { members, .. } => members.iter().map(|member| member.index).collect(),
        ToMember::Arrived { member } => vec![member.index],
        _ => Vec::new(),
    })
    .collect()
}

fn gone(world: &World, connection: ConnectionId) -> Vec<u16> {
    let told = world.told[&connection].iter();
    told.filter_map(|message| match message {
        ToMember::Gone { index, .. } => Some(*index),
        _ => None,
    })
    .collect()
}

#[test]
fn grp_9_the_audience_is_shown_the_members_and_the_members_everybody() {
    let mut world = World::new();
    let early = join(&mut world, "erin", LISTENS);
    let ada = join(&mut world, "ada", SPEAKS);
    let bob = join(&mut world, "bob", MODERATES);
    let late = join(&mut world, "frank", LISTENS);
    assert_eq!(shown(&world, early), [1, 2]);
    assert_eq!(shown(&world, late), [1, 2]);
    assert_eq!((shown(&world, ada), shown(&world, bob)), (vec![0, 2, 3], vec![0, 1, 3]));
    // How many will be shown is what is shown, or somebody would wait for ever.
    let others = world.told[&late].iter().find_map(|message| match message {
        ToMember::Joined { others, .. } => Some(*others),
        _ => None,
    });
    assert_eq!(others, Some(2));

    world.say(late, &ToRelay::Leave);
    assert_eq!((gone(&world, ada), gone(&world, early)), (vec![3], vec![]));
    world.say(bob, &ToRelay::Mute { index: 0, muted: true });
    let muted = |of| world.told[&of].iter().filter(|message| matches!(message, ToMember::Muted { .. })).count();
    assert_eq!((muted(ada), muted(bob), muted(early)), (1, 1, 0));
    world.say(ada, &ToRelay::Leave);
    assert_eq!(gone(&world, early), [1]);
}

#[test]
fn grp_9_the_audience_hears_and_nothing_of_it_is_handed_on() {
    let mut world = World::new();
    let (ada, erin, frank) =
        (join(&mut world, "ada", SPEAKS), join(&mut world, "erin", LISTENS), join(&mut world, "frank", LISTENS));
    world.send(ada, &packet(0, 1));
    assert_eq!((world.received(erin).len(), world.received(frank).len()), (1, 1));
    for kind in [Kind::Audio, Kind::Control] {
        world.send(erin, &packet_of(kind, 1, 1));
        assert!(world.received(ada).is_empty() && world.received(frank).is_empty(), "{kind:?}");
    }
}

#[test]
fn grp_9_members_and_audience_take_no_place_from_each_other() {
    let mut world = World::with_limits(Limits { members: 2, listeners: 3, ..Limits::default() });
    for name in ["a", "b", "c"] {
        let connection = join(&mut world, name, LISTENS);
        assert!(world.index(connection).is_some());
    }
    let fourth = join(&mut world, "d", LISTENS);
    assert_eq!(world.refusal(fourth), Some(Refusal::Full));
    for name in ["e", "f"] {
        let connection = join(&mut world, name, SPEAKS);
        assert!(world.index(connection).is_some());
    }
    let third = join(&mut world, "g", MODERATES);
    assert_eq!(world.refusal(third), Some(Refusal::Full));
}
