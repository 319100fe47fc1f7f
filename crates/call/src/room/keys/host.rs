//! The host's part: drawing epochs, handing them out, and saying when they are used (rules GRP-1 to GRP-3).

use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};

use undertone_keys::epoch_secret::{EpochPlace, EpochSecret};
use undertone_keys::sign::Signed;
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::Epoch;
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::{Cause, FORMAT, HostWord, Place, Roster, SignedStatement, Statement};

use super::chain::Head;
use super::post::{About, Pace};
use crate::room::policy::GroupPolicy;
use crate::room::signal::{EpochKey, RosterNews};
use crate::room::{Event, KeySignal, Leaving, Output, RoomCall};

/// Epochs of a host that begins are at least the seconds of the server's clock since then: 2025-10-09, before there was any
/// room. So a call that is begun anew is ahead of what nobody remembers.
const EPOCH_ZERO: u64 = 1_760_000_000;
/// Epochs that a ring holds beside the one that seals.
const MAX_PENDING: usize = 2;
/// After an epoch was applied the host says so again so many milliseconds later: datagrams are lost.
const WORDS_AFTER_APPLY: [u64; 3] = [60, 200, 500];

/// An epoch that this host has opened.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) statement: Statement,
    pub(super) signed: SignedStatement,
    pub(super) hash: [u8; 32],
    pub(super) roster: Roster,
    pub(super) secret: EpochSecret,
}

impl Drawn {
    pub(super) fn place(&self) -> EpochPlace<'_> {
        EpochPlace { call: &self.statement.call, term: self.statement.term, epoch: self.statement.epoch }
    }

    pub(super) fn key(&self) -> EpochKey {
        EpochKey { statement: self.signed.clone(), secret: self.secret.duplicate() }
    }
}

/// A change that wants a new epoch.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Time,
    cause: Cause,
    removed: bool,
    /// It does not wait for the epoch before to be used: somebody may hear who should not, or cannot hear at all.
    at_once: bool,
}

/// The newest epoch, while it is not sealed under.
#[derive(Clone, Copy, Debug)]
struct Awaiting {
    since: Time,
    /// Whoever has not shown it by then is not waited for.
    wait: Duration,
    removed: bool,
}

/// The newest epoch's way to everybody.
#[derive(Clone, Copy, Debug)]
struct Handing {
    since: Time,
    resent: u32,
}

/// What the host keeps.
#[derive(Debug)]
pub(in crate::room) struct Hosting {
    pub(super) term: u32,
    /// The one that is sealed under, and those that are coming, oldest first.
    pub(super) keys: Vec<Drawn>,
    pub(super) applied: u32,
    awaiting: Option<Awaiting>,
    handing: Handing,
    due: Option<Due>,
    /// Epochs must be above it: somebody has had it.
    pub(super) floor: u32,
    rotated: Time,
    /// Who is still to be sent the newest epoch.
    pub(super) outbox: VecDeque<SenderIndex>,
    pace: Pace,
    /// The statement before the newest, and whom that was for: for telling what has changed.
    before: Option<([u8; 32], Roster)>,
    /// The newest statement that each join has shown to have the secret of.
    has: HashMap<JoinId, [u8; 32]>,
    /// The epoch of the last word.
    said: u32,
    words: VecDeque<Time>,
    word_number: u64,
    pub(super) answers: super::answers::Answers,
}

impl Handing {
    fn next(&self, policy: &GroupPolicy) -> Time {
        self.since + policy.resend.saturating_mul(self.resent + 1)
    }
}

impl Hosting {
    /// The newest epoch goes to everybody once more.
    pub(super) fn send_to_all(&mut self) {
        let places = self.keys.last().map(|newest| newest.roster.places().to_vec()).unwrap_or_default();
        for place in places {
            if !self.outbox.contains(&place.index) {
                self.outbox.push_back(place.index);
            }
        }
    }

    pub(super) fn due(&mut self, at: Time, cause: Cause, removed: bool) {
        let at_once = removed || cause == Cause::Overtaken;
        let due = self.due.get_or_insert(Due { at, cause, removed, at_once });
        if at < due.at || (removed && !due.removed) {
            due.cause = cause;
        }
        due.at = due.at.min(at);
        due.removed |= removed;
        due.at_once |= at_once;
    }

    /// Somebody is further than this host: the next epoch is for them, and soon.
    pub(super) fn overtaken(&mut self, now: Time, policy: &GroupPolicy) {
        self.due(now.max(self.rotated + policy.overtaken_pause), Cause::Overtaken, false);
    }

