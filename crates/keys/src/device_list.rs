//! A user's devices (rule ID-2): a hash-chained list signed by the account key.
//!
//! ```text
//! first --with a consent, or revoking all others--> next --> next ...        (rule ID-6)
//!   any --another account key begins anew--> announced --72 h--> effective   (rule ID-7)
//!                                            announced --kept by the old key--> next
//! ```
//! What a server hands out is a [`ClaimedList`]. Only [`ClaimedList::verify`] makes a [`DeviceList`] of it, and
//! that says no more than "the holder of this account key signed this": whether the key is the right one is for
//! the trust store (and later the key directory) to say.

use minicbor::{Decode, Encode};

use crate::DeviceId;
use crate::cbor;
use crate::consent::Consent;
use crate::digest::sha256;
use crate::labels;
use crate::name::UserId;
use crate::record::{DeviceRecord, RecordError};
use crate::sign::{Account, Signed, SigningKey, VerifyingKey};

/// The only list format so far.
pub const FORMAT: u8 = 1;
/// Records in a list at most, revoked ones included.
pub const MAX_RECORDS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Body {
    #[n(0)]
    format: u8,
    #[n(1)]
    user: UserId,
    #[n(2)]
    account: VerifyingKey<Account>,
    #[n(3)]
    version: u32,
    #[cbor(n(4), with = "minicbor::bytes")]
    previous: Option<[u8; 32]>,
    #[n(5)]
    records: Vec<Signed>,
    /// Devices that may not act any more. Their records stay, so that nobody takes their ids for new ones.
    #[n(6)]
    revoked: Vec<DeviceId>,
    /// The account key that this list takes the place of: the account begins anew (rule ID-7).
    #[n(7)]
    anew: Option<VerifyingKey<Account>>,
}

/// A list as somebody handed it over: bytes, not yet believed. CBOR `[body, signature]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedList(Signed);

/// What a list says of its account key. Nothing of it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key that is to have signed it.
    pub account: VerifyingKey<Account>,
    /// The key in whose place it begins the account anew.
    pub anew: Option<VerifyingKey<Account>>,
}

/// Why a list is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Not the deterministic encoding of a list.
    #[error("the device list is malformed")]
    Malformed,
    /// A format this version does not know.
    #[error("the device list has an unknown format")]
    Format,
    /// It is somebody else's list.
    #[error("the device list belongs to another user")]
    User,
    /// The account key named in it did not sign it.
    #[error("the device list is not signed by its account key")]
    Signature,
    /// More than [`MAX_RECORDS`] records, one device twice, or something of an earlier list taken back.
    #[error("the device list has too many records, names a device twice or takes something back")]
    Records,
    /// One of its records does not hold.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A device was added that no present device let in, while others may still act (rule ID-6).
    #[error("the device list adds a device that none of the others let in")]
    Consent,
    /// An account that begins anew does so with one device under a key of its own (rule ID-7).
    #[error("the device list does not begin an account anew")]
    Anew,
    /// It does not follow the list it should follow.
    #[error("the device list does not follow the one before it")]
    Chain,
}

