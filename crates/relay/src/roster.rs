//! Who is in a room, under which index, and what each is still to be sent: the same for every protection.

use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, DeviceId, Time, UserId, WallTime};
use undertone_protocol::control;
use undertone_protocol::grant::Rights;

use crate::queue::Queue;
use crate::rate::{Allowance, Deliveries};
use crate::rooms::{ConnectionId, Limits};

/// One member as the room sees it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) connection: ConnectionId,
    pub(crate) index: u16,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) rights: Rights,
    /// It only listens, in a room with an audience.
    pub(crate) audience: bool,
    /// Somebody who may silenced its user.
    pub(crate) muted: bool,
    pub(crate) grant: Signed,
    pub(crate) join: Signed,
    pub(crate) heard: Time,
    queue: Queue,
    allowance: Allowance,
}

impl Seat {
    /// Queues a packet of the sender with this index, and names the seat where it is the first. Returns how many had to go.
    pub(crate) fn queue(
        &mut self,
        from: u16,
        packet: Bytes,
        limit: usize,
        ready: &mut VecDeque<ConnectionId>,
    ) -> usize {
        if self.queue.is_empty() {
            ready.push_back(self.connection);
        }
        self.queue.push(from, packet, limit)
    }

    /// Whether one more control packet may come of this member, whose other packets are not forwarded.
    pub(crate) const fn pay_control(&mut self) -> bool {
        self.allowance.take_control()
    }

    /// Whether it is shown somebody in the audience, or not in it: those in the audience are not shown each other.
    pub(crate) const fn sees(&self, audience: bool) -> bool {
        !(self.audience && audience)
    }

    pub(crate) fn shown(&self) -> control::Member {
        control::Member { index: self.index, grant: self.grant.clone(), join: self.join.clone() }
    }
}

/// Somebody whose papers hold, on the way in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) connection: ConnectionId,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) rights: Rights,
    pub(crate) audience: bool,
    pub(crate) grant: Signed,
    pub(crate) join: Signed,
}

/// Who has left.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) index: u16,
    pub(crate) user: UserId,
    pub(crate) audience: bool,
}

/// The members of one room.
#[derive(Debug)]
pub(crate) struct Roster {
    seats: Vec<Seat>,
    /// Where each connection's seat is. A few are sooner looked through than looked up.
    places: FxHashMap<ConnectionId, usize>,
    /// Indices are never given twice in a call (rule MED-2).
    next_index: u16,
    limits: Limits,
    /// Since when nobody is in.
    empty_since: Option<Time>,
    /// The call its members are in.
    call: CallId,
    /// Whose devices were removed: their grants that end no later than this are good for nothing.
    barred: HashMap<DeviceId, WallTime>,
    /// Users that were taken off the room's list, and what of theirs is good for nothing.
    expelled: HashMap<UserId, WallTime>,
    /// How many joins each user has had, and since when that is counted.
    joins: HashMap<UserId, (Time, u32)>,
    /// What the devices that left within the last seconds may still send: coming back is no way to more.
    left: HashMap<DeviceId, Allowance>,
    /// What may be delivered to all of them together.
    deliveries: Deliveries,
    /// Whose packets are not forwarded, until somebody who may says otherwise: coming back does not lift it.
    muted: HashSet<UserId>,
}

/// Seats up to this many are looked through.
const FEW: usize = 16;
/// Joins of one user's devices into one room within [`JOINS_IN`] at most (rule DOS-1).
const MAX_JOINS: u32 = 60;
const JOINS_IN: Duration = Duration::from_secs(60);
/// How long an empty room is kept: longer than a member tries to come back.
const KEEP_EMPTY: Duration = Duration::from_secs(120);
/// A returning device may be ahead of a relay that forgot the call, but not by more than this many joins ...
const MAX_INDEX_STEP: u16 = 4096;
/// ... nor by more than this once somebody else is in: nobody can use up the others' indices.
const MAX_INDEX_STEP_LATER: u16 = 16;

/// Whether a room whose next index is `next` can give one that is no smaller than `min_index`.
pub(crate) const fn fits(next: u16, min_index: u16) -> bool {
    let most = if next == 0 { MAX_INDEX_STEP } else { MAX_INDEX_STEP_LATER };
    min_index.saturating_sub(next) <= most && next < u16::MAX && min_index < u16::MAX
}

