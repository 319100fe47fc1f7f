//! The loop: one socket, the connections that live here, and the rooms they are in.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token, Waker};
use quinn_proto::{ConnectionEvent, ConnectionHandle, EndpointEvent, ServerConfig, Transmit};
use tracing::{debug, info, warn};
use undertone_keys::{RoomId, Time, WallTime};
use undertone_media::packet::MAX_PACKET;
use undertone_protocol::control::ToRelay;
use undertone_protocol::{Grant, Origin};

use super::address::{Addresses, shard_of};
use super::door::{Door, Knock, Lives};
use super::mail::{Anchor, Desk, Letter, Shared, locked};
use super::peer::{News, Peer};
use super::slots::Slots;
use super::tap::Tap;
use super::udp::{Received, Udp};
use crate::rooms::{ConnectionId, Input, Output, Rooms};

/// How long the goodbyes of a relay that goes down may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Batches read before anything else is done: what came is handled while the next comes.
const BATCHES: usize = 8;
/// A thread to which a millisecond brings so many packets is busy: its next turn begins a little later, and finds more to
/// do at once.
const BUSY: usize = 16;
/// How much later.
const COALESCE: Duration = Duration::from_micros(400);
/// The wait where nothing has a deadline.
const IDLE: Duration = Duration::from_secs(3600);

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// A shard's socket and what wakes its thread, before the shards know each other.
pub(super) struct Ground {
    poll: Poll,
    udp: Udp,
}

impl Ground {
    pub(super) fn new(socket: UdpSocket) -> std::io::Result<(Self, Desk)> {
        let (poll, mut udp) = (Poll::new()?, Udp::new(socket)?);
        poll.registry().register(&mut udp.socket, SOCKET, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((Self { poll, udp }, Desk::new(waker)))
    }
}

/// How many packets each millisecond brings.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    handled: usize,
    /// In the millisecond before.
    before: usize,
}

impl Pace {
    fn is_busy(&mut self, now: Instant, handled: usize) -> bool {
        let passed = self.since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        if passed >= Duration::from_millis(1) {
            // After a silence nothing is known.
            self.before = if passed < Duration::from_millis(2) { self.handled } else { 0 };
            (self.since, self.handled) = (Some(now), 0);
        }
        self.handled += handled;
        self.handled.max(self.before) >= BUSY
    }
}

pub(super) struct Shard {
    me: usize,
    shared: Arc<Shared>,
    poll: Poll,
    udp: Udp,
    door: Door,
    addresses: Addresses,
    slots: Slots,
    next_id: u64,
    rooms: Rooms,
    start: Instant,
    tap: Option<Arc<Tap>>,
    buffer: Vec<u8>,
    /// What is to be sent to each shard at the end of this turn.
    outbox: Vec<Vec<Letter>>,
    letters: Vec<Letter>,
    /// Packets that another shard had no room for.
    lost: u64,
    pace: Pace,
    /// Whether the system says when it has room for packets again.
    waits_for_room: bool,
    /// Until when goodbyes may take, once the relay goes down.
    stopping: Option<Instant>,
}

impl Shard {
    pub(super) fn new(
        me: usize,
        ground: Ground,
        shared: Arc<Shared>,
        server: Arc<ServerConfig>,
        addresses: Addresses,
        rooms: Rooms,
        tap: Option<Arc<Tap>>,
    ) -> Self {
        let Ground { poll, udp } = ground;
        Self {
            me,
            door: Door::new(me, server, &addresses, udp.may_fragment(), shared.clone()),
            poll,
            udp,
            addresses,
            slots: Slots::default(),
            next_id: 0,
            rooms,
            start: Instant::now(),
            tap,
            buffer: Vec::new(),
            outbox: shared.desks.iter().map(|_| Vec::new()).collect(),
            letters: Vec::new(),
            lost: 0,
            pace: Pace::default(),
            waits_for_room: false,
            stopping: None,
            shared,
        }
    }

