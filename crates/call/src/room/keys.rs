//! Where a blind room's keys come from: one device of its creator draws them, everybody else is sent them.
//!
//! Whose device that is follows from the roster and the list alone: of the creator's devices that are in, the one that
//! came first. An epoch goes to every proven join, opens there at once, and is sealed under a moment later, when all
//! can be expected to have it.

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use undertone_keys::call_agreement::MediaKey;
use undertone_keys::choice::Agreement;
use undertone_keys::envelope::{self, Address, Envelope, Header, Purpose};
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::{DeviceId, JoinId, RequestId, Secret, Time};
use undertone_media::Epoch;
use undertone_media::key_id::SenderIndex;

use super::signal::EpochSecret;
use super::{Event, KeySignal, Leaving, Output, RoomCall};

/// From when an epoch opens everywhere to when it is sealed under: a few round trips, and far less than a second (GRP-5).
const APPLY: Duration = Duration::from_millis(250);
/// The same where nobody has gone: somebody who came waits to hear the others, and nothing is at stake but a few frames.
const APPLY_JOIN: Duration = Duration::from_millis(150);
/// The first to come has a key drawn at once; who comes within this after it shares the next with all who do; with more than [`CROWD`] people in, within a second (GRP-2).
const COALESCE: Duration = Duration::from_millis(100);
const COALESCE_CROWD: Duration = Duration::from_secs(1);
const CROWD: usize = 50;
/// A new epoch at least this often (GRP-2).
const ROTATE: Duration = Duration::from_secs(300);
/// Epochs on their way at the same time: what a ring holds.
const MAX_ON_THE_WAY: usize = 2;
/// Envelopes sent in a burst and then every [`PACE`], below what a server takes of one account.
const BURST: u32 = 100;
const PACE: Duration = Duration::from_millis(33);
/// A member without a key asks for one after this, and then every two of these.
const WANT: Duration = Duration::from_secs(1);
/// A holder that does not come back within this ends the call: nobody could be shut out any more.
const HOLDER_GRACE: Duration = Duration::from_secs(15);
/// Envelopes that came before their sender was proven, or before their list.
const MAX_EARLY: usize = 16;
/// Envelopes remembered as seen (rule ID-4).
const MAX_SEEN: usize = 1024;
/// A member's word about epochs moves a holder's on by no more than this ...
const MAX_STEP: u32 = 4096;
/// ... and no more often, nor for a member that says it cannot take what it is sent.
const WORD: Duration = Duration::from_secs(10);
/// Epochs of a holder that begins are the seconds of the server's clock since then: 2025-10-09, before there was any room.
const EPOCH_ZERO: u64 = 1_760_000_000;
/// After somebody has gone the next epoch is waited for this long; then nothing is sealed until it is there.
const OVERDUE: Duration = Duration::from_secs(5);
/// The same where nobody has gone: how much later than [`ROTATE`] an epoch may be.
const OVERDUE_ROTATION: Duration = Duration::from_secs(30);

/// What the holder keeps.
#[derive(Debug)]
struct Holding {
    epoch: Epoch,
    secret: Secret<32>,
    rotated: Time,
    /// When the next epoch is due, and whether somebody left since the last.
    due: Option<(Time, bool)>,
    on_the_way: usize,
    /// Who is still to be sent the newest epoch.
    outbox: VecDeque<SenderIndex>,
    /// Whether the newest epoch follows a departure.
    removed: bool,
    budget: u32,
    refilled: Time,
    /// Who was in when it was drawn: it goes to nobody else. Whoever came later waits for the next (rule GRP-2).
    drawn_for: Vec<SenderIndex>,
    /// When each asker was last answered.
    answered: HashMap<SenderIndex, Time>,
}

/// Both sides of it.
#[derive(Debug, Default)]
pub(super) struct Keys {
    holding: Option<Holding>,
    /// The newest epoch that was installed here.
    newest: Option<Epoch>,
    /// When the newest is sealed under, and whether somebody left.
    promote: Option<(Time, bool)>,
    /// When the holder is asked for a key.
    want_at: Option<Time>,
    /// The ring could not take the newest epoch.
    stuck: bool,
    /// Since when there is no holder, once there were keys.
    holder_gone: Option<Time>,
    holder_told: Option<bool>,
    /// By when the next epoch must be there, or nothing is sealed any more.
    overdue_at: Option<Time>,
    /// Nothing is sealed, and since when.
    held: Option<Time>,
    /// When each member's word about epochs last counted.
    words: HashMap<SenderIndex, Time>,
    early: VecDeque<(Address, Vec<u8>)>,
    seen: VecDeque<(DeviceId, RequestId)>,
}

