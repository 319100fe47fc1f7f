//! A member's part: taking what the host hands out, and asking for what does not come (rules GRP-3, EKR-6).

use core::time::Duration;

use undertone_keys::envelope::Address;
use undertone_keys::epoch_secret::{EpochPlace, EpochSecret};
use undertone_keys::sign::Signed;
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::Epoch;
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::{Cause, Handover, HostWord, Roster, SignedStatement, Statement};

use super::answers::Asked;
use super::chain::{Head, HostState, Verdict, judge};
use super::post::About;
use super::recovery::{Failure, Target};
use super::{Coming, Contender};
use crate::room::signal::{EpochKey, RosterNews};
use crate::room::{Event, KeySignal, Leaving, Output, RoomCall};

/// A statement that its host's device has signed.
#[derive(Debug)]
struct Checked {
    signed: SignedStatement,
    statement: Statement,
    hash: [u8; 32],
}

impl RoomCall {
    /// A letter about keys came in.
    pub(in crate::room) fn received(
        &mut self,
        now: Time,
        from: Address,
        bytes: Vec<u8>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if !self.is_blind() {
            return;
        }
        let Some(index) = self.admitted_device(&from) else {
            // Its sender is perhaps being proven at this moment.
            return self.keys.letters.keep_early(from, bytes);
        };
        let Some(opened) = self.open_letter(&from, &bytes) else { return };
        let about = opened.about;
        match opened.signal {
            KeySignal::Prepare { key, roster, checkpoint } => {
                drop(checkpoint);
                if !self.prepared(now, index, about, key, roster, rng) {
                    self.keys.letters.unsee(from.device, about);
                    self.keys.letters.keep_early(from, bytes);
                }
            }
            KeySignal::Ready { statement, mac } => {
                let join = self.seats.get(&index).map(|seat| seat.entry().join.join);
                if let (Some(hosting), Some(join)) = (&mut self.keys.hosting, join) {
                    hosting.ready(join, statement, &mac);
                }
            }
            KeySignal::Request { join, newest, stuck, version, term, held: _ } => {
                self.want_version(now, version);
                self.requested(now, index, about.request, &Asked { join, newest, stuck, term }, rng);
            }
            KeySignal::Answer { keys, roster, applied } => {
                if !self.answer(now, index, about, keys, roster, applied, rng) {
                    self.keys.letters.unsee(from.device, about);
                    self.keys.letters.keep_early(from, bytes);
                }
            }
            KeySignal::Told { statements } => self.told(now, index, &statements, rng),
            KeySignal::Word { word } => self.word(now, index, &word, rng),
            KeySignal::Handover { handover } => self.handed_over(now, handover, rng),
        }
    }

    /// Looks again at what came too early.
    pub(in crate::room) fn again_early(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        for (from, envelope) in self.keys.letters.take_early() {
            self.received(now, from, envelope, rng);
        }
    }

    fn admitted_device(&self, from: &Address) -> Option<SenderIndex> {
        let mut admitted = self.seats.iter().filter(|(_, seat)| seat.is_admitted());
        admitted.find(|(_, seat)| seat.member() == from).map(|(index, _)| *index)
    }

    /// A statement of the device in this seat, about its own join.
    fn check(&self, index: SenderIndex, signed: SignedStatement) -> Option<Checked> {
        let entry = self.seats.get(&index).filter(|seat| seat.is_admitted())?.entry();
        let terms = &self.access.list().terms;
        let statement = signed.verify(&entry.grant.identity, self.call, terms).ok()?;
        let hash = signed.hash();
        (statement.host == entry.join.join).then_some(Checked { signed, statement, hash })
    }

    /// Whether the host goes by the same access list. `Err(true)`: it goes by a newer one, which is being fetched.
    fn same_list(&mut self, now: Time, index: SenderIndex, statement: &Statement) -> Result<(), bool> {
        let known = self.access.list().version;
        if statement.access == self.access.hash() {
            return Ok(());
        }
        if statement.version > known {
            self.want_version(now, statement.version);
            return Err(true);
        }
        if statement.version == known {
            let who = self.seats.get(&index).map(|seat| seat.member().user.display()).unwrap_or_default();
            self.leave(Leaving::Proof(format!("{who} goes by another list of the same number than this device")));
        } else {
            // It goes by an older one, and is told so.
            self.keys.recovery.wish(Failure::Statement, now);
        }
        Err(false)
    }

