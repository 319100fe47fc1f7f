//! What the server keeps about accounts: a small contract, and SQLite as its first keeper. What a call's groups need is kept in memory as
//! well, where the server is simulated.

mod devices;
mod groups;
mod key_packages;
mod memory;
mod memory_groups;
mod memory_key_packages;
mod memory_rooms;
mod rooms;
mod sqlite;
mod sqlite_devices;
mod sqlite_groups;
mod sqlite_key_packages;
mod sqlite_rooms;

use std::future::Future;

pub use devices::{Change, Devices, Passphrase, Secrets, StoredList, Waiting};
pub use groups::{Ended, EpochEnd, Groups, NewGroup, NodeChanges, Opened, StoredGroup, Winner};
pub use key_packages::{HandedOut, KeyPackages, Left, NewKeyPackages};
pub use memory::Memory;
pub use rooms::{Rooms, StoredAccess, StoredRoom};
pub use sqlite::Sqlite;
use undertone_keys::{DeviceId, UserId, WallTime};

/// An account as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose.
    pub user: UserId,
    /// OPAQUE password file; empty where the passphrase is switched off.
    pub opaque: Vec<u8>,
    /// The account key, wrapped under the export key.
    pub by_passphrase: Vec<u8>,
    /// The account key, wrapped under the recovery key.
    pub by_recovery: Vec<u8>,
    /// The key that shows that the recovery key is at hand; accounts that are older than this have none.
    pub recovery: Option<[u8; 32]>,
    /// When it was made.
    pub created: WallTime,
}

impl Account {
    /// Whether it can be opened by a passphrase.
    #[must_use]
    pub const fn has_passphrase(&self) -> bool {
        !self.opaque.is_empty()
    }
}

/// A device's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else was first: the name is taken, or the list has moved on.
    #[error("it exists already")]
    Conflict,
    /// The invite or the operator's token is not one, or was used.
    #[error("no such invite")]
    NoInvite,
    /// What is stored cannot be read.
    #[error("a stored record is damaged")]
    Damaged,
    /// There is no room left on the disk, or the file may not grow.
    #[error("there is no room left for the database: make some, nothing else has to be done ({0})")]
    Full(sqlx::Error),
    /// The database cannot do it: locked, gone.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    /// The database's tables could not be made.
    #[error("the database could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_FULL; and SQLITE_IOERR_WRITE, _FSYNC and _SHMSIZE, which stand for a quota or a limit of file sizes.
        const NO_ROOM: [&str; 4] = ["13", "778", "1034", "4874"];
        let code = error.as_database_error().and_then(|error| error.code());
        if code.is_some_and(|code| NO_ROOM.contains(&&*code)) { Self::Full(error) } else { Self::Database(error) }
    }
}

/// Accounts and their tokens, beside their [`Devices`]. Each call is all or nothing, and durable when it returns.
pub trait Accounts: Devices {
    /// Makes an account with its first list and token; takes the invite with this hash if one is named.
    fn create(
        &self,
        account: Account,
        list: Vec<u8>,
        token: Token,
        invite: Option<[u8; 32]>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The account of this name.
    fn account(&self, user: &UserId) -> impl Future<Output = Result<Option<Account>, StoreError>> + Send;

    /// The token with this hash.
    fn token(&self, hash: &[u8; 32]) -> impl Future<Output = Result<Option<Token>, StoreError>> + Send;

    /// Forgets a device's token.
    fn revoke(&self, device: DeviceId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps an invite by its hash.
    fn add_invite(&self, hash: [u8; 32], now: WallTime) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether an invite with this hash is there to be used.
    fn has_invite(&self, hash: &[u8; 32]) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod devices_conformance;
#[cfg(test)]
pub(crate) mod groups_conformance;
#[cfg(test)]
pub(crate) mod key_packages_conformance;
