//! The driver: one task that owns the engine and carries out what it says.

mod quorum;
mod sounding;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};
use undertone_groups::WriteSet;
use undertone_keys::Time;
use undertone_keys::agreement::Refused;
use undertone_media::packet::MAX_PACKET;
use undertone_protocol::rest::code;
use undertone_protocol::signal::{ToDevice, ToServer};

use super::device_key::Holder;
use super::directory::Directory;
use super::error::{ClientError, ExitClass};
use super::home::Home;
use super::links::{RelayEvent, RelayEventKind, RelayLink, SignalEvent, SignalLink};
use super::measure::Probe;
use super::online::{Command, Loudness, Status, TapReport, Wanted};
use super::open_questions::OpenQuestions;
use super::rooms::RoomBook;
use super::self_audit::{Raised, SelfAuditor};
use super::sound::{Sound, SoundPath};
use super::swarm::Enrolled;
use super::{rng, wall_time};
use crate::audio::FRAME_MS;
use crate::engine::{Compared, Engine, Event, Heard, Input, NotEntered, Output, Record, Unresolved};

/// Events that nobody has read yet. A program that lets so many pile up loses the newest.
pub(super) const EVENTS: usize = 1024;
/// This far behind the clock, sound is not made up for any more: the other side would only have to skip it.
const STALL: Duration = Duration::from_millis(200);
/// How long the holder of the private key may take: a person has to find and touch it.
const KEY_PATIENCE: Duration = Duration::from_secs(20);
/// Ticks between two reports on how the others are heard: a second.
const REPORT: u64 = 50;
/// How long a goodbye may take when nothing is wrong, and when something is.
const GOODBYE: Duration = Duration::from_millis(150);
const LONGEST_GOODBYE: Duration = Duration::from_millis(2_800);
/// How long what is under way at the end may take besides.
const LAST_WORK: Duration = Duration::from_millis(1_000);

/// What whoever holds the handle is shown.
pub(super) struct Shown {
    pub(super) out: mpsc::Sender<Event>,
    pub(super) status: watch::Sender<Status>,
    pub(super) voices: watch::Sender<Vec<Loudness>>,
}

pub(super) struct Driver {
    start: Instant,
    engine: Engine,
    home: Arc<Home>,
    directory: Arc<Directory>,
    book: RoomBook,
    key: Holder,
    shown: Shown,
    /// The swarm that quorum secrets come over.
    enrolled: Option<Arc<Enrolled>>,
    /// Where shares lie that were left for others.
    at_nodes: Arc<Mutex<quorum::AtNodes>>,
    signal: SignalLink,
    signals: mpsc::Receiver<SignalEvent>,
    relay: Option<RelayLink>,
    relay_out: mpsc::Sender<RelayEvent>,
    relay_events: mpsc::Receiver<RelayEvent>,
    generation: u64,
    /// Look-ups and agreements under way.
    answers: JoinSet<Input>,
    /// Walks through the account's history.
    audits: SelfAuditor,
    /// What is about the account and found no room among the events that nobody has read: an alarm is told again until it is
    /// heard.
    unheard: VecDeque<Raised>,
    /// Proofs that the server owes.
    questions: OpenQuestions,
    /// Pins under way to the disk.
    keeping: JoinSet<()>,
    sound: Option<SoundPath>,
    /// Where the packets of an echo are noted that is there to be measured.
    probe: Option<Probe>,
    /// Pings that the server has not answered, the oldest first.
    pings: VecDeque<(Instant, oneshot::Sender<Duration>)>,
    muted: bool,
    /// A drill: quorum secrets are not those that came.
    spoil_quorum: bool,
    /// The shortest round trip to the relay on the present connection.
    least_rtt: Option<Duration>,
}

