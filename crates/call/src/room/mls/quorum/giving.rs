//! What a member does for whoever is to have the quorum secret too.

use std::collections::BTreeMap;

use undertone_groups::member::Standpoint;
use undertone_keys::{JoinId, RequestId, Time, UserId};
use undertone_media::key_id::SenderIndex;

use super::{AGAIN, KEPT, MAX_GIVING, MAX_GIVING_TO_ONE, Quorum, QuorumSignal};
use crate::quorum::{Exchange, Exchanged, LONGEST, NoQuorum, QuorumNodes};
use crate::room::mls::Mls;
use crate::room::{Output, RoomCall};

/// Those whom this device gives the secret to.
#[derive(Debug, Default)]
pub(super) struct Giving {
    open: Vec<Gift>,
    /// When each join was last served.
    served: BTreeMap<JoinId, Time>,
    pub(super) given: u32,
    /// Over which nodes the last one went.
    pub(super) nodes: Option<QuorumNodes>,
}

/// Who asks.
#[derive(Debug)]
struct Asker {
    join: JoinId,
    index: SenderIndex,
    user: UserId,
    /// The question's id.
    request: RequestId,
}

/// Shares for one join.
#[derive(Debug)]
struct Gift {
    asker: Asker,
    state: GiftState,
}

#[derive(Debug)]
enum GiftState {
    /// The shell leaves the shares. Those that nobody needs any more are taken back when they are there.
    AwaitingNodes { exchange: u64, wanted: bool },
    /// The asker is to say that it has taken them.
    AwaitingTaken { set: Vec<u8>, until: Time },
}

/// What comes of what the shell has done.
#[derive(Debug, PartialEq, Eq)]
enum Posted {
    /// The shares are there: the asker is told where.
    Given(SenderIndex, RequestId, Vec<u8>),
    /// They are not, and the asker is told that.
    NotGiven(SenderIndex, RequestId),
    /// Nobody needs what is there.
    TakeBack(Vec<u8>),
}

impl Giving {
    pub(super) fn timeout(&self) -> Option<Time> {
        let until = |gift: &Gift| match gift.state {
            GiftState::AwaitingTaken { until, .. } => Some(until),
            GiftState::AwaitingNodes { .. } => None,
        };
        self.open.iter().filter_map(until).min()
    }

    /// Whether shares for this join are on their way: they are for its newest question, which did not wait for the answer to the one before.
    fn is_posting(&mut self, asker: &Asker) -> bool {
        let posting = |gift: &&mut Gift| {
            gift.asker.join == asker.join && matches!(gift.state, GiftState::AwaitingNodes { wanted: true, .. })
        };
        let gift = self.open.iter_mut().find(posting);
        gift.map(|gift| gift.asker.request = asker.request).is_some()
    }

    /// Whether one more may be served.
    fn has_room(&mut self, now: Time, asker: &Asker) -> bool {
        self.served.retain(|_, at| now.since(*at) < AGAIN);
        let to_one = self.open.iter().filter(|gift| gift.asker.user == asker.user).count();
        self.open.len() < MAX_GIVING && to_one < MAX_GIVING_TO_ONE && !self.served.contains_key(&asker.join)
    }

    fn begin(&mut self, now: Time, asker: Asker, exchange: u64) {
        self.served.insert(asker.join, now);
        self.open.push(Gift { asker, state: GiftState::AwaitingNodes { exchange, wanted: true } });
    }

    /// The shell has left the shares, or too few nodes took one. `is_here`: whether an asker still is.
    fn posted(
        &mut self,
        now: Time,
        number: u64,
        exchanged: Result<Exchanged, NoQuorum>,
        is_here: impl Fn(&Asker) -> bool,
    ) -> Option<Posted> {
        let of = |gift: &Gift| matches!(gift.state, GiftState::AwaitingNodes { exchange, .. } if exchange == number);
        let place = self.open.iter().position(of)?;
        let Gift { asker, state } = self.open.swap_remove(place);
        let (index, request) = (asker.index, asker.request);
        let wanted = matches!(state, GiftState::AwaitingNodes { wanted: true, .. }) && is_here(&asker);
        match exchanged {
            Ok(Exchanged { set, nodes, .. }) if wanted => {
                (self.given, self.nodes) = (self.given.saturating_add(1), Some(nodes));
                let state = GiftState::AwaitingTaken { set: set.clone(), until: now + KEPT };
                self.open.push(Gift { asker, state });
                Some(Posted::Given(index, request, set))
            }
            // Who has gone meanwhile, or has it, takes nothing any more.
            Ok(Exchanged { set, .. }) => Some(Posted::TakeBack(set)),
            Err(NoQuorum) => wanted.then_some(Posted::NotGiven(index, request)),
        }
    }

