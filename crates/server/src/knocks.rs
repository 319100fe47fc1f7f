//! Who asks to be let into a room (rule GRP-8), in memory alone: members decide, and the server only passes it on.
//!
//! A room that there is not is knocked at like any other: what is counted, refused and answered is the same, so that nobody learns
//! from it which rooms there are. What is looked up of a room comes after the answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use undertone_keys::{RoomId, UserId};
use undertone_protocol::limits::{KNOCK_LIFETIME, MAX_KNOCKS, MAX_KNOCKS_PER_ACCOUNT, MAX_KNOCKS_PER_ROOM};
use undertone_protocol::{Access, Listed};

use crate::rooms::{RoomDesk, RoomError};
use crate::store::{Accounts, Rooms, StoreError};
use crate::switchboard::Switchboard;

/// A knock that comes again is passed on again after this at the soonest: a moderator may have come meanwhile.
const AGAIN: Duration = Duration::from_secs(45);

/// What becomes of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Moderators are told.
    PassOn,
    /// They were told a moment ago.
    Known,
    /// A moderator has said no to this very one.
    TurnedAway,
}

#[derive(Debug)]
struct Knock {
    user: UserId,
    until: Instant,
    passed_on: Instant,
    turned_away: bool,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomId, Vec<Knock>>,
    /// How many each account has under way, those that were turned away among them.
    accounts: HashMap<UserId, usize>,
    /// In the order in which they end.
    ends: VecDeque<(Instant, RoomId, UserId)>,
}

impl State {
    fn knock(&mut self, room: RoomId, user: &UserId) -> Option<&mut Knock> {
        self.rooms.get_mut(&room)?.iter_mut().find(|knock| knock.user == *user)
    }

    fn remove(&mut self, room: RoomId, over: impl Fn(&Knock) -> bool) {
        let Some(knocks) = self.rooms.get_mut(&room) else { return };
        for knock in knocks.extract_if(.., |knock| over(knock)) {
            if let Some(count) = self.accounts.get_mut(&knock.user) {
                *count -= 1;
                if *count == 0 {
                    self.accounts.remove(&knock.user);
                }
            }
        }
        if knocks.is_empty() {
            self.rooms.remove(&room);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(until, ..)| *until <= now)
            && let Some((until, room, user)) = self.ends.pop_front()
        {
            self.remove(room, |knock| knock.user == user && knock.until == until);
        }
    }
}

/// All knocks under way.
#[derive(Debug, Default)]
pub(crate) struct Knocks(Mutex<State>);

impl Knocks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody knocks. `None`: there are as many knocks as there may be, of this account, at this room or in all.
    pub(crate) fn knock(&self, now: Instant, room: RoomId, user: &UserId) -> Option<Heard> {
        let state = &mut *self.state();
        state.expire(now);
        if let Some(knock) = state.knock(room, user) {
            return Some(match knock {
                Knock { turned_away: true, .. } => Heard::TurnedAway,
                Knock { passed_on, .. } if now.saturating_duration_since(*passed_on) < AGAIN => Heard::Known,
                knock => {
                    knock.passed_on = now;
                    Heard::PassOn
                }
            });
        }
        // What was answered in the meantime stands among the ends till its time: it counts as well.
        let here = state.rooms.get(&room).map_or(0, Vec::len);
        let theirs = state.accounts.get(user).copied().unwrap_or_default();
        if here >= MAX_KNOCKS_PER_ROOM || theirs >= MAX_KNOCKS_PER_ACCOUNT || state.ends.len() >= MAX_KNOCKS {
            return None;
        }
        let until = now + KNOCK_LIFETIME;
        let knock = Knock { user: user.clone(), until, passed_on: now, turned_away: false };
        state.rooms.entry(room).or_default().push(knock);
        *state.accounts.entry(user.clone()).or_default() += 1;
        state.ends.push_back((until, room, user.clone()));
        Some(Heard::PassOn)
    }

    /// A moderator says no. `false` where this user does not knock. It stays till its time, so that knocking again is for nothing.
    fn turn_away(&self, now: Instant, room: RoomId, user: &UserId) -> bool {
        let state = &mut *self.state();
        state.expire(now);
        state.knock(room, user).is_some_and(|knock| !core::mem::replace(&mut knock.turned_away, true))
    }

    /// The room has a new list: whoever is on it knocks no more.
    pub(crate) fn settle(&self, room: RoomId, members: &[Listed]) {
        self.state().remove(room, |knock| members.iter().any(|listed| listed.user == knock.user));
    }

    /// Forgets what is over.
    pub(crate) fn expire(&self, now: Instant) {
        self.state().expire(now);
    }
}

impl<S: Rooms + Accounts> RoomDesk<S> {
    /// Somebody asks to be let into a room, be there one or not. What comes back is for [`Self::pass_on`], after the answer.
    ///
    /// # Errors
    /// [`RoomError::TooMany`].
    pub(crate) fn hear_knock(&self, room: RoomId, user: &UserId, now: Instant) -> Result<Heard, RoomError> {
        self.knocks
            .knock(now, room, user)
            .ok_or(RoomError::TooMany("too many are asking to be let in: try again later"))
    }

    /// Tells those who may decide that somebody asks to be let in, or the one who asks what was decided.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn pass_on(
        &self,
        board: &Switchboard,
        room: RoomId,
        user: &UserId,
        heard: Heard,
    ) -> Result<(), StoreError> {
        match heard {
            Heard::Known => return Ok(()),
            Heard::TurnedAway => {
                board.turned_away(user, room);
                return Ok(());
            }
            Heard::PassOn => {}
        }
        let Some((version, stored)) = self.store.newest_access(room).await? else { return Ok(()) };
        let access = Access::from_stored(&stored).map_err(|_| StoreError::Damaged)?;
        let list = access.list();
        if self.newest_for(user, room).await.is_ok() {
            // They were let in since they looked.
            self.knocks.settle(room, &list.members);
            board.room_changed(user, core::slice::from_ref(user), room, version);
            return Ok(());
        }
        let moderators = list.members.iter().filter(|listed| listed.rights.moderate && listed.user != *user);
        let moderators: Vec<UserId> = moderators.map(|listed| listed.user.clone()).collect();
        board.knocked(user, &moderators, room);
        Ok(())
    }

    /// A moderator by the newest list says no to somebody who asks to be let in, who is told. Nothing where nobody of that name does.
    ///
    /// # Errors
    /// [`RoomError::Unknown`] for whoever is not on the list, [`RoomError::Rights`] for whoever may not moderate.
    pub async fn turn_away(
        &self,
        board: &Switchboard,
        room: RoomId,
        you: &UserId,
        user: &UserId,
        now: Instant,
    ) -> Result<(), RoomError> {
        let access = self.newest_for(you, room).await?;
        if !access.list().listed(you).is_some_and(|listed| listed.rights.moderate) {
            return Err(RoomError::Rights);
        }
        if self.knocks.turn_away(now, room, user) {
            board.turned_away(user, room);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
