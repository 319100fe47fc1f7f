//! Datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use getrandom::SysRng;
use rand_core::UnwrapErr;

use super::{Served, now};
use crate::node::{Asked, Node, WaitsFor};

/// A datagram longer than this is cut, and its body is too short for its header.
const LONGEST: usize = 2_048;

/// A datagram that waits for the disk.
pub(super) struct Waiting {
    bytes: Vec<u8>,
    from: SocketAddr,
    received: Instant,
}

/// Who reads.
pub(super) struct Reader {
    node: Arc<Node>,
    served: Arc<Served>,
    stop: Arc<AtomicBool>,
    socket: UdpSocket,
    queues: Queues,
}

/// Where datagrams wait.
#[derive(Clone)]
pub(super) struct Queues {
    /// For what is read.
    pub(super) read: SyncSender<Waiting>,
    /// For what is written and synced.
    pub(super) sync: SyncSender<Waiting>,
}

/// Who waits.
pub(super) struct Worker {
    node: Arc<Node>,
    served: Arc<Served>,
    socket: UdpSocket,
    work: Arc<Mutex<Receiver<Waiting>>>,
    /// Where what is to be synced goes on to, of those that read.
    sync: Option<SyncSender<Waiting>>,
}

fn answer(node: &Node, served: &Served, socket: &UdpSocket, asked: Asked<'_>, out: &mut Vec<u8>) {
    out.clear();
    let from = asked.from;
    if node.answer(asked, &mut UnwrapErr(SysRng), out) {
        // A reply that does not leave is one that was lost on the way.
        let _sent = socket.send_to(out, from);
        served.datagrams.fetch_add(1, Ordering::Relaxed);
    }
    tell(node, socket);
}

/// Into a queue, or away: UDP's sender asks again.
fn put(queue: &SyncSender<Waiting>, waiting: Waiting, served: &Served) {
    if queue.try_send(waiting).is_err() {
        served.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends what has to be told to others.
pub(super) fn tell(node: &Node, socket: &UdpSocket) {
    while let Some(alert) = node.poll_alert() {
        let _sent = socket.send_to(&alert.bytes, alert.to);
    }
}

impl Reader {
    pub(super) fn new(
        node: &Arc<Node>,
        served: &Arc<Served>,
        stop: &Arc<AtomicBool>,
        socket: UdpSocket,
        queues: Queues,
    ) -> Self {
        Self { node: Arc::clone(node), served: Arc::clone(served), stop: Arc::clone(stop), socket, queues }
    }

    pub(super) fn run(self) {
        let mut bytes = vec![0; LONGEST];
        let mut out = Vec::with_capacity(256);
        while !self.stop.load(Ordering::Relaxed) {
            // Errors are timeouts, and what the system reports of replies that found nobody.
            let Ok((length, from)) = self.socket.recv_from(&mut bytes) else {
                continue;
            };
            let received = Instant::now();
            let bytes = bytes.get_mut(..length).unwrap_or_default();
            let asked = Asked { bytes, from, datagram: true, received, now: now() };
            let queue = match self.node.waits_for(&asked) {
                WaitsFor::Nothing => {
                    answer(&self.node, &self.served, &self.socket, asked, &mut out);
                    continue;
                }
                WaitsFor::Read => &self.queues.read,
                WaitsFor::Sync => &self.queues.sync,
            };
            put(queue, Waiting { bytes: asked.bytes.to_vec(), from, received }, &self.served);
        }
    }
}

impl Worker {
    pub(super) fn new(
        node: &Arc<Node>,
        served: &Arc<Served>,
        socket: UdpSocket,
        work: &Arc<Mutex<Receiver<Waiting>>>,
        sync: Option<SyncSender<Waiting>>,
    ) -> Self {
        Self { node: Arc::clone(node), served: Arc::clone(served), socket, work: Arc::clone(work), sync }
    }

    /// Ends when the readers have.
    pub(super) fn run(self) {
        let mut out = Vec::with_capacity(256);
        loop {
            let next = self.work.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Waiting { mut bytes, from, received }) = next else {
                return;
            };
            let asked = Asked { bytes: &mut bytes, from, datagram: true, received, now: now() };
            if let Some(sync) = &self.sync
                && self.node.read_keys(&asked, &mut UnwrapErr(SysRng)) == WaitsFor::Sync
            {
                put(sync, Waiting { bytes, from, received }, &self.served);
                continue;
            }
            answer(&self.node, &self.served, &self.socket, asked, &mut out);
        }
    }
}
