//! Rooms whose keys come from an MLS group, over real TLS, WebSockets, QUIC and Opus: the shipped server orders the commits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::time::{Duration, Instant};

use undertone_client::group::{Event as GroupEvent, How, Standpoint};
use undertone_client::native::{Client, Invitee, Online, RoomKeys, Sound};
use undertone_client::{Event, GroupSuite, Rights, RoomEvent, Terms};
use undertone_testkit::tones::{Hum, Listener};
use undertone_testkit::{TestServer, locksmith};

const NAMES: [&str; 5] = ["ada", "bob", "carol", "dave", "erin"];

struct Guest {
    online: Online,
    ear: Listener,
    events: Vec<(Duration, Event)>,
    since: Instant,
}

impl Guest {
    async fn join(client: &Client, voice: usize, room: &str) -> Self {
        let (online, ear) = (client.connect().await.unwrap(), Listener::default());
        online.join_room(room, Sound::new(Hum::new(voice), ear.clone())).await.unwrap();
        Self { online, ear, events: Vec::new(), since: Instant::now() }
    }

    /// Notes what happens for a while.
    async fn listen(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(until, self.online.next_event()).await {
            self.events.extend(event.map(|event| (self.since.elapsed(), event)));
        }
    }

    fn group_events(&self) -> impl Iterator<Item = (Duration, &GroupEvent)> {
        self.events.iter().filter_map(|(at, event)| match event {
            Event::Room { event: RoomEvent::Group(event), .. } => Some((*at, event)),
            _ => None,
        })
    }

    fn told(&self) -> String {
        self.events.iter().map(|(at, event)| format!("\n  {} ms: {event:?}", at.as_millis())).collect()
    }
}

/// The epoch that a client is in, and how many are in the tree.
async fn epoch(client: &Client, room: &str) -> Option<(u64, usize)> {
    let RoomKeys::On(explained) = client.explain_room(room).await.unwrap() else { return None };
    let group = explained.group?;
    match group.standpoint {
        Standpoint::Inside(epoch) => Some((epoch, group.members.len())),
        _ => None,
    }
}

async fn listen_all(guests: &mut [Guest], time: Duration) {
    futures_util::future::join_all(guests.iter_mut().map(|guest| guest.listen(time))).await;
}

