//! The relay one would write first: `quinn` on a multi-thread runtime, a task for each connection, rooms behind a lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming, ServerConfig};

use crate::load::{Counters, Load, PAYLOAD, Run, TICK, connect, server_tls, speak, watch};
use crate::process::{Served, listening};

type Rooms = Arc<Mutex<HashMap<[u8; 2], Vec<Connection>>>>;

pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (tls, certificate) = server_tls()?;
        let crypto = QuicServerConfig::try_from(tls)?;
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        listening(endpoint.local_addr()?, &certificate)?;
        let rooms = Rooms::default();
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(serve_one(incoming, rooms.clone()));
        }
        Ok(())
    })
}

async fn serve_one(incoming: Incoming, rooms: Rooms) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let (mut answer, mut question) = connection.accept_bi().await?;
    let mut room = [0; 2];
    question.read_exact(&mut room).await?;
    rooms.lock().unwrap_or_else(PoisonError::into_inner).entry(room).or_default().push(connection.clone());
    answer.write_all(&[1]).await?;
    let me = connection.stable_id();
    while let Ok(packet) = connection.read_datagram().await {
        let members = rooms.lock().unwrap_or_else(PoisonError::into_inner).get(&room).cloned().unwrap_or_default();
        for member in members.iter().filter(|member| member.stable_id() != me) {
            let _ = member.send_datagram(packet.clone());
        }
    }
    Ok(())
}

pub(crate) fn measure(load: &Load) -> anyhow::Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let relay = Served::start("obvious", &[])?;
        let (counters, mut speakers) = (Arc::new(Counters::default()), Vec::new());
        for (room, member) in load.speakers() {
            let (endpoint, connection) = connect(&relay).await?;
            let (mut ask, mut answer) = connection.open_bi().await?;
            ask.write_all(&u16::try_from(room)?.to_be_bytes()).await?;
            answer.read_exact(&mut [0]).await?;
            speakers.push((endpoint, member, connection));
        }
        for (_, member, connection) in &speakers {
            let phase = TICK * u32::try_from(*member)? / 5;
            // As many bytes as a sealed frame of ours has.
            speak(connection.clone(), counters.clone(), phase, |buffer| (PAYLOAD + 46).min(buffer.len()));
        }
        watch(load, &relay, &counters).await
    })
}
