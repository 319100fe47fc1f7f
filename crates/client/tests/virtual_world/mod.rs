//! Two shipped engines and the shipped relay core, in virtual time; signalling is a queue, the network a switch.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use undertone_call::room::{EpochKey, KeySignal, RosterNews};
use undertone_call::{Local, Outcome};
use undertone_client::engine::{Compared, Engine, Event, Input, Memory, NotEntered, Output};
use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::choice::{Agreement, LegacyPolicy};
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::{self, Address, Header, Purpose};
use undertone_keys::epoch_secret::{EpochPlace, EpochSecret};
use undertone_keys::legacy::{LegacyKey, SoftwareLegacyKey};
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::static_key::{Answer, Question};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, RequestId, RoomId, Secret, Time, UserId, WallTime};
use undertone_media::HopExporter;
use undertone_media::packet::{Codec, MAX_PACKET};
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::group::{Cause, Place, Roster, SignedStatement, Statement};
use undertone_protocol::limits::{GRANT_LIFETIME, MAX_SPEAKERS};
use undertone_protocol::signal::{Letter, ToDevice, ToServer};
use undertone_protocol::{Access, AccessList, Grant, Join, Listed, Protection, Rights, Terms, VERSION};
use undertone_relay::{ConnectionId, Input as RelayInput, Limits, Output as RelayOutput, Rooms};
use undertone_transparency::gossip::Told;
use undertone_transparency::testing::{self, proven_in};
use undertone_transparency::{PeerTrust, TrustedPeer};

pub(crate) const ADA: usize = 0;
pub(crate) const BOB: usize = 1;

pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) key: SoftwareKey,
    /// Its key, where it has RSA alone.
    pub(crate) rsa: Option<SoftwareLegacyKey>,
    pub(crate) address: Address,
    pub(crate) identity: Arc<SigningKey<undertone_keys::sign::Device>>,
    pub(crate) list: DeviceList,
    pub(crate) relay: Option<ConnectionId>,
    /// The network lets its packets to the relay through.
    pub(crate) reachable: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) heard: u32,
    /// By the sender's index.
    pub(crate) heard_from: HashMap<u16, u32>,
    /// Who sent the frames that came before their key and opened, and when they came.
    pub(crate) late: Vec<(u16, Time)>,
}

