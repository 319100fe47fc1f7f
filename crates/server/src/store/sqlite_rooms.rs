//! Rooms in SQLite.

use std::collections::HashSet;

use sqlx::Row;
use undertone_keys::{CallId, RoomId, UserId, WallTime};

use super::StoreError;
use super::rooms::{Rooms, StoredAccess, StoredRoom};
use super::sqlite::{Sqlite, conflict, seconds};

fn id(bytes: &[u8]) -> Result<[u8; 16], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged)
}

impl Rooms for Sqlite {
    async fn append_access(&self, access: StoredAccess) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let room = access.room.as_bytes().as_slice();
        let newest: Option<u32> = sqlx::query_scalar("SELECT version FROM rooms WHERE room = ?")
            .bind(room)
            .fetch_optional(&mut *transaction)
            .await?;
        if newest.unwrap_or(0).checked_add(1) != Some(access.version) {
            return Err(StoreError::Conflict);
        }
        // What was closed stays so, also where nobody's list says it.
        let barred: Option<bool> = sqlx::query_scalar("SELECT closed FROM rooms WHERE room = ?")
            .bind(room)
            .fetch_optional(&mut *transaction)
            .await?;
        if barred == Some(true) {
            return Err(StoreError::Conflict);
        }
        let closed = access.members.is_empty();
        sqlx::query(
            "INSERT INTO rooms (room, version, creator, closed) VALUES (?, ?, ?, ?)
             ON CONFLICT (room) DO UPDATE SET version = excluded.version, closed = excluded.closed",
        )
        .bind(room)
        .bind(access.version)
        .bind(access.creator.as_str())
        .bind(closed)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO room_access (room, version, access) VALUES (?, ?, ?)")
            .bind(room)
            .bind(access.version)
            .bind(access.access.as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(conflict)?;
        if closed {
            let group = sqlx::query("DELETE FROM mls_groups WHERE room = ?").bind(room);
            group.execute(&mut *transaction).await?;
            let older = sqlx::query("DELETE FROM room_access WHERE room = ? AND version < ?");
            older.bind(room).bind(access.version).execute(&mut *transaction).await?;
        }
        // Most of a list stays as it is from one version to the next.
        let before: Vec<String> = sqlx::query_scalar("SELECT user FROM room_members WHERE room = ?")
            .bind(room)
            .fetch_all(&mut *transaction)
            .await?;
        let before: HashSet<&str> = before.iter().map(String::as_str).collect();
        let after: HashSet<&str> = access.members.iter().map(UserId::as_str).collect();
        for gone in before.difference(&after) {
            let query = sqlx::query("DELETE FROM room_members WHERE user = ? AND room = ?");
            query.bind(*gone).bind(room).execute(&mut *transaction).await?;
        }
        for new in after.difference(&before) {
            let query = sqlx::query("INSERT INTO room_members (user, room) VALUES (?, ?)");
            query.bind(*new).bind(room).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn newest_access(&self, room: RoomId) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
        let query = sqlx::query("SELECT version, access FROM room_access WHERE room = ? ORDER BY version DESC LIMIT 1");
        let row = query.bind(room.as_bytes().as_slice()).fetch_optional(self.pool()).await?;
        row.map(|row| Ok((row.try_get("version")?, row.try_get("access")?))).transpose()
    }

    async fn access_above(
        &self,
        room: RoomId,
        version: u32,
        room_for: usize,
    ) -> Result<(Vec<Vec<u8>>, bool), StoreError> {
        let (mut versions, mut taken, mut next) = (Vec::new(), 0, version);
        // One at a time: a page of the largest lists is a handful, and nothing larger is ever held.
        loop {
            next = next.saturating_add(1);
            let query = sqlx::query_scalar("SELECT access FROM room_access WHERE room = ? AND version = ?");
            let query = query.bind(room.as_bytes().as_slice()).bind(next);
            let Some(access): Option<Vec<u8>> = query.fetch_optional(self.pool()).await? else {
                return Ok((versions, false));
            };
            taken += access.len();
            if taken > room_for && !versions.is_empty() {
                return Ok((versions, true));
            }
            versions.push(access);
        }
    }

    async fn rooms_of(&self, user: &UserId) -> Result<Vec<(RoomId, u32)>, StoreError> {
        let query = sqlx::query(
            "SELECT rooms.room, rooms.version FROM room_members JOIN rooms ON rooms.room = room_members.room
             WHERE room_members.user = ? ORDER BY rooms.room",
        );
        let rows = query.bind(user.as_str()).fetch_all(self.pool()).await?;
        let room = |row: sqlx::sqlite::SqliteRow| {
            let room: Vec<u8> = row.try_get("room")?;
            Ok((RoomId::from_bytes(id(&room)?), row.try_get("version")?))
        };
        rows.into_iter().map(room).collect()
    }

    async fn close_room(&self, room: RoomId, version: u32) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let room = room.as_bytes().as_slice();
        let close = sqlx::query("UPDATE rooms SET closed = 1 WHERE room = ? AND version = ? AND closed = 0");
        if close.bind(room).bind(version).execute(&mut *transaction).await?.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
        for forget in [
            "DELETE FROM room_access WHERE room = ?",
            "DELETE FROM room_members WHERE room = ?",
            "DELETE FROM mls_groups WHERE room = ?",
        ] {
            sqlx::query(forget).bind(room).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn open_rooms_of(&self, creator: &UserId) -> Result<Vec<RoomId>, StoreError> {
        let query = sqlx::query_scalar("SELECT room FROM rooms WHERE creator = ? AND closed = 0 ORDER BY room");
        let rooms: Vec<Vec<u8>> = query.bind(creator.as_str()).fetch_all(self.pool()).await?;
        rooms.iter().map(|room| Ok(RoomId::from_bytes(id(room)?))).collect()
    }

    async fn rooms_made(&self, creator: &UserId) -> Result<u32, StoreError> {
        let query = sqlx::query_scalar("SELECT COUNT(*) FROM rooms WHERE creator = ? AND closed = 0");
        Ok(query.bind(creator.as_str()).fetch_one(self.pool()).await?)
    }

    async fn access_bytes(&self, creator: &UserId) -> Result<u64, StoreError> {
        let query = sqlx::query_scalar(
            "SELECT COALESCE(SUM(LENGTH(room_access.access)), 0) FROM room_access
             JOIN rooms ON rooms.room = room_access.room WHERE rooms.creator = ?",
        );
        let bytes: i64 = query.bind(creator.as_str()).fetch_one(self.pool()).await?;
        u64::try_from(bytes).map_err(|_| StoreError::Damaged)
    }

    async fn room(&self, room: RoomId) -> Result<Option<StoredRoom>, StoreError> {
        // One statement reads both from one state of the database.
        let query = sqlx::query(
            "SELECT rooms.call, room_members.user FROM rooms LEFT JOIN room_members ON room_members.room = rooms.room
             WHERE rooms.room = ?",
        );
        let mut found = None;
        for row in query.bind(room.as_bytes().as_slice()).fetch_all(self.pool()).await? {
            let (call, user): (Option<Vec<u8>>, Option<String>) = (row.try_get("call")?, row.try_get("user")?);
            let call = call.map(|call| id(&call).map(CallId::from_bytes)).transpose()?;
            let StoredRoom { members, .. } = found.get_or_insert_with(|| StoredRoom { call, members: Vec::new() });
            if let Some(user) = user {
                members.push(user.parse().map_err(|_| StoreError::Damaged)?);
            }
        }
        Ok(found)
    }

    async fn call_of(
        &self,
        room: RoomId,
        fresh: CallId,
        now: WallTime,
        lifetime: u64,
    ) -> Result<Option<CallId>, StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let query = sqlx::query("SELECT call, granted FROM rooms WHERE room = ?");
        let row = query.bind(room.as_bytes().as_slice()).fetch_optional(&mut *transaction).await?;
        let Some(row) = row else { return Ok(None) };
        let (call, granted): (Option<Vec<u8>>, i64) = (row.try_get("call")?, row.try_get("granted")?);
        let good = granted.saturating_add(i64::try_from(lifetime).unwrap_or(i64::MAX)) > seconds(now);
        let (call, goes_on) = match call {
            Some(call) if good => (CallId::from_bytes(id(&call)?), true),
            Some(_) | None => (fresh, false),
        };
        let noted = async {
            sqlx::query("UPDATE rooms SET call = ?, granted = MAX(granted, ?) WHERE room = ?")
                .bind(call.as_bytes().as_slice())
                .bind(seconds(now))
                .bind(room.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
            if !goes_on {
                // The group of a call goes with it.
                sqlx::query("DELETE FROM mls_groups WHERE room = ? AND call <> ?")
                    .bind(room.as_bytes().as_slice())
                    .bind(call.as_bytes().as_slice())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        match noted.await.map_err(StoreError::from) {
            // A full disk keeps nobody out of a call that is there: at worst its last grant outlives it unnoticed, and is
            // refused by the relay then.
            Err(StoreError::Full(_)) if goes_on => Ok(Some(call)),
            noted => noted.map(|()| Some(call)),
        }
    }
}
