//! The world: events in the order of their time, and what each does.

use std::collections::{BTreeMap, HashMap, HashSet};

use undertone_call::room::{self, Event as RoomEvent};
use undertone_client::engine::{Compared, Event, Input, NotEntered, Output, Unresolved};
use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{Time, cbor};
use undertone_media::packet::{Codec, HEADER_LENGTH};
use undertone_media::sframe::Header;
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::group::Cause;
use undertone_protocol::signal::{ToDevice, ToServer};
use undertone_protocol::{Access, Join, Listed};
use undertone_relay::{ConnectionId, Input as RelayInput, Limits, Rooms};

use undertone_testkit::delivery_house::House;

use super::device::Device;
use super::grouped;
use super::invariants::{Violation, Watch};
use super::link::{Way, below};
use super::schedule::{Act, Counts, Schedule};
use super::swarm::Swarm;

/// A frame of each device every so often; more often than that proves nothing more.
const FRAME: u64 = 100_000;
/// The same in rooms with a group, whose keys change more slowly than a host's.
const FRAME_OF_GROUPS: u64 = 2 * FRAME;
/// The invariants are looked at this often.
const LOOK: u64 = 250_000;
/// How long a REST request waits for a server that is not there.
pub(crate) const GIVE_UP: u64 = 2_000_000;

/// Something that comes at its time.
pub(crate) enum Arrival {
    ToDevice { device: usize, session: u64, message: Box<ToDevice> },
    ToServer { device: usize, session: u64, message: Box<ToServer> },
    ControlUp { connection: ConnectionId, body: Vec<u8> },
    ControlDown { connection: ConnectionId, message: Box<ToMember> },
    MediaUp { connection: ConnectionId, bytes: Vec<u8> },
    MediaDown { connection: ConnectionId, bytes: Vec<u8> },
    Connected { device: usize, run: u64, connection: ConnectionId },
    Closed { connection: ConnectionId },
    Answer { device: usize, run: u64, input: Box<Input> },
    SignalDown { device: usize, session: u64 },
    Reconnect { device: usize, run: u64 },
    Wake { device: usize, number: u64 },
    WakeRelay,
    Frame { device: usize },
    Act(Act),
    Look,
}

/// Everything that there is.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: SeededRng,
    pub(crate) schedule: Schedule,
    pub(crate) devices: Vec<Device>,
    pub(crate) server: SigningKey<Server>,
    pub(crate) rooms: Rooms,
    /// The delivery service, where keys come from a group.
    pub(crate) house: Option<House>,
    pub(crate) access: Vec<Access>,
    pub(crate) queue: BTreeMap<(Time, u64), Arrival>,
    pub(crate) number: u64,
    /// Whose each connection is.
    pub(crate) connections: HashMap<ConnectionId, usize>,
    /// Connections that nothing more comes from, which the relay does not know.
    pub(crate) given_up: HashSet<ConnectionId>,
    /// When what was held up on a connection comes through.
    pub(crate) released: HashMap<(ConnectionId, Way), Time>,
    pub(crate) watch: Watch,
    /// The relay puts nobody out, whoever asks.
    pub(crate) lax: bool,
    pub(crate) swarm: Swarm,
    pub(crate) counts: Counts,
}

impl World {
    /// The world of a schedule, before anything happens.
    ///
    /// # Panics
    /// When its people cannot be made, which has nothing to do with the seed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the names and lists are made here")]
    pub(crate) fn new(schedule: Schedule) -> Self {
        let mut rng = SeededRng::new(schedule.seed ^ 0x5eed_0000_0000_0000);
        let server = SigningKey::<Server>::generate(&mut rng);
        let devices: Vec<Device> = (0..schedule.devices)
            .map(|number| Device::new(number, *server.public(), &mut rng).expect("a device"))
            .enumerate()
            .map(|(number, device)| device.listening(number + schedule.listeners >= schedule.devices))
            .collect();
        let rooms = Rooms::new(*server.public(), Limits::default());
        let house = schedule.grouped.then(|| grouped::house(schedule.seed));
        let mut world = Self {
            now: Time::ZERO,
            rng,
            house,
            schedule,
            devices,
            server,
            rooms,
            access: Vec::new(),
            queue: BTreeMap::new(),
            number: 0,
            connections: HashMap::new(),
            given_up: HashSet::new(),
            released: HashMap::new(),
            watch: Watch::default(),
            lax: false,
            swarm: Swarm::default(),
            counts: Counts { schedules: 1, ..Counts::default() },
        };
        world.first_list();
        for (at, act) in world.schedule.acts.clone() {
            world.at(Time::from_millis(at), Arrival::Act(act));
        }
        for device in 0..world.devices.len() {
            world.reconnect(device, 0);
            let frame = world.frame();
            let at = below(&mut world.rng, frame);
            world.at(Time::from_micros(at), Arrival::Frame { device });
        }
        world.at(Time::from_micros(LOOK), Arrival::Look);
        world
    }

