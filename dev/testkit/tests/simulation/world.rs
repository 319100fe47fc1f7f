//! The world: events in the order of their time, and what each does.

use std::collections::{BTreeMap, HashMap, HashSet};

use undertone_call::room::{self, Event as RoomEvent};
use undertone_client::engine::{Compared, Event, Input, NotEntered, Output, Unresolved};
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, RoomId, Secret, Time, WallTime, cbor};
use undertone_media::HopExporter;
use undertone_media::packet::{Codec, HEADER_LENGTH};
use undertone_media::sframe::Header;
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::group::Cause;
use undertone_protocol::limits::GRANT_LIFETIME;
use undertone_protocol::signal::{Letter, ToDevice, ToServer};
use undertone_protocol::{Access, AccessList, Grant, Join, Listed, Protection, Terms, VERSION};
use undertone_relay::{ConnectionId, Input as RelayInput, Limits, Output as RelayOutput, Rooms};

use super::device::Device;
use super::invariants::{Violation, Watch};
use super::link::{Way, below, chance};
use super::schedule::{Act, Counts, Schedule};

/// A frame of each device every so often; more often than that proves nothing more.
const FRAME: u64 = 100_000;
/// The invariants are looked at this often.
const LOOK: u64 = 250_000;
/// How long a REST request waits for a server that is not there.
const GIVE_UP: u64 = 2_000_000;