    /// A statement that was set aside is looked at again.
    pub(super) fn reconsider(&mut self, now: Time, contender: Contender, rng: &mut impl rand_core::CryptoRng) {
        let Contender { index, signed, secret, roster, .. } = contender;
        if let Some(checked) = self.check(index, signed) {
            self.consider(now, index, checked, secret, roster, rng);
        }
    }

    /// A host hands out an epoch. `false`: to be looked at again when the list is there.
    fn prepared(
        &mut self,
        now: Time,
        index: SenderIndex,
        about: About,
        key: EpochKey,
        roster: RosterNews,
        rng: &mut impl rand_core::CryptoRng,
    ) -> bool {
        let Some(checked) = self.check(index, key.statement) else { return true };
        let statement = &checked.statement;
        if (about.term, about.epoch) != (statement.term, statement.epoch) {
            return true;
        }
        match self.same_list(now, index, statement) {
            Ok(()) => {}
            Err(later) => return !later,
        }
        if !self.matches(now, &checked, &key.secret) {
            return true;
        }
        let roster = match roster {
            RosterNews::Whole(roster) => Some(roster),
            RosterNews::Change(change) => {
                let head = self.keys.head.as_ref().filter(|head| checked.statement.previous == Some(head.hash));
                head.and_then(|head| head.roster.as_ref()).and_then(|before| before.changed(&change))
            }
        };
        self.consider(now, index, checked, Some(key.secret), roster, rng);
        true
    }

    /// Whether a secret is the one its statement commits to. A host that sends others twice is one no more.
    fn matches(&mut self, now: Time, checked: &Checked, secret: &EpochSecret) -> bool {
        let statement = &checked.statement;
        let place = EpochPlace { call: &self.call, term: statement.term, epoch: statement.epoch };
        if secret.matches(place, &statement.commitment) {
            return true;
        }
        let join = statement.host;
        let faults = self.keys.faults.entry(join).or_default();
        *faults += 1;
        if *faults > 1 {
            self.convict(join);
        }
        self.keys.recovery.wish(Failure::Statement, now);
        false
    }

    /// Goes by a statement, or not.
    fn consider(
        &mut self,
        now: Time,
        index: SenderIndex,
        checked: Checked,
        secret: Option<EpochSecret>,
        roster: Option<Roster>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Checked { statement, hash, .. } = &checked;
        if self.keys.convicted.contains(&statement.host) {
            return;
        }
        let roster = roster.filter(|roster| roster.hash() == statement.roster);
        // Whoever is not in it has no business with its secret.
        let join = self.own_join();
        if let (Some(roster), Some(join)) = (&roster, join)
            && !roster.has(join)
        {
            return self.keys.recovery.wish(Failure::NoKey, now);
        }
        let host = self.host_state(now);
        let named = self.is_named(statement);
        let statement_for_judge = if statement.cause == Cause::HandedOver && !named {
            Statement { cause: Cause::TakenOver, ..statement.clone() }
        } else {
            statement.clone()
        };
        let verdict = judge(self.keys.head.as_ref(), &statement_for_judge, hash, index, host);
        match verdict {
            Verdict::Take if self.usurps(statement) => {}
            Verdict::Take => self.take(now, index, &checked, secret, roster, rng),
            Verdict::Same => {
                self.heard(now);
                if secret.is_some() {
                    self.keys.recovery.answered_to_all(statement.host);
                }
                if let Some(head) = &mut self.keys.head
                    && head.roster.is_none()
                {
                    head.roster = roster;
                }
                if let Some(secret) = secret {
                    self.open_epoch(now, &checked, &secret, rng);
                }
            }
            Verdict::Old | Verdict::Lost => {
                self.keys.term = self.keys.term.max(statement.term);
                // Where the host that this device goes by has gone, whoever is here goes further than it has.
                let there = self.keys.head.as_ref().is_some_and(|head| self.seated(head.statement.host).is_some());
                if there || host == HostState::Me {
                    self.tell(now, index, rng);
                } else if verdict == Verdict::Old {
                    self.keys.rumour = Some((statement.host, now));
                    self.keys.recovery.wish(Failure::Statement, now);
                }
            }
            Verdict::Later => {
                // The host that is heard is told of it, and stands down if it can read it.
                let told = KeySignal::Told { statements: vec![checked.signed.clone()] };
                if let Some(host) = self.keys.head.as_ref().and_then(|head| self.seated(head.statement.host)) {
                    self.post(host, about_nothing(rng), &told, rng);
                }
                let contender = Contender { index, since: now, signed: checked.signed, secret, roster };
                self.keys.contender = Some(contender);
            }
            Verdict::Contradiction => {
                let host = statement.host;
                let mine = self.keys.head.as_ref().map(|head| head.signed.clone());
                let statements: Vec<_> = mine.into_iter().chain([checked.signed]).collect();
                self.spread_evidence(host, &statements, rng);
            }
        }
    }

