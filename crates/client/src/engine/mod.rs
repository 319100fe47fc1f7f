//! The engine: signalling, one call, its roster and its sealed media, for whatever shell drives it.
//!
//! ```text
//! engine.handle_input(now, input, rng)            what happened
//! while let Some(output) = engine.poll_output()   what to do, in order
//! engine.poll_timeout()                           when to come back with Input::Tick
//! engine.seal_audio(..), engine.open_packet(..)   the media path, without a queue in between
//! ```

mod event;
mod path;
mod roster;

use std::collections::{HashMap, VecDeque};

use undertone_call::{Established, Local, Outcome, Phone, Policy};
use undertone_keys::agreement::{AgreementPublicKey, EphemeralKey, Refused, SharedSecret};
use undertone_keys::choice::LegacyPolicy;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Server, Signed, VerifyingKey};
use undertone_keys::{CallId, Time, UserId, WallTime};
use undertone_media::packet::{Codec, Flags, HEADER_LENGTH, Kind};
use undertone_media::ring::OpenError;
use undertone_media::sframe::SealError;
use undertone_media::{Context, Epoch, FrameInfo, MediaHeader, Ring};
use undertone_protocol::control::{ToMember, ToRelay};
use undertone_protocol::signal::{Reason, ToDevice, ToServer};
use undertone_protocol::{Protection, Terms, VERSION};
use undertone_transparency::TrustedPeer;

pub use event::{CallInfo, Event, Heard, MediaStats, Side};
pub use path::PathState;
use path::{Path, PathNews};

/// The first epoch of a one-to-one call.
const FIRST_EPOCH: Epoch = Epoch(1);
/// How long the server may take to open a call.
const OPENING: core::time::Duration = core::time::Duration::from_secs(10);
/// Envelopes that wait for their sender to be looked up.
const MAX_UNRESOLVED: usize = 32;
/// How long a looked-up peer is used for signals that follow each other.
const PEER_FRESH: core::time::Duration = core::time::Duration::from_secs(30);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The signalling connection stands.
    SignalUp,
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
    /// The answer to [`Output::Agree`].
    Agreed {
        /// The request's number.
        request: u64,
        /// The agreement, or why there is none.
        secret: Result<SharedSecret, Refused>,
    },
    /// A person calls a peer.
    Dial {
        /// Whom.
        peer: TrustedPeer,
        /// How it is to be protected.
        protection: Protection,
    },
    /// A person takes the call that rings.
    Accept,
    /// A person does not take it.
    Decline,
    /// A person ends whatever there is.
    HangUp,
    /// The relay connection stands; its channel binding.
    RelayUp([u8; 32]),
    /// The relay connection is gone, or did not come about.
    RelayDown,
    /// A control message came in on it.
    Relay(ToMember),
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// Why a user could not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The server does not answer, or knows nobody of that name.
    Unavailable,
    /// What it answered is not trusted.
    Untrusted,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send on the signalling connection.
    Signal(ToServer),
    /// Look a user up and prove its devices, for [`Input::Resolved`].
    Resolve(UserId),
    /// Let this device's agreement key agree, for [`Input::Agreed`].
    Agree {
        /// To be repeated.
        request: u64,
        /// With whose key.
        peer: AgreementPublicKey,
    },
    /// Make durable before anything after it is done: this call was accepted.
    Store {
        /// Which call.
        call: CallId,
        /// May be forgotten after this.
        until: WallTime,
    },
    /// Connect to the relay, for [`Input::RelayUp`] or [`Input::RelayDown`]. An older connection is to be closed.
    OpenRelay,
    /// Send on the relay's control stream.
    Relay(ToRelay),
    /// Close the relay connection after what was sent.
    CloseRelay,
    /// Tell whoever is interested.
    Event(Event),
}

