//! A wall clock that jumps under a relay (rule RLY-1), in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::{UserId, WallTime};
use undertone_protocol::control::{Refusal, ToRelay};
use undertone_protocol::limits::GRANT_LIFETIME;
use undertone_protocol::{Grant, Rights, VERSION};
use undertone_relay::{ConnectionId, Input};
use world::{ROOM, World, packet};

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;
const NOW: WallTime = WallTime::from_unix(100 * 365 * DAY);

const fn before(seconds: u64) -> WallTime {
    WallTime::from_unix(NOW.as_unix() - seconds)
}

fn say(world: &mut World, connection: ConnectionId, message: &ToRelay, wall: WallTime) {
    let body = message.frame().unwrap()[2..].to_vec();
    world.input(Input::Control { connection, body, wall });
}

/// A grant as the server signs it when its clock shows this.
fn grant(world: &World, device: &SigningKey<Device>, user: &str, moderate: bool, signed: WallTime) -> Grant {
    let mut grant = world.grant(device);
    grant.member.user = UserId::parse(user, "x").unwrap();
    grant.rights = Rights { speak: true, moderate };
    grant.expires = signed.plus(GRANT_LIFETIME.as_secs());
    grant
}

fn enter(world: &mut World, device: &SigningKey<Device>, grant: &Grant, wall: WallTime) -> ConnectionId {
    let (connection, binding) = world.connect();
    let papers = world.papers(device, grant, binding, 0);
    let join = ToRelay::Join { version: VERSION, grant: papers.grant, join: papers.join };
    say(world, connection, &join, wall);
    connection
}

#[test]
fn rly_1_a_clock_that_goes_back_lets_nobody_in_who_was_put_out() {
    // A minute, as a time server mends it, and a day, as a person does; by a moderator, and by the room's list.
    for back in [MINUTE, DAY] {
        for by_the_list in [false, true] {
            let mut world = World::new();
            let (ada, bob) = (world.device(), world.device());
            let (adas, bobs) = (grant(&world, &ada, "ada", true, NOW), grant(&world, &bob, "bob", false, NOW));
            let moderator = enter(&mut world, &ada, &adas, NOW);
            let put_out = enter(&mut world, &bob, &bobs, NOW);
            let wall = before(back);
            if by_the_list {
                let users = vec![bobs.member.user.clone()];
                world.input(Input::Expel { room: ROOM, users, wall });
            } else {
                let index = world.index(put_out).unwrap();
                say(&mut world, moderator, &ToRelay::Remove { index }, wall);
            }
            assert_eq!(world.refusal(put_out), Some(Refusal::Removed));
            let again = enter(&mut world, &bob, &bobs, wall);
            let told = format!("{back} s back, by the list: {by_the_list}");
            assert_eq!((world.index(again), world.refusal(again)), (None, Some(Refusal::Removed)), "{told}");
            // A grant of after that, by a clock that is right again, is a grant.
            let newer = grant(&world, &bob, "bob", false, NOW.plus(1));
            let again = enter(&mut world, &bob, &newer, NOW.plus(1));
            assert!(world.index(again).is_some(), "{told}: {:?}", world.refusal(again));
        }
    }
}

#[test]
fn rly_1_a_clock_that_jumps_ahead_ends_grants_and_puts_nobody_out() {
    for ahead in [DAY, 365 * DAY] {
        let mut world = World::new();
        let (ada, bob) = (world.device(), world.device());
        let (adas, bobs) = (grant(&world, &ada, "ada", false, NOW), grant(&world, &bob, "bob", false, NOW));
        let (a, b) = (enter(&mut world, &ada, &adas, NOW), enter(&mut world, &bob, &bobs, NOW));
        let later = NOW.plus(ahead);
        // Those who are in go on talking: nothing but a join looks at the wall.
        world.pass(20, |world| {
            say(world, a, &ToRelay::Ping { sent_ms: 1 }, later);
            say(world, b, &ToRelay::Ping { sent_ms: 1 }, later);
        });
        let index = world.index(a).unwrap();
        world.send(a, &packet(index, 1));
        assert_eq!(world.received(b).len(), 1);
        // An old grant lets nobody in any more, and a new one does.
        let old = enter(&mut world, &bob, &bobs, later);
        assert_eq!(world.refusal(old), Some(Refusal::Grant));
        assert_eq!(world.refusal(b), None, "nor does it replace who is in");
        let new = grant(&world, &bob, "bob", false, later);
        let new = enter(&mut world, &bob, &new, later);
        assert!(world.index(new).is_some());
    }
}
