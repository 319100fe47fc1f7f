//! What a member does for the listeners that it serves.

use core::time::Duration;
use std::collections::BTreeMap;

use undertone_groups::Shares;
use undertone_groups::member::{Input, Standpoint};
use undertone_keys::{RequestId, Time};
use undertone_media::faults::{Fault, is_planted};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::control::Refusal;

use super::{AGAIN, FOLLOWED, GATHER, LEASE};
use crate::room::keys::{About, Pace};
use crate::room::mls::{Mls, in_the_ring};
use crate::room::policy::GroupPolicy;
use crate::room::roster::Seat;
use crate::room::signal::ListenersKey;
use crate::room::{KeySignal, RoomCall};

/// The listeners that this device serves.
#[derive(Debug)]
pub(in crate::room) struct Audience {
    served: BTreeMap<SenderIndex, Served>,
    /// Somebody may lack a key that they are to have: looked into at the next input.
    due: bool,
    /// When the first of them is forgotten, unless it says that it is still there.
    ends: Option<Time>,
    pace: Pace,
    /// Of the present epoch.
    shares: Option<Shares>,
    /// Members who say that there is a newer list than this device has, and which.
    newer: BTreeMap<SenderIndex, u32>,
    /// When keys were last changed since somebody goes by an older list.
    renewed_at: Time,
}

/// A listener that this device serves.
#[derive(Debug)]
struct Served {
    /// The newest epoch that it was sent, or has by its own word.
    has: Option<u64>,
    /// When it was sent a key last.
    sent: Option<Time>,
    until: Time,
}

impl Audience {
    pub(in crate::room) const fn new() -> Self {
        let pace = Pace::new(Time::ZERO, &GroupPolicy::DEFAULT);
        Self {
            served: BTreeMap::new(),
            due: false,
            ends: None,
            pace,
            shares: None,
            newer: BTreeMap::new(),
            renewed_at: Time::ZERO,
        }
    }

    pub(super) fn served(&self) -> usize {
        self.served.len()
    }

    /// There is another epoch, or this device may be sure of the present one again.
    pub(in crate::room) fn epoch_changed(&mut self) {
        (self.due, self.shares) = (true, None);
    }
}

impl RoomCall {
    /// A letter came of somebody in the audience whom this device had no reason to prove before.
    pub(in crate::room) fn question_of(&mut self, now: Time, from: &undertone_keys::envelope::Address) {
        if self.mls.is_none() {
            return;
        }
        let mut seats = self.seats.iter_mut().filter(|(_, seat)| seat.is_audience() && seat.member() == from);
        if let Some((index, seat)) = seats.next()
            && seat.ask(now)
        {
            let index = *index;
            self.examine(now, index);
        }
    }