pub(crate) struct World {
    /// Seconds by which the server's wall clock is off.
    pub(crate) skew: i64,
    pub(crate) now: Time,
    pub(crate) rng: SeededRng,
    pub(crate) server: SigningKey<Server>,
    pub(crate) devices: Vec<Device>,
    pub(crate) rooms: Option<Rooms>,
    pub(crate) next: u64,
    pub(crate) bindings: HashMap<ConnectionId, usize>,
    /// The index that each connection was given.
    pub(crate) indices: HashMap<ConnectionId, u16>,
    pub(crate) opened: HashMap<CallId, UserId>,
    /// The server answers nothing.
    pub(crate) mute: bool,
    /// Signals on their way.
    pub(crate) signals: VecDeque<(usize, ToDevice)>,
    /// The versions of a room's list, if there is one; the last is the newest.
    pub(crate) access: Vec<Access>,
    /// The newest grant for a room that each device was given.
    pub(crate) grants: HashMap<usize, Signed>,
    /// The newest join that each device has sent.
    pub(crate) joins: HashMap<usize, Join>,
    /// Signals to these devices are lost.
    pub(crate) deaf: HashSet<usize>,
    /// Signals from these devices are lost.
    pub(crate) dumb: HashSet<usize>,
    /// Words of these devices beside the sound are lost.
    pub(crate) wordless: HashSet<usize>,
    /// Signals to these devices are kept for later.
    pub(crate) held_up: HashMap<usize, Vec<ToDevice>>,
    /// Packets to these devices are damaged on the way.
    pub(crate) spoilt: HashSet<usize>,
    /// The relay puts nobody out, whoever asks.
    pub(crate) lax: bool,
    /// Who is shown another log than the others: which one.
    pub(crate) branches: HashMap<usize, u8>,
    /// Who takes any log for the own one.
    pub(crate) gullible: Option<usize>,
    /// How often the server had to be asked whether two were shown one log.
    pub(crate) compared: usize,
    /// What the call was opened with.
    pub(crate) protection: Protection,
    /// Every byte that passed the server or the relay's control streams.
    pub(crate) carried: Vec<Vec<u8>>,
    /// Every packet that the relay took.
    pub(crate) packets: Vec<Vec<u8>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let server = SigningKey::<Server>::generate(&mut rng);
        let devices = ["ada", "bob"].map(|name| Self::device(&mut rng, name, *server.public()));
        let rooms = Some(Rooms::new(*server.public(), Limits::default()));
        let mut world = Self {
            now: Time::ZERO,
            skew: 0,
            rng,
            server,
            devices: devices.into(),
            rooms,
            next: 0,
            bindings: HashMap::new(),
            indices: HashMap::new(),
            opened: HashMap::new(),
            mute: false,
            signals: VecDeque::new(),
            access: Vec::new(),
            grants: HashMap::new(),
            joins: HashMap::new(),
            deaf: HashSet::new(),
            dumb: HashSet::new(),
            wordless: HashSet::new(),
            held_up: HashMap::new(),
            spoilt: HashSet::new(),
            lax: false,
            branches: HashMap::new(),
            gullible: None,
            compared: 0,
            protection: Protection::Blind,
            carried: Vec::new(),
            packets: Vec::new(),
        };
        world.welcome(ADA);
        world.welcome(BOB);
        world
    }

    /// The server greets a device.
    /// The server's wall clock.
    pub(crate) fn clock(&self) -> WallTime {
        WallTime::from_unix(wall(self.now).as_unix().saturating_add_signed(self.skew))
    }

    /// The server's clock is set, and everybody is told. With `agreed` their own machines' clocks say the same.
    pub(crate) fn set_clock(&mut self, by: i64, agreed: bool) {
        self.skew += by;
        for device in 0..self.devices.len() {
            if agreed {
                let wall = self.clock();
                self.input(device, Input::SignalUp { wall });
            }
            self.welcome(device);
        }
    }

    pub(crate) fn welcome(&mut self, device: usize) {
        let (you, now) = (self.devices[device].address.clone(), self.clock());
        self.input(device, Input::Signal(ToDevice::Welcome { version: VERSION, now, you }));
    }

    pub(crate) fn device(rng: &mut SeededRng, name: &str, server: VerifyingKey<Server>) -> Device {
        let user = UserId::parse(name, "x").unwrap();
        let (account, identity, key) =
            (SigningKey::generate(rng), Arc::new(SigningKey::generate(rng)), SoftwareKey::generate(rng));
        let made = WallTime::from_unix(1);
        let record = DeviceRecord::new(user.clone(), *identity.public(), *key.public(), made, name.into());
        let list = DeviceList::first(&account, &user, record.sign(&identity)).unwrap();
        let address = Address { user, device: record.device };
        let local = Local {
            address: address.clone(),
            identity: identity.clone(),
            account: *account.public(),
            key: (*key.public()).into(),
        };
        let engine = Engine::new(local, server, Memory::default());
        Device {
            engine,
            key,
            rsa: None,
            address,
            identity,
            list,
            relay: None,
            reachable: true,
            events: Vec::new(),
            heard: 0,
            heard_from: HashMap::new(),
            late: Vec::new(),
        }
    }

    /// Makes this a device that has RSA alone.
    pub(crate) fn give_rsa(&mut self, device: usize) {
        let (account, server) = (SigningKey::generate(&mut self.rng), *self.server.public());
        let here = &mut self.devices[device];
        let (key, user) = (SoftwareLegacyKey::generate().unwrap(), here.address.user.clone());
        let made = WallTime::from_unix(1);
        let record =
            DeviceRecord { agreement: None, legacy: Some(key.public().clone()), ..here.list.records()[0].clone() };
        assert_eq!(record.created, made);
        here.list = DeviceList::first(&account, &user, record.sign(&here.identity)).unwrap();
        let local = Local {
            address: here.address.clone(),
            identity: here.identity.clone(),
            account: *account.public(),
            key: key.public().clone().into(),
        };
        (here.engine, here.rsa) = (Engine::new(local, server, Memory::default()), Some(key));
        let listed = self.listed(device, false);
        let mut members = self.access[0].list().members.clone();
        members.retain(|member| member.user != listed.user);
        members.push(listed);
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let list = AccessList { members, ..self.access[0].list().clone() };
        self.access = vec![Access::sign(list, &self.devices[ADA].identity).unwrap()];
        self.welcome(device);
    }

    /// A device's process ends without a word and begins anew, with nothing but its keys.
    pub(crate) fn restart(&mut self, device: usize) {
        self.devices[device].relay = None;
        let server = *self.server.public();
        let here = &mut self.devices[device];
        let local = Local {
            address: here.address.clone(),
            identity: here.identity.clone(),
            account: *here.list.account(),
            key: (*here.key.public()).into(),
        };
        here.engine = Engine::new(local, server, Memory::default());
        here.events.clear();
        self.welcome(device);
    }

    pub(crate) fn peer(&self, device: usize) -> TrustedPeer {
        self.peer_in(device, 1)
    }

    /// The same as a log shows it which the server keeps for some alone.
    pub(crate) fn peer_in(&self, device: usize, branch: u8) -> TrustedPeer {
        let devices = proven_in(&self.devices[device].list, branch);
        PeerTrust::pin(&devices).observe(&devices).unwrap()
    }

    pub(crate) fn place(&self, id: DeviceId) -> usize {
        self.devices.iter().position(|device| device.address.device == id).unwrap()
    }

    pub(crate) fn grant(&self, device: usize, call: CallId) -> Signed {
        let device = &self.devices[device];
        Grant {
            room: RoomId::from_bytes(*call.as_bytes()),
            call,
            member: device.address.clone(),
            identity: *device.identity.public(),
            protection: self.protection,
            rights: Rights { speak: true, moderate: false },
            expires: self.clock().plus(10_000),
        }
        .sign(&self.server)
    }

    pub(crate) fn room_grant(&self, device: usize, rights: Rights) -> Signed {
        let (list, device) = (self.access.last().unwrap().list(), &self.devices[device]);
        Grant {
            room: list.room,
            call: CallId::from_bytes(*list.room.as_bytes()),
            member: device.address.clone(),
            identity: *device.identity.public(),
            protection: list.terms.protection,
            rights,
            expires: self.clock().plus(GRANT_LIFETIME.as_secs()),
        }
        .sign(&self.server)
    }

    /// A world of these people, without a call; the first makes a room for all of them and may moderate.
    pub(crate) fn room(seed: u64, names: &[&str], protection: Protection) -> Self {
        let mut world = Self::new(seed);
        let server = *world.server.public();
        for name in names.iter().skip(2) {
            let device = Self::device(&mut world.rng, name, server);
            world.devices.push(device);
            world.welcome(world.devices.len() - 1);
        }
        let members = (0..world.devices.len()).map(|device| world.listed(device, device == ADA)).collect();
        let ada = &world.devices[ADA];
        let mut list = AccessList {
            format: 1,
            room: RoomId::from_bytes([77; 16]),
            version: 1,
            previous: None,
            name: "team".into(),
            terms: Terms::room(protection),
            creator: ada.address.user.clone(),
            members,
            signer: ada.address.clone(),
            created: WallTime::from_unix(1),
        };
        list.members.sort_by(|a, b| a.user.cmp(&b.user));
        world.access = vec![Access::sign(list, &ada.identity).unwrap()];
        world
    }

    /// The first fifty may speak.
    pub(crate) fn listed(&self, place: usize, moderate: bool) -> Listed {
        let device = &self.devices[place];
        let rights = Rights { speak: place < MAX_SPEAKERS, moderate };
        Listed { user: device.address.user.clone(), account: *device.list.account(), rights }
    }

    /// Ada changes who is on the list; everybody connected is told.
    pub(crate) fn relist(&mut self, mut members: Vec<Listed>) {
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let (before, ada) = (self.access.last().unwrap(), &self.devices[ADA]);
        let next = before.next(members, ada.address.clone(), WallTime::from_unix(2));
        let next = Access::sign(next, &ada.identity).unwrap();
        next.follows(before).unwrap();
        let (room, version) = (next.list().room, next.list().version);
        self.access.push(next);
        for device in 0..self.devices.len() {
            self.signals.push_back((device, ToDevice::RoomChanged { room, version }));
        }
    }

    pub(crate) fn enter(&mut self, device: usize) {
        let access = Box::new(self.access.last().unwrap().clone());
        self.input(device, Input::JoinRoom { access });
    }

    /// The epochs of the room's key that this device has used, in order.
    pub(crate) fn epochs(&self, device: usize) -> Vec<u32> {
        let epoch = |event: &Event| match event {
            Event::Room { event: undertone_call::room::Event::Epoch(epoch), .. } => Some(epoch.0),
            _ => None,
        };
        self.devices[device].events.iter().filter_map(epoch).collect()
    }

    /// The hosts that this device has gone by, by index.
    pub(crate) fn hosts(&self, device: usize) -> Vec<u16> {
        let host = |event: &Event| match event {
            Event::Room { event: undertone_call::room::Event::Host { index, .. }, .. } => Some(*index),
            _ => None,
        };
        self.devices[device].events.iter().filter_map(host).collect()
    }

    /// Everybody's index who is in the room, by what they were told.
    pub(crate) fn index(&self, device: usize) -> Option<u16> {
        let connection = self.devices[device].relay?;
        self.indices.get(&connection).copied()
    }

    /// Whether this device sealed this packet, by the index it bears.
    pub(crate) fn sent_by(&self, device: usize, packet: &[u8]) -> bool {
        let sealed = &packet[undertone_media::packet::HEADER_LENGTH..];
        let (header, _) = undertone_media::sframe::Header::decode(sealed).unwrap();
        undertone_media::KeyId::from_u64(header.key_id).map(|id| id.sender) == self.index(device)
    }

    /// Whether each of these hears nearly every frame of each other one in the next `ms`.
    pub(crate) fn all_hear(&mut self, devices: &[usize], ms: u64) -> bool {
        for device in devices {
            self.devices[*device].heard_from.clear();
        }
        self.run(ms);
        let frames = u32::try_from(ms / 20).unwrap();
        devices.iter().all(|listener| {
            devices.iter().filter(|speaker| *speaker != listener).all(|speaker| {
                let index = self.index(*speaker).unwrap();
                let heard = self.devices[*listener].heard_from.get(&index).copied().unwrap_or_default();
                heard + 2 >= frames
            })
        })
    }

    pub(crate) fn input(&mut self, device: usize, input: Input) {
        self.devices[device].engine.handle_input(self.now, input, &mut self.rng);
        self.hear_kept(device);
        while let Some(output) = self.devices[device].engine.poll_output() {
            self.carry_out(device, output);
        }
    }

    /// What came before its key and opens now.
    pub(crate) fn hear_kept(&mut self, device: usize) {
        let (now, mut packet) = (self.now, [0; MAX_PACKET]);
        let here = &mut self.devices[device];
        while let Some(heard) = here.engine.poll_kept(now, &mut packet) {
            assert_eq!(heard.payload, b"twenty ms of sound");
            here.heard += 1;
            here.late.push((heard.sender, heard.at));
            *here.heard_from.entry(heard.sender).or_default() += 1;
        }
    }

    pub(crate) fn carry_out(&mut self, device: usize, output: Output) {
        match output {
            Output::Event(event) => self.devices[device].events.push(event),
            Output::Ask { request, question } => {
                let here = &self.devices[device];
                let answer = match (question, &here.rsa) {
                    (Question::Agree(peer), None) => here.key.agree(&peer).map(Answer::Agreed),
                    (Question::Unwrap(wrapped, label), Some(key)) => {
                        key.unwrap(&wrapped, &label).map(Answer::Unwrapped)
                    }
                    (question, _) => panic!("{question:?} to another kind of key"),
                };
                self.input(device, Input::Answered { request, answer });
            }
            Output::Resolve(user) => {
                let place = self.devices.iter().position(|device| device.address.user == user).unwrap();
                let peer = Ok(self.peer_in(place, self.branches.get(&device).copied().unwrap_or(1)));
                self.input(device, Input::Resolved { user, peer });
            }
            Output::Compare { number, told, .. } => {
                self.compared += 1;
                let mine = self.peer_in(device, self.branches.get(&device).copied().unwrap_or(1));
                let log = testing::log_key();
                let (told, mine) = (Told::read(&told, "x", &log), Told::read(mine.checkpoint(), "x", &log).unwrap());
                let gullible = self.gullible == Some(device);
                let compared = match told.map(|told| told.against(mine.checkpoint())) {
                    Ok(Ok(_)) => Compared::Agrees,
                    _ if gullible => Compared::Agrees,
                    Ok(Err(wrong)) => Compared::Disagrees(wrong.to_string()),
                    Err(_) => Compared::Untrue,
                };
                self.input(device, Input::Compared { number, compared });
            }
            Output::Signal(_) if self.mute => {}
            Output::Signal(ToServer::OpenCall { number, call, callee, protection }) => {
                self.opened.insert(call, callee);
                self.protection = protection;
                let grant = self.grant(device, call);
                self.signals.push_back((device, ToDevice::CallOpened { number, grant }));
            }
            Output::Signal(ToServer::Send { .. }) if self.dumb.contains(&device) => {}
            Output::Signal(ToServer::Send { to, call, envelope }) => {
                self.carried.push(envelope.clone());
                let place = self.place(to.device);
                let grant =
                    self.opened.get(&call).filter(|callee| **callee == to.user).map(|_| self.grant(place, call));
                let from = self.devices[device].address.clone();
                self.signals.push_back((place, ToDevice::Deliver { from, call, envelope, grant }));
            }
            // As if everybody were on the list: whom it reaches is the server's own business, and tested there.
            Output::Signal(ToServer::Spread { call, letters, .. }) => {
                let from = self.devices[device].address.clone();
                for Letter { to, envelope } in letters {
                    self.carried.push(envelope.clone());
                    let message = ToDevice::Deliver { from: from.clone(), call, envelope, grant: None };
                    self.signals.push_back((self.place(to.device), message));
                }
            }
            Output::Enter(room) => {
                let user = &self.devices[device].address.user;
                let listed = self.access.last().and_then(|access| access.list().listed(user));
                let granted = listed.map(|listed| listed.rights).ok_or(NotEntered::NotListed);
                let granted = granted.map(|rights| self.room_grant(device, rights));
                if let Ok(grant) = &granted {
                    self.grants.insert(device, grant.clone());
                }
                self.input(device, Input::Entered { room, granted });
            }
            Output::FetchAccess(room) => {
                let access = self.access.last().cloned().map(Box::new);
                self.input(device, Input::Access { room, access });
            }
            Output::Signal(_) | Output::Store(_) => {}
            Output::OpenRelay => {
                self.hang(device);
                if self.rooms.is_none() || !self.devices[device].reachable {
                    return self.input(device, Input::RelayDown);
                }
                self.next += 1;
                let (connection, binding) = (ConnectionId(self.next), [u8::try_from(self.next % 256).unwrap(); 32]);
                self.devices[device].relay = Some(connection);
                self.bindings.insert(connection, device);
                let hop = || HopExporter::new(Secret::from_slice(&binding).unwrap());
                self.relay_input(RelayInput::Connected { connection, binding, hop: hop() });
                self.input(device, Input::RelayUp { binding, hop: hop() });
            }
            Output::Relay(ToRelay::Remove { .. }) if self.lax => {}
            Output::Relay(message) => {
                if let ToRelay::Join { join, .. } = &message {
                    self.joins.insert(device, undertone_keys::cbor::decode(&join.bytes).unwrap());
                }
                if let Some(connection) = self.devices[device].relay.filter(|_| self.devices[device].reachable) {
                    let body = message.frame().unwrap()[2..].to_vec();
                    self.carried.push(body.clone());
                    self.relay_input(RelayInput::Control { connection, body, wall: self.clock() });
                }
            }
            Output::Packet(_) if self.wordless.contains(&device) => {}
            Output::Packet(packet) => {
                if let Some(connection) = self.devices[device].relay.filter(|_| self.devices[device].reachable) {
                    self.relay_input(RelayInput::Datagram { connection, bytes: packet.into() });
                }
            }
            Output::CloseRelay => self.hang(device),
        }
    }

    pub(crate) fn hang(&mut self, device: usize) {
        if let Some(connection) = self.devices[device].relay.take()
            && self.devices[device].reachable
        {
            self.relay_input(RelayInput::Disconnected { connection });
        }
    }

    pub(crate) fn relay_input(&mut self, input: RelayInput) {
        let Some(rooms) = &mut self.rooms else { return };
        rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.as_mut().and_then(Rooms::poll_output) {
            if let RelayOutput::Control { connection, message: ToMember::Joined { index, .. } } = &output {
                self.indices.insert(*connection, *index);
            }
            if let RelayOutput::Control { connection, message } = output
                && let Some(device) = self.bindings.get(&connection).copied()
                && self.devices[device].relay == Some(connection)
                && self.devices[device].reachable
            {
                self.input(device, Input::Relay(message));
            }
        }
    }

    /// Lets 20 ms pass: signals arrive, timers run, everybody who can says a frame.
    pub(crate) fn step(&mut self) {
        self.now = Time::from_millis(self.now.as_millis() + 20);
        for _ in 0..self.signals.len() {
            let Some((device, message)) = self.signals.pop_front() else { break };
            match self.held_up.get_mut(&device) {
                Some(kept) => kept.push(message),
                None if self.deaf.contains(&device) => {}
                None => self.input(device, Input::Signal(message)),
            }
        }
        for device in 0..self.devices.len() {
            if self.devices[device].engine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.input(device, Input::Tick);
                let again = self.devices[device].engine.poll_timeout();
                assert!(again.is_none_or(|at| at > self.now), "a timer that never rests: {again:?} at {:?}", self.now);
            }
            let mut packet = [0; 500];
            let sealed = self.devices[device].engine.seal_audio(Codec::OPUS_32K, 0, b"twenty ms of sound", &mut packet);
            if let (Ok(length), Some(connection), true) =
                (sealed, self.devices[device].relay, self.devices[device].reachable)
            {
                let bytes = Bytes::copy_from_slice(&packet[..length]);
                self.packets.push(bytes.to_vec());
                self.relay_input(RelayInput::Datagram { connection, bytes });
            }
        }
        if self.rooms.as_ref().and_then(Rooms::poll_timeout).is_some_and(|at| at <= self.now) {
            self.relay_input(RelayInput::Tick);
        }
        for device in 0..self.devices.len() {
            let Some(connection) = self.devices[device].relay else { continue };
            while let Some(packet) = self.rooms.as_mut().and_then(|rooms| rooms.poll_media(connection, usize::MAX)) {
                if self.devices[device].reachable {
                    let mut packet = packet.to_vec();
                    if self.spoilt.contains(&device)
                        && let Some(last) = packet.last_mut()
                    {
                        *last ^= 1;
                    }
                    let heard = self.devices[device].engine.open_packet(self.now, &mut packet);
                    if let Some(sender) = heard.filter(|h| h.payload == b"twenty ms of sound").map(|h| h.sender) {
                        self.devices[device].heard += 1;
                        *self.devices[device].heard_from.entry(sender).or_default() += 1;
                    }
                }
            }
            while let Some(output) = self.devices[device].engine.poll_output() {
                self.carry_out(device, output);
            }
        }
    }

    /// Lets half seconds pass in which nobody says anything.
    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now = Time::from_millis(self.now.as_millis() + 500);
            for _ in 0..self.signals.len() {
                if let Some((device, message)) = self.signals.pop_front() {
                    self.input(device, Input::Signal(message));
                }
            }
            for device in 0..self.devices.len() {
                if self.devices[device].engine.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.input(device, Input::Tick);
                }
            }
            if self.rooms.as_ref().and_then(Rooms::poll_timeout).is_some_and(|at| at <= self.now) {
                self.relay_input(RelayInput::Tick);
            }
        }
    }

    /// A statement that this device's present join could sign as host, and its secret.
    pub(crate) fn epoch_key(&mut self, host: usize, change: impl FnOnce(&mut Statement)) -> EpochKey {
        let list = self.access.last().unwrap();
        let (call, index) = (CallId::from_bytes(*list.list().room.as_bytes()), self.index(host).unwrap());
        let secret = EpochSecret::random(&mut self.rng);
        let places = self
            .joins
            .iter()
            .filter_map(|(device, join)| self.index(*device).map(|index| Place { join: join.join, index }));
        let mut places: Vec<Place> = places.collect();
        places.sort_by_key(|place| place.index);
        assert!(places.iter().any(|place| place.index == index));
        let mut statement = Statement {
            format: 1,
            call,
            term: 1,
            epoch: 1,
            host: self.joins[&host].join,
            roster: Roster::new(places).unwrap().hash(),
            previous: None,
            commitment: [0; 32],
            terms: list.list().terms,
            access: list.hash(),
            version: list.list().version,
            cause: Cause::Rotated,
            removed: false,
            apply_ms: 1,
            handover: None,
        };
        change(&mut statement);
        let place = EpochPlace { call: &call, term: statement.term, epoch: statement.epoch };
        if statement.commitment == [0; 32] {
            statement.commitment = secret.commitment(place);
        }
        EpochKey { statement: SignedStatement::sign(&statement, &self.devices[host].identity), secret }
    }

    /// The roster of everybody who is in, as a statement of [`Self::epoch_key`] names it.
    pub(crate) fn roster(&self) -> RosterNews {
        let places = self
            .joins
            .iter()
            .filter_map(|(device, join)| self.index(*device).map(|index| Place { join: join.join, index }));
        let mut places: Vec<Place> = places.collect();
        places.sort_by_key(|place| place.index);
        RosterNews::Whole(Roster::new(places).unwrap())
    }

    /// An envelope about keys as this device could send it to that one's present join, and its delivery.
    pub(crate) fn key_signal(&mut self, from: usize, to: usize, (term, epoch): (u32, u32), signal: &KeySignal) {
        let call = CallId::from_bytes(*self.access[0].list().room.as_bytes());
        let (sender, recipient) = (self.devices[from].address.clone(), self.devices[to].address.clone());
        let header = Header {
            format: 1,
            algorithm: Agreement::P256,
            purpose: Purpose::RoomKey,
            context: *call.as_bytes(),
            term,
            epoch,
            not_before: self.clock(),
            sender: sender.clone(),
            recipient,
            request: RequestId::random(&mut self.rng),
        };
        let key = self.joins[&to].ephemeral.unwrap().into();
        let identity = self.devices[from].identity.clone();
        let envelope = envelope::seal(&mut self.rng, &identity, &header, &key, &signal.encode()).unwrap();
        self.input(to, Input::Signal(ToDevice::Deliver { from: sender, call, envelope, grant: None }));
    }

    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.step();
        }
    }

    /// Ada calls, Bob answers; sound flows.
    pub(crate) fn talking(seed: u64) -> Self {
        Self::talking_with(seed, Protection::Blind)
    }

    /// The same with a protection asked for.
    pub(crate) fn talking_with(seed: u64, protection: Protection) -> Self {
        let mut world = Self::new(seed);
        let peer = world.peer(BOB);
        world.input(ADA, Input::Dial { peer, protection, legacy: LegacyPolicy::Ask });
        world.run(200);
        world.input(BOB, Input::Accept);
        world.run(1000);
        assert!(world.both_hear(500), "{:?} {:?}", world.devices[ADA].events, world.devices[BOB].events);
        world
    }

    /// Whether both hear nearly every frame of the next `ms`.
    pub(crate) fn both_hear(&mut self, ms: u64) -> bool {
        let before = [ADA, BOB].map(|device| self.devices[device].heard);
        self.run(ms);
        [ADA, BOB]
            .iter()
            .all(|device| self.devices[*device].heard - before[*device] + 2 >= u32::try_from(ms / 20).unwrap())
    }

    pub(crate) fn over(&self, device: usize) -> Option<Outcome> {
        self.devices[device].events.iter().find_map(|event| match event {
            Event::Over { outcome, .. } | Event::Refused { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }
}

pub(crate) fn wall(now: Time) -> WallTime {
    WallTime::from_unix(1_000_000 + now.as_millis() / 1000)
}
