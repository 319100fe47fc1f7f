//! SQLite in WAL mode, durable at every commit.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row};
use undertone_keys::{DeviceId, UserId, WallTime};

use super::{Account, Accounts, StoreError, StoredList, Token};

/// Reads go on while something is written.
const CONNECTIONS: u32 = 4;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Accounts in one SQLite file.
#[derive(Clone, Debug)]
pub struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    /// Opens the file and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, CONNECTIONS).await
    }

    async fn open_with(path: &Path, connections: u32) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            // SQLite ends a transaction that finds no room by itself; the driver's ROLLBACK then fails, and it believes in
            // the transaction for ever after.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { pool })
    }

    /// Reads the whole file for damage and says how many accounts are in it. Changes nothing, and may be done beside a
    /// running server.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Database`].
    pub async fn examine(path: &Path) -> Result<u64, StoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(5));
        let mut connection = options.connect().await?;
        let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
        if found != "ok" {
            return Err(StoreError::Damaged);
        }
        let accounts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts").fetch_one(&mut connection).await?;
        connection.close().await?;
        u64::try_from(accounts).map_err(|_| StoreError::Damaged)
    }

    pub(super) const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

pub(super) fn seconds(time: WallTime) -> i64 {
    number(time.as_unix())
}

pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn user(row: &SqliteRow) -> Result<UserId, StoreError> {
    row.try_get::<String, _>("user")?.parse().map_err(|_| StoreError::Damaged)
}

/// A broken uniqueness is somebody else's being first.
pub(super) fn conflict(error: sqlx::Error) -> StoreError {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => StoreError::Conflict,
        Some(_) | None => error.into(),
    }
}

pub(super) async fn insert_token(
    connection: &mut sqlx::SqliteConnection,
    token: &Token,
    now: WallTime,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO tokens (hash, user, device, created) VALUES (?, ?, ?, ?)")
        .bind(token.hash.as_slice())
        .bind(token.user.as_str())
        .bind(token.device.as_bytes().as_slice())
        .bind(seconds(now))
        .execute(connection)
        .await
        .map_err(conflict)?;
    Ok(())
}

pub(super) async fn insert_list(
    connection: &mut sqlx::SqliteConnection,
    user: &UserId,
    list: &StoredList,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO device_lists (user, version, list) VALUES (?, ?, ?)")
        .bind(user.as_str())
        .bind(list.version)
        .bind(list.list.as_slice())
        .execute(connection)
        .await
        .map_err(conflict)?;
    Ok(())
}

impl Accounts for Sqlite {
    async fn create(
        &self,
        account: Account,
        list: Vec<u8>,
        token: Token,
        invite: Option<[u8; 32]>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(invite) = invite {
            let deleted = sqlx::query("DELETE FROM invites WHERE hash = ?").bind(invite.as_slice());
            if deleted.execute(&mut *transaction).await?.rows_affected() != 1 {
                return Err(StoreError::NoInvite);
            }
        }
        let insert = "INSERT INTO accounts (user, opaque, by_passphrase, by_recovery, recovery, created)
                      VALUES (?, ?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(account.user.as_str())
            .bind(account.opaque)
            .bind(account.by_passphrase)
            .bind(account.by_recovery)
            .bind(account.recovery.as_ref().map(<[u8; 32]>::as_slice))
            .bind(seconds(account.created))
            .execute(&mut *transaction)
            .await
            .map_err(conflict)?;
        insert_list(&mut transaction, &account.user, &StoredList { version: 1, list }).await?;
        insert_token(&mut transaction, &token, account.created).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn account(&self, name: &UserId) -> Result<Option<Account>, StoreError> {
        let select = "SELECT user, opaque, by_passphrase, by_recovery, recovery, created FROM accounts WHERE user = ?";
        let query = sqlx::query(select).bind(name.as_str());
        let Some(row) = query.fetch_optional(&self.pool).await? else { return Ok(None) };
        let recovery: Option<Vec<u8>> = row.try_get("recovery")?;
        let recovery = recovery.map(|key| key.as_slice().try_into().map_err(|_| StoreError::Damaged)).transpose()?;
        Ok(Some(Account {
            user: user(&row)?,
            opaque: row.try_get("opaque")?,
            by_passphrase: row.try_get("by_passphrase")?,
            by_recovery: row.try_get("by_recovery")?,
            recovery,
            created: WallTime::from_unix(u64::try_from(row.try_get::<i64, _>("created")?).unwrap_or_default()),
        }))
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let query = sqlx::query("SELECT user, device FROM tokens WHERE hash = ?").bind(hash.as_slice());
        let Some(row) = query.fetch_optional(&self.pool).await? else { return Ok(None) };
        let device: Vec<u8> = row.try_get("device")?;
        let device = device.as_slice().try_into().map_err(|_| StoreError::Damaged)?;
        Ok(Some(Token { hash: *hash, user: user(&row)?, device: DeviceId::from_bytes(device) }))
    }

    async fn revoke(&self, device: DeviceId) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM tokens WHERE device = ?").bind(device.as_bytes().as_slice());
        query.execute(&self.pool).await?;
        Ok(())
    }

    async fn add_invite(&self, hash: [u8; 32], now: WallTime) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT INTO invites (hash, created) VALUES (?, ?)");
        query.bind(hash.as_slice()).bind(seconds(now)).execute(&self.pool).await.map_err(conflict)?;
        Ok(())
    }

