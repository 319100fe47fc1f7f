//! What comes in on the signalling connection, and whom it is believed of.

use undertone_call::Outcome;
use undertone_call::room::Input as RoomInput;
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{Time, UserId, WallTime};
use undertone_protocol::VERSION;
use undertone_protocol::signal::{Reason, ToDevice, ToServer};
use undertone_transparency::TrustedPeer;

use super::{Engine, Event, Output, Record, Unopened, Unresolved};

/// Envelopes that wait for their sender to be looked up.
const MAX_UNRESOLVED: usize = 32;
/// How long a looked-up peer is used for signals that follow each other.
const PEER_FRESH: core::time::Duration = core::time::Duration::from_secs(30);

/// Seconds by which this machine's clock and the server's may differ and still agree.
const CLOCKS_AGREE: u64 = 300;
/// Seconds by which the server's clock must have gone on before that is stored again.
const CLOCK_STEP: u64 = 60;

/// Who speaks another version, and both versions (rule MED-10).
pub(super) fn other_version(who: &str, theirs: u16) -> String {
    format!("the {who} speaks version {theirs} of the protocol, this client version {VERSION}: bring both up to date")
}

impl Engine {
    pub(super) fn wall(&self, now: Time) -> WallTime {
        self.clock.map_or_else(WallTime::default, |(wall, at)| wall.plus(now.since(at).as_secs()))
    }

    /// Keeps a signal until the server is back: a goodbye has nobody who would send it again.
    pub(super) fn keep(&mut self, now: Time, message: ToServer) {
        self.unsent.keep(now, message);
    }

    /// Whether a goodbye or another signal still waits to be handed over.
    #[must_use]
    pub fn has_more_to_say(&self) -> bool {
        !self.unsent.is_empty() || self.phone.has_more_to_say()
    }

    /// Takes the server's clock. It decides how old an invite may be, so it must not go back to when an old one was
    /// new: a time before one it has shown already is taken only if this machine's own clock agrees with it.
    fn set_clock(&mut self, now: Time, wall: WallTime) {
        let local = self.local_clock.map(|(local, at)| local.plus(now.since(at).as_secs()));
        let agreed = local.is_some_and(|local| local.distance(wall) <= CLOCKS_AGREE);
        if wall < self.newest && !agreed {
            self.reject(
                "the server's clock went back: its newest time is used instead; is this machine's clock right?",
            );
            self.clock = Some((self.newest, now));
            return;
        }
        self.clock = Some((wall, now));
        if wall < self.newest || wall.distance(self.newest) >= CLOCK_STEP {
            self.newest = wall;
            self.outputs.push_back(Output::Store(Record::Clock(wall)));
        }
    }

    pub(super) fn signal_down(&mut self, now: Time, reason: Option<Reason>, rng: &mut impl rand_core::CryptoRng) {
        // A server that refuses us says why before we were ever online.
        if core::mem::replace(&mut self.online, false) || reason.is_some() {
            self.outputs.push_back(Output::Event(Event::Offline { reason }));
        }
        if self.dialling.take().is_some() || self.sounding.take().is_some() {
            self.refuse("the server went away before it could open the call".into(), Outcome::Offline);
        }
        if let Some(media) = &mut self.media {
            // The relay lives in the same house: look at once whether it is still there.
            media.path.suspect(now);
        }
        self.room(now, RoomInput::Unreachable, rng);
    }

    pub(super) fn signal(&mut self, now: Time, message: ToDevice, rng: &mut impl rand_core::CryptoRng) {
        match message {
            ToDevice::Welcome { version: VERSION, now: wall, you } if you == self.local.address => {
                self.set_clock(now, wall);
                self.renew_by_the_clock(now);
                // One that comes again says that the clock was set.
                let was_online = core::mem::replace(&mut self.online, true);
                self.outputs.extend(self.unsent.take(now).map(Output::Signal));
                if !was_online {
                    self.outputs.push_back(Output::Event(Event::Online));
                }
                self.room(now, RoomInput::Reachable, rng);
            }
            ToDevice::Welcome { version: VERSION, .. } => self.reject("the server greeted another device than this"),
            ToDevice::Welcome { version, .. } => self.reject(other_version("server", version)),
            ToDevice::CallOpened { number, grant } => {
                if let Some(dialling) = self.dialling.take_if(|dialling| dialling.number == number) {
                    self.place_call(now, dialling, grant, rng);
                } else if let Some(sounding) = self.sounding.take_if(|sounding| sounding.number == number) {
                    self.begin_echo(now, &sounding, grant, rng);
                }
            }
            ToDevice::Refused { number, reason } => {
                let dialled = self.dialling.take_if(|dialling| dialling.number == number).is_some();
                if dialled || self.sounding.take_if(|sounding| sounding.number == number).is_some() {
                    let outcome =
                        if reason == Reason::Protection { Outcome::RefusedByPolicy } else { Outcome::Offline };
                    self.refuse(reason.as_str().into(), outcome);
                }
            }
            ToDevice::Deliver { from, call, envelope, grant } => {
                if !self.deliver_in_room(now, &from, call, &envelope, rng) {
                    self.deliver(now, from, envelope, grant, rng);
                }
            }
            ToDevice::RoomChanged { room, version } => self.room_changed(now, room, version, rng),
            ToDevice::Knocked { room, user } => self.knocked(now, room, user),
            ToDevice::TurnedAway { room } => self.event(Event::TurnedAway { room }),
            ToDevice::Undelivered { to, call } => {
                self.phone(now, undertone_call::Input::Undelivered { device: to, call }, rng);
            }
            ToDevice::Closing { reason, version } => {
                if reason == Reason::Version {
                    self.reject(other_version("server", version));
                }
                self.signal_down(now, Some(reason), rng);
            }
            // Whoever lacks a key asks for it, and is answered (EKR-1). At changed devices whoever drives the engine looks at once.
            // A device leaves a key package behind when it comes into a room, and has no use for more.
            ToDevice::Returned { .. }
            | ToDevice::KeepAlive
            | ToDevice::DevicesChanged
            | ToDevice::KeyPackagesLow { .. } => {}
            ToDevice::Group { call, news } => self.group_news(now, call, news, rng),
        }
    }

    pub(super) fn deliver(
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

    pub(super) fn resolved(
        &mut self,
        now: Time,
        user: &UserId,
        peer: Result<TrustedPeer, Unresolved>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        self.resolved_in_room(now, user, &peer, rng);
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
            Err(Unresolved::Untrusted(why)) if !waiting.is_empty() => {
                self.reject(format!("{} wrote, but {why}: see `undertone peer show {user}`", user.display()));
            }
            Err(_) => {}
        }
    }
}
