use tokio::sync::mpsc::Receiver;
use undertone_protocol::signal::ToDevice;

use super::*;
use crate::config::Limits;
use crate::spread::tests::{Person, ROOM, World};

const NOWHERE: RoomId = RoomId::from_bytes([8; 16]);

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user{number}"), "x").unwrap()
}

fn all(line: &mut Receiver<ToDevice>) -> Vec<ToDevice> {
    core::iter::from_fn(|| line.try_recv().ok()).collect()
}

async fn knock(world: &World, now: Instant, person: &Person) -> Heard {
    let user = &person.address.user;
    let heard = world.desk.hear_knock(ROOM, user, now).unwrap();
    world.desk.pass_on(&world.board, ROOM, user, heard).await.unwrap();
    heard
}

/// Whatever is done at a room's door, it comes to the same where there is no such room.
#[tokio::test]
async fn grp_8_a_knock_tells_nobody_which_rooms_there_are() {
    let mut world = World::new(&Limits::default()).await;
    let ada = world.person("ada").await;
    world.list(None, &[&ada]).await;
    let start = Instant::now();
    let mut after = start;
    for step in 0..60 {
        // Many, one of them again and again, and all of that for longer than a knock lasts.
        let who = user(if step % 3 == 0 { 0 } else { step });
        let heard =
            [ROOM, NOWHERE].map(|room| world.desk.hear_knock(room, &who, after).map_err(|error| error.to_string()));
        assert_eq!(heard[0], heard[1], "step {step}");
        if let Ok(heard) = heard[1] {
            world.desk.pass_on(&world.board, NOWHERE, &who, heard).await.unwrap();
        }
        after += Duration::from_secs(15);
    }
    assert!(after - start > KNOCK_LIFETIME);
}

#[tokio::test]
async fn grp_8_moderators_hear_a_knock_and_say_no_and_nobody_else_does() {
    let mut world = World::new(&Limits::default()).await;
    let (mut ada, mut bob, mut carol) =
        (world.person("ada").await, world.person("bob").await, world.person("carol").await);
    let first = world.list(None, &[&ada, &bob]).await;
    let users = [&ada, &bob, &carol].map(|person| person.address.user.clone());
    [&mut ada, &mut bob].into_iter().for_each(|person| drop(all(&mut person.line)));
    let now = Instant::now();
    let knocked = ToDevice::Knocked { room: ROOM, user: users[2].clone() };
    assert_eq!(knock(&world, now, &carol).await, Heard::PassOn);
    assert_eq!(knock(&world, now, &carol).await, Heard::Known);
    assert_eq!((all(&mut ada.line), all(&mut bob.line)), (vec![knocked.clone()], vec![]));
    // A moderator who came later hears of it as well.
    assert_eq!(knock(&world, now + AGAIN, &carol).await, Heard::PassOn);
    assert_eq!(all(&mut ada.line), std::slice::from_ref(&knocked));

    // The newest list says who may decide, and a stranger hears what a stranger hears of any room.
    let no = async |by: &UserId, room| {
        world.desk.turn_away(&world.board, room, by, &users[2], now + AGAIN).await.map_err(|error| error.to_string())
    };
    assert_eq!(no(&users[1], ROOM).await, Err(RoomError::Rights.to_string()));
    assert_eq!(no(&users[2], ROOM).await, Err(RoomError::Unknown.to_string()));
    assert_eq!(no(&users[2], NOWHERE).await, Err(RoomError::Unknown.to_string()));
    assert_eq!(all(&mut carol.line), []);
    assert_eq!((no(&users[0], ROOM).await, no(&users[0], ROOM).await), (Ok(()), Ok(())));
    assert_eq!(all(&mut carol.line), [ToDevice::TurnedAway { room: ROOM }]);
    // Knocking on is for nothing till the time is over.
    assert_eq!(knock(&world, now + 2 * AGAIN, &carol).await, Heard::TurnedAway);
    assert_eq!((all(&mut carol.line), all(&mut ada.line)), (vec![ToDevice::TurnedAway { room: ROOM }], vec![]));
    let later = now + KNOCK_LIFETIME;
    assert_eq!(knock(&world, later, &carol).await, Heard::PassOn);
    assert_eq!(all(&mut ada.line), [knocked]);

    // Whoever was let in is told like everybody on the list, and knocks no more.
    let second = world.list(Some(&first), &[&ada, &bob, &carol]).await;
    let version = second.list().version;
    assert_eq!(all(&mut carol.line), [ToDevice::RoomChanged { room: ROOM, version }]);
    all(&mut ada.line);
    assert_eq!(knock(&world, later, &carol).await, Heard::PassOn);
    assert_eq!(
        (all(&mut carol.line), all(&mut ada.line)),
        (vec![ToDevice::RoomChanged { room: ROOM, version }], vec![])
    );
}

#[test]
fn dos_1_knocks_are_bounded_and_end() {
    let (knocks, now) = (Knocks::default(), Instant::now());
    let room = |number: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        RoomId::from_bytes(bytes)
    };
    let count = |results: Vec<Option<Heard>>| results.into_iter().flatten().count();
    assert_eq!(count((0..100).map(|n| knocks.knock(now, room(0), &user(n))).collect()), MAX_KNOCKS_PER_ROOM);
    assert_eq!(count((1..100).map(|n| knocks.knock(now, room(n), &user(200))).collect()), MAX_KNOCKS_PER_ACCOUNT);
    let many = (0..2 * MAX_KNOCKS).map(|n| knocks.knock(now, room(1_000 + n), &user(1_000 + n))).collect();
    assert_eq!(count(many), MAX_KNOCKS - MAX_KNOCKS_PER_ROOM - MAX_KNOCKS_PER_ACCOUNT);
    assert_eq!(knocks.knock(now, room(9), &user(9)), None);
    // A moderator's no makes no room: else one account could ask again and again.
    assert!(knocks.turn_away(now, room(1), &user(200)));
    assert_eq!(knocks.knock(now, room(77), &user(200)), None);
    knocks.expire(now + KNOCK_LIFETIME);
    let state = knocks.state();
    assert!(state.rooms.is_empty() && state.accounts.is_empty() && state.ends.is_empty());
}