    pub(super) fn forget(&mut self, index: SenderIndex, join: JoinId) {
        self.outbox.retain(|waiting| *waiting != index);
        self.has.remove(&join);
        self.answers.forget(index);
    }

    pub(super) fn newest(&self) -> Option<&Drawn> {
        self.keys.last()
    }

    /// A member has shown that it has an epoch; `false` where it has not.
    pub(super) fn ready(&mut self, join: JoinId, statement: [u8; 32], mac: &[u8; 32]) -> bool {
        let drawn = self.keys.iter().find(|drawn| drawn.hash == statement);
        let holds = drawn.is_some_and(|drawn| drawn.secret.is_ready(drawn.place(), &statement, join, mac));
        if holds {
            self.has.insert(join, statement);
        }
        holds
    }

    fn all_ready(&self, except: JoinId) -> bool {
        self.newest().is_none_or(|newest| {
            let mut others = newest.roster.places().iter().filter(|place| place.join != except);
            others.all(|place| self.has.get(&place.join) == Some(&newest.hash))
        })
    }

    pub(super) fn poll_timeout(&self, policy: &GroupPolicy) -> Option<Time> {
        let next = if self.awaiting.is_none() || self.due.is_some_and(|due| due.at_once) {
            let rotation = (self.awaiting.is_none()).then_some(self.rotated + policy.rotate);
            self.due.map(|due| due.at).into_iter().chain(rotation).min()
        } else {
            None
        };
        let sending = (!self.outbox.is_empty()).then(|| self.pace.next(policy));
        let apply = self.awaiting.map(|awaiting| self.apply_at(&awaiting, policy));
        let resend = (self.handing.resent < policy.resends).then(|| self.handing.next(policy));
        [next, sending, apply, resend, self.words.front().copied()].into_iter().flatten().min()
    }

    fn apply_at(&self, awaiting: &Awaiting, policy: &GroupPolicy) -> Time {
        if !awaiting.removed {
            return awaiting.since + awaiting.wait;
        }
        let soon = Duration::from_millis(policy.apply_removed_ms.into());
        awaiting.since + if self.outbox.is_empty() { soon } else { soon + policy.removal_wait }
    }
}

impl RoomCall {
    /// Is host from now on: the first act is a new epoch.
    pub(super) fn begin_hosting(
        &mut self,
        now: Time,
        join: JoinId,
        term: u32,
        cause: Cause,
        handover: Option<Signed>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let answers = super::answers::Answers::default();
        self.keys.hosting = Some(Hosting {
            term,
            keys: Vec::new(),
            applied: 0,
            awaiting: None,
            handing: Handing { since: now, resent: 0 },
            due: None,
            floor: 0,
            rotated: now,
            outbox: VecDeque::new(),
            pace: Pace::new(now, &self.policy),
            before: None,
            has: HashMap::new(),
            said: 0,
            words: VecDeque::new(),
            word_number: 0,
            answers,
        });
        self.keys.recovery.met();
        // Whom the host before had let in who has gone since, this one does not know.
        let removed = self.keys.sealing.is_some();
        self.draw(now, join, Due { at: now, cause, removed, at_once: true }, handover, rng);
    }

    /// Another has won: nothing that is still coming from here is sealed under.
    pub(super) fn stand_down(&mut self) -> bool {
        let stood = self.keys.hosting.take().is_some();
        if stood {
            self.keys.coming.clear();
        }
        stood
    }

    /// Does what is due for a host after any input.
    pub(super) fn mind_hosting(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(join) = self.own_join() else {
            self.keys.hosting = None;
            return;
        };
        if self.keys.head.as_ref().is_none_or(|head| head.statement.host != join) {
            self.keys.hosting = None;
        }
        let policy = self.policy;
        let Some(hosting) = &mut self.keys.hosting else { return };
        if hosting.awaiting.is_none() && now.since(hosting.rotated) >= policy.rotate {
            hosting.due(now, Cause::Rotated, false);
        }
        loop {
            self.apply_when_ready(now, join);
            let Some(hosting) = &mut self.keys.hosting else { return };
            // Nobody is kept waiting for a key by those who come and go faster than keys can be sent.
            let awaits = hosting.awaiting.is_some();
            let Some(due) = hosting.due.take_if(|due| due.at <= now && (due.at_once || !awaits)) else { break };
            self.draw(now, join, due, None, rng);
        }
        self.send_again(now, join);
        self.send_out(now, rng);
        self.say(now, join, rng);
    }

