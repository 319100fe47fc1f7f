//! The shipped delivery service in virtual time, for simulations: its desks and its switchboard behind functions that take the time and
//! return when everything is done.
//!
//! ```text
//!  connect / hear / tree / claim ..      restart
//!        |                                  |
//!        v                                  v
//!  [ Switchboard | RoomDesk | GroupDesk | PackageDesk ]  --  Clock, set by hand
//!        |                     |
//!        v                     v
//!   each device's queue      a database in memory, or SQLite
//! ```
//! No socket, no thread, no clock of the machine's: a seed plays the same again. What is not here is what HTTP and accounts do; whoever
//! connects is who they say they are.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use rand_core::Rng as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::secret::Secret;
use undertone_keys::sign::{Device, Server, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, RoomId, Time, UserId, WallTime};
use undertone_protocol::delivery::GroupRequest;
use undertone_protocol::limits::{KEY_PACKAGE_LIFETIME, MAX_ENVELOPE};
use undertone_protocol::rest::{Bytes, ClaimKeyPackages, DeviceNamed, Name, UploadKeyPackages};
use undertone_protocol::signal::{Reason, ToDevice, ToServer};
use undertone_protocol::{Access, VERSION};
use undertone_server::budget::Spending;
use undertone_server::clock::Clock;
use undertone_server::config::Limits;
use undertone_server::delivery::{Delivered, GroupDesk, PackageDesk, PackageError, SETTLE_EVERY, TreeRefused};
use undertone_server::rooms::RoomDesk;
use undertone_server::store::{
    Account, Accounts, Change, Devices, Groups, KeyPackages, Memory, Rooms, Sqlite, StoreError, StoredAccess,
    StoredList, Token,
};
use undertone_server::switchboard::{EXPIRE_EVERY, Switchboard};

/// When it is [`Time::ZERO`], on the wall.
pub const BEGUN: WallTime = WallTime::from_unix(1_800_000_000);

/// A database that a house can stand on. Clones are the same one.
pub trait Ground: Groups + Rooms + KeyPackages + Clone + fmt::Debug {
    /// A device's token is there from now on.
    fn admit(&self, token: Token) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Ground for Memory {
    async fn admit(&self, token: Token) -> Result<(), StoreError> {
        self.put_token(token);
        Ok(())
    }
}

impl Ground for Sqlite {
    async fn admit(&self, token: Token) -> Result<(), StoreError> {
        if self.token(&token.hash).await?.is_some() {
            return Ok(());
        }
        let user = token.user.clone();
        let Some(StoredList { version, .. }) = self.list(&user).await? else {
            let (opaque, by_passphrase, by_recovery) = (Vec::new(), Vec::new(), Vec::new());
            let account = Account { user, opaque, by_passphrase, by_recovery, recovery: None, created: BEGUN };
            return self.create(account, Vec::new(), token, None).await;
        };
        let list = StoredList { version: version.saturating_add(1), list: Vec::new() };
        let change = Change { on: version, list: Some(list), token: Some(token), ..Change::default() };
        self.change(&user, change, BEGUN).await
    }
}

fn token_of(device: &Address) -> Token {
    let hash = sha256(&[device.user.as_str().as_bytes(), device.device.as_bytes()]);
    Token { hash, user: device.user.clone(), device: device.device }
}

/// What is gone when the server is killed.
struct Process<S> {
    board: Arc<Switchboard>,
    rooms: Arc<RoomDesk<S>>,
    groups: GroupDesk<S>,
    packages: PackageDesk<S>,
    /// When it looks next for what is over.
    next_tick: Time,
    ticks: u32,
}

/// A device's connection.
#[derive(Debug)]
struct Line {
    you: Address,
    number: u64,
    /// What the switchboard has for it.
    queue: Receiver<ToDevice>,
    /// What was written to the socket.
    sent: VecDeque<ToDevice>,
    /// Nothing comes after what was sent.
    over: bool,
}

impl Line {
    /// So much of what waits is written to the socket; a line that was taken away is at its end, however much waits on it.
    fn write(&mut self, most: usize) {
        if self.over {
            return;
        }
        if self.queue.is_closed() {
            let waiting = std::iter::from_fn(|| self.queue.try_recv().ok());
            let why = waiting.filter_map(|message| match message {
                ToDevice::Closing { reason, .. } => Some(reason),
                _ => None,
            });
            let reason = why.last().unwrap_or(Reason::TooMany);
            return self.end(reason);
        }
        for _ in 0..most {
            match self.queue.try_recv() {
                Ok(message) => self.sent.push_back(message),
                Err(_) => return,
            }
        }
    }