fn assert_heard(guests: &[Guest], count: usize) {
    for (listener, guest) in guests.iter().enumerate() {
        for voice in 0..NAMES.len() {
            let heard = guest.ear.heard(voice);
            let expected = voice < count && voice != listener;
            let right = if expected { heard > 0.5 } else { heard < 0.15 };
            assert!(right, "{listener} hears {voice} of {count} at {heard:.2}{}", guest.told());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grp_6_members_of_an_mls_room_hear_each_other_and_nobody_else_does() {
    let server = TestServer::start("mls-rooms").await.unwrap();
    let mut clients = Vec::new();
    for name in NAMES {
        clients.push(server.register(name).await.unwrap());
    }
    let rights = Rights { speak: true, moderate: false };
    let invited: Vec<Invitee> = NAMES[1..].iter().map(|name| Invitee { name: (*name).into(), rights }).collect();
    let rooms = clients[0].rooms().await.unwrap();
    for (suite, count) in [(GroupSuite::P256, 2), (GroupSuite::X25519, 5), (GroupSuite::XWing, 3)] {
        let room = suite.as_str();
        rooms.create(room, Terms::mls(suite), &invited).await.unwrap();
        let mut guests = Vec::new();
        for (voice, client) in clients[..count].iter().enumerate() {
            guests.push(Guest::join(client, voice, room).await);
        }
        listen_all(&mut guests, Duration::from_secs(4)).await;
        assert_heard(&guests, count);
        let mut epochs = Vec::new();
        for client in &clients[..count] {
            epochs.push(epoch(client, room).await);
        }
        assert!(epochs[0].is_some_and(|(_, members)| members == count), "{epochs:?}");
        assert!(epochs.windows(2).all(|two| two[0] == two[1]), "{epochs:?}");
        assert!(
            guests[0].group_events().any(|(_, event)| matches!(event, GroupEvent::Joined { how: How::Created, .. }))
        );
        for guest in &guests[1..] {
            let how = guest.group_events().find_map(|(at, event)| match event {
                GroupEvent::Joined { how, .. } => Some((at, *how)),
                _ => None,
            });
            assert!(how.is_some_and(|(_, how)| how == How::Welcomed), "{how:?}{}", guest.told());
        }
        // The relay opened nothing; a member opens what the relay took.
        assert_eq!(server.server().unwrap().relay_stats().opened, 0);
        let tap = guests[0].online.check_tap(server.tap()).await.unwrap();
        assert!(tap.opened > 100, "{tap:?}");
        for guest in guests {
            guest.online.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let packets = locksmith::packets(&server.tap()).unwrap();
    let attempt = locksmith::try_folder(&server.data(), &packets[10], &[0; 16]).unwrap();
    assert!(attempt.tried > 1_000 && !attempt.opened, "{attempt:?}");
}

/// Rule GRP-9: who only listens in a room with an audience hears the members, is no part of their group, and is given no key of what
/// comes after they are off the list; who may speak after all comes into the group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grp_9_an_audience_hears_the_members_and_is_no_part_of_their_group() {
    let server = TestServer::start("mls-audience").await.unwrap();
    let mut clients = Vec::new();
    for name in NAMES {
        clients.push(server.register(name).await.unwrap());
    }
    let rights = |speak| Rights { speak, moderate: false };
    let invitee = |name: &str, speak| Invitee { name: name.into(), rights: rights(speak) };
    let rooms = clients[0].rooms().await.unwrap();
    let invited: Vec<Invitee> = NAMES[1..].iter().enumerate().map(|(place, name)| invitee(name, place == 0)).collect();
    let access = rooms.create("talk", Terms::mls(GroupSuite::XWing).with_audience(), &invited).await.unwrap();
    let mut guests = Vec::new();
    for (voice, client) in clients.iter().enumerate() {
        guests.push(Guest::join(client, voice, "talk").await);
    }
    listen_all(&mut guests, Duration::from_secs(4)).await;
    let heard = |guests: &[Guest]| {
        for (place, guest) in guests.iter().enumerate() {
            for voice in 0..NAMES.len() {
                let heard = guest.ear.heard(voice);
                let right = if voice < 2 && voice != place { heard > 0.5 } else { heard < 0.15 };
                assert!(right, "{place} hears {voice} at {heard:.2}{}", guest.told());
            }
        }
    };
    heard(&guests);
    let (before, members) = epoch(&clients[0], "talk").await.unwrap();
    assert_eq!(members, 2, "those who listen have no leaf");
    for listener in &clients[2..] {
        assert!(epoch(listener, "talk").await.is_none());
        let RoomKeys::On(explained) = listener.explain_room("talk").await.unwrap() else { panic!("it is in") };
        let audience = explained.keys.audience.unwrap();
        assert!(audience.server.is_some() && audience.epoch == Some(before) && audience.shown == 0, "{audience:?}");
        assert_eq!(explained.keys.members.len(), 3, "it sees the members, itself, and nobody else");
    }
    let mut served = 0;
    for member in &clients[..2] {
        let RoomKeys::On(explained) = member.explain_room("talk").await.unwrap() else { panic!("it is in") };
        let audience = explained.keys.audience.unwrap();
        assert_eq!(audience.shown, 3);
        served += audience.served;
    }
    assert!(served >= 3, "each of them is served: {served}");

    // One is taken off the list, and one may speak from now on.
    let room = access.list().room;
    rooms.kick(room, NAMES[4]).await.unwrap();
    guests.pop().unwrap().online.stop().await;
    rooms.invite(room, &[invitee(NAMES[2], true)]).await.unwrap();
    listen_all(&mut guests, Duration::from_secs(4)).await;
    let (after, members) = epoch(&clients[0], "talk").await.unwrap();
    assert!(after > before && members == 3, "{before} {after} {members}");
    assert_eq!(epoch(&clients[2], "talk").await, Some((after, 3)), "{}", guests[2].told());
    let RoomKeys::On(explained) = clients[3].explain_room("talk").await.unwrap() else { panic!("it is in") };
    assert_eq!(explained.keys.audience.unwrap().epoch, Some(after), "{}", guests[3].told());
    assert!(guests[3].ear.heard(2) > 0.1, "{}", guests[3].told());
    assert_eq!(server.server().unwrap().relay_stats().opened, 0);
    for guest in guests {
        guest.online.stop().await;
    }
}
