//! Rooms over several threads: nobody notices which one theirs is in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod live;
mod world;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use getrandom::SysRng;
use live::{Live, Member};
use rand_core::UnwrapErr;
use undertone_keys::RoomId;
use undertone_keys::sign::{Device, SigningKey};
use undertone_protocol::Protection;
use undertone_protocol::control::{Refusal, ToMember};
use undertone_relay::Limits;
use world::packet;

const SHARDS: usize = 4;
const ROOMS: u8 = 12;

fn room(n: u8) -> RoomId {
    RoomId::from_bytes([n; 16])
}

/// Two in each room.
async fn pairs(live: &Live) -> Vec<(Member, Member)> {
    let mut pairs = Vec::new();
    for n in 0..ROOMS {
        let (ada, bob) = (format!("ada{n}"), format!("bob{n}"));
        let one = live.enter(&ada, room(n), Protection::Blind).await;
        pairs.push((one, live.enter(&bob, room(n), Protection::Blind).await));
    }
    pairs
}

/// Both of a pair say a few things from `first` on, and hear what the other said and nothing else.
async fn talk(pairs: &[(Member, Member)], first: u32) {
    const PACKETS: u32 = 20;
    for number in first..first + PACKETS {
        for (one, other) in pairs {
            one.send(packet(one.index, number));
            other.send(packet(other.index, number));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (n, (one, other)) in pairs.iter().enumerate() {
        for (listener, speaker) in [(one, other), (other, one)] {
            let said: Vec<_> = (first..first + PACKETS).map(|number| packet(speaker.index, number)).collect();
            let mut heard = listener.hear(said.len()).await;
            // Datagrams may overtake each other.
            heard.sort_unstable();
            assert_eq!(heard, said, "in room {n}, from number {first} on");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_of_all_shards_are_heard_from_any_port() {
    let live = Live::start(SHARDS, Limits::default());
    let pairs = pairs(&live).await;
    talk(&pairs, 0).await;
    let counts = live.relay.counts();
    live.stats_when(|stats| stats.members == u64::from(ROOMS) * 2).await;
    let members: Vec<u64> = counts.shards().iter().map(|stats| stats.members).collect();
    assert_eq!(members, [6; SHARDS], "these rooms' numbers are spread evenly, and nobody is counted twice");
    let joins: u64 = counts.shards().iter().map(|stats| stats.joins).sum();
    assert_eq!(joins, u64::from(ROOMS) * 2);
    // From other ports the system hands the same connections to other shards.
    for (one, other) in &pairs {
        one.change_port();
        other.change_port();
    }
    talk(&pairs, 100).await;
    let present = counts.present((0..ROOMS + 1).map(room).collect()).await.unwrap();
    for (n, users) in present.iter().enumerate() {
        assert_eq!(users.len(), if n < usize::from(ROOMS) { 2 } else { 0 }, "room {n} answers in its place");
    }
    let users = present[3].clone();
    counts.expel(room(3), users);
    let stats = live.stats_when(|stats| stats.members == u64::from(ROOMS - 1) * 2).await;
    assert_eq!(stats.members, u64::from(ROOMS - 1) * 2, "those of one room are out, wherever it is");
    let revoked = [pairs[5].0.who.clone(), pairs[6].1.who.clone()];
    counts.revoke(&revoked);
    let stats = live.stats_when(|stats| stats.members == u64::from(ROOMS - 1) * 2 - 2).await;
    assert_eq!(
        stats.members,
        u64::from(ROOMS - 1) * 2 - 2,
        "a revoked device is out, wherever its room is, and it alone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_6_a_revoked_device_that_is_in_rooms_of_both_shards_leaves_both() {
    let live = Live::start(2, Limits::default());
    let device = SigningKey::<Device>::generate(&mut UnwrapErr(SysRng));
    let (mut lost, mut others) = (Vec::new(), Vec::new());
    for n in 0..4 {
        lost.push(live.enter_as(&device, [127, 0, 0, 1], "ada", room(n), Protection::Blind).await);
        others.push(live.enter(&format!("bob{n}"), room(n), Protection::Blind).await);
    }
    live.stats_when(|stats| stats.members == 8).await;
    let counts = live.relay.counts();
    let members = || counts.shards().iter().map(|stats| stats.members).collect::<Vec<u64>>();
    assert_eq!(members(), [4, 4], "it is in two rooms of each");
    counts.revoke(&[lost[0].who.clone()]);
    let stats = live.stats_when(|stats| stats.members == 4).await;
    assert_eq!((stats.members, members()), (4, vec![2, 2]));
    for member in &mut lost {
        let mut said = false;
        while let Some(message) = member.told.recv().await {
            said |= matches!(message, ToMember::Refused { reason: Refusal::Revoked, .. });
        }
        assert!(said, "it is told why");
    }
    let present = counts.present((0..4).map(room).collect()).await.unwrap();
    assert!(present.iter().all(|users| users.iter().all(|user| user.as_str() != "ada@x")), "{present:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hop_keys_stay_with_a_connection_that_moves() {
    use undertone_keys::{Secret, Time};
    use undertone_media::{HopExporter, MemberHop};
    let live = Live::start(SHARDS, Limits::default());
    for n in 0..4 {
        let ada = live.enter("ada", room(n), Protection::Hop).await;
        let bob = live.enter("bob", room(n), Protection::Hop).await;
        let hop = |member: &Member| {
            let mut exported = [0; 32];
            let label = undertone_protocol::labels::HOP.as_bytes();
            member.connection.export_keying_material(&mut exported, label, &[]).unwrap();
            MemberHop::new(HopExporter::new(Secret::take(&mut exported)).chain(member.grant_hash))
        };
        let (mut adas, mut bobs) = (hop(&ada), hop(&bob));
        let mut buffer = [0; 300];
        let length = adas.seal(&live::header(5), ada.index, live::INFO, b"hello", &mut buffer).unwrap();
        ada.send(buffer[..length].to_vec());
        let mut heard = bob.hear(1).await[0].to_vec();
        assert_eq!(bobs.open(Time::ZERO, &mut heard).unwrap().payload, b"hello", "room {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dos_1_one_address_has_its_share_over_all_shards_and_not_of_each() {
    let live = Live::start(SHARDS, Limits::default());
    let endpoint = live.endpoint([127, 0, 0, 1]);
    let mut held = Vec::new();
    let refused = loop {
        match live.connect(&endpoint).await {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
        assert!(held.len() <= 256, "nobody refused the {}th", held.len());
    };
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused:?}");
    assert!(held.len() > 200, "{}", held.len());
    let elsewhere = live.endpoint([127, 0, 0, 2]);
    assert!(live.connect(&elsewhere).await.is_ok(), "another address has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_shards_say_goodbye() {
    let live = Live::start(SHARDS, Limits::default());
    let mut pairs = pairs(&live).await;
    live.relay.stop().await;
    for (one, other) in &mut pairs {
        for member in [one, other] {
            let mut said = false;
            while let Some(message) = member.told.recv().await {
                said |= matches!(message, ToMember::Refused { reason: Refusal::ShuttingDown, .. });
            }
            assert!(said, "a relay that goes down says so");
        }
    }
}

/// A network that takes nothing more, for as long as it likes: its member's packets wait and are lost, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rly_4_who_takes_nothing_any_more_holds_up_no_shard() {
    let mut live = Live::start(1, Limits::default());
    let ada = live.enter("ada", room(1), Protection::Blind).await;
    let bob = live.enter("bob", room(1), Protection::Blind).await;
    let (relay, valve) = (live.address, Valve::open(live.address));
    live.address = valve.address;
    let _carol = live.enter("carol", room(1), Protection::Blind).await;
    live.address = relay;
    // Nothing comes or goes there from now on: no acknowledgement either.
    valve.shut.store(true, Ordering::Relaxed);
    let large = |number| [packet(ada.index, number), vec![0; 900]].concat();
    for number in 0..600 {
        ada.send(large(number));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let heard = bob.hear(600).await;
    assert_eq!(heard.len(), 600, "everything that was said reached whoever listens");
    let stats = live.stats_when(|stats| stats.dropped > 0).await;
    assert!(stats.dropped > 0, "the test fills what waits for Carol: {stats:?}");
}

/// Passes one client's packets on to a relay and back, until it is shut.
struct Valve {
    address: SocketAddr,
    shut: Arc<AtomicBool>,
}

impl Valve {
    fn open(relay: SocketAddr) -> Self {
        let (front, back) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        back.connect(relay).unwrap();
        let (address, shut) = (front.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        }
        let closed = shut.clone();
        std::thread::spawn(move || {
            let (mut client, mut buffer) = (None, [0; 2048]);
            while !closed.load(Ordering::Relaxed) {
                if let Ok((length, from)) = front.recv_from(&mut buffer) {
                    client = Some(from);
                    back.send(&buffer[..length]).unwrap();
                }
                if let (Ok(length), Some(client)) = (back.recv(&mut buffer), client) {
                    front.send_to(&buffer[..length], client).unwrap();
                }
            }
        });
        Self { address, shut }
    }
}
