//! A room in virtual time: shipped engines, the shipped relay core, a server that hands on letters, and nothing that is lost. What
//! is counted is what each device sends and is sent on its signalling connection.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use undertone_client::engine::{Compared, Engine, Input, NotEntered, Output, Unresolved};
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, RoomId, Secret, Time, WallTime};
use undertone_media::HopExporter;
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::limits::GRANT_LIFETIME;
use undertone_protocol::signal::{Letter, ToDevice, ToServer};
use undertone_protocol::{Access, AccessList, Grant, Protection, Terms, VERSION};
use undertone_relay::{ConnectionId, Input as RelayInput, Limits, Output as RelayOutput, Rooms};

use super::invented::Invented;
use super::people::{Peers, Person};

/// One way to the server or the relay.
const DELAY: Duration = Duration::from_millis(10);
/// A request and its answer.
const REQUEST: Duration = Duration::from_millis(60);
/// Between two who come.
const STAGGER: Duration = Duration::from_millis(20);

/// Messages, the letters in them, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) messages: u64,
    pub(crate) letters: u64,
    pub(crate) bytes: u64,
}

impl Count {
    fn add(&mut self, letters: usize, bytes: usize) {
        self.messages += 1;
        self.letters += u64::try_from(letters).unwrap_or_default();
        self.bytes += u64::try_from(bytes).unwrap_or_default();
    }
}

/// What one device sends and is sent, and how long its engine works for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: Count,
    pub(crate) received: Count,
    pub(crate) work: Duration,
}

/// Something that comes at its time.
enum Arrival {
    ToDevice { device: usize, message: Box<ToDevice> },
    ToServer { device: usize, message: Box<ToServer> },
    ControlUp { connection: ConnectionId, body: Vec<u8> },
    ControlDown { connection: ConnectionId, message: Box<ToMember> },
    MediaUp { connection: ConnectionId, bytes: Vec<u8> },
    MediaDown { connection: ConnectionId, bytes: Vec<u8> },
    Connected { device: usize, connection: ConnectionId },
    Closed { connection: ConnectionId },
    Answer { device: usize, input: Box<Input> },
    Wake { device: usize, number: u64 },
    WakeRelay { number: u64 },
}

/// One device.
struct Device {
    person: Person,
    place: usize,
    engine: Engine,
    connection: Option<ConnectionId>,
    wake: Option<(Time, u64)>,
    /// Somebody wants it in the room.
    wanted: bool,
    traffic: Traffic,
}

/// Everything that there is.
pub(super) struct World {
    now: Time,
    rng: SeededRng,
    devices: Vec<Device>,
    places: HashMap<Address, usize>,
    peers: Peers,
    server: SigningKey<Server>,
    rooms: Rooms,
    relay_wake: Option<(Time, u64)>,
    access: Access,
    queue: BTreeMap<(Time, u64), Arrival>,
    number: u64,
    /// Whose each connection is.
    connections: HashMap<ConnectionId, usize>,
}