    fn draw(
        &mut self,
        now: Time,
        join: JoinId,
        due: Due,
        handover: Option<Signed>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let leaver = handover.as_ref().and(self.keys.leaver);
        let Some(index) = self.own_index() else { return };
        let seats = self.seats.iter().filter(|(_, seat)| seat.is_admitted());
        let seats = seats.map(|(index, seat)| Place { join: seat.entry().join.join, index: *index });
        let present: Vec<Place> =
            seats.filter(|place| Some(place.join) != leaver).chain([Place { join, index }]).collect();
        let before = self.keys.head.as_ref().and_then(|head| head.roster.clone()).unwrap_or_default();
        let roster = before.next(&present);
        let clock = u32::try_from(self.wall.as_unix().saturating_sub(EPOCH_ZERO)).unwrap_or(u32::MAX).max(1);
        let open = self.keys.held();
        let Some(hosting) = &mut self.keys.hosting else { return };
        let head = self.keys.head.as_ref();
        let newest = [self.keys.newest, head.map(|head| head.statement.epoch), Some(hosting.floor)];
        let newest = newest.into_iter().flatten().max().unwrap_or_default();
        // A new host does not know what others have had meanwhile, and the clock is ahead of it.
        let ahead = if matches!(due.cause, Cause::Opened | Cause::TakenOver) { clock } else { 0 };
        let Some(epoch) = newest.checked_add(1).map(|next| next.max(ahead)) else {
            return self.leave(Leaving::HostGone);
        };
        // By its last eight bits it must not pass for one that is still open somewhere.
        let alike = |epoch: u32| open.iter().any(|open| open % 256 == epoch % 256);
        let Some(epoch) = (0..8).filter_map(|more| epoch.checked_add(more)).find(|epoch| !alike(*epoch)) else {
            return self.leave(Leaving::HostGone);
        };
        // What was on its way is overtaken, and whoever it left out must not be let in by this one's being late.
        let removed = due.removed || hosting.awaiting.is_some_and(|awaiting| awaiting.removed);
        let secret = EpochSecret::random(rng);
        let list = self.access.list();
        let statement = Statement {
            format: FORMAT,
            call: self.call,
            term: hosting.term,
            epoch,
            host: join,
            roster: roster.hash(),
            previous: head.map(|head| head.hash),
            commitment: secret.commitment(EpochPlace { call: &self.call, term: hosting.term, epoch }),
            terms: list.terms,
            access: self.access.hash(),
            version: list.version,
            cause: due.cause,
            removed,
            apply_ms: if removed { self.policy.apply_removed_ms } else { 0 },
            handover,
        };
        let signed = SignedStatement::sign(&statement, &self.local.identity);
        let hash = signed.hash();
        let drawn =
            Drawn { statement: statement.clone(), signed: signed.clone(), hash, roster: roster.clone(), secret };
        let key = drawn.secret.media_key(drawn.place());
        // A ring has room for two that are coming: with more, the newest of them is used now.
        if hosting.keys.iter().filter(|drawn| drawn.statement.epoch > hosting.applied).count() >= MAX_PENDING {
            self.apply(now);
        }
        let Some(hosting) = &mut self.keys.hosting else { return };
        hosting.before = hosting.keys.last().map(|before| (before.hash, before.roster.clone()));
        hosting.keys.push(drawn);
        hosting.rotated = now;
        let wait = self.policy.ready_wait(due.cause != Cause::Rotated);
        hosting.awaiting = Some(Awaiting { since: now, wait, removed });
        hosting.handing = Handing { since: now, resent: 0 };
        // First to those who went without so far.
        let others = roster.places().iter().map(|place| place.index).filter(|other| *other != index);
        let others: Vec<SenderIndex> = others.collect();
        hosting.outbox.retain(|waiting| others.contains(waiting));
        let late: HashSet<SenderIndex> = hosting.outbox.iter().copied().collect();
        hosting.outbox.extend(others.into_iter().filter(|other| !late.contains(other)));
        let identity = *self.local.identity.public();
        self.keys.opened(epoch);
        self.keys.newest_hash = Some(hash);
        self.renewed(now);
        self.outputs.push_back(Output::Install(Epoch(epoch), key));
        self.go_by(now, Head { signed, statement, hash, roster: Some(roster), index, key: identity, since: now });
        if self.keys.sealing.is_none() {
            self.apply(now);
        }
    }

