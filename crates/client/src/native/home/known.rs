//! What this home knows of its own account's devices (rule KT-11), and how far it has read logs.
//!
//! | record | what |
//! |--------|------|
//! | `known/<device>` | CBOR map: 0: format 1; 1: whether its revocation is known too |
//! | `audited` | the newest list of the account that was checked, as it was signed |
//! | `walked` | CBOR map: 0: format 1; 1: an epoch in which that list was the newest; 2: when the history was proven last |
//! | `log/<key>` | how far the log of that key was read, a [`Progress`] |

use std::collections::BTreeMap;
use std::path::PathBuf;

use minicbor::{Decode, Encode};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{DeviceId, UserId, WallTime, cbor};
use undertone_transparency::PeerTrust;
use undertone_transparency::follow::{self, Progress};
use undertone_transparency::known::KnownList;
use undertone_transparency::note::LogKey;

use super::{Home, HomeError};

const KNOWN: &str = "known/";
const AUDITED: &str = "audited";
const WALKED: &str = "walked";
const LOG: &str = "log/";

/// A device of the account that its owner knows of, as far as this home is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct KnownRecord {
    #[n(0)]
    format: u8,
    #[n(1)]
    revoked: bool,
}

/// How far the account's history was walked, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct WalkedRecord {
    #[n(0)]
    format: u8,
    #[n(1)]
    newest_in: Option<u64>,
    #[n(2)]
    at: Option<WallTime>,
}

/// The newest list of the account that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::native) struct Audited {
    pub(in crate::native) list: DeviceList,
    /// An epoch in which it was the newest, if one is known.
    pub(in crate::native) newest_in: Option<u64>,
}

/// The devices that are known, each with whether it is known to be revoked.
pub(in crate::native) type KnownDevices = BTreeMap<DeviceId, bool>;

/// The records by which a home that becomes a device of an account takes all devices in this list for its owner's. What the
/// directory has shown of the account is `own`: it counts for the list where it is of that very one.
pub(super) fn first_known(list: &DeviceList, own: &PeerTrust) -> Vec<(String, Vec<u8>)> {
    let known = |device: DeviceId| (format!("{KNOWN}{device}"), record(list.is_revoked(device)));
    let mut records: Vec<_> = list.records().iter().map(|record| known(record.device)).collect();
    let proven = own.known().filter(|known| known.list == *list).and_then(|known| known.newest);
    // No history was asked for yet, and none is owed before an hour is over.
    let at = own.attested().map(|attested| attested.time);
    let walked = WalkedRecord { format: 1, newest_in: proven.map(|newest| newest.epoch), at };
    records.extend([(AUDITED.to_owned(), list.to_bytes()), (WALKED.to_owned(), cbor::encode(&walked))]);
    records
}

fn record(revoked: bool) -> Vec<u8> {
    cbor::encode(&KnownRecord { format: 1, revoked })
}

impl Home {
    /// The names of everything that is known of an account's devices: it is another account's when this home becomes its device.
    pub(super) fn known_names(&self) -> Result<Vec<String>, HomeError> {
        self.names(KNOWN)
    }

    /// Remembers that a person knows of this device, or of its revocation: it is no alarm any more.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn acknowledge(&self, device: DeviceId, revoked: bool) -> Result<(), HomeError> {
        self.put(&[(&format!("{KNOWN}{device}"), Some(&record(revoked)))])
    }

    /// The devices that a person knows of.
    pub(in crate::native) fn known_devices(&self) -> Result<KnownDevices, HomeError> {
        let mut known = BTreeMap::new();
        for name in self.names(KNOWN)? {
            let device = name.strip_prefix(KNOWN).and_then(DeviceId::parse);
            let (Some(device), Some(record)) = (device, self.read::<KnownRecord>(&name)?) else {
                return Err(HomeError::Damaged(name));
            };
            known.insert(device, record.revoked);
        }
        Ok(known)
    }

    /// The newest list of the account that was checked. A home that is older than these checks begins with the list that it has
    /// pinned, and takes the devices in that for known.
    pub(in crate::native) fn audited(&self, user: &UserId) -> Result<Option<Audited>, HomeError> {
        // An older list with the epoch of a newer one would accuse a server that has done nothing.
        if let [Some(bytes), walked] = self.get_together([AUDITED, WALKED])? {
            let list = ClaimedList::from_bytes(&bytes).and_then(|claimed| claimed.verify(user));
            let list = list.map_err(|_| HomeError::Damaged(AUDITED.into()))?;
            let walked = walked.map(|bytes| cbor::decode::<WalkedRecord>(&bytes)).transpose();
            let walked = walked.map_err(|_| HomeError::Damaged(WALKED.into()))?;
            return Ok(Some(Audited { list, newest_in: walked.and_then(|walked| walked.newest_in) }));
        }
        let Some(own) = self.peer(user)? else { return Ok(None) };
        let Some(KnownList { list, newest }) = own.known() else { return Ok(None) };
        let records = first_known(&list, &own);
        let records: Vec<_> = records.iter().map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()))).collect();
        self.put(&records)?;
        Ok(Some(Audited { list, newest_in: newest.map(|newest| newest.epoch) }))
    }

    /// Keeps that the account's history was proven, and the newest list in it that was checked.
    pub(in crate::native) fn put_walked(&self, audited: &Audited, at: WallTime) -> Result<(), HomeError> {
        let walked = WalkedRecord { format: 1, newest_in: audited.newest_in, at: Some(at) };
        self.put(&[(AUDITED, Some(&audited.list.to_bytes())), (WALKED, Some(&cbor::encode(&walked)))])
    }

    /// When the account's history was proven last, or when this home became a device of it; none where that was not kept yet.
    pub(in crate::native) fn walked(&self) -> Result<Option<WallTime>, HomeError> {
        Ok(self.read::<WalkedRecord>(WALKED)?.and_then(|walked| walked.at))
    }

    /// How far the log of this key was read; nothing of it at first.
    pub(in crate::native) fn progress(&self, log: &LogKey) -> Result<Progress, HomeError> {
        let name = log_name(log.key());
        let Some(bytes) = self.get(&name)? else { return Ok(Progress::new(log.clone())) };
        Progress::from_bytes(&bytes, log).map_err(|_| HomeError::Damaged(name))
    }

    /// Keeps how far a log was read.
    pub(in crate::native) fn put_progress(&self, progress: &Progress) -> Result<(), HomeError> {
        self.put(&[(&log_name(progress.log().key()), Some(&progress.to_bytes()))])
    }

    /// Writes evidence of what a log did wrong to a file of its own, which is returned.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_log_evidence(&self, evidence: &follow::Evidence) -> Result<PathBuf, HomeError> {
        self.keep_as_evidence(evidence.convicts(), &evidence.digest(), &evidence.to_bytes())
    }
}

fn log_name(log: &VerifyingKey<Server>) -> String {
    format!("{LOG}{}", log.fingerprint())
}
