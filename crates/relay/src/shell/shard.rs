//! The loop: one socket, its connections, and the rooms they are in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token, Waker};
use quinn_proto::{
    AcceptError, ConnectionEvent, ConnectionHandle, DatagramEvent, Endpoint, Incoming, ServerConfig, Transmit,
};
use tracing::{debug, info, warn};
use undertone_keys::{Time, WallTime};
use undertone_protocol::{Origin, OriginCounts};

use super::peer::{News, Peer};
use super::udp::{Received, Udp};
use super::{Config, Question, Shared, config};
use crate::rooms::{ConnectionId, Input, Output, Rooms};

/// Connections from one address at most (for IPv6, from one /64).
const PER_ADDRESS: usize = 256;
/// From this many connections on, an address must prove itself before it costs us a handshake ...
const VALIDATE_FROM: usize = 512;
/// ... and from this many of its own on in any case: with a forged sender nobody uses up somebody else's share.
const VALIDATE_EACH_FROM: usize = 8;
/// Connections at most.
const MAX_CONNECTIONS: usize = 20_000;
/// How long the goodbyes of a relay that goes down may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Batches read before anything else is done: what came is handled while the next comes.
const BATCHES: usize = 8;
/// A turn that handled this many packets is busy: the next begins a little later, and finds more to do at once.
const BUSY: usize = 64;
/// How much later.
const COALESCE: Duration = Duration::from_micros(400);
/// The wait where nothing has a deadline.
const IDLE: Duration = Duration::from_secs(3600);

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// When a connection wants to be looked at, the soonest first.
type Timers = BinaryHeap<Reverse<(Instant, usize)>>;

pub(super) struct Shard {
    shared: Arc<Shared>,
    poll: Poll,
    udp: Udp,
    endpoint: Endpoint,
    /// By connection handle.
    peers: Vec<Option<Peer>>,
    handles: HashMap<ConnectionId, ConnectionHandle>,
    next_id: u64,
    origins: OriginCounts,
    timers: Timers,
    touched: Vec<ConnectionHandle>,
    rooms: Rooms,
    start: Instant,
    tap: Option<BufWriter<File>>,
    buffer: Vec<u8>,
    /// Until when goodbyes may take, once the relay goes down.
    stopping: Option<Instant>,
}