impl World {
    /// These people, connected, and nobody in the room. The first of them has made it.
    pub(super) fn new(invented: Invented) -> anyhow::Result<Self> {
        let Invented { people, peers, server } = invented;
        let creator = people.first().ok_or_else(|| anyhow::anyhow!("there is nobody"))?;
        let mut members: Vec<_> = people.iter().enumerate().map(|(place, person)| person.listed(place)).collect();
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let list = AccessList {
            format: 1,
            room: RoomId::from_bytes([77; 16]),
            version: 1,
            previous: None,
            name: "bench".into(),
            terms: Terms::room(Protection::Blind),
            creator: creator.address.user.clone(),
            members,
            signer: creator.address.clone(),
            created: WallTime::from_unix(1),
        };
        let access = Access::sign(list, &creator.identity)?;
        let public = *server.public();
        let places = people.iter().enumerate().map(|(place, person)| (person.address.clone(), place)).collect();
        let device = |(place, person): (usize, Person)| {
            let (engine, traffic) = (person.engine(public), Traffic::default());
            Device { person, place, engine, connection: None, wake: None, wanted: false, traffic }
        };
        let mut world = Self {
            now: Time::ZERO,
            rng: SeededRng::new(5),
            devices: people.into_iter().enumerate().map(device).collect(),
            places,
            peers,
            server,
            rooms: Rooms::new(public, Limits::default()),
            relay_wake: None,
            access,
            queue: BTreeMap::new(),
            number: 0,
            connections: HashMap::new(),
        };
        for place in 0..world.devices.len() {
            let wall = world.wall();
            world.input(place, Input::SignalUp { wall });
            if let Some(device) = world.devices.get(place) {
                let welcome = ToDevice::Welcome { version: VERSION, now: wall, you: device.person.address.clone() };
                world.after(DELAY, Arrival::ToDevice { device: place, message: Box::new(welcome) });
            }
        }
        world.run(2 * DELAY);
        Ok(world)
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), arrival) = entry.remove_entry();
            self.now = at;
            self.arrive(arrival);
        }
        self.now = end;
    }

    /// These come in, one a little after the other.
    pub(super) fn enter(&mut self, places: impl Iterator<Item = usize>) {
        for place in places {
            if let Some(device) = self.devices.get_mut(place) {
                device.wanted = true;
            }
            self.input(place, Input::JoinRoom { access: Box::new(self.access.clone()), quorum: None });
            self.run(STAGGER);
        }
    }

    /// This one leaves.
    pub(super) fn leave(&mut self, place: usize) {
        if let Some(device) = self.devices.get_mut(place) {
            device.wanted = false;
        }
        self.input(place, Input::HangUp);
    }

    /// What was counted of whoever is there, and counted anew from here on.
    pub(super) fn take_traffic(&mut self) -> Vec<Traffic> {
        self.devices.iter_mut().map(|device| std::mem::take(&mut device.traffic)).collect()
    }

    /// The one epoch that everybody who is wanted in the room seals under; none where they do not agree.
    pub(super) fn epoch(&self) -> Option<u32> {
        let epoch = |device: &Device| device.engine.keys_report().and_then(|report| report.epoch);
        let mut epochs = self.devices.iter().filter(|device| device.wanted).map(epoch);
        let first = epochs.next()??;
        epochs.all(|epoch| epoch == Some(first)).then_some(first)
    }

    /// Who is host, by their own report.
    pub(super) fn host(&self) -> Option<usize> {
        let hosts = |device: &&Device| device.engine.keys_report().is_some_and(|report| report.me);
        self.devices.iter().find(hosts).map(|device| device.place)
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix(1_770_000_000 + self.now.as_millis() / 1_000)
    }

    fn at(&mut self, at: Time, arrival: Arrival) -> u64 {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), arrival);
        self.number
    }

    fn after(&mut self, wait: Duration, arrival: Arrival) {
        self.at(self.now + wait, arrival);
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::ToDevice { device, message } => self.input(device, Input::Signal(*message)),
            Arrival::ToServer { device, message } => self.serve(device, *message),
            Arrival::ControlUp { connection, body } => {
                let wall = self.wall();
                self.relay(RelayInput::Control { connection, body, wall });
            }
            Arrival::ControlDown { connection, message } => {
                if let Some(device) = self.holder(connection) {
                    self.input(device, Input::Relay(*message));
                }
            }
            Arrival::MediaUp { connection, bytes } => {
                self.relay(RelayInput::Datagram { connection, bytes: bytes.into() });
            }
            Arrival::MediaDown { connection, mut bytes } => {
                let (Some(place), now) = (self.holder(connection), self.now) else { return };
                if let Some(device) = self.devices.get_mut(place) {
                    let _ = device.engine.open_packet(now, &mut bytes);
                    self.drain(place);
                }
            }
            Arrival::Connected { device, connection } => self.connected(device, connection),
            Arrival::Closed { connection } => self.relay(RelayInput::Disconnected { connection }),
            Arrival::Answer { device, input } => self.input(device, *input),
            Arrival::Wake { device, number } => {
                let wake =
                    self.devices.get_mut(device).and_then(|device| device.wake.take_if(|(_, due)| *due == number));
                if wake.is_some() {
                    self.input(device, Input::Tick);
                }
            }
            Arrival::WakeRelay { number } => {
                if self.relay_wake.take_if(|(_, due)| *due == number).is_some() {
                    self.relay(RelayInput::Tick);
                }
            }
        }
    }

    /// Whose present connection it is.
    fn holder(&self, connection: ConnectionId) -> Option<usize> {
        let place = *self.connections.get(&connection)?;
        (self.devices.get(place)?.connection == Some(connection)).then_some(place)
    }

    fn input(&mut self, place: usize, input: Input) {
        let Self { devices, rng, now, .. } = self;
        if let Some(device) = devices.get_mut(place) {
            let start = Instant::now();
            device.engine.handle_input(*now, input, rng);
            device.traffic.work += start.elapsed();
        }
        self.drain(place);
    }

    fn drain(&mut self, place: usize) {
        while let Some(output) = self.devices.get_mut(place).and_then(|device| device.engine.poll_output()) {
            self.carry_out(place, output);
        }
        self.plan(place);
    }

    fn plan(&mut self, place: usize) {
        let Some(device) = self.devices.get(place) else { return };
        let Some(at) = device.engine.poll_timeout() else { return };
        let at = at.max(self.now + Duration::from_micros(1));
        if device.wake.is_none_or(|(planned, _)| at < planned) {
            let number = self.number + 1;
            self.at(at, Arrival::Wake { device: place, number });
            if let Some(device) = self.devices.get_mut(place) {
                device.wake = Some((at, number));
            }
        }
    }

    fn carry_out(&mut self, place: usize, output: Output) {
        let Some(device) = self.devices.get_mut(place) else { return };
        match output {
            Output::Signal(message) => {
                let letters = match &message {
                    ToServer::Send { .. } => 1,
                    ToServer::Spread { letters, .. } => letters.len(),
                    _ => 0,
                };
                device.traffic.sent.add(letters, message.encode().len());
                self.after(DELAY, Arrival::ToServer { device: place, message: Box::new(message) });
            }
            Output::Resolve(user) => {
                let peer = self.peers.get(&user).cloned().ok_or(Unresolved::Unavailable);
                self.answer(place, Input::Resolved { user, peer });
            }
            Output::Enter(room) => {
                let granted = self.grant(place).ok_or(NotEntered::NotListed);
                self.answer(place, Input::Entered { room, granted });
            }
            Output::FetchAccess(room) => {
                let access = Some(Box::new(self.access.clone()));
                self.answer(place, Input::Access { room, access });
            }
            Output::Compare { number, .. } => {
                self.answer(place, Input::Compared { number, compared: Compared::Agrees });
            }
            Output::OpenRelay => {
                self.number += 1;
                let connection = ConnectionId(self.number);
                self.connections.insert(connection, place);
                self.after(REQUEST, Arrival::Connected { device: place, connection });
            }
            Output::Relay(message) => {
                if let Some((connection, frame)) = device.connection.zip(ToRelay::frame(&message)) {
                    let body = frame.get(2..).unwrap_or_default().to_vec();
                    self.after(DELAY, Arrival::ControlUp { connection, body });
                }
            }
            Output::Packet(bytes) => {
                if let Some(connection) = device.connection {
                    self.after(DELAY, Arrival::MediaUp { connection, bytes });
                }
            }
            Output::CloseRelay => {
                if let Some(connection) = device.connection.take() {
                    self.after(DELAY, Arrival::Closed { connection });
                }
            }
            // Nobody is in a room who was refused: whoever asks for the epoch finds that.
            Output::Event(_)
            | Output::Ask { .. }
            | Output::Exchange { .. }
            | Output::TakeBack { .. }
            | Output::Store(_)
            | Output::StoreGroups(_)
            | Output::FetchTree { .. }
            | Output::PublishKeyPackage { .. }
            | Output::ClaimKeyPackages { .. } => {}
        }
    }

    fn answer(&mut self, device: usize, input: Input) {
        self.after(REQUEST, Arrival::Answer { device, input: Box::new(input) });
    }

    fn grant(&self, place: usize) -> Option<undertone_keys::sign::Signed> {
        let (list, person) = (self.access.list(), &self.devices.get(place)?.person);
        let grant = Grant {
            room: list.room,
            call: CallId::from_bytes(*list.room.as_bytes()),
            member: person.address.clone(),
            identity: *person.identity.public(),
            protection: list.terms.protection,
            rights: list.listed(&person.address.user)?.rights,
            expires: self.wall().plus(GRANT_LIFETIME.as_secs()),
            audience: None,
        };
        Some(grant.sign(&self.server))
    }

    fn connected(&mut self, place: usize, connection: ConnectionId) {
        let mut binding = [0; 32];
        binding.iter_mut().zip(connection.0.to_be_bytes()).for_each(|(out, byte)| *out = byte);
        let hop = || HopExporter::new(Secret::filled_by(|out| *out = binding));
        let Some(device) = self.devices.get_mut(place) else { return };
        device.connection = Some(connection);
        self.relay(RelayInput::Connected { connection, binding, hop: hop() });
        self.input(place, Input::RelayUp { binding, hop: hop() });
    }

    /// The server's part of signalling: it hands on what it cannot read.
    fn serve(&mut self, from: usize, message: ToServer) {
        let Some(sender) = self.devices.get(from).map(|device| device.person.address.clone()) else { return };
        let (call, letters) = match message {
            ToServer::Send { to, call, envelope } => (call, vec![Letter { to, envelope }]),
            ToServer::Spread { call, letters, .. } => (call, letters),
            _ => return,
        };
        for Letter { to, envelope } in letters {
            let Some(place) = self.places.get(&to).copied() else { continue };
            let message = ToDevice::Deliver { from: sender.clone(), call, envelope, grant: None };
            if let Some(device) = self.devices.get_mut(place) {
                device.traffic.received.add(1, message.encode().len());
            }
            self.after(DELAY, Arrival::ToDevice { device: place, message: Box::new(message) });
        }
    }

    fn relay(&mut self, input: RelayInput) {
        self.rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.poll_output() {
            if let RelayOutput::Control { connection, message } = output {
                self.after(DELAY, Arrival::ControlDown { connection, message: Box::new(message) });
            }
        }
        while let Some(connection) = self.rooms.poll_ready() {
            while let Some(packet) = self.rooms.poll_media(connection, usize::MAX) {
                self.after(DELAY, Arrival::MediaDown { connection, bytes: packet.to_vec() });
            }
        }
        let Some(at) = self.rooms.poll_timeout() else { return };
        let at = at.max(self.now + Duration::from_micros(1));
        if self.relay_wake.is_none_or(|(planned, _)| at < planned) {
            let number = self.number + 1;
            self.at(at, Arrival::WakeRelay { number });
            self.relay_wake = Some((at, number));
        }
    }
}
