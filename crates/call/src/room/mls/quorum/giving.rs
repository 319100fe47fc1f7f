//! What a member does for whoever is to have the quorum secret too.

use std::collections::BTreeMap;

use undertone_groups::member::Standpoint;
use undertone_keys::{JoinId, RequestId, Time, UserId};
use undertone_media::key_id::SenderIndex;

use super::{AGAIN, KEPT, MAX_GIVING, MAX_GIVING_TO_ONE, Quorum};
use crate::quorum::{Exchange, Exchanged, LONGEST, NoQuorum, QuorumNodes};
use crate::room::keys::About;
use crate::room::mls::Mls;
use crate::room::{KeySignal, Output, RoomCall};

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

/// Shares for one join.
#[derive(Debug)]
struct Gift {
    join: JoinId,
    index: SenderIndex,
    user: UserId,
    /// The asker's.
    request: RequestId,
    state: GiftState,
}

#[derive(Debug)]
enum GiftState {
    /// The shell leaves the shares.
    AwaitingNodes(u64),
    /// The same, and nobody needs them any more: they are taken back when they are there.
    Forlorn(u64),
    /// The asker is to say that it has taken them.
    AwaitingTaken { set: Vec<u8>, until: Time },
}

impl Giving {
    pub(super) fn timeout(&self) -> Option<Time> {
        let until = |gift: &Gift| match gift.state {
            GiftState::AwaitingTaken { until, .. } => Some(until),
            GiftState::AwaitingNodes(_) | GiftState::Forlorn(_) => None,
        };
        self.open.iter().filter_map(until).min()
    }

    /// Takes out what is done with, and the shares of it that lie at the nodes. Those that are on their way are taken back when they are there.
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
                GiftState::AwaitingNodes(number) => {
                    gift.state = GiftState::Forlorn(*number);
                    true
                }
                GiftState::Forlorn(_) => true,
            }
        });
        sets
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
        let (join, user) = (seat.entry().join.join, seat.member().user.clone());
        let giving = &mut quorum.giving;
        let posting = |gift: &&mut Gift| matches!(gift.state, GiftState::AwaitingNodes(_)) && gift.join == join;
        if let Some(gift) = giving.open.iter_mut().find(posting) {
            // It has not waited for the answer to the question before.
            gift.request = request;
            return;
        }
        let before = giving.close(|gift| gift.join == join);
        giving.served.retain(|_, at| now.since(*at) < AGAIN);
        let to_one = giving.open.iter().filter(|gift| gift.user == user).count();
        let full = giving.open.len() >= MAX_GIVING || to_one >= MAX_GIVING_TO_ONE;
        let busy = full || giving.served.contains_key(&join);
        let sure = matches!(mls.membership.standpoint(), Standpoint::Inside(_)) && !mls.held;
        let secret = if sure && !busy && offer.len() <= LONGEST { mls.membership.quorum(&mls.store) } else { None };
        self.take_back(before);
        let Some(secret) = secret else {
            let inside = matches!(mls.membership.standpoint(), Standpoint::Inside(_) | Standpoint::Rejoining);
            return self.post(from, About { term: 0, epoch: 0, request }, &KeySignal::QuorumNone { inside }, rng);
        };
        let number = quorum.number();
        quorum.giving.served.insert(join, now);
        quorum.giving.open.push(Gift { join, index: from, user, request, state: GiftState::AwaitingNodes(number) });
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
        let giving = &mut quorum.giving;
        let of = |gift: &Gift| match gift.state {
            GiftState::AwaitingNodes(posting) | GiftState::Forlorn(posting) => posting == number,
            GiftState::AwaitingTaken { .. } => false,
        };
        let Some(place) = giving.open.iter().position(of) else { return };
        let mut gift = giving.open.swap_remove(place);
        let (index, join, request) = (gift.index, gift.join, gift.request);
        let wanted = matches!(gift.state, GiftState::AwaitingNodes(_));
        let about = About { term: 0, epoch: 0, request };
        let here = self.seats.get(&index).is_some_and(|seat| seat.entry().join.join == join);
        match exchanged {
            Ok(Exchanged { set, nodes, .. }) if here && wanted => {
                (giving.given, giving.nodes) = (giving.given.saturating_add(1), Some(nodes));
                gift.state = GiftState::AwaitingTaken { set: set.clone(), until: now + KEPT };
                giving.open.push(gift);
                self.post(index, about, &KeySignal::QuorumGiven { set }, rng);
            }
            // Who has gone meanwhile, or has it, takes nothing any more.
            Ok(Exchanged { set, .. }) => self.take_back(vec![set]),
            Err(NoQuorum) if here && wanted => {
                self.post(index, about, &KeySignal::QuorumNone { inside: true }, rng);
            }
            Err(NoQuorum) => {}
        }
    }

    /// Somebody has taken what it asked for, or could not.
    pub(super) fn quorum_taken(&mut self, quorum: &mut Quorum, from: SenderIndex, ask: RequestId) {
        let sets = quorum.giving.close(|gift| gift.index == from && gift.request == ask);
        self.take_back(sets);
    }

    /// Takes back what nobody needs any more.
    pub(super) fn mind_giving(&mut self, quorum: &mut Quorum, now: Time) {
        let here = |gift: &Gift| {
            self.seats.get(&gift.index).is_some_and(|seat| seat.is_admitted() && seat.entry().join.join == gift.join)
        };
        let over = |gift: &Gift| match gift.state {
            GiftState::AwaitingTaken { until, .. } => until <= now || !here(gift),
            GiftState::AwaitingNodes(_) => !here(gift),
            GiftState::Forlorn(_) => false,
        };
        let sets = quorum.giving.close(over);
        self.take_back(sets);
    }

    fn take_back(&mut self, sets: Vec<Vec<u8>>) {
        self.outputs.extend(sets.into_iter().map(|set| Output::TakeBack { set }));
    }
}