impl Shard {
    pub(super) fn new(
        socket: UdpSocket,
        server: Arc<ServerConfig>,
        config: Config,
    ) -> std::io::Result<(Self, Arc<Shared>)> {
        let (poll, mut udp) = (Poll::new()?, Udp::new(socket)?);
        poll.registry().register(&mut udp.socket, SOCKET, Interest::READABLE | Interest::WRITABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            stats: Mutex::default(),
            questions: Mutex::default(),
            waker,
        });
        let shard = Self {
            shared: shared.clone(),
            poll,
            endpoint: Endpoint::new(config::endpoint(), Some(server), !udp.may_fragment(), None),
            udp,
            peers: Vec::new(),
            handles: HashMap::new(),
            next_id: 0,
            origins: OriginCounts::new(PER_ADDRESS),
            timers: BinaryHeap::new(),
            touched: Vec::new(),
            rooms: Rooms::new(config.server, config.limits),
            start: Instant::now(),
            tap: config.tap.map(BufWriter::new),
            buffer: Vec::new(),
            stopping: None,
        };
        Ok((shard, shared))
    }

    /// Runs until it is told to stop and has said so to everybody.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut more = false;
        loop {
            let wait = if more { Duration::ZERO } else { self.wait(Instant::now()) };
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(%error, "the relay cannot wait for its socket and ends");
                    break;
                }
            }
            let now = Instant::now();
            if self.shared.stop.load(Ordering::Acquire) && self.stopping.is_none() {
                self.stopping = Some(now + GOODBYE);
                self.rooms.handle_input(self.time(now), Input::Shutdown);
            }
            self.answer(now);
            let (handled, drained) = self.receive(now);
            self.expire(now);
            self.serve(now);
            self.carry_out(now);
            self.transmit(now);
            if self.rooms.has_output() {
                // Somebody's end came to light while packets left; the others hear of it now and not a tick later.
                self.carry_out(now);
                self.transmit(now);
            }
            let quiet = self.handles.is_empty() && !self.udp.is_blocked();
            if self.stopping.is_some_and(|until| quiet || until <= now) {
                break;
            }
            more = !drained;
            if drained && handled >= BUSY {
                // What came in this turn has left; what comes in the next moment is cheaper together.
                std::thread::sleep(COALESCE);
                more = true;
            }
        }
        self.publish();
        info!(stats = ?self.rooms.stats(), "relay stopped");
    }

    fn answer(&mut self, now: Instant) {
        let questions = core::mem::take(&mut *self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner));
        for question in questions {
            match question {
                Question::Present { rooms, answer } => {
                    let present = rooms.into_iter().map(|room| self.rooms.present(room).cloned().collect()).collect();
                    // Whoever asked may have gone.
                    let _ = answer.send(present);
                }
                Question::Expel { room, users } => {
                    let now = self.time(now);
                    self.rooms.handle_input(now, Input::Expel { room, users, wall: wall_time() });
                }
            }
        }
    }

    fn time(&self, now: Instant) -> Time {
        Time::from_micros(u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX))
    }

    fn wait(&self, now: Instant) -> Duration {
        let timer = self.timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
        let rooms = self.rooms.poll_timeout().map(|at| at.since(self.time(now)));
        let stop = self.stopping.map(|until| until.saturating_duration_since(now));
        [timer, rooms, stop].into_iter().flatten().min().unwrap_or(IDLE)
    }

    fn peer(&mut self, handle: ConnectionHandle) -> Option<&mut Peer> {
        self.peers.get_mut(handle.0)?.as_mut()
    }

    fn touch(&mut self, handle: ConnectionHandle) {
        if let Some(peer) = self.peers.get_mut(handle.0).and_then(Option::as_mut)
            && !core::mem::replace(&mut peer.touched, true)
        {
            self.touched.push(handle);
        }
    }

    /// Reads what came and hands it to its connections. Returns how many messages that were, and whether it was all.
    fn receive(&mut self, now: Instant) -> (usize, bool) {
        let (mut received, mut handled, mut drained) = (Vec::new(), 0, false);
        for _ in 0..BATCHES {
            match self.udp.receive(|packet| received.push(packet)) {
                Some(read) => handled += read,
                None => {
                    drained = true;
                    break;
                }
            }
        }
        for Received { from, to, ecn, bytes } in received {
            self.buffer.clear();
            match self.endpoint.handle(now, from, to, ecn, bytes, &mut self.buffer) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => self.hand_over(handle, event),
                Some(DatagramEvent::NewConnection(incoming)) => self.meet(now, incoming),
                Some(DatagramEvent::Response(transmit)) => self.respond(transmit),
                None => {}
            }
        }
        (handled, drained)
    }

    fn hand_over(&mut self, handle: ConnectionHandle, event: ConnectionEvent) {
        if let Some(peer) = self.peer(handle) {
            peer.connection.handle_event(event);
            self.touch(handle);
        }
    }

    /// What an endpoint answers by itself leaves at once, or never.
    fn respond(&mut self, transmit: Transmit) {
        if !self.udp.is_blocked() {
            let contents = core::mem::take(&mut self.buffer);
            self.udp.send(transmit, &contents);
            self.buffer = contents;
        }
    }

    /// Somebody new: in, to be asked whether it is who it says, or turned away.
    fn meet(&mut self, now: Instant, incoming: Incoming) {
        self.buffer.clear();
        let origin = Origin::of(incoming.remote_address().ip());
        let doubtful = self.handles.len() >= VALIDATE_FROM || self.origins.held(&origin) >= VALIDATE_EACH_FROM;
        if doubtful && !incoming.remote_address_validated() {
            let transmit = match self.endpoint.retry(incoming, &mut self.buffer) {
                Ok(transmit) => transmit,
                Err(error) => self.endpoint.refuse(error.into_incoming(), &mut self.buffer),
            };
            return self.respond(transmit);
        }
        let full = self.stopping.is_some() || self.handles.len() >= MAX_CONNECTIONS;
        if full || !self.origins.take(&origin) {
            let transmit = self.endpoint.refuse(incoming, &mut self.buffer);
            return self.respond(transmit);
        }
        match self.endpoint.accept(incoming, now, &mut self.buffer, None) {
            Ok((handle, connection)) => {
                let id = ConnectionId(self.next_id);
                self.next_id += 1;
                if self.peers.len() <= handle.0 {
                    self.peers.resize_with(handle.0 + 1, || None);
                }
                if let Some(place) = self.peers.get_mut(handle.0) {
                    *place = Some(Peer::new(now, connection, id, origin));
                }
                self.handles.insert(id, handle);
                self.touch(handle);
            }
            Err(AcceptError { cause, response }) => {
                debug!(%cause, "handshake failed");
                self.origins.give(&origin);
                if let Some(transmit) = response {
                    self.respond(transmit);
                }
            }
        }
    }

    /// Looks at the connections whose time has come, and at the rooms'.
    fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, handle))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            let handle = ConnectionHandle(handle);
            // Deadlines move with every packet: what was written down is when to look, not what is due, and what was
            // written down before that, or for a connection that is gone, is nothing.
            if let Some(peer) = self.peer(handle)
                && peer.scheduled == Some(at)
            {
                peer.scheduled = None;
                peer.timeout(now);
                self.touch(handle);
            }
        }
        if self.rooms.poll_timeout().is_some_and(|at| at <= self.time(now)) {
            self.rooms.handle_input(self.time(now), Input::Tick);
            self.publish();
        }
    }

    fn publish(&mut self) {
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.rooms.stats();
        if let Some(tap) = &mut self.tap {
            let _ = tap.flush();
        }
    }

    /// Lets the connections that something happened to tell the rooms about it.
    fn serve(&mut self, now: Instant) {
        let time = self.time(now);
        let (rooms, tap) = (&mut self.rooms, &mut self.tap);
        for handle in &self.touched {
            let Some(peer) = self.peers.get_mut(handle.0).and_then(Option::as_mut) else { continue };
            let connection = peer.id;
            peer.listen(now, |news| {
                let input = match news {
                    News::Connected { binding, hop } => Input::Connected { connection, binding, hop },
                    News::Control(body) => Input::Control { connection, body, wall: wall_time() },
                    News::Datagram(bytes) => {
                        if let (Some(file), Some(room)) = (tap.as_mut(), rooms.room_id(connection))
                            && record(file, room.as_bytes(), &bytes).is_err()
                        {
                            warn!("the tap file cannot be written; the tap ends");
                            *tap = None;
                        }
                        Input::Datagram { connection, bytes }
                    }
                    News::Gone => Input::Disconnected { connection },
                };
                rooms.handle_input(time, input);
            });
        }
    }

    /// Does what the rooms say.
    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.rooms.poll_output() {
            let (Output::Control { connection, .. } | Output::Close { connection }) = &output;
            let Some(handle) = self.handles.get(connection).copied() else { continue };
            let Some(peer) = self.peer(handle) else { continue };
            match output {
                Output::Control { message, .. } => {
                    if let Some(frame) = message.frame() {
                        peer.say(now, &frame);
                    }
                }
                Output::Close { .. } => peer.say_goodbye(now),
            }
            self.touch(handle);
        }
        while let Some(connection) = self.rooms.poll_ready() {
            let Some(handle) = self.handles.get(&connection).copied() else { continue };
            self.touch(handle);
        }
    }

    /// Sends what the touched connections have to send, and writes down when to look at them again.
    fn transmit(&mut self, now: Instant) {
        let segments = self.udp.segments();
        let mut open = self.udp.unblock();
        let touched = core::mem::take(&mut self.touched);
        for handle in touched {
            let Some(peer) = self.peers.get_mut(handle.0).and_then(Option::as_mut) else { continue };
            loop {
                let mut more = feed(peer, &mut self.rooms);
                while open {
                    self.buffer.clear();
                    let Some(transmit) = peer.connection.poll_transmit(now, segments, &mut self.buffer) else { break };
                    open = self.udp.send(transmit, &self.buffer);
                }
                while let Some(event) = peer.connection.poll_endpoint_events() {
                    if let Some(event) = self.endpoint.handle_event(handle, event) {
                        peer.connection.handle_event(event);
                        more = true;
                    }
                }
                if !more || !open {
                    break;
                }
            }
            if peer.connection.is_drained() {
                let (id, origin) = (peer.id, peer.origin);
                self.origins.give(&origin);
                self.handles.remove(&id);
                let time = self.time(now);
                self.rooms.handle_input(time, Input::Disconnected { connection: id });
                if let Some(place) = self.peers.get_mut(handle.0) {
                    *place = None;
                }
                continue;
            }
            peer.touched = false;
            if !open {
                // It has more to say when the system has room again.
                peer.touched = true;
                self.touched.push(handle);
            }
            if let Some(at) = peer.deadline()
                && peer.scheduled.is_none_or(|scheduled| at < scheduled)
            {
                peer.scheduled = Some(at);
                self.timers.push(Reverse((at, handle.0)));
            }
        }
    }
}

/// Moves a member's packets from its room's queue into QUIC's, as many as fit. Returns whether there were any.
fn feed(peer: &mut Peer, rooms: &mut Rooms) -> bool {
    let mut fed = false;
    while let Some(size) = rooms.next_size(peer.id) {
        if peer.connection.datagrams().send_buffer_space() < size {
            break;
        }
        let Some(packet) = rooms.poll_media(peer.id) else { break };
        if let Err(error) = peer.connection.datagrams().send(packet, false) {
            debug!(connection = peer.id.0, %error, "a packet was not sent");
        }
        fed = true;
    }
    fed
}

/// One packet of the tap file: length as 32 bits, big-endian, the room's id, the packet.
fn record(file: &mut impl Write, room: &[u8; 16], packet: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    file.write_all(&length.to_be_bytes())?;
    file.write_all(room)?;
    file.write_all(packet)
}

fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
