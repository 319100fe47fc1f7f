//! Two, three and five clients in one room over real TLS, QUIC and Opus, under both protections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "virtual/world/mod.rs"]
mod world;

use std::time::Duration;

use tokio::time::timeout;
use undertone_client::native::{Client, Invitee, Online, Sound};
use undertone_client::{Event, Protection, Rights, RoomEvent, Terms};
use undertone_media::HopExporter;
use undertone_media::hop::Direction;
use undertone_protocol::Grant;
use undertone_testkit::tones::{Hum, Listener};
use undertone_testkit::{TestServer, locksmith};
use world::World;

const NAMES: [&str; 5] = ["ada", "bob", "carol", "dave", "erin"];

struct Guest {
    online: Online,
    ear: Listener,
}

async fn wait_for(online: &mut Online, mut wanted: impl FnMut(&Event) -> bool) {
    let search = async { while !wanted(&online.next_event().await.unwrap()) {} };
    timeout(Duration::from_secs(20), search).await.expect("the event did not come");
}

/// Everybody in one room; returns when each has seen all others.
async fn gather(server: &TestServer, clients: &[Client], room: &str) -> Vec<Guest> {
    let _ = server;
    let mut guests = Vec::new();
    for (voice, client) in clients.iter().enumerate() {
        let (online, ear) = (client.connect().await.unwrap(), Listener::default());
        online.join_room(room, Sound::new(Hum::new(voice), ear.clone())).await.unwrap();
        guests.push(Guest { online, ear });
    }
    for guest in &mut guests {
        let mut others = 0;
        wait_for(&mut guest.online, |event| {
            others += usize::from(matches!(event, Event::Room { event: RoomEvent::In { .. }, .. }));
            others + 1 == clients.len()
        })
        .await;
    }
    guests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn multi_client_relay_path() {
    let server = TestServer::start("multi").await.unwrap();
    let mut clients = Vec::new();
    for name in NAMES {
        clients.push(server.register(name).await.unwrap());
    }
    let rights = Rights { speak: true, moderate: false };
    let invited: Vec<Invitee> = NAMES[1..].iter().map(|name| Invitee { name: (*name).into(), rights }).collect();
    let rooms = clients[0].rooms().await.unwrap();
    for protection in [Protection::Blind, Protection::Hop] {
        let room = protection.as_str();
        rooms.create(room, Terms::room(protection), &invited).await.unwrap();
        for count in [2, 3, 5] {
            let before = server.server().unwrap().relay_stats();
            let guests = gather(&server, &clients[..count], room).await;
            // The tones of all others, and not one's own, once everybody has the same key.
            tokio::time::sleep(Duration::from_secs(4)).await;
            for (listener, guest) in guests.iter().enumerate() {
                for voice in 0..NAMES.len() {
                    let heard = guest.ear.heard(voice);
                    let expected = voice < count && voice != listener;
                    let told = format!("{room}, {count} in: {listener} hears {voice} at {heard:.2}");
                    assert!(if expected { heard > 0.5 } else { heard < 0.15 }, "{told}");
                }
                let status = guest.online.status();
                assert!(status.opened > 100, "{status:?}");
            }
            let stats = server.server().unwrap().relay_stats();
            let (received, opened) = (stats.received - before.received, stats.opened - before.opened);
            assert!(received > 150 * count as u64, "{stats:?}");
            match protection {
                // The relay's own count, and what it wrote down: it opened nothing, and no byte it has is a key.
                Protection::Blind | Protection::Echo => assert_eq!(opened, 0),
                Protection::Hop => assert!(opened >= received - 10, "{opened} of {received}"),
            }
            let tap = guests[0].online.check_tap(server.tap()).await.unwrap();
            let mine = usize::try_from(tap.opened).unwrap();
            match protection {
                Protection::Blind | Protection::Echo => {
                    assert!(mine > 100, "a member opens what the relay took: {tap:?}")
                }
                Protection::Hop => assert_eq!(mine, 0, "no member's call key is in a hop room: {tap:?}"),
            }
            for guest in guests {
                guest.online.stop().await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    let packets = locksmith::packets(&server.tap()).unwrap();
    // A blind room's packets come first in the tap. The call's id is no secret.
    for packet in [&packets[10], &packets[packets.len() / 4]] {
        let attempt = locksmith::try_folder(&server.data(), packet, &[0; 16]).unwrap();
        assert!(attempt.tried > 1_000 && !attempt.opened, "{attempt:?}");
    }
    hop_keys_differ_per_client();
}

/// What each member of a hop room sends opens under its own connection's key of that epoch and under nobody else's.
fn hop_keys_differ_per_client() {
    let mut world = World::room(1, &NAMES, Protection::Hop);
    (0..NAMES.len()).for_each(|device| world.enter(device));
    world.run(1000);
    assert!(world.all_hear(&[0, 1, 2, 3, 4], 500));
    world.packets.clear();
    world.run(200);
    let chain = |device: usize| {
        let binding = [u8::try_from(world.devices[device].relay.unwrap().0).unwrap(); 32];
        let exporter = HopExporter::new(undertone_keys::Secret::from_slice(&binding).unwrap());
        exporter.chain(Grant::hash(&world.grants[&device]))
    };
    // The key of the epoch that the packet says it is of: five came, and the room's epochs were renewed for it.
    let opens = |device: usize, direction, packet: &[u8]| {
        let mut chain = chain(device);
        let keys = (0..=packet[18]).map(|_| chain.step()).last().unwrap();
        keys.key(direction).opener().open(&mut packet.to_vec()).is_ok()
    };
    // Five say a frame every twenty milliseconds, one after the other.
    for (place, packet) in world.packets.iter().enumerate() {
        assert!(packet[18] > 0, "packet {place} is of the first epoch");
        for device in 0..NAMES.len() {
            for (direction, right) in [(Direction::ToRelay, place % 5 == device), (Direction::ToMember, false)] {
                assert_eq!(opens(device, direction, packet), right, "packet {place} under the key of {device}");
            }
        }
    }
}
