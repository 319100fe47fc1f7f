//! Devices, the relay's roster, and links that delay, lose and reorder, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::Rng;
use undertone_groups::member::policy::MemberPolicy;
use undertone_groups::member::{Event, Input, Means, Membership, Output, Standpoint};
use undertone_groups::{DeviceRef, GroupId, Store, Suite, Terms};
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::testing::SeededRng;
use undertone_keys::{JoinId, Secret, Time};

use crate::service::{Request, Service};
use crate::world::{ID, List, NOW, Person, load, terms, write_to};

/// A device.
pub struct Device {
    pub person: Person,
    pub membership: Option<Membership>,
    /// The way to the server is there.
    pub online: bool,
    /// What was sent over an older connection is lost.
    pub connection: u64,
    /// The media keys that it has.
    pub ring: BTreeMap<u64, [u8; 32]>,
    pub sealing: Option<u64>,
    pub hold: bool,
    pub own: Option<JoinId>,
    pub events: Vec<(Time, Event)>,
    pub stored: usize,
    /// Counts starts.
    pub life: u64,
}

enum Packet {
    Up {
        from: usize,
        connection: u64,
        request: Request,
    },
    Down {
        to: usize,
        connection: u64,
        input: Input,
    },
    Relay {
        to: usize,
        life: u64,
        input: Input,
    },
    /// What is sealed by `from` under this epoch and key.
    Frame {
        from: usize,
        to: usize,
        epoch: u64,
        key: [u8; 32],
        says: Option<undertone_groups::Authenticator>,
    },
}

pub struct World {
    pub now: Time,
    pub rng: SeededRng,
    pub service: Service,
    pub devices: Vec<Device>,
    pub list: List,
    pub present: BTreeSet<usize>,
    queue: BTreeMap<(Time, u64), Packet>,
    sent: u64,
    /// When the last message of each way of each connection arrives.
    lines: BTreeMap<usize, Time>,
    /// Milliseconds one way: at least, and up to this much more.
    pub delay: (u64, u64),
    /// Of a thousand messages so many are lost.
    pub loss: u64,
    /// Frames go round, so that what does not open is noticed.
    pub media: bool,
    next_media: Time,
    /// Who has sealed under which key: a device, its join, and its start.
    pub sealed: BTreeMap<([u8; 32], JoinId), (usize, u64)>,
    pub policy: MemberPolicy,
    pub trace: bool,
    pub id: GroupId,
    pub terms: Terms,
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const SUITE: Suite = Suite::X25519;

impl World {
    pub fn new(count: usize, seed: u64) -> Self {
        let person = |index: usize| Person::new(&format!("p{index}"), seed.wrapping_mul(1_000) + index as u64);
        let device = |person| Device {
            person,
            membership: None,
            online: false,
            connection: 0,
            ring: BTreeMap::new(),
            sealing: None,
            hold: false,
            own: None,
            events: Vec::new(),
            stored: 0,
            life: 0,
        };
        let devices: Vec<_> = (0..count).map(person).map(device).collect();
        let people: Vec<_> = devices.iter().map(|device| &device.person).collect();
        let list = List::of(&people);
        let refs =
            people.iter().map(|person| DeviceRef { user: person.user.clone(), device: person.device() }).collect();
        let service = Service { devices: refs, keeps: 256, ..Service::default() };
        Self {
            now: Time::from_millis(1_000),
            rng: SeededRng::new(seed ^ 0x5eed),
            service,
            devices,
            list,
            present: BTreeSet::new(),
            queue: BTreeMap::new(),
            sent: 0,
            lines: BTreeMap::new(),
            delay: (10, 30),
            loss: 0,
            media: false,
            next_media: Time::ZERO,
            sealed: BTreeMap::new(),
            policy: MemberPolicy::DEFAULT,
            trace: std::env::var("TRACE").is_ok(),
            id: ID,
            terms: terms(SUITE),
        }
    }

    pub fn of(&self, index: usize) -> DeviceRef {
        self.service.devices[index].clone()
    }

