//! Calls in rooms: what a person wants of one, and what the room's machine says.

use core::time::Duration;

use undertone_call::Outcome;
use undertone_call::room::{Input as RoomInput, Leaving, Output as RoomOutput, RoomCall, Unproven};
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, RoomId, Time, UserId, WallTime};
use undertone_media::{Ring, Sender};
use undertone_protocol::control::{Refusal, ToMember, ToRelay};
use undertone_protocol::limits::{GRANT_LIFETIME, MAX_LETTERS, MAX_SIGNAL};
use undertone_protocol::signal::{Letter, ToServer};
use undertone_protocol::{Access, Grant, Protection};
use undertone_transparency::TrustedPeer;

use super::media::{Media, With};
use super::path::Path;
use super::signalling::other_version;
use super::{Engine, Event, NotEntered, Output, PathState, ROOM_QUESTIONS, RoomInfo, RoomKeySource, Unresolved};

/// How long before a grant ends a newer one is asked for: whoever comes later must find good papers here.
const RENEWAL: u64 = 600;
/// Bytes that a letter's address and its place in a message take at most.
const LETTER_OVERHEAD: usize = 512;
/// Bytes of a host's or a member's word in its packet at most.
const MAX_WORD: usize = 1_100;
/// After this a grant that could not be had is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// When a grant that ends then is to be renewed.
fn renewal(now: Time, wall: WallTime, expires: WallTime) -> Time {
    now + Duration::from_secs(expires.as_unix().saturating_sub(wall.as_unix()).saturating_sub(RENEWAL).max(60))
}

/// A room that a person wants to be in and the server has not opened yet.
#[derive(Debug)]
pub(super) struct Entering {
    access: Access,
    quorum: Option<Vec<u8>>,
}

impl Engine {
    pub(super) fn join_room(&mut self, access: Access, quorum: Option<Vec<u8>>) {
        if self.is_busy() {
            return self.refuse("there is a call already".into(), Outcome::Busy);
        }
        if access.list().terms.quorum && quorum.is_none() {
            let reason = "the room has a quorum secret, and this device is enrolled in no swarm";
            return self.refuse(reason.into(), Outcome::NoQuorum);
        }
        self.outputs.push_back(Output::Enter(access.list().room));
        self.entering = Some(Entering { access, quorum });
    }

    /// The server's answer: a grant to begin with, or a newer one for the room that this device is in.
    pub(super) fn entered(
        &mut self,
        now: Time,
        room: RoomId,
        granted: Result<Signed, NotEntered>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let entering = self.entering.take_if(|entering| entering.access.list().room == room);
        let granted = granted.and_then(|signed| self.check_grant(now, room, signed));
        match (entering, granted) {
            (Some(entering), Ok((signed, grant))) => self.begin_room(now, entering, signed, &grant),
            (Some(_), Err(NotEntered::Refused(why))) => self.refuse(why, Outcome::RefusedByPolicy),
            (Some(_), Err(NotEntered::NotListed)) => {
                self.refuse("you are not on the room's list".into(), Outcome::Removed);
            }
            (Some(_), Err(NotEntered::Unavailable)) => {
                self.refuse("the server did not open the room".into(), Outcome::Offline);
            }
            (None, granted) => self.regranted(now, room, granted, rng),
        }
    }

    /// A grant that is this server's, for this device and this room, as the list has it.
    fn check_grant(&self, now: Time, room: RoomId, signed: Signed) -> Result<(Signed, Grant), NotEntered> {
        let bad = || NotEntered::Refused("the server's grant is not for this device and room".into());
        let grant = Grant::verify(&signed, &self.server, self.wall(now)).map_err(|_| bad())?;
        let mine = grant.member == self.local.address && grant.identity == *self.local.identity.public();
        if grant.room == room && mine { Ok((signed, grant)) } else { Err(bad()) }
    }

    /// The clock may have been set: by the new time the room's grant may be over sooner than was thought.
    pub(super) fn renew_by_the_clock(&mut self, now: Time) {
        let (wall, is_room) = (self.wall(now), self.room.is_some());
        let Some(media) = self.media.as_mut().filter(|_| is_room) else { return };
        if let Ok(grant) = undertone_keys::cbor::decode::<Grant>(&media.grant.bytes) {
            let at = renewal(now, wall, grant.expires);
            media.renew_at = Some(media.renew_at.map_or(at, |planned| planned.min(at)));
        }
    }

