//! Who is connected, and which calls were opened: all in memory, all bounded.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::{CallId, DeviceId, RoomId, UserId, WallTime};
use undertone_protocol::grant::Rights;
use undertone_protocol::signal::{Letter, Reason, ReturnedLetter, ToDevice, Why};
use undertone_protocol::{Grant, Protection, Terms, limits};

use crate::budget::{Budgets, Spending};
use crate::clock::Clock;
use crate::config::Limits;
use crate::memberships::Membership;
use crate::spread;

/// A connected device's place on the switchboard; dropping the receiver ends it.
#[derive(Debug)]
struct Line {
    /// Tells one connection of a device from its next.
    number: u64,
    you: Address,
    identity: VerifyingKey<Device>,
    queue: mpsc::Sender<ToDevice>,
    /// The calls whose groups this connection follows.
    follows: Vec<CallId>,
}

#[derive(Debug)]
struct OpenedCall {
    room: RoomId,
    caller: UserId,
    callee: UserId,
    protection: Protection,
    until: Instant,
}

#[derive(Debug)]
struct State {
    lines: HashMap<DeviceId, Line>,
    calls: HashMap<CallId, OpenedCall>,
    budgets: Budgets,
    next_line: u64,
}

/// Calls remembered at most. One account can have no more than its budget of a [`limits::CALL_MEMORY`].
const MAX_CALLS: usize = 50_000;
/// What the two sides of a call may do.
const TALK: Rights = Rights { speak: true, moderate: false };
/// How often [`Switchboard::expire`] is to be called.
pub const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// The switchboard.
pub struct Switchboard {
    state: Mutex<State>,
    key: SigningKey<Server>,
    /// Whether rooms are opened whose media the relay can open.
    hop: bool,
    clock: Clock,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Switchboard")
    }
}

impl Switchboard {
    /// An empty one that signs grants with `key`, those of hop rooms only with `hop`.
    #[must_use]
    pub fn new(key: SigningKey<Server>, limits: &Limits, hop: bool) -> Self {
        let budgets = Budgets::new(limits);
        let state = State { lines: HashMap::new(), calls: HashMap::new(), budgets, next_line: 0 };
        Self { state: Mutex::new(state), key, hop, clock: Clock::default() }
    }