    async fn has_invite(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT 1 FROM invites WHERE hash = ?").bind(hash.as_slice());
        Ok(query.fetch_optional(&self.pool).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Devices};

    #[tokio::test]
    async fn sqlite_keeps_accounts() {
        let folder = std::env::temp_dir().join(format!("undertone-sqlite-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("test.db");
        let store = Sqlite::open(&path).await.unwrap();
        super::super::conformance::run(&store).await;
        super::super::rooms::conformance::run(&store).await;
        super::super::devices_conformance::run(&store).await;
        super::super::groups_conformance::run(&store).await;
        let now = WallTime::from_unix(1_000);
        let put = async |token: Token| {
            let user = token.user.clone();
            if store.account(&user).await.unwrap().is_some() {
                let list = Some(StoredList { version: 2, list: vec![2] });
                let change = Change { on: 1, list, token: Some(token), ..Change::default() };
                return store.change(&user, change, now).await.unwrap();
            }
            let (opaque, by_passphrase, by_recovery) = (vec![1], vec![1], vec![1]);
            let account = Account { user, opaque, by_passphrase, by_recovery, recovery: None, created: now };
            store.create(account, vec![1], token, None).await.unwrap();
        };
        let revoke = async |device| store.revoke(device).await.unwrap();
        super::super::key_packages_conformance::run(&store, put, revoke).await;
        store.close().await;
        // What was committed is there after opening again.
        let again = Sqlite::open(&path).await.unwrap();
        assert!(again.account(&"ada@x".parse().unwrap()).await.unwrap().is_some());
        again.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// However often it happens: the connections of the pool are as good as before.
    #[tokio::test]
    async fn a_database_without_room_takes_everything_again_when_there_is_some() {
        let folder = std::env::temp_dir().join(format!("undertone-sqlite-full-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Sqlite::open_with(&folder.join("test.db"), 1).await.unwrap();
        let create = async |name: &str, n: u8, list: Vec<u8>| {
            let user: UserId = name.parse().unwrap();
            let created = WallTime::from_unix(5);
            let account = Account {
                user: user.clone(),
                opaque: vec![1],
                by_passphrase: vec![2],
                by_recovery: vec![3],
                recovery: None,
                created,
            };
            let token = Token { hash: [n; 32], user, device: DeviceId::from_bytes([n; 16]) };
            store.create(account, list, token, None).await
        };
        create("ada@x", 1, vec![9]).await.unwrap();
        for n in 2..8 {
            // No page more than there are: what a full disk says, on a connection that is in use next.
            let _: i64 = sqlx::query_scalar("PRAGMA max_page_count = 1").fetch_one(&store.pool).await.unwrap();
            let full = create("bob@x", n, vec![0; 1_000_000]).await;
            assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
        }
        assert!(store.account(&"bob@x".parse().unwrap()).await.unwrap().is_none(), "nothing of Bob's was kept");
        let _: i64 = sqlx::query_scalar("PRAGMA max_page_count = 1000000").fetch_one(&store.pool).await.unwrap();
        create("bob@x", 9, vec![0; 1_000_000]).await.unwrap();
        assert!(store.account(&"ada@x".parse().unwrap()).await.unwrap().is_some());
        store.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
