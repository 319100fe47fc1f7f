//! What the server keeps about an account's devices: every version of their list, who was revoked, and what is announced.

use std::future::Future;

use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, UserId, WallTime};

use super::{StoreError, Token};

/// A device list with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredList {
    /// Counts from 1.
    pub version: u32,
    /// The signed bytes.
    pub list: Vec<u8>,
}

/// What opens an account, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passphrase {
    /// OPAQUE password file.
    pub opaque: Vec<u8>,
    /// The account key, wrapped under the export key.
    pub by_passphrase: Vec<u8>,
}

impl Passphrase {
    /// The account has none, and nothing of it is kept (rule ID-6): both parts are empty.
    #[must_use]
    pub const fn off() -> Self {
        Self { opaque: Vec::new(), by_passphrase: Vec::new() }
    }
}

/// A change of a user's devices, with everything that changes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The version in force that it was checked against.
    pub on: u32,
    /// The next list, if there is one.
    pub list: Option<StoredList>,
    /// The token of a device, in the place of any it had.
    pub token: Option<Token>,
    /// Another passphrase, or [`Passphrase::off`].
    pub passphrase: Option<Passphrase>,
    /// Devices that the list revokes: their tokens go.
    pub revoked: Vec<DeviceId>,
    /// The version of the announcement that the list takes back.
    pub keeps: Option<u32>,
}

/// What takes the place of an account's secrets when it begins anew (rule ID-7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The passphrase's part.
    pub passphrase: Passphrase,
    /// The account key, wrapped under the recovery key.
    pub by_recovery: Vec<u8>,
    /// The key that shows that the recovery key is at hand.
    pub recovery: [u8; 32],
}

/// An account that is announced to begin anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub user: UserId,
    /// The announcement.
    pub list: StoredList,
    /// SHA-256 of the token that was used up for it.
    pub token: [u8; 32],
    /// The epoch of the key directory in which it was published; 0 for none yet.
    pub published: u64,
    /// When it takes effect, where that is known.
    pub effective: Option<WallTime>,
}

/// Device lists, and what hangs on them. Each call is all or nothing, and durable when it returns.
pub trait Devices: Send + Sync + 'static {
    /// The newest list of this user that is in force: not one that is only announced.
    fn list(&self, user: &UserId) -> impl Future<Output = Result<Option<StoredList>, StoreError>> + Send;

    /// The newest list of this user, in force or announced.
    fn newest(&self, user: &UserId) -> impl Future<Output = Result<Option<StoredList>, StoreError>> + Send;

    /// The lists of this user above a version, oldest first.
    fn lists_above(
        &self,
        user: &UserId,
        version: u32,
    ) -> impl Future<Output = Result<Vec<StoredList>, StoreError>> + Send;

    /// How many lists there are of this user, and how many bytes they have together.
    fn lists_size(&self, user: &UserId) -> impl Future<Output = Result<(u32, u64), StoreError>> + Send;

    /// Lists that a key directory at this epoch does not have, those of one user oldest first. Mostly there are none. What it had
    /// at a later epoch counts as never published from then on.
    fn unpublished(&self, epoch: u64) -> impl Future<Output = Result<Vec<(UserId, StoredList)>, StoreError>> + Send;

    /// Lists that were never published, those of one user oldest first.
    fn not_published(&self) -> impl Future<Output = Result<Vec<(UserId, StoredList)>, StoreError>> + Send;

    /// The key directory has this version of this user's list since this epoch.
    fn published(&self, user: &UserId, version: u32, epoch: u64)
    -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes a change. [`StoreError::Conflict`] when another version is in force than the one it was checked against, its own
    /// exists, or the announcement that it takes back does not wait any more.
    fn change(
        &self,
        user: &UserId,
        change: Change,
        now: WallTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps an operator's token by its hash, in the place of any that the user had.
    fn add_anew(
        &self,
        hash: [u8; 32],
        user: &UserId,
        now: WallTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether there is such a token for this user, made after `since`.
    fn has_anew(
        &self,
        hash: &[u8; 32],
        user: &UserId,
        since: WallTime,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Uses up an operator's token ([`StoreError::NoInvite`]) and keeps the list by which the account begins anew with its
    /// new secrets: announced only, or at once, with the token of the new device. [`StoreError::Conflict`] when that version
    /// exists.
    fn announce(
        &self,
        user: &UserId,
        list: StoredList,
        secrets: Secrets,
        permit: [u8; 32],
        at_once: Option<Token>,
        now: WallTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts other secrets in the place of those that wait with this version: whoever announced it did not get the answer.
    fn announce_again(
        &self,
        user: &UserId,
        version: u32,
        secrets: Secrets,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is announced for this user.
    fn waiting(&self, user: &UserId) -> impl Future<Output = Result<Option<Waiting>, StoreError>> + Send;

    /// Everything that is announced.
    fn all_waiting(&self) -> impl Future<Output = Result<Vec<Waiting>, StoreError>> + Send;

    /// An announcement takes effect then.
    fn set_effective(
        &self,
        user: &UserId,
        version: u32,
        at: WallTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// An announcement takes effect: its secrets become the account's, all tokens go, and these devices are revoked.
    /// [`StoreError::Conflict`] when it does not wait any more.
    fn begin(
        &self,
        user: &UserId,
        version: u32,
        revoked: &[DeviceId],
        now: WallTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The devices that were revoked since then, the latest first, `most` at most. Older ones are forgotten.
    fn revoked_since(
        &self,
        since: WallTime,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Address>, StoreError>> + Send;
}