    fn begin_room(&mut self, now: Time, entering: Entering, signed: Signed, grant: &Grant) {
        let Entering { access, quorum } = entering;
        let list = access.list();
        if grant.protection != list.terms.protection || grant.audience != list.terms.audience {
            let reason = "the server's grant is for another kind of room than the list names";
            return self.refuse(reason.into(), Outcome::RefusedByProof);
        }
        let Some(source) = RoomKeySource::of(&list.terms) else {
            return self.refuse("the room's terms are not known here".into(), Outcome::RefusedByPolicy);
        };
        let info = RoomInfo {
            room: list.room,
            call: grant.call,
            name: list.name.clone(),
            creator: list.creator.clone(),
            protection: grant.protection,
            keys: source,
            quorum: list.terms.quorum,
            rights: grant.rights,
            // Keys go to a member of a group by its leaf, and to everybody else by their join's key, if it has one.
            forward_secrecy: self.forward_secrecy
                || (source != RoomKeySource::Host && !list.terms.is_audience(grant.rights)),
        };
        // Before the server has greeted this device, its clock is known by what it has just signed.
        if self.clock.is_none() {
            let signed = grant.expires.as_unix().saturating_sub(GRANT_LIFETIME.as_secs());
            self.clock = Some((WallTime::from_unix(signed), now));
        }
        let (call, protection) = (grant.call, grant.protection);
        let room = RoomCall::new(self.local.clone(), self.server, call, access, grant.rights);
        let room = match source {
            RoomKeySource::Mls => {
                room.with_quorum(quorum.unwrap_or_default()).with_groups(self.take_groups(), self.online)
            }
            RoomKeySource::Host | RoomKeySource::Hop => room,
        };
        self.room = Some(Box::new(if self.forward_secrecy { room } else { room.without_forward_secrecy() }));
        let mut media = Media::new(call, With::Room, signed, Ring::new(call), protection, Path::new(now));
        media.renew_at = Some(renewal(now, self.wall(now), grant.expires));
        self.media = Some(media);
        self.event(Event::RoomEntered(Box::new(info)));
        self.outputs.push_back(Output::OpenRelay);
    }

    /// A newer grant for the room this device is in: it joins anew with it.
    fn regranted(
        &mut self,
        now: Time,
        id: RoomId,
        granted: Result<(Signed, Grant), NotEntered>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let (Some(media), Some(room)) = (&mut self.media, &mut self.room) else { return };
        // An answer about another room, or to nothing that is still asked.
        if room.access().list().room != id {
            return;
        }
        media.asking = false;
        let audience = room.access().list().terms.audience;
        let kind = |grant: &Grant| grant.audience == audience;
        let wall = self.clock.map_or_else(WallTime::default, |(wall, at)| wall.plus(now.since(at).as_secs()));
        match granted {
            Ok((signed, grant)) if grant.call == media.call && grant.protection == media.protection && kind(&grant) => {
                room.regranted(grant.rights);
                media.grant = signed;
                media.renew_at = Some(renewal(now, wall, grant.expires));
                // Whatever connection there was stands on the old one.
                let _ = media.path.lost(now);
                self.outputs.push_back(Output::CloseRelay);
                self.room(now, RoomInput::Away, rng);
            }
            Ok(_) => self.room_over(now, Outcome::Ended),
            Err(NotEntered::NotListed) => self.room_over(now, Outcome::Removed),
            Err(NotEntered::Refused(_)) => self.room_over(now, Outcome::RefusedByPolicy),
            // The server is away for a moment; the way to the relay is tried again meanwhile, and given up in time.
            Err(NotEntered::Unavailable) => media.renew_at = Some(now + ASK_AGAIN),
        }
    }

    /// Feeds the room this device is in, and does what it says.
    pub(super) fn room(&mut self, now: Time, input: RoomInput, rng: &mut impl rand_core::CryptoRng) {
        let place = self.room.as_ref().zip(self.media.as_ref());
        let place = place.map(|(room, media)| (room.access().list().room, media.call));
        let mut letters = Vec::new();
        self.room_does(now, input, &mut letters, rng);
        if let Some((room, call)) = place {
            self.post(now, room, call, letters);
        }
    }