impl Keys {
    pub(super) fn joined(&mut self, now: Time) {
        self.want_at = Some(now + WANT);
    }

    fn due(&mut self, at: Time, removed: bool) {
        if let Some(holding) = &mut self.holding {
            let (before, was) = holding.due.unwrap_or((at, false));
            holding.due = Some((before.min(at), was || removed));
        }
    }

    pub(super) fn admitted(&mut self, now: Time, crowd: usize) {
        let pause = if crowd > CROWD { COALESCE_CROWD } else { COALESCE };
        let after = self.holding.as_ref().map_or(now, |holding| holding.rotated + pause);
        self.due(now.max(after), false);
    }

    pub(super) fn left(&mut self, now: Time, index: SenderIndex) {
        if self.newest.is_some() {
            self.expect_by(now + OVERDUE);
        }
        if let Some(holding) = &mut self.holding {
            holding.outbox.retain(|waiting| *waiting != index);
            holding.answered.remove(&index);
        }
        self.due(now, true);
    }

    /// Members go by the list that the holder names: it names the newest.
    pub(super) fn list_changed(&mut self, now: Time) {
        self.due(now, false);
    }

    fn expect_by(&mut self, at: Time) {
        self.overdue_at = Some(self.overdue_at.map_or(at, |before| before.min(at)));
    }

    /// A frame of somebody who belongs here came under an epoch that is not there: perhaps its key was lost.
    pub(super) fn missed(&mut self, now: Time) {
        self.want_at = Some(self.want_at.map_or(now + WANT, |at| at.min(now + WANT)));
    }

