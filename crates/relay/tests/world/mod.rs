//! A relay's core, devices with papers, and a clock that a test moves.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod hop;

use std::collections::HashMap;

use bytes::Bytes;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, Signed, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, Secret, Time, UserId, WallTime};
use undertone_media::packet::{Codec, Flags, Kind};
use undertone_media::sframe::{Sealer, SframeKey};
use undertone_media::{Context, Epoch, HopExporter, KeyId, MediaHeader};
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::grant::Rights;
use undertone_protocol::{Grant, Join, Protection, VERSION};
use undertone_relay::{ConnectionId, Input, Limits, Output, Rooms};

pub(crate) const WALL: WallTime = WallTime::from_unix(1_000);
pub(crate) const CALL: CallId = CallId::from_bytes([1; 16]);
pub(crate) const ROOM: RoomId = RoomId::from_bytes([2; 16]);

pub(crate) struct World {
    pub(crate) rng: SeededRng,
    pub(crate) server: SigningKey<Server>,
    pub(crate) rooms: Rooms,
    pub(crate) now: Time,
    pub(crate) next: u64,
    /// What each connection was told.
    pub(crate) told: HashMap<ConnectionId, Vec<ToMember>>,
    pub(crate) closed: Vec<ConnectionId>,
}

/// What a device brings to a relay.
pub(crate) struct Papers {
    pub(crate) grant: Signed,
    pub(crate) join: Signed,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let mut rng = SeededRng::new(1);
        let server = SigningKey::generate(&mut rng);
        let rooms = Rooms::new(*server.public(), limits);
        Self { rng, server, rooms, now: Time::ZERO, next: 0, told: HashMap::new(), closed: Vec::new() }
    }

    pub(crate) fn device(&mut self) -> SigningKey<Device> {
        SigningKey::generate(&mut self.rng)
    }

    pub(crate) fn grant(&self, device: &SigningKey<Device>) -> Grant {
        let member = Address { user: UserId::parse("ada", "x").unwrap(), device: DeviceId::of(device.public()) };
        Grant {
            room: ROOM,
            call: CALL,
            member,
            identity: *device.public(),
            protection: Protection::Blind,
            rights: Rights { speak: true, moderate: false },
            expires: WALL.plus(60),
            audience: None,
        }
    }

    pub(crate) fn papers(
        &mut self,
        device: &SigningKey<Device>,
        grant: &Grant,
        binding: [u8; 32],
        min_index: u16,
    ) -> Papers {
        let grant = grant.sign(&self.server);
        let join = Join {
            grant: Grant::hash(&grant),
            call: CALL,
            join: JoinId::random(&mut self.rng),
            ephemeral: Some(*EphemeralKey::generate(&mut self.rng).public()),
            binding,
            min_index,
        };
        Papers { grant, join: join.sign(device) }
    }

    pub(crate) fn connect(&mut self) -> (ConnectionId, [u8; 32]) {
        self.next += 1;
        let (connection, binding) = (ConnectionId(self.next), [u8::try_from(self.next % 256).unwrap(); 32]);
        // What a session exports differs by label; here one stands for the other.
        let hop = HopExporter::new(Secret::from_slice(&binding).unwrap());
        self.input(Input::Connected { connection, binding, hop });
        (connection, binding)
    }

    pub(crate) fn say(&mut self, connection: ConnectionId, message: &ToRelay) {
        let body = message.frame().unwrap()[2..].to_vec();
        self.input(Input::Control { connection, body, wall: WALL });
    }

    pub(crate) fn enter(&mut self, connection: ConnectionId, papers: Papers) {
        self.say(connection, &ToRelay::Join { version: VERSION, grant: papers.grant, join: papers.join });
    }

    /// A join by a fresh device of `user` into the room of this number, with this smallest index.
    pub(crate) fn join_as(&mut self, user: &str, room: u8, min_index: u16) -> ConnectionId {
        let device = self.device();
        let (connection, binding) = self.connect();
        let mut grant = Grant { room: RoomId::from_bytes([room; 16]), ..self.grant(&device) };
        grant.member.user = UserId::parse(user, "x").unwrap();
        let papers = self.papers(&device, &grant, binding, min_index);
        self.enter(connection, papers);
        connection
    }

    /// A fresh device in the room; its connection and index.
    pub(crate) fn member(&mut self) -> (ConnectionId, u16) {
        let device = self.device();
        let (connection, binding) = self.connect();
        let grant = self.grant(&device);
        let papers = self.papers(&device, &grant, binding, 0);
        self.enter(connection, papers);
        (connection, self.index(connection).unwrap())
    }

    pub(crate) fn index(&self, connection: ConnectionId) -> Option<u16> {
        self.told.get(&connection)?.iter().find_map(|message| match message {
            ToMember::Joined { index, .. } => Some(*index),
            _ => None,
        })
    }

    pub(crate) fn refusal(&self, connection: ConnectionId) -> Option<Refusal> {
        self.told.get(&connection)?.iter().find_map(|message| match message {
            ToMember::Refused { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.poll_output() {
            match output {
                Output::Control { connection, message } => self.told.entry(connection).or_default().push(message),
                Output::Close { connection } => self.closed.push(connection),
            }
        }
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, packet: &[u8]) {
        self.input(Input::Datagram { connection, bytes: Bytes::copy_from_slice(packet) });
    }

    pub(crate) fn received(&mut self, connection: ConnectionId) -> Vec<Bytes> {
        std::iter::from_fn(|| self.rooms.poll_media(connection, usize::MAX)).collect()
    }

    /// Lets time pass until then: the relay is woken whenever it asked for it, and not otherwise.
    pub(crate) fn until(&mut self, then: Time) {
        while let Some(at) = self.rooms.poll_timeout().filter(|at| *at <= then) {
            self.now = self.now.max(at);
            self.input(Input::Tick);
        }
        self.now = then;
    }

    pub(crate) fn pass(&mut self, seconds: u64, mut each: impl FnMut(&mut Self)) {
        for _ in 0..seconds * 2 {
            self.now = Time::from_millis(self.now.as_millis() + 500);
            each(self);
            self.input(Input::Tick);
        }
    }
}

/// A packet of sound as this sender would seal it.
pub(crate) fn packet(index: u16, number: u32) -> Vec<u8> {
    packet_of(Kind::Audio, index, number)
}

/// A packet of this kind as this sender would seal it.
pub(crate) fn packet_of(kind: Kind, index: u16, number: u32) -> Vec<u8> {
    let header = MediaHeader {
        flags: Flags::default(),
        kind,
        codec: Codec::OPUS_32K,
        stream: 0,
        fec_ratio: 0,
        sequence: number,
        timestamp_ms: number * 20,
        fec_block: 0,
    };
    let key_id = KeyId::new(Context::MAIN_AUDIO, index, Epoch(1)).to_u64();
    let mut sealed = [0; 200];
    let length = Sealer::new(SframeKey::derive(&[9; 32], key_id)).seal(&[], &[b"sealed"], &mut sealed).unwrap();
    [header.encode().as_slice(), &sealed[..length]].concat()
}