    fn post(&mut self, packet: Packet) {
        let delay = match packet {
            // The relay's roster comes in order.
            Packet::Relay { .. } => ms(20),
            _ => ms(self.delay.0 + self.rng.next_u64() % (self.delay.1 + 1)),
        };
        let lossy = matches!(packet, Packet::Up { .. } | Packet::Down { .. });
        if lossy && self.rng.next_u64() % 1_000 < self.loss {
            return;
        }
        self.sent += 1;
        // One connection keeps the order, each way; nothing else does.
        let at = match packet {
            Packet::Up { from, .. } => self.ordered(from, delay),
            Packet::Down { to, .. } => self.ordered(self.devices.len() + to, delay),
            _ => self.now + delay,
        };
        self.queue.insert((at, self.sent), packet);
    }

    fn ordered(&mut self, line: usize, delay: Duration) -> Time {
        let last = self.lines.entry(line).or_insert(Time::ZERO);
        *last = (*last).max(self.now + delay);
        *last
    }

    /// A device starts, from what is on its disk, and joins the call.
    pub fn join(&mut self, index: usize) {
        let device = &mut self.devices[index];
        device.life += 1;
        device.person.store = if device.person.disk.is_empty() { Store::new() } else { load(&device.person.disk) };
        let me = self.service.devices[index].clone();
        let store = &device.person.store;
        device.membership = Some(Membership::new(self.id, self.terms, me.clone(), self.policy, store));
        device.ring.clear();
        device.sealing = None;
        device.hold = false;
        let life = device.life;
        // The relay has not noticed yet that it was gone: it does now.
        let waiting = self.queue.len();
        self.queue
            .retain(|_, packet| !matches!(packet, Packet::Relay { input: Input::Absent(device), .. } if *device == me));
        let unnoticed = self.queue.len() < waiting;
        for other in self.present.clone() {
            if unnoticed {
                let life = self.devices[other].life;
                self.post(Packet::Relay { to: other, life, input: Input::Absent(me.clone()) });
            }
            let there = self.devices[other].life;
            self.post(Packet::Relay { to: other, life: there, input: Input::Present(me.clone()) });
            let device = self.of(other);
            self.post(Packet::Relay { to: index, life, input: Input::Present(device) });
        }
        self.post(Packet::Relay { to: index, life, input: Input::Complete(true) });
        self.present.insert(index);
        self.connect(index);
    }

    /// A device is given a member's quorum secret.
    pub fn hand_on(&mut self, from: usize, to: usize) {
        let device = &self.devices[from];
        let secret = device.membership.as_ref().and_then(|member| member.quorum(&device.person.store));
        self.drive(to, Input::Quorum(secret.unwrap()));
    }

    /// A device is given something else.
    pub fn mislead(&mut self, index: usize, byte: u8) {
        self.drive(index, Input::Quorum(QuorumSecret::new(Secret::from_slice(&[byte; 32]).unwrap())));
    }

    pub fn lacks_quorum(&self, index: usize) -> bool {
        self.devices[index].membership.as_ref().is_some_and(Membership::lacks_quorum)
    }

    /// A device is gone, with or without a word; the relay notices after a while.
    pub fn vanish(&mut self, index: usize, noticed: Duration) {
        self.devices[index].membership = None;
        self.devices[index].online = false;
        self.devices[index].connection += 1;
        self.service.followers.remove(&index);
        self.present.remove(&index);
        let me = self.of(index);
        for other in self.present.clone() {
            let life = self.devices[other].life;
            self.sent += 1;
            let packet = Packet::Relay { to: other, life, input: Input::Absent(me.clone()) };
            self.queue.insert((self.now + ms(20) + noticed, self.sent), packet);
        }
    }

    pub fn leave(&mut self, index: usize) {
        self.drive(index, Input::Leave);
        self.vanish(index, Duration::ZERO);
    }

    pub fn connect(&mut self, index: usize) {
        self.devices[index].online = true;
        self.devices[index].connection += 1;
        self.drive(index, Input::Reachable);
    }

    pub fn disconnect(&mut self, index: usize) {
        self.devices[index].online = false;
        self.devices[index].connection += 1;
        self.service.followers.remove(&index);
        self.drive(index, Input::Unreachable);
    }

    /// Takes somebody off the list, or puts them on it again.
    pub fn relist(&mut self, index: usize, listed: bool) {
        let person = &self.devices[index].person;
        let entry = (person.user.clone(), *person.identity.public());
        if listed {
            self.list.0.insert(person.device(), entry);
        } else {
            self.list.0.remove(&person.device());
        }
        for other in self.present.clone() {
            self.drive(other, Input::RollChanged);
        }
    }