    /// Hands letters to the server: one by itself, and several in as few messages as there can be.
    fn post(&mut self, now: Time, room: RoomId, call: CallId, mut letters: Vec<Letter>) {
        while !letters.is_empty() {
            let mut bytes = 0;
            let fit = letters.iter().take(MAX_LETTERS).take_while(|letter| {
                bytes += letter.envelope.len() + LETTER_OVERHEAD;
                bytes <= MAX_SIGNAL - LETTER_OVERHEAD
            });
            let fit = fit.count().max(1);
            let rest = letters.split_off(letters.len().min(fit));
            let message = match letters.pop() {
                Some(Letter { to, envelope }) if letters.is_empty() => ToServer::Send { to, call, envelope },
                last => {
                    letters.extend(last);
                    ToServer::Spread { call, room, letters }
                }
            };
            letters = rest;
            if self.online {
                self.outputs.push_back(Output::Signal(message));
            } else {
                self.keep(now, message);
            }
        }
    }

    fn room_does(
        &mut self,
        now: Time,
        input: RoomInput,
        letters: &mut Vec<Letter>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(room) = &mut self.room else { return };
        room.handle_input(now, input, rng);
        while let (Some(media), Some(room)) = (&mut self.media, &mut self.room) {
            let Some(output) = room.poll_output() else { return };
            let (id, call) = (room.access().list().room, media.call);
            match output {
                RoomOutput::Resolve(user) => self.outputs.push_back(Output::Resolve(user)),
                RoomOutput::FetchAccess => {
                    self.outputs.push_back(Output::FetchAccess(room.access().list().room));
                }
                RoomOutput::Ask { request, question } => {
                    let request = ROOM_QUESTIONS.saturating_add(request);
                    self.outputs.push_back(Output::Ask { request, question });
                }
                RoomOutput::Store(writes) => self.outputs.push_back(Output::StoreGroups(writes)),
                RoomOutput::Group { number, request } => self.ask_service(id, call, number, request),
                RoomOutput::FetchTree { epoch } => {
                    self.outputs.push_back(Output::FetchTree { room: id, call, epoch });
                }
                RoomOutput::PublishKeyPackage { suite, message } => {
                    self.outputs.push_back(Output::PublishKeyPackage { suite, message });
                }
                RoomOutput::ClaimKeyPackages { suite, devices } => {
                    self.outputs.push_back(Output::ClaimKeyPackages { room: id, call, suite, devices });
                }
                RoomOutput::Clear => media.ring.clear(),
                RoomOutput::Exchange { request, exchange } => {
                    let number = self.next_exchange;
                    self.next_exchange = number.saturating_add(1);
                    self.room_exchanges.insert(number, request);
                    self.outputs.push_back(Output::Exchange { call, request: number, exchange });
                }
                RoomOutput::TakeBack { set } => self.outputs.push_back(Output::TakeBack { set }),
                RoomOutput::Compare { user, told } => self.compare_in_room(user, told),
                RoomOutput::Send { to, envelope, lasting } if self.online || lasting => {
                    letters.push(Letter { to, envelope })
                }
                RoomOutput::Admit(sender) => {
                    let index = sender.index;
                    if media.ring.admit(sender).is_err() {
                        room.handle_input(now, RoomInput::NotAdmitted { index }, rng);
                        self.reject("somebody came into the room with numbers that were used before");
                    }
                }
                RoomOutput::Say(word) => self.say(&word),
                RoomOutput::Hold(held) => media.held = held,
                RoomOutput::Suspend(index) => {
                    media.ring.suspend(index);
                    media.heard_by.remove(&index);
                }
                RoomOutput::Dismiss(index) => {
                    media.ring.dismiss(index);
                    media.heard_by.remove(&index);
                }
                RoomOutput::Install(epoch, key) => {
                    // Keys that were held up and come all at once: the newest of those that wait is used now.
                    if let Some(waiting) = media.ring.overtaken() {
                        let _ = media.ring.promote(now, waiting, true);
                    }
                    if media.ring.install(now, epoch, key).is_err() {
                        room.handle_input(now, RoomInput::NotInstalled { epoch }, rng);
                    }
                }
                RoomOutput::Promote { epoch, removed } => {
                    media.sealed_in_epoch = 0;
                    if media.ring.promote(now, epoch, removed).is_err() {
                        self.reject(format!("epoch {epoch} was to be used and is not there"));
                    }
                }
                // Out of the room nothing can be said to the relay but a join; strangers are looked at again then.
                RoomOutput::Remove(index) if media.path.state() == PathState::Joined => {
                    self.outputs.push_back(Output::Relay(ToRelay::Remove { index }));
                }
                RoomOutput::Send { .. } | RoomOutput::Remove(_) => {}
                RoomOutput::Rejoin => self.ask_again(),
                RoomOutput::Leave(why) => {
                    let (reason, outcome) = match why {
                        Leaving::Proof(reason) => (Some(reason), Outcome::RefusedByProof),
                        Leaving::Removed => (None, Outcome::Removed),
                        Leaving::HostGone => (None, Outcome::HostGone),
                        Leaving::NoQuorum => (None, Outcome::NoQuorum),
                    };
                    if let Some(reason) = reason {
                        self.reject(reason);
                    }
                    self.room_over(now, outcome);
                }
                RoomOutput::Event(event) => {
                    let call = media.call;
                    self.event(Event::Room { call, event });
                }
            }
        }
    }

