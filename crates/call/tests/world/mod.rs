//! Phones of several people and devices, a server that routes between them, and a clock that jumps from event to
//! event. Signals may be lost, doubled and delayed; all from one seed.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;
use undertone_call::quorum::{Exchange, Exchanged, NoQuorum, QuorumNodes};
use undertone_call::{Event, Input, Local, Output, Phone, Policy};
use undertone_keys::agreement::{DeviceKey, Refused, SoftwareKey};
use undertone_keys::choice::LegacyPolicy;
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::legacy::{LegacyKey, SoftwareLegacyKey};
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::record::DeviceRecord;
use undertone_keys::secret::Secret;
use undertone_keys::sign::{Account, Server, Signed, SigningKey};
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::testing::{SeededRng, let_in};
use undertone_keys::{CallId, DeviceId, RoomId, Time, UserId, WallTime};
use undertone_protocol::grant::Rights;
use undertone_protocol::{Grant, Protection, Terms};
use undertone_transparency::testing::proven;
use undertone_transparency::{PeerTrust, TrustedPeer};

pub(crate) const START: WallTime = WallTime::from_unix(1_000_000);

/// A device's private key of either kind.
pub(crate) enum Holder {
    P256(SoftwareKey),
    Rsa2048(Box<SoftwareLegacyKey>),
}

impl Holder {
    pub(crate) fn public(&self) -> StaticKey {
        match self {
            Self::P256(key) => StaticKey::P256(*key.public()),
            Self::Rsa2048(key) => StaticKey::Rsa2048(key.public().clone()),
        }
    }

    pub(crate) fn answer(&self, question: &Question) -> Result<Answer, Refused> {
        match (self, question) {
            (Self::P256(key), Question::Agree(peer)) => key.agree(peer).map(Answer::Agreed),
            (Self::Rsa2048(key), Question::Unwrap(wrapped, label)) => key.unwrap(wrapped, label).map(Answer::Unwrapped),
            _ => Err(Refused::Denied),
        }
    }

    /// The P-256 key of a test that knows it is one.
    pub(crate) fn p256(&self) -> &SoftwareKey {
        let Self::P256(key) = self else { panic!("this device has RSA") };
        key
    }
}

pub(crate) struct Device {
    pub(crate) name: &'static str,
    pub(crate) address: Address,
    pub(crate) key: Holder,
    pub(crate) local: Local,
    pub(crate) phone: Phone,
    pub(crate) events: Vec<Event>,
    pub(crate) stored: Vec<CallId>,
    pub(crate) connected: bool,
    /// Refuses to use its agreement key.
    pub(crate) locked: bool,
    /// Keeps the answers of its agreement key in `slowly`, for the test to give in an order of its own.
    pub(crate) slow: bool,
    pub(crate) slowly: Vec<Input>,
}

enum Packet {
    Deliver { from: Address, to: DeviceId, envelope: Vec<u8>, grant: Option<Signed> },
    Undelivered { back: DeviceId, to: DeviceId, call: CallId },
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: SeededRng,
    pub(crate) devices: Vec<Device>,
    lists: BTreeMap<UserId, DeviceList>,
    server: SigningKey<Server>,
    in_flight: Vec<(Time, u64, Packet)>,
    sequence: u64,
    /// Percent of signals lost and doubled.
    pub(crate) loss: u64,
    pub(crate) doubled: u64,
    opened: BTreeMap<CallId, (UserId, Protection)>,
    /// What the server writes into grants, when it lies.
    pub(crate) lie: Option<Protection>,
    /// What the grants of [`Self::any_grant`] say whatever they are asked to.
    pub(crate) granted: Option<Protection>,
    /// What callers do about devices that have RSA alone.
    pub(crate) legacy: LegacyPolicy,
    /// What callers want, and what they say of a swarm.
    pub(crate) terms: Terms,
    pub(crate) offer: Option<Vec<u8>>,
    /// The secrets that callees have left, by what they say of where.
    pub(crate) left: BTreeMap<Vec<u8>, [u8; 32]>,
    /// What the swarm does.
    pub(crate) swarm: Swarm,
    /// Every envelope that passed the server.
    pub(crate) seen: Vec<Vec<u8>>,
}