/// Something that comes at its time.
enum Arrival {
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
    schedule: Schedule,
    pub(crate) devices: Vec<Device>,
    server: SigningKey<Server>,
    rooms: Rooms,
    pub(crate) access: Vec<Access>,
    queue: BTreeMap<(Time, u64), Arrival>,
    number: u64,
    /// Whose each connection is.
    connections: HashMap<ConnectionId, usize>,
    /// Connections that nothing more comes from, which the relay does not know.
    given_up: HashSet<ConnectionId>,
    /// When what was held up on a connection comes through.
    released: HashMap<(ConnectionId, Way), Time>,
    pub(crate) watch: Watch,
    /// The relay puts nobody out, whoever asks.
    lax: bool,
    counts: Counts,
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
            .collect();
        let rooms = Rooms::new(*server.public(), Limits::default());
        let mut world = Self {
            now: Time::ZERO,
            rng,
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
            counts: Counts { schedules: 1, ..Counts::default() },
        };
        world.first_list();
        for (at, act) in world.schedule.acts.clone() {
            world.at(Time::from_millis(at), Arrival::Act(act));
        }
        for device in 0..world.devices.len() {
            world.reconnect(device, 0);
            let at = below(&mut world.rng, FRAME);
            world.at(Time::from_micros(at), Arrival::Frame { device });
        }
        world.at(Time::from_micros(LOOK), Arrival::Look);
        world
    }

    #[expect(clippy::expect_used, reason = "the list is made here")]
    fn first_list(&mut self) {
        let creator = self.devices.first().expect("there are devices");
        let mut members: Vec<Listed> = self.devices.iter().map(listed).collect();
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let list = AccessList {
            format: 1,
            room: RoomId::from_bytes([77; 16]),
            version: 1,
            previous: None,
            name: "simulated".into(),
            terms: Terms::room(Protection::Blind),
            creator: creator.address.user.clone(),
            members,
            signer: creator.address.clone(),
            created: WallTime::from_unix(1),
        };
        self.access.push(Access::sign(list, &creator.identity).expect("a list"));
    }

    /// Lets everything happen.
    ///
    /// # Errors
    /// [`Violation`].
    pub(crate) fn play(&mut self) -> Result<(), Violation> {
        let end = Time::from_millis(self.schedule.end);
        while let Some((at, arrival)) = self.queue.pop_first() {
            if at.0 > end {
                break;
            }
            self.now = at.0;
            self.arrive(arrival)?;
        }
        Ok(())
    }

    /// What happened.
    #[must_use]
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.probes = self.watch.probes;
        counts.letters = self.watch.letters;
        counts
    }

    /// The seed that it was made from.
    pub(crate) const fn seed(&self) -> u64 {
        self.schedule.seed
    }

    fn at(&mut self, at: Time, arrival: Arrival) {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), arrival);
    }

    fn after(&mut self, micros: u64, arrival: Arrival) {
        let at = Time::from_micros(self.now.as_micros() + micros);
        self.at(at, arrival);
    }

    /// The server's wall clock.
    pub(crate) const fn wall(&self) -> WallTime {
        WallTime::from_unix(1_770_000_000 + self.now.as_millis() / 1000)
    }

    fn arrive(&mut self, arrival: Arrival) -> Result<(), Violation> {
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
                self.after(FRAME, Arrival::Frame { device });
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

    /// Whose present connection it is.
    fn holder(&self, connection: ConnectionId) -> Option<usize> {
        let device = *self.connections.get(&connection)?;
        (self.device(device).connection == Some(connection)).then_some(device)
    }

    /// When something comes that was sent in order before the way was cut: it is sent again when there is one, and what
    /// was sent after it waits for it.
    fn waits(&mut self, connection: ConnectionId, way: Way) -> Option<Time> {
        let device = self.device(self.holder(connection)?);
        let again = Time::from_micros(device.relay.cut_until.as_micros() + device.relay.delay + 1);
        let cut = device.relay.is_cut(self.now).then_some(again);
        let before = self.released.get(&(connection, way)).copied().filter(|at| *at > self.now);
        let at = cut.max(before)?;
        self.released.insert((connection, way), at);
        Some(at)
    }

    pub(crate) fn input(&mut self, device: usize, input: Input) {
        let now = self.device(device).local(self.now);
        let Self { devices, rng, .. } = self;
        if let Some(device) = devices.get_mut(device) {
            device.engine.handle_input(now, input, rng);
        }
        self.drain(device);
    }

    fn drain(&mut self, device: usize) {
        while let Some(output) = self.device_mut(device).engine.poll_output() {
            self.carry_out(device, output);
        }
        self.plan(device);
    }

    fn plan(&mut self, device: usize) {
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

    fn carry_out(&mut self, device: usize, output: Output) {
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

    fn relay_way(&mut self, device: usize, way: Way) -> Time {
        let now = self.now;
        let Self { devices, rng, .. } = self;
        devices.get_mut(device).map_or(now, |here| here.relay.ordered(now, way, rng))
    }

    /// A REST request: an answer after a round trip, or none if the way is cut.
    fn ask_server(&mut self, device: usize, answer: Input, lost: Input) {
        let jitter = below(&mut self.rng, 20_000);
        let here = self.device(device);
        let (run, cut) = (here.run, here.server.is_cut(self.now));
        let trip = 2 * here.server.delay + 2_000;
        let back = here.server.cut_until.as_micros().saturating_sub(self.now.as_micros()) + trip;
        self.trace(|| {
            format!("    p{device:03} asks the server{}: {}", if cut { " in vain" } else { "" }, asked(&answer))
        });
        let (wait, input) = if cut { (GIVE_UP.min(back), lost) } else { (trip + jitter, answer) };
        self.after(wait, Arrival::Answer { device, run, input: Box::new(input) });
    }

    fn grant(&self, device: usize) -> Result<undertone_keys::sign::Signed, NotEntered> {
        let list = self.shown_to(device).map(Access::list).ok_or(NotEntered::Unavailable)?;
        let here = self.device(device);
        let listed = list.listed(&here.address.user).ok_or(NotEntered::NotListed)?;
        let grant = Grant {
            room: list.room,
            call: CallId::from_bytes(*list.room.as_bytes()),
            member: here.address.clone(),
            identity: *here.identity.public(),
            protection: list.terms.protection,
            rights: listed.rights,
            expires: self.wall().plus(GRANT_LIFETIME.as_secs()),
        };
        Ok(grant.sign(&self.server))
    }

    fn open_relay(&mut self, device: usize) {
        self.hang(device);
        let here = self.device(device);
        let run = here.run;
        if here.relay.is_cut(self.now) {
            return self.after(GIVE_UP, Arrival::Answer { device, run, input: Box::new(Input::RelayDown) });
        }
        let trip = 3 * here.relay.delay + 5_000;
        self.number += 1;
        let connection = ConnectionId(self.number);
        self.connections.insert(connection, device);
        self.after(trip, Arrival::Connected { device, run, connection });
    }

    fn connected(&mut self, device: usize, run: u64, connection: ConnectionId) {
        if self.device(device).run != run || !self.device(device).alive {
            return;
        }
        let mut binding = [0; 32];
        binding.iter_mut().zip(connection.0.to_be_bytes()).for_each(|(out, byte)| *out = byte);
        let hop = || HopExporter::new(Secret::filled_by(|out| *out = binding));
        self.device_mut(device).connection = Some(connection);
        self.device_mut(device).relay.renew();
        self.relay(RelayInput::Connected { connection, binding, hop: hop() });
        self.input(device, Input::RelayUp { binding, hop: hop() });
    }

    fn hang(&mut self, device: usize) {
        if self.device(device).joined.is_some() {
            self.watch.roster_changed(self.now);
        }
        self.device_mut(device).joined = None;
        if let Some(connection) = self.device_mut(device).connection.take() {
            let cut = self.device(device).relay.is_cut(self.now);
            let at = self.relay_way(device, Way::Up);
            // A relay that hears nothing finds out by itself.
            if cut {
                self.given_up.insert(connection);
            } else {
                self.at(at, Arrival::Closed { connection });
            }
        }
    }

    fn reconnect(&mut self, device: usize, run: u64) {
        let wait = 50_000 + below(&mut self.rng, 400_000);
        self.after(wait, Arrival::Reconnect { device, run });
    }

    fn reconnected(&mut self, device: usize, run: u64) {
        let here = self.device(device);
        if here.run != run || !here.alive || here.session.is_some() {
            return;
        }
        if here.server.is_cut(self.now) {
            return self.reconnect(device, run);
        }
        self.number += 1;
        let (session, now, wall) = (self.number, self.now, self.wall());
        let you = self.device(device).address.clone();
        let here = self.device_mut(device);
        here.session = Some((session, now));
        here.server.renew();
        self.input(device, Input::SignalUp { wall });
        self.deliver(device, ToDevice::Welcome { version: VERSION, now: wall, you });
    }

    fn deliver(&mut self, device: usize, message: ToDevice) -> bool {
        let Some((session, _)) = self.device(device).session else { return false };
        let now = self.now;
        let Self { devices, rng, .. } = self;
        let Some(here) = devices.get_mut(device) else { return false };
        let at = here.server.ordered(now, Way::Down, rng);
        self.at(at, Arrival::ToDevice { device, session, message: Box::new(message) });
        true
    }

    /// The server's part of signalling: it hands on what it cannot read.
    fn serve(&mut self, from: usize, message: ToServer) {
        match message {
            ToServer::Send { to, call, envelope } => self.hand_on(from, &to, call, envelope),
            ToServer::Spread { call, letters, .. } => {
                for Letter { to, envelope } in letters {
                    self.hand_on(from, &to, call, envelope);
                }
            }
            ToServer::Hello { .. } | ToServer::OpenCall { .. } | ToServer::KeepAlive => {}
        }
    }

    fn hand_on(&mut self, from: usize, to: &Address, call: CallId, envelope: Vec<u8>) {
        self.watch.letters += 1;
        self.trace(|| {
            let header = undertone_keys::envelope::Envelope::from_bytes(&envelope).map(|letter| letter.claimed().epoch);
            format!("    letter p{from:03} -> {} epoch {header:?}, {} bytes", to.user, envelope.len())
        });
        let place = self.devices.iter().position(|device| device.address == *to);
        let deliver = ToDevice::Deliver { from: self.device(from).address.clone(), call, envelope, grant: None };
        if !place.is_some_and(|place| self.deliver(place, deliver)) {
            self.deliver(from, ToDevice::Undelivered { to: to.device, call });
        }
    }

    fn relay(&mut self, input: RelayInput) {
        self.rooms.handle_input(self.now, input);
        while let Some(output) = self.rooms.poll_output() {
            match output {
                RelayOutput::Control { connection, message } => {
                    if matches!(message, ToMember::Gone { .. }) {
                        self.watch.roster_changed(self.now);
                    }
                    let Some(device) = self.holder(connection) else { continue };
                    let at = self.relay_way(device, Way::Down);
                    self.at(at, Arrival::ControlDown { connection, message: Box::new(message) });
                }
                RelayOutput::Close { .. } => {}
            }
        }
        while let Some(connection) = self.rooms.poll_ready() {
            while let Some(packet) = self.rooms.poll_media(connection, usize::MAX) {
                if let Some(device) = self.holder(connection) {
                    for at in self.datagram(device) {
                        self.at(at, Arrival::MediaDown { connection, bytes: packet.to_vec() });
                    }
                }
            }
        }
        if let Some(at) = self.rooms.poll_timeout() {
            let at = at.max(Time::from_micros(self.now.as_micros() + 1));
            if self.watch.relay_wakes(self.now, at) {
                self.at(at, Arrival::WakeRelay);
            }
        }
    }

    fn datagram(&mut self, device: usize) -> Vec<Time> {
        let now = self.now;
        let Self { devices, rng, .. } = self;
        let times = devices.get(device).map(|here| here.relay.datagram(now, rng)).unwrap_or_default();
        match times.len() {
            0 => self.counts.lost += 1,
            1 => {}
            _ => self.counts.twice += 1,
        }
        times
    }

    fn told_by_relay(&mut self, connection: ConnectionId, message: ToMember) {
        let Some(device) = self.holder(connection) else { return };
        self.trace(|| format!("    relay -> p{device:03} {}", short(&message)));
        if let ToMember::Joined { index, .. } = &message
            && let Some(join) = self.device(device).pending_join
        {
            let now = self.now;
            self.watch.roster_changed(now);
            self.device_mut(device).joined = Some((join, *index, now));
            self.device_mut(device).sealed.clear();
        }
        self.input(device, Input::Relay(message));
    }

    fn send_packet(&mut self, device: usize, packet: &[u8]) {
        let Some(connection) = self.device(device).connection else { return };
        for at in self.datagram(device) {
            self.at(at, Arrival::MediaUp { connection, bytes: packet.to_vec() });
        }
    }

    /// A frame of this device, on its way and into the books.
    fn speak(&mut self, device: usize) -> Result<(), Violation> {
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
    fn trace(&self, what: impl FnOnce() -> String) {
        if self.schedule.loud {
            println!("{:>7} {}", self.now.as_millis(), what());
        }
    }

    fn note(&mut self, device: usize, event: &Event) {
        self.trace(|| format!("  p{device:03} {event:?}"));
        match event {
            Event::Room { event: RoomEvent::Host { me: true, cause, .. }, .. } => match cause {
                Cause::HandedOver => self.counts.handovers += 1,
                Cause::TakenOver => self.counts.takeovers += 1,
                _ => {}
            },
            Event::Room { event: RoomEvent::Asked { .. }, .. } => self.counts.requests += 1,
            Event::Room { event: RoomEvent::Epoch(_), .. } => self.counts.epochs += 1,
            Event::Over { outcome, .. } => self.over(device, *outcome),
            Event::Refused { .. } => {
                // Not let in, or not now: a person tries again.
                let run = self.device(device).run;
                self.device_mut(device).joined = None;
                if self.device(device).wanted {
                    let access = self.shown_to(device).cloned().map(Box::new);
                    if let Some(access) = access {
                        let again = Box::new(Input::JoinRoom { access });
                        self.after(1_000_000, Arrival::Answer { device, run, input: again });
                    }
                }
            }
            _ => {}
        }
    }

    fn over(&mut self, device: usize, outcome: undertone_call::Outcome) {
        use undertone_call::Outcome::{HostGone, Offline};
        self.device_mut(device).joined = None;
        let again = matches!(outcome, HostGone | Offline) && self.device(device).wanted;
        if again && let Some(access) = self.shown_to(device).cloned().map(Box::new) {
            let run = self.device(device).run;
            self.after(500_000, Arrival::Answer { device, run, input: Box::new(Input::JoinRoom { access }) });
        }
    }

    fn act(&mut self, act: Act) {
        self.trace(|| format!("{act:?}"));
        match act {
            Act::Enter(device) => self.enter(device),
            Act::Leave(device) => {
                self.counts.leaves += 1;
                self.device_mut(device).wanted = false;
                self.input(device, Input::HangUp);
            }
            Act::Crash(device) => self.crash(device),
            Act::Restart(device) => {
                if self.device(device).alive {
                    self.crash(device);
                }
                self.counts.restarts += 1;
                self.device_mut(device).alive = true;
                let run = self.device(device).run;
                self.reconnect(device, run);
                self.enter(device);
            }
            Act::CutServer(device, ms) => self.cut(device, ms, true, false),
            Act::CutRelay(device, ms) => self.cut(device, ms, false, true),
            Act::CutOff(device, ms) => self.cut(device, ms, true, true),
            Act::Relist(device) => self.relist(device, false),
            Act::Ghost(device, lax) => {
                self.lax |= lax;
                self.relist(device, true);
            }
            Act::CrashHost => {
                if let Some(host) = self.host() {
                    self.crash(host);
                }
            }
            Act::CutHost(ms) => {
                if let Some(host) = self.host() {
                    self.cut(host, ms, true, true);
                }
            }
            Act::RestartRelay => self.restart_relay(),
            Act::Weather(device) => {
                let Self { devices, rng, .. } = self;
                if let Some(here) = devices.get_mut(device) {
                    (here.server, here.relay) = (here.server.renewed(rng), here.relay.renewed(rng));
                }
            }
            Act::LoseKey(device) => {
                self.counts.lost_keys += 1;
                self.watch.upset(self.now);
                self.device_mut(device).engine.lose_key();
            }
        }
    }

    fn enter(&mut self, device: usize) {
        if !self.device(device).alive || self.device(device).wanted {
            return;
        }
        self.device_mut(device).wanted = true;
        if let Some(access) = self.shown_to(device).cloned().map(Box::new) {
            self.input(device, Input::JoinRoom { access });
        }
    }

    fn crash(&mut self, device: usize) {
        if !self.device(device).alive {
            return;
        }
        self.counts.crashes += 1;
        if let Some(connection) = self.device_mut(device).connection.take()
            && chance(&mut self.rng, 50)
        {
            // The system closes what the process had open; or the machine is gone with it.
            self.after(50_000, Arrival::Closed { connection });
        }
        let server = *self.server.public();
        self.device_mut(device).end(server);
    }

    fn cut(&mut self, device: usize, ms: u64, server: bool, relay: bool) {
        self.counts.cuts += 1;
        let until = Time::from_millis(self.now.as_millis() + ms);
        let slow = below(&mut self.rng, 2_000_000);
        let now = self.now;
        let here = self.device_mut(device);
        if relay {
            here.relay.cut(now, until);
        }
        if server {
            here.server.cut(now, until);
            // What was under way is lost, and the device finds out in a while.
            if let Some((session, _)) = here.session {
                self.after(slow, Arrival::SignalDown { device, session });
            }
        }
    }

    /// The creator takes somebody off the list, or puts them on it again.
    fn relist(&mut self, device: usize, ghost: bool) {
        let Some(before) = self.access.last().cloned() else { return };
        let (user, creator) = (self.device(device).address.user.clone(), self.device(0));
        if user == creator.address.user || !creator.alive {
            return;
        }
        let mut members = before.list().members.clone();
        if members.iter().any(|listed| listed.user == user) {
            members.retain(|listed| listed.user != user);
        } else {
            members.push(listed(self.device(device)));
        }
        let next = before.next(members, creator.address.clone(), WallTime::from_unix(2));
        let Ok(next) = Access::sign(next, &creator.identity) else { return };
        let (room, version) = (next.list().room, next.list().version);
        let off = next.list().listed(&user).is_none();
        self.counts.relists += 1;
        self.access.push(next);
        let now = self.now;
        self.device_mut(device).ghost = (off && ghost).then_some((before, now));
        for other in (0..self.devices.len()).filter(|other| *other != device || !ghost) {
            self.deliver(other, ToDevice::RoomChanged { room, version });
        }
        if off && ghost {
            self.counts.ghosts += 1;
        } else if off {
            self.device_mut(device).wanted = false;
            let wall = self.wall();
            self.relay(RelayInput::Expel { room, users: vec![user], wall });
        }
    }

    /// The newest list, as the server shows it to this device.
    fn shown_to(&self, device: usize) -> Option<&Access> {
        self.device(device).ghost.as_ref().map(|(list, _)| list).or(self.access.last())
    }

    fn restart_relay(&mut self) {
        self.counts.relay_restarts += 1;
        self.rooms = Rooms::new(*self.server.public(), Limits::default());
        self.watch.relay_restarted();
        for device in 0..self.devices.len() {
            if self.device_mut(device).connection.take().is_some() {
                self.device_mut(device).joined = None;
                let run = self.device(device).run;
                let wait = 20_000 + below(&mut self.rng, 200_000);
                self.after(wait, Arrival::Answer { device, run, input: Box::new(Input::RelayDown) });
            }
        }
    }

    /// Who is host by the word of most of those who are in.
    pub(crate) fn host(&self) -> Option<usize> {
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

    /// The devices that are on the newest list.
    pub(crate) fn listed(&self) -> HashSet<usize> {
        let Some(list) = self.access.last().map(Access::list) else { return HashSet::new() };
        let on = self.devices.iter().enumerate().filter(|(_, device)| list.listed(&device.address.user).is_some());
        on.map(|(place, _)| place).collect()
    }
}

/// What was asked, by its answer.
fn asked(answer: &Input) -> String {
    match answer {
        Input::Resolved { user, .. } => format!("who is {user}"),
        Input::Entered { .. } => "to enter".into(),
        Input::Access { .. } => "for the list".into(),
        _ => "to compare".into(),
    }
}

/// A message of the relay's without its papers.
fn short(message: &ToMember) -> String {
    match message {
        ToMember::Joined { index, members, others } => {
            let members: Vec<u16> = members.iter().map(|member| member.index).collect();
            format!("joined as {index}, with {members:?} of {others}")
        }
        ToMember::Arrived { member } => format!("arrived {}", member.index),
        other => format!("{other:?}"),
    }
}

fn listed(device: &Device) -> Listed {
    Listed { user: device.address.user.clone(), account: *device.list.account(), rights: device.rights }
}