    fn end(&mut self, reason: Reason) {
        self.sent.push_back(ToDevice::Closing { reason, version: VERSION });
        self.over = true;
    }
}

/// A server, as far as calls' groups go.
pub struct House<S = Memory> {
    key: SigningKey<Server>,
    limits: Limits,
    clock: Clock,
    store: S,
    runtime: Runtime,
    process: Process<S>,
    lines: HashMap<DeviceId, Line>,
    /// When something was done last.
    at: Time,
    /// Whether an answer comes before what was waiting already, which is chance on a real connection.
    chance: SeededRng,
}

impl<S> fmt::Debug for House<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("lines", &self.lines).finish_non_exhaustive()
    }
}

fn key_again(key: &SigningKey<Server>) -> SigningKey<Server> {
    SigningKey::from_seed(Secret::filled_by(|seed| seed.copy_from_slice(key.seed().expose())))
}

impl House {
    /// A server with this key and these limits, over a new database in memory. The seed decides what is chance on a real connection.
    ///
    /// # Errors
    /// Where the operating system gives no runtime.
    pub fn new(key: SigningKey<Server>, limits: &Limits, seed: u64) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        Ok(Self::over(Memory::default(), runtime, key, limits, seed))
    }
}

impl<S: Ground> House<S> {
    /// The same over another database, on a runtime in which it can be asked.
    #[must_use]
    pub fn over(store: S, runtime: Runtime, key: SigningKey<Server>, limits: &Limits, seed: u64) -> Self {
        let clock = Clock::by_hand(BEGUN);
        let process = Process::begin(&store, key_again(&key), limits, &clock, Time::ZERO);
        let (lines, chance) = (HashMap::new(), SeededRng::new(seed));
        Self { key, limits: *limits, clock, store, runtime, process, lines, at: Time::ZERO, chance }
    }

    /// It is `now`: what the server does by the clock is done. Everything that takes the time does this first.
    pub fn pass(&mut self, now: Time) {
        loop {
            let settles = self.next_look();
            if self.process.groups.is_contested() && settles <= now.min(self.process.next_tick) {
                self.at = settles;
                self.clock.set(settles);
                self.runtime.block_on(self.process.groups.settle());
                continue;
            }
            if self.process.next_tick > now {
                break;
            }
            self.at = self.at.max(self.process.next_tick);
            self.clock.set(self.at);
            self.process.next_tick = self.process.next_tick + EXPIRE_EVERY;
            self.process.ticks = self.process.ticks.wrapping_add(1);
            let (process, clock) = (&self.process, &self.clock);
            process.board.expire();
            // A store in memory does not fail; what does is tried again at the next tick.
            let _ = self.runtime.block_on(process.groups.expire(clock.now(), clock.wall()));
            if process.ticks.is_multiple_of(60) {
                let _ = self.runtime.block_on(process.packages.expire(clock.now(), clock.wall()));
            }
        }
        self.at = self.at.max(now);
        self.clock.set(self.at);
    }

    /// When the server looks next at what some cannot take.
    fn next_look(&self) -> Time {
        let every = SETTLE_EVERY.as_micros().max(1);
        let looks = u128::from(self.at.as_micros()) / every + 1;
        Time::from_micros(u64::try_from(looks * every).unwrap_or(u64::MAX))
    }