    /// A listener asks for the key, or says that it is still there. It has what it says it has, or else it would not say so.
    pub(in crate::room) fn listener_asks(&mut self, now: Time, index: SenderIndex, newest: Option<u64>) {
        let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted() && seat.is_audience()) else { return };
        let (since, user) = (seat.since(), seat.member().user.clone());
        let may = self.may_have(since);
        let pause = self.policy.coalesce_with(self.seats.len());
        let Some(mls) = &mut self.mls else { return };
        let until = now + LEASE;
        let served = mls.audience.served.entry(index).or_insert(Served { has: newest, sent: None, until });
        served.until = until;
        // Who asks again at once is not sent it again at once: there are others who wait (rule EKR-5).
        if served.sent.is_none_or(|sent| now.since(sent) >= AGAIN) {
            served.has = newest;
        }
        mls.audience.ends = Some(mls.audience.ends.map_or(until, |ends| ends.min(until)));
        mls.audience.due = true;
        if !may {
            mls.tell(Input::Renew { at: now + pause, removed: false });
        }
        self.prove_again(now, &user);
    }

    /// Whether a listener that came then may have the key of the present epoch: one that began after it came, so that those who come
    /// together share the next. In a crowd also any that began under the same list: they might have been in by then, and thousands of
    /// letters for each who comes are more than that is worth.
    fn may_have(&self, since: Time) -> bool {
        let Some(began) = self.mls.as_ref().and_then(|mls| mls.began.as_ref()) else { return false };
        self.is_for(began.at, began.version, since)
    }

    fn is_for(&self, began: Time, version: u32, since: Time) -> bool {
        since <= began || (self.is_crowd() && version == self.access.list().version)
    }

    /// A listener is gone: the key that it may have been given is changed, by whoever is first in its order and can. Who gave it is not
    /// asked: that one may be cut off at this moment.
    pub(in crate::room) fn listener_gone(&mut self, now: Time, index: SenderIndex, seat: &Seat, reason: Refusal) {
        let own = self.own_join();
        let servers = self.servers(seat.entry().join.join);
        let place = servers.iter().position(|(member, _)| Some(*member) == own).unwrap_or(servers.len());
        // Whoever put somebody out does not wait; a connection that ended or was replaced is no reason to hurry.
        let gather = if reason != Refusal::Removed && self.is_crowd() { GATHER } else { Duration::ZERO };
        let Some(mls) = &mut self.mls else { return };
        mls.audience.served.remove(&index);
        if is_planted(Fault::KeepsTheAudience) {
            return;
        }
        let wait = mls.step().saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        mls.tell(Input::Renew { at: now + gather + wait, removed: true });
    }

    /// Sends the key of the present epoch to whoever is to have it and does not.
    pub(in crate::room) fn mind_audience(&mut self, mls: &mut Mls, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let audience = &mut mls.audience;
        if audience.ends.take_if(|ends| *ends <= now).is_some() {
            audience.served.retain(|_, served| served.until > now);
            audience.ends = audience.served.values().map(|served| served.until).min();
        }
        if !audience.due {
            return;
        }
        let Some((epoch, began)) = mls.present().zip(mls.began.as_ref()) else { return };
        if self.is_list_stale(mls) {
            return;
        }
        let (began, version, removed) = (began.at, began.version, began.removed);
        let lacks = mls.audience.served.iter().filter(|(_, served)| served.has != Some(epoch));
        let lacks: Vec<SenderIndex> = lacks.map(|(index, _)| *index).collect();
        let may = |index: &SenderIndex| {
            self.seats.get(index).is_some_and(|seat| seat.is_admitted() && self.is_for(began, version, seat.since()))
        };
        let mut to: Vec<SenderIndex> = lacks.into_iter().filter(may).collect();
        // Who has none, and then who has the oldest: nobody waits for ever because others are before it.
        to.sort_by_key(|index| mls.audience.served.get(index).and_then(|served| served.has));
        if !to.is_empty() && mls.shares_of(epoch).is_none() {
            // The next epoch may be one that can be opened.
            mls.audience.due = false;
            return;
        }
        for index in to {
            if !mls.audience.pace.take(now, &self.policy) {
                return;
            }
            let Some(shares) = &mls.audience.shares else { return };
            let about = About { term: 0, epoch: in_the_ring(epoch).0, request: RequestId::random(rng) };
            let key = ListenersKey::of(&shares.media);
            let checkpoint = self.checkpoint.clone();
            self.post(index, about, &KeySignal::Hear { epoch, key, checkpoint, removed }, rng);
            if let Some(served) = mls.audience.served.get_mut(&index) {
                (served.has, served.sent) = (Some(epoch), Some(now));
            }
        }
        mls.audience.due = false;
    }

    /// A member says by which version of the list it goes. A server may keep one of them from a list that takes somebody off, who would
    /// then still be served: so a newer one is fetched, and where half of the others go by it and it does not come, nothing is handed
    /// on. Whoever goes by a newer one than somebody else changes the keys once that one had time to follow.
    pub(in crate::room) fn compare_lists(&mut self, mls: &mut Mls, now: Time, index: SenderIndex, version: u32) {
        let list = self.access.list();
        let present = list.version;
        if list.terms.audience.is_none() || version == present {
            mls.audience.newer.remove(&index);
        } else if version > present {
            mls.audience.newer.retain(|index, version| *version > present && self.seats.contains_key(index));
            mls.audience.newer.insert(index, version);
            self.fetch_access(now);
        } else if now.since(self.access_since.max(mls.audience.renewed_at)) >= FOLLOWED {
            // Again and again: that one may not have heard it yet, and serves whoever it takes to be listed.
            mls.audience.renewed_at = now;
            mls.tell(Input::Renew { at: now, removed: true });
        }
    }

    fn is_list_stale(&self, mls: &Mls) -> bool {
        let members = self.seats.values().filter(|seat| seat.is_admitted() && !seat.is_audience()).count();
        let present = self.access.list().version;
        let newer = mls.audience.newer.iter().filter(|(index, version)| {
            **version > present && self.seats.get(*index).is_some_and(|seat| seat.is_admitted() && !seat.is_audience())
        });
        let newer = newer.count();
        newer > 0 && newer * 2 >= members
    }

    pub(in crate::room) fn audience_timeout(&self, mls: &Mls) -> Option<Time> {
        // Without an epoch of its own there is nothing to send, and what brings one is an input.
        let may = mls.audience.due && mls.present().is_some() && !self.is_list_stale(mls);
        let next = may.then(|| mls.audience.pace.next(&self.policy));
        mls.audience.ends.into_iter().chain(next).min()
    }
}

impl Mls {
    /// The epoch whose key may be handed on: none where this device itself is not sure of it.
    fn present(&self) -> Option<u64> {
        match self.membership.standpoint() {
            Standpoint::Inside(epoch) if !self.held && self.sealing().is_some() => Some(epoch),
            _ => None,
        }
    }

    /// What an epoch gives beside the group, if this device is in it.
    pub(in crate::room) fn shares_of(&mut self, epoch: u64) -> Option<&Shares> {
        if self.membership.standpoint() != Standpoint::Inside(epoch) {
            return None;
        }
        if self.audience.shares.is_none() {
            self.audience.shares = self.membership.shares(&self.store);
        }
        self.audience.shares.as_ref().filter(|shares| shares.epoch == epoch)
    }
}