/// The media side of an established call.
#[derive(Debug)]
struct Media {
    call: CallId,
    peer: TrustedPeer,
    peer_device: Address,
    peer_grant: [u8; 32],
    grant: Signed,
    ring: Ring,
    path: Path,
    /// Lives and dies with one join.
    _ephemeral: Option<EphemeralKey>,
    join: Option<undertone_keys::JoinId>,
    heard: bool,
    sequence: u32,
    stats: MediaStats,
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
    deadline: Time,
}

/// The engine of one device.
#[derive(Debug)]
pub struct Engine {
    local: Local,
    server: VerifyingKey<Server>,
    phone: Phone,
    media: Option<Media>,
    dialling: Option<Dialling>,
    unopened: HashMap<UserId, Vec<Unopened>>,
    peers: HashMap<UserId, (TrustedPeer, Time)>,
    /// The server's clock when it was last heard, and the local time then.
    clock: Option<(WallTime, Time)>,
    online: bool,
    next_number: u32,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// The engine of `local`, a device of an account on the server with this identity key. `accepted` are the calls
    /// stored by an earlier run.
    #[must_use]
    pub fn new(local: Local, server: VerifyingKey<Server>, accepted: Vec<(CallId, WallTime)>) -> Self {
        let phone = Phone::new(local.clone(), Policy::default(), LegacyPolicy::default(), accepted);
        Self {
            local,
            server,
            phone,
            media: None,
            dialling: None,
            unopened: HashMap::new(),
            peers: HashMap::new(),
            clock: None,
            online: false,
            next_number: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Nothing that happens is an error of the engine.
    pub fn handle_input(&mut self, now: Time, input: Input, rng: &mut impl rand_core::CryptoRng) {
        match input {
            Input::SignalUp => {}
            Input::SignalDown => self.signal_down(now, None),
            Input::Signal(message) => self.signal(now, message, rng),
            Input::Resolved { user, peer } => self.resolved(now, &user, peer, rng),
            Input::Agreed { request, secret } => {
                self.phone(now, undertone_call::Input::Agreed { request, secret }, rng);
            }
            Input::Dial { peer, protection } => self.dial(now, peer, protection, rng),
            Input::Accept => self.phone(now, undertone_call::Input::Accept, rng),
            Input::Decline => self.phone(now, undertone_call::Input::Decline, rng),
            Input::HangUp => self.hang_up(now, rng),
            Input::RelayUp(binding) => self.relay_up(now, binding, rng),
            Input::RelayDown => {
                if let Some(media) = &mut self.media {
                    let news = media.path.lost(now);
                    self.path_news(now, news, rng);
                }
            }
            Input::Relay(message) => self.relay(now, message, rng),
            Input::Tick => self.tick(now, rng),
        }
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
        [self.phone.poll_timeout(), media, dialling].into_iter().flatten().min()
    }

    /// Whether there is a call in whatever state.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.phone.is_busy() || self.dialling.is_some()
    }

    /// Whether the server is connected.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// What the media path counted in the present call.
    #[must_use]
    pub fn media_stats(&self) -> MediaStats {
        self.media.as_ref().map(|media| media.stats).unwrap_or_default()
    }

    /// Whether sound can be sent now.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.media.as_ref().is_some_and(|media| media.path.state() == PathState::Joined)
    }

    /// Seals one frame of encoded sound into a whole packet at the front of `out`; returns the packet's length.
    ///
    /// # Errors
    /// [`SealError::NoKey`] when there is no call or no join: nothing leaves in the clear (rule MED-6).
    pub fn seal_audio(
        &mut self,
        codec: Codec,
        captured_ms: u32,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let media = self.media.as_mut().filter(|media| media.path.state() == PathState::Joined);
        let media = media.ok_or(SealError::NoKey)?;
        let header = MediaHeader {
            flags: Flags { frame_end: true, ..Flags::default() },
            kind: Kind::Audio,
            codec,
            stream: 0,
            fec_ratio: 0,
            sequence: media.sequence,
            timestamp_ms: captured_ms,
            fec_block: 0,
        };
        let (head, rest) = out.split_first_chunk_mut::<HEADER_LENGTH>().ok_or(SealError::Buffer)?;
        let info = FrameInfo { kind: Kind::Audio, codec, context: Context::MAIN_AUDIO, captured_ms };
        let length = media.ring.seal(info, payload, rest)?;
        *head = header.encode();
        media.sequence = media.sequence.wrapping_add(1);
        media.stats.sealed += 1;
        Ok(HEADER_LENGTH + length)
    }