    /// Sends the newest epoch to whoever has not got it, within what the server takes.
    fn send_out(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        loop {
            let policy = self.policy;
            let Some(hosting) = &mut self.keys.hosting else { return };
            if hosting.outbox.is_empty() || !hosting.pace.take(now, &policy) {
                return;
            }
            let Some(index) = hosting.outbox.pop_front() else { return };
            let Some(join) = self.seats.get(&index).map(|seat| seat.entry().join.join) else { continue };
            let Some(newest) = hosting.keys.last().filter(|newest| newest.roster.has(join)) else { continue };
            // Who has the statement before is told what has changed since.
            let before = hosting.before.as_ref().filter(|(hash, _)| hosting.has.get(&join) == Some(hash));
            let roster = match before {
                Some((_, before)) => RosterNews::Change(newest.roster.change_from(before)),
                None => RosterNews::Whole(newest.roster.clone()),
            };
            let (term, epoch) = (newest.statement.term, newest.statement.epoch);
            let (key, checkpoint, applied) = (newest.key(), self.checkpoint.clone(), hosting.applied);
            let signal = KeySignal::Prepare { key, roster, checkpoint, applied };
            let about = About { term, epoch, request: RequestId::random(rng) };
            self.post(index, about, &signal, rng);
        }
    }

    fn apply_when_ready(&mut self, now: Time, join: JoinId) {
        let policy = self.policy;
        let Some(hosting) = &self.keys.hosting else { return };
        let Some(awaiting) = hosting.awaiting else { return };
        let due = now >= hosting.apply_at(&awaiting, &policy);
        if due || (!awaiting.removed && hosting.all_ready(join)) {
            self.apply(now);
        }
    }

    /// The newest epoch once more to whoever has not shown it, now and then.
    fn send_again(&mut self, now: Time, join: JoinId) {
        let policy = self.policy;
        let Some(hosting) = &mut self.keys.hosting else { return };
        let handing = &mut hosting.handing;
        let before = handing.resent;
        while handing.resent < policy.resends && now >= handing.next(&policy) {
            handing.resent += 1;
        }
        if handing.resent == before {
            return;
        }
        let Some(newest) = hosting.keys.last() else { return };
        let missing = newest.roster.places().iter().filter(|place| {
            place.join != join
                && hosting.has.get(&place.join) != Some(&newest.hash)
                && !hosting.outbox.contains(&place.index)
        });
        let missing: Vec<SenderIndex> = missing.map(|place| place.index).collect();
        hosting.outbox.extend(missing);
    }

    /// Seals under the newest epoch from now on, and says so.
    fn apply(&mut self, now: Time) {
        let Some(hosting) = &mut self.keys.hosting else { return };
        let Some(newest) = hosting.keys.last() else { return };
        let (epoch, removed) = (newest.statement.epoch, newest.statement.removed);
        if hosting.applied == epoch {
            hosting.awaiting = None;
            return;
        }
        hosting.applied = epoch;
        hosting.awaiting = None;
        hosting.keys.retain(|drawn| drawn.statement.epoch >= epoch);
        hosting.words =
            core::iter::once(now).chain(WORDS_AFTER_APPLY.map(|ms| now + Duration::from_millis(ms))).collect();
        if self.keys.sealing.is_some() {
            self.outputs.push_back(Output::Promote { epoch: Epoch(epoch), removed });
        }
        self.keys.seals(epoch);
        self.event(Event::Epoch(Epoch(epoch)));
    }

    /// Says that the host is there, and what is sealed under.
    fn say(&mut self, now: Time, join: JoinId, rng: &mut impl rand_core::CryptoRng) {
        let Some(head) = &self.keys.head else { return };
        let Some(hosting) = &mut self.keys.hosting else { return };
        if hosting.applied == 0 || hosting.words.front().is_none_or(|at| *at > now) {
            return;
        }
        hosting.words.retain(|at| *at > now);
        if hosting.words.is_empty() {
            hosting.words.push_back(now + self.policy.word);
        }
        if self.keys.offline.is_some_and(|since| now.since(since) >= self.policy.host_cut_off) {
            // A host that can hand out nothing is better followed than heard.
            return;
        }
        hosting.word_number += 1;
        let (applied, newest, number) = (hosting.applied, head.hash, hosting.word_number);
        let word = HostWord { call: self.call, host: join, term: hosting.term, applied, newest, number };
        let word = word.sign(&self.local.identity);
        let newly = core::mem::replace(&mut hosting.said, applied) != applied;
        let (term, epoch) = (hosting.term, applied);
        self.outputs.push_back(Output::Say(word.clone()));
        if newly && self.seats.len() <= self.policy.crowd {
            // What is lost beside the sound comes by letter, as long as that costs little.
            let others = self.seats.iter().filter(|(_, seat)| seat.is_admitted());
            let others: Vec<SenderIndex> = others.map(|(index, _)| *index).collect();
            for index in others {
                let about = About { term, epoch, request: RequestId::random(rng) };
                self.post(index, about, &KeySignal::Word { word: word.clone() }, rng);
            }
        }
    }
}
