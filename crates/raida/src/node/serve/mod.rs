//! A node's threads and sockets: one port for UDP and TCP.
//!
//! Datagrams are answered by the thread that reads them where memory is enough for it. What waits for the disk goes to other threads,
//! behind a queue of bounded length, so that nobody's cold page holds up somebody else's echo. What is read and what is written and synced
//! have threads and a queue each, so that nobody's ticket waits behind somebody else's sync. When a queue is full, a datagram is dropped, and
//! UDP's sender asks again.

mod places;
mod tcp;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Node;
use super::coins::StoreError;

/// How a node listens.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Threads that read datagrams.
    pub readers: usize,
    /// Threads that wait for what the disk reads, and as many for what it writes.
    pub workers: usize,
    /// Connections at once; where all are taken, those that are silent give way, and up to as many again may be ending.
    pub connections: usize,
    /// Connections of one address at once.
    pub of_one_address: usize,
    /// Within what time a connection's request has to be there.
    pub patience: Duration,
    /// How often changed pages are written back.
    pub write_back: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            readers: 2,
            workers: 4,
            connections: 256,
            of_one_address: 64,
            patience: Duration::from_secs(5),
            write_back: Duration::from_secs(30),
        }
    }
}

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Datagrams that wait for what the disk reads, and as many for what it writes.
const QUEUE: usize = 1_024;

/// What was served.
#[derive(Debug, Default)]
pub struct Served {
    /// Datagrams that were answered.
    pub datagrams: AtomicU64,
    /// Datagrams that found a queue full.
    pub dropped: AtomicU64,
    /// Connections that were answered.
    pub connections: AtomicU64,
    /// Connections that had no request in time, gave way to others, or found too many of them.
    pub refused: AtomicU64,
}

/// A node that is being served. Dropping it ends its threads, and does not write back what the journal has: [`stop`](Self::stop) does.
pub struct Serving {
    node: Arc<Node>,
    stop: Arc<AtomicBool>,
    served: Arc<Served>,
    threads: Vec<JoinHandle<()>>,
    address: SocketAddr,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Serving {
    /// Binds UDP and TCP on one port and begins. Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// The system's.
    pub fn start(node: Node, listen: SocketAddr, options: ListenOptions) -> io::Result<Self> {
        let (listener, socket) = bind(listen)?;
        let address = listener.local_addr()?;
        let node = Arc::new(node);
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(Served::default());
        let mut serving = Self {
            node: Arc::clone(&node),
            stop: Arc::clone(&stop),
            served: Arc::clone(&served),
            threads: Vec::new(),
            address,
        };
        let (read, reads) = mpsc::sync_channel(QUEUE);
        let (sync, syncs) = mpsc::sync_channel(QUEUE);
        for (name, work, goes_on) in [("read", reads, Some(sync.clone())), ("sync", syncs, None)] {
            let work = Arc::new(std::sync::Mutex::new(work));
            for number in 0..options.workers.max(1) {
                let worker = udp::Worker::new(&node, &served, socket.try_clone()?, &work, goes_on.clone());
                serving.spawn(format!("raida-{name}-{number}"), move || worker.run())?;
            }
        }
        let queues = udp::Queues { read, sync };
        for number in 0..options.readers.max(1) {
            let socket = socket.try_clone()?;
            socket.set_read_timeout(Some(LOOK))?;
            let reader = udp::Reader::new(&node, &served, &stop, socket, queues.clone());
            serving.spawn(format!("raida-udp-{number}"), move || reader.run())?;
        }
        drop(queues);
        let connections = tcp::Connections::new(&node, &served, &stop, (listener, socket.try_clone()?), options)?;
        serving.spawn("raida-tcp".to_owned(), move || connections.run())?;
        serving.spawn("raida-pages".to_owned(), move || {
            loop {
                node.coins().wait(options.write_back);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(error) = node.coins().flush() {
                    tracing::error!(%error, "changed pages were not written back, the journal has them");
                }
                node.keys().sweep(now());
            }
        })?;
        Ok(serving)
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What was served.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.node.coins().wake();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the node has panicked");
            }
        }
    }

    /// Answers what is under way, writes changed pages back and ends.
    ///
    /// # Errors
    /// [`StoreError`]: the journal has what the pages do not.
    pub fn stop(mut self) -> Result<(), StoreError> {
        self.halt();
        self.node.coins().flush()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.halt();
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serving({})", self.address)
    }
}

fn bind(listen: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = 0;
    loop {
        let listener = TcpListener::bind(listen)?;
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(socket) => return Ok((listener, socket)),
            // The port that TCP was given is somebody's for UDP.
            Err(error) if listen.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < 16 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
