//! The engine: signalling, one call, its roster and its sealed media, for whatever shell drives it.
//!
//! ```text
//! engine.handle_input(now, input, rng)            what happened
//! while let Some(output) = engine.poll_output()   what to do, in order
//! engine.poll_timeout()                           when to come back with Input::Tick
//! engine.seal_audio(..), engine.open_packet(..)   the media path, without a queue in between
//! while let Some(heard) = engine.poll_kept(..)    after every input: frames whose key has come meanwhile
//! ```

mod calls;
mod counters;
mod door;
mod echo;
mod event;
mod explain;
mod gossip;
mod groups;
mod media;
mod path;
mod quality;
mod reception;
mod rooms;
mod roster;
mod signalling;
mod unsent;

use std::collections::{HashMap, VecDeque};

use undertone_call::quorum::{Exchange, Exchanged, NoQuorum};
use undertone_call::room::{Input as RoomInput, RoomCall};
use undertone_call::{Local, Outcome, Phone, Policy};
use undertone_groups::{Store, WriteSet};
use undertone_keys::agreement::Refused;
use undertone_keys::choice::LegacyPolicy;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Server, Signed, VerifyingKey};
use undertone_keys::static_key::{Answer, Question};
use undertone_keys::{CallId, RoomId, Time, UserId, WallTime};
use undertone_media::HopExporter;
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::signal::{ToDevice, ToServer};
use undertone_protocol::{Access, Protection};
use undertone_transparency::TrustedPeer;

pub use counters::{KeyCounters, MemberCounters, RECOVERY_BOUNDS, ReasonTimes, Recoveries, SourceCounters};
use door::Door;
use echo::Sounding;
pub use event::{Alarm, CallInfo, Event, Heard, MediaStats, Owed, QuorumPart, QuorumStep, RoomInfo, Side};
pub use explain::{HeldEpoch, RoomExplained, RoomKeySource};
pub use gossip::Compared;
use gossip::Comparing;
use media::Media;
use path::PathNews;
pub use path::PathState;
use rooms::Entering;
use unsent::Unsent;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The signalling connection stands; this machine's own clock at that moment.
    SignalUp {
        /// The local wall clock.
        wall: WallTime,
    },
    /// The signalling connection is gone.
    SignalDown,
    /// A message came in on it.
    Signal(ToDevice),
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// Whom.
        user: UserId,
        /// Proven, or why not.
        peer: Result<TrustedPeer, Unresolved>,
    },
    /// The answer to [`Output::Ask`].
    Answered {
        /// The request's number.
        request: u64,
        /// What the key gave, or why it did not.
        answer: Result<Answer, Refused>,
    },
    /// The answer to [`Output::Compare`].
    Compared {
        /// The request's number.
        number: u64,
        /// What it came to.
        compared: Compared,
    },
    /// A person calls a peer.
    Dial {
        /// Whom.
        peer: TrustedPeer,
        /// How it is to be protected.
        protection: Protection,
        /// What is done about devices of theirs that have RSA alone.
        legacy: LegacyPolicy,
        /// What this device says of its swarm, where a quorum secret is to be mixed in (rule RKX-5).
        quorum: Option<Vec<u8>>,
    },
    /// The answer to [`Output::Exchange`].
    Exchanged {
        /// The request's number.
        request: u64,
        /// What it brought.
        exchanged: Result<Exchanged, NoQuorum>,
    },
    /// This device does not use the swarm that this call, if it rings, is to have a quorum secret from.
    NoQuorum(CallId),
    /// A person wants to hear themselves, by way of the relay.
    Echo,
    /// A person takes the call that rings.
    Accept,
    /// A person takes this very call, if it still rings.
    AcceptOnly(CallId),
    /// What is done from now on about calls from devices that have RSA alone.
    Legacy(LegacyPolicy),
    /// Whether a room's keys are sealed to a key of each join from now on (the default), or to the device's own (rule
    /// GRP-7).
    ForwardSecrecy(bool),
    /// [`Record::Accepted`] of this call could not be stored.
    NotStored(CallId),
    /// A person does not take it.
    Decline,
    /// The local policy does not allow the call that rings.
    Refuse,
    /// A person ends whatever there is.
    HangUp,
    /// A person wants to be in a room, whose list this device has checked.
    JoinRoom {
        /// The newest version known.
        access: Box<Access>,
        /// What this device says of its swarm, where the room has a quorum secret (rule RKX-5).
        quorum: Option<Vec<u8>>,
    },
    /// The answer to [`Output::Enter`].
    Entered {
        /// Which room.
        room: RoomId,
        /// A grant, or why there is none.
        granted: Result<Signed, NotEntered>,
    },
    /// The answer to [`Output::FetchAccess`]: the newest version, checked. `None`: not now.
    Access {
        /// Which room.
        room: RoomId,
        /// Its list.
        access: Option<Box<Access>>,
    },
    /// The answer to [`Output::FetchTree`].
    Tree {
        /// Of which call's group.
        call: CallId,
        /// Of which epoch.
        epoch: u64,
        /// As the server has it; none where it has none, or does not answer.
        tree: Option<Vec<u8>>,
    },
    /// The answer to [`Output::ClaimKeyPackages`].
    Claimed {
        /// For which call's group.
        call: CallId,
        /// Of each device a key package, as an MLS message, or none.
        claimed: Vec<(Address, Option<Vec<u8>>)>,
    },
    /// [`Output::StoreGroups`] could not be stored: this, and all that came after it.
    GroupsNotStored(WriteSet),
    /// A person silences a member of the room, or lets it be heard again.
    MuteMember {
        /// Whom.
        index: u16,
        /// Whether it is to be silent.
        muted: bool,
    },
    /// The relay connection stands.
    RelayUp {
        /// Its channel binding.
        binding: [u8; 32],
        /// What its TLS session exports for hop keys.
        hop: HopExporter,
    },
    /// The relay connection is gone, or did not come about.
    RelayDown,
    /// A control message came in on it.
    Relay(ToMember),
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// Why a user could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The server does not answer, or knows nobody of that name.
    Unavailable,
    /// What it answered is not trusted; why, for people.
    Untrusted(String),
}

