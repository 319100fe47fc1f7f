//! Rooms as the server keeps them: their access lists, and grants for who is on them.
//!
//! The server checks what it can: that a list is signed by the very device that brings it, follows the one before it and
//! makes a change that its signer may make. Members check the same themselves and believe no list on the server's word.

use std::collections::HashMap;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_keys::device_list::ClaimedList;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, Signed, VerifyingKey};
use undertone_keys::{CallId, RoomId, UserId, WallTime};
use undertone_protocol::rest::{AccessVersions, Bytes, Entered, Name, RoomShown};
use undertone_protocol::{Access, ClaimedAccess, Listed, Protection, limits};
use undertone_relay::shell::Counts;

use crate::config::Limits;
use crate::knocks::Knocks;
use crate::memberships::Memberships;
use crate::store::{Accounts, Rooms, StoreError, StoredAccess};
use crate::switchboard::Switchboard;

/// Why something about a room was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// There is none, or none for this user: which of the two is nobody's business.
    #[error("there is no such room, or you are not on its list")]
    Unknown,
    /// The list is none, not the next one, or its signer may not make this change.
    #[error("the room's access list was not taken: {0}")]
    Access(String),
    /// On the list, and not as a moderator.
    #[error("moderators of the room alone may do that")]
    Rights,
    /// This operator has no hop rooms.
    #[error("this server does not offer the protection asked for")]
    Protection,
    /// As many as one account can have, or versions as a list can have.
    #[error("{0}")]
    TooMany(&'static str),
    /// The store has no room left.
    #[error("the server has no room left and cannot write anything down: tell its operator, and try again then")]
    Full(#[source] StoreError),
    /// The store failed.
    #[error("the server cannot do this now")]
    Store(#[source] StoreError),
}

impl From<StoreError> for RoomError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Access("it is not the next version: somebody else was first".into()),
            full @ StoreError::Full(_) => Self::Full(full),
            error => Self::Store(error),
        }
    }
}

fn refused(reason: impl std::fmt::Display) -> RoomError {
    RoomError::Access(reason.to_string())
}

/// The desk for rooms. The relay is started after it and named by [`RoomDesk::with_relay`].
#[derive(Debug)]
pub struct RoomDesk<S> {
    pub(crate) store: S,
    hop: bool,
    limits: Limits,
    relay: Option<Counts>,
    /// What of rooms is read for every spread.
    pub(crate) memberships: Memberships,
    /// Who asks to be let in.
    pub(crate) knocks: Knocks,
}

impl<S: Rooms> RoomDesk<S> {
    /// A desk over `store`; hop rooms are made only with `hop`.
    #[must_use]
    pub fn new(store: S, limits: &Limits, hop: bool) -> Self {
        let (memberships, knocks) = (Memberships::default(), Knocks::default());
        Self { store, hop, limits: *limits, relay: None, memberships, knocks }
    }

    /// Says who is in a room as this relay sees it.
    #[must_use]
    pub fn with_relay(self, relay: Counts) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// A room has another list or another call, and not by way of this desk: what is in memory of it is read again.
    pub fn changed(&self, room: RoomId) {
        self.memberships.forget(room);
    }
}