    /// A word of this device's, as host, to everybody in the room. A datagram that cannot be sent is one that was lost.
    fn say(&mut self, word: &[u8]) {
        let mut packet = vec![0; MAX_WORD];
        if let Ok(length) = self.seal_word(word, &mut packet) {
            packet.truncate(length);
            self.outputs.push_back(Output::Packet(packet));
        }
    }

    pub(super) fn tick_room(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if self.room.as_ref().and_then(|room| room.poll_timeout()).is_some_and(|at| at <= now) {
            self.room(now, RoomInput::Tick, rng);
        }
        // A key that is not there any more is missed also where nobody else says anything.
        if let (Some(media), Some(room)) = (&self.media, &mut self.room)
            && let Some(epoch) = room.keys_report().epoch
            && media.path.state() == PathState::Joined
            && media.ring.current_epoch().is_none()
        {
            let [.., byte] = epoch.to_be_bytes();
            room.lost_key(now, byte);
            self.room(now, RoomInput::Tick, rng);
        }
        let due = |media: &mut Media| media.renew_at.take_if(|at| *at <= now).is_some();
        if self.media.as_mut().is_some_and(due) {
            self.ask_again();
        }
    }

    /// Asks the server for a newer grant; one question at a time.
    fn ask_again(&mut self) {
        let (Some(media), Some(room)) = (&mut self.media, &mut self.room) else { return };
        if !core::mem::replace(&mut media.asking, true) {
            self.outputs.push_back(Output::Enter(room.access().list().room));
        }
    }

    pub(super) fn room_relay(&mut self, now: Time, message: ToMember, rng: &mut impl rand_core::CryptoRng) {
        let wall = self.wall(now);
        let Some(media) = self.media.as_mut().filter(|media| media.is_room()) else { return };
        match message {
            ToMember::Joined { index, members, others } => {
                let (Some(join), PathState::AwaitingJoin) = (media.join.take(), media.path.state()) else { return };
                media.index = index;
                let Address { user, device } = self.local.address.clone();
                if media.ring.join(Sender { user, device, join, index }).is_err() {
                    self.reject("the relay gave an index that was given before");
                    return self.room_over(now, Outcome::RefusedByProof);
                }
                media.muted = false;
                media.path.joined(now, true);
                self.connected();
                self.room(now, RoomInput::Joined { index, members, others, wall }, rng);
            }
            ToMember::Arrived { member } => self.room(now, RoomInput::Arrived { member, wall }, rng),
            ToMember::Gone { index, reason } => self.room(now, RoomInput::Gone { index, reason }, rng),
            ToMember::Muted { index, muted } => {
                let (call, me) = (media.call, media.index == index);
                if me {
                    media.muted = muted;
                }
                self.event(Event::Muted { call, index, muted, me });
            }
            ToMember::Refused { reason: Refusal::ShuttingDown | Refusal::Silent | Refusal::Full, .. } => {
                let news = media.path.lost(now);
                self.outputs.push_back(Output::CloseRelay);
                self.room(now, RoomInput::Away, rng);
                self.path_news(now, news, rng);
            }
            ToMember::Refused { reason: Refusal::Grant | Refusal::Removed, .. } => {
                // A grant ends, or was taken: the server knows whether this device still belongs here.
                let _ = media.path.lost(now);
                self.outputs.push_back(Output::CloseRelay);
                self.room(now, RoomInput::Away, rng);
                self.ask_again();
            }
            ToMember::Refused { reason: Refusal::Version, version } => {
                self.reject(other_version("relay", version));
                self.room_over(now, Outcome::RefusedByPolicy);
            }
            ToMember::Refused { reason: Refusal::Replaced, .. } => self.room_over(now, Outcome::Taken),
            ToMember::Refused { reason, .. } => {
                self.reject(reason.as_str());
                self.room_over(now, Outcome::RefusedByPolicy);
            }
            ToMember::Pong { .. } | ToMember::HopEpoch { .. } => {}
        }
    }