    /// The ring did not take an epoch: the holder must go further than it has.
    pub(super) fn not_installed(&mut self, now: Time, epoch: Epoch) {
        self.newest = self.newest.max(Some(epoch));
        self.stuck = true;
        if self.holding.is_some() {
            self.due(now, false);
        } else {
            self.want_at = Some(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let holding = self.holding.as_ref().into_iter().flat_map(|holding| {
            let sending = (!holding.outbox.is_empty()).then(|| holding.refilled + PACE);
            let next = holding.due.map_or(holding.rotated + ROTATE, |(at, _)| at.min(holding.rotated + ROTATE));
            // With as many on their way as can be, the next waits until they are sealed under.
            let next = (holding.on_the_way < MAX_ON_THE_WAY).then_some(next);
            [next, sending]
        });
        let gone = self.holder_gone.map(|since| since + HOLDER_GRACE);
        let held = self.held.map(|since| since + HOLDER_GRACE);
        let rest = [self.promote.map(|(at, _)| at), self.want_at, gone, self.overdue_at, held];
        holding.chain(rest).flatten().min()
    }
}

impl RoomCall {
    /// Of the creator's proven devices that are in, the one that came first.
    fn holder(&self) -> Option<SenderIndex> {
        let creator = &self.access.list().creator;
        let mine = self.me.as_ref().filter(|_| self.local.address.user == *creator).and_then(|me| me.index);
        let others = self.seats.iter().filter(|(_, seat)| seat.member().user == *creator && seat.is_admitted());
        others.map(|(index, _)| *index).chain(mine).min()
    }

    /// Whether it is this device's part to hold the keys: it is in, everybody who was in before has been shown, and none
    /// of the creator's other devices was first. One that is still being proven is given a moment, and no more: it may
    /// be a name without anybody behind it.
    fn is_holder(&self, now: Time) -> bool {
        let own = self.own_index();
        let creator = &self.access.list().creator;
        let mut rivals = self
            .seats
            .iter()
            .filter(|(index, seat)| Some(**index) < own && seat.member().user == *creator && seat.is_being_proven(now));
        own.is_some() && self.expected.is_none() && self.holder() == own && rivals.next().is_none()
    }

    pub(super) fn keys_timeout(&self) -> Option<Time> {
        // Away, or in a hop room, there is nothing to do about keys at any time.
        if self.is_blind() && self.own_index().is_some() { self.keys.poll_timeout() } else { None }
    }

    fn own_index(&self) -> Option<SenderIndex> {
        self.me.as_ref().and_then(|me| me.index)
    }

    /// Does what is due after any input.
    pub(super) fn mind_keys(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if !self.is_blind() || self.own_index().is_none() {
            return;
        }
        if self.is_holder(now) {
            self.hold(now, rng);
        } else if self.holder() != self.own_index() {
            self.keys.holding = None;
        }
        self.mind_holder(now, rng);
        self.promote(now);
        if let Some(holding) = &mut self.keys.holding {
            let refill = now.since(holding.refilled).as_micros() / PACE.as_micros();
            if refill > 0 {
                holding.budget = holding.budget.saturating_add(u32::try_from(refill).unwrap_or(BURST)).min(BURST);
                holding.refilled = now;
            }
        }
        self.send_out(now, rng);
    }

    /// The holder's part: a first epoch, and the next whenever one is due.
    fn hold(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let rotate = match &self.keys.holding {
            // Whoever takes over does not know whom the one before had left out.
            None => Some(self.keys.newest.is_some()),
            Some(holding) if holding.on_the_way >= MAX_ON_THE_WAY => None,
            Some(holding) => match holding.due {
                Some((at, true)) if at <= now => Some(true),
                // Nobody is kept waiting for a key by those who come and go faster than keys can be sent.
                Some((at, false)) if at <= now && holding.outbox.is_empty() => Some(false),
                Some(_) | None => (now.since(holding.rotated) >= ROTATE).then_some(false),
            },
        };
        let Some(removed) = rotate else { return };
        // By the clock, so that a holder which begins anew is ahead of what it does not remember.
        let clock = u32::try_from(self.wall.as_unix().saturating_sub(EPOCH_ZERO)).unwrap_or(u32::MAX).max(1);
        let newest = self.keys.holding.as_ref().map(|holding| holding.epoch).max(self.keys.newest);
        let next = match newest {
            Some(newest) => newest.0.checked_add(1),
            None => Some(clock),
        };
        let Some(epoch) = next.map(Epoch) else { return self.leave(Leaving::HolderGone) };
        let (secret, first) = (Secret::random(rng), self.keys.newest.is_none());
        let key = MediaKey::new(Secret::filled_by(|out| out.copy_from_slice(secret.expose())));
        let drawn_for: Vec<SenderIndex> =
            self.seats.iter().filter(|(_, seat)| seat.is_admitted()).map(|(index, _)| *index).collect();
        let before = self.keys.holding.take();
        let on_the_way = before.as_ref().map_or(0, |holding| holding.on_the_way) + usize::from(!first);
        // What was on its way and did not get out is overtaken: this goes to all, and first to those who went without.
        let removed = removed || before.as_ref().is_some_and(|holding| holding.removed && !holding.outbox.is_empty());
        let (budget, refilled, mut outbox) =
            before.map_or((BURST, now, VecDeque::new()), |holding| (holding.budget, holding.refilled, holding.outbox));
        outbox.retain(|index| drawn_for.contains(index));
        let others: Vec<SenderIndex> = drawn_for.iter().copied().filter(|index| !outbox.contains(index)).collect();
        outbox.extend(others);
        self.keys.holding = Some(Holding {
            epoch,
            secret,
            rotated: now,
            due: None,
            on_the_way,
            outbox,
            removed,
            budget,
            refilled,
            drawn_for,
            answered: HashMap::new(),
        });
        self.install(now, epoch, key, removed, first);
    }

    /// Opens with a new epoch at once, and seals with it soon; with the first at once.
    fn install(&mut self, now: Time, epoch: Epoch, key: MediaKey, removed: bool, first: bool) {
        self.keys.newest = Some(epoch);
        self.keys.stuck = false;
        self.keys.overdue_at = Some(now + ROTATE + OVERDUE_ROTATION);
        if self.keys.held.take().is_some() {
            self.outputs.push_back(Output::Hold(false));
        }
        self.outputs.push_back(Output::Install(epoch, key));
        if first {
            return self.event(Event::Epoch(epoch));
        }
        let soon = if removed { APPLY } else { APPLY_JOIN };
        let (at, was) = self.keys.promote.unwrap_or((now + soon, false));
        self.keys.promote = Some((at, removed || was));
    }

    fn promote(&mut self, now: Time) {
        let Some((_, removed)) = self.keys.promote.take_if(|(at, _)| *at <= now) else { return };
        let Some(epoch) = self.keys.newest else { return };
        if let Some(holding) = &mut self.keys.holding {
            holding.on_the_way = 0;
        }
        self.outputs.push_back(Output::Promote { epoch, removed });
        self.event(Event::Epoch(epoch));
    }

    /// Watches whether the holder is there, and asks it where a key is missing.
    fn mind_holder(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if self.keys.overdue_at.take_if(|at| *at <= now).is_some() && self.keys.held.is_none() {
            // Somebody may be listening who should not: until there is a new epoch, nothing is said.
            self.keys.held = Some(now);
            self.outputs.push_back(Output::Hold(true));
        }
        if self.keys.held.take_if(|since| now.since(*since) >= HOLDER_GRACE).is_some() {
            return self.leave(Leaving::HolderGone);
        }
        let holder = self.holder();
        if self.keys.holder_told != Some(holder.is_some()) {
            self.keys.holder_told = Some(holder.is_some());
            self.event(Event::Holder { present: holder.is_some() });
        }
        match holder {
            Some(_) => self.keys.holder_gone = None,
            None if self.keys.newest.is_some() => {
                let since = *self.keys.holder_gone.get_or_insert(now);
                if now.since(since) >= HOLDER_GRACE {
                    self.keys.holder_gone = None;
                    return self.leave(Leaving::HolderGone);
                }
            }
            None => {}
        }
        if self.keys.holding.is_some() {
            self.keys.want_at = None;
        }
        if self.keys.want_at.take_if(|at| *at <= now).is_some() {
            self.keys.want_at = Some(now + WANT * 2);
            if let (Some(holder), Some(me)) = (holder, &self.me) {
                let newest = self.keys.newest.map_or(0, |epoch| epoch.0);
                let (version, stuck) = (self.access.list().version, self.keys.stuck);
                let wanted = KeySignal::Wanted { join: me.join, newest, version, stuck };
                self.seal(holder, 0, &wanted, rng);
            }
        }
    }

    /// Sends the newest epoch to whoever has not got it, within what the server takes.
    fn send_out(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let (access, version) = (self.access.hash(), self.access.list().version);
        loop {
            let Some(holding) = &mut self.keys.holding else { return };
            if holding.budget == 0 {
                return;
            }
            let Some(index) = holding.outbox.pop_front() else { return };
            let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted()) else { continue };
            holding.budget -= 1;
            holding.answered.insert(index, now);
            let secret = EpochSecret(Secret::filled_by(|out| out.copy_from_slice(holding.secret.expose())));
            let (epoch, removed, join) = (holding.epoch.0, holding.removed, seat.entry().join.join);
            let signal = KeySignal::Key { epoch, secret, join, access, version, removed };
            self.seal(index, epoch, &signal, rng);
        }
    }

    fn seal(&mut self, index: SenderIndex, epoch: u32, signal: &KeySignal, rng: &mut impl rand_core::CryptoRng) {
        let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted()) else { return };
        let to = seat.member().clone();
        let header = Header {
            format: envelope::FORMAT,
            algorithm: Agreement::P256,
            purpose: Purpose::RoomKey,
            context: *self.call.as_bytes(),
            term: 0,
            epoch,
            not_before: self.wall,
            sender: self.local.address.clone(),
            recipient: to.clone(),
            request: RequestId::random(rng),
        };
        let key = StaticKey::P256(seat.entry().join.ephemeral);
        if let Ok(envelope) = envelope::seal(rng, &self.local.identity, &header, &key, &signal.encode()) {
            self.outputs.push_back(Output::Send { to, envelope });
        }
    }

