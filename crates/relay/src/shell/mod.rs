//! The QUIC shell: shards, each a thread that owns a socket, and the [`Rooms`](crate::Rooms) and connections in it.
//!
//! ```text
//! letters -> a batch of packets, each to its connection -> what connections say, to the rooms
//!         -> what the rooms say, to connections -> packets out, until nothing is left -> letters out -> wait
//! ```
//! `quinn-proto` is driven by hand: no task per connection, and no lock between a packet and its room. A member that
//! does not read its control messages is closed rather than waited for.
//!
//! A room is in one shard, and so is everybody who is in it. A connection's packets come to the socket that the system
//! chose for it, whose endpoint (its anchor) knows it for as long as it lasts; the connection itself moves, at its join,
//! to the shard of its room, and its anchor hands packets on. Nobody outside sees any of this: one port, one protocol.

mod address;
mod config;
mod door;
mod mail;
mod peer;
mod shard;
mod slots;
mod tap;
mod udp;

use std::collections::HashMap;
use std::fs::File;
use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::error;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{RoomId, UserId};

pub use address::{MAX_SHARDS, bind};
pub use udp::SOCKET_BUFFER;

use crate::rooms::{Limits, Rooms, Stats};
use address::{Addresses, shard_of};
use mail::{Letter, Shared, locked};
use shard::{Ground, Shard};
use tap::Tap;

/// What a relay is started with.
#[derive(Debug)]
pub struct Config {
    /// The key whose grants are believed.
    pub server: VerifyingKey<Server>,
    /// What bounds it.
    pub limits: Limits,
    /// Where to write every packet taken, for showing that a relay sees nothing it could open.
    pub tap: Option<File>,
    /// What is done if the relay ends without having been told to: its rooms are gone, and somebody has to know.
    pub failed: Failed,
}

/// What a relay calls when it ends by itself.
pub struct Failed(pub Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Failed")
    }
}

/// Notices the end of one of the relay's threads, by whatever it came about.
struct Watch {
    shared: Arc<Shared>,
    failed: Arc<Mutex<Option<Failed>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.shared.stopping()
            && let Some(Failed(failed)) = locked(&self.failed).take()
        {
            error!("the relay has ended by itself");
            failed();
        }
    }
}

/// Rooms that a thread may have beyond its equal share.
const SPARE_ROOMS: usize = 64;

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// TLS that QUIC cannot use.
    #[error("the relay's TLS cannot be set up: {0}")]
    Tls(String),
    /// Nothing to listen on.
    #[error("the relay was given no socket to listen on")]
    NoSocket,
    /// The socket, or the thread.
    #[error("the relay cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// A running relay. Dropped without [`Relay::stop`], it stops without a goodbye.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A look at a relay's counts and rooms that outlives the relay.
#[derive(Clone, Debug)]
pub struct Counts(Arc<Shared>);

impl Counts {
    /// As they were half a second ago at most, over all shards.
    #[must_use]
    pub fn now(&self) -> Stats {
        self.0.stats()
    }

    /// The same for each shard: how evenly the rooms are spread.
    #[must_use]
    pub fn shards(&self) -> Vec<Stats> {
        self.0.desks.iter().map(|desk| *locked(&desk.stats)).collect()
    }

    /// Whose devices are in each of these rooms, a user once for each device. `None` when the relay has ended or has
    /// too much to do.
    pub async fn present(&self, rooms: Vec<RoomId>) -> Option<Vec<Vec<UserId>>> {
        let shards = self.0.desks.len();
        let mut asked = Vec::new();
        for (shard, desk) in self.0.desks.iter().enumerate() {
            let here: Vec<RoomId> = rooms.iter().copied().filter(|room| shard_of(*room, shards) == shard).collect();
            if here.is_empty() {
                continue;
            }
            let (answer, present) = oneshot::channel();
            if !desk.ask(Letter::Present { rooms: here.clone(), answer }) {
                return None;
            }
            asked.push((here, present));
        }
        let mut found = HashMap::new();
        for (here, present) in asked {
            found.extend(here.into_iter().zip(tokio::time::timeout(Duration::from_secs(1), present).await.ok()?.ok()?));
        }
        Some(rooms.iter().map(|room| found.get(room).cloned().unwrap_or_default()).collect())
    }

    /// Takes these users' grants for a room back: their devices go at once, and come in again with newer ones alone.
    pub fn expel(&self, room: RoomId, users: Vec<UserId>) {
        if let Some(desk) = self.0.desks.get(shard_of(room, self.0.desks.len())) {
            let _ = desk.ask(Letter::Expel { room, users });
        }
    }

    /// These devices were revoked by their users: they leave every room at once, and no grant that was signed before now
    /// lets them in again (rule CALL-6). A relay forgets this with its end; its owner says it again at the next start, for
    /// as long as there may be such grants.
    pub fn revoke(&self, members: &[Address]) {
        if members.is_empty() {
            return;
        }
        for desk in &self.0.desks {
            let _ = desk.ask(Letter::Revoke { members: members.to_vec() });
        }
    }
}

impl Relay {
    /// Starts to accept connections on `sockets`: a shard with a thread for each. All are bound to one address and
    /// port, as [`bind`] does it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(sockets: Vec<UdpSocket>, tls: rustls::ServerConfig, config: Config) -> Result<Self, StartError> {
        if sockets.is_empty() {
            return Err(StartError::NoSocket);
        }
        let Config { server, limits, tap, failed } = config;
        let mut grounds = Vec::new();
        let mut desks = Vec::new();
        for socket in sockets {
            let (ground, desk) = Ground::new(socket)?;
            grounds.push(ground);
            desks.push(desk);
        }
        // Each keeps its part of the rooms. Which one a room is in is as good as random: where there are few, one has more of
        // them than another, and is not full for that.
        let share = limits.rooms.div_ceil(grounds.len());
        let limits = Limits { rooms: limits.rooms.min(share.saturating_add(SPARE_ROOMS)), ..limits };
        let (shared, quic) = (Arc::new(Shared::new(desks, &limits)), config::server(tls)?);
        let (addresses, tap) = (Addresses::new(grounds.len()), tap.map(|file| Arc::new(Tap::new(file))));
        let failed = Arc::new(Mutex::new(Some(failed)));
        let mut relay = Self { shared: shared.clone(), threads: Vec::new() };
        for (me, ground) in grounds.into_iter().enumerate() {
            let watch = Watch { shared: shared.clone(), failed: failed.clone() };
            let rooms = Rooms::new(server, limits);
            let shard = Shard::new(me, ground, shared.clone(), quic.clone(), addresses.clone(), rooms, tap.clone());
            // If this fails, those that run already stop as `relay` is dropped.
            relay.threads.push(std::thread::Builder::new().name(format!("relay-{me}")).spawn(move || {
                let _watch = watch;
                shard.run();
            })?);
        }
        Ok(relay)
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counts().now()
    }

    /// For whoever wants to look again and again.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts(self.shared.clone())
    }

    /// Tells everybody, closes all connections and waits until that was sent: a second at most.
    pub async fn stop(mut self) {
        self.signal();
        for thread in core::mem::take(&mut self.threads) {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn signal(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.signal();
    }
}