impl Roster {
    pub(crate) fn new(call: CallId, limits: Limits, now: Time) -> Self {
        Self {
            seats: Vec::new(),
            places: FxHashMap::default(),
            next_index: 0,
            limits,
            empty_since: None,
            call,
            barred: HashMap::new(),
            expelled: HashMap::new(),
            joins: HashMap::new(),
            left: HashMap::new(),
            deliveries: Deliveries::new(&limits, now),
            muted: HashSet::new(),
        }
    }

    /// The call its members are in.
    pub(crate) const fn call(&self) -> CallId {
        self.call
    }

    /// Lets this device in again only with a grant that ends later.
    pub(crate) fn bar(&mut self, device: DeviceId, until: WallTime) {
        self.barred.insert(device, until);
    }

    /// Lets this user in again only with a grant that ends later.
    pub(crate) fn expel(&mut self, user: UserId, until: WallTime) {
        self.expelled.insert(user, until);
    }

    /// Whether a grant that ends then was taken from this device or user.
    pub(crate) fn is_barred(&self, member: &Address, expires: WallTime) -> bool {
        let device = self.barred.get(&member.device).is_some_and(|until| expires <= *until);
        device || self.expelled.get(&member.user).is_some_and(|until| expires <= *until)
    }

    /// Counts one more join of this user's; `false` where there were too many lately: each uses up an index.
    pub(crate) fn may_join(&mut self, user: &UserId, now: Time) -> bool {
        let (since, joins) = self.joins.entry(user.clone()).or_insert((now, 0));
        if now.since(*since) >= JOINS_IN {
            (*since, *joins) = (now, 0);
        }
        *joins += 1;
        *joins <= MAX_JOINS
    }

    /// Silences a user's devices, or lets them be heard again; `false` where nothing changes.
    pub(crate) fn mute(&mut self, user: &UserId, muted: bool) -> bool {
        if muted { self.muted.insert(user.clone()) } else { self.muted.remove(user) }
    }

    pub(crate) fn is_muted(&self, user: &UserId) -> bool {
        self.muted.contains(user)
    }

    pub(crate) const fn queue_limit(&self) -> usize {
        self.limits.receiver_queue
    }

    /// Whether a join that has seen all indices below `min_index` given can be given one. 65,535 is the last that can.
    pub(crate) const fn has_index_for(&self, min_index: u16) -> bool {
        fits(self.next_index, min_index)
    }

    pub(crate) fn left_at(&mut self, now: Time) {
        self.empty_since = self.seats.is_empty().then_some(now);
    }