    /// Reads the time from this clock, as do the desks for groups over it.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The clock.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Tells every connected device what time it is: the clock was set.
    pub fn tell_time(&self, now: WallTime) {
        for line in self.state().lines.values() {
            let welcome = ToDevice::Welcome { version: undertone_protocol::VERSION, now, you: line.you.clone() };
            // Who has no room for it is told when it connects again.
            let _ = line.queue.try_send(welcome);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an account may have one more of this; it then has one less.
    pub fn allow(&self, user: &UserId, spending: Spending) -> bool {
        self.state().budgets.allow(user, spending, self.clock.now())
    }

    /// Forgets what is over: who called whom, and budgets that are full again.
    pub fn expire(&self) {
        let (mut state, now) = (self.state(), self.clock.now());
        state.calls.retain(|_, call| call.until > now);
        state.budgets.expire(now);
    }

    /// Connects a device; an older connection of it is told and ends. Returns the line's number and its messages.
    pub fn connect(&self, you: Address, identity: VerifyingKey<Device>) -> (u64, mpsc::Receiver<ToDevice>) {
        let (queue, messages) = mpsc::channel(limits::SIGNAL_QUEUE);
        let mut state = self.state();
        let number = state.next_line;
        state.next_line += 1;
        if let Some(older) = state.lines.insert(you.device, Line { number, you, identity, queue, follows: Vec::new() })
        {
            let reason = ToDevice::Closing { reason: Reason::Replaced, version: undertone_protocol::VERSION };
            let _ = older.queue.try_send(reason);
        }
        (number, messages)
    }

    /// Disconnects a device, unless it has connected again since.
    pub fn disconnect(&self, device: DeviceId, number: u64) {
        let mut state = self.state();
        if state.lines.get(&device).is_some_and(|line| line.number == number) {
            state.lines.remove(&device);
        }
    }

    /// Ends a device's connection with a reason.
    pub fn close(&self, device: DeviceId, reason: Reason) {
        if let Some(line) = self.state().lines.remove(&device) {
            let _ = line.queue.try_send(ToDevice::Closing { reason, version: undertone_protocol::VERSION });
        }
    }

    /// Ends the connections of a user's devices that are revoked.
    pub fn revoke(&self, user: &UserId, devices: &[DeviceId]) {
        let is_theirs = |device: &&DeviceId| self.state().lines.get(*device).is_some_and(|line| line.you.user == *user);
        for device in devices.iter().filter(is_theirs) {
            self.close(*device, Reason::Revoked);
        }
    }

    /// Tells a user's connected devices that the list of their devices has a new version. What does not fit into a slow
    /// device's queue is lost: a device looks by itself from time to time (rule KT-11).
    pub fn devices_changed(&self, user: &UserId) {
        for line in self.state().lines.values().filter(|line| line.you.user == *user) {
            let _ = line.queue.try_send(ToDevice::DevicesChanged);
        }
    }

    /// Makes a room for a call and signs the caller's grant. The same call may be opened again by its caller. An echo is a
    /// call with oneself.
    ///
    /// # Errors
    /// A [`Reason`] for the device.
    pub fn open_call(
        &self,
        from: &Address,
        call: CallId,
        callee: &UserId,
        protection: Protection,
        room: RoomId,
        now: WallTime,
    ) -> Result<Signed, Reason> {
        if protection == Protection::Hop && !self.hop {
            return Err(Reason::Protection);
        }
        let mut state = self.state();
        let identity = state.lines.get(&from.device).map(|line| line.identity).ok_or(Reason::Unavailable)?;
        if protection == Protection::Echo {
            // Nobody is called, so nobody has to be remembered.
            let alone = *callee == from.user;
            let grant = || self.grant(room, call, from.clone(), identity, (&Terms::one_to_one(protection), TALK), now);
            return if alone { Ok(grant()) } else { Err(Reason::Malformed) };
        }
        let at = self.clock.now();
        let is_new = !state.calls.contains_key(&call);
        if state.calls.len() >= MAX_CALLS || (is_new && !state.budgets.may_be_called(callee, at)) {
            return Err(Reason::TooMany);
        }
        let until = at + limits::CALL_MEMORY;
        let caller = from.user.clone();
        let opened = state.calls.entry(call).or_insert_with(|| OpenedCall {
            room,
            caller,
            callee: callee.clone(),
            protection,
            until,
        });
        if opened.caller != from.user || opened.callee != *callee || opened.protection != protection {
            return Err(Reason::Malformed);
        }
        Ok(self.grant(opened.room, call, from.clone(), identity, (&Terms::one_to_one(protection), TALK), now))
    }

    /// Hands an envelope to a device, with a grant when the call was opened for its user.
    ///
    /// # Errors
    /// `Err` when no such device of this user is connected. A device that does not read loses what does not fit into
    /// its queue, and one sender cannot fill that queue: what is beyond its budget is lost. Signals are sent again, and
    /// nobody else can make a device lose its connection.
    pub fn deliver(
        &self,
        from: &Address,
        to: &Address,
        call: CallId,
        envelope: Vec<u8>,
        now: WallTime,
    ) -> Result<(), NotConnected> {
        let mut state = self.state();
        if !state.budgets.allow(&from.user, Spending::Envelope(to.device), self.clock.now()) {
            return Ok(());
        }
        let line = state.lines.get(&to.device).filter(|line| line.you == *to).ok_or(NotConnected)?;
        let grant = state
            .calls
            .get(&call)
            .filter(|opened| opened.callee == to.user && opened.caller == from.user && opened.until > self.clock.now())
            .map(|opened| {
                let terms = Terms::one_to_one(opened.protection);
                self.grant(opened.room, call, to.clone(), line.identity, (&terms, TALK), now)
            });
        let message = ToDevice::Deliver { from: from.clone(), call, envelope, grant };
        if let Err(mpsc::error::TrySendError::Closed(_)) = line.queue.try_send(message) {
            return Err(NotConnected);
        }
        Ok(())
    }

    /// Hands letters of a room's call to devices of those who are on its list, each as [`Self::deliver`] would, but without a
    /// grant: nobody is called. Returns those that were not handed on, and after how long there is room for those that came too
    /// soon. One sender cannot fill a device's queue with them either.
    pub(crate) fn spread(
        &self,
        from: &Address,
        call: CallId,
        room: &Membership,
        letters: Vec<Letter>,
    ) -> (Vec<ReturnedLetter>, Duration) {
        let (state, now) = (&mut *self.state(), self.clock.now());
        let (mut returned, mut excess, mut after) = (Vec::new(), 0, Duration::ZERO);
        for Letter { to, envelope } in letters {
            let device = to.device;
            let why = if !state.budgets.allow(&from.user, Spending::Letter, now) {
                excess += 1;
                Why::Later
            } else if !room.lists(&to.user) {
                Why::Unlisted
            } else if let Some(line) = state.lines.get(&device).filter(|line| line.you == to) {
                let enough = state.budgets.allow(&from.user, Spending::Envelope(device), now);
                match line.queue.try_reserve() {
                    Ok(place) if enough => {
                        place.send(ToDevice::Deliver { from: from.clone(), call, envelope, grant: None });
                        continue;
                    }
                    Ok(_) | Err(mpsc::error::TrySendError::Full(())) => {
                        after = spread::PAUSE;
                        Why::Later
                    }
                    Err(mpsc::error::TrySendError::Closed(())) => Why::Away,
                }
            } else {
                Why::Away
            };
            returned.push(ReturnedLetter { to: device, why });
        }
        let after = after.max(state.budgets.letters_after(&from.user, excess, now));
        (returned, after)
    }

    /// Tells the connected devices of these users that a room's access list has a new version. What does not fit into a
    /// slow device's queue is lost, and what is beyond the budget of whoever changed it: a device asks when it comes in.
    pub fn room_changed(&self, by: &UserId, users: &[UserId], room: RoomId, version: u32) {
        let (users, now): (HashSet<&UserId>, _) = (users.iter().collect(), self.clock.now());
        let state = &mut *self.state();
        for line in state.lines.values().filter(|line| users.contains(&line.you.user)) {
            if line.you.user == *by || state.budgets.allow(by, Spending::Envelope(line.you.device), now) {
                let _ = line.queue.try_send(ToDevice::RoomChanged { room, version });
            }
        }
    }

    /// Tells the connected devices of these users, who may moderate a room, that somebody asks to be let in. It is paid for by whoever
    /// asks, like an envelope; what does not fit into a device's queue is lost.
    pub fn knocked(&self, by: &UserId, moderators: &[UserId], room: RoomId) {
        let (moderators, now): (HashSet<&UserId>, _) = (moderators.iter().collect(), self.clock.now());
        let state = &mut *self.state();
        for line in state.lines.values().filter(|line| moderators.contains(&line.you.user)) {
            if state.budgets.allow(by, Spending::Envelope(line.you.device), now) {
                let _ = line.queue.try_send(ToDevice::Knocked { room, user: by.clone() });
            }
        }
    }

    /// Tells a user's connected devices that they are not let into a room.
    pub fn turned_away(&self, user: &UserId, room: RoomId) {
        for line in self.state().lines.values().filter(|line| line.you.user == *user) {
            let _ = line.queue.try_send(ToDevice::TurnedAway { room });
        }
    }

    /// Notes that a connection follows the group of a call; `false` where it is gone, or follows as many as it can.
    pub(crate) fn follow(&self, device: DeviceId, number: u64, call: CallId) -> bool {
        let mut state = self.state();
        let Some(line) = state.lines.get_mut(&device).filter(|line| line.number == number) else { return false };
        if line.follows.contains(&call) {
            return true;
        }
        let has_room = line.follows.len() < limits::MAX_FOLLOWED_GROUPS;
        if has_room {
            line.follows.push(call);
        }
        has_room
    }

    /// A connection follows the group of a call no more.
    pub(crate) fn unfollow(&self, device: DeviceId, number: u64, call: CallId) {
        let mut state = self.state();
        if let Some(line) = state.lines.get_mut(&device).filter(|line| line.number == number) {
            line.follows.retain(|followed| *followed != call);
        }
    }

    /// Which of these connections are gone.
    pub(crate) fn gone(&self, lines: impl IntoIterator<Item = (DeviceId, u64)>) -> Vec<DeviceId> {
        let state = self.state();
        let is_gone = |(device, number): &(DeviceId, u64)| {
            state.lines.get(device).is_none_or(|line| line.number != *number || line.queue.is_closed())
        };
        lines.into_iter().filter(is_gone).map(|(device, _)| device).collect()
    }

    /// Tells all of these connections the same; says which of them are gone. A device that does not read loses it: whoever follows
    /// notices what is missing, and nobody waits for them. The bytes of what is told are shared by all queues.
    pub(crate) fn tell_all(
        &self,
        lines: impl IntoIterator<Item = (DeviceId, u64)>,
        message: &ToDevice,
    ) -> Vec<DeviceId> {
        let state = self.state();
        let mut gone = Vec::new();
        for (device, number) in lines {
            match state.lines.get(&device).filter(|line| line.number == number) {
                Some(line) => {
                    if let Err(mpsc::error::TrySendError::Closed(_)) = line.queue.try_send(message.clone()) {
                        gone.push(device);
                    }
                }
                None => gone.push(device),
            }
        }
        gone
    }

    /// Tells a device something on account of whoever caused it, like an envelope. What does not fit, or is beyond the budget, is lost.
    pub(crate) fn tell(&self, by: &UserId, to: &Address, message: ToDevice) {
        let (state, now) = (&mut *self.state(), self.clock.now());
        if let Some(line) = state.lines.get(&to.device).filter(|line| line.you == *to)
            && state.budgets.allow(by, Spending::Envelope(to.device), now)
        {
            let _ = line.queue.try_send(message);
        }
    }

    /// How many devices are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.state().lines.len()
    }

    /// Signs a grant.
    pub(crate) fn grant(
        &self,
        room: RoomId,
        call: CallId,
        member: Address,
        identity: VerifyingKey<Device>,
        (terms, rights): (&Terms, Rights),
        now: WallTime,
    ) -> Signed {
        let Terms { protection, audience, .. } = *terms;
        let expires = now.plus(limits::GRANT_LIFETIME.as_secs());
        Grant { room, call, member, identity, protection, rights, expires, audience }.sign(&self.key)
    }
}

/// The device is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device is not connected")]
pub struct NotConnected;

/// How often a silent WebSocket is said something on.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use undertone_keys::testing::SeededRng;

