//! Withdrawing a group that nobody could come into (rule RLY-6). The server cannot check what a group begins with: an insider who begins
//! it with junk would end the call for everybody, for there is nothing to give back before epoch 0. So those who are outside say that they
//! cannot come in, and where more than half of them do while nobody but the one who began it was ever seen inside, or nobody is there any
//! more of those who were, the group is gone, and another may be begun (docs/adr/0032).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, UserId};
use undertone_protocol::delivery::{Denied, GroupNews};
use undertone_protocol::limits::{DESERTED_BAN, GIVEN_BACK_AFTER, GIVEN_BACK_BAN, MAX_ATTESTS, MAX_GIVEN_BACK};

use super::given_back::Verdict;
use super::group::{Group, Known, State};
use super::{Asker, GroupDesk, Refusal};
use crate::memberships::Membership;
use crate::store::{Groups, Rooms, StoreError};

/// Somebody whose devices alone have shown to be in a group.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) user: UserId,
    /// Since when that is known here.
    pub(super) since: Instant,
}

/// Why a group may be withdrawn, if more than half of those outside say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forsaken {
    /// Nobody but whoever began it was ever in it.
    Alone,
    /// Everybody who was in it is gone.
    Deserted,
}

impl Forsaken {
    /// How long whoever began it waits before they begin another: where they are gone themselves, so long that somebody else is first.
    const fn ban(self) -> Duration {
        match self {
            Self::Alone => GIVEN_BACK_BAN,
            Self::Deserted => DESERTED_BAN,
        }
    }
}

/// Whether more than half of the people outside, of whom these are the devices, cannot come in. Whoever has begun it is not asked.
fn are_shut_out<'a>(
    shut_out: &HashMap<DeviceId, UserId>,
    following: impl Iterator<Item = &'a Address>,
    begun_by: Option<&UserId>,
) -> bool {
    let outside: HashSet<&UserId> = following.map(|who| &who.user).filter(|user| Some(*user) != begun_by).collect();
    let shut_out: HashSet<&UserId> = shut_out.values().filter(|user| outside.contains(user)).collect();
    shut_out.len() * 2 > outside.len()
}

impl State {
    /// Why somebody does not begin a group whose last one was withdrawn a short while ago.
    pub(super) fn refuse_withdrawn(&self, by: &UserId, now: Instant) -> Result<(), Refusal> {
        let waits = self.withdrawn.iter().filter(|(user, _)| user == by);
        let waits = waits.map(|(_, until)| until.saturating_duration_since(now));
        let wait: Duration = waits.max().unwrap_or_default();
        if wait.is_zero() { Ok(()) } else { Err(Refusal(Denied::Later, wait)) }
    }
}

impl<S: Groups + Rooms> GroupDesk<S> {
    /// This device shows to be in the group: if it is somebody else's than that of whoever began it, nobody can withdraw it any more as
    /// long as somebody is in it.
    pub(super) async fn comes_in(&self, state: &mut State, call: CallId, you: &Address) -> Result<(), StoreError> {
        let Known::Group(current) = &mut state.known else { return Ok(()) };
        if current.alone.take_if(|alone| alone.user != you.user).is_none() {
            return Ok(());
        }
        let kept = self.store.not_alone(call).await;
        if kept.is_err() {
            // What is in memory says more than the database: it is read again, and then noted again.
            state.known = Known::Nothing;
        }
        kept
    }

