//! Two shipped engines and the shipped relay core, in virtual time: what a network or a server does to a call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use undertone_call::{Local, Outcome};
use undertone_client::engine::{Engine, Event, Input, Memory, Output, Side};
use undertone_keys::agreement::{DeviceKey, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, RoomId, Time, UserId, WallTime};
use undertone_media::packet::Codec;
use undertone_protocol::grant::Rights;
use undertone_protocol::signal::{ToDevice, ToServer};
use undertone_protocol::{Grant, Protection, VERSION};
use undertone_relay::{ConnectionId, Input as RelayInput, Limits, Output as RelayOutput, Rooms};
use undertone_transparency::{PeerTrust, TrustedPeer};

const ADA: usize = 0;
const BOB: usize = 1;

struct Device {
    engine: Engine,
    key: SoftwareKey,
    address: Address,
    identity: Arc<SigningKey<undertone_keys::sign::Device>>,
    list: DeviceList,
    relay: Option<ConnectionId>,
    /// The network lets its packets to the relay through.
    reachable: bool,
    events: Vec<Event>,
    heard: u32,
}

struct World {
    now: Time,
    rng: SeededRng,
    server: SigningKey<Server>,
    devices: Vec<Device>,
    rooms: Option<Rooms>,
    next: u64,
    bindings: HashMap<ConnectionId, usize>,
    opened: HashMap<CallId, UserId>,
    /// The server answers nothing.
    mute: bool,
    /// Signals on their way.
    signals: VecDeque<(usize, ToDevice)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let server = SigningKey::<Server>::generate(&mut rng);
        let devices = ["ada", "bob"].map(|name| Self::device(&mut rng, name, *server.public()));
        let rooms = Some(Rooms::new(*server.public(), Limits::default()));
        let mut world = Self {
            now: Time::ZERO,
            rng,
            server,
            devices: devices.into(),
            rooms,
            next: 0,
            bindings: HashMap::new(),
            opened: HashMap::new(),
            mute: false,
            signals: VecDeque::new(),
        };
        for device in [ADA, BOB] {
            let you = world.devices[device].address.clone();
            world.input(device, Input::Signal(ToDevice::Welcome { version: VERSION, now: wall(Time::ZERO), you }));
        }
        world
    }

    fn device(rng: &mut SeededRng, name: &str, server: VerifyingKey<Server>) -> Device {
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
            agreement: *key.public(),
        };
        let engine = Engine::new(local, server, Memory::default());
        Device { engine, key, address, identity, list, relay: None, reachable: true, events: Vec::new(), heard: 0 }
    }

    fn peer(&self, device: usize) -> TrustedPeer {
        let list = &self.devices[device].list;
        PeerTrust::pin(list).observe(list).unwrap()
    }

    fn place(&self, id: DeviceId) -> usize {
        self.devices.iter().position(|device| device.address.device == id).unwrap()
    }

    fn grant(&self, device: usize, call: CallId) -> Signed {
        let device = &self.devices[device];
        Grant {
            room: RoomId::from_bytes(*call.as_bytes()),
            call,
            member: device.address.clone(),
            identity: *device.identity.public(),
            protection: Protection::Blind,
            rights: Rights { speak: true, moderate: false },
            expires: wall(self.now).plus(10_000),
        }
        .sign(&self.server)
    }

    fn input(&mut self, device: usize, input: Input) {
        self.devices[device].engine.handle_input(self.now, input, &mut self.rng);
        while let Some(output) = self.devices[device].engine.poll_output() {
            self.carry_out(device, output);
        }
    }

    fn carry_out(&mut self, device: usize, output: Output) {
        match output {
            Output::Event(event) => self.devices[device].events.push(event),
            Output::Agree { request, peer } => {
                let secret = self.devices[device].key.agree(&peer);
                self.input(device, Input::Agreed { request, secret });
            }
            Output::Resolve(user) => {
                let place = self.devices.iter().position(|device| device.address.user == user).unwrap();
                let peer = Ok(self.peer(place));
                self.input(device, Input::Resolved { user, peer });
            }
            Output::Signal(_) if self.mute => {}
            Output::Signal(ToServer::OpenCall { number, call, callee, .. }) => {
                self.opened.insert(call, callee);
                let grant = self.grant(device, call);
                self.signals.push_back((device, ToDevice::CallOpened { number, grant }));
            }
            Output::Signal(ToServer::Send { to, call, envelope }) => {
                let place = self.place(to.device);
                let grant =
                    self.opened.get(&call).filter(|callee| **callee == to.user).map(|_| self.grant(place, call));
                let from = self.devices[device].address.clone();
                self.signals.push_back((place, ToDevice::Deliver { from, call, envelope, grant }));
            }
            Output::Signal(_) | Output::Store(_) => {}
            Output::OpenRelay => {
                self.hang(device);
                if self.rooms.is_none() || !self.devices[device].reachable {
                    return self.input(device, Input::RelayDown);
                }
                self.next += 1;
                let (connection, binding) = (ConnectionId(self.next), [u8::try_from(self.next).unwrap(); 32]);
                self.devices[device].relay = Some(connection);
                self.bindings.insert(connection, device);
                self.relay_input(RelayInput::Connected { connection, binding });
                self.input(device, Input::RelayUp(binding));
            }
            Output::Relay(message) => {
                if let Some(connection) = self.devices[device].relay.filter(|_| self.devices[device].reachable) {
                    let body = message.frame().unwrap()[2..].to_vec();
                    self.relay_input(RelayInput::Control { connection, body, wall: wall(self.now) });
                }
            }
            Output::CloseRelay => self.hang(device),
        }
    }

    fn hang(&mut self, device: usize) {
        if let Some(connection) = self.devices[device].relay.take()
            && self.devices[device].reachable
        {
            self.relay_input(RelayInput::Disconnected { connection });
        }
    }

    fn relay_input(&mut self, input: RelayInput) {
        let Some(rooms) = &mut self.rooms else { return };
        rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.as_mut().and_then(Rooms::poll_output) {
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
    fn step(&mut self) {
        self.now = Time::from_millis(self.now.as_millis() + 20);
        for _ in 0..self.signals.len() {
            if let Some((device, message)) = self.signals.pop_front() {
                self.input(device, Input::Signal(message));
            }
        }
        for device in 0..self.devices.len() {
            if self.devices[device].engine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.input(device, Input::Tick);
            }
            let mut packet = [0; 500];
            let sealed = self.devices[device].engine.seal_audio(Codec::OPUS_32K, 0, b"twenty ms of sound", &mut packet);
            if let (Ok(length), Some(connection), true) =
                (sealed, self.devices[device].relay, self.devices[device].reachable)
            {
                let bytes = Bytes::copy_from_slice(&packet[..length]);
                self.relay_input(RelayInput::Datagram { connection, bytes });
            }
        }
        if self.rooms.as_ref().and_then(Rooms::poll_timeout).is_some_and(|at| at <= self.now) {
            self.relay_input(RelayInput::Tick);
        }
        for device in 0..self.devices.len() {
            let Some(connection) = self.devices[device].relay else { continue };
            while let Some(packet) = self.rooms.as_mut().and_then(|rooms| rooms.poll_media(connection)) {
                if self.devices[device].reachable {
                    let mut packet = packet.to_vec();
                    let heard = self.devices[device].engine.open_packet(self.now, &mut packet);
                    self.devices[device].heard += u32::from(heard.is_some_and(|h| h.payload == b"twenty ms of sound"));
                }
            }
            while let Some(output) = self.devices[device].engine.poll_output() {
                self.carry_out(device, output);
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.step();
        }
    }

    /// Ada calls, Bob answers; sound flows.
    fn talking(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let peer = world.peer(BOB);
        world.input(ADA, Input::Dial { peer, protection: Protection::Blind });
        world.run(200);
        world.input(BOB, Input::Accept);
        world.run(1000);
        assert!(world.both_hear(500), "{:?} {:?}", world.devices[ADA].events, world.devices[BOB].events);
        world
    }

    /// Whether both hear nearly every frame of the next `ms`.
    fn both_hear(&mut self, ms: u64) -> bool {
        let before = [ADA, BOB].map(|device| self.devices[device].heard);
        self.run(ms);
        [ADA, BOB]
            .iter()
            .all(|device| self.devices[*device].heard - before[*device] + 2 >= u32::try_from(ms / 20).unwrap())
    }

    fn over(&self, device: usize) -> Option<Outcome> {
        self.devices[device].events.iter().find_map(|event| match event {
            Event::Over { outcome, .. } | Event::Refused { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }
}

fn wall(now: Time) -> WallTime {
    WallTime::from_unix(1_000_000 + now.as_millis() / 1000)
}

#[test]
fn a_side_that_loses_its_network_comes_back_into_the_same_call() {
    for lost in [ADA, BOB] {
        let mut world = World::talking(1);
        world.devices[lost].reachable = false;
        world.run(5_000);
        let here = world.devices[lost].events.iter().any(|e| matches!(e, Event::Interrupted { who: Side::Here, .. }));
        assert!(here, "the side that is cut off says so");
        world.devices[lost].reachable = true;
        world.run(2_000);
        assert!(world.both_hear(1_000), "{:?}", world.devices[lost].events.last());
        assert_eq!((world.over(ADA), world.over(BOB)), (None, None));
    }
}

#[test]
fn a_relay_that_forgets_everything_is_joined_again() {
    let mut world = World::talking(2);
    for round in 0..3 {
        world.rooms = None;
        world.run(4_000);
        world.rooms = Some(Rooms::new(*world.server.public(), Limits::default()));
        world.run(2_000);
        assert!(world.both_hear(1_000), "round {round}");
    }
    assert_eq!((world.over(ADA), world.over(BOB)), (None, None));
}

#[test]
fn rly_5_a_peer_that_never_comes_back_ends_the_call() {
    let mut world = World::talking(3);
    world.devices[BOB].reachable = false;
    world.run(9_500);
    let there = world.devices[ADA].events.iter().any(|e| matches!(e, Event::Interrupted { who: Side::There, .. }));
    assert!(there, "noticed within ten seconds");
    world.run(16_000);
    assert_eq!(world.over(ADA), Some(Outcome::PeerVanished));
}

#[test]
fn grp_8_a_stranger_in_the_room_ends_the_call_with_its_reason() {
    use undertone_keys::JoinId;
    use undertone_keys::agreement::EphemeralKey;
    use undertone_protocol::Join;
    use undertone_protocol::control::ToRelay;
    let mut world = World::talking(4);
    let call = world.opened.keys().next().copied().unwrap();
    // The server admits a device of its own making under Bob's name.
    let identity = SigningKey::generate(&mut world.rng);
    let user = world.devices[BOB].address.user.clone();
    let grant = Grant {
        room: RoomId::from_bytes(*call.as_bytes()),
        call,
        member: Address { user, device: DeviceId::of(identity.public()) },
        identity: *identity.public(),
        protection: Protection::Blind,
        rights: Rights { speak: true, moderate: false },
        expires: wall(world.now).plus(1_000),
    }
    .sign(&world.server);
    let join = Join {
        grant: Grant::hash(&grant),
        call,
        join: JoinId::random(&mut world.rng),
        ephemeral: *EphemeralKey::generate(&mut world.rng).public(),
        binding: [0xee; 32],
        min_index: 0,
    }
    .sign(&identity);
    let connection = ConnectionId(999);
    world.relay_input(RelayInput::Connected { connection, binding: [0xee; 32] });
    let body = ToRelay::Join { version: VERSION, grant, join }.frame().unwrap()[2..].to_vec();
    let wall = wall(world.now);
    world.relay_input(RelayInput::Control { connection, body, wall });
    world.run(200);
    assert_eq!(world.over(ADA), Some(Outcome::RefusedByProof));
    assert_eq!(world.over(BOB), Some(Outcome::RefusedByProof));
}

#[test]
fn call_3_a_server_that_does_not_open_the_call_is_a_result() {
    // It never answers.
    let mut world = World::new(5);
    world.mute = true;
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Blind });
    world.run(11_000);
    assert_eq!(world.over(ADA), Some(Outcome::Offline));
    assert!(!world.devices[ADA].engine.is_busy());

    // It goes away in between.
    let mut world = World::new(6);
    world.mute = true;
    let peer = world.peer(BOB);
    world.input(ADA, Input::Dial { peer, protection: Protection::Blind });
    world.input(ADA, Input::SignalDown);
    assert_eq!(world.over(ADA), Some(Outcome::Offline));
}

#[test]
fn call_5_two_who_call_each_other_at_the_same_moment_talk() {
    for (seed, late) in [(7, 0), (8, 20), (9, 40), (10, 60), (11, 80), (12, 120)] {
        let mut world = World::new(seed);
        let (ada, bob) = (world.peer(ADA), world.peer(BOB));
        world.input(ADA, Input::Dial { peer: bob, protection: Protection::Blind });
        world.run(late);
        // Whoever was rung first may not call any more: then they simply answer.
        if world.devices[BOB].engine.is_busy() {
            world.input(BOB, Input::Accept);
        } else {
            world.input(BOB, Input::Dial { peer: ada, protection: Protection::Blind });
        }
        world.run(2_000);
        assert!(world.both_hear(500), "late by {late}: {:?}", world.devices[ADA].events);
        let established = |device: usize| {
            world.devices[device].events.iter().find_map(|event| match event {
                Event::Established(info) => Some(info.call),
                _ => None,
            })
        };
        assert_eq!(established(ADA), established(BOB));
    }
}