    use super::*;

    fn address(name: &str, n: u8) -> Address {
        Address { user: name.parse().unwrap(), device: DeviceId::from_bytes([n; 16]) }
    }

    #[tokio::test]
    async fn rly_1_grants_go_to_the_two_users_of_a_call_and_nobody_else() {
        let rng = &mut SeededRng::new(1);
        let board = Switchboard::new(SigningKey::generate(rng), &Limits::default(), false);
        let identity = *SigningKey::<Device>::generate(rng).public();
        let (ada, bob, eve) = (address("ada@x", 1), address("bob@x", 2), address("eve@x", 3));
        let (_, _ada) = board.connect(ada.clone(), identity);
        let (_, mut bobs) = board.connect(bob.clone(), identity);
        let (_, mut eves) = board.connect(eve.clone(), identity);
        let (call, room, now) = (CallId::random(rng), RoomId::random(rng), WallTime::from_unix(1));
        board.open_call(&ada, call, &bob.user, Protection::Blind, room, now).unwrap();
        // A stranger cannot take the call over, nor get a grant for it by writing into it.
        let stolen = board.open_call(&eve, call, &bob.user, Protection::Blind, room, now);
        assert_eq!(stolen, Err(Reason::Malformed));
        // An operator who does not want hop rooms has none, whoever asks.
        let hop = board.open_call(&ada, CallId::random(rng), &bob.user, Protection::Hop, room, now);
        assert_eq!(hop, Err(Reason::Protection));
        // Nobody is called by an echo: it is oneself's, and no call that envelopes get grants for.
        let echo = CallId::random(rng);
        let others = board.open_call(&ada, echo, &bob.user, Protection::Echo, room, now);
        assert_eq!(others, Err(Reason::Malformed));
        let mine = board.open_call(&ada, echo, &ada.user, Protection::Echo, room, now).unwrap();
        let grant = Grant::verify(&mine, board.key.public(), now).unwrap();
        assert_eq!((grant.member, grant.call, grant.protection), (ada.clone(), echo, Protection::Echo));
        assert!(!board.state().calls.contains_key(&echo));
        board.deliver(&ada, &bob, call, vec![1], now).unwrap();
        board.deliver(&eve, &bob, call, vec![2], now).unwrap();
        board.deliver(&ada, &eve, call, vec![3], now).unwrap();
        let granted = |message: Option<ToDevice>| match message {
            Some(ToDevice::Deliver { grant, .. }) => grant.is_some(),
            other => panic!("{other:?}"),
        };
        assert!(granted(bobs.recv().await));
        assert!(!granted(bobs.recv().await));
        assert!(!granted(eves.recv().await));
        assert_eq!(board.deliver(&ada, &address("bob@x", 9), call, vec![], now), Err(NotConnected));
        // Eve's device under Bob's name gets nothing, least of all a grant.
        assert_eq!(board.deliver(&ada, &address("bob@x", 3), call, vec![], now), Err(NotConnected));
    }

