//! Shipped engines and the shipped relay core, in virtual time; signalling is a queue, the network a switch.
//!
//! * `people`: the devices; `papers`: grants and lists.
//! * `network`: what engines want done, and the relay; `time`: who speaks and hears in each step; `ears`: what came of it.
//! * `letters`: letters about keys that anybody could write; `foes`: voices, junk, and a server that does as it likes.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

mod ears;
mod foes;
mod letters;
mod network;
mod papers;
mod people;
mod time;

use std::collections::{HashMap, HashSet, VecDeque};

use undertone_keys::agreement::EphemeralKey;
use undertone_keys::sign::{Server, Signed, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, Time, UserId};
use undertone_protocol::limits::GRANT_LIFETIME;
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Access, Join, Protection};
use undertone_relay::{ConnectionId, Limits, Rooms};

pub(crate) use foes::{Unruly, Voice, junk};
pub(crate) use people::Device;
pub(crate) use time::wall;

pub(crate) const ADA: usize = 0;
pub(crate) const BOB: usize = 1;
pub(crate) const CAROL: usize = 2;
pub(crate) const DAVE: usize = 3;
pub(crate) const ERIN: usize = 4;
/// Who they are, in this order.
pub(crate) const NAMES: [&str; 5] = ["ada", "bob", "carol", "dave", "erin"];

/// A letter that a device gave to the server for another one.
pub(crate) struct Posted {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) envelope: Vec<u8>,
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
    /// These devices say nothing by themselves.
    pub(crate) quiet: HashSet<usize>,
    /// What the server does to signals, if it does not just deliver them.
    pub(crate) unruly: Option<Unruly>,
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
    /// Seconds for which a room's grant is good.
    pub(crate) grants_last: u64,
    /// The one-call key of each device's newest join: whoever writes their own client has their own.
    pub(crate) ephemerals: HashMap<usize, EphemeralKey>,
    /// Every letter from device to device.
    pub(crate) posted: Vec<Posted>,
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
            quiet: HashSet::new(),
            unruly: None,
            held_up: HashMap::new(),
            spoilt: HashSet::new(),
            lax: false,
            branches: HashMap::new(),
            gullible: None,
            compared: 0,
            protection: Protection::Blind,
            grants_last: GRANT_LIFETIME.as_secs(),
            ephemerals: HashMap::new(),
            posted: Vec::new(),
            carried: Vec::new(),
            packets: Vec::new(),
        };
        world.welcome(ADA);
        world.welcome(BOB);
        world
    }
}