    /// Opens a packet where it stands. `None` for whatever does not open: it is counted and never an error that ends
    /// a stream (rule MED-5).
    pub fn open_packet<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Option<Heard<'b>> {
        let media = self.media.as_mut()?;
        let (header, _) = MediaHeader::decode(packet).ok()?;
        let (_, sealed) = packet.split_at_mut_checked(HEADER_LENGTH)?;
        match media.ring.open(now, header.kind, header.codec, sealed) {
            Ok(frame) => {
                media.stats.opened += 1;
                if !media.heard {
                    media.heard = true;
                    self.outputs.push_back(Output::Event(Event::Hearing { call: media.call }));
                }
                let (sender, number) = (frame.key_id.sender, frame.counter);
                (header.kind == Kind::Audio).then_some(Heard {
                    sender,
                    number,
                    codec: header.codec,
                    payload: frame.payload,
                })
            }
            Err(OpenError::Malformed | _) => {
                media.stats.refused += 1;
                None
            }
        }
    }

    /// Whether a recorded packet opens under this call's keys; for showing what a relay could have seen.
    #[must_use]
    pub fn would_open(&self, packet: &[u8]) -> bool {
        let Some(media) = &self.media else { return false };
        MediaHeader::decode(packet)
            .is_ok_and(|(header, sealed)| media.ring.would_open(header.kind, header.codec, sealed))
    }

    // ---- signalling

    fn wall(&self, now: Time) -> WallTime {
        self.clock.map_or_else(WallTime::default, |(wall, at)| wall.plus(now.since(at).as_secs()))
    }

    fn signal_down(&mut self, now: Time, reason: Option<Reason>) {
        // A server that refuses us says why before we were ever online.
        if core::mem::replace(&mut self.online, false) || reason.is_some() {
            self.outputs.push_back(Output::Event(Event::Offline { reason }));
        }
        if self.dialling.take().is_some() {
            self.refuse("the server went away before it could open the call".into(), Outcome::Offline);
        }
        if let Some(media) = &mut self.media {
            // The relay lives in the same house: look at once whether it is still there.
            media.path.suspect(now);
        }
    }

    fn signal(&mut self, now: Time, message: ToDevice, rng: &mut impl rand_core::CryptoRng) {
        match message {
            ToDevice::Welcome { version: VERSION, now: wall, you } if you == self.local.address => {
                self.clock = Some((wall, now));
                self.online = true;
                self.outputs.push_back(Output::Event(Event::Online));
            }
            ToDevice::Welcome { .. } => self.reject("the server greeted another device or speaks another version"),
            ToDevice::CallOpened { number, grant } => {
                if let Some(dialling) = self.dialling.take_if(|dialling| dialling.number == number) {
                    self.place_call(now, dialling, grant, rng);
                }
            }
            ToDevice::Refused { number, reason } => {
                if self.dialling.take_if(|dialling| dialling.number == number).is_some() {
                    let outcome =
                        if reason == Reason::Protection { Outcome::RefusedByPolicy } else { Outcome::Offline };
                    self.refuse(reason.as_str().into(), outcome);
                }
            }
            ToDevice::Deliver { from, envelope, grant, .. } => self.deliver(now, from, envelope, grant, rng),
            ToDevice::Undelivered { to, call } => {
                self.phone(now, undertone_call::Input::Undelivered { device: to, call }, rng);
            }
            ToDevice::Closing { reason, .. } => self.signal_down(now, Some(reason)),
            ToDevice::KeepAlive => {}
        }
    }

    fn deliver(
        &mut self,
        now: Time,
        from: Address,
        envelope: Vec<u8>,
        grant: Option<Signed>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let known = self
            .peers
            .get(&from.user)
            .filter(|(peer, at)| now.since(*at) < PEER_FRESH && peer.device(from.device).is_some());
        if let Some((peer, _)) = known {
            let (peer, wall) = (peer.clone(), self.wall(now));
            self.phone(now, undertone_call::Input::Received { envelope, peer, grant, wall }, rng);
            return;
        }
        if self.unopened.values().map(Vec::len).sum::<usize>() >= MAX_UNRESOLVED {
            return self.reject("too many envelopes wait for their sender to be looked up");
        }
        let waiting = self.unopened.entry(from.user.clone()).or_default();
        if waiting.is_empty() {
            self.outputs.push_back(Output::Resolve(from.user));
        }
        waiting.push(Unopened { envelope, grant });
    }

    fn resolved(
        &mut self,
        now: Time,
        user: &UserId,
        peer: Result<TrustedPeer, Unresolved>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let waiting = self.unopened.remove(user).unwrap_or_default();
        match peer {
            Ok(peer) => {
                self.peers.retain(|_, (_, at)| now.since(*at) < PEER_FRESH);
                self.peers.insert(user.clone(), (peer.clone(), now));
                for Unopened { envelope, grant } in waiting {
                    let (peer, wall) = (peer.clone(), self.wall(now));
                    self.phone(now, undertone_call::Input::Received { envelope, peer, grant, wall }, rng);
                }
            }
            Err(Unresolved::Untrusted) if !waiting.is_empty() => {
                let reason = format!("{user} wrote, but their account key changed: see `undertone peer show {user}`");
                self.outputs.push_back(Output::Event(Event::Rejected { reason }));
            }
            Err(_) => {}
        }
    }

    // ---- calls

    fn dial(&mut self, now: Time, peer: TrustedPeer, protection: Protection, rng: &mut impl rand_core::CryptoRng) {
        if self.is_busy() {
            return self.refuse("there is a call already".into(), Outcome::Busy);
        }
        if !self.online {
            return self.refuse("the server is not connected".into(), Outcome::Offline);
        }
        let (number, call) = (self.next_number, CallId::random(rng));
        self.next_number += 1;
        let callee = peer.user().clone();
        self.peers.insert(callee.clone(), (peer.clone(), now));
        let standing = peer.standing();
        self.outputs.push_back(Output::Event(Event::Calling { call, peer: callee.clone(), standing }));
        self.outputs.push_back(Output::Signal(ToServer::OpenCall { number, call, callee, protection }));
        let deadline = now + OPENING;
        self.dialling = Some(Dialling { number, call, peer, protection, deadline });
    }

    fn place_call(&mut self, now: Time, dialling: Dialling, grant: Signed, rng: &mut impl rand_core::CryptoRng) {
        let Dialling { call, peer, protection, .. } = dialling;
        if self.phone.ringing_from() == Some(peer.user()) {
            // They called us while the server opened our call: both want the same.
            return self.phone(now, undertone_call::Input::Accept, rng);
        }
        let (terms, wall) = (Terms::one_to_one(protection), self.wall(now));
        let input = undertone_call::Input::Dial { peer, call, terms, grant, wall };
        if let Err(error) = self.phone.handle_input(now, input, rng) {
            return self.refuse(error.to_string(), Outcome::RefusedByPolicy);
        }
        self.drain_phone(now, rng);
    }

    fn hang_up(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if let Some(dialling) = self.dialling.take() {
            let over = Event::Over { call: dialling.call, outcome: Outcome::Cancelled };
            self.outputs.push_back(Output::Event(over));
        }
        self.phone(now, undertone_call::Input::HangUp, rng);
    }

    fn phone(&mut self, now: Time, input: undertone_call::Input, rng: &mut impl rand_core::CryptoRng) {
        if let Err(error) = self.phone.handle_input(now, input, rng) {
            self.refuse(error.to_string(), Outcome::RefusedByPolicy);
        }
        self.drain_phone(now, rng);
    }

    fn drain_phone(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        use undertone_call::{Event as CallEvent, Output as CallOutput};
        while let Some(output) = self.phone.poll_output() {
            match output {
                CallOutput::Store { call, until } => self.outputs.push_back(Output::Store { call, until }),
                CallOutput::Send { to, call, envelope } => {
                    self.outputs.push_back(Output::Signal(ToServer::Send { to, call, envelope }));
                }
                CallOutput::Agree { request, peer } => self.outputs.push_back(Output::Agree { request, peer }),
                CallOutput::Event(CallEvent::Ringing { call }) => self.event(Event::Ringing { call }),
                CallOutput::Event(CallEvent::Incoming { call, caller, standing, terms }) => {
                    self.event(Event::Incoming { call, peer: caller, standing, protection: terms.protection });
                }
                CallOutput::Event(CallEvent::Established(call)) => self.established(now, *call, rng),
                CallOutput::Event(CallEvent::Yielded { ours, theirs }) => self.event(Event::Yielded { ours, theirs }),
                CallOutput::Event(CallEvent::Over { call, outcome }) => self.call_over(call, outcome),
                CallOutput::Event(CallEvent::Rejected { reason }) => self.reject(reason),
            }
        }
    }

    fn established(&mut self, now: Time, call: Established, rng: &mut impl rand_core::CryptoRng) {
        let peer_device = Address { user: call.peer.user().clone(), device: call.device };
        let mut ring = Ring::new(call.call);
        // A new ring takes its first key.
        if ring.install(now, FIRST_EPOCH, call.key).is_err() {
            return self.phone(now, undertone_call::Input::HangUp, rng);
        }
        let info = CallInfo {
            call: call.call,
            role: call.role,
            peer: peer_device.clone(),
            account: *call.peer.account(),
            standing: call.peer.standing(),
            sas: call.sas,
            protection: call.terms.protection,
            epoch: FIRST_EPOCH.0,
        };
        self.media = Some(Media {
            call: call.call,
            peer: call.peer,
            peer_device,
            peer_grant: call.peer_grant,
            grant: call.grant,
            ring,
            path: Path::new(now),
            _ephemeral: None,
            join: None,
            heard: false,
            sequence: 0,
            stats: MediaStats::default(),
        });
        self.event(Event::Established(Box::new(info)));
        self.outputs.push_back(Output::OpenRelay);
    }

    fn call_over(&mut self, call: CallId, outcome: Outcome) {
        if self.media.take_if(|media| media.call == call).is_some() {
            self.outputs.push_back(Output::Relay(ToRelay::Leave));
            self.outputs.push_back(Output::CloseRelay);
        }
        self.event(Event::Over { call, outcome });
    }

    fn tick(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if self.phone.poll_timeout().is_some_and(|at| at <= now) {
            self.phone(now, undertone_call::Input::Tick, rng);
        }
        if self.dialling.take_if(|dialling| dialling.deadline <= now).is_some() {
            self.refuse("the server did not open the call".into(), Outcome::Offline);
        }
        if let Some(media) = &mut self.media {
            media.ring.expire(now);
            let news = media.path.tick(now);
            self.path_news(now, news, rng);
        }
    }

    fn path_news(&mut self, now: Time, news: PathNews, rng: &mut impl rand_core::CryptoRng) {
        let Some(call) = self.media.as_ref().map(|media| media.call) else { return };
        if let Some(ping) = news.ping {
            self.outputs.push_back(Output::Relay(ToRelay::Ping { sent_ms: ping }));
        }
        if news.interrupted {
            self.event(Event::Interrupted { call, who: Side::Here });
        }
        if news.alone {
            self.event(Event::Interrupted { call, who: Side::There });
        }
        if news.open {
            self.outputs.push_back(Output::OpenRelay);
        }
        if news.given_up {
            self.phone(now, undertone_call::Input::PeerGone, rng);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn refuse(&mut self, reason: String, outcome: Outcome) {
        self.event(Event::Refused { reason, outcome });
    }

    fn reject(&mut self, reason: &str) {
        self.event(Event::Rejected { reason: reason.into() });
    }
}