    /// Whether an empty room has been kept for long enough.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.empty_since.is_some_and(|since| now.since(since) >= KEEP_EMPTY)
    }

    /// Since when nobody is in, if nobody is.
    pub(crate) const fn empty_since(&self) -> Option<Time> {
        self.empty_since
    }

    pub(crate) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    pub(crate) fn seats_mut(&mut self) -> &mut [Seat] {
        &mut self.seats
    }

    /// Which of the seats is this connection's.
    pub(crate) fn place(&self, connection: ConnectionId) -> Option<usize> {
        if self.seats.len() > FEW {
            return self.places.get(&connection).copied();
        }
        self.seats.iter().position(|seat| seat.connection == connection)
    }

    pub(crate) fn seat(&self, connection: ConnectionId) -> Option<&Seat> {
        self.seats.get(self.place(connection)?)
    }

    pub(crate) fn seat_mut(&mut self, connection: ConnectionId) -> Option<&mut Seat> {
        let place = self.place(connection)?;
        self.seats.get_mut(place)
    }

    /// Gives the next index, at least `min_index`, to a newcomer. `None` when there is none for it.
    pub(crate) fn enter(&mut self, newcomer: Newcomer, min_index: u16, now: Time) -> Option<u16> {
        if !self.has_index_for(min_index) {
            return None;
        }
        let index = self.next_index.max(min_index);
        self.next_index = index.checked_add(1)?;
        self.empty_since = None;
        let Newcomer { connection, user, device, rights, audience, grant, join } = newcomer;
        let (queue, muted) = (Queue::default(), self.is_muted(&user));
        let allowance = self.left.remove(&device).unwrap_or_else(|| Allowance::new(&self.limits, now));
        self.places.insert(connection, self.seats.len());
        self.seats.push(Seat {
            connection,
            index,
            user,
            device,
            rights,
            audience,
            muted,
            grant,
            join,
            heard: now,
            queue,
            allowance,
        });
        Some(index)
    }

    /// Takes a member out: its device and user, and the index it had.
    pub(crate) fn leave(&mut self, connection: ConnectionId, now: Time) -> Option<Gone> {
        let place = self.places.remove(&connection)?;
        for later in self.places.values_mut().filter(|later| **later > place) {
            *later -= 1;
        }
        let Seat { index, user, device, audience, allowance, .. } = self.seats.remove(place);
        self.left.retain(|_, allowance| !allowance.is_full(now));
        self.left.insert(device, allowance);
        Some(Gone { index, user, audience })
    }

    /// The sender's seat, and whether it may send so many bytes now.
    pub(crate) fn pay(&mut self, connection: ConnectionId, now: Time, bytes: usize) -> Option<(&mut Seat, bool)> {
        let seat = self.seat_mut(connection)?;
        seat.heard = now;
        let enough = seat.allowance.take(now, bytes);
        Some((seat, enough))
    }

    /// Whether what a sender sent may go to so many. Nothing that is refused for another reason comes so far: who may not speak
    /// uses up nothing of what those share who may.
    pub(crate) fn may_deliver(&mut self, connection: ConnectionId, now: Time, receivers: usize) -> bool {
        let Some(place) = self.place(connection) else { return false };
        let Some(seat) = self.seats.get_mut(place) else { return false };
        seat.allowance.deliver(now, receivers, &mut self.deliveries)
    }

    pub(crate) fn take_packet(&mut self, connection: ConnectionId, space: usize) -> Option<Bytes> {
        self.seat_mut(connection)?.queue.pop(space)
    }

    pub(crate) fn has_packet(&self, connection: ConnectionId) -> bool {
        self.seat(connection).is_some_and(|seat| !seat.queue.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::sign::{Device, SigningKey};
    use undertone_keys::testing::SeededRng;

    use super::*;

    /// However people come and go, each connection finds its own seat: among few, where seats are looked through, and among
    /// many, where they are looked up.
    #[test]
    fn every_connection_finds_its_own_seat() {
        let paper = Signed::new(
            &SigningKey::<Device>::generate(&mut SeededRng::new(1)),
            undertone_protocol::labels::GRANT,
            vec![],
        );
        let mut roster = Roster::new(CallId::from_bytes([1; 16]), Limits::default(), Time::ZERO);
        for number in 0..200_u64 {
            let newcomer = Newcomer {
                connection: ConnectionId(number),
                user: UserId::parse("ada", "x").unwrap(),
                device: DeviceId::from_bytes([2; 16]),
                rights: Rights::default(),
                audience: false,
                grant: paper.clone(),
                join: paper.clone(),
            };
            roster.enter(newcomer, 0, Time::ZERO).unwrap();
            // Every third goes again, from the front, the middle and the back; in the end nearly all do.
            let goes = [number / 2, number, number / 3][usize::try_from(number % 3).unwrap()];
            if number % 3 == 0 || number > 170 {
                roster.leave(ConnectionId(goes), Time::ZERO);
            }
            for (place, seat) in roster.seats().iter().enumerate() {
                assert_eq!(roster.place(seat.connection), Some(place));
            }
            assert!(roster.seat(ConnectionId(number + 1)).is_none());
        }
        let left: Vec<ConnectionId> = roster.seats().iter().map(|seat| seat.connection).collect();
        for connection in left {
            let index = roster.seat(connection).unwrap().index;
            assert_eq!(roster.leave(connection, Time::ZERO).unwrap().index, index);
            assert!(roster.place(connection).is_none() && roster.leave(connection, Time::ZERO).is_none());
        }
        assert!(roster.seats().is_empty());
    }
}
