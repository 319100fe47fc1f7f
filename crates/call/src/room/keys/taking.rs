//! Going by a statement, or not, and what comes of it (rules GRP-1, GRP-3).

use core::time::Duration;

use undertone_keys::epoch_secret::{EpochPlace, EpochSecret};
use undertone_keys::{RequestId, Time};
use undertone_media::Epoch;
use undertone_media::faults::{Fault, is_planted};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::{Cause, Handover, Roster, Statement};

use super::chain::{Head, HostState, Verdict, judge};
use super::member::{Checked, about_nothing};
use super::post::About;
use super::recovery::Failure;
use super::{Coming, Contender};
use crate::room::{Event, KeySignal, Output, RoomCall};

impl RoomCall {
    /// A statement that was set aside is looked at again.
    pub(super) fn reconsider(&mut self, now: Time, contender: Contender, rng: &mut impl rand_core::CryptoRng) {
        let Contender { index, signed, secret, roster, .. } = contender;
        if let Some(checked) = self.check(index, signed) {
            self.consider(now, index, checked, secret, roster, rng);
        }
    }

    /// Whether a secret is the one its statement commits to. A host that sends others twice is one no more.
    pub(super) fn matches(&mut self, now: Time, checked: &Checked, secret: &EpochSecret) -> bool {
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
    pub(super) fn consider(
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
                    self.spoke(now);
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

    /// Whether a takeover is one too many: its host has followed others that were still there before. What it calls it
    /// makes no difference, but for a handover that the host before has signed.
    fn usurps(&mut self, statement: &Statement) -> bool {
        let Some(head) = &self.keys.head else { return false };
        let before = head.statement.host;
        let other = before != statement.host && statement.term > head.statement.term;
        let there = self.seated(before).is_some() || self.own_join() == Some(before);
        if !other || self.is_named(statement) || !there {
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
        self.keys.host_spoke = secret.as_ref().map(|_| now);
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
    pub(super) fn come(&mut self, now: Time, statement: &Statement) {
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
        if coming.removed && is_planted(Fault::StaysBehind) {
            return;
        }
        if self.keys.sealing.is_some_and(|sealing| sealing >= epoch) {
            return;
        }
        self.outputs.push_back(Output::Promote { epoch: Epoch(epoch), removed: coming.removed });
        self.keys.seals(epoch);
        self.event(Event::Epoch(Epoch(epoch)));
    }
}
