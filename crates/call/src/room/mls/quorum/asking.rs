//! What a device does to have the quorum secret of the group.

use std::collections::BTreeSet;

use undertone_groups::member::{Input, Standpoint};
use undertone_keys::envelope::Address;
use undertone_keys::{JoinId, RequestId, Time, UserId};
use undertone_media::key_id::SenderIndex;

use super::{ANSWER, GIVE_UP, KEPT_BACK, NOBODY, Quorum, QuorumSignal, RETRY, SHARES};
use crate::quorum::{Exchange, Exchanged, LONGEST, NoQuorum, QuorumNodes};
use crate::room::mls::Mls;
use crate::room::{Event, Leaving, RoomCall};

/// A device that has the secret, or asks for it.
#[derive(Debug)]
pub(super) struct Asking {
    /// It has one that may be the group's.
    has: bool,
    /// Who gave it, in which join, and over which nodes.
    origin: Option<(JoinId, Address, QuorumNodes)>,
    /// Since when it lacks it while there is somebody to ask.
    since: Option<Time>,
    /// When somebody is asked next.
    wish: Option<Time>,
    asked: Option<Asked>,
    /// Who was asked in vain.
    tried: BTreeSet<JoinId>,
    /// Who says to be in no group, and to have none.
    outside: BTreeSet<JoinId>,
    /// Since when nobody is there who may have it.
    nobody: Option<Time>,
    /// What the group was told: that nobody gives it.
    hopeless: bool,
    /// How often all were asked in vain.
    rounds: u32,
}

/// Who was asked.
#[derive(Debug)]
struct Asked {
    member: JoinId,
    index: SenderIndex,
    address: Address,
    request: RequestId,
    awaits: Awaits,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The member, to say where the shares are.
    Set,
    /// The shell, to put them together.
    Shares(u64),
}

impl Asking {
    pub(super) fn new(has: bool) -> Self {
        Self {
            has,
            origin: None,
            since: None,
            wish: None,
            asked: None,
            tried: BTreeSet::new(),
            outside: BTreeSet::new(),
            nobody: None,
            hopeless: false,
            rounds: 0,
        }
    }

    pub(super) fn joined(&mut self) {
        let (origin, hopeless) = (self.origin.take(), self.hopeless);
        *self = Self { origin, hopeless, ..Self::new(self.has) };
    }

    pub(super) fn origin(&self) -> Option<(&Address, &QuorumNodes)> {
        self.origin.as_ref().map(|(_, by, nodes)| (by, nodes))
    }

    pub(super) const fn is_lacking(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn awaits(&self, request: u64) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.awaits == Awaits::Shares(request))
    }

    pub(super) fn timeout(&self) -> Option<Time> {
        let asked = self.asked.as_ref().map(|asked| asked.until);
        let next = asked.or(self.wish);
        let nobody = self.nobody.map(|since| since + NOBODY).filter(|_| !self.hopeless);
        let kept_back = self.since.map(|since| since + KEPT_BACK).filter(|_| !self.hopeless);
        let give_up = self.since.map(|since| since + GIVE_UP);
        next.into_iter().chain(nobody).chain(kept_back).chain(give_up).min()
    }

    /// What there is to tell the group, these being the members who are there, and perhaps others who are not proven so far: whether nobody
    /// gives its secret.
    fn hope(&mut self, now: Time, members: &[(SenderIndex, JoinId, Address)], unproven: bool) -> Option<bool> {
        let lacks = !self.has;
        let nobody = lacks && !unproven && members.iter().all(|(_, join, _)| self.outside.contains(join));
        self.nobody = nobody.then(|| self.nobody.unwrap_or(now));
        let over = |since: Option<Time>, span| since.is_some_and(|since| now.since(since) >= span);
        let hopeless = over(self.nobody, NOBODY) || (lacks && over(self.since, KEPT_BACK));
        (core::mem::replace(&mut self.hopeless, hopeless) != hopeless).then_some(hopeless)
    }

    /// Whoever was asked has none, or cannot give it.
    pub(super) fn refused(&mut self, now: Time, from: SenderIndex, request: RequestId, inside: bool) {
        let refused =
            |asked: &mut Asked| asked.index == from && asked.request == request && asked.awaits == Awaits::Set;
        if let Some(asked) = self.asked.take_if(refused) {
            self.wish = Some(now);
            match inside {
                true => self.outside.remove(&asked.member),
                false => self.outside.insert(asked.member),
            };
        }
    }

    /// Whom to ask: one of those who were not asked yet. When all were, they are asked again a little later.
    fn draw<'s>(
        &mut self,
        now: Time,
        members: &'s [(SenderIndex, JoinId, Address)],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Option<&'s (SenderIndex, JoinId, Address)> {
        // A person first, and then one of their devices: whoever has many is not asked more often for that. Those of whom none was asked go
        // before the others.
        let new: Vec<_> = members.iter().filter(|(_, join, _)| !self.tried.contains(join)).collect();
        let asked = members.iter().filter(|(_, join, _)| self.tried.contains(join));
        let asked: BTreeSet<&UserId> = asked.map(|(_, _, address)| &address.user).collect();
        let mut people: Vec<&UserId> = new.iter().map(|(_, _, address)| &address.user).collect();
        people.sort_unstable();
        people.dedup();
        if people.iter().any(|user| !asked.contains(user)) {
            people.retain(|user| !asked.contains(user));
        }
        let user = within(people.len(), rng).and_then(|place| people.get(place).copied());
        let devices: Vec<_> = new.into_iter().filter(|(_, _, address)| Some(&address.user) == user).collect();
        let drawn = within(devices.len(), rng).and_then(|place| devices.get(place).copied());
        if drawn.is_none() {
            self.tried.clear();
            self.wish = Some(now + RETRY.saturating_mul(1 << self.rounds.min(3)));
            self.rounds = self.rounds.saturating_add(1);
        }
        drawn
    }
}

