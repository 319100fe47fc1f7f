//! Coming into an account that is there: by passphrase or by recovery key (rule ID-6).

use core::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Bytes, Name};

/// Begins a login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginStart {
    /// Who.
    pub user: Name,
    /// OPAQUE credential request.
    pub request: Bytes,
}

/// The server's half of a login. Looks the same for names that do not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginChallenge {
    /// Names this exchange in the next request.
    pub exchange: String,
    /// OPAQUE credential response.
    pub response: Bytes,
}

/// Completes a login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginFinish {
    /// From [`LoginChallenge`].
    pub exchange: String,
    /// OPAQUE credential finalization.
    pub finalization: Bytes,
    /// The RSA key of a device that has no other, as SPKI: its challenge is wrapped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_key: Option<Bytes>,
    /// OPAQUE registration request of another passphrase, for a [`NewPassphrase`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_passphrase: Option<Bytes>,
}

/// Begins a login with the recovery key, where the passphrase is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoverStart {
    /// Who.
    pub user: Name,
    /// OPAQUE registration request of a new passphrase.
    pub request: Bytes,
}

/// The server's half of it. Looks the same for names that do not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoverChallenge {
    /// Names this exchange in the next request.
    pub exchange: String,
    /// 32 bytes to sign with the key that the recovery key gives, once.
    pub nonce: Bytes,
    /// OPAQUE registration response, for a [`NewPassphrase`].
    pub response: Bytes,
}

/// Completes a login with the recovery key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoverFinish {
    /// From [`RecoverChallenge`].
    pub exchange: String,
    /// The signature over the nonce: Ed25519, 64 bytes.
    pub signature: Bytes,
    /// The RSA key of a device that has no other, as SPKI: its challenge is wrapped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_key: Option<Bytes>,
}

/// Passphrase or recovery key were right: what is needed to add a device or to change the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// Names this exchange in [`Enrol`](super::Enrol), [`AwaitConsent`](super::AwaitConsent) and
    /// [`ChangeDevices`](super::ChangeDevices).
    pub exchange: String,
    /// The account key, wrapped by what it was opened with: OPAQUE's export key, or the recovery key.
    pub account: Bytes,
    /// The device list that is in force.
    pub list: Bytes,
    /// The list by which the account is to begin anew, where one is announced (rule ID-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<Bytes>,
    /// A P-256 key to prove possession against, or, for an RSA key, what is wrapped to it (rule ID-2).
    pub challenge: Bytes,
    /// The OPAQUE registration response, where [`LoginFinish`] had a request of another passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_passphrase: Option<Bytes>,
}

/// Another passphrase in the place of the one before. Taken where the recovery key was shown, or where a device of the account
/// changes it that has the one before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewPassphrase {
    /// OPAQUE registration upload.
    pub upload: Bytes,
    /// The account key, wrapped under the new OPAQUE export key.
    pub account: Bytes,
}

impl fmt::Debug for NewPassphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassphrase")
    }
}