    pub fn drive(&mut self, index: usize, input: Input) {
        if self.trace {
            let text = format!("{input:?}");
            println!("{} -> {index}: {}", self.now.as_millis(), &text[..text.len().min(140)]);
        }
        let now = self.now;
        let mut outputs = Vec::new();
        {
            let roll = self.list.roll();
            let device = &mut self.devices[index];
            let Some(membership) = &mut device.membership else { return };
            let person = &mut device.person;
            let mut means = Means { store: &mut person.store, identity: &person.identity, roll: &roll, wall: NOW };
            membership.handle_input(now, input, &mut means, &mut person.rng);
            while let Some(output) = membership.poll_output() {
                outputs.push(output);
            }
        }
        for output in outputs {
            self.carry(index, output);
        }
    }

    fn carry(&mut self, index: usize, output: Output) {
        if self.trace {
            let text = format!("{output:?}");
            println!("{} <- {index}: {}", self.now.as_millis(), &text[..text.len().min(140)]);
        }
        let device = &mut self.devices[index];
        let request = match output {
            Output::Store(writes) => {
                device.stored += 1;
                write_to(&mut device.person.disk, &writes);
                return;
            }
            Output::Follow { have } => Request::Follow(have),
            Output::Create { info, tree } => Request::Create { info, tree },
            Output::Upload { upload, before, welcomed } => {
                let there = device
                    .person
                    .disk
                    .values()
                    .any(|value| value.windows(upload.commit.len()).any(|window| window == upload.commit));
                assert!(there, "STO-2: what leaves is durable");
                Request::Upload { upload, before, welcomed }
            }
            Output::Attest(attest) => Request::Attest(attest),
            Output::Reject { epoch } => Request::Reject(epoch),
            Output::Withdraw { epoch, born } => Request::Withdraw(epoch, born),
            Output::AskInfo => Request::Info,
            Output::FetchTree { epoch } => Request::Tree(epoch),
            Output::Publish { package } => Request::Publish(package),
            Output::Claim(devices) => Request::Claim(devices),
            Output::Clear => return device.ring.clear(),
            Output::Install { epoch, key } => {
                let probe = undertone_keys::labels::Label::declare("undertone/test/probe/v1");
                let key = *key.derive::<32>(probe, &[]).expose();
                let held = device.ring.insert(epoch, key);
                assert!(held.is_none_or(|held| held == key), "MED-3: two keys for one epoch");
                return;
            }
            Output::Promote { epoch, .. } => {
                assert!(device.ring.contains_key(&epoch));
                device.sealing = Some(epoch);
                return self.seal(index);
            }
            Output::Hold(hold) => {
                device.hold = hold;
                return self.seal(index);
            }
            Output::Roster { own, members, .. } => {
                device.own = members.iter().find(|member| member.index == own).map(|member| member.join);
                return;
            }
            Output::Say { epoch, authenticator } => return self.say(index, epoch, Some(authenticator)),
            Output::Tell { to, epoch, authenticator } => {
                let device = self.of(index);
                for to in to {
                    let to = self.service.index(&to);
                    let (life, device) = (self.devices[to].life, device.clone());
                    self.post(Packet::Relay { to, life, input: Input::Told { device, epoch, authenticator } });
                }
                return;
            }
            Output::Event(event) => return device.events.push((self.now, event)),
            other => panic!("{other:?}"),
        };
        if device.online {
            let connection = device.connection;
            self.post(Packet::Up { from: index, connection, request });
        }
    }

    /// Notes under which key a device seals from now on. No other start of it may have used that, nor any other device.
    fn seal(&mut self, index: usize) {
        let device = &self.devices[index];
        if let (Some(epoch), false) = (device.sealing, device.hold) {
            let mark = (device.ring[&epoch], device.own.unwrap());
            let who = (index, device.life);
            let before = self.sealed.insert(mark, who);
            assert!(before.is_none_or(|before| before == who), "MED-3: {who:?} seals as {before:?} did");
        }
    }

