//! Who is on the newest list of a room and which call it is in, kept in memory: a spread of letters asks for it each time, and
//! must cost no look at the database (rule DOS-1).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use undertone_keys::{CallId, RoomId, UserId};
use undertone_protocol::AccessList;

use crate::store::StoredRoom;

/// What all kept rooms weigh at most: a room as much as it has members, and [`ROOM_WEIGHT`]. A hundred of a thousand.
const MAX_WEIGHT: usize = 100_000;
/// What a room without members weighs.
const ROOM_WEIGHT: usize = 16;

/// A room as its newest list and its last grant have it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    call: Option<CallId>,
    users: HashSet<UserId>,
    /// Those of them who only listen, and have no part in the group of a call (rule GRP-9).
    audience: HashSet<UserId>,
}

impl From<StoredRoom> for Membership {
    fn from(StoredRoom { call, members }: StoredRoom) -> Self {
        Self { call, users: members.into_iter().collect(), audience: HashSet::new() }
    }
}

impl Membership {
    /// Whether this is the room's present call.
    pub(crate) fn is_in(&self, call: CallId) -> bool {
        self.call == Some(call)
    }

    /// Whether this user is on the list. By name alone: who began anew under it holds no key that members would believe.
    pub(crate) fn lists(&self, user: &UserId) -> bool {
        self.users.contains(user)
    }

    /// Whether this user may be a member of the group of a call in the room: is on the list, and not in the audience.
    pub(crate) fn may_be_member(&self, user: &UserId) -> bool {
        self.users.contains(user) && !self.audience.contains(user)
    }

    /// The same with those of the list who are an audience.
    pub(crate) fn with_list(mut self, list: &AccessList) -> Self {
        let audience = list.members.iter().filter(|listed| list.terms.is_audience(listed.rights));
        self.audience = audience.map(|listed| listed.user.clone()).collect();
        self
    }

    fn weight(&self) -> usize {
        self.users.len() + self.audience.len() + ROOM_WEIGHT
    }
}

#[derive(Debug)]
struct Kept {
    membership: Arc<Membership>,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomId, Kept>,
    weight: usize,
    /// Counts what was asked for: the lowest is what was not used for the longest.
    uses: u64,
    changes: u64,
}

impl State {
    fn remove(&mut self, room: RoomId) {
        if let Some(kept) = self.rooms.remove(&room) {
            self.weight -= kept.membership.weight();
        }
    }
}

/// The rooms that somebody spread letters in a short while ago.
#[derive(Debug, Default)]
pub(crate) struct Memberships(Mutex<State>);

/// Says which state of the rooms a look at the database began in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading(u64);

impl Memberships {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a room, or what to hand to [`Self::keep`] with what is read.
    pub(crate) fn known(&self, room: RoomId) -> Result<Arc<Membership>, Reading> {
        let state = &mut *self.state();
        let Some(kept) = state.rooms.get_mut(&room) else { return Err(Reading(state.changes)) };
        state.uses += 1;
        kept.used = state.uses;
        Ok(kept.membership.clone())
    }

    /// Keeps what was read, unless anything has changed since the reading began; what was not used for the longest goes.
    pub(crate) fn keep(&self, room: RoomId, membership: &Arc<Membership>, reading: Reading) {
        let mut state = self.state();
        if state.changes != reading.0 {
            return;
        }
        state.remove(room);
        let weight = membership.weight();
        while state.weight + weight > MAX_WEIGHT {
            let oldest = state.rooms.iter().min_by_key(|(_, kept)| kept.used).map(|(room, _)| *room);
            let Some(oldest) = oldest else { break };
            state.remove(oldest);
        }
        state.uses += 1;
        state.weight += weight;
        let used = state.uses;
        state.rooms.insert(room, Kept { membership: membership.clone(), used });
    }

    /// A room has a new list or a new call: what is being read of it is out of date as well.
    pub(crate) fn forget(&self, room: RoomId) {
        let mut state = self.state();
        state.changes += 1;
        state.remove(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: usize) -> RoomId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        RoomId::from_bytes(bytes)
    }

    fn membership(members: usize) -> Arc<Membership> {
        let members = (0..members).map(|n| format!("m{n}@x").parse().unwrap()).collect();
        Arc::new(StoredRoom { call: Some(CallId::from_bytes([1; 16])), members }.into())
    }

    #[test]
    fn grp_8_what_was_read_before_a_change_is_not_kept() {
        let memberships = Memberships::default();
        let reading = memberships.known(room(1)).unwrap_err();
        memberships.forget(room(1));
        memberships.keep(room(1), &membership(3), reading);
        let reading = memberships.known(room(1)).expect_err("it is of before the change");
        memberships.keep(room(1), &membership(4), reading);
        assert_eq!(memberships.known(room(1)).unwrap(), membership(4));
        memberships.forget(room(1));
        assert!(memberships.known(room(1)).is_err());
    }

    #[test]
    fn dos_1_what_is_kept_of_rooms_is_bounded_and_what_is_used_stays() {
        let memberships = Memberships::default();
        for number in 0..1_000 {
            let reading = memberships.known(room(number)).unwrap_err();
            memberships.keep(room(number), &membership(1_000), reading);
            assert!(memberships.known(room(0)).is_ok(), "it is asked for all the time");
        }
        let state = memberships.state();
        assert!(state.weight <= MAX_WEIGHT && state.rooms.len() >= 90, "{} of {}", state.weight, state.rooms.len());
        let weight: usize = state.rooms.values().map(|kept| kept.membership.weight()).sum();
        assert_eq!(state.weight, weight);
    }
}