    /// What it is on the wall.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    /// The room has this list, if it is its next one, and is in this call from now on: a group of another call is gone. Whoever is on
    /// the list, or was, is told. Who signed it, and whether it follows from the list before, is for others to check.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the list is neither the next nor the present one.
    pub fn set_room(&mut self, now: Time, access: &Access, call: CallId) -> Result<(), StoreError> {
        self.pass(now);
        let list = access.list();
        let (room, version) = (list.room, list.version);
        let newest = self.runtime.block_on(self.store.newest_access(room))?;
        if newest.is_none_or(|(newest, _)| newest != version) {
            let before = self.runtime.block_on(self.store.room(room))?.unwrap_or_default().members;
            let members: Vec<UserId> = list.members.iter().map(|listed| listed.user.clone()).collect();
            let told: Vec<UserId> = members.iter().cloned().chain(before).collect();
            // A room is made by somebody with an account.
            self.runtime.block_on(self.store.admit(token_of(&list.signer)))?;
            let creator = list.creator.clone();
            let stored = StoredAccess { room, version, access: access.to_bytes(), creator, members };
            self.runtime.block_on(self.store.append_access(stored))?;
            self.process.board.room_changed(&list.signer.user, &told, room, version);
        }
        // No earlier grant is good any more after no time at all.
        self.runtime.block_on(self.store.call_of(room, call, self.clock.wall(), 0))?;
        self.process.rooms.changed(room);
        Ok(())
    }

    /// A device connects, and finds [`ToDevice::Welcome`]; an older connection of it is over, with whatever was on its way. The number of
    /// its line, or `None` where its account has opened too many (rule DOS-1).
    pub fn connect(&mut self, now: Time, you: &Address, identity: VerifyingKey<Device>) -> Option<u64> {
        self.pass(now);
        if !self.process.board.allow(&you.user, Spending::Connection) {
            return None;
        }
        let (number, queue) = self.process.board.connect(you.clone(), identity);
        let welcome = ToDevice::Welcome { version: VERSION, now: self.clock.wall(), you: you.clone() };
        let line = Line { you: you.clone(), number, queue, sent: VecDeque::from([welcome]), over: false };
        self.lines.insert(you.device, line);
        Some(number)
    }

    /// A device's connection is gone, and the server knows it. What was on its way is lost.
    pub fn disconnect(&mut self, you: &Address) {
        if let Some(line) = self.lines.remove(&you.device) {
            self.process.board.disconnect(you.device, line.number);
        }
    }

    /// Whether this device has a connection that the server has not ended.
    #[must_use]
    pub fn is_connected(&self, you: &Address) -> bool {
        self.lines.get(&you.device).is_some_and(|line| line.you == *you && !line.over && !line.queue.is_closed())
    }

    /// A device asks something about the group of a room's call; the answers are in its queue.
    pub fn request(
        &mut self,
        now: Time,
        from: &Address,
        (room, call): (RoomId, CallId),
        number: u32,
        request: GroupRequest,
    ) {
        self.hear(now, from, ToServer::Group { room, call, number, request });
    }

    /// A device says something on its connection: about a group, or a letter to somebody. If it has none, nobody hears it. Calls between two,
    /// which need accounts, are not answered.
    pub fn hear(&mut self, now: Time, from: &Address, message: ToServer) {
        self.pass(now);
        let Some(line) = self.lines.get_mut(&from.device).filter(|line| line.you == *from) else { return };
        line.write(0);
        if line.over {
            return;
        }
        let Process { board, rooms, groups, .. } = &self.process;
        if !board.allow(&from.user, Spending::Signal) {
            board.disconnect(from.device, line.number);
            return line.end(Reason::TooMany);
        }
        // The server looks at its queue and at the socket as they come: how much of the queue is before this is chance.
        let first = match line.queue.len() {
            0 => 0,
            waiting => usize::try_from(self.chance.next_u64() % (waiting as u64 + 1)).unwrap_or(waiting),
        };
        line.write(first);
        let answered = match message {
            ToServer::Group { room, call, number, request } => {
                Ok(self.runtime.block_on(groups.request(from, line.number, (room, call), number, request)))
            }
            ToServer::Send { envelope, .. } if envelope.len() > MAX_ENVELOPE => Err(Reason::Malformed),
            ToServer::Send { to, call, envelope } => {
                let delivered = board.deliver(from, &to, call, envelope, self.clock.wall());
                Ok(delivered.is_err().then_some(ToDevice::Undelivered { to: to.device, call }).into_iter().collect())
            }
            ToServer::Spread { call, room, letters } => {
                let spread = self.runtime.block_on(rooms.spread(board, from, (room, call), letters));
                spread.map(|returned| returned.into_iter().collect())
            }
            ToServer::KeepAlive => Ok(vec![ToDevice::KeepAlive]),
            ToServer::Hello { .. } => Err(Reason::Malformed),
            ToServer::OpenCall { .. } => Ok(Vec::new()),
        };
        match answered {
            Ok(answers) => line.sent.extend(answers),
            Err(reason) => {
                board.disconnect(from.device, line.number);
                line.end(reason);
            }
        }
    }