    /// Takes out what is done with, and gives the shares of it that lie at the nodes. Those that are on their way are taken back when they are
    /// there.
    fn close(&mut self, mut done: impl FnMut(&Gift) -> bool) -> Vec<Vec<u8>> {
        let mut sets = Vec::new();
        self.open.retain_mut(|gift| {
            if !done(gift) {
                return true;
            }
            match &mut gift.state {
                GiftState::AwaitingTaken { set, .. } => {
                    sets.push(core::mem::take(set));
                    false
                }
                GiftState::AwaitingNodes { wanted, .. } => {
                    *wanted = false;
                    true
                }
            }
        });
        sets
    }

    /// The same of whoever has had enough time to take them, or has gone.
    fn close_over(&mut self, now: Time, is_here: impl Fn(&Asker) -> bool) -> Vec<Vec<u8>> {
        self.close(|gift| match gift.state {
            GiftState::AwaitingTaken { until, .. } => until <= now || !is_here(&gift.asker),
            GiftState::AwaitingNodes { .. } => !is_here(&gift.asker),
        })
    }
}

impl RoomCall {
    /// Somebody asks for the secret.
    pub(super) fn quorum_asked(
        &mut self,
        mls: &Mls,
        quorum: &mut Quorum,
        now: Time,
        (from, request, offer): (SenderIndex, RequestId, Vec<u8>),
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(seat) = self.seats.get(&from) else { return };
        let asker = Asker { join: seat.entry().join.join, index: from, user: seat.member().user.clone(), request };
        let giving = &mut quorum.giving;
        if giving.is_posting(&asker) {
            return;
        }
        let before = giving.close(|gift| gift.asker.join == asker.join);
        let room = giving.has_room(now, &asker);
        self.take_back(before);
        let sure = matches!(mls.membership.standpoint(), Standpoint::Inside(_)) && !mls.held;
        let secret = if sure && room && offer.len() <= LONGEST { mls.membership.quorum(&mls.store) } else { None };
        let Some(secret) = secret else {
            let inside = matches!(mls.membership.standpoint(), Standpoint::Inside(_) | Standpoint::Rejoining);
            return self.say_of_quorum(from, request, QuorumSignal::None { inside }, rng);
        };
        let number = quorum.number();
        quorum.giving.begin(now, asker, number);
        self.exchange(number, Exchange::Share { offer, secret });
    }

    /// The shell has left the shares, or too few nodes took one.
    pub(super) fn quorum_posted(
        &mut self,
        quorum: &mut Quorum,
        now: Time,
        number: u64,
        exchanged: Result<Exchanged, NoQuorum>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        match quorum.giving.posted(now, number, exchanged, |asker| self.is_here(asker)) {
            Some(Posted::Given(to, request, set)) => self.say_of_quorum(to, request, QuorumSignal::Given { set }, rng),
            Some(Posted::NotGiven(to, request)) => {
                self.say_of_quorum(to, request, QuorumSignal::None { inside: true }, rng)
            }
            Some(Posted::TakeBack(set)) => self.take_back(vec![set]),
            None => {}
        }
    }

    /// Somebody has taken what it asked for, or could not.
    pub(super) fn quorum_taken(&mut self, quorum: &mut Quorum, from: SenderIndex, ask: RequestId) {
        let sets = quorum.giving.close(|gift| gift.asker.index == from && gift.asker.request == ask);
        self.take_back(sets);
    }

    /// Takes back what nobody needs any more.
    pub(super) fn mind_giving(&mut self, quorum: &mut Quorum, now: Time) {
        let sets = quorum.giving.close_over(now, |asker| self.is_here(asker));
        self.take_back(sets);
    }

    fn is_here(&self, asker: &Asker) -> bool {
        self.seats.get(&asker.index).is_some_and(|seat| seat.is_admitted() && seat.entry().join.join == asker.join)
    }

    fn take_back(&mut self, sets: Vec<Vec<u8>>) {
        self.outputs.extend(sets.into_iter().map(|set| Output::TakeBack { set }));
    }
}

#[cfg(test)]
mod tests;
