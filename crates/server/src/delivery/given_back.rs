//! Giving an epoch back that was won by a commit which nobody can take (rule RLY-6). The server cannot open what wins: an insider who wins
//! with bytes that no member can take would end the group for all of them. So members say that they cannot, and where enough do and nobody
//! has gone on, the group is in the epoch again that this commit ended.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, UserId};
use undertone_protocol::delivery::{Denied, GroupNews, Opaque};
use undertone_protocol::limits::{GIVEN_BACK_AFTER, GIVEN_BACK_BAN, MAX_ATTESTS, MAX_GIVEN_BACK};

use super::group::{Group, Known, State};
use super::votes::Votes;
use super::{Asker, GroupDesk, Refusal};
use crate::memberships::Membership;
use crate::store::{Groups, Rooms, StoreError};

/// How the newest epoch was opened, for as long as the one before can be given back.
#[derive(Debug)]
pub(super) struct Opening {
    /// Who ended the epoch before.
    pub(super) by: Address,
    /// SHA-256 of the commit by which they did.
    pub(super) hash: [u8; 32],
    /// Whom they let in by it.
    pub(super) newcomers: HashSet<DeviceId>,
    /// The group info of the epoch before, and the votes on it, where they are in memory.
    pub(super) before: Option<(Opaque, Votes)>,
    /// Since when.
    at: Instant,
    /// Somebody else has shown to be in the newest epoch: it stays.
    is_held: bool,
    /// The devices that cannot take the commit.
    rejects: HashMap<DeviceId, UserId>,
}

impl Opening {
    pub(super) fn new(
        by: Address,
        hash: [u8; 32],
        newcomers: HashSet<DeviceId>,
        before: Option<(Opaque, Votes)>,
        at: Instant,
    ) -> Self {
        Self { by, hash, newcomers, before, at, is_held: false, rejects: HashMap::new() }
    }

    /// A device of this user shows to be in the newest epoch.
    pub(super) fn shown(&mut self, user: &UserId) {
        self.is_held |= *user != self.by.user;
    }

    /// Whether this device's word counts on whether the commit can be taken: not that of whoever brought it, nor of those whom it lets in.
    fn judges(&self, who: &Address) -> bool {
        who.user != self.by.user && !self.newcomers.contains(&who.device)
    }

    /// This device cannot take the commit. Of how many that is known is bounded.
    fn reject(&mut self, who: &Address) {
        if self.rejects.len() < MAX_ATTESTS {
            self.rejects.insert(who.device, who.user.clone());
        }
    }

    fn is_contested(&self) -> bool {
        !self.is_held && !self.rejects.is_empty()
    }

    /// Whether enough people cannot take the commit: half of those who could, of whom these are the devices.
    fn is_rejected<'a>(&self, members: impl Iterator<Item = &'a Address>, now: Instant) -> bool {
        if self.is_held || now.saturating_duration_since(self.at) < GIVEN_BACK_AFTER {
            return false;
        }
        let people: HashSet<&UserId> = members.filter(|who| self.judges(who)).map(|who| &who.user).collect();
        let rejecting: HashSet<&UserId> = self.rejects.values().filter(|user| people.contains(user)).collect();
        rejecting.len() >= people.len().div_ceil(2).max(1)
    }
}

/// A commit that was given back.
#[derive(Debug)]
pub(super) struct Returned {
    epoch: u64,
    hash: [u8; 32],
    by: UserId,
    at: Instant,
}

impl State {
    /// Why a commit is not taken that was given back, or that comes of somebody whose last one was, a short while ago.
    pub(super) fn refuse_returned(&self, epoch: u64, by: &UserId, hash: [u8; 32], now: Instant) -> Result<(), Refusal> {
        let mut wait = Duration::ZERO;
        for returned in self.returned.iter().filter(|returned| returned.epoch == epoch) {
            if returned.hash == hash {
                return Err(Denied::Malformed.into());
            }
            if returned.by == *by {
                let since = now.saturating_duration_since(returned.at);
                wait = wait.max(GIVEN_BACK_BAN.saturating_sub(since));
            }
        }
        if wait.is_zero() { Ok(()) } else { Err(Refusal(Denied::Later, wait)) }
    }

    fn remember_returned(&mut self, returned: Returned) {
        if self.returned.len() >= MAX_GIVEN_BACK {
            self.returned.pop_front();
        }
        self.returned.push_back(returned);
    }
}

