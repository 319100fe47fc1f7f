//! Connections: one request, one answer, and the end. A request has to be there in time; what else was sent is read before the connection
//! ends, because the system tells the other side of a reset otherwise, and the answer is lost with it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::places::{Place, Places};
use super::udp::tell;
use super::{LOOK, ListenOptions, Served, now};
use crate::header::{ENCRYPTION_AT, RequestHeader, header_length};
use crate::node::limits::network;
use crate::node::{Asked, Node};

/// Bytes behind a request that are read and thrown away.
const LEFT_OVER: usize = 128 << 10;
/// Bytes of a body that room is made for at once.
const PIECE: usize = 4 << 10;
/// For how long what is left over is read.
const DRAIN: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// Who takes connections.
pub(super) struct Connections {
    node: Arc<Node>,
    served: Arc<Served>,
    stop: Arc<AtomicBool>,
    listener: TcpListener,
    /// For what others are to be told.
    socket: UdpSocket,
    options: ListenOptions,
    places: Arc<Places>,
}

impl Connections {
    pub(super) fn new(
        node: &Arc<Node>,
        served: &Arc<Served>,
        stop: &Arc<AtomicBool>,
        (listener, socket): (TcpListener, UdpSocket),
        options: ListenOptions,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (node, served, stop) = (Arc::clone(node), Arc::clone(served), Arc::clone(stop));
        Ok(Self { node, served, stop, listener, socket, options, places: Arc::default() })
    }

    pub(super) fn run(self) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.listener.accept() {
                Ok((stream, from)) => self.take(stream, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(),
                // No descriptors left: a moment later there may be one.
                Err(_) => thread::sleep(PAUSE),
            }
        }
        // Those who are being answered have their patience's time.
        let end = Instant::now() + self.options.patience + DRAIN;
        while self.places.open() > 0 && Instant::now() < end {
            thread::sleep(PAUSE);
        }
    }

    /// Until somebody comes, or it is time to look whether to end.
    fn wait(&self) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        if poll(&mut listener, Some(&timeout)).is_err() {
            thread::sleep(PAUSE);
        }
    }

    fn take(&self, stream: TcpStream, from: SocketAddr) {
        let Ok(socket) = self.socket.try_clone() else { return };
        // A few addresses do not take all places, so that there is one for whoever else comes.
        let most = (self.options.connections, self.options.of_one_address);
        let Some(place) = self.places.take(stream, network(from.ip()), most) else {
            self.served.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (node, served) = (Arc::clone(&self.node), Arc::clone(&self.served));
        let patience = self.options.patience;
        let serve = move || {
            let counter = match serve(&node, &place, (from, &socket), patience) {
                Ok(()) => &served.connections,
                Err(_) => &served.refused,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            drop(place);
        };
        // What could not be spawned gives its place back by itself.
        if let Err(error) = thread::Builder::new().name("raida-conn".to_owned()).spawn(serve) {
            tracing::warn!(%error, "no thread for a connection");
        }
    }
}

/// Reads `to` whole by `end`, however slowly it comes.
fn read(mut stream: &TcpStream, mut to: &mut [u8], end: Instant) -> io::Result<()> {
    while !to.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(to) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => to = to.get_mut(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn serve(node: &Node, place: &Place, (from, socket): (SocketAddr, &UdpSocket), patience: Duration) -> io::Result<()> {
    let mut stream = place.stream();
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let end = Instant::now() + patience;
    let mut bytes = vec![0; ENCRYPTION_AT + 1];
    read(stream, &mut bytes, end)?;
    let header = header_length(bytes.last().copied().unwrap_or_default());
    bytes.resize(header, 0);
    read(stream, bytes.get_mut(ENCRYPTION_AT + 1..).unwrap_or_default(), end)?;
    if let Some((read_header, _)) = RequestHeader::read(&bytes) {
        let whole = header + usize::from(read_header.body);
        // No more is held for a body than has come of it, and a piece.
        while bytes.len() < whole {
            let come = bytes.len();
            bytes.resize(whole.min(come + PIECE), 0);
            read(stream, bytes.get_mut(come..).unwrap_or_default(), end)?;
        }
    }
    if !place.has_asked() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut out = Vec::with_capacity(256);
    let asked = Asked { bytes: &mut bytes, from, datagram: false, received: Instant::now(), now: now() };
    if node.answer(asked, &mut UnwrapErr(SysRng), &mut out) {
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(&out)?;
    }
    tell(node, socket);
    stream.shutdown(Shutdown::Write)?;
    place.is_answered();
    // What comes of it makes no difference: the answer is out.
    let (mut left, end) = ([0; 4_096], Instant::now() + DRAIN);
    for _ in 0..LEFT_OVER / left.len() {
        if read(stream, &mut left, end).is_err() {
            break;
        }
    }
    Ok(())
}