    /// A device that follows cannot come in. What comes of it is seen when the group has been there for long enough.
    pub(super) async fn withdraw(
        &self,
        Asker { you, membership, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        (epoch, born): (u64, Option<[u8; 32]>),
    ) -> Result<(), Refusal> {
        let (state, now) = (&mut *group.state.lock().await, self.board.clock().now());
        let follows = state.followers.following().any(|follower| follower == you);
        let Some(current) = state.current(&self.store, call, now).await? else { return Ok(()) };
        // Of how many that is known is bounded. A word about an earlier epoch counts: whoever began it could be in the next each time.
        let of_another = born.is_some_and(|born| born != current.hash);
        if !follows || of_another || epoch > current.epoch || current.shut_out.len() >= MAX_ATTESTS {
            return Ok(());
        }
        current.shut_out.insert(you.device, you.user.clone());
        let verdict = self.shut(state, call, membership, now).await?;
        self.contest(call, you, verdict);
        Ok(())
    }

    /// Forgets the group if enough people outside cannot come in: durable before anybody hears of it.
    pub(super) async fn shut(
        &self,
        state: &mut State,
        call: CallId,
        room: &Membership,
        now: Instant,
    ) -> Result<Verdict, Refusal> {
        let Known::Group(current) = &state.known else { return Ok(Verdict::Settled) };
        if current.shut_out.is_empty() {
            return Ok(Verdict::Settled);
        }
        let lost = self.board.gone(state.followers.lines());
        state.followers.left(&lost, now);
        let following = || state.followers.following().filter(|who| room.may_be_member(&who.user));
        let may_be_inside =
            |who: &Address| !current.shut_out.contains_key(&who.device) && room.may_be_member(&who.user);
        let young = |alone: &Alone| now.saturating_duration_since(alone.since) < GIVEN_BACK_AFTER;
        if current.alone.as_ref().is_some_and(young) {
            return Ok(Verdict::Open);
        }
        let begun_by = current.alone.as_ref().map(|alone| alone.user.clone());
        let alone = || begun_by.is_some() && are_shut_out(&current.shut_out, following(), begun_by.as_ref());
        let deserted = || {
            current.are_back(now)
                && state.followers.have_deserted(now, may_be_inside)
                && are_shut_out(&current.shut_out, following(), None)
        };
        let forsaken = if deserted() {
            Forsaken::Deserted
        } else if alone() {
            Forsaken::Alone
        } else if begun_by.is_none() && state.followers.members().any(may_be_inside) {
            // Somebody is in it: who cannot come in is let in by them, or has to do without.
            return Ok(Verdict::Settled);
        } else {
            return Ok(Verdict::Open);
        };
        let forgotten = match forsaken {
            Forsaken::Alone => self.store.withdraw_group(call).await,
            Forsaken::Deserted => self.store.forget_group(call).await,
        };
        if let Err(error) = forgotten {
            state.known = Known::Nothing;
            return match error {
                // Somebody has come in, by what the database says.
                StoreError::Conflict => Ok(Verdict::Settled),
                error => Err(error.into()),
            };
        }
        state.known = Known::None;
        state.forget_members();
        state.followers.begin_anew();
        if let Some(user) = begun_by {
            if state.withdrawn.len() >= MAX_GIVEN_BACK {
                state.withdrawn.pop_front();
            }
            state.withdrawn.push_back((user, now + forsaken.ban()));
        }
        self.counts.withdrawn.fetch_add(1, Ordering::Relaxed);
        self.tell_followers(state, call, room, None, GroupNews::Withdrawn, now);
        Ok(Verdict::Settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(user: usize, device: u8) -> Address {
        Address { user: format!("m{user}@x").parse().unwrap(), device: DeviceId::from_bytes([device; 16]) }
    }

    #[test]
    fn rly_6_more_than_half_of_the_people_outside_withdraw_a_group() {
        let least = |outside: u8| {
            let following: Vec<Address> = (0..=outside).map(|n| address(n.into(), n)).collect();
            (0..=outside).find(|shut| {
                let shut_out = (1..=*shut).map(|n| (address(n.into(), n).device, address(n.into(), n).user));
                are_shut_out(&shut_out.collect(), following.iter(), Some(&address(0, 0).user))
            })
        };
        assert_eq!([1, 2, 3, 4, 5, 100].map(least), [1, 2, 2, 3, 3, 51].map(Some));
        assert_eq!(least(0), None, "nobody is outside");
    }
}