    #[tokio::test]
    async fn id_6_a_revoked_device_loses_its_line_and_the_others_are_told() {
        let rng = &mut SeededRng::new(3);
        let board = Switchboard::new(SigningKey::generate(rng), &Limits::default(), false);
        let identity = *SigningKey::<Device>::generate(rng).public();
        let (_, mut one) = board.connect(address("ada@x", 1), identity);
        let (_, mut other) = board.connect(address("ada@x", 2), identity);
        let (_, mut bob) = board.connect(address("bob@x", 3), identity);
        let ada = address("ada@x", 1).user;
        // Nobody ends the line of somebody else's device by listing it as their own.
        board.revoke(&ada, &[DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([3; 16])]);
        board.devices_changed(&ada);
        let closing = |message| matches!(message, Some(ToDevice::Closing { reason: Reason::Revoked, .. }));
        assert!(closing(one.recv().await) && one.recv().await.is_none());
        assert_eq!(other.recv().await, Some(ToDevice::DevicesChanged));
        assert!(other.try_recv().is_err() && bob.try_recv().is_err());
        assert_eq!(board.connected(), 2);
    }

    #[tokio::test]
    async fn a_device_that_does_not_read_loses_signals_and_not_its_line() {
        let rng = &mut SeededRng::new(2);
        let board = Switchboard::new(SigningKey::generate(rng), &Limits::default(), false);
        let identity = *SigningKey::<Device>::generate(rng).public();
        let bob = address("bob@x", 2);
        let (_, mut unread) = board.connect(bob.clone(), identity);
        let send = |from: &Address| {
            let call = CallId::from_bytes([0; 16]);
            (0..limits::SIGNAL_QUEUE + 5)
                .all(|_| board.deliver(from, &bob, call, vec![], WallTime::from_unix(1)).is_ok())
        };
        let mut read = || core::iter::from_fn(|| unread.try_recv().ok()).count();
        // One sender cannot fill the queue, many can; either way the line stands.
        assert!(send(&address("eve@x", 3)));
        assert!(read() < limits::SIGNAL_QUEUE / 2);
        assert!((0..10).all(|n| send(&address(&format!("e{n}@x"), 4))));
        assert_eq!((read(), board.connected()), (limits::SIGNAL_QUEUE, 1));
    }
}