impl<S: Groups + Rooms> GroupDesk<S> {
    /// A member cannot take the commit that ended this epoch. What comes of it is seen when it has been there for long enough.
    pub(super) async fn reject(
        &self,
        Asker { you, membership, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        epoch: u64,
    ) -> Result<(), Refusal> {
        let (state, now) = (&mut *group.state.lock().await, self.board.clock().now());
        let is_member = state.followers.members().any(|member| member == you);
        let Some(current) = state.current(&self.store, call, now).await? else { return Ok(()) };
        let is_newest = epoch.checked_add(1) == Some(current.epoch);
        let Some(opening) = current.opening.as_mut().filter(|opening| is_newest && is_member && opening.judges(you))
        else {
            return Ok(());
        };
        opening.reject(you);
        let verdict = self.give_back(state, call, membership, now).await?;
        self.contest(call, you, verdict);
        Ok(())
    }

    /// Somebody has said that something of a group is of no use: it is looked at again as long as it stands.
    pub(super) fn contest(&self, call: CallId, by: &Address, verdict: Verdict) {
        if verdict == Verdict::Open {
            self.contested.lock().unwrap_or_else(PoisonError::into_inner).insert(call, by.user.clone());
        }
    }

    /// Looks again at epochs whose commit some cannot take: as time passes, and as members go. To be called a few times a second.
    pub async fn settle(&self) {
        let contested: Vec<(CallId, UserId)> = {
            let contested = self.contested.lock().unwrap_or_else(PoisonError::into_inner);
            contested.iter().map(|(call, by)| (*call, by.clone())).collect()
        };
        for (call, by) in contested {
            let Some(group) = self.groups().get(&call).cloned() else {
                self.is_settled(call);
                continue;
            };
            let verdict = match self.admit(&by, group.room, call).await {
                Ok(membership) => {
                    let (state, now) = (&mut *group.state.lock().await, self.board.clock().now());
                    match self.give_back(state, call, &membership, now).await {
                        Ok(Verdict::Settled) => self.shut(state, call, &membership, now).await,
                        verdict => verdict,
                    }
                }
                Err(Refusal(Denied::NotYours, _)) => Ok(Verdict::Settled),
                // It costs a look at the database, which there is a budget for.
                Err(Refusal(..)) => Ok(Verdict::Open),
            };
            match verdict {
                Ok(Verdict::Open) => {}
                Ok(Verdict::Settled) => self.is_settled(call),
                Err(Refusal(why, _)) => {
                    tracing::warn!(?why, "an epoch could not be given back");
                    self.is_settled(call);
                }
            }
        }
    }

    /// Whether [`Self::settle`] has anything to look at.
    #[must_use]
    pub fn is_contested(&self) -> bool {
        !self.contested.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn is_settled(&self, call: CallId) {
        self.contested.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
    }

    /// Gives the newest epoch's commit back if enough cannot take it: durable before anybody hears that it was.
    async fn give_back(
        &self,
        state: &mut State,
        call: CallId,
        room: &Membership,
        now: Instant,
    ) -> Result<Verdict, Refusal> {
        let Known::Group(current) = &mut state.known else { return Ok(Verdict::Settled) };
        let Some(opening) = current.opening.as_ref().filter(|opening| opening.is_contested()) else {
            return Ok(Verdict::Settled);
        };
        if !opening.is_rejected(state.followers.members().filter(|who| room.may_be_member(&who.user)), now) {
            return Ok(Verdict::Open);
        }
        let Some(epoch) = current.epoch.checked_sub(1) else { return Ok(Verdict::Settled) };
        let (by, hash) = (opening.by.user.clone(), opening.hash);
        if let Err(error) = self.store.give_back(call, epoch, hash).await {
            state.known = Known::Nothing;
            return match error {
                StoreError::Conflict => Ok(Verdict::Settled),
                error => Err(error.into()),
            };
        }
        let Some(Opening { before, newcomers, .. }) = current.opening.take() else { return Ok(Verdict::Settled) };
        if !current.step_back(before) {
            state.known = Known::Nothing;
        }
        state.followers.step_back(epoch, &newcomers);
        state.seen.retain(|device, _| !newcomers.contains(device));
        for seen in state.seen.values_mut() {
            *seen = epoch.min(*seen);
        }
        state.remember_returned(Returned { epoch, hash, by, at: now });
        let oldest = state.current(&self.store, call, now).await?.map_or(epoch, |current| current.oldest);
        self.counts.given_back.fetch_add(1, Ordering::Relaxed);
        self.tell_followers(state, call, room, None, GroupNews::GivenBack { epoch, oldest, commit: hash }, now);
        Ok(Verdict::Settled)
    }
}

/// Whether there is anything left to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Some cannot take the commit, and it stands so far.
    Open,
    /// Nothing is in question any more.
    Settled,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(user: usize, device: usize) -> Address {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&device.to_be_bytes());
        Address { user: format!("m{user}@x").parse().unwrap(), device: DeviceId::from_bytes(bytes) }
    }

    #[test]
    fn dos_1_rejects_are_bounded() {
        let mut opening = Opening::new(address(0, 0), [0; 32], HashSet::new(), None, Instant::now());
        for device in 1..MAX_ATTESTS + 100 {
            opening.reject(&address(1, device));
        }
        assert_eq!(opening.rejects.len(), MAX_ATTESTS);
    }

    #[test]
    fn rly_6_half_is_rounded_up_and_never_nobody() {
        let start = Instant::now();
        let opening = |rejecting: usize| {
            let mut opening = Opening::new(address(0, 0), [0; 32], HashSet::new(), None, start);
            (1..=rejecting).for_each(|n| opening.reject(&address(n, n)));
            opening
        };
        let least = |people: usize| {
            let members: Vec<Address> = (0..=people).map(|n| address(n, n)).collect();
            (0..=people).find(|n| opening(*n).is_rejected(members.iter(), start + GIVEN_BACK_AFTER))
        };
        let found = [1, 2, 3, 4, 5, 99, 100].map(least);
        assert_eq!(found, [1, 1, 2, 2, 3, 50, 50].map(Some));
        assert_eq!(least(0), None, "where nobody could take it nobody rejects it");
        assert!(!opening(9).is_rejected([address(1, 1)].iter(), start + GIVEN_BACK_AFTER / 2));
    }
}