impl RoomCall {
    /// The shares are at the nodes.
    pub(super) fn quorum_given(
        &mut self,
        quorum: &mut Quorum,
        now: Time,
        (from, request): (SenderIndex, RequestId),
        set: Vec<u8>,
    ) {
        let number = quorum.number();
        let Some(asked) = &mut quorum.asking.asked else { return };
        if asked.index != from || asked.request != request || asked.awaits != Awaits::Set || set.len() > LONGEST {
            return;
        }
        (asked.awaits, asked.until) = (Awaits::Shares(number), now + SHARES);
        self.exchange(number, Exchange::Take { set });
    }

    /// The shell has put them together, or could not. Whoever left them takes them back.
    pub(super) fn quorum_put_together(
        &mut self,
        mls: &mut Mls,
        quorum: &mut Quorum,
        now: Time,
        exchanged: Result<Exchanged, NoQuorum>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(Asked { member, index, address, request, .. }) = quorum.asking.asked.take() else { return };
        self.say_of_quorum(index, RequestId::random(rng), QuorumSignal::Taken { ask: request }, rng);
        match exchanged {
            Ok(Exchanged { secret, nodes, .. }) => {
                quorum.asking.has = true;
                quorum.asking.origin = Some((member, address, nodes));
                mls.tell(Input::Quorum(secret));
            }
            Err(NoQuorum) => quorum.asking.wish = Some(now),
        }
    }

    /// Asks, where this device cannot come into the group for want of its secret.
    pub(super) fn mind_asking(
        &mut self,
        mls: &mut Mls,
        quorum: &mut Quorum,
        now: Time,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let asking = &mut quorum.asking;
        let inside = matches!(mls.membership.standpoint(), Standpoint::Inside(_) | Standpoint::Out(_));
        // Where this device is cut off, whatever is known of others may not be so any more.
        if inside || !mls.complete || !mls.online {
            asking.has |= inside;
            let hoped = !core::mem::take(&mut asking.hopeless);
            asking.joined();
            if !hoped {
                mls.tell(Input::NoQuorum(false));
            }
            return;
        }
        if mls.membership.lacks_quorum() && core::mem::take(&mut asking.has) {
            // The one that it was given does not open the group.
            if let Some((member, by, _)) = asking.origin.take() {
                asking.tried.insert(member);
                self.event(Event::WrongQuorum { by });
            }
        }
        let asking = &mut quorum.asking;
        let members = self.seats.iter().filter(|(_, seat)| seat.is_admitted() && !seat.is_audience());
        let members: Vec<_> =
            members.map(|(index, seat)| (*index, seat.entry().join.join, seat.member().clone())).collect();
        let unproven = self.seats.values().any(|seat| seat.is_being_proven(now) && !seat.is_audience());
        mls.inbox.extend(asking.hope(now, &members, unproven).map(Input::NoQuorum));
        asking.asked.take_if(|asked| asked.until <= now);
        if asking.has || members.is_empty() {
            (asking.wish, asking.since) = (None, None);
            asking.asked.take_if(|asked| asked.awaits == Awaits::Set);
            return;
        }
        let since = *asking.since.get_or_insert(now);
        if now.since(since) >= GIVE_UP {
            asking.since = None;
            return self.leave(Leaving::NoQuorum);
        }
        let there = |asked: &Asked| members.iter().any(|(_, join, _)| *join == asked.member);
        asking.asked.take_if(|asked| asked.awaits == Awaits::Set && !there(asked));
        if asking.asked.is_some() || asking.wish.is_some_and(|at| at > now) {
            return;
        }
        asking.wish = None;
        let Some((index, member, address)) = asking.draw(now, &members, rng) else { return };
        asking.tried.insert(*member);
        let request = RequestId::random(rng);
        asking.asked = Some(Asked {
            member: *member,
            index: *index,
            address: address.clone(),
            request,
            awaits: Awaits::Set,
            until: now + ANSWER,
        });
        self.say_of_quorum(*index, request, QuorumSignal::Ask { offer: quorum.offer.clone() }, rng);
    }
}

/// A number below this one; none below 0.
fn within(count: usize, rng: &mut impl rand_core::CryptoRng) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    usize::try_from(rng.next_u64() % count).ok()
}

#[cfg(test)]
mod tests;