    /// Runs until it is told to stop and has said so to everybody.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut more = false;
        loop {
            if let Err(error) = self.watch() {
                warn!(%error, "the relay cannot watch its socket and ends");
                break;
            }
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
            if self.shared.stopping() && self.stopping.is_none() {
                self.stopping = Some(now + GOODBYE);
                self.rooms.handle_input(self.time(now), Input::Shutdown);
            }
            let (letters, more_letters) = self.read_letters(now);
            let (handled, drained) = self.receive(now);
            let drained = drained && !more_letters;
            self.expire(now);
            self.serve(now);
            if self.stopping.is_some() {
                // Whoever has come in since is told as well.
                self.rooms.handle_input(self.time(now), Input::Shutdown);
            }
            self.carry_out(now);
            self.transmit(now);
            if self.rooms.has_output() {
                // Somebody's end came to light while packets left; the others hear of it now and not a tick later.
                self.carry_out(now);
                self.transmit(now);
            }
            self.post();
            if self.stopping.is_some_and(|until| until <= now || self.is_quiet()) {
                break;
            }
            more = !drained;
            if self.pace.is_busy(now, handled + letters) && drained {
                // What came in this turn has left; what comes in the next moment is cheaper together.
                std::thread::sleep(COALESCE);
                more = true;
            }
        }
        self.publish();
        info!(shard = self.me, stats = ?self.rooms.stats(), "relay stopped");
    }

    /// Has the system say when there is room again, where there was none, and only then: else it would say so after every
    /// packet.
    fn watch(&mut self) -> std::io::Result<()> {
        let blocked = self.udp.is_blocked();
        if core::mem::replace(&mut self.waits_for_room, blocked) == blocked {
            return Ok(());
        }
        let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().reregister(&mut self.udp.socket, SOCKET, interest)
    }

    /// Whether nobody is connected, here or in another shard whose connections have their endpoint here.
    fn is_quiet(&self) -> bool {
        self.shared.gate().connections == 0 && !self.udp.is_blocked()
    }

    fn time(&self, now: Instant) -> Time {
        Time::from_micros(u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX))
    }

    fn wait(&self, now: Instant) -> Duration {
        let timer = self.slots.next_timer().map(|at| at.saturating_duration_since(now));
        let rooms = self.rooms.poll_timeout().map(|at| at.since(self.time(now)));
        let stop = self.stopping.map(|until| until.saturating_duration_since(now));
        [timer, rooms, stop].into_iter().flatten().min().unwrap_or(IDLE)
    }

    /// Does what others ask for. Returns how many letters there were, and whether more wait.
    fn read_letters(&mut self, now: Instant) -> (usize, bool) {
        let mut letters = core::mem::take(&mut self.letters);
        let more = self.shared.desks.get(self.me).is_some_and(|desk| desk.take(&mut letters));
        let count = letters.len();
        for letter in letters.drain(..) {
            match letter {
                Letter::Packet { anchor, event } | Letter::Answer { anchor, event } => {
                    // It may be gone by now.
                    if let Some(slot) = self.slots.guest(anchor) {
                        self.hand_over(slot, event);
                    }
                }
                Letter::Endpoint { handle, event } => self.tell_endpoint(handle, event),
                Letter::Stray(packet) => self.take_packet(now, packet),
                Letter::Newcomer { peer, said } => self.take_in(now, peer, said),
                Letter::Present { rooms, answer } => {
                    let present = rooms.into_iter().map(|room| self.rooms.present(room).cloned().collect()).collect();
                    // Whoever asked may have gone.
                    let _ = answer.send(present);
                }
                Letter::Expel { room, users } => {
                    let now = self.time(now);
                    self.rooms.handle_input(now, Input::Expel { room, users, wall: wall_time() });
                }
                Letter::Revoke { members } => {
                    let now = self.time(now);
                    self.rooms.handle_input(now, Input::Revoke { members, wall: wall_time() });
                }
            }
        }
        self.letters = letters;
        (count, more)
    }

    /// Writes to another shard, at the end of this turn.
    fn write(&mut self, shard: usize, letter: Letter) {
        if let Some(letters) = self.outbox.get_mut(shard) {
            letters.push(letter);
        }
    }

    fn post(&mut self) {
        for (desk, letters) in self.shared.desks.iter().zip(&mut self.outbox) {
            if !letters.is_empty() {
                self.lost += desk.send(letters) as u64;
            }
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
        for packet in received {
            match self.addresses.of_packet(&packet.bytes) {
                Some(shard) if shard != self.me => self.write(shard, Letter::Stray(packet)),
                Some(_) | None => self.take_packet(now, packet),
            }
        }
        (handled, drained)
    }

    /// Takes a packet that is for this shard's endpoint.
    fn take_packet(&mut self, now: Instant, packet: Received) {
        let knock = self.door.knock(now, packet, &mut self.buffer);
        match knock {
            Some(Knock::Known(handle, event)) => match self.door.lives(handle) {
                Some(Lives::Here(slot)) => self.hand_over(slot, event),
                Some(Lives::With(shard)) => {
                    self.write(shard, Letter::Packet { anchor: Anchor { shard: self.me, handle }, event });
                }
                None => {}
            },
            Some(Knock::New(handle, connection, origin)) => self.welcome(now, handle, connection, origin),
            Some(Knock::Answer(transmit)) => self.respond(transmit),
            None => {}
        }
    }

    fn hand_over(&mut self, slot: usize, event: ConnectionEvent) {
        if let Some(peer) = self.slots.get(slot) {
            peer.connection.handle_event(event);
            self.slots.touch(slot);
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

    /// Lets one of this shard's connections tell its endpoint something.
    fn tell_endpoint(&mut self, handle: ConnectionHandle, event: EndpointEvent) {
        let lives = self.door.lives(handle);
        let Some(event) = self.door.told(handle, event) else { return };
        match lives {
            Some(Lives::Here(slot)) => self.hand_over(slot, event),
            Some(Lives::With(shard)) => {
                self.write(shard, Letter::Answer { anchor: Anchor { shard: self.me, handle }, event });
            }
            None => {}
        }
    }

    const fn number(&mut self) -> ConnectionId {
        self.next_id += 1;
        ConnectionId(self.next_id)
    }

    fn welcome(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        connection: Box<quinn_proto::Connection>,
        origin: Origin,
    ) {
        let anchor = Anchor { shard: self.me, handle };
        let peer = Peer::new(now, *connection, self.number(), anchor, origin);
        let slot = self.slots.insert(Box::new(peer), false);
        self.door.settle(handle, Lives::Here(slot));
    }

    /// Takes in somebody whose room is here and whose endpoint is another shard's.
    fn take_in(&mut self, now: Instant, mut peer: Box<Peer>, said: Vec<News>) {
        peer.id = self.number();
        let (connection, exports) = (peer.id, peer.exports());
        let slot = self.slots.insert(peer, true);
        let Some((binding, hop)) = exports else {
            if let Some(peer) = self.slots.get(slot) {
                peer.close(now, 1, b"no exporter");
            }
            return;
        };
        let time = self.time(now);
        for news in [News::Connected { binding, hop }].into_iter().chain(said) {
            tell(&mut self.rooms, self.tap.as_deref(), time, connection, news);
        }
    }

    /// Looks at the connections whose time has come, and at the rooms'.
    fn expire(&mut self, now: Instant) {
        self.slots.expire(now);
        if self.rooms.poll_timeout().is_some_and(|at| at <= self.time(now)) {
            self.rooms.handle_input(self.time(now), Input::Tick);
            self.publish();
        }
    }

    fn publish(&self) {
        if let Some(desk) = self.shared.desks.get(self.me) {
            let stats = self.rooms.stats();
            *locked(&desk.stats) = crate::Stats { dropped: stats.dropped + self.lost, ..stats };
        }
        if let Some(tap) = &self.tap {
            tap.flush();
        }
    }

    /// Lets the connections that something happened to tell the rooms about it. Whoever wants to join a room that is
    /// elsewhere goes there, with what they said.
    fn serve(&mut self, now: Instant) {
        let (time, shards) = (self.time(now), self.shared.desks.len());
        let touched = self.slots.take_touched();
        for &slot in &touched {
            let Some(peer) = self.slots.get(slot) else { continue };
            let (connection, anchor) = (peer.id, peer.anchor);
            let (mut settled, mut elsewhere, mut said) = (peer.settled || shards == 1, None, Vec::new());
            peer.listen(now, |news| {
                if let News::Control(body) = &news
                    && !core::mem::replace(&mut settled, true)
                {
                    elsewhere =
                        room_asked_for(body).map(|room| shard_of(room, shards)).filter(|shard| *shard != anchor.shard);
                }
                if elsewhere.is_some() {
                    said.push(news);
                } else {
                    tell(&mut self.rooms, self.tap.as_deref(), time, connection, news);
                }
            });
            peer.settled = settled;
            if let Some(shard) = elsewhere
                && let Some(mut peer) = self.slots.remove(slot)
            {
                self.rooms.handle_input(time, Input::Disconnected { connection });
                self.door.settle(anchor.handle, Lives::With(shard));
                (peer.touched, peer.scheduled) = (false, None);
                self.write(shard, Letter::Newcomer { peer, said });
            }
        }
        self.slots.put_back(touched);
    }

    /// Does what the rooms say.
    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.rooms.poll_output() {
            let (Output::Control { connection, .. } | Output::Close { connection }) = &output;
            let Some(slot) = self.slots.of(*connection) else { continue };
            let Some(peer) = self.slots.get(slot) else { continue };
            match output {
                Output::Control { message, .. } => {
                    if let Some(frame) = message.frame() {
                        peer.say(now, &frame);
                    }
                }
                Output::Close { .. } => peer.say_goodbye(now),
            }
            self.slots.touch(slot);
        }
        while let Some(connection) = self.rooms.poll_ready() {
            if let Some(slot) = self.slots.of(connection) {
                self.slots.touch(slot);
            }
        }
    }

    /// Sends what the touched connections have to send, and writes down when to look at them again.
    fn transmit(&mut self, now: Instant) {
        let segments = self.udp.segments();
        let mut open = self.udp.unblock();
        for slot in self.slots.take_touched() {
            let Some(peer) = self.slots.get(slot) else { continue };
            peer.touched = false;
            let (connection, anchor, origin) = (peer.id, peer.anchor, peer.origin);
            loop {
                let waits = feed(peer, &mut self.rooms);
                let mut more = false;
                while open {
                    self.buffer.clear();
                    let Some(transmit) = peer.connection.poll_transmit(now, segments, &mut self.buffer) else { break };
                    open = self.udp.send(transmit, &self.buffer);
                    // What has left made room. Where nothing leaves, whoever reads nothing is left to wait.
                    more = waits;
                }
                while let Some(event) = peer.connection.poll_endpoint_events() {
                    if anchor.shard != self.me {
                        // The last one gives back all that the others were about.
                        if !event.is_drained() && !peer.may_write(now) {
                            continue;
                        }
                        let letter = Letter::Endpoint { handle: anchor.handle, event };
                        if let Some(letters) = self.outbox.get_mut(anchor.shard) {
                            letters.push(letter);
                        }
                    } else if let Some(event) = self.door.told(anchor.handle, event) {
                        peer.connection.handle_event(event);
                        more = true;
                    }
                }
                if !more || !open {
                    break;
                }
            }
            if peer.connection.is_drained() {
                self.slots.remove(slot);
                let time = self.time(now);
                self.rooms.handle_input(time, Input::Disconnected { connection });
                self.shared.left(&origin);
                continue;
            }
            if !open {
                // It has more to say when the system has room again.
                self.slots.keep_touched(slot);
            }
            self.slots.schedule(slot);
        }
    }
}

/// Tells the rooms what a connection has to say.
fn tell(rooms: &mut Rooms, tap: Option<&Tap>, time: Time, connection: ConnectionId, news: News) {
    let input = match news {
        News::Connected { binding, hop } => Input::Connected { connection, binding, hop },
        News::Control(body) => Input::Control { connection, body, wall: wall_time() },
        News::Datagram(bytes) => {
            if let (Some(tap), Some(room)) = (tap, rooms.room_id(connection)) {
                tap.record(room, &bytes);
            }
            Input::Datagram { connection, bytes }
        }
        News::Gone => Input::Disconnected { connection },
    };
    rooms.handle_input(time, input);
}

/// The room that somebody's first message asks for. Nothing about it is known to hold: where it leads, it is checked.
fn room_asked_for(body: &[u8]) -> Option<RoomId> {
    match ToRelay::decode(body).ok()? {
        ToRelay::Join { grant, .. } => Grant::claimed_room(&grant),
        _ => None,
    }
}

/// Moves a member's packets from its room's queue into QUIC's, as many as fit. Returns whether more may wait for room.
fn feed(peer: &mut Peer, rooms: &mut Rooms) -> bool {
    while let Some(packet) = rooms.poll_media(peer.id, peer.connection.datagrams().send_buffer_space()) {
        if let Err(error) = peer.connection.datagrams().send(packet, false) {
            debug!(connection = peer.id.0, %error, "a packet was not sent");
        }
    }
    peer.connection.datagrams().send_buffer_space() < MAX_PACKET
}

fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
