//! All rooms of a relay, and the connections that are or want to be in one.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Server, Signed, VerifyingKey};
use undertone_keys::{CallId, RoomId, Time, UserId, WallTime};
use undertone_media::HopExporter;
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::join::{BINDING_LENGTH, JoinError};
use undertone_protocol::{Entry, Grant, Protection, VERSION, limits};

use crate::renewal::Renewals;
use crate::revocation::Revoked;
use crate::room::{Blind, Echo, Hop, Room, Verdict};
use crate::roster::{Gone, Newcomer, Roster, Seat, fits};

/// A connection's number, given by the shell and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Members shown in one message: each has two signed papers of less than a kilobyte together.
const MEMBERS_AT_ONCE: usize = 8;
/// How often liveness is looked at.
const TICK: Duration = Duration::from_millis(500);

/// What bounds a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rooms at most.
    pub rooms: usize,
    /// Members of a room at most.
    pub members: usize,
    /// Those who only listen in a room with an audience, beside its members, at most.
    pub listeners: usize,
    /// Places in rooms that one user's devices hold at most.
    pub places_per_user: usize,
    /// Packets per second that a member may send; twice as many at once.
    pub member_packets: u32,
    /// Bytes per second that a member may send; twice as many at once.
    pub member_bytes: u32,
    /// Packets per second that a room's members together may have delivered, each counted once for everybody it goes to, and
    /// twice as many at once; a member alone half of that.
    pub room_deliveries: u32,
    /// Packets queued for one receiver.
    pub receiver_queue: usize,
    /// QUIC connections at most.
    pub connections: usize,
    /// QUIC connections from one address at most (for IPv6, from one /64).
    pub connections_per_address: usize,
    /// How long a connection may take to join.
    pub join_timeout: Duration,
    /// How long a member may be silent.
    pub liveness: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: limits::MAX_ROOMS,
            members: limits::MAX_MEMBERS,
            listeners: limits::MAX_LISTENERS,
            places_per_user: limits::MAX_PLACES_PER_USER,
            member_packets: limits::MEMBER_PACKETS,
            member_bytes: limits::MEMBER_BYTES,
            room_deliveries: limits::ROOM_DELIVERIES,
            receiver_queue: limits::RECEIVER_QUEUE,
            connections: limits::RELAY_CONNECTIONS,
            connections_per_address: limits::RELAY_CONNECTIONS_PER_ADDRESS,
            join_timeout: limits::JOIN_TIMEOUT,
            liveness: limits::LIVENESS,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A connection stands. Its TLS exporter under [`undertone_protocol::labels::CHANNEL_BINDING`] ties the join to it.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// The exporter's bytes.
        binding: [u8; BINDING_LENGTH],
        /// What the same session exports under [`undertone_protocol::labels::HOP`]: used for a hop room, else dropped.
        hop: HopExporter,
    },
    /// A control message's body came in.
    Control {
        /// From whom.
        connection: ConnectionId,
        /// The body.
        body: Vec<u8>,
        /// The wall clock, for grants.
        wall: WallTime,
    },
    /// A datagram came in.
    Datagram {
        /// From whom.
        connection: ConnectionId,
        /// As received.
        bytes: Bytes,
    },
    /// A connection is gone.
    Disconnected {
        /// Which.
        connection: ConnectionId,
    },
    /// The server takes grants back: these users were taken off a room's list, or have other rights now. Their devices
    /// go, and come back with a newer grant alone.
    Expel {
        /// From which room.
        room: RoomId,
        /// Whom.
        users: Vec<UserId>,
        /// The wall clock: grants that were signed up to now are good for nothing.
        wall: WallTime,
    },
    /// These devices were revoked by their users: they leave every room, and no grant that they have lets them in again
    /// (rule CALL-6).
    Revoke {
        /// Which.
        members: Vec<Address>,
        /// The wall clock: grants that were signed up to now are good for nothing.
        wall: WallTime,
    },
    /// The time that `poll_timeout` named has come.
    Tick,
    /// The relay goes down: everybody is told.
    Shutdown,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a control message.
    Control {
        /// To whom.
        connection: ConnectionId,
        /// What.
        message: ToMember,
    },
    /// Close a connection after what was to be sent on it.
    Close {
        /// Which.
        connection: ConnectionId,
    },
}