    /// Whether a takeover is one too many: its host has followed others that were still there before.
    fn usurps(&mut self, statement: &Statement) -> bool {
        let Some(head) = &self.keys.head else { return false };
        let before = head.statement.host;
        let other = before != statement.host && statement.term > head.statement.term;
        if !other || statement.cause != Cause::TakenOver || self.seated(before).is_none() {
            return false;
        }
        let taken = self.keys.takeovers.entry(statement.host).or_default();
        *taken += 1;
        *taken > self.policy.max_takeovers
    }

    /// Whether the host that is gone by has named this one.
    fn is_named(&self, statement: &Statement) -> bool {
        let Some(head) = &self.keys.head else { return false };
        let Some(signed) = &statement.handover else { return false };
        Handover::verify(signed, &head.key, self.call).is_ok_and(|handover| {
            handover.from == head.statement.host
                && handover.to == statement.host
                && handover.term == head.statement.term
                && statement.term == handover.term.saturating_add(1)
        })
    }

    fn take(
        &mut self,
        now: Time,
        index: SenderIndex,
        checked: &Checked,
        secret: Option<EpochSecret>,
        roster: Option<Roster>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let stood = self.stand_down();
        let Some(seat) = self.seats.get(&index) else { return };
        let key = seat.entry().grant.identity;
        let Checked { signed, statement, hash } = checked;
        let (signed, statement, hash) = (signed.clone(), statement.clone(), *hash);
        if roster.is_none() || secret.is_none() {
            self.keys.recovery.wish(Failure::Statement, now);
        }
        self.go_by(now, Head { signed, statement, hash, roster, index, key, since: now });
        if let Some(secret) = secret {
            self.open_epoch(now, checked, &secret, rng);
        }
        if stood {
            // Whoever has heard this host till now need not wait until it is heard no more.
            let others = self.seats.iter().filter(|(other, seat)| **other != index && seat.is_admitted());
            let others: Vec<SenderIndex> = others.map(|(other, _)| *other).collect();
            for other in others {
                self.tell(now, other, rng);
            }
        }
    }

    /// Goes by this statement from now on.
    pub(super) fn go_by(&mut self, now: Time, head: Head) {
        let before = self.keys.head.as_ref().map(|head| head.statement.host);
        let (host, index, term, cause) = (head.statement.host, head.index, head.statement.term, head.statement.cause);
        self.keys.term = self.keys.term.max(term);
        self.keys.head = Some(head);
        self.keys.contender = None;
        self.keys.rumour = None;
        self.keys.ceded = None;
        self.heard(now);
        self.keys.host_gone = None;
        self.keys.told.clear();
        if before != Some(host) {
            let me = self.own_join() == Some(host);
            self.event(Event::Host { index, me, term, cause });
        }
    }

    /// Opens with an epoch at once, and says so to the host.
    fn open_epoch(&mut self, now: Time, checked: &Checked, secret: &EpochSecret, rng: &mut impl rand_core::CryptoRng) {
        let Checked { statement, hash, .. } = checked;
        let call = self.call;
        let place = EpochPlace { call: &call, term: statement.term, epoch: statement.epoch };
        let (key, join) = (secret.media_key(place), self.own_join());
        let held = self.keys.newest == Some(statement.epoch) && self.keys.newest_hash == Some(*hash);
        if held {
            // It may have been lost here; a ring that has it changes nothing.
            self.outputs.push_back(Output::Install(Epoch(statement.epoch), key));
        } else {
            self.keys.opened(statement.epoch);
            self.keys.newest_hash = Some(*hash);
            self.keys.recovery.met();
            self.renewed(now);
            self.outputs.push_back(Output::Install(Epoch(statement.epoch), key));
            self.come(now, statement);
        }
        if let (Some(join), Some(host)) = (join, self.seated(statement.host)) {
            let ready = KeySignal::Ready { statement: *hash, mac: secret.ready(place, hash, join) };
            let about = About { term: statement.term, epoch: statement.epoch, request: RequestId::random(rng) };
            self.post(host, about, &ready, rng);
        }
    }