impl Driver {
    pub(super) fn new(
        engine: Engine,
        home: Arc<Home>,
        book: RoomBook,
        key: Holder,
        shown: Shown,
        enrolled: Option<Arc<Enrolled>>,
    ) -> Self {
        let directory = book.directory().clone();
        let (signal_out, signals) = mpsc::channel(256);
        let (relay_out, relay_events) = mpsc::channel(1024);
        Self {
            start: Instant::now(),
            engine,
            home,
            signal: SignalLink::start(directory.clone(), signal_out),
            audits: SelfAuditor::new(directory.clone()),
            unheard: VecDeque::new(),
            questions: OpenQuestions::new(directory.clone()),
            directory,
            book,
            key,
            shown,
            enrolled,
            at_nodes: Arc::default(),
            signals,
            relay: None,
            relay_out,
            relay_events,
            generation: 0,
            answers: JoinSet::new(),
            keeping: JoinSet::new(),
            sound: None,
            probe: None,
            pings: VecDeque::new(),
            muted: false,
            spoil_quorum: false,
            least_rtt: None,
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(u64::from(FRAME_MS)));
        // Sound has to keep its rate: what was missed is made up for at once, but for a stall.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let out = self.shown.out.clone();
        loop {
            let wait = self.engine.poll_timeout().map_or(Duration::from_secs(3600), |at| at.since(self.now()));
            let sounding = self.sound.as_ref().is_some_and(SoundPath::is_running);
            if !sounding {
                ticks.reset();
            }
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(command) => self.command(command),
                },
                Some(event) = self.signals.recv() => self.signal_event(event),
                Some(event) = self.relay_events.recv() => self.relay_event(event),
                Some(Ok(answer)) = self.answers.join_next(), if !self.answers.is_empty() => {
                    let exchanged = matches!(answer, Input::Exchanged { .. });
                    if let Input::Exchanged { request, exchanged } = &answer {
                        self.exchanged(*request, exchanged.is_err());
                    }
                    self.input(answer);
                    // The call that it was for was over before it began.
                    if exchanged && !self.engine.is_busy() {
                        self.withdraw(None);
                    }
                }
                Some(_) = self.keeping.join_next(), if !self.keeping.is_empty() => {}
                raised = self.audits.next() => raised.into_iter().for_each(|raised| self.raise(raised)),
                room = out.reserve(), if !self.unheard.is_empty() => match room {
                    Ok(room) => {
                        if let Some(raised) = self.unheard.pop_front() {
                            room.send(raised.into());
                        }
                    }
                    Err(_) => self.unheard.clear(),
                },
                events = self.questions.next() => events.into_iter().for_each(|event| self.tell(event)),
                due = ticks.tick(), if sounding => {
                    self.sound_tick();
                    if due.elapsed() > STALL {
                        ticks.reset();
                    }
                }
                () = tokio::time::sleep(wait) => self.input(Input::Tick),
            }
            self.hear_kept();
            self.carry_out().await;
        }
        self.input(Input::HangUp);
        self.carry_out().await;
        self.relay = None;
        self.finish_sound();
        self.say_goodbye().await;
    }

    /// Lets the goodbye leave before the connections go with this task: a moment, or as long as the server or the peer
    /// is on its way back.
    async fn say_goodbye(&mut self) {
        let start = Instant::now();
        while start.elapsed() < GOODBYE || (self.engine.has_more_to_say() && start.elapsed() < LONGEST_GOODBYE) {
            tokio::select! {
                Some(event) = self.signals.recv() => self.signal_event(event),
                () = tokio::time::sleep(GOODBYE / 3) => self.input(Input::Tick),
            }
            self.carry_out().await;
        }
        // Shares that nobody needs are taken back, and what is kept is kept; not for ever.
        self.withdraw_all();
        let kept = async { while self.keeping.join_next().await.is_some() {} };
        let _in_time = tokio::time::timeout(LAST_WORK, kept).await;
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.engine.handle_input(now, input, &mut rng());
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Dial { peer, wanted: Wanted { protection, legacy, .. }, quorum, sound } => {
                self.prepare(sound);
                self.input(Input::Dial { peer: *peer, protection, legacy, quorum });
            }
            Command::Echo { sound, probe } => {
                self.prepare(sound);
                self.probe = probe;
                self.input(Input::Echo);
            }
            Command::Ping { answer } => {
                self.pings.push_back((Instant::now(), answer));
                self.signal.send(ToServer::KeepAlive);
            }
            Command::Join { access, quorum, sound } => {
                self.prepare(sound);
                self.input(Input::JoinRoom { access, quorum });
            }
            Command::ForwardSecrecy(wanted) => self.input(Input::ForwardSecrecy(wanted)),
            Command::MuteMember { index, muted } => self.input(Input::MuteMember { index, muted }),
            Command::Accept { sound } => {
                self.prepare(sound);
                self.input(Input::Accept);
            }
            Command::AcceptOnly { call, sound } => {
                self.prepare(sound);
                self.input(Input::AcceptOnly(call));
            }
            Command::Legacy(policy) => self.input(Input::Legacy(policy)),
            Command::Decline => self.input(Input::Decline),
            Command::Refuse => self.input(Input::Refuse),
            Command::HangUp => self.input(Input::HangUp),
            Command::Mute(muted) => self.muted = muted,
            Command::LoseKey => self.engine.lose_key(),
            Command::SpoilQuorum => self.spoil_quorum = true,
            Command::CheckTap { bytes, answer } => {
                let _ = answer.send(self.tap_report(&bytes));
            }
            Command::Explain { answer } => {
                let _ = answer.send(self.engine.explain_room(self.now()).map(Box::new));
            }
            Command::Stop => {}
        }
    }

    fn prepare(&mut self, sound: Sound) {
        if self.sound.as_ref().is_some_and(SoundPath::is_running) {
            return;
        }
        match SoundPath::new(sound) {
            Ok(path) => self.sound = Some(path),
            Err(error) => self.tell(Event::SoundFailed { reason: error.to_string() }),
        }
    }

    fn tap_report(&self, mut file: &[u8]) -> TapReport {
        let mut report = TapReport::default();
        while let Some((length, rest)) = file.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((packet, rest)) = rest.get(16..).and_then(|rest| rest.split_at_checked(length)) else { break };
            report.packets += 1;
            report.opened += u64::from(self.engine.would_open(packet));
            file = rest;
        }
        report
    }

    fn signal_event(&mut self, event: SignalEvent) {
        let input = match event {
            SignalEvent::Up => Input::SignalUp { wall: wall_time() },
            SignalEvent::Down => {
                self.pings.clear();
                Input::SignalDown
            }
            SignalEvent::Distrusted(reason) => return self.tell(Event::Rejected { reason }),
            SignalEvent::Message(message) => {
                if message == ToDevice::KeepAlive
                    && let Some((sent, answer)) = self.pings.pop_front()
                {
                    let _ = answer.send(sent.elapsed());
                }
                if message == ToDevice::DevicesChanged {
                    self.audits.changed();
                }
                Input::Signal(message)
            }
        };
        self.input(input);
    }

    fn relay_event(&mut self, event: RelayEvent) {
        let Some(relay) = self.relay.as_mut().filter(|relay| relay.generation == event.generation) else { return };
        match event.kind {
            RelayEventKind::Up { connection, binding, hop } => {
                self.least_rtt = None;
                relay.connection = Some(connection);
                // It lives in the same house.
                self.signal.hurry();
                self.input(Input::RelayUp { binding, hop });
            }
            RelayEventKind::Control(message) => self.input(Input::Relay(message)),
            RelayEventKind::Down => {
                self.relay = None;
                self.input(Input::RelayDown);
            }
            RelayEventKind::Datagram(bytes) => {
                let now = self.now();
                let mut packet = [0; MAX_PACKET];
                // One too long is cut and does not open: it is counted where all others are.
                let length = bytes.len().min(MAX_PACKET);
                let (Some(packet), Some(bytes)) = (packet.get_mut(..length), bytes.get(..length)) else { return };
                packet.copy_from_slice(bytes);
                if let Some(heard) = self.engine.open_packet(now, packet) {
                    self.heard(&heard);
                }
            }
        }
    }

    /// Frames that came before their key, if it has come by now.
    fn hear_kept(&mut self) {
        let (now, mut packet) = (self.now(), [0; MAX_PACKET]);
        while let Some(heard) = self.engine.poll_kept(now, &mut packet) {
            self.heard(&heard);
        }
    }

    fn heard(&mut self, heard: &Heard<'_>) {
        if let Some(probe) = &self.probe {
            probe.heard(heard.captured_ms);
        }
        if let Some(sound) = &mut self.sound {
            sound.heard(heard);
        }
    }

    /// Does what the engine says, in order.
    async fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Signal(message) => self.signal.send(message),
                Output::Relay(message) => {
                    if let Some(relay) = &self.relay {
                        relay.send(message);
                    }
                }
                Output::OpenRelay => {
                    self.generation += 1;
                    let connector = self.directory.connector().await;
                    self.relay = Some(RelayLink::open(self.generation, connector, self.relay_out.clone()));
                }
                Output::Packet(packet) => {
                    let connection = self.relay.as_ref().and_then(|relay| relay.connection.as_ref());
                    if let Some(Err(error)) = connection.map(|connection| connection.send_datagram(packet.into())) {
                        debug!(%error, "a host's word was not sent");
                    }
                }
                Output::CloseRelay => self.relay = None,
                Output::Store(record) => self.store(record).await,
                Output::StoreGroups(writes) => self.store_groups(writes).await,
                Output::FetchTree { room, call, epoch } => {
                    let directory = self.directory.clone();
                    self.answers.spawn(async move {
                        let tree = directory.tree(room, call, epoch).await;
                        let tree = tree.inspect_err(|error| warn!(%error, "a group's tree was not fetched")).ok();
                        Input::Tree { call, epoch, tree }
                    });
                }
                Output::PublishKeyPackage { suite, message } => {
                    let directory = self.directory.clone();
                    // Whoever has none is let in all the same, a little later: by itself.
                    self.keeping.spawn(async move {
                        if let Err(error) = directory.publish_key_package(suite, message).await {
                            warn!(%error, "a key package was not handed to the server");
                        }
                    });
                }
                Output::ClaimKeyPackages { room, call, suite, devices } => {
                    let directory = self.directory.clone();
                    self.answers.spawn(async move {
                        let claimed = directory.claim_key_packages(room, suite, devices).await;
                        Input::Claimed { call, claimed }
                    });
                }
                Output::Ask { request, question } => {
                    let key = self.key.clone();
                    // A token may take its time.
                    self.answers.spawn(async move {
                        let asked = tokio::task::spawn_blocking(move || key.answer(&question));
                        // One that hangs holds up nobody for ever: whoever waits is told that it cannot be reached.
                        let answer = tokio::time::timeout(KEY_PATIENCE, asked).await;
                        let answer = answer.ok().and_then(Result::ok).unwrap_or(Err(Refused::Unavailable));
                        Input::Answered { request, answer }
                    });
                }
                Output::Exchange { call, request, exchange } => self.exchange(call, request, exchange),
                Output::TakeBack { set } => self.take_back_set(&set),
                Output::Resolve(user) => {
                    let directory = self.directory.clone();
                    self.answers.spawn(async move {
                        let peer = directory.resolve_sender(&user).await.map_err(|error| match error {
                            ClientError::Trust(_) | ClientError::List(_) | ClientError::Proof { .. } => {
                                Unresolved::Untrusted(error.to_string())
                            }
                            _ => Unresolved::Unavailable,
                        });
                        Input::Resolved { user, peer }
                    });
                }
                Output::Compare { number, peer, told } => {
                    let directory = self.directory.clone();
                    self.answers.spawn(async move {
                        let compared = match directory.compare(&told, &peer).await {
                            Ok(()) => Compared::Agrees,
                            Err(ClientError::Told) => Compared::Untrue,
                            Err(error) if error.class() == ExitClass::ProofFailed => {
                                Compared::Disagrees(error.to_string())
                            }
                            Err(error) => {
                                warn!(%error, "what a peer was shown of the log was not compared");
                                Compared::Unavailable
                            }
                        };
                        Input::Compared { number, compared }
                    });
                }
                Output::Enter(room) => {
                    let directory = self.directory.clone();
                    self.answers.spawn(async move { Input::Entered { room, granted: directory.enter(room).await } });
                }
                Output::FetchAccess(room) => {
                    let book = self.book.clone();
                    self.answers.spawn(async move {
                        match book.access(room).await {
                            Ok(access) => Input::Access { room, access: Some(Box::new(access)) },
                            // There is no such room any more for this device's user.
                            Err(ClientError::Refused { code, .. }) if code == code::UNKNOWN_ROOM => {
                                Input::Entered { room, granted: Err(NotEntered::NotListed) }
                            }
                            Err(error) => {
                                warn!(%error, "a room's list was not fetched");
                                Input::Access { room, access: None }
                            }
                        }
                    });
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    /// Nothing that hangs on it may leave before it is on the disk (rule STO-2).
    async fn store_groups(&mut self, writes: WriteSet) {
        let home = self.home.clone();
        let stored = tokio::task::spawn_blocking(move || home.keep_groups(&writes).map_err(|error| (error, writes)));
        let mut owed = match stored.await {
            Ok(Ok(())) => return,
            Ok(Err((error, writes))) => {
                warn!(%error, "this device's groups were not kept");
                Some(writes)
            }
            Err(_) => None,
        };
        while let Some(output) = self.engine.poll_output() {
            if let Output::StoreGroups(later) = output {
                owed = Some(owed.unwrap_or_default().then(later));
            }
        }
        self.input(Input::GroupsNotStored(owed.unwrap_or_default()));
    }

    async fn store(&mut self, record: Record) {
        let home = self.home.clone();
        let stored = tokio::task::spawn_blocking(move || home.remember(record)).await;
        if matches!(stored, Ok(Ok(()))) {
            return;
        }
        match record {
            // What could not be made durable must not be acted on.
            Record::Accepted { call, .. } => {
                self.tell(Event::Rejected {
                    reason: "the home folder cannot be written: the call is not taken".into(),
                });
                self.input(Input::NotStored(call));
            }
            Record::Clock(_) => warn!("the home folder cannot be written: the server's clock is not remembered"),
        }
    }

    fn event(&mut self, event: Event) {
        match &event {
            // Nobody is asked about a call that nobody here could take.
            Event::Incoming { quorum: Some(offer), call, peer, .. } => {
                if let Some(reason) = self.cannot_meet(offer) {
                    let (call, who) = (*call, peer.user.display());
                    self.tell(Event::Rejected { reason: format!("{who} calls with a quorum secret, and {reason}") });
                    return self.input(Input::NoQuorum(call));
                }
            }
            // The other side has what it was given, or will not have it any more.
            Event::Established(info) => self.withdraw(Some(info.call)),
            Event::Over { call, .. } => self.withdraw(Some(*call)),
            Event::Connected { .. } => {
                if let Some(sound) = &mut self.sound {
                    sound.run();
                }
            }
            Event::Online => {
                self.audits.connected();
                self.questions.connected();
            }
            Event::Offline { .. } => self.audits.disconnected(),
            _ => {}
        }
        if matches!(&event, Event::Over { .. } | Event::Refused { .. }) && !self.engine.is_busy() {
            self.finish_sound();
        }
        // Who wrote is a stranger until an invite of theirs has held, or they were met in a room.
        let met = match &event {
            Event::Incoming { peer, .. } => Some(&peer.user),
            Event::Room { event: undertone_call::room::Event::In { member, .. }, .. } => Some(&member.user),
            _ => None,
        };
        if let Some(user) = met {
            let (directory, user) = (self.directory.clone(), user.clone());
            self.keeping.spawn_blocking(move || directory.keep(&user));
        }
        self.tell(event);
    }

    fn tell(&self, event: Event) {
        // Noise leaves room for what matters.
        let noise = matches!(event, Event::Rejected { .. }) && self.shown.out.capacity() < EVENTS / 2;
        if noise || self.shown.out.try_send(event).is_err() {
            debug!("an event was dropped: nobody reads them");
        }
    }

    /// The same of what is about the account: it is not dropped, and waits until there is room.
    fn raise(&mut self, raised: Raised) {
        let full = matches!(self.shown.out.try_send(raised.clone().into()), Err(TrySendError::Full(_)));
        if full && !self.unheard.contains(&raised) {
            self.unheard.push_back(raised);
        }
    }
}