    pub(super) fn received(&mut self, now: Time, from: Address, bytes: Vec<u8>) {
        if !self.is_blind() {
            return;
        }
        let Some(index) = self.admitted_device(&from) else {
            // Its sender is perhaps being proven at this moment.
            return self.keep_early(from, bytes);
        };
        let Some((request, header_epoch, signal)) = self.open(&from, &bytes) else { return };
        match signal {
            KeySignal::Key { epoch, secret, join, access, version, removed } => {
                let mine = self.me.as_ref().is_some_and(|me| me.join == join);
                if !mine || header_epoch != epoch || self.holder() != Some(index) || self.keys.holding.is_some() {
                    return;
                }
                let known = self.access.list().version;
                if access == self.access.hash() {
                    self.take(now, Epoch(epoch), secret, removed);
                } else if version > known {
                    // The holder goes by a newer list: it comes, and then this is looked at again.
                    self.want_version(now, version);
                    self.keys.seen.retain(|seen| *seen != request);
                    self.keep_early(from, bytes);
                } else if version == known {
                    let who = from.user.display();
                    self.leave(Leaving::Proof(format!(
                        "{who} goes by another list of the same number than this device"
                    )));
                } else {
                    // It goes by an older one, and is told so.
                    self.keys.want_at = Some(now);
                }
            }
            KeySignal::Wanted { join, newest, version, stuck } => {
                self.want_version(now, version);
                self.wanted(now, index, join, (Epoch(newest), stuck));
            }
        }
    }