impl<S: Rooms + Accounts> RoomDesk<S> {
    /// Takes the first version of a new room's list or the next of an old one's, from the device that signed it. Whoever
    /// is on it, and whoever was, is told.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn take(
        &self,
        board: &Switchboard,
        room: RoomId,
        you: &Address,
        identity: &VerifyingKey<Device>,
        bytes: &[u8],
    ) -> Result<(), RoomError> {
        if bytes.len() > limits::MAX_ACCESS {
            return Err(RoomError::TooMany("the room's access list is too long"));
        }
        let claimed = ClaimedAccess::from_bytes(bytes).map_err(refused)?;
        if claimed.claimed().room != room || claimed.claimed().signer != *you {
            return Err(refused("it is for another room, or signed by another device than brings it"));
        }
        let access = claimed.verify(identity).map_err(refused)?;
        let list = access.list();
        if list.version > self.limits.access_versions {
            return Err(RoomError::TooMany("the room's access list has changed too often: make a new room"));
        }
        let mut told: Vec<UserId> = list.members.iter().map(|listed| listed.user.clone()).collect();
        // Those whose grants say what the list says no more.
        let mut expelled = Vec::new();
        let mut fresh: Vec<&Listed> = list.members.iter().collect();
        match self.store.newest_access(room).await? {
            // Who is told that the room exists is told so in the same words as everybody else.
            Some((_, stored)) => {
                let before = Access::from_stored(&stored).map_err(|_| StoreError::Damaged)?;
                access.follows(&before).map_err(refused)?;
                let signer = before.list().listed(&you.user).map(|listed| listed.account);
                if signer.is_none() || self.account(&you.user).await? != signer {
                    return Err(refused("it is signed by a device of another account key than the room knows"));
                }
                for old in &before.list().members {
                    match list.listed(&old.user) {
                        Some(new) if new == old => {}
                        Some(_) => expelled.push(old.user.clone()),
                        None => {
                            expelled.push(old.user.clone());
                            told.push(old.user.clone());
                        }
                    }
                }
                fresh.retain(|listed| {
                    before.list().listed(&listed.user).is_none_or(|old| old.account != listed.account)
                });
            }
            None if list.version != 1 => return Err(RoomError::Unknown),
            None if list.terms.protection == Protection::Hop && !self.hop => return Err(RoomError::Protection),
            None if self.store.rooms_made(&you.user).await? >= self.limits.rooms_per_account => {
                return Err(RoomError::TooMany("you have made as many rooms as one account can: leave some"));
            }
            None => {}
        }
        // Nobody is put on a list under a key that is not theirs: their clients would have nothing to do with the room.
        for listed in fresh {
            let account = self.account(&listed.user).await?.ok_or_else(|| refused("nobody has that name here"))?;
            if account != listed.account {
                return Err(refused(format!("{} has another account key than the list names", listed.user.display())));
            }
        }
        if self.store.access_bytes(&list.creator).await? + bytes.len() as u64 > self.limits.access_bytes_per_account {
            return Err(RoomError::TooMany("the lists of this account's rooms have become too long: close some rooms"));
        }
        let members = list.members.iter().map(|listed| listed.user.clone()).collect();
        let (version, creator) = (list.version, list.creator.clone());
        self.store.append_access(StoredAccess { room, version, access: bytes.to_vec(), creator, members }).await?;
        self.memberships.forget(room);
        self.knocks.settle(room, &list.members);
        if let (Some(relay), false) = (&self.relay, expelled.is_empty()) {
            relay.expel(room, expelled);
        }
        board.room_changed(&you.user, &told, room, version);
        Ok(())
    }

    /// The account key of a user, as their newest list has it.
    async fn account(&self, user: &UserId) -> Result<Option<VerifyingKey<Account>>, RoomError> {
        let Some(stored) = self.store.list(user).await? else { return Ok(None) };
        let list = ClaimedList::from_bytes(&stored.list).and_then(|claimed| claimed.verify(user));
        Ok(Some(*list.map_err(|_| StoreError::Damaged)?.account()))
    }

    /// The rooms this user may come into, and who is in them.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn list(&self, user: &UserId) -> Result<Vec<RoomShown>, RoomError> {
        let rooms = self.store.rooms_of(user).await?;
        let mut lost = self.lost(user).await?;
        let ids: Vec<RoomId> = rooms.iter().map(|(room, _)| *room).collect();
        let present = match &self.relay {
            Some(relay) if !ids.is_empty() => relay.present(ids).await.unwrap_or_default(),
            Some(_) | None => Vec::new(),
        };
        let mut present = present.into_iter();
        let shown = rooms.into_iter().map(|(room, version)| {
            let mut users = present.next().unwrap_or_default();
            users.sort_unstable();
            users.dedup();
            let lost = lost.remove(&room);
            RoomShown { room: room.to_string(), version, present: users.into_iter().map(Name).collect(), lost }
        });
        Ok(shown.collect())
    }

    /// The rooms that this user made under an account key from before they began anew, and what they are called.
    async fn lost(&self, user: &UserId) -> Result<HashMap<RoomId, String>, RoomError> {
        let account = self.account(user).await?;
        let mut lost = HashMap::new();
        for room in self.store.open_rooms_of(user).await? {
            if let Some((_, stored)) = self.store.newest_access(room).await? {
                let access = Access::from_stored(&stored).map_err(|_| StoreError::Damaged)?;
                if access.list().listed(user).map(|listed| listed.account) != account {
                    lost.insert(room, access.list().name.clone());
                }
            }
        }
        Ok(lost)
    }

    /// Closes a room whose maker began anew, and so can sign nothing there any more: whoever holds that name now. Nobody else could
    /// end it, and it counts among their rooms. Its members are put out and told; they keep what they know of it.
    ///
    /// # Errors
    /// [`RoomError`]; a room that its maker can still sign for is closed by a list that says so.
    pub async fn close(&self, board: &Switchboard, room: RoomId, user: &UserId) -> Result<(), RoomError> {
        let (version, stored) = self.store.newest_access(room).await?.ok_or(RoomError::Unknown)?;
        let access = Access::from_stored(&stored).map_err(|_| StoreError::Damaged)?;
        let list = access.list();
        if list.creator != *user || list.is_closed() {
            return Err(RoomError::Unknown);
        }
        if list.listed(user).map(|listed| listed.account) == self.account(user).await? {
            return Err(refused("whoever made this room can close it by its list: `undertone room leave`"));
        }
        self.store.close_room(room, version).await?;
        let told: Vec<UserId> = list.members.iter().map(|listed| listed.user.clone()).collect();
        if let Some(relay) = &self.relay {
            relay.expel(room, told.clone());
        }
        board.room_changed(user, &told, room, version);
        Ok(())
    }

    /// A page of the versions above one, for somebody who is on the newest.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn above(&self, user: &UserId, room: RoomId, version: u32) -> Result<AccessVersions, RoomError> {
        self.newest_for(user, room).await?;
        let (versions, more) = self.store.access_above(room, version, limits::ACCESS_PAGE).await?;
        Ok(AccessVersions { versions: versions.into_iter().map(Bytes).collect(), more })
    }

    /// A grant for a device whose user is on the room's list, with the rights that stand there (rule RLY-1).
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn enter(
        &self,
        board: &Switchboard,
        room: RoomId,
        you: &Address,
        identity: VerifyingKey<Device>,
        now: WallTime,
    ) -> Result<Entered, RoomError> {
        let access = self.newest_for(&you.user, room).await?;
        let list = access.list();
        let rights = list.listed(&you.user).ok_or(RoomError::Unknown)?.rights;
        if list.terms.protection == Protection::Hop && !self.hop {
            return Err(RoomError::Protection);
        }
        let fresh = CallId::random(&mut UnwrapErr(SysRng));
        // By a clock that was set the grants of those who are in may be over; their call is not.
        let lifetime = if self.is_occupied(room).await { u64::MAX } else { limits::GRANT_LIFETIME.as_secs() };
        let call = self.store.call_of(room, fresh, now, lifetime).await?;
        let call = call.ok_or(RoomError::Unknown)?;
        if call == fresh {
            self.memberships.forget(room);
        }
        let grant: Signed = board.grant(room, call, you.clone(), identity, (&list.terms, rights), now);
        Ok(Entered { grant: Bytes(undertone_keys::cbor::encode(&grant)), version: list.version })
    }

    async fn is_occupied(&self, room: RoomId) -> bool {
        let Some(relay) = &self.relay else { return false };
        relay.present(vec![room]).await.is_some_and(|present| present.iter().any(|users| !users.is_empty()))
    }

    pub(crate) async fn newest_for(&self, user: &UserId, room: RoomId) -> Result<Access, RoomError> {
        let (_, stored) = self.store.newest_access(room).await?.ok_or(RoomError::Unknown)?;
        let access = Access::from_stored(&stored).map_err(|_| StoreError::Damaged)?;
        let listed = access.list().listed(user).ok_or(RoomError::Unknown)?;
        // Who began anew under that name is somebody else, until those inside say otherwise.
        if self.account(user).await? != Some(listed.account) {
            return Err(RoomError::Unknown);
        }
        Ok(access)
    }
}
