//! Devices in SQLite.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, UserId, WallTime};

use super::devices::{Change, Devices, Passphrase, Secrets, StoredList, Waiting};
use super::sqlite::{Sqlite, insert_list, insert_token, number, seconds, user};
use super::{StoreError, Token};

fn stored_list(row: &SqliteRow) -> Result<StoredList, StoreError> {
    Ok(StoredList { version: row.try_get("version")?, list: row.try_get("list")? })
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Damaged)
}

fn fixed<const N: usize>(row: &SqliteRow, column: &str) -> Result<[u8; N], StoreError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.as_slice().try_into().map_err(|_| StoreError::Damaged)
}

fn waiting(row: &SqliteRow) -> Result<Waiting, StoreError> {
    let effective: Option<i64> = row.try_get("effective")?;
    Ok(Waiting {
        user: user(row)?,
        list: stored_list(row)?,
        token: fixed(row, "token")?,
        published: unsigned(row.try_get("published")?)?,
        effective: effective.map(|at| unsigned(at).map(WallTime::from_unix)).transpose()?,
    })
}

const WAITING: &str = "SELECT anew_waiting.user, anew_waiting.version, list, token, published, effective
    FROM anew_waiting JOIN device_lists
    ON device_lists.user = anew_waiting.user AND device_lists.version = anew_waiting.version";

/// A device of this user's gets a token in the place of any it had with them.
async fn put_token(connection: &mut SqliteConnection, token: &Token, now: WallTime) -> Result<(), StoreError> {
    drop_token(connection, &token.user, token.device).await?;
    insert_token(connection, token, now).await
}

async fn drop_token(connection: &mut SqliteConnection, user: &UserId, device: DeviceId) -> Result<(), StoreError> {
    let older = sqlx::query("DELETE FROM tokens WHERE device = ? AND user = ?");
    older.bind(device.as_bytes().as_slice()).bind(user.as_str()).execute(connection).await?;
    Ok(())
}