/// Why a room was not opened to this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// The server does not answer, or cannot do it now.
    Unavailable,
    /// This device's user is not on the room's list.
    NotListed,
    /// The server, or a check of what it says, refuses; why, for people.
    Refused(String),
}

/// Questions to the device's key, and exchanges with its swarm, have numbers from here on where a room asks, and below it where a call does.
const ROOM_QUESTIONS: u64 = 1 << 63;

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send on the signalling connection.
    Signal(ToServer),
    /// Look a user up and prove its devices, for [`Input::Resolved`].
    Resolve(UserId),
    /// Ask the holder of this device's private key, for [`Input::Answered`].
    Ask {
        /// To be repeated.
        request: u64,
        /// What is asked.
        question: Question,
    },
    /// Do this with the swarm, for [`Input::Exchanged`] (rule RKX-5).
    Exchange {
        /// For which call.
        call: CallId,
        /// To be repeated.
        request: u64,
        /// What.
        exchange: Exchange,
    },
    /// Take shares back from the swarm that nobody needs any more.
    TakeBack {
        /// Which.
        set: Vec<u8>,
    },
    /// Compare what a peer was shown of the key directory's log with what this device was shown, for [`Input::Compared`] (rule KT-13).
    Compare {
        /// To be repeated.
        number: u64,
        /// Who was shown it.
        peer: UserId,
        /// The peer's checkpoint, as a note.
        told: Vec<u8>,
    },
    /// Ask the server for a grant to a room, for [`Input::Entered`].
    Enter(RoomId),
    /// Fetch newer versions of a room's list and check them, for [`Input::Access`].
    FetchAccess(RoomId),
    /// Make durable before anything after it is done.
    Store(Record),
    /// The same for what changes in this device's MLS groups, as one transaction (rule STO-2). Whoever cannot says
    /// [`Input::GroupsNotStored`], and does nothing of what comes after it but hang up.
    StoreGroups(WriteSet),
    /// Fetch the ratchet tree of an epoch of a call's MLS group, for [`Input::Tree`].
    FetchTree {
        /// Which room.
        room: RoomId,
        /// Which call.
        call: CallId,
        /// Which epoch.
        epoch: u64,
    },
    /// Hand a key package of this device to the server.
    PublishKeyPackage {
        /// MLS's number of its suite.
        suite: u16,
        /// It, as an MLS message.
        message: Vec<u8>,
    },
    /// Ask the server for a key package of each of these, for [`Input::Claimed`].
    ClaimKeyPackages {
        /// In which room.
        room: RoomId,
        /// For which call's group.
        call: CallId,
        /// MLS's number of the suite.
        suite: u16,
        /// Whose.
        devices: Vec<Address>,
    },
    /// Connect to the relay, for [`Input::RelayUp`] or [`Input::RelayDown`]. An older connection is to be closed.
    OpenRelay,
    /// Send on the relay's control stream.
    Relay(ToRelay),
    /// Send a datagram to the relay: sealed, and lost if the network says so.
    Packet(Vec<u8>),
    /// Close the relay connection after what was sent.
    CloseRelay,
    /// Tell whoever is interested.
    Event(Event),
}

