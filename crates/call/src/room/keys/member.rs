//! A member's part: reading what others say about keys (rules GRP-3, EKR-6).

use undertone_keys::agreement::Refused;
use undertone_keys::envelope::Address;
use undertone_keys::epoch_secret::EpochPlace;
use undertone_keys::sign::Signed;
use undertone_keys::static_key::Answer;
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::Epoch;
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::{Cause, Handover, Roster, SignedStatement, Statement};

use super::answers::Asked;
use super::post::About;
use super::recovery::Failure;
use crate::room::signal::{EpochKey, RosterNews};
use crate::room::{Event, KeySignal, Leaving, Output, RoomCall};

/// A statement that its host's device has signed.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) signed: SignedStatement,
    pub(super) statement: Statement,
    pub(super) hash: [u8; 32],
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
        self.read(now, from, bytes, None, rng);
    }

    /// The device's own key has been asked about a letter that was sealed to it.
    pub(in crate::room) fn key_answered(
        &mut self,
        now: Time,
        request: u64,
        answer: Result<Answer, Refused>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if let (Some((from, bytes)), Ok(answer)) = (self.keys.letters.asked_about(request), answer) {
            self.read(now, from, bytes, Some(answer), rng);
        }
    }

    fn read(
        &mut self,
        now: Time,
        from: Address,
        bytes: Vec<u8>,
        answer: Option<Answer>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if !self.is_blind() {
            return;
        }
        let Some(index) = self.admitted_device(&from) else {
            // Its sender is perhaps being proven at this moment, or begins to be now.
            self.question_of(now, &from);
            return self.keys.letters.keep_early(from, bytes);
        };
        let Some(opened) = self.open_letter(&from, &bytes, answer) else { return };
        let about = opened.about;
        if let KeySignal::Group { epoch, authenticator } = opened.signal {
            return self.group_letter(index, epoch, authenticator);
        }
        let signal = match opened.signal {
            KeySignal::Quorum(signal) => return self.quorum_letter(index, about.request, signal),
            KeySignal::Listen { newest } => return self.listener_asks(now, index, newest),
            KeySignal::Hear { epoch, key, checkpoint, removed } => {
                return self.hears(now, index, (epoch, key, removed), checkpoint);
            }
            signal => signal,
        };
        // Where all make the keys nobody hands them out.
        if self.has_group() {
            return;
        }
        match signal {
            KeySignal::Prepare { key, roster, checkpoint, applied } => {
                self.told_checkpoint(index, checkpoint);
                if !self.prepared(now, index, about, (key, applied), roster, rng) {
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
            KeySignal::Group { .. } | KeySignal::Listen { .. } | KeySignal::Hear { .. } | KeySignal::Quorum(_) => {}
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
    pub(super) fn check(&self, index: SenderIndex, signed: SignedStatement) -> Option<Checked> {
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

    /// A host hands out an epoch. `false`: to be looked at again when the list is there.
    fn prepared(
        &mut self,
        now: Time,
        index: SenderIndex,
        about: About,
        (key, applied): (EpochKey, u32),
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
        let hash = checked.hash;
        self.consider(now, index, checked, Some(key.secret), roster, rng);
        if self.keys.head.as_ref().is_some_and(|head| head.hash == hash) {
            self.apply_coming(applied);
        }
        true
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
        // One without a key answers nothing: the request waits on, and is given up in time.
        if keys.is_empty() {
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
    pub(super) fn spread_evidence(
        &mut self,
        host: JoinId,
        statements: &[SignedStatement],
        rng: &mut impl rand_core::CryptoRng,
    ) {
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

    pub(super) fn convict(&mut self, host: JoinId) {
        self.keys.convicted.insert(host);
        if let Some(index) = self.seated(host) {
            self.event(Event::HostRefused { index });
        }
    }
}

/// What stands in the header of a letter that is about no epoch.
pub(super) fn about_nothing(rng: &mut impl rand_core::CryptoRng) -> About {
    About { term: 0, epoch: 0, request: RequestId::random(rng) }
}