impl ClaimedList {
    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`ListError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ListError> {
        cbor::decode(bytes).map(Self).map_err(|_| ListError::Malformed)
    }

    /// What it says of its account key, of which nothing is checked: for whoever stored it after it was.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        let body: Body = cbor::decode(&self.0.bytes).ok()?;
        Some(Claim { account: body.account, anew: body.anew })
    }

    /// Checks everything the list itself can show, for the user it was asked for.
    ///
    /// # Errors
    /// [`ListError`] says which check failed.
    pub fn verify(&self, user: &UserId) -> Result<DeviceList, ListError> {
        let body: Body = cbor::decode(&self.0.bytes).map_err(|_| ListError::Malformed)?;
        if body.format != FORMAT {
            return Err(ListError::Format);
        }
        if body.user != *user {
            return Err(ListError::User);
        }
        self.0.verify(&body.account, labels::DEVICE_LIST).map_err(|_| ListError::Signature)?;
        if body.version == 0 || (body.version == 1) != body.previous.is_none() {
            return Err(ListError::Chain);
        }
        if body.records.len() > MAX_RECORDS {
            return Err(ListError::Records);
        }
        let mut records = Vec::with_capacity(body.records.len());
        for signed in &body.records {
            let record = DeviceRecord::verify(signed)?;
            if record.user != *user {
                return Err(ListError::User);
            }
            if records.iter().any(|other: &DeviceRecord| other.device == record.device) {
                return Err(ListError::Records);
            }
            records.push(record);
        }
        let ordered = body.revoked.is_sorted_by(|a, b| a < b);
        let listed = |id: &DeviceId| records.iter().any(|record| record.device == *id);
        if !ordered || !body.revoked.iter().all(listed) {
            return Err(ListError::Records);
        }
        let list = DeviceList { signed: self.0.clone(), body, records };
        list.records.iter().try_for_each(|record| list.consent_holds(record))?;
        list.begins_rightly()?;
        Ok(list)
    }
}

/// How a list hangs on the one before it.
struct Link {
    version: u32,
    previous: Option<[u8; 32]>,
    anew: Option<VerifyingKey<Account>>,
}

/// A list that its account key signed, with every record signed by its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    signed: Signed,
    body: Body,
    records: Vec<DeviceRecord>,
}

impl DeviceList {
    /// The first list of a new account.
    ///
    /// # Errors
    /// [`ListError`] when the record is not one of `user`'s.
    pub fn first(account: &SigningKey<Account>, user: &UserId, record: Signed) -> Result<Self, ListError> {
        let link = Link { version: 1, previous: None, anew: None };
        Self::build(account, user, link, vec![record], Vec::new())
    }

    /// The list by which an account begins anew behind `before`, under another account key and with one device: nobody has
    /// what opens the old key (rule ID-7). The record carries no consent.
    ///
    /// # Errors
    /// [`ListError`] when the record is not one of the same user, or the account key is the old one.
    pub fn anew(account: &SigningKey<Account>, before: &Self, record: Signed) -> Result<Self, ListError> {
        let link = Link { anew: Some(before.body.account), ..before.link() };
        let list = Self::build(account, &before.body.user, link, vec![record], Vec::new())?;
        list.follows(before)?;
        Ok(list)
    }

    /// The list that takes `announcement`, which was to begin the account anew behind this list, back: the old account key is
    /// at hand after all.
    ///
    /// # Errors
    /// [`ListError`] when the announcement is none behind this list, or the key is not this list's.
    pub fn keep(&self, account: &SigningKey<Account>, announcement: &Self) -> Result<Self, ListError> {
        let (records, revoked) = (self.body.records.clone(), self.body.revoked.clone());
        let list = Self::build(account, &self.body.user, announcement.link(), records, revoked)?;
        list.keeps_on(announcement, self)?;
        Ok(list)
    }

    /// The list that follows this one with `record` added, or put in the place of an older one of its device. A new device's
    /// record carries the consent of one that may act, where there is one (rule ID-6).
    ///
    /// # Errors
    /// [`ListError`] when the record is not one of this list's user or not a newer one, was not let in, or the list is full.
    pub fn with(&self, account: &SigningKey<Account>, record: Signed) -> Result<Self, ListError> {
        self.put(account, record, self.body.revoked.clone())
    }

    /// The list that follows this one with `record` added and all others revoked: none of them is there to let it in.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn with_alone(&self, account: &SigningKey<Account>, record: Signed) -> Result<Self, ListError> {
        let mut revoked: Vec<DeviceId> = self.records.iter().map(|record| record.device).collect();
        revoked.sort_unstable();
        self.put(account, record, revoked)
    }

    fn put(&self, account: &SigningKey<Account>, record: Signed, revoked: Vec<DeviceId>) -> Result<Self, ListError> {
        let device = DeviceRecord::verify(&record)?.device;
        let mut records: Vec<Signed> = self
            .body
            .records
            .iter()
            .zip(&self.records)
            .filter(|(_, old)| old.device != device)
            .map(|(signed, _)| signed.clone())
            .collect();
        records.push(record);
        self.next(account, records, revoked)
    }

    /// The list that follows this one with a device revoked: the account key's word alone, as the device may be lost.
    ///
    /// # Errors
    /// [`ListError::Records`] when no such device may act.
    pub fn revoke(&self, account: &SigningKey<Account>, device: DeviceId) -> Result<Self, ListError> {
        if self.device(device).is_none() {
            return Err(ListError::Records);
        }
        let mut revoked = self.body.revoked.clone();
        revoked.push(device);
        revoked.sort_unstable();
        self.next(account, self.body.records.clone(), revoked)
    }

    fn next(
        &self,
        account: &SigningKey<Account>,
        records: Vec<Signed>,
        revoked: Vec<DeviceId>,
    ) -> Result<Self, ListError> {
        let next = Self::build(account, &self.body.user, self.link(), records, revoked)?;
        next.keeps(self)?;
        Ok(next)
    }

    /// How the next list hangs on this one.
    fn link(&self) -> Link {
        Link { version: self.body.version.saturating_add(1), previous: Some(self.hash()), anew: None }
    }

    fn build(
        account: &SigningKey<Account>,
        user: &UserId,
        Link { version, previous, anew }: Link,
        records: Vec<Signed>,
        revoked: Vec<DeviceId>,
    ) -> Result<Self, ListError> {
        let (user_id, account_key) = (user.clone(), *account.public());
        let body =
            Body { format: FORMAT, user: user_id, account: account_key, version, previous, records, revoked, anew };
        ClaimedList(Signed::new(account, labels::DEVICE_LIST, cbor::encode(&body))).verify(user)
    }

    /// The account key in whose place this list begins the account anew, if it does (rule ID-7).
    #[must_use]
    pub const fn begins_anew(&self) -> Option<&VerifyingKey<Account>> {
        self.body.anew.as_ref()
    }

    /// Which device let this one in; `None` for the first, and for one that came when nobody else was there.
    #[must_use]
    pub fn let_in_by(&self, record: &DeviceRecord) -> Option<DeviceId> {
        record.consent.as_ref().and_then(|signed| Consent::claimed(signed).ok()).map(|consent| consent.by)
    }

    /// Whether this device was revoked.
    #[must_use]
    pub fn is_revoked(&self, id: DeviceId) -> bool {
        self.body.revoked.contains(&id)
    }

    /// The exact bytes that were signed, with the signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(&self.signed)
    }

    /// SHA-256 over [`Self::to_bytes`]: what the next list and the key directory name.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[&self.to_bytes()])
    }

    /// Whose devices these are.
    #[must_use]
    pub const fn user(&self) -> &UserId {
        &self.body.user
    }

    /// The key that signed the list: what peers pin.
    #[must_use]
    pub const fn account(&self) -> &VerifyingKey<Account> {
        &self.body.account
    }

    /// Counts from 1.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.body.version
    }

    /// Every device, revoked ones included.
    #[must_use]
    pub fn records(&self) -> &[DeviceRecord] {
        &self.records
    }

    /// The devices that may act.
    pub fn active(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.records.iter().filter(|record| !self.is_revoked(record.device))
    }

    /// The active device with this id.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&DeviceRecord> {
        self.active().find(|record| record.device == id)
    }
}

mod chain;
#[cfg(test)]
mod tests;