/// What a relay counted since its start, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets taken from members.
    pub received: u64,
    /// Packets put into queues.
    pub queued: u64,
    /// Packets dropped since a receiver was slow.
    pub dropped: u64,
    /// Packets refused.
    pub refused: u64,
    /// Packets beyond what their sender may send.
    pub excess: u64,
    /// Packets opened and sealed anew: those of hop rooms, and none of any other.
    pub opened: u64,
    /// Joins.
    pub joins: u64,
    /// Rooms now, those that were left a short while ago among them.
    pub rooms: u64,
    /// Members of rooms now.
    pub members: u64,
    /// QUIC connections now, those among them that have shown no papers yet: the shell's own count.
    pub connections: u64,
}

#[derive(Debug)]
enum Connection {
    AwaitingJoin { since: Time, binding: [u8; BINDING_LENGTH], hop: HopExporter },
    InRoom(RoomId),
}

/// A room of either protection.
#[derive(Debug)]
pub(crate) enum AnyRoom {
    Blind(Room<Blind>),
    Hop(Room<Hop>),
    Echo(Room<Echo>),
}

impl AnyRoom {
    fn new(protection: Protection, call: CallId, limits: Limits, now: Time) -> Self {
        match protection {
            Protection::Blind => Self::Blind(Room::new(call, limits, now)),
            Protection::Hop => Self::Hop(Room::new(call, limits, now)),
            Protection::Echo => Self::Echo(Room::new(call, limits, now)),
        }
    }

    const fn protection(&self) -> Protection {
        match self {
            Self::Blind(_) => Protection::Blind,
            Self::Hop(_) => Protection::Hop,
            Self::Echo(_) => Protection::Echo,
        }
    }

    pub(crate) const fn roster(&self) -> &Roster {
        match self {
            Self::Blind(room) => &room.roster,
            Self::Hop(room) => &room.roster,
            Self::Echo(room) => &room.roster,
        }
    }

    pub(crate) const fn roster_mut(&mut self) -> &mut Roster {
        match self {
            Self::Blind(room) => &mut room.roster,
            Self::Hop(room) => &mut room.roster,
            Self::Echo(room) => &mut room.roster,
        }
    }

    fn leave(&mut self, connection: ConnectionId, now: Time) -> Option<Gone> {
        if let Self::Hop(room) = self {
            room.forget(connection);
        }
        self.roster_mut().leave(connection, now)
    }
}

/// The relay's core.
#[derive(Debug)]
pub struct Rooms {
    server: VerifyingKey<Server>,
    limits: Limits,
    /// Their numbers are the shell's own: nobody outside picks them so that they collide.
    connections: FxHashMap<ConnectionId, Connection>,
    pub(crate) rooms: HashMap<RoomId, AnyRoom>,
    /// Places that each user's devices hold.
    places: HashMap<UserId, usize>,
    /// Devices that may not act any more.
    pub(crate) revoked: Revoked,
    /// When the last of the grants ends that may have been signed so far: a clock that goes back takes none of them back.
    pub(crate) latest: WallTime,
    /// When hop rooms begin their next epochs.
    pub(crate) renewals: Renewals,
    pub(crate) outputs: VecDeque<Output>,
    ready: VecDeque<ConnectionId>,
    next_tick: Option<Time>,
    stats: Stats,
}

impl Rooms {
    /// A relay without rooms that believes the grants of `server`.
    #[must_use]
    pub fn new(server: VerifyingKey<Server>, limits: Limits) -> Self {
        Self {
            server,
            limits,
            connections: FxHashMap::default(),
            rooms: HashMap::new(),
            places: HashMap::new(),
            revoked: Revoked::default(),
            latest: WallTime::default(),
            renewals: Renewals::default(),
            outputs: VecDeque::new(),
            ready: VecDeque::new(),
            next_tick: None,
            stats: Stats::default(),
        }
    }

