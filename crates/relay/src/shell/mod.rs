//! The QUIC shell: one thread that owns a socket, all connections on it and the [`Rooms`](crate::Rooms) they are in.
//!
//! ```text
//! receive a batch -> each packet to its connection -> what connections say, to the rooms
//!                 -> what the rooms say, to connections -> packets out, until nothing is left -> wait
//! ```
//! `quinn-proto` is driven by hand: no task per connection, no lock, no queue between a packet and its room. A member
//! that does not read its control messages is closed rather than waited for.

mod config;
mod peer;
mod shard;
mod udp;

use std::fs::File;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::Waker;
use tokio::sync::oneshot;
use tracing::{error, warn};
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{RoomId, UserId};

use crate::rooms::{Limits, Stats};
use shard::Shard;
pub use udp::SOCKET_BUFFER;

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

/// Notices the end of the relay's thread, by whatever it came about.
struct Watch {
    shared: Arc<Shared>,
    failed: Option<Failed>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.shared.stop.load(Ordering::Acquire)
            && let Some(Failed(failed)) = self.failed.take()
        {
            error!("the relay has ended by itself");
            failed();
        }
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// TLS that QUIC cannot use.
    #[error("the relay's TLS cannot be set up: {0}")]
    Tls(String),
    /// The socket, or the thread.
    #[error("the relay cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// What a relay's thread and its owner share.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    stats: Mutex<Stats>,
    /// What waits for the thread's next turn.
    questions: Mutex<Vec<Question>>,
    waker: Waker,
}

/// What the owner wants of the thread.
#[derive(Debug)]
enum Question {
    /// Who is in these rooms?
    Present { rooms: Vec<RoomId>, answer: oneshot::Sender<Vec<Vec<UserId>>> },
    /// These users' grants for this room are taken back.
    Expel { room: RoomId, users: Vec<UserId> },
}

impl Shared {
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            warn!(%error, "the relay's thread was not woken");
        }
    }
}

/// A running relay. Dropped without [`Relay::stop`], it stops without a goodbye.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A look at a relay's counts and rooms that outlives the relay.
#[derive(Clone, Debug)]
pub struct Counts(Arc<Shared>);

/// Questions that wait at the same time at most.
const MAX_QUESTIONS: usize = 1_000;

impl Counts {
    /// As they were half a second ago at most.
    #[must_use]
    pub fn now(&self) -> Stats {
        *self.0.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose devices are in each of these rooms, a user once for each device. `None` when the relay has ended or has
    /// too much to do.
    pub async fn present(&self, rooms: Vec<RoomId>) -> Option<Vec<Vec<UserId>>> {
        let (answer, present) = oneshot::channel();
        if !self.ask(Question::Present { rooms, answer }) {
            return None;
        }
        tokio::time::timeout(Duration::from_secs(1), present).await.ok()?.ok()
    }

    /// Takes these users' grants for a room back: their devices go at once, and come in again with newer ones alone.
    pub fn expel(&self, room: RoomId, users: Vec<UserId>) {
        if !self.ask(Question::Expel { room, users }) {
            warn!("the relay has too much to do to be told whom a room's list names no more");
        }
    }

    fn ask(&self, question: Question) -> bool {
        {
            let mut questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
            if questions.len() >= MAX_QUESTIONS {
                return false;
            }
            questions.push(question);
        }
        self.0.wake();
        true
    }
}

impl Relay {
    /// Starts to accept connections on `socket`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(socket: UdpSocket, tls: rustls::ServerConfig, mut config: Config) -> Result<Self, StartError> {
        let failed = core::mem::replace(&mut config.failed, Failed(Box::new(|| {})));
        let (shard, shared) = Shard::new(socket, config::server(tls)?, config)?;
        let watch = Watch { shared: shared.clone(), failed: Some(failed) };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            let _watch = watch;
            shard.run();
        })?;
        Ok(Self { shared, thread: Some(thread) })
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
        if let Some(thread) = self.thread.take() {
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
