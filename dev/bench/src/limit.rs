//! What no relay can be cheaper than: plain UDP, and one AES-256-GCM seal for each delivery.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use undertone_keys::Secret;
use undertone_keys::aead::AeadKey;

use crate::load::{Counters, Load, PAYLOAD, Run, TICK, watch};
use crate::process::{Served, listening};

pub(crate) fn serve() -> anyhow::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    listening(socket.local_addr()?, &[])?;
    let key = AeadKey::new(&Secret::filled_by(|key| key.fill(1)));
    let (mut rooms, mut counter) = (HashMap::<[u8; 2], Vec<SocketAddr>>::new(), 0_u64);
    let (mut packet, mut sealed) = ([0; 1500], [0; 1600]);
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        // The first two bytes name the room; who speaks in it is in it.
        let Some((room, text)) = packet.get(..length).and_then(<[u8]>::split_first_chunk) else { continue };
        let members = rooms.entry(*room).or_default();
        if !members.contains(&from) {
            members.push(from);
        }
        for member in members.iter().filter(|member| **member != from) {
            counter += 1;
            let mut nonce = [0; 12];
            nonce.iter_mut().zip(counter.to_be_bytes()).for_each(|(to, from)| *to = from);
            let Some((body, rest)) = sealed.split_at_mut_checked(text.len()) else { continue };
            body.copy_from_slice(text);
            let tag = key.seal(nonce, &[], body);
            rest.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
            socket.send_to(sealed.get(..text.len() + tag.len()).unwrap_or_default(), member)?;
        }
    }
}

pub(crate) fn measure(load: &Load) -> anyhow::Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let relay = Served::start("limit", &[])?;
        let counters = Arc::new(Counters::default());
        let mut sockets = Vec::new();
        for (room, member) in load.speakers() {
            let socket = Arc::new(tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await?);
            socket.connect(relay.address).await?;
            // Everybody is in before anybody counts.
            socket.send(&u16::try_from(room)?.to_be_bytes()).await?;
            sockets.push((room, member, socket));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for (room, member, socket) in sockets {
            let mut greetings = [0; 1600];
            while socket.try_recv(&mut greetings).is_ok() {}
            let (listening, heard) = (socket.clone(), counters.clone());
            tokio::spawn(async move {
                let mut buffer = [0; 1600];
                while listening.recv(&mut buffer).await.is_ok() {
                    heard.received.fetch_add(1, Ordering::Relaxed);
                }
            });
            let (counters, room) = (counters.clone(), u16::try_from(room)?.to_be_bytes());
            tokio::spawn(async move {
                tokio::time::sleep(TICK * u32::try_from(member).unwrap_or(0) / 5).await;
                let mut ticks = tokio::time::interval(TICK);
                let packet = [room.as_slice(), &[7; PAYLOAD]].concat();
                while !counters.done.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    if socket.send(&packet).await.is_ok() {
                        counters.sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        watch(load, &relay, &counters).await
    })
}
