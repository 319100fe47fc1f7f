//! What a member does for the listeners that it serves.

use std::collections::BTreeMap;

use undertone_groups::member::{Input, Standpoint};
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::control::Refusal;

use super::{GATHER, LEASE};
use crate::room::keys::About;
use crate::room::mls::{Mls, in_the_ring};
use crate::room::roster::Seat;
use crate::room::signal::ListenersKey;
use crate::room::{KeySignal, RoomCall};

/// A listener that this device serves.
#[derive(Debug)]
pub(in crate::room) struct Served {
    join: JoinId,
    /// The newest epoch that it was sent.
    sent: Option<u64>,
    until: Time,
}

impl RoomCall {
    /// A listener asks for the key, or says that it is still there. It has what it says it has, or else it would not say so.
    pub(in crate::room) fn listener_asks(&mut self, now: Time, index: SenderIndex, newest: Option<u64>) {
        let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted() && seat.only_listens()) else { return };
        let (join, since) = (seat.entry().join.join, seat.since());
        let pause = self.policy.coalesce_with(self.seats.len());
        let Some(mls) = &mut self.mls else { return };
        mls.audience.insert(index, Served { join, sent: newest, until: now + LEASE });
        // Of no epoch that was opened before it was in: those who come together share the next.
        if mls.began.as_ref().is_none_or(|began| began.at < since) {
            mls.tell(Input::Renew { at: now + pause, removed: false });
        }
    }

    /// A listener is gone: the key that it has been given is changed, by whoever is first in its order to do so.
    pub(in crate::room) fn listener_gone(&mut self, now: Time, index: SenderIndex, join: JoinId, reason: Refusal) {
        let own = self.own_join();
        let place = self.servers(join).iter().position(|(member, _)| Some(*member) == own).unwrap_or_default();
        let crowd = self.seats.len() > self.policy.crowd;
        let removed = !matches!(reason, Refusal::Left);
        let Some(mls) = &mut self.mls else { return };
        mls.audience.remove(&index);
        let gather = if crowd && !removed { GATHER } else { core::time::Duration::ZERO };
        let wait = mls.step().saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        mls.tell(Input::Renew { at: now + gather + wait, removed: true });
    }

    /// Sends the key of the present epoch to whoever lacks it.
    pub(in crate::room) fn mind_audience(
        &mut self,
        mls: &mut Mls,
        now: Time,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let seats = &self.seats;
        let here = |index: &SenderIndex, join| {
            seats.get(index).is_some_and(|seat| seat.is_admitted() && seat.entry().join.join == join)
        };
        mls.audience.retain(|index, served| served.until > now && here(index, served.join));
        let due = mls.unserved(|index| seats.get(&index).map(Seat::since));
        let Some(epoch) = mls.present().filter(|_| !due.is_empty()) else { return };
        let Some(key) = mls.media_secret() else { return };
        for index in due {
            if !mls.pace.take(now, &self.policy) {
                return;
            }
            let about = About { term: 0, epoch: in_the_ring(epoch).0, request: RequestId::random(rng) };
            self.post(index, about, &KeySignal::Hear { epoch, key: ListenersKey::of(&key) }, rng);
            if let Some(served) = mls.audience.get_mut(&index) {
                served.sent = Some(epoch);
            }
        }
    }

    pub(in crate::room) fn audience_timeout(&self, mls: &Mls) -> Option<Time> {
        let ends = mls.audience.values().map(|served| served.until).min();
        let waiting = !mls.unserved(|index| self.seats.get(&index).map(Seat::since)).is_empty();
        let next = waiting.then(|| mls.pace.next(&self.policy));
        ends.into_iter().chain(next).min()
    }
}

impl Mls {
    /// The epoch whose key may be handed on: none where this device itself is not sure of it.
    fn present(&self) -> Option<u64> {
        match self.membership.standpoint() {
            Standpoint::Inside(epoch) if !self.held => Some(epoch),
            _ => None,
        }
    }

    /// Whom this device serves, and who may have the key of the present epoch and was not sent it.
    fn unserved(&self, since: impl Fn(SenderIndex) -> Option<Time>) -> Vec<SenderIndex> {
        let (Some(epoch), Some(began)) = (self.present(), &self.began) else { return Vec::new() };
        let audience: &BTreeMap<SenderIndex, Served> = &self.audience;
        let lacks = audience.iter().filter(|(_, served)| served.sent != Some(epoch));
        lacks.map(|(index, _)| *index).filter(|index| since(*index).is_some_and(|since| since <= began.at)).collect()
    }
}
