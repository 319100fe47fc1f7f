//! Who is host, and who follows it (rule GRP-1).

use undertone_keys::{JoinId, Time};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::Cause;

use super::chain::HostState;
use crate::room::RoomCall;

impl RoomCall {
    pub(in crate::room) fn own_index(&self) -> Option<SenderIndex> {
        self.me.as_ref().and_then(|me| me.index)
    }

    pub(in crate::room) fn own_join(&self) -> Option<JoinId> {
        self.me.as_ref().filter(|me| me.index.is_some()).map(|me| me.join)
    }

    /// The index of an admitted join that is in.
    pub(super) fn seated(&self, join: JoinId) -> Option<SenderIndex> {
        let mut seats = self.seats.iter().filter(|(_, seat)| seat.is_admitted());
        seats.find(|(_, seat)| seat.entry().join.join == join).map(|(index, _)| *index)
    }

    /// Everybody who may be host, in the order in which they follow each other: as the newest statement has it, and who is
    /// not in it by the order in which they came. Somebody who only listens holds no keys for others.
    pub(super) fn succession(&self) -> Vec<(SenderIndex, JoinId)> {
        let me = self.me.as_ref().filter(|_| self.rights.speak);
        let me = me.and_then(|me| Some((me.index?, me.join)));
        let others = self.seats.iter().filter(|(_, seat)| seat.is_admitted() && seat.entry().grant.rights.speak);
        let others = others.map(|(index, seat)| (*index, seat.entry().join.join));
        let mut all: Vec<_> = others.chain(me).filter(|(_, join)| !self.keys.convicted.contains(join)).collect();
        let roster = self.keys.head.as_ref().and_then(|head| head.roster.as_ref());
        let place = |join: JoinId| {
            let places = roster.map_or(&[][..], |roster| roster.places());
            places.iter().position(|place| place.join == join).unwrap_or(usize::MAX)
        };
        all.sort_by_key(|(index, join)| (place(*join), *index));
        all
    }

    /// What this device thinks of the host that it goes by.
    pub(super) fn host_state(&self, now: Time) -> HostState {
        let Some(head) = &self.keys.head else { return HostState::Gone };
        let host = head.statement.host;
        if self.own_join() == Some(host) && self.keys.hosting.is_some() {
            return HostState::Me;
        }
        if self.seated(host).is_none() {
            return HostState::Gone;
        }
        let heard = self.keys.host_spoke.is_some_and(|at| now.since(at) < self.policy.host_doubtful);
        let good = !self.keys.convicted.contains(&host) && self.keys.ceded != Some(host);
        if good && heard { HostState::Heard } else { HostState::Doubtful }
    }

    /// Becomes host where nobody is, and it is this device's turn.
    pub(super) fn mind_succession(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(join) = self.own_join() else { return };
        if self.keys.hosting.is_some() || self.expected.is_some() {
            return;
        }
        match self.turn(now) {
            Some((at, cause)) if at <= now => {
                let term = self.keys.head.as_ref().map_or(0, |head| head.statement.term).max(self.keys.term);
                let Some(term) = term.checked_add(1) else { return };
                self.begin_hosting(now, join, term, cause, None, rng);
            }
            _ => {}
        }
    }

    /// When it is this device's turn to be host, as things stand, and why.
    pub(super) fn turn(&self, now: Time) -> Option<(Time, Cause)> {
        let join = self.own_join()?;
        // Whoever could give a key to nobody is no host; and where the server is gone, nobody follows a host that is heard.
        // Nor does a host on its way out follow itself: what it drew then would stand beside what its successor draws.
        if self.keys.offline.is_some() || self.keys.leaving {
            return None;
        }
        let head = self.keys.head.as_ref();
        let host = head.map(|head| head.statement.host);
        let order = self.succession();
        let mut before = order.iter().filter(|(_, other)| Some(*other) != host || *other == join);
        let rank = u32::try_from(before.position(|(_, other)| *other == join)?).unwrap_or(u32::MAX);
        let step = self.policy.succession_step.saturating_mul(rank);
        // Somebody who came before and is being proven is given a moment.
        let rivals = self.seats.iter().filter(|(_, seat)| seat.is_being_proven(now));
        if rank == 0 && rivals.into_iter().any(|(index, _)| Some(*index) < self.own_index()) && head.is_none() {
            return None;
        }
        let cause = if head.is_some() { Cause::TakenOver } else { Cause::Opened };
        let since = match (self.keys.host_gone, host) {
            // Nobody has been host; whoever came first is, and is waited for.
            (_, None) if rank == 0 => self.keys.joined_at,
            (_, None) => self.keys.joined_at + self.policy.host_silent,
            (Some(gone), _) => gone,
            (None, Some(_)) => self.keys.host_heard + self.policy.host_silent,
        };
        // Whoever was cut off hears first who is host now.
        let back = self.keys.reachable_at.filter(|_| !self.seats.is_empty()).map(|at| at + self.policy.host_doubtful);
        Some((back.map_or(since, |back| back.max(since)) + step, cause))
    }

    /// Notes whether the host is in the room.
    pub(super) fn mind_presence(&mut self, now: Time) {
        let Some(head) = &self.keys.head else { return };
        let host = head.statement.host;
        let good = !self.keys.convicted.contains(&host);
        let me = self.own_join() == Some(host) && self.keys.hosting.is_some();
        if me || (good && self.seated(host).is_some()) {
            self.keys.host_gone = None;
        } else if self.keys.host_gone.is_none() && self.expected.is_none() {
            self.keys.host_gone = Some(now);
        }
    }
}