    /// Plans when an epoch is sealed under.
    fn come(&mut self, now: Time, statement: &Statement) {
        if self.keys.sealing.is_none() {
            // The first of a join is used at once: others open it already, or will in a moment.
            self.keys.seals(statement.epoch);
            return self.event(Event::Epoch(Epoch(statement.epoch)));
        }
        let late = self.policy.ready_wait_rotation + self.policy.apply_late;
        let soon = Duration::from_millis(statement.apply_ms.into());
        let at = now + if statement.apply_ms == 0 { late } else { soon };
        if statement.removed {
            // Nobody seals any more under what was coming before.
            self.keys.coming.clear();
        }
        self.keys.coming.push(Coming { epoch: statement.epoch, removed: statement.removed, at });
    }

    /// Seals under an epoch that is here, if it is newer than the one in use.
    pub(super) fn apply_coming(&mut self, epoch: u32) {
        let Some(coming) = self.keys.coming.iter().find(|coming| coming.epoch == epoch).copied() else { return };
        self.keys.coming.retain(|coming| coming.epoch > epoch);
        if self.keys.sealing.is_some_and(|sealing| sealing >= epoch) {
            return;
        }
        self.outputs.push_back(Output::Promote { epoch: Epoch(epoch), removed: coming.removed });
        self.keys.seals(epoch);
        self.event(Event::Epoch(Epoch(epoch)));
    }

