//! The relay one would write first: `quinn` on a multi-thread runtime, a task for each connection, rooms behind a lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming, ServerConfig};

use crate::client::{Export, Speech};
use crate::crowd::run;
use crate::load::{Load, PAYLOAD, Run, stamp, stamped};
use crate::process::{Served, listening};
use crate::tls;

type Rooms = Arc<Mutex<HashMap<[u8; 2], Vec<Connection>>>>;

pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (tls, certificate) = tls::server()?;
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
    let relay = Served::start("obvious", &[], &[], None)?;
    run(&relay, load, |room, member| {
        Ok(Box::new(Guest { room: u16::try_from(room)?.to_be_bytes(), place: u16::try_from(member)? }))
    })
}

/// Somebody who names a room and is in.
struct Guest {
    room: [u8; 2],
    place: u16,
}

impl Speech for Guest {
    fn hello(&mut self, _: &mut Export<'_>) -> anyhow::Result<Vec<u8>> {
        Ok(self.room.to_vec())
    }

    fn control(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        Ok(!bytes.is_empty())
    }

    fn ping(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn packet(&mut self, sequence: u32, buffer: &mut [u8]) -> usize {
        // As many bytes as a sealed frame of ours has.
        stamp(buffer, self.place, sequence).map_or(0, |_| PAYLOAD + 46)
    }

    fn sequence(&self, packet: &[u8]) -> Option<(u16, u32)> {
        stamped(packet)
    }
}
