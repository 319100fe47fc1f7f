//! A user's devices (rule ID-2): a hash-chained list signed by the account key.
//!
//! What a server hands out is a [`ClaimedList`]. Only [`ClaimedList::verify`] makes a [`DeviceList`] of it, and
//! that says no more than "the holder of this account key signed this": whether the key is the right one is for
//! the trust store (and later the key directory) to say.

use minicbor::{Decode, Encode};

use crate::DeviceId;
use crate::cbor;
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
}

/// A list as somebody handed it over: bytes, not yet believed. CBOR `[body, signature]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedList(Signed);

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
        Ok(DeviceList { signed: self.0.clone(), body, records })
    }
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
        Self::build(account, user, 1, None, vec![record], Vec::new())
    }

    /// The list that follows this one with `record` added, or put in the place of an older one of its device.
    ///
    /// # Errors
    /// [`ListError`] when the record is not one of this list's user or not a newer one, or the list is full.
    pub fn with(&self, account: &SigningKey<Account>, record: Signed) -> Result<Self, ListError> {
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
        self.next(account, records, self.body.revoked.clone())
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
        let version = self.body.version.saturating_add(1);
        let next = Self::build(account, &self.body.user, version, Some(self.hash()), records, revoked)?;
        next.keeps(self)?;
        Ok(next)
    }

    fn build(
        account: &SigningKey<Account>,
        user: &UserId,
        version: u32,
        previous: Option<[u8; 32]>,
        records: Vec<Signed>,
        revoked: Vec<DeviceId>,
    ) -> Result<Self, ListError> {
        let account_key = *account.public();
        let body =
            Body { format: FORMAT, user: user.clone(), account: account_key, version, previous, records, revoked };
        ClaimedList(Signed::new(account, labels::DEVICE_LIST, cbor::encode(&body))).verify(user)
    }

    /// Whether this list may follow `earlier`: same user, same account key, next version, chained by hash.
    ///
    /// # Errors
    /// [`ListError::Chain`] or [`ListError::User`].
    pub fn follows(&self, earlier: &Self) -> Result<(), ListError> {
        if self.body.user != earlier.body.user {
            return Err(ListError::User);
        }
        let next = earlier.body.version.checked_add(1);
        if self.body.account != earlier.body.account
            || Some(self.body.version) != next
            || self.body.previous != Some(earlier.hash())
        {
            return Err(ListError::Chain);
        }
        self.keeps(earlier)
    }

    /// Whether nothing of `earlier` was taken back: no record gone or older, no revocation undone.
    fn keeps(&self, earlier: &Self) -> Result<(), ListError> {
        let kept = |old: &DeviceRecord| {
            self.records.iter().any(|new| new.device == old.device && (new == old || new.version > old.version))
        };
        let still_revoked = |id: &DeviceId| self.body.revoked.contains(id);
        let whole = earlier.records.iter().all(kept) && earlier.body.revoked.iter().all(still_revoked);
        if whole { Ok(()) } else { Err(ListError::Records) }
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

#[cfg(test)]
mod tests;