    /// The host's answer to this device's own request. `false`: to be looked at again when the list is there.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn answer(
        &mut self,
        now: Time,
        index: SenderIndex,
        about: About,
        keys: Vec<EpochKey>,
        roster: Roster,
        applied: u32,
        rng: &mut impl rand_core::CryptoRng,
    ) -> bool {
        let asked = self.keys.recovery.in_flight().map(|in_flight| (in_flight.request, in_flight.to));
        let from = self.seats.get(&index).map(|seat| seat.entry().join.join);
        if asked.is_none() || asked.map(|(request, to)| (request, Some(to))) != Some((about.request, from)) {
            return true;
        }
        let mut checked = Vec::new();
        for EpochKey { statement, secret } in keys {
            let Some(statement) = self.check(index, statement) else { return true };
            match self.same_list(now, index, &statement.statement) {
                Ok(()) => {}
                // Of an epoch before the newest the list may be an older one.
                Err(false) if statement.statement.version < self.access.list().version => {}
                Err(later) => return !later,
            }
            if !self.matches(now, &statement, &secret) {
                return true;
            }
            checked.push((statement, secret));
        }
        self.keys.recovery.answered();
        let Some((newest, secret)) = checked.pop() else { return true };
        for (earlier, secret) in checked {
            let epoch = earlier.statement.epoch;
            let ascending = epoch < newest.statement.epoch && earlier.statement.host == newest.statement.host;
            if ascending && self.keys.sealing.is_none_or(|sealing| epoch > sealing) {
                let place = EpochPlace { call: &self.call, term: earlier.statement.term, epoch };
                let key = secret.media_key(place);
                self.outputs.push_back(Output::Install(Epoch(epoch), key));
                self.keys.opened(epoch);
                self.come(now, &earlier.statement);
            }
        }
        let hash = newest.hash;
        self.consider(now, index, newest, Some(secret), Some(roster), rng);
        if self.keys.head.as_ref().is_some_and(|head| head.hash == hash) {
            self.apply_coming(applied);
        }
        true
    }

    /// Somebody says what the newest statement is, or shows two of one host.
    fn told(
        &mut self,
        now: Time,
        from: SenderIndex,
        statements: &[SignedStatement],
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let mut checked = Vec::new();
        for signed in statements {
            let Some(index) = signed.claimed_host().and_then(|host| self.seated(host)) else { continue };
            if let Some(statement) = self.check(index, signed.clone()) {
                checked.push((index, statement));
            }
        }
        if let [(_, a), (_, b)] = checked.as_slice()
            && (a.statement.host, a.statement.term, a.statement.epoch)
                == (b.statement.host, b.statement.term, b.statement.epoch)
            && a.hash != b.hash
        {
            let (host, both) = (a.statement.host, [a.signed.clone(), b.signed.clone()]);
            return self.spread_evidence(host, &both, rng);
        }
        // A host that shows another's statement has stood down.
        let host = self.keys.head.as_ref().and_then(|head| self.seated(head.statement.host));
        let head = self.keys.head.as_ref().map(|head| (head.statement.host, head.statement.term));
        let higher =
            |statement: &Statement| head.is_some_and(|(host, term)| statement.host != host && statement.term > term);
        if host == Some(from) && checked.iter().any(|(_, checked)| higher(&checked.statement)) {
            self.keys.ceded = head.map(|(host, _)| host);
            if let Some(contender) = self.keys.contender.take() {
                self.reconsider(now, contender, rng);
            }
        }
        for (index, statement) in checked {
            // What it looks like alone: the one that is gone by is no news.
            let same = self.keys.head.as_ref().is_some_and(|head| head.hash == statement.hash);
            if !same {
                self.consider(now, index, statement, None, None, rng);
            }
        }
    }

    /// The host leaves its part to this device.
    fn handed_over(&mut self, now: Time, signed: Signed, rng: &mut impl rand_core::CryptoRng) {
        let (Some(head), Some(join)) = (&self.keys.head, self.own_join()) else { return };
        let Ok(handover) = Handover::verify(&signed, &head.key, self.call) else { return };
        let fits = handover.from == head.statement.host
            && handover.term == head.statement.term
            && handover.to == join
            && self.rights.speak
            && self.keys.hosting.is_none();
        if fits && let Some(term) = handover.term.checked_add(1) {
            self.keys.leaver = handover.leaves.then_some(handover.from);
            self.begin_hosting(now, join, term, Cause::HandedOver, Some(signed), rng);
        }
    }

    /// Two statements of one host for one epoch: it is host no more, and everybody is shown why (rule GRP-1).
    fn spread_evidence(&mut self, host: JoinId, statements: &[SignedStatement], rng: &mut impl rand_core::CryptoRng) {
        if self.keys.convicted.contains(&host) {
            return;
        }
        self.convict(host);
        let others: Vec<SenderIndex> =
            self.seats.iter().filter(|(_, seat)| seat.is_admitted()).map(|(index, _)| *index).collect();
        for index in others {
            let told = KeySignal::Told { statements: statements.to_vec() };
            self.post(index, about_nothing(rng), &told, rng);
        }
    }

    fn convict(&mut self, host: JoinId) {
        self.keys.convicted.insert(host);
        if let Some(index) = self.seated(host) {
            self.event(Event::HostRefused { index });
        }
    }

    /// Tells somebody which statement is gone by, now and then.
    pub(super) fn tell(&mut self, now: Time, index: SenderIndex, rng: &mut impl rand_core::CryptoRng) {
        let Some(head) = &self.keys.head else { return };
        let told = KeySignal::Told { statements: vec![head.signed.clone()] };
        let lately = self.keys.told.get(&index).is_some_and(|at| now.since(*at) < self.policy.answer_device);
        if !lately {
            self.keys.told.insert(index, now);
            self.post(index, about_nothing(rng), &told, rng);
        }
    }

    pub(super) fn heard(&mut self, now: Time) {
        self.keys.host_heard = now;
        self.keys.recovery.heard();
    }

    /// Words of hosts that came beside the sound.
    pub(super) fn mind_words(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        while let Some((index, bytes)) = self.keys.words.pop_front() {
            self.word(now, index, &bytes, rng);
        }
    }

    fn word(&mut self, now: Time, index: SenderIndex, bytes: &[u8], rng: &mut impl rand_core::CryptoRng) {
        let Some(entry) = self.seats.get(&index).filter(|seat| seat.is_admitted()).map(|seat| seat.entry()) else {
            return;
        };
        let (key, join) = (entry.grant.identity, entry.join.join);
        let Ok(word) = HostWord::verify(bytes, &key, self.call) else { return };
        if word.host != join || self.keys.convicted.contains(&join) {
            return;
        }
        let last = self.keys.word_numbers.entry(index).or_default();
        if (word.term, word.number) <= *last {
            return;
        }
        *last = (word.term, word.number);
        let soon = now + self.policy.kept;
        let Some(head) = &self.keys.head else {
            self.keys.rumour = Some((join, now));
            return self.keys.recovery.wish(Failure::Statement, soon);
        };
        let (term, host) = (head.statement.term, head.statement.host);
        if (word.term, word.host) == (term, host) {
            let behind = word.newest != head.hash || self.keys.newest_hash != Some(head.hash);
            self.heard(now);
            self.apply_coming(word.applied);
            let missing = self.keys.sealing.is_some_and(|sealing| sealing < word.applied);
            if behind || missing {
                self.keys.recovery.wish(Failure::Statement, soon);
            }
        } else if word.term > term || (word.term == term && (index, join) < (head.index, host)) {
            self.keys.rumour = Some((join, now));
            self.keys.recovery.wish(Failure::Statement, soon);
        } else {
            self.tell(now, index, rng);
        }
    }

    /// Whom this device may ask for keys.
    pub(super) fn target(&self, now: Time) -> Target {
        let is_host = self.keys.hosting.is_some() && self.keys.rumour.is_none();
        let fresh = |at: Time| now.since(at) < self.policy.request_timeout;
        let rumour = self.keys.rumour.filter(|(_, at)| fresh(*at)).map(|(join, _)| join);
        let head = self.keys.head.as_ref().map(|head| head.statement.host);
        let good = |join: &JoinId| self.seated(*join).is_some() && !self.keys.convicted.contains(join);
        let first = || self.succession().first().map(|(_, join)| *join).filter(|join| Some(*join) != self.own_join());
        let host = rumour.filter(good).or_else(|| head.filter(good)).or_else(first);
        Target { is_host, host: host.filter(|join| Some(*join) != self.own_join()) }
    }

    /// Asks for keys where it is time to (rule EKR-2).
    pub(super) fn mind_recovery(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let policy = self.policy;
        if let Some(again) = self.keys.recovery.take_again(now, &policy) {
            self.ask(again.to, again.request, rng);
        }
        if let Some(hosting) = &self.keys.hosting
            && self.keys.recovery.take_lost()
        {
            // A host asks nobody: it has what it has drawn.
            for drawn in &hosting.keys {
                let epoch = Epoch(drawn.statement.epoch);
                self.outputs.push_back(Output::Install(epoch, drawn.secret.media_key(drawn.place())));
            }
        }
        let target = self.target(now);
        let Some((to, failure)) = self.keys.recovery.due(now, target, &policy) else { return };
        let request = RequestId::random(rng);
        self.keys.recovery.asked(now, request, to, failure);
        if let Some(index) = self.ask(to, request, rng) {
            self.event(Event::Asked { index });
        }
    }

    /// Whether this device has gone as far as the host has, with another key: it could not take the host's.
    fn is_beside(&self) -> bool {
        let head = self.keys.head.as_ref();
        head.is_some_and(|head| {
            self.keys.newest >= Some(head.statement.epoch) && self.keys.newest_hash != Some(head.hash)
        })
    }

    fn ask(&mut self, to: JoinId, request: RequestId, rng: &mut impl rand_core::CryptoRng) -> Option<SenderIndex> {
        let (join, index) = (self.own_join()?, self.seated(to)?);
        let held = self.keys.held();
        let signal = KeySignal::Request {
            join,
            held,
            newest: self.keys.newest.unwrap_or_default(),
            stuck: self.keys.stuck || self.is_beside(),
            version: self.access.list().version,
            term: self.keys.term,
        };
        self.post(index, About { term: 0, epoch: 0, request }, &signal, rng);
        Some(index)
    }
}

/// What stands in the header of a letter that is about no epoch.
fn about_nothing(rng: &mut impl rand_core::CryptoRng) -> About {
    About { term: 0, epoch: 0, request: RequestId::random(rng) }
}
