//! Making an account, or beginning one anew.

use core::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Bytes, Name};

/// Begins a registration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterStart {
    /// The name wanted.
    pub user: Name,
    /// OPAQUE registration request.
    pub request: Bytes,
    /// An invite token, where the server wants one.
    pub invite: Option<String>,
    /// The operator's token with which an account that is there begins anew (rule ID-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anew: Option<String>,
    /// The RSA key of a device that has no other, as SPKI: its challenge is wrapped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_key: Option<Bytes>,
}

impl fmt::Debug for RegisterStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The invite is as good as an account, and the operator's token as good as this one.
        write!(f, "RegisterStart({})", self.user.0)
    }
}

/// The server's half of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterChallenge {
    /// Names this exchange in the next request.
    pub exchange: String,
    /// OPAQUE registration response.
    pub response: Bytes,
    /// A P-256 key to prove possession of the device's agreement key against, or, for an RSA key, what is wrapped to it
    /// (rule ID-2).
    pub challenge: Bytes,
    /// The present device list, behind which an account begins anew; else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Bytes>,
}

/// Completes a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterFinish {
    /// From [`RegisterChallenge`].
    pub exchange: String,
    /// OPAQUE registration upload.
    pub upload: Bytes,
    /// The account key, wrapped under the OPAQUE export key.
    pub account_by_passphrase: Bytes,
    /// The account key, wrapped under the recovery key.
    pub account_by_recovery: Bytes,
    /// The key that shows that the recovery key is at hand (rule ID-6): Ed25519, 32 bytes.
    pub recovery: Bytes,
    /// The signed device list: version 1, or the one by which the account begins anew.
    pub list: Bytes,
    /// Proof of possession of the device's agreement key, over the list's SHA-256.
    pub possession: Bytes,
}