    /// What has come to a device since it last looked, in order; behind [`ToDevice::Closing`] comes nothing before it connects again. Who does
    /// not look has a queue of [`undertone_protocol::limits::SIGNAL_QUEUE`], and loses what does not fit.
    pub fn take(&mut self, you: &Address) -> Vec<ToDevice> {
        let Some(line) = self.lines.get_mut(&you.device).filter(|line| line.you == *you) else { return Vec::new() };
        line.write(usize::MAX);
        let sent = std::mem::take(&mut line.sent);
        if line.over {
            self.lines.remove(&you.device);
        }
        sent.into()
    }

    /// The tree of an epoch, of the newest where none is named.
    ///
    /// # Errors
    /// [`TreeRefused`].
    pub fn tree(
        &mut self,
        now: Time,
        user: &UserId,
        place: (RoomId, CallId),
        epoch: Option<u64>,
    ) -> Result<Vec<u8>, TreeRefused> {
        self.pass(now);
        self.runtime.block_on(self.process.groups.tree(user, place, epoch))
    }

    /// A device leaves one key package, good for as long as any is.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn publish(&mut self, now: Time, from: &Address, suite: u16, message: Vec<u8>) -> Result<(), PackageError> {
        self.pass(now);
        let expires = self.clock.wall().plus(KEY_PACKAGE_LIFETIME.as_secs()).as_unix();
        let packages = vec![Bytes(message)];
        self.upload(now, from, UploadKeyPackages { suite, packages, last_resort: None, expires })
    }

    /// A device leaves key packages.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn upload(&mut self, now: Time, from: &Address, upload: UploadKeyPackages) -> Result<(), PackageError> {
        self.pass(now);
        let token = self.paid_token(from)?;
        self.runtime.block_on(self.process.packages.upload(&token, upload, self.clock.wall()))
    }

    /// Key packages of these devices, as far as there are any for whoever asks.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn claim(
        &mut self,
        now: Time,
        from: &Address,
        room: RoomId,
        suite: u16,
        devices: &[Address],
    ) -> Result<Vec<Option<Vec<u8>>>, PackageError> {
        self.pass(now);
        if !self.process.board.allow(&from.user, Spending::Room) {
            return Err(PackageError::Later);
        }
        let named =
            |device: &Address| DeviceNamed { user: Name(device.user.clone()), device: device.device.to_string() };
        let claim = ClaimKeyPackages { suite, devices: devices.iter().map(named).collect() };
        let at = (self.clock.now(), self.clock.wall());
        let claimed = self.runtime.block_on(self.process.packages.claim(from, room, claim, at))?;
        Ok(claimed.packages.into_iter().map(|claimed| claimed.package.map(|Bytes(package)| package)).collect())
    }

    /// A device's token, which is there from its first request over HTTPS on. Each request is paid for.
    fn paid_token(&self, of: &Address) -> Result<Token, PackageError> {
        if !self.process.board.allow(&of.user, Spending::Room) {
            return Err(PackageError::Later);
        }
        let token = token_of(of);
        self.runtime.block_on(self.store.admit(token.clone()))?;
        Ok(token)
    }

    /// The process is killed, and another begins over the same database: every connection is gone with what was on its way, and whatever
    /// the server had in memory.
    pub fn restart(&mut self, now: Time) {
        self.pass(now);
        self.lines.clear();
        self.process = Process::begin(&self.store, key_again(&self.key), &self.limits, &self.clock, now);
    }

    /// What this process counted.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        self.process.groups.delivered()
    }

    /// The database.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }
}

impl<S: Ground> Process<S> {
    fn begin(store: &S, key: SigningKey<Server>, limits: &Limits, clock: &Clock, now: Time) -> Self {
        let board = Arc::new(Switchboard::new(key, limits, true).with_clock(clock.clone()));
        let rooms = Arc::new(RoomDesk::new(store.clone(), limits, true));
        let groups = GroupDesk::new(store.clone(), rooms.clone(), board.clone(), limits);
        let packages = PackageDesk::new(store.clone(), rooms.clone(), board.clone());
        Self { board, rooms, groups, packages, next_tick: now, ticks: 0 }
    }
}
