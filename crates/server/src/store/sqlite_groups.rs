//! Groups in SQLite.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, query, query_scalar};
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, WallTime};
use undertone_protocol::delivery::Node;
use undertone_protocol::limits::MAX_TREE_NODES;

use super::StoreError;
use super::groups::{Ended, EpochEnd, Groups, NewGroup, NodeChanges, Opened, StoredGroup, Winner};
use super::sqlite::{Sqlite, conflict, number, seconds};

fn unsigned(stored: i64) -> Result<u64, StoreError> {
    u64::try_from(stored).map_err(|_| StoreError::Damaged)
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged)
}

/// Notes what a tree has at the places that become different, where that is not noted yet.
async fn note_tree(
    connection: &mut SqliteConnection,
    call: CallId,
    NodeChanges { length, nodes }: &NodeChanges,
) -> Result<(), StoreError> {
    let call = call.as_bytes().as_slice();
    let beyond = "INSERT OR IGNORE INTO mls_nodes_before (call, place, node)
                  SELECT call, place, node FROM mls_nodes WHERE call = ? AND place >= ?";
    query(beyond).bind(call).bind(length).execute(&mut *connection).await?;
    for (place, _) in nodes {
        let there = "INSERT OR IGNORE INTO mls_nodes_before (call, place, node)
                     VALUES (?1, ?2, (SELECT node FROM mls_nodes WHERE call = ?1 AND place = ?2))";
        query(there).bind(call).bind(place).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Puts a tree back to what was noted.
async fn restore_tree(connection: &mut SqliteConnection, call: CallId, length: u32) -> Result<(), StoreError> {
    let call = call.as_bytes().as_slice();
    for restore in [
        "DELETE FROM mls_nodes WHERE call = ?1 AND (place >= ?2 OR place IN (SELECT place FROM mls_nodes_before WHERE call = ?1))",
        "INSERT INTO mls_nodes (call, place, node) SELECT call, place, node FROM mls_nodes_before
         WHERE call = ?1 AND place < ?2 AND node IS NOT NULL",
    ] {
        query(restore).bind(call).bind(length).execute(&mut *connection).await?;
    }
    query("DELETE FROM mls_nodes_before WHERE call = ?").bind(call).execute(&mut *connection).await?;
    Ok(())
}

/// Writes what becomes different in a tree whose rows are there.
async fn change_tree(
    connection: &mut SqliteConnection,
    call: CallId,
    NodeChanges { length, nodes }: &NodeChanges,
) -> Result<(), StoreError> {
    let call = call.as_bytes().as_slice();
    let beyond = query("DELETE FROM mls_nodes WHERE call = ? AND place >= ?").bind(call).bind(length);
    beyond.execute(&mut *connection).await?;
    for (place, node) in nodes {
        match node {
            None => {
                let blank = query("DELETE FROM mls_nodes WHERE call = ? AND place = ?").bind(call).bind(place);
                blank.execute(&mut *connection).await?;
            }
            Some(node) => {
                let put = "INSERT INTO mls_nodes (call, place, node) VALUES (?, ?, ?)
                           ON CONFLICT (call, place) DO UPDATE SET node = excluded.node";
                query(put).bind(call).bind(place).bind(node.as_ref()).execute(&mut *connection).await?;
            }
        }
    }
    Ok(())
}

/// How the newest epoch was opened, and whose Welcome into it still waits.
async fn opened(
    connection: &mut SqliteConnection,
    call: CallId,
    newest: u64,
    user: &str,
) -> Result<Option<Opened>, StoreError> {
    let call = call.as_bytes().as_slice();
    let commit = query("SELECT device, hash FROM mls_commits WHERE call = ? AND epoch = ?");
    let commit = commit.bind(call).bind(number(newest).saturating_sub(1)).fetch_optional(&mut *connection).await?;
    let Some(commit) = commit else { return Ok(None) };
    let device = DeviceId::from_bytes(array(commit.try_get("device")?)?);
    let by = Address { user: user.parse().map_err(|_| StoreError::Damaged)?, device };
    let waiting = query_scalar("SELECT device FROM mls_welcomed WHERE call = ? AND epoch = ?");
    let waiting: Vec<Vec<u8>> = waiting.bind(call).bind(number(newest)).fetch_all(&mut *connection).await?;
    let welcomed = waiting.iter().map(|device| Ok(DeviceId::from_bytes(array(device)?)));
    let welcomed = welcomed.collect::<Result<_, StoreError>>()?;
    Ok(Some(Opened { by, hash: array(commit.try_get("hash")?)?, welcomed }))
}

impl Groups for Sqlite {
    async fn create_group(&self, group: NewGroup, now: WallTime) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let call = group.call.as_bytes().as_slice();
        let present = query("SELECT 1 FROM rooms WHERE room = ? AND call = ? AND closed = 0");
        let present = present.bind(group.room.as_bytes().as_slice()).bind(call);
        if present.fetch_optional(&mut *transaction).await?.is_none() {
            return Err(StoreError::Conflict);
        }
        let insert =
            "INSERT INTO mls_groups (call, room, suite, epoch, info, length, oldest, creator, alone, hash, used)
                      VALUES (?, ?, ?, 0, ?, ?, 0, ?, ?, ?, ?)";
        query(insert)
            .bind(call)
            .bind(group.room.as_bytes().as_slice())
            .bind(group.suite)
            .bind(group.info)
            .bind(group.tree.length)
            .bind(group.creator.device.as_bytes().as_slice())
            .bind(group.creator.user.as_str())
            .bind(group.hash.as_slice())
            .bind(seconds(now))
            .execute(&mut *transaction)
            .await
            .map_err(conflict)?;
        change_tree(&mut transaction, group.call, &group.tree).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn group_count(&self) -> Result<u32, StoreError> {
        Ok(query_scalar("SELECT COUNT(*) FROM mls_groups").fetch_one(self.pool()).await?)
    }

    async fn group(&self, id: CallId) -> Result<Option<StoredGroup>, StoreError> {
        // From one state of the database.
        let mut transaction = self.pool().begin().await?;
        let call = id.as_bytes().as_slice();
        let select =
            "SELECT suite, epoch, info, length, oldest, creator, alone, hash, before_by FROM mls_groups WHERE call = ?";
        let Some(row) = query(select).bind(call).fetch_optional(&mut *transaction).await? else { return Ok(None) };
        let length = usize::try_from(row.try_get::<u32, _>("length")?).map_err(|_| StoreError::Damaged)?;
        if length > MAX_TREE_NODES {
            return Err(StoreError::Damaged);
        }
        let mut nodes: Vec<Option<Node>> = vec![None; length];
        let stored = query("SELECT place, node FROM mls_nodes WHERE call = ?").bind(call);
        for row in stored.fetch_all(&mut *transaction).await? {
            let place = usize::try_from(row.try_get::<u32, _>("place")?).map_err(|_| StoreError::Damaged)?;
            let node: Vec<u8> = row.try_get("node")?;
            *nodes.get_mut(place).ok_or(StoreError::Damaged)? = Some(node.into());
        }
        let mut history = Vec::new();
        // The wire format, behind the version: a public message is of somebody who comes in.
        let stored = "SELECT epoch, LENGTH(message) AS bytes, SUBSTR(message, 3, 2) = X'0001' AS external, device
                      FROM mls_commits WHERE call = ? ORDER BY epoch";
        let stored = query(stored);
        for row in stored.bind(call).fetch_all(&mut *transaction).await? {
            let bytes = usize::try_from(row.try_get::<i64, _>("bytes")?).map_err(|_| StoreError::Damaged)?;
            let by = DeviceId::from_bytes(array(row.try_get("device")?)?);
            let external = row.try_get("external")?;
            history.push(Ended { epoch: unsigned(row.try_get("epoch")?)?, bytes, by, external });
        }
        let epoch = unsigned(row.try_get("epoch")?)?;
        let opened = match row.try_get::<Option<String>, _>("before_by")? {
            Some(user) => opened(&mut transaction, id, epoch, &user).await?,
            None => None,
        };
        let alone = row.try_get::<Option<String>, _>("alone")?.map(|user| user.parse());
        Ok(Some(StoredGroup {
            alone: alone.transpose().map_err(|_| StoreError::Damaged)?,
            suite: row.try_get("suite")?,
            epoch,
            opened,
            oldest: unsigned(row.try_get("oldest")?)?,
            creator: DeviceId::from_bytes(array(row.try_get("creator")?)?),
            hash: array(row.try_get("hash")?)?,
            info: row.try_get("info")?,
            nodes,
            history,
        }))
    }

    async fn end_epoch(&self, end: EpochEnd) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let (call, epoch) = (end.call.as_bytes().as_slice(), number(end.epoch));
        // The compare and the set. That there is one row of each epoch holds by itself as well.
        let set = "UPDATE mls_groups SET epoch = epoch + 1, before_info = info, before_length = length, before_by = ?, info = ?,
                   length = ?, oldest = MAX(oldest, ?), used = ?, alone = CASE WHEN alone = ? THEN alone END
                   WHERE call = ? AND epoch = ?";
        let set = query(set).bind(end.by.user.as_str()).bind(end.info).bind(end.tree.length);
        let set = set.bind(number(end.oldest)).bind(seconds(end.now)).bind(end.by.user.as_str());
        if set.bind(call).bind(epoch).execute(&mut *transaction).await?.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
        query("INSERT INTO mls_commits (call, epoch, device, hash, message) VALUES (?, ?, ?, ?, ?)")
            .bind(call)
            .bind(epoch)
            .bind(end.by.device.as_bytes().as_slice())
            .bind(end.hash.as_slice())
            .bind(end.commit)
            .execute(&mut *transaction)
            .await
            .map_err(conflict)?;
        query("DELETE FROM mls_nodes_before WHERE call = ?").bind(call).execute(&mut *transaction).await?;
        note_tree(&mut transaction, end.call, &end.tree).await?;
        change_tree(&mut transaction, end.call, &end.tree).await?;
        let next = epoch.saturating_add(1);
        for (place, (to, welcome)) in end.welcomes.iter().enumerate() {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            query("INSERT INTO mls_welcomes (call, epoch, number, welcome) VALUES (?, ?, ?, ?)")
                .bind(call)
                .bind(next)
                .bind(place)
                .bind(welcome.as_slice())
                .execute(&mut *transaction)
                .await?;
            for Address { user, device } in to {
                query("INSERT OR REPLACE INTO mls_welcomed (call, device, user, epoch, number) VALUES (?, ?, ?, ?, ?)")
                    .bind(call)
                    .bind(device.as_bytes().as_slice())
                    .bind(user.as_str())
                    .bind(next)
                    .bind(place)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        for forget in [
            "DELETE FROM mls_commits WHERE call = ? AND epoch < ?",
            // What led into an epoch that nobody can go on from is good for nothing.
            "DELETE FROM mls_welcomes WHERE call = ? AND epoch < ?",
        ] {
            query(forget).bind(call).bind(number(end.oldest)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn not_alone(&self, call: CallId) -> Result<(), StoreError> {
        let set = query("UPDATE mls_groups SET alone = NULL WHERE call = ?").bind(call.as_bytes().as_slice());
        set.execute(self.pool()).await?;
        Ok(())
    }

    async fn withdraw_group(&self, call: CallId) -> Result<(), StoreError> {
        let gone =
            query("DELETE FROM mls_groups WHERE call = ? AND alone IS NOT NULL").bind(call.as_bytes().as_slice());
        let gone = gone.execute(self.pool()).await?.rows_affected();
        if gone == 1 { Ok(()) } else { Err(StoreError::Conflict) }
    }

    async fn forget_group(&self, call: CallId) -> Result<(), StoreError> {
        let forget = query("DELETE FROM mls_groups WHERE call = ?").bind(call.as_bytes().as_slice());
        forget.execute(self.pool()).await?;
        Ok(())
    }

    async fn give_back(&self, id: CallId, epoch: u64, hash: [u8; 32]) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let (call, ended) = (id.as_bytes().as_slice(), number(epoch));
        let opened = ended.saturating_add(1);
        let commit = query("DELETE FROM mls_commits WHERE call = ? AND epoch = ? AND hash = ?");
        if commit.bind(call).bind(ended).bind(hash.as_slice()).execute(&mut *transaction).await?.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
        let length = "SELECT before_length FROM mls_groups WHERE call = ? AND epoch = ? AND before_info IS NOT NULL";
        let length: Option<u32> =
            query_scalar(length).bind(call).bind(opened).fetch_optional(&mut *transaction).await?;
        let length = length.ok_or(StoreError::Conflict)?;
        query(
            "UPDATE mls_groups SET epoch = epoch - 1, info = before_info, length = before_length, before_info = NULL,
             before_length = NULL, before_by = NULL WHERE call = ? AND epoch = ?",
        )
        .bind(call)
        .bind(opened)
        .execute(&mut *transaction)
        .await?;
        restore_tree(&mut transaction, id, length).await?;
        let welcomes = query("DELETE FROM mls_welcomes WHERE call = ? AND epoch = ?");
        welcomes.bind(call).bind(opened).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn winner(&self, call: CallId, epoch: u64) -> Result<Option<Winner>, StoreError> {
        let select = query("SELECT device, hash, message FROM mls_commits WHERE call = ? AND epoch = ?");
        let select = select.bind(call.as_bytes().as_slice()).bind(number(epoch));
        let Some(row) = select.fetch_optional(self.pool()).await? else { return Ok(None) };
        Ok(Some(Winner {
            device: DeviceId::from_bytes(array(row.try_get("device")?)?),
            hash: array(row.try_get("hash")?)?,
            commit: row.try_get("message")?,
        }))
    }

    async fn commits_from(
        &self,
        call: CallId,
        epoch: u64,
        most: u32,
        room_for: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let (mut commits, mut taken) = (Vec::new(), 0);
        // One at a time: no more is ever held than is handed out.
        for next in epoch..epoch.saturating_add(u64::from(most)) {
            let select = query_scalar("SELECT message FROM mls_commits WHERE call = ? AND epoch = ?");
            let select = select.bind(call.as_bytes().as_slice()).bind(number(next));
            let Some(commit): Option<Vec<u8>> = select.fetch_optional(self.pool()).await? else { break };
            taken += commit.len();
            if taken > room_for && !commits.is_empty() {
                break;
            }
            commits.push((next, commit));
        }
        Ok(commits)
    }

    async fn welcome_for(&self, call: CallId, to: &Address) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let select = "SELECT mls_welcomes.epoch, mls_welcomes.welcome FROM mls_welcomed JOIN mls_welcomes
                      ON mls_welcomes.call = mls_welcomed.call AND mls_welcomes.epoch = mls_welcomed.epoch
                      AND mls_welcomes.number = mls_welcomed.number
                      WHERE mls_welcomed.call = ? AND mls_welcomed.device = ? AND mls_welcomed.user = ?";
        let select = query(select).bind(call.as_bytes().as_slice()).bind(to.device.as_bytes().as_slice());
        let Some(row) = select.bind(to.user.as_str()).fetch_optional(self.pool()).await? else { return Ok(None) };
        Ok(Some((unsigned(row.try_get("epoch")?)?, row.try_get("welcome")?)))
    }

    async fn welcomed(&self, call: CallId, device: DeviceId) -> Result<(), StoreError> {
        let forget = query("DELETE FROM mls_welcomed WHERE call = ? AND device = ?");
        forget.bind(call.as_bytes().as_slice()).bind(device.as_bytes().as_slice()).execute(self.pool()).await?;
        Ok(())
    }

    async fn reinform(&self, call: CallId, epoch: u64, info: Vec<u8>, tree: NodeChanges) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let set = query("UPDATE mls_groups SET info = ?, length = ? WHERE call = ? AND epoch = ?");
        let set = set.bind(info).bind(tree.length).bind(call.as_bytes().as_slice()).bind(number(epoch));
        if set.execute(&mut *transaction).await?.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
        note_tree(&mut transaction, call, &tree).await?;
        change_tree(&mut transaction, call, &tree).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn groups_used(&self, calls: &[CallId], now: WallTime) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        for call in calls {
            let used = query("UPDATE mls_groups SET used = MAX(used, ?) WHERE call = ?").bind(seconds(now));
            used.bind(call.as_bytes().as_slice()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn forget_groups(&self, since: WallTime) -> Result<u64, StoreError> {
        let forget = query("DELETE FROM mls_groups WHERE used < ?").bind(seconds(since));
        Ok(forget.execute(self.pool()).await?.rows_affected())
    }
}