    fn keep_early(&mut self, from: Address, bytes: Vec<u8>) {
        if self.keys.early.len() >= MAX_EARLY {
            self.keys.early.pop_front();
        }
        self.keys.early.push_back((from, bytes));
    }

    fn take(&mut self, now: Time, epoch: Epoch, EpochSecret(secret): EpochSecret, removed: bool) {
        if self.keys.newest.is_some_and(|newest| epoch < newest) {
            // The holder has begun anew and does not know how far this call is.
            self.keys.want_at = Some(now);
            return;
        }
        self.keys.want_at = None;
        let first = self.keys.newest.is_none();
        if self.keys.newest == Some(epoch) {
            // The same again, or, after the holder has begun anew, another key: the ring tells.
            self.outputs.push_back(Output::Install(epoch, MediaKey::new(secret)));
        } else {
            self.install(now, epoch, MediaKey::new(secret), removed, first);
        }
    }

    fn wanted(&mut self, now: Time, index: SenderIndex, join: JoinId, (newest, stuck): (Epoch, bool)) {
        if self.seats.get(&index).is_none_or(|seat| seat.entry().join.join != join) {
            return;
        }
        let Some(holding) = &mut self.keys.holding else { return };
        let step = newest.0.checked_sub(holding.epoch.0);
        // It is ahead of this holder, or cannot take what it was sent: the next epoch is for it. Each member's word counts
        // now and then, so that nobody keeps everybody busy.
        if step.is_some_and(|step| step < MAX_STEP && (step > 0 || stuck)) {
            let spoke = self.keys.words.get(&index).is_some_and(|at| now.since(*at) < WORD);
            if !spoke {
                self.keys.words.insert(index, now);
                holding.epoch = newest;
                self.keys.due(now, false);
            }
            return;
        }
        let answered = holding.answered.get(&index).is_some_and(|at| now.since(*at) < WANT);
        let behind = newest < holding.epoch && holding.drawn_for.contains(&index);
        if behind && !answered && !holding.outbox.contains(&index) {
            holding.outbox.push_back(index);
        }
    }

    fn admitted_device(&self, from: &Address) -> Option<SenderIndex> {
        let mut admitted = self.seats.iter().filter(|(_, seat)| seat.is_admitted());
        admitted.find(|(_, seat)| seat.member() == from).map(|(index, _)| *index)
    }

    /// Opens an envelope of a proven device. `None` for whatever does not open, was sealed to an earlier join, or came
    /// before.
    fn open(&mut self, from: &Address, bytes: &[u8]) -> Option<((DeviceId, RequestId), u32, KeySignal)> {
        let envelope = Envelope::from_bytes(bytes).ok()?;
        let record = self.known.get(&from.user)?.peer.as_ref()?.device(from.device)?;
        let context = self.call.as_bytes();
        let envelope = envelope.verify(record, &self.local.address, Agreement::P256, Purpose::RoomKey, context).ok()?;
        let (request, epoch) = ((from.device, envelope.header().request), envelope.header().epoch);
        if self.keys.seen.contains(&request) {
            return None;
        }
        let me = self.me.as_ref()?;
        let Question::Agree(peer) = envelope.question() else { return None };
        let answer = Answer::Agreed(me.ephemeral.agree(&peer).ok()?);
        let text = envelope.open(&StaticKey::P256(*me.ephemeral.public()), &answer).ok()?;
        if self.keys.seen.len() >= MAX_SEEN {
            self.keys.seen.pop_front();
        }
        self.keys.seen.push_back(request);
        KeySignal::decode(&text).ok().map(|signal| (request, epoch, signal))
    }

    /// Looks again at what came too early.
    pub(super) fn again_early(&mut self, now: Time) {
        for (from, envelope) in core::mem::take(&mut self.keys.early) {
            self.received(now, from, envelope);
        }
    }
}