async fn revoke(
    connection: &mut SqliteConnection,
    user: &UserId,
    devices: &[DeviceId],
    now: WallTime,
) -> Result<(), StoreError> {
    for device in devices {
        drop_token(connection, user, *device).await?;
        sqlx::query(
            "INSERT INTO revoked_devices (device, user, at) VALUES (?, ?, ?)
             ON CONFLICT (device, user) DO UPDATE SET at = excluded.at",
        )
        .bind(device.as_bytes().as_slice())
        .bind(user.as_str())
        .bind(seconds(now))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn set_passphrase(
    connection: &mut SqliteConnection,
    user: &UserId,
    passphrase: &Passphrase,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE accounts SET opaque = ?, by_passphrase = ? WHERE user = ?")
        .bind(passphrase.opaque.as_slice())
        .bind(passphrase.by_passphrase.as_slice())
        .bind(user.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_secrets(connection: &mut SqliteConnection, user: &UserId, secrets: &Secrets) -> Result<(), StoreError> {
    set_passphrase(connection, user, &secrets.passphrase).await?;
    sqlx::query("UPDATE accounts SET by_recovery = ?, recovery = ? WHERE user = ?")
        .bind(secrets.by_recovery.as_slice())
        .bind(secrets.recovery.as_slice())
        .bind(user.as_str())
        .execute(&mut *connection)
        .await?;
    // Whatever is logged in is so by the secrets from before.
    sqlx::query("DELETE FROM tokens WHERE user = ?").bind(user.as_str()).execute(connection).await?;
    Ok(())
}

/// Takes an announcement away; [`StoreError::Conflict`] where it does not wait any more.
async fn end_waiting(connection: &mut SqliteConnection, user: &UserId, version: u32) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM anew_waiting WHERE user = ? AND version = ?");
    let ended = query.bind(user.as_str()).bind(version).execute(connection).await?;
    if ended.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

/// The newest list of a user that is not only announced.
const IN_FORCE: &str = "SELECT version, list FROM device_lists WHERE user = ?1
     AND NOT EXISTS (SELECT 1 FROM anew_waiting WHERE user = ?1 AND anew_waiting.version = device_lists.version)
     ORDER BY version DESC LIMIT 1";

impl Devices for Sqlite {
    async fn list(&self, name: &UserId) -> Result<Option<StoredList>, StoreError> {
        let row = sqlx::query(IN_FORCE).bind(name.as_str()).fetch_optional(self.pool()).await?;
        row.as_ref().map(stored_list).transpose()
    }

    async fn newest(&self, name: &UserId) -> Result<Option<StoredList>, StoreError> {
        let query = sqlx::query("SELECT version, list FROM device_lists WHERE user = ? ORDER BY version DESC LIMIT 1");
        let row = query.bind(name.as_str()).fetch_optional(self.pool()).await?;
        row.as_ref().map(stored_list).transpose()
    }

    async fn lists_above(&self, name: &UserId, version: u32) -> Result<Vec<StoredList>, StoreError> {
        let query =
            sqlx::query("SELECT version, list FROM device_lists WHERE user = ? AND version > ? ORDER BY version");
        let rows = query.bind(name.as_str()).bind(version).fetch_all(self.pool()).await?;
        rows.iter().map(stored_list).collect()
    }

    async fn lists_size(&self, name: &UserId) -> Result<(u32, u64), StoreError> {
        let query =
            sqlx::query("SELECT COUNT(*) AS versions, TOTAL(LENGTH(list)) AS bytes FROM device_lists WHERE user = ?");
        let row = query.bind(name.as_str()).fetch_one(self.pool()).await?;
        let bytes: f64 = row.try_get("bytes")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below what it holds")]
        Ok((row.try_get("versions")?, bytes as u64))
    }

    async fn unpublished(&self, epoch: u64) -> Result<Vec<(UserId, StoredList)>, StoreError> {
        // What a directory does not have is forgotten to be in it before any of it is published anew: whoever is cut off then
        // goes on with the rest, whatever epoch the directory has come to by then.
        let forget = sqlx::query("UPDATE device_lists SET published = 0 WHERE published > ?");
        forget.bind(number(epoch)).execute(self.pool()).await?;
        // And when what was announced by them is in force, which goes by when they are published.
        let undated = sqlx::query(
            "UPDATE anew_waiting SET effective = NULL WHERE EXISTS (SELECT 1 FROM device_lists
             WHERE device_lists.user = anew_waiting.user AND device_lists.version = anew_waiting.version AND published = 0)",
        );
        undated.execute(self.pool()).await?;
        self.not_published().await
    }

    async fn not_published(&self) -> Result<Vec<(UserId, StoredList)>, StoreError> {
        let query =
            sqlx::query("SELECT user, version, list FROM device_lists WHERE published = 0 ORDER BY user, version");
        let rows = query.fetch_all(self.pool()).await?;
        rows.iter().map(|row| Ok((user(row)?, stored_list(row)?))).collect()
    }

    async fn published(&self, name: &UserId, version: u32, epoch: u64) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE device_lists SET published = ? WHERE user = ? AND version = ?");
        query.bind(number(epoch)).bind(name.as_str()).bind(version).execute(self.pool()).await?;
        Ok(())
    }

    async fn change(&self, name: &UserId, change: Change, now: WallTime) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        // Checked again where nobody else can come in between: somebody may have been revoked, or the account begun anew.
        let now_in_force = sqlx::query(IN_FORCE).bind(name.as_str()).fetch_optional(&mut *transaction).await?;
        let version = now_in_force.as_ref().map(|row| row.try_get::<u32, _>("version")).transpose()?;
        if version != Some(change.on) {
            return Err(StoreError::Conflict);
        }
        if let Some(version) = change.keeps {
            end_waiting(&mut transaction, name, version).await?;
        }
        if let Some(list) = &change.list {
            insert_list(&mut transaction, name, list).await?;
        }
        revoke(&mut transaction, name, &change.revoked, now).await?;
        if let Some(token) = &change.token {
            put_token(&mut transaction, token, now).await?;
        }
        if let Some(passphrase) = &change.passphrase {
            set_passphrase(&mut transaction, name, passphrase).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn add_anew(&self, hash: [u8; 32], name: &UserId, now: WallTime) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO anew_tokens (hash, user, created) VALUES (?, ?, ?)
             ON CONFLICT (user) DO UPDATE SET hash = excluded.hash, created = excluded.created",
        );
        query.bind(hash.as_slice()).bind(name.as_str()).bind(seconds(now)).execute(self.pool()).await?;
        Ok(())
    }

    async fn has_anew(&self, hash: &[u8; 32], name: &UserId, since: WallTime) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM anew_tokens WHERE hash = ? AND user = ? AND created > ?");
        let query = query.bind(hash.as_slice()).bind(name.as_str()).bind(seconds(since));
        Ok(query.fetch_optional(self.pool()).await?.is_some())
    }

    async fn announce(
        &self,
        name: &UserId,
        list: StoredList,
        secrets: Secrets,
        permit: [u8; 32],
        at_once: Option<Token>,
        now: WallTime,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let used = sqlx::query("DELETE FROM anew_tokens WHERE hash = ? AND user = ?");
        let used = used.bind(permit.as_slice()).bind(name.as_str()).execute(&mut *transaction).await?;
        if used.rows_affected() != 1 {
            return Err(StoreError::NoInvite);
        }
        insert_list(&mut transaction, name, &list).await?;
        if let Some(token) = &at_once {
            set_secrets(&mut transaction, name, &secrets).await?;
            put_token(&mut transaction, token, now).await?;
        } else {
            sqlx::query(
                "INSERT INTO anew_waiting (user, version, token, opaque, by_passphrase, by_recovery, recovery)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(name.as_str())
            .bind(list.version)
            .bind(permit.as_slice())
            .bind(secrets.passphrase.opaque)
            .bind(secrets.passphrase.by_passphrase)
            .bind(secrets.by_recovery)
            .bind(secrets.recovery.as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(super::sqlite::conflict)?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn announce_again(&self, name: &UserId, version: u32, secrets: Secrets) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE anew_waiting SET opaque = ?, by_passphrase = ?, by_recovery = ?, recovery = ?
             WHERE user = ? AND version = ?",
        )
        .bind(secrets.passphrase.opaque)
        .bind(secrets.passphrase.by_passphrase)
        .bind(secrets.by_recovery)
        .bind(secrets.recovery.as_slice())
        .bind(name.as_str())
        .bind(version);
        let changed = query.execute(self.pool()).await?;
        if changed.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict) }
    }

    async fn waiting(&self, name: &UserId) -> Result<Option<Waiting>, StoreError> {
        let sql = format!("{WAITING} WHERE anew_waiting.user = ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name.as_str());
        query.fetch_optional(self.pool()).await?.as_ref().map(waiting).transpose()
    }

    async fn all_waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        sqlx::query(WAITING).fetch_all(self.pool()).await?.iter().map(waiting).collect()
    }

    async fn set_effective(&self, name: &UserId, version: u32, at: WallTime) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE anew_waiting SET effective = ? WHERE user = ? AND version = ?");
        query.bind(seconds(at)).bind(name.as_str()).bind(version).execute(self.pool()).await?;
        Ok(())
    }

    async fn begin(&self, name: &UserId, version: u32, revoked: &[DeviceId], now: WallTime) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let query = sqlx::query(
            "SELECT opaque, by_passphrase, by_recovery, recovery FROM anew_waiting WHERE user = ? AND version = ?",
        );
        let row = query.bind(name.as_str()).bind(version).fetch_optional(&mut *transaction).await?;
        let row = row.ok_or(StoreError::Conflict)?;
        let passphrase = Passphrase { opaque: row.try_get("opaque")?, by_passphrase: row.try_get("by_passphrase")? };
        let secrets =
            Secrets { passphrase, by_recovery: row.try_get("by_recovery")?, recovery: fixed(&row, "recovery")? };
        end_waiting(&mut transaction, name, version).await?;
        set_secrets(&mut transaction, name, &secrets).await?;
        revoke(&mut transaction, name, revoked, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn revoked_since(&self, since: WallTime, most: usize) -> Result<Vec<Address>, StoreError> {
        let query = sqlx::query("SELECT device, user FROM revoked_devices WHERE at >= ? ORDER BY at DESC LIMIT ?");
        let query = query.bind(seconds(since));
        let rows = query.bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(self.pool()).await?;
        // A disk without room keeps nobody from being told.
        let forget = sqlx::query("DELETE FROM revoked_devices WHERE at < ?").bind(seconds(since));
        if let Err(error) = forget.execute(self.pool()).await {
            tracing::warn!(%error, "revocations that are over are not forgotten");
        }
        let address = |row| Ok(Address { user: user(row)?, device: DeviceId::from_bytes(fixed(row, "device")?) });
        rows.iter().map(address).collect()
    }
}