    /// Lets everything happen.
    ///
    /// # Errors
    /// [`Violation`].
    pub(crate) fn play(&mut self) -> Result<(), Violation> {
        let end = Time::from_millis(self.schedule.end);
        while let Some(next) = self.queue.first_entry() {
            let (at, _) = *next.key();
            // Who has come into a group by itself does not do so again for half a minute: what that leads to is waited for.
            if at > end && at > self.watch.settled() {
                break;
            }
            let arrival = next.remove();
            self.now = at;
            self.arrive(arrival)?;
        }
        Ok(())
    }

    const fn frame(&self) -> u64 {
        if self.schedule.grouped { FRAME_OF_GROUPS } else { FRAME }
    }

    /// What happened.
    #[must_use]
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.probes = self.watch.probes;
        counts.letters = self.watch.letters;
        if let Some(house) = &self.house {
            counts.groups.commits += house.delivered().commits;
            counts.groups.lost_commits += house.delivered().lost;
        }
        counts
    }

    /// The seed that it was made from.
    pub(crate) const fn seed(&self) -> u64 {
        self.schedule.seed
    }

    pub(crate) fn at(&mut self, at: Time, arrival: Arrival) {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), arrival);
    }

    pub(crate) fn after(&mut self, micros: u64, arrival: Arrival) {
        let at = Time::from_micros(self.now.as_micros() + micros);
        self.at(at, arrival);
    }

    pub(crate) fn arrive(&mut self, arrival: Arrival) -> Result<(), Violation> {
        match arrival {
            Arrival::ToDevice { device, session, message } => {
                if self.device(device).session.is_some_and(|(here, _)| here == session) {
                    self.input(device, Input::Signal(*message));
                }
            }
            Arrival::ToServer { device, session, message } => {
                if self.device(device).session.is_some_and(|(here, _)| here == session) {
                    self.serve(device, *message);
                }
            }
            Arrival::ControlUp { connection, .. } if self.waits(connection, Way::Up).is_some() => {
                let until = self.waits(connection, Way::Up).unwrap_or(self.now);
                self.at(until, arrival);
            }
            Arrival::ControlDown { connection, .. } if self.waits(connection, Way::Down).is_some() => {
                let until = self.waits(connection, Way::Down).unwrap_or(self.now);
                self.at(until, arrival);
            }
            // What was under way when the device gave its connection up.
            Arrival::ControlUp { connection, .. } if self.given_up.contains(&connection) => {}
            Arrival::ControlUp { connection, body } => {
                let wall = self.wall();
                self.relay(RelayInput::Control { connection, body, wall });
            }
            Arrival::ControlDown { connection, message } => self.told_by_relay(connection, *message),
            Arrival::MediaUp { connection, bytes } => {
                self.relay(RelayInput::Datagram { connection, bytes: bytes.into() });
            }
            Arrival::MediaDown { connection, mut bytes } => {
                let Some(device) = self.holder(connection) else { return Ok(()) };
                let now = self.device(device).local(self.now);
                let _ = self.device_mut(device).engine.open_packet(now, &mut bytes);
                self.drain(device);
            }
            Arrival::Connected { device, run, connection } => self.connected(device, run, connection),
            Arrival::Closed { connection } => self.relay(RelayInput::Disconnected { connection }),
            Arrival::Answer { device, run, input } => {
                if self.device(device).run == run && self.device(device).alive {
                    self.input(device, *input);
                }
            }
            Arrival::SignalDown { device, session } => {
                if self.device(device).session.is_some_and(|(here, _)| here == session) {
                    let run = self.device(device).run;
                    self.device_mut(device).session = None;
                    self.house_loses(device);
                    self.input(device, Input::SignalDown);
                    self.reconnect(device, run);
                }
            }
            Arrival::Reconnect { device, run } => self.reconnected(device, run),
            Arrival::Wake { device, number } => {
                let due = self.device(device).wake.filter(|(_, here)| *here == number);
                if due.is_some() {
                    self.device_mut(device).wake = None;
                    self.input(device, Input::Tick);
                }
            }
            Arrival::WakeRelay => self.relay(RelayInput::Tick),
            Arrival::Frame { device } => {
                self.speak(device)?;
                self.after(self.frame(), Arrival::Frame { device });
            }
            Arrival::Act(act) => self.act(act),
            Arrival::Look => {
                self.look()?;
                self.after(LOOK, Arrival::Look);
            }
        }
        Ok(())
    }

    #[expect(clippy::indexing_slicing, reason = "the numbers are this world's own")]
    pub(crate) fn device(&self, device: usize) -> &Device {
        &self.devices[device]
    }

    #[expect(clippy::indexing_slicing, reason = "the numbers are this world's own")]
    pub(crate) fn device_mut(&mut self, device: usize) -> &mut Device {
        &mut self.devices[device]
    }

    pub(crate) fn input(&mut self, device: usize, input: Input) {
        let now = self.device(device).local(self.now);
        let Self { devices, rng, .. } = self;
        if let Some(device) = devices.get_mut(device) {
            device.engine.handle_input(now, input, rng);
        }
        self.drain(device);
    }

    pub(crate) fn drain(&mut self, device: usize) {
        while let Some(output) = self.device_mut(device).engine.poll_output() {
            self.carry_out(device, output);
        }
        self.plan(device);
    }

    pub(crate) fn plan(&mut self, device: usize) {
        let here = self.device(device);
        let Some(local) = here.engine.poll_timeout() else { return };
        let at = here.global(local).max(Time::from_micros(self.now.as_micros() + 1));
        if here.wake.is_none_or(|(planned, _)| at < planned) {
            self.number += 1;
            let number = self.number;
            self.device_mut(device).wake = Some((at, number));
            self.at(at, Arrival::Wake { device, number });
        }
    }

    pub(crate) fn carry_out(&mut self, device: usize, output: Output) {
        match output {
            Output::Event(event) => self.note(device, &event),
            Output::Signal(message) => {
                let Some((session, _)) = self.device(device).session else { return };
                let now = self.now;
                let Self { devices, rng, .. } = self;
                let Some(here) = devices.get_mut(device) else { return };
                let at = here.server.ordered(now, Way::Up, rng);
                self.at(at, Arrival::ToServer { device, session, message: Box::new(message) });
            }
            Output::Resolve(user) => {
                let peer = self.devices.iter().find(|other| other.address.user == user).map(|other| other.peer.clone());
                let peer = peer.ok_or_else(|| Unresolved::Untrusted("nobody".into()));
                let lost = Input::Resolved { user: user.clone(), peer: Err(Unresolved::Unavailable) };
                self.ask_server(device, Input::Resolved { user, peer }, lost);
            }
            Output::Enter(room) => {
                let granted = self.grant(device);
                let lost = Input::Entered { room, granted: Err(NotEntered::Unavailable) };
                self.ask_server(device, Input::Entered { room, granted }, lost);
            }
            Output::FetchAccess(room) => {
                let access = self.shown_to(device).cloned().map(Box::new);
                self.ask_server(device, Input::Access { room, access }, Input::Access { room, access: None });
            }
            Output::Compare { number, .. } => {
                let compared = Input::Compared { number, compared: Compared::Agrees };
                let lost = Input::Compared { number, compared: Compared::Unavailable };
                self.ask_server(device, compared, lost);
            }
            Output::StoreGroups(_)
            | Output::FetchTree { .. }
            | Output::PublishKeyPackage { .. }
            | Output::ClaimKeyPackages { .. } => self.carry_group(device, output),
            Output::Exchange { request, exchange, .. } => self.exchange(device, request, exchange),
            Output::TakeBack { set } => self.take_back(&set),
            Output::Ask { .. } | Output::Store(_) => {}
            Output::OpenRelay => self.open_relay(device),
            Output::Relay(ToRelay::Remove { .. }) if self.lax => {}
            Output::Relay(message) => {
                if let ToRelay::Join { join, .. } = &message {
                    let join: Option<Join> = cbor::decode(&join.bytes).ok();
                    self.device_mut(device).pending_join = join.map(|join| join.join);
                }
                let (Some(connection), Some(frame)) = (self.device(device).connection, message.frame()) else { return };
                let body = frame.get(2..).unwrap_or_default().to_vec();
                let at = self.relay_way(device, Way::Up);
                self.at(at, Arrival::ControlUp { connection, body });
            }
            Output::Packet(packet) => self.send_packet(device, &packet),
            Output::CloseRelay => self.hang(device),
        }
    }

    /// A frame of this device, on its way and into the books.
    pub(crate) fn speak(&mut self, device: usize) -> Result<(), Violation> {
        let Some(packet) = self.seal(device)? else { return Ok(()) };
        self.send_packet(device, &packet);
        self.plan(device);
        Ok(())
    }

    /// Seals a frame, if the device may.
    pub(crate) fn seal(&mut self, device: usize) -> Result<Option<Vec<u8>>, Violation> {
        if !self.device(device).engine.can_send() {
            return Ok(None);
        }
        let mut packet = [0; 200];
        let sealed = self.device_mut(device).engine.seal_audio(Codec::OPUS_32K, 0, b"a frame", &mut packet);
        let Ok(length) = sealed else { return Ok(None) };
        let packet = packet.get(..length).unwrap_or_default().to_vec();
        if let Some(Ok((header, _))) = packet.get(HEADER_LENGTH..).map(Header::decode) {
            self.sealed_under(device, header.key_id, header.counter)?;
        }
        Ok(Some(packet))
    }

    /// Says what happens, to whoever looks for a fault.
    #[expect(clippy::print_stdout, reason = "whoever plays one seed wants to read it")]
    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.schedule.loud {
            println!("{:>7} {}", self.now.as_millis(), what());
        }
    }

    pub(crate) fn note(&mut self, device: usize, event: &Event) {
        self.trace(|| format!("  p{device:03} {event:?}"));
        match event {
            Event::Room { event: RoomEvent::Host { me: true, cause, .. }, .. } => match cause {
                Cause::HandedOver => self.counts.handovers += 1,
                Cause::TakenOver => self.counts.takeovers += 1,
                _ => {}
            },
            Event::Room { event: RoomEvent::Asked { .. }, .. } => self.counts.requests += 1,
            Event::Room { event: RoomEvent::WrongQuorum { .. }, .. } => self.device_mut(device).misled += 1,
            Event::Room { event: RoomEvent::Group(event), .. } => self.note_group(device, event),
            Event::Room { event: RoomEvent::Epoch(_), .. } => self.counts.epochs += 1,
            Event::Over { outcome, .. } => self.over(device, *outcome),
            Event::Refused { .. } => {
                // Not let in, or not now: a person tries again.
                let run = self.device(device).run;
                self.device_mut(device).joined = None;
                if self.device(device).wanted {
                    let access = self.shown_to(device).cloned().map(Box::new);
                    if let Some(access) = access {
                        let again = Box::new(Input::JoinRoom { access, quorum: self.offer(device) });
                        self.after(1_000_000, Arrival::Answer { device, run, input: again });
                    }
                }
            }
            _ => {}
        }
    }

    pub(crate) fn over(&mut self, device: usize, outcome: undertone_call::Outcome) {
        use undertone_call::Outcome::{HostGone, NoQuorum, Offline};
        self.device_mut(device).joined = None;
        self.device_mut(device).outcome = Some(outcome);
        let again = matches!(outcome, HostGone | Offline | NoQuorum) && self.device(device).wanted;
        if again && let Some(access) = self.shown_to(device).cloned().map(Box::new) {
            let run = self.device(device).run;
            let again = Box::new(Input::JoinRoom { access, quorum: self.offer(device) });
            self.after(500_000, Arrival::Answer { device, run, input: again });
        }
    }

    /// Who is host by the word of most of those who are in.
    pub(crate) fn host(&self) -> Option<usize> {
        if self.is_grouped() {
            // Nobody is; who has been in for longest has the lowest leaf.
            let joined = |device: &Device| device.joined.map(|(.., at)| at);
            let all = self.devices.iter().enumerate().filter_map(|(place, device)| Some((joined(device)?, place)));
            return all.min().map(|(_, place)| place);
        }
        let mut hosts: HashMap<u16, usize> = HashMap::new();
        for device in &self.devices {
            let report = device.joined.and_then(|_| device.engine.keys_report());
            if let Some(host) = report.and_then(|report: room::KeysReport| report.host) {
                *hosts.entry(host).or_default() += 1;
            }
        }
        let index = hosts.into_iter().max_by_key(|(index, count)| (*count, *index)).map(|(index, _)| index)?;
        self.devices.iter().position(|device| device.joined.is_some_and(|(_, here, _)| here == index))
    }
}

/// What was asked, by its answer.
pub(crate) fn asked(answer: &Input) -> String {
    match answer {
        Input::Resolved { user, .. } => format!("who is {user}"),
        Input::Entered { .. } => "to enter".into(),
        Input::Access { .. } => "for the list".into(),
        Input::Tree { epoch, tree, .. } => format!("for the tree of {epoch}: {}", tree.is_some()),
        Input::Claimed { claimed, .. } => format!("for {} key packages", claimed.len()),
        _ => "to compare".into(),
    }
}

/// A message of the relay's without its papers.
pub(crate) fn short(message: &ToMember) -> String {
    match message {
        ToMember::Joined { index, members, others } => {
            let members: Vec<u16> = members.iter().map(|member| member.index).collect();
            format!("joined as {index}, with {members:?} of {others}")
        }
        ToMember::Arrived { member } => format!("arrived {}", member.index),
        other => format!("{other:?}"),
    }
}

pub(crate) fn listed(device: &Device) -> Listed {
    Listed { user: device.address.user.clone(), account: *device.list.account(), rights: device.rights }
}