    /// The room is over for this device.
    pub(super) fn room_over(&mut self, now: Time, outcome: Outcome) {
        let counters = self.key_counters(now).map(Box::new);
        self.unfollow();
        if let Some(groups) = self.room.take().and_then(|room| room.into_groups()) {
            self.keep_groups(groups);
        }
        self.comparing_in_room = None;
        self.room_exchanges.clear();
        if let Some(media) = self.media.take_if(|media| media.is_room()) {
            self.outputs.push_back(Output::Relay(ToRelay::Leave));
            self.outputs.push_back(Output::CloseRelay);
            if let Some(counters) = counters {
                self.event(Event::KeysCounted { call: media.call, counters });
            }
            self.event(Event::Over { call: media.call, outcome });
        }
    }

    pub(super) fn leave_if_in_room(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if self.entering.take().is_some() {
            self.refuse("given up before the server had opened the room".into(), Outcome::Cancelled);
        }
        // A host names who follows it, so that nobody waits to see that it has gone.
        self.room(now, RoomInput::HandOver { leaves: true }, rng);
        self.room_over(now, Outcome::Ended);
    }

    /// A person with the right to do so silences somebody, or lets them be heard again.
    pub(super) fn mute_member(&mut self, index: u16, muted: bool) {
        let joined = self.media.as_ref().is_some_and(|media| media.path.state() == PathState::Joined);
        if self.may_moderate() && joined {
            self.outputs.push_back(Output::Relay(ToRelay::Mute { index, muted }));
        }
    }

    /// What there is to say about the keys of the room that this device is in.
    #[must_use]
    pub fn keys_report(&self) -> Option<undertone_call::room::KeysReport> {
        self.room.as_ref().map(|room| room.keys_report())
    }

    /// Wipes the key that is sealed under, as if it had never come: what follows shows how it is asked for again
    /// (rule EKR-1).
    pub fn lose_key(&mut self) {
        if let Some(media) = self.media.as_mut().filter(|media| media.is_room())
            && let Some(epoch) = media.ring.current_epoch()
        {
            media.ring.retire(epoch);
        }
    }

    fn may_moderate(&mut self) -> bool {
        let may = self.room.as_ref().is_some_and(|room| room.rights().moderate);
        if !may {
            self.reject("you may not do that in this room");
        }
        may
    }

    /// An envelope of the call in the room that this device is in; `false` where it belongs elsewhere.
    pub(super) fn deliver_in_room(
        &mut self,
        now: Time,
        from: &Address,
        call: CallId,
        envelope: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> bool {
        let here = self.media.as_ref().is_some_and(|media| media.is_room() && media.call == call);
        if here {
            self.room(now, RoomInput::Received { from: from.clone(), envelope: envelope.to_vec() }, rng);
        }
        here
    }

    pub(super) fn resolved_in_room(
        &mut self,
        now: Time,
        user: &UserId,
        peer: &Result<TrustedPeer, Unresolved>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let peer = peer.clone().map_err(|error| match error {
            Unresolved::Unavailable => Unproven::Unavailable,
            Unresolved::Untrusted(why) => Unproven::Untrusted(why),
        });
        self.room(now, RoomInput::Resolved { user: user.clone(), peer }, rng);
    }

    /// Newer versions of a room's list were looked for.
    pub(super) fn access_fetched(
        &mut self,
        now: Time,
        room: RoomId,
        access: Option<Access>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let here = self.room.as_ref().is_some_and(|here| here.access().list().room == room);
        if here {
            self.room(now, RoomInput::Access(access.map(Box::new)), rng);
        }
    }

    pub(super) fn room_changed(&mut self, now: Time, room: RoomId, version: u32, rng: &mut impl rand_core::CryptoRng) {
        let here = self.room.as_ref().is_some_and(|here| here.access().list().room == room);
        if here {
            self.room(now, RoomInput::Changed { version }, rng);
        }
        self.event(Event::RoomChanged { room, version });
    }

    /// The protection of the present call or room.
    #[must_use]
    pub fn protection(&self) -> Option<Protection> {
        self.media.as_ref().map(|media| media.protection)
    }
}
