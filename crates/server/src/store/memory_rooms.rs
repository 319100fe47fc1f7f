//! Rooms in memory.

use std::collections::{BTreeMap, BTreeSet};

use undertone_keys::{CallId, RoomId, UserId, WallTime};

use super::StoreError;
use super::memory::Memory;
use super::rooms::{Rooms, StoredAccess, StoredRoom};

#[derive(Debug)]
pub(super) struct KeptRoom {
    version: u32,
    creator: UserId,
    closed: bool,
    pub(super) call: Option<CallId>,
    granted: u64,
    access: BTreeMap<u32, Vec<u8>>,
    members: BTreeSet<UserId>,
}

impl KeptRoom {
    pub(super) fn is_in(&self, call: CallId) -> bool {
        !self.closed && self.call == Some(call)
    }
}

impl Rooms for Memory {
    async fn append_access(&self, access: StoredAccess) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        let before = tables.rooms.get(&access.room);
        let is_next = before.map_or(0, |room| room.version).checked_add(1) == Some(access.version);
        if !is_next || before.is_some_and(|room| room.closed) {
            return Err(StoreError::Conflict);
        }
        let closed = access.members.is_empty();
        let room = tables.rooms.entry(access.room).or_insert_with(|| KeptRoom {
            version: 0,
            creator: access.creator.clone(),
            closed,
            call: None,
            granted: 0,
            access: BTreeMap::new(),
            members: BTreeSet::new(),
        });
        if closed {
            room.access.clear();
            tables.groups.retain(|_, group| group.room != access.room);
        }
        room.access.insert(access.version, access.access);
        (room.version, room.closed) = (access.version, closed);
        room.members = access.members.into_iter().collect();
        Ok(())
    }

    async fn newest_access(&self, room: RoomId) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
        let tables = self.tables();
        let newest = tables.rooms.get(&room).and_then(|room| room.access.last_key_value());
        Ok(newest.map(|(version, access)| (*version, access.clone())))
    }

    async fn access_above(
        &self,
        room: RoomId,
        version: u32,
        room_for: usize,
    ) -> Result<(Vec<Vec<u8>>, bool), StoreError> {
        let tables = self.tables();
        let (mut versions, mut taken, mut next) = (Vec::new(), 0, version);
        loop {
            next = next.saturating_add(1);
            let Some(access) = tables.rooms.get(&room).and_then(|room| room.access.get(&next)) else {
                return Ok((versions, false));
            };
            taken += access.len();
            if taken > room_for && !versions.is_empty() {
                return Ok((versions, true));
            }
            versions.push(access.clone());
        }
    }

    async fn rooms_of(&self, user: &UserId) -> Result<Vec<(RoomId, u32)>, StoreError> {
        let tables = self.tables();
        let theirs = tables.rooms.iter().filter(|(_, room)| room.members.contains(user));
        Ok(theirs.map(|(id, room)| (*id, room.version)).collect())
    }

    async fn close_room(&self, id: RoomId, version: u32) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        let room = tables.rooms.get_mut(&id).filter(|room| room.version == version && !room.closed);
        let room = room.ok_or(StoreError::Conflict)?;
        room.closed = true;
        room.access.clear();
        room.members.clear();
        tables.groups.retain(|_, group| group.room != id);
        Ok(())
    }

    async fn open_rooms_of(&self, creator: &UserId) -> Result<Vec<RoomId>, StoreError> {
        let tables = self.tables();
        let open = tables.rooms.iter().filter(|(_, room)| room.creator == *creator && !room.closed);
        Ok(open.map(|(id, _)| *id).collect())
    }

    async fn rooms_made(&self, creator: &UserId) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.open_rooms_of(creator).await?.len()).unwrap_or(u32::MAX))
    }

    async fn access_bytes(&self, creator: &UserId) -> Result<u64, StoreError> {
        let tables = self.tables();
        let theirs = tables.rooms.values().filter(|room| room.creator == *creator);
        Ok(theirs.flat_map(|room| room.access.values()).map(|access| access.len() as u64).sum())
    }

    async fn room(&self, room: RoomId) -> Result<Option<StoredRoom>, StoreError> {
        let tables = self.tables();
        let stored = |room: &KeptRoom| StoredRoom { call: room.call, members: room.members.iter().cloned().collect() };
        Ok(tables.rooms.get(&room).map(stored))
    }

    async fn call_of(
        &self,
        id: RoomId,
        fresh: CallId,
        now: WallTime,
        lifetime: u64,
    ) -> Result<Option<CallId>, StoreError> {
        let tables = &mut *self.tables();
        let Some(room) = tables.rooms.get_mut(&id) else { return Ok(None) };
        let good = room.granted.saturating_add(lifetime) > now.as_unix();
        room.granted = room.granted.max(now.as_unix());
        match room.call.filter(|_| good) {
            Some(call) => Ok(Some(call)),
            None => {
                room.call = Some(fresh);
                tables.groups.retain(|call, group| group.room != id || *call == fresh);
                Ok(Some(fresh))
            }
        }
    }
}