    fn say(&mut self, from: usize, epoch: u64, says: Option<undertone_groups::Authenticator>) {
        let device = &self.devices[from];
        let (Some(key), false) = (device.ring.get(&epoch).copied(), device.hold) else { return };
        for to in self.present.clone() {
            if to != from {
                self.post(Packet::Frame { from, to, epoch, key, says });
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let (mut still, mut since) = (0, self.now);
        loop {
            still = if since == self.now { still + 1 } else { 0 };
            since = self.now;
            assert!(still < 100_000, "time stands still at {}", self.now.as_millis());
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let timeouts = self.devices.iter().enumerate().filter_map(|(index, device)| {
                device.membership.as_ref().and_then(Membership::poll_timeout).map(|at| (at, index))
            });
            let timeout = timeouts.min();
            let media = self.media.then_some(self.next_media);
            let next = [queued, timeout.map(|(at, _)| at), media].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if media == Some(at) {
                self.next_media = self.now + ms(500);
                for from in self.present.clone() {
                    if let Some(epoch) = self.devices[from].sealing {
                        self.say(from, epoch, None);
                    }
                }
            } else if queued == Some(at) {
                let (_, packet) = self.queue.pop_first().unwrap();
                self.deliver(packet);
            } else if let Some((_, index)) = timeout {
                self.drive(index, Input::Tick);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Up { from, connection, request } => {
                if self.devices[from].connection != connection {
                    return;
                }
                for (to, input) in self.service.handle(self.now, from, request) {
                    let connection = self.devices[to].connection;
                    self.post(Packet::Down { to, connection, input });
                }
            }
            Packet::Down { to, connection, input } => {
                if self.devices[to].connection == connection {
                    self.drive(to, input);
                }
            }
            Packet::Relay { to, life, input } => {
                if self.devices[to].life == life {
                    self.drive(to, input);
                }
            }
            Packet::Frame { from, to, epoch, key, says } => {
                let device = self.of(from);
                match (self.devices[to].ring.get(&epoch).copied(), says) {
                    (Some(held), Some(authenticator)) if held == key => {
                        self.drive(to, Input::Told { device, epoch, authenticator });
                    }
                    (Some(held), None) if held == key => {}
                    // Old frames are let go; the ring does not go back so far.
                    _ if self.devices[to].ring.keys().max().is_some_and(|newest| *newest > epoch) => {}
                    _ => self.drive(to, Input::CannotOpen { device, epoch }),
                }
            }
        }
    }

    /// Why it is not so that all who are present are in one epoch with one key, they alone, and may seal.
    pub fn disagreement(&self) -> Option<String> {
        let mut first: Option<(usize, u64, [u8; 32])> = None;
        for index in &self.present {
            let device = &self.devices[*index];
            let Some(membership) = &device.membership else { return Some(format!("{index} is dead")) };
            let Standpoint::Inside(epoch) = membership.standpoint() else {
                return Some(format!("{index} is {:?}", membership.standpoint()));
            };
            let Some(key) = device.ring.get(&epoch) else { return Some(format!("{index} has no key")) };
            if device.hold || device.sealing != Some(epoch) {
                return Some(format!("{index} holds {} or seals under {:?} of {epoch}", device.hold, device.sealing));
            }
            let (other, at, same) = *first.get_or_insert((*index, epoch, *key));
            if (at, same) != (epoch, *key) {
                return Some(format!("{other} is in {at} and {index} in {epoch}, with one key: {}", same == *key));
            }
            let mut tree: Vec<_> = membership.members().iter().map(|m| m.device_ref()).collect();
            tree.sort();
            let mut here: Vec<_> = self.present.iter().map(|index| self.of(*index)).collect();
            here.sort();
            if tree != here {
                return Some(format!("{index} sees {} leaves for {} devices", tree.len(), here.len()));
            }
        }
        None
    }

    /// Runs until all agree, at most for so long; how long it took.
    pub fn settle(&mut self, most: Duration) -> Duration {
        let begun = self.now;
        while let Some(why) = self.disagreement() {
            assert!(self.now.since(begun) < most, "after {:?}: {why}", self.now.since(begun));
            self.run(ms(10));
        }
        self.now.since(begun)
    }

    pub fn epoch(&self, index: usize) -> Option<u64> {
        match self.devices[index].membership.as_ref()?.standpoint() {
            Standpoint::Inside(epoch) => Some(epoch),
            _ => None,
        }
    }

    pub fn saw(&self, index: usize, what: impl Fn(&Event) -> bool) -> usize {
        self.devices[index].events.iter().filter(|(_, event)| what(event)).count()
    }
}