/// What a swarm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swarm {
    /// It gives back what was left there.
    Honest,
    /// It gives back something else.
    Wrong,
    /// It takes nothing.
    TakesNone,
    /// It gives nothing back.
    GivesNone,
    /// It does not answer.
    Silent,
}

impl World {
    /// One device per name; a name that stands twice is one user with two devices.
    pub(crate) fn new(seed: u64, names: &[&'static str]) -> Self {
        let mut rng = SeededRng::new(seed);
        let mut lists: BTreeMap<UserId, DeviceList> = BTreeMap::new();
        let mut accounts: BTreeMap<UserId, SigningKey<Account>> = BTreeMap::new();
        let mut devices = Vec::new();
        for name in names {
            let user = UserId::parse(name.trim_end_matches('*'), "x").unwrap();
            // A name with a star is that of a device which has RSA alone.
            let (identity, key) = (SigningKey::generate(&mut rng), SoftwareKey::generate(&mut rng));
            let key = match name.ends_with('*') {
                true => Holder::Rsa2048(Box::new(SoftwareLegacyKey::generate().unwrap())),
                false => Holder::P256(key),
            };
            let record = DeviceRecord::new(user.clone(), *identity.public(), key.public(), START, (*name).into());
            // A user's first device lets the others in.
            let first: Option<&Device> = devices.iter().find(|device: &&Device| device.address.user == user);
            let record = if let Some(first) = first { let_in(&first.local.identity, record) } else { record };
            let signed = record.sign(&identity);
            let account = accounts.entry(user.clone()).or_insert_with(|| SigningKey::generate(&mut rng));
            let list = match lists.get(&user) {
                None => DeviceList::first(account, &user, signed).unwrap(),
                Some(list) => list.with(account, signed).unwrap(),
            };
            lists.insert(user.clone(), list);
            let address = Address { user, device: record.device };
            let local = Local {
                address: address.clone(),
                identity: Arc::new(identity),
                account: *account.public(),
                key: key.public(),
            };
            let phone = Phone::new(local.clone(), Policy::default(), LegacyPolicy::Ask, Vec::new());
            devices.push(Device {
                name,
                address,
                key,
                local,
                phone,
                events: Vec::new(),
                stored: Vec::new(),
                connected: true,
                locked: false,
                slow: false,
                slowly: Vec::new(),
            });
        }
        let server = SigningKey::generate(&mut rng);
        Self {
            now: Time::ZERO,
            rng,
            devices,
            lists,
            server,
            in_flight: Vec::new(),
            sequence: 0,
            loss: 0,
            doubled: 0,
            opened: BTreeMap::new(),
            lie: None,
            granted: None,
            legacy: LegacyPolicy::Ask,
            terms: Terms::one_to_one(Protection::Blind),
            offer: None,
            left: BTreeMap::new(),
            swarm: Swarm::Honest,
            seen: Vec::new(),
        }
    }

    pub(crate) fn wall(&self) -> WallTime {
        START.plus(self.now.as_millis() / 1000)
    }

    pub(crate) fn peer(&self, user: &UserId) -> TrustedPeer {
        let list = &self.lists[user];
        PeerTrust::pin(&proven(list)).observe(&proven(list)).unwrap()
    }

    fn grant(&self, device: usize, call: CallId, protection: Protection) -> Signed {
        let device = &self.devices[device];
        let record = self.lists[&device.address.user].device(device.address.device).unwrap();
        Grant {
            room: RoomId::from_bytes(*call.as_bytes()),
            call,
            member: device.address.clone(),
            identity: record.identity,
            protection,
            rights: Rights { speak: true, moderate: false },
            expires: self.wall().plus(1000),
            audience: None,
        }
        .sign(&self.server)
    }

    pub(crate) fn call_id(&mut self) -> CallId {
        CallId::random(&mut self.rng)
    }

    pub(crate) fn dial(&mut self, from: usize, to: &str, call: CallId) -> Result<(), undertone_call::DialError> {
        let callee = UserId::parse(to, "x").unwrap();
        self.opened.insert(call, (callee.clone(), Protection::Blind));
        let grant = self.grant(from, call, self.lie.unwrap_or(Protection::Blind));
        let input = Input::Dial {
            peer: self.peer(&callee),
            call,
            terms: self.terms,
            grant,
            wall: self.wall(),
            legacy: self.legacy,
            quorum: self.offer.clone(),
        };
        let result = self.devices[from].phone.handle_input(self.now, input, &mut self.rng);
        self.drain(from);
        result
    }

    pub(crate) fn input(&mut self, device: usize, input: Input) {
        self.devices[device].phone.handle_input(self.now, input, &mut self.rng).unwrap();
        self.drain(device);
    }

    /// Carries out a phone's outputs in order.
    fn drain(&mut self, device: usize) {
        while let Some(output) = self.devices[device].phone.poll_output() {
            match output {
                Output::Store { call, .. } => self.devices[device].stored.push(call),
                Output::Event(event) => self.devices[device].events.push(event),
                Output::Ask { request, question } => {
                    let holder = &self.devices[device];
                    let answer = if holder.locked { Err(Refused::Denied) } else { holder.key.answer(&question) };
                    let input = Input::Answered { request, answer };
                    if holder.slow {
                        self.devices[device].slowly.push(input);
                        continue;
                    }
                    self.devices[device].phone.handle_input(self.now, input, &mut self.rng).unwrap();
                }
                Output::Exchange { request, exchange, .. } => {
                    if let Some(exchanged) = self.exchange(&exchange) {
                        let input = Input::Exchanged { request, exchanged };
                        self.devices[device].phone.handle_input(self.now, input, &mut self.rng).unwrap();
                    }
                }
                Output::Send { to, call, envelope } => self.route(device, &to, call, envelope),
            }
        }
    }

    fn exchange(&mut self, exchange: &Exchange) -> Option<Result<Exchanged, NoQuorum>> {
        let nodes = QuorumNodes { threshold: 17, nodes: 25, good: 20 };
        let secret = |bytes: [u8; 32]| QuorumSecret::new(Secret::from_slice(&bytes).unwrap());
        Some(match (exchange, self.swarm) {
            (_, Swarm::Silent) => return None,
            (Exchange::Give { .. }, Swarm::TakesNone) | (Exchange::Take { .. }, Swarm::GivesNone) => Err(NoQuorum),
            (Exchange::Give { offer }, _) => {
                assert_eq!(Some(offer), self.offer.as_ref());
                let mut drawn = [0; 32];
                self.rng.fill_bytes(&mut drawn);
                let set = self.rng.next_u64().to_be_bytes().to_vec();
                self.left.insert(set.clone(), drawn);
                Ok(Exchanged { secret: secret(drawn), set, nodes })
            }
            (Exchange::Share { .. }, _) => panic!("a call of two draws its secret"),
            (Exchange::Take { set }, how) => {
                let mut left = self.left[set];
                left[0] ^= u8::from(how == Swarm::Wrong);
                Ok(Exchanged { secret: secret(left), set: Vec::new(), nodes })
            }
        })
    }

    fn route(&mut self, from: usize, to: &Address, call: CallId, envelope: Vec<u8>) {
        self.seen.push(envelope.clone());
        let sender = self.devices[from].address.clone();
        let Some(place) = self.devices.iter().position(|device| device.address == *to) else { return };
        if !self.devices[place].connected {
            self.post(Packet::Undelivered { back: sender.device, to: to.device, call });
            return;
        }
        let opened = self.opened.get(&call).filter(|(callee, _)| *callee == to.user).cloned();
        let grant = opened.map(|(_, protection)| self.grant(place, call, self.lie.unwrap_or(protection)));
        self.post(Packet::Deliver { from: sender, to: to.device, envelope, grant });
    }

    fn post(&mut self, packet: Packet) {
        if self.rng.next_u64() % 100 < self.loss {
            return;
        }
        let delay = Duration::from_millis(5 + self.rng.next_u64() % 100);
        self.sequence += 1;
        {
            if let Packet::Deliver { from, to, envelope, grant } = &packet
                && self.rng.next_u64() % 100 < self.doubled
            {
                let twin =
                    Packet::Deliver { from: from.clone(), to: *to, envelope: envelope.clone(), grant: grant.clone() };
                self.in_flight.push((self.now + delay * 3, self.sequence, twin));
                self.sequence += 1;
            }
        }
        self.in_flight.push((self.now + delay, self.sequence, packet));
    }

    /// Lets everything happen that happens until `end`.
    pub(crate) fn run_until(&mut self, end: Time) {
        loop {
            let packet = self.in_flight.iter().map(|(at, sequence, _)| (*at, *sequence)).min();
            let timer = self.devices.iter().filter_map(|device| device.phone.poll_timeout()).min();
            let next = packet.map(|(at, _)| at).into_iter().chain(timer).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            match packet {
                Some((at, sequence)) if at <= self.now => {
                    let place = self.in_flight.iter().position(|packet| packet.1 == sequence).unwrap();
                    let (_, _, packet) = self.in_flight.remove(place);
                    self.deliver(packet);
                }
                _ => {
                    for device in 0..self.devices.len() {
                        if self.devices[device].phone.poll_timeout().is_some_and(|at| at <= self.now) {
                            self.input(device, Input::Tick);
                        }
                    }
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        self.run_until(self.now + Duration::from_secs(seconds));
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Deliver { from, to, envelope, grant } => {
                let peer = self.peer(&from.user);
                let wall = self.wall();
                let place = self.devices.iter().position(|device| device.address.device == to).unwrap();
                self.input(place, Input::Received { envelope, peer, grant, wall });
            }
            Packet::Undelivered { back, to, call } => {
                let place = self.devices.iter().position(|device| device.address.device == back).unwrap();
                self.input(place, Input::Undelivered { device: to, call });
            }
        }
    }

    /// Brings a recorded envelope to a device, as a hostile server might.
    pub(crate) fn inject(&mut self, device: usize, from: &str, envelope: Vec<u8>, grant: Option<Signed>) {
        let peer = self.peer(&UserId::parse(from, "x").unwrap());
        let wall = self.wall();
        self.input(device, Input::Received { envelope, peer, grant, wall });
    }

    pub(crate) fn any_grant(&self, device: usize, call: CallId, protection: Protection) -> Signed {
        self.grant(device, call, self.granted.unwrap_or(protection))
    }

    /// The words for a device's events, in order.
    pub(crate) fn words(&self, device: usize) -> Vec<String> {
        self.devices[device]
            .events
            .iter()
            .map(|event| match event {
                Event::Ringing { .. } => "ringing".into(),
                Event::Incoming { .. } => "incoming".into(),
                Event::Yielded { .. } => "yielded".into(),
                Event::Established(_) => "established".into(),
                Event::Over { outcome, .. } => outcome.as_str().into(),
                Event::Rejected { reason } => format!("rejected: {reason}"),
            })
            .collect()
    }

    pub(crate) fn established(&self, device: usize) -> Option<&undertone_call::Established> {
        self.devices[device].events.iter().find_map(|event| match event {
            Event::Established(call) => Some(&**call),
            _ => None,
        })
    }
}