/// What an engine must still know after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// This call was accepted and is not accepted again (rule CALL-5).
    Accepted {
        /// Which call.
        call: CallId,
        /// May be forgotten once [`Record::Clock`] is past this.
        until: WallTime,
    },
    /// The newest time that the server's clock has shown.
    Clock(WallTime),
}

/// What an engine knew before a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Every [`Record::Accepted`] that was stored.
    pub accepted: Vec<(CallId, WallTime)>,
    /// The newest [`Record::Clock`].
    pub clock: WallTime,
}

#[derive(Debug)]
struct Unopened {
    envelope: Vec<u8>,
    grant: Option<Signed>,
}

#[derive(Debug)]
struct Dialling {
    number: u32,
    call: CallId,
    peer: TrustedPeer,
    protection: Protection,
    legacy: LegacyPolicy,
    quorum: Option<Vec<u8>>,
    deadline: Time,
}

/// The engine of one device.
#[derive(Debug)]
pub struct Engine {
    local: Local,
    server: VerifyingKey<Server>,
    phone: Phone,
    media: Option<Media>,
    /// The room that the media belong to, if it is one.
    room: Option<Box<RoomCall>>,
    /// What the room has asked of the swarm and is not done, by the number that the shell knows it by: a later room counts anew.
    room_exchanges: HashMap<u64, u64>,
    next_exchange: u64,
    /// This device's MLS groups, while no room has them.
    groups: Option<Store>,
    /// What the disk did not take of them.
    groups_owed: Option<WriteSet>,
    entering: Option<Entering>,
    forward_secrecy: bool,
    dialling: Option<Dialling>,
    sounding: Option<Sounding>,
    comparing: Option<Comparing>,
    /// What a host of the room was shown, being compared: number and host.
    comparing_in_room: Option<(u64, UserId)>,
    unopened: HashMap<UserId, Vec<Unopened>>,
    peers: HashMap<UserId, (TrustedPeer, Time)>,
    /// The server's clock when it was last heard, and the local time then.
    clock: Option<(WallTime, Time)>,
    /// The newest time the server's clock has shown, in this run or an earlier one, as it was last stored.
    newest: WallTime,
    /// This machine's own clock when signalling came up.
    local_clock: Option<(WallTime, Time)>,
    online: bool,
    /// Signals that the call machine said while the server was away.
    unsent: Unsent,
    door: Door,
    next_number: u32,
    next_comparison: u64,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// The engine of `local`, a device of an account on the server with this identity key. `memory` is what earlier
    /// runs stored.
    #[must_use]
    pub fn new(local: Local, server: VerifyingKey<Server>, memory: Memory) -> Self {
        let phone = Phone::new(local.clone(), Policy::default(), LegacyPolicy::default(), memory.accepted);
        Self {
            local,
            server,
            phone,
            media: None,
            room: None,
            room_exchanges: HashMap::new(),
            next_exchange: ROOM_QUESTIONS,
            groups: None,
            groups_owed: None,
            entering: None,
            forward_secrecy: true,
            dialling: None,
            sounding: None,
            comparing: None,
            comparing_in_room: None,
            next_comparison: 0,
            unopened: HashMap::new(),
            peers: HashMap::new(),
            clock: None,
            newest: memory.clock,
            local_clock: None,
            online: false,
            unsent: Unsent::default(),
            door: Door::default(),
            next_number: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Nothing that happens is an error of the engine.
    pub fn handle_input(&mut self, now: Time, input: Input, rng: &mut impl rand_core::CryptoRng) {
        match input {
            Input::SignalUp { wall } => self.local_clock = Some((wall, now)),
            Input::SignalDown => self.signal_down(now, None, rng),
            Input::Signal(message) => self.signal(now, message, rng),
            Input::Resolved { user, peer } => self.resolved(now, &user, peer, rng),
            Input::Answered { request, answer } => {
                if matches!(answer, Err(Refused::Unavailable)) {
                    self.reject("this device's key cannot be reached: is its token there, and unlocked?");
                }
                match request.checked_sub(ROOM_QUESTIONS) {
                    Some(request) => self.room(now, RoomInput::Answered { request, answer }, rng),
                    None => self.phone(now, undertone_call::Input::Answered { request, answer }, rng),
                }
            }
            Input::Compared { number, compared } => self.compared(now, number, compared, rng),
            Input::Dial { peer, protection, legacy, quorum } => {
                self.dial(now, peer, (protection, legacy, quorum), rng);
            }
            Input::Exchanged { request, exchanged } if request >= ROOM_QUESTIONS => {
                if let Some(request) = self.room_exchanges.remove(&request) {
                    self.room(now, RoomInput::Exchanged { request, exchanged }, rng);
                }
            }
            Input::Exchanged { request, exchanged } => {
                self.phone(now, undertone_call::Input::Exchanged { request, exchanged }, rng);
            }
            Input::NoQuorum(call) => self.phone(now, undertone_call::Input::NoQuorum(call), rng),
            Input::Echo => self.echo(now, rng),
            // Nobody takes what they were not asked about.
            Input::Accept if self.rings_unheard() => {}
            Input::Accept => self.phone(now, undertone_call::Input::Accept, rng),
            Input::AcceptOnly(call) => self.accept_only(now, call, rng),
            Input::Legacy(policy) => self.phone.set_legacy(policy),
            Input::ForwardSecrecy(wanted) => self.forward_secrecy = wanted,
            Input::NotStored(call) => self.not_stored(now, call, rng),
            Input::Decline => self.phone(now, undertone_call::Input::Decline, rng),
            Input::Refuse => self.phone(now, undertone_call::Input::Refuse, rng),
            Input::HangUp => self.hang_up(now, rng),
            Input::RelayUp { binding, hop } => self.relay_up(now, binding, hop, rng),
            Input::RelayDown => {
                if let Some(media) = &mut self.media {
                    let news = media.path.lost(now);
                    self.room(now, RoomInput::Away, rng);
                    self.path_news(now, news, rng);
                }
            }
            Input::JoinRoom { access, quorum } => self.join_room(*access, quorum),
            Input::Entered { room, granted } => self.entered(now, room, granted, rng),
            Input::Access { room, access } => self.access_fetched(now, room, access.map(|access| *access), rng),
            Input::Tree { call, epoch, tree } => self.tree_fetched(now, call, (epoch, tree), rng),
            Input::Claimed { call, claimed } => self.packages_claimed(now, call, claimed, rng),
            Input::GroupsNotStored(writes) => self.groups_not_stored(now, writes),
            Input::MuteMember { index, muted } => self.mute_member(index, muted),
            Input::Relay(message) => self.relay(now, message, rng),
            Input::Tick => self.tick(now, rng),
        }
        self.mind_arrivals(now);
    }

    /// The next thing to do. `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let media = self.media.as_ref().and_then(|media| media.path.poll_timeout());
        let dialling = self.dialling.as_ref().map(|dialling| dialling.deadline);
        let room = self.room.as_ref().and_then(|room| room.poll_timeout());
        let renewal = self.media.as_ref().and_then(|media| media.renew_at);
        let sounding = self.sounding.as_ref().map(|sounding| sounding.deadline);
        let comparing = self.comparing.as_ref().map(|comparing| comparing.deadline);
        let arrivals = self.media.as_ref().and_then(|media| media.arrivals.poll_timeout());
        let room = room.into_iter().chain(renewal).chain(sounding).chain(comparing).chain(arrivals).min();
        [self.phone.poll_timeout(), media, dialling, room].into_iter().flatten().min()
    }

    /// Whether there is a call in whatever state.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.phone.is_busy() || self.dialling.is_some() || self.is_elsewhere()
    }

