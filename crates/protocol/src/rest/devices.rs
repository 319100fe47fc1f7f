//! An account's devices: adding one, letting one in, and changing what is there (rules ID-2, ID-6, ID-7).

use core::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Bytes, NewPassphrase};

/// Adds a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrol {
    /// From [`LoggedIn`](super::LoggedIn).
    pub exchange: String,
    /// The next device list, with the new device in it: let in by one that was there, or with all others revoked.
    pub list: Bytes,
    /// The new device, 32 hexadecimal digits.
    pub device: String,
    /// Proof of possession of its agreement key, over the list's SHA-256.
    pub possession: Bytes,
    /// Another passphrase, in an exchange that the recovery key opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<NewPassphrase>,
}

/// A device is part of its account, or will be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// The device's token, 64 hexadecimal digits. Shown once; the server keeps a hash. None yet where the account begins
    /// anew and the time for that has not come: the device logs in then.
    pub token: Option<String>,
    /// When the account begins anew, in seconds of Unix time, where that was only announced (rule ID-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<u64>,
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enrolled")
    }
}

/// Changes the device list without adding a device: revokes some, gives one another name, or keeps an account that is
/// announced to begin anew. With the present list it only takes another passphrase, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeDevices {
    /// From [`LoggedIn`](super::LoggedIn).
    pub exchange: String,
    /// The next device list.
    pub list: Bytes,
    /// Another passphrase, in an exchange that the recovery key opened, or that the passphrase did and a device of the account brings
    /// with its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<NewPassphrase>,
    /// From now on the account has no passphrase; in an exchange that the recovery key opened.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub passphrase_off: bool,
}

/// A device lets another one into its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GiveConsent {
    /// A signed [`undertone_keys::consent::Consent`].
    pub consent: Bytes,
}

/// Waits for the consent of a device that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AwaitConsent {
    /// From [`LoggedIn`](super::LoggedIn); it stays good for as long as it is asked with, up to
    /// [`CONSENT_TIMEOUT`](crate::limits::CONSENT_TIMEOUT) from the login.
    pub exchange: String,
    /// The new device, 32 hexadecimal digits.
    pub device: String,
}

/// What came of the waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Consented {
    /// A signed [`undertone_keys::consent::Consent`]; none yet: ask again.
    pub consent: Option<Bytes>,
}

/// A user's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Devices {
    /// What the key directory proves of them, or that there is no such user: an `Answer` of `undertone-transparency`.
    pub answer: Bytes,
}

/// The history of the asking device's own account (rule KT-11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountHistory {
    /// Every version of its list from the one asked for on, as the key directory proves them: a `HistoryAnswer` of
    /// `undertone-transparency`.
    pub answer: Bytes,
}