    /// Takes an input. Nothing a connection does is an error of the relay; what it deserves for it is an output.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        if self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
        match input {
            Input::Connected { connection, binding, hop } => {
                self.connections.insert(connection, Connection::AwaitingJoin { since: now, binding, hop });
            }
            Input::Control { connection, body, wall } => self.control(now, connection, &body, wall),
            Input::Datagram { connection, bytes } => self.datagram(now, connection, &bytes),
            Input::Disconnected { connection } => self.remove(now, connection, Refusal::Left),
            Input::Expel { room, users, wall } => self.expel(now, room, users, wall),
            Input::Revoke { members, wall } => self.revoke(now, members, wall),
            Input::Tick => self.tick(now),
            Input::Shutdown => {
                let everybody: Vec<ConnectionId> = self.connections.keys().copied().collect();
                everybody.into_iter().for_each(|connection| self.refuse(now, connection, Refusal::ShuttingDown));
            }
        }
    }

    /// The next thing to do. `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Self::poll_output`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// A connection whose queue was empty and is not any more: it is named again after [`Self::poll_media`] has emptied it,
    /// and from time to time where it is left waiting. Its queue may be empty again by now.
    pub fn poll_ready(&mut self) -> Option<ConnectionId> {
        self.ready.pop_front()
    }

    /// The next packet for this connection, if it has no more than `space` bytes. A larger one waits.
    pub fn poll_media(&mut self, connection: ConnectionId, space: usize) -> Option<Bytes> {
        let Some(Connection::InRoom(room)) = self.connections.get(&connection) else { return None };
        self.rooms.get_mut(room)?.roster_mut().take_packet(connection, space)
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.next_tick.into_iter().chain(self.renewals.poll_timeout()).min()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let members = self.places.values().sum::<usize>();
        Stats { rooms: self.rooms.len() as u64, members: members as u64, ..self.stats }
    }

    /// The room this connection is in.
    #[must_use]
    pub fn room_id(&self, connection: ConnectionId) -> Option<RoomId> {
        match self.connections.get(&connection) {
            Some(Connection::InRoom(room)) => Some(*room),
            Some(Connection::AwaitingJoin { .. }) | None => None,
        }
    }

    fn room_of(&self, connection: ConnectionId) -> Option<&Roster> {
        self.rooms.get(&self.room_id(connection)?).map(AnyRoom::roster)
    }

    fn control(&mut self, now: Time, connection: ConnectionId, body: &[u8], wall: WallTime) {
        self.latest = self.latest.max(wall.plus(limits::GRANT_LIFETIME.as_secs()));
        let Ok(message) = ToRelay::decode(body) else {
            return self.refuse(now, connection, Refusal::Malformed);
        };
        match (message, self.connections.get(&connection)) {
            (_, None) => {}
            (ToRelay::Join { version, grant, join }, Some(Connection::AwaitingJoin { binding, .. })) => {
                let binding = *binding;
                match self.admit(now, connection, &binding, version, grant, join, wall) {
                    Ok(()) => self.stats.joins += 1,
                    Err(reason) => self.refuse(now, connection, reason),
                }
            }
            (ToRelay::Ping { sent_ms }, Some(Connection::InRoom(room))) => {
                if let Some(seat) = self.rooms.get_mut(room).and_then(|room| room.roster_mut().seat_mut(connection)) {
                    seat.heard = now;
                }
                self.outputs.push_back(Output::Control { connection, message: ToMember::Pong { sent_ms } });
            }
            (ToRelay::Leave, Some(_)) => {
                self.remove(now, connection, Refusal::Left);
                self.outputs.push_back(Output::Close { connection });
            }
            (ToRelay::Remove { index }, Some(Connection::InRoom(room))) => {
                self.take_out(now, connection, *room, index);
            }
            (ToRelay::Mute { index, muted }, Some(Connection::InRoom(room))) => {
                self.silence(connection, *room, index, muted);
            }
            (_, Some(_)) => self.refuse(now, connection, Refusal::Malformed),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "everything a join is checked against")]
    fn admit(
        &mut self,
        now: Time,
        connection: ConnectionId,
        binding: &[u8; BINDING_LENGTH],
        version: u16,
        grant: Signed,
        join: Signed,
        wall: WallTime,
    ) -> Result<(), Refusal> {
        if version != VERSION {
            return Err(Refusal::Version);
        }
        let entry = Entry::verify(&grant, &join, &self.server, wall).map_err(|error| match error {
            JoinError::Grant(_) => Refusal::Grant,
            _ => Refusal::Join,
        })?;
        let Entry { grant: granted, join: joined } = entry;
        if joined.binding != *binding {
            return Err(Refusal::Join);
        }
        if self.revoked.refuses(&granted.member, granted.expires) {
            return Err(Refusal::Revoked);
        }
        // Nor does it take people of two calls: they could not open each other.
        let older = self.rooms.get(&granted.room).filter(|room| !room.roster().seats().is_empty());
        if older.is_some_and(|room| room.roster().call() != granted.call) {
            return Err(Refusal::Grant);
        }
        if let Some(room) = self.rooms.get_mut(&granted.room) {
            if room.roster().is_barred(&granted.member, granted.expires) {
                return Err(Refusal::Removed);
            }
            if !room.roster_mut().may_join(&granted.member.user, now) {
                return Err(Refusal::Full);
            }
            // An empty one of an older call has nothing that this one needs.
            if room.roster().call() != granted.call {
                self.rooms.remove(&granted.room);
            }
        }
        let audience = granted.is_audience();
        let (user, device) = (granted.member.user, granted.member.device);
        // A room is of one protection from its beginning to its end (rule NEG-1).
        if self.rooms.get(&granted.room).is_some_and(|room| room.protection() != granted.protection) {
            return Err(Refusal::Protection);
        }
        let room = self.rooms.get(&granted.room).map(AnyRoom::roster);
        // A device may stand in the lists of two users; it replaces itself as one and the same alone.
        let same = |seat: &&Seat| seat.device == device && seat.user == user;
        let older = room.and_then(|room| room.seats().iter().find(same));
        let older = older.map(|seat| seat.connection);
        // Members and those who only listen have places of their own.
        let alike = |seat: &&Seat| seat.audience == audience && Some(seat.connection) != older;
        let others = room.map_or(0, |room| room.seats().iter().filter(alike).count());
        // A room that does not exist yet gives what an empty one would.
        let gives = room.map_or_else(|| fits(0, joined.min_index), |room| room.has_index_for(joined.min_index));
        let held = self.places.get(&user).copied().unwrap_or_default().saturating_sub(usize::from(older.is_some()));
        // Whoever tests themselves is alone.
        let most = match granted.protection {
            Protection::Echo => 1,
            _ if audience => self.limits.listeners,
            _ => self.limits.members,
        };
        if others >= most || !gives || held >= self.limits.places_per_user {
            return Err(Refusal::Full);
        }
        if room.is_none() && !self.has_room_for_one_more() {
            return Err(Refusal::Full);
        }
        if let Some(older) = older {
            self.refuse(now, older, Refusal::Replaced);
        }
        let grant_hash = Grant::hash(&grant);
        let any = self
            .rooms
            .entry(granted.room)
            .or_insert_with(|| AnyRoom::new(granted.protection, granted.call, self.limits, now));
        let room = any.roster_mut();
        let members: Vec<_> = room.seats().iter().filter(|seat| seat.sees(audience)).map(Seat::shown).collect();
        let rights = granted.rights;
        let newcomer = Newcomer { connection, user: user.clone(), device, rights, audience, grant, join };
        let Some(index) = room.enter(newcomer, joined.min_index, now) else { return Err(Refusal::Full) };
        *self.places.entry(user).or_default() += 1;
        let awaiting = self.connections.insert(connection, Connection::InRoom(granted.room));
        // A message has room for a few members; the others arrive behind it.
        let others = u16::try_from(members.len()).unwrap_or(u16::MAX);
        let mut members = members.into_iter();
        let first = members.by_ref().take(MEMBERS_AT_ONCE).collect();
        let joined = ToMember::Joined { index, members: first, others };
        self.outputs.push_back(Output::Control { connection, message: joined });
        for member in members {
            self.outputs.push_back(Output::Control { connection, message: ToMember::Arrived { member } });
        }
        for seat in room.seats().iter().filter(|seat| seat.muted && seat.sees(audience)) {
            let message = ToMember::Muted { index: seat.index, muted: true };
            self.outputs.push_back(Output::Control { connection, message });
        }
        let newcomer = room.seats().iter().find(|seat| seat.index == index).map(Seat::shown);
        for seat in room.seats().iter().filter(|seat| seat.index != index && seat.sees(audience)) {
            if let Some(member) = newcomer.clone() {
                let message = ToMember::Arrived { member };
                self.outputs.push_back(Output::Control { connection: seat.connection, message });
            }
        }
        // In a blind room the exporter is dropped here, and with it the last that could become a key.
        if let (AnyRoom::Hop(room), Some(Connection::AwaitingJoin { hop, .. })) = (any, awaiting) {
            room.admit(connection, hop.chain(grant_hash));
            self.renewals.came(now, granted.room, room.len());
        }
        Ok(())
    }

    /// Everybody's name who is in this room, a device at a time.
    pub fn present(&self, room: RoomId) -> impl Iterator<Item = &UserId> {
        self.rooms.get(&room).into_iter().flat_map(|room| room.roster().seats()).map(|seat| &seat.user)
    }

    /// Whether another room fits, if need be in the place of the one that has been empty for the longest.
    fn has_room_for_one_more(&mut self) -> bool {
        if self.rooms.len() < self.limits.rooms {
            return true;
        }
        let empty = self.rooms.iter().filter_map(|(id, room)| Some((room.roster().empty_since()?, *id)));
        let Some((_, oldest)) = empty.min_by_key(|(since, _)| *since) else { return false };
        self.rooms.remove(&oldest).is_some()
    }

    fn datagram(&mut self, now: Time, connection: ConnectionId, packet: &Bytes) {
        self.stats.received += 1;
        let room = match self.connections.get(&connection) {
            Some(Connection::InRoom(room)) => self.rooms.get_mut(room),
            Some(Connection::AwaitingJoin { .. }) | None => None,
        };
        let Some(room) = room else {
            self.stats.refused += 1;
            return;
        };
        let verdict = match room {
            AnyRoom::Blind(room) => room.forward(now, connection, packet, &mut self.ready),
            AnyRoom::Hop(room) => {
                let verdict = room.forward(now, connection, packet, &mut self.ready);
                self.stats.opened += u64::from(matches!(verdict, Verdict::Forwarded { .. }));
                verdict
            }
            AnyRoom::Echo(room) => room.forward(now, connection, packet, &mut self.ready),
        };
        match verdict {
            Verdict::Forwarded { receivers, dropped } => {
                self.stats.queued += receivers as u64;
                self.stats.dropped += dropped as u64;
            }
            Verdict::Refused => self.stats.refused += 1,
            Verdict::Excess => self.stats.excess += 1,
        }
    }

    /// Says no and lets go.
    pub(crate) fn refuse(&mut self, now: Time, connection: ConnectionId, reason: Refusal) {
        if self.connections.contains_key(&connection) {
            let message = ToMember::Refused { reason, version: VERSION };
            self.outputs.push_back(Output::Control { connection, message });
            self.outputs.push_back(Output::Close { connection });
            self.remove(now, connection, reason);
        }
    }

    /// Takes a connection out of everything and tells its room.
    fn remove(&mut self, now: Time, connection: ConnectionId, reason: Refusal) {
        let Some(Connection::InRoom(id)) = self.connections.remove(&connection) else { return };
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if let Some(gone) = room.leave(connection, now) {
            for seat in room.roster().seats().iter().filter(|seat| seat.sees(gone.audience)) {
                let message = ToMember::Gone { index: gone.index, reason };
                self.outputs.push_back(Output::Control { connection: seat.connection, message });
            }
            if let Some(held) = self.places.get_mut(&gone.user) {
                *held = held.saturating_sub(1);
                if *held == 0 {
                    self.places.remove(&gone.user);
                }
            }
        }
        // An empty room is kept for a while: whoever comes back must not be given an index that was given before.
        room.roster_mut().left_at(now);
        self.renewals.gone(now, id, room.roster().seats().len());
        self.renew_due(now);
    }

    fn tick(&mut self, now: Time) {
        self.renew_due(now);
        if self.next_tick.is_some_and(|at| at > now) {
            return;
        }
        let late: Vec<(ConnectionId, Refusal)> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| match connection {
                Connection::AwaitingJoin { since, .. } => {
                    (now.since(*since) >= self.limits.join_timeout).then_some((*id, Refusal::Silent))
                }
                Connection::InRoom(room) => {
                    let heard = self.rooms.get(room)?.roster().seat(*id)?.heard;
                    (now.since(heard) >= self.limits.liveness).then_some((*id, Refusal::Silent))
                }
            })
            .collect();
        for (connection, reason) in late {
            self.refuse(now, connection, reason);
        }
        self.rooms.retain(|_, room| !room.roster().is_over(now));
        // What did not fit into a slow connection gets another chance.
        let waits = |id: &ConnectionId| self.room_of(*id).is_some_and(|roster| roster.has_packet(*id));
        let waiting: Vec<ConnectionId> = self.connections.keys().copied().filter(waits).collect();
        self.ready.extend(waiting);
        let idle = self.connections.is_empty() && self.rooms.is_empty();
        self.next_tick = (!idle).then(|| now + TICK);
    }
}