    /// In a room, or testing oneself: whoever calls is told that this device is busy.
    fn is_elsewhere(&self) -> bool {
        let echo = self.media.as_ref().is_some_and(Media::is_echo) || self.sounding.is_some();
        echo || self.room.is_some() || self.entering.is_some()
    }

    /// Whether the server is connected.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.online
    }

    fn tick(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if self.phone.poll_timeout().is_some_and(|at| at <= now) {
            self.phone(now, undertone_call::Input::Tick, rng);
        }
        if self.dialling.take_if(|dialling| dialling.deadline <= now).is_some() {
            self.refuse("the server did not open the call".into(), Outcome::Offline);
        }
        if self.sounding.take_if(|sounding| sounding.deadline <= now).is_some() {
            self.refuse("the server did not open the echo".into(), Outcome::Offline);
        }
        self.tick_comparing(now, rng);
        if let Some(media) = &mut self.media {
            media.ring.expire(now);
            if let Some(hop) = &mut media.hop {
                hop.expire(now);
            }
            let news = media.path.tick(now);
            self.path_news(now, news, rng);
        }
        self.tick_arrivals(now);
        self.tick_room(now, rng);
    }

    fn path_news(&mut self, now: Time, news: PathNews, rng: &mut impl rand_core::CryptoRng) {
        let Some(call) = self.media.as_ref().map(|media| media.call) else { return };
        if let Some(ping) = news.ping {
            self.outputs.push_back(Output::Relay(ToRelay::Ping { sent_ms: ping }));
        }
        if news.interrupted {
            self.room(now, RoomInput::Away, rng);
            self.event(Event::Interrupted { call, who: Side::Here });
        }
        if news.alone {
            self.event(Event::Interrupted { call, who: Side::There });
        }
        if news.open {
            self.outputs.push_back(Output::OpenRelay);
        }
        if news.given_up && self.room.is_some() {
            self.room_over(now, Outcome::Offline);
        } else if news.given_up && self.media.as_ref().is_some_and(Media::is_echo) {
            self.echo_over(Outcome::Offline);
        } else if news.given_up {
            self.phone(now, undertone_call::Input::PeerGone, rng);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn refuse(&mut self, reason: String, outcome: Outcome) {
        self.event(Event::Refused { reason, outcome });
    }

    fn reject(&mut self, reason: impl Into<String>) {
        self.event(Event::Rejected { reason: reason.into() });
    }
}
