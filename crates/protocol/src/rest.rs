//! Accounts over HTTPS, in JSON. Byte strings are base64 (standard alphabet, padded).
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/server` | - | [`ServerInfo`] |
//! | `POST /v1/register/start` | [`RegisterStart`] | [`RegisterChallenge`] |
//! | `POST /v1/register/finish` | [`RegisterFinish`] | [`Enrolled`] |
//! | `POST /v1/login/start` | [`LoginStart`] | [`LoginChallenge`] |
//! | `POST /v1/login/finish` | [`LoginFinish`] | [`LoggedIn`] |
//! | `POST /v1/devices` | [`Enrol`] | [`Enrolled`] |
//! | `GET /v1/users/{user}/devices?seen={size}&known={version}` | - | [`Devices`] |
//! | `GET /v1/account/history?seen={size}&from={version}` | - | [`AccountHistory`] |
//! | `POST /v1/logout` | - | nothing |
//! | `GET /v1/rooms` | - | [`Rooms`] |
//! | `GET /v1/rooms/{room}/access?above={version}` | - | [`AccessVersions`] |
//! | `POST /v1/rooms/{room}/access` | [`NewAccess`] | nothing |
//! | `POST /v1/rooms/{room}/enter` | - | [`Entered`] |
//! | `GET /v1/signal` | - | WebSocket, see [`crate::signal`] |
//!
//! From `GET /v1/users` on all want `Authorization: Bearer` with a device's token. Errors are [`Problem`].

use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use undertone_keys::UserId;
use utoipa::ToSchema;

/// Bytes, written as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = Byte)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| serde::de::Error::custom("not base64"))
    }
}

/// A user's name in its one form; anything else is refused while reading.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "ada@localhost")]
pub struct Name(pub UserId);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a server says of itself before anybody trusts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// The signed [`crate::statement::Statement`].
    pub statement: Bytes,
    /// The protocol version spoken.
    pub version: u16,
    /// Whether anybody may register, or an invite token is needed.
    pub open_registration: bool,
}

/// Begins a registration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisterStart {
    /// The name wanted.
    pub user: Name,
    /// OPAQUE registration request.
    pub request: Bytes,
    /// An invite token, where the server wants one.
    pub invite: Option<String>,
    /// The RSA key of a device that has no other, as SPKI: its challenge is wrapped to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_key: Option<Bytes>,
}

impl fmt::Debug for RegisterStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The invite is as good as an account.
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
    /// The signed device list, version 1.
    pub list: Bytes,
    /// Proof of possession of the device's agreement key, over the list's SHA-256.
    pub possession: Bytes,
}

/// A device is part of its account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// The device's token, 64 hexadecimal digits. Shown once; the server keeps a hash.
    pub token: String,
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enrolled")
    }
}

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
}

/// The passphrase was right: what is needed to add this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// Names this exchange in [`Enrol`].
    pub exchange: String,
    /// The account key, wrapped under the OPAQUE export key.
    pub account_by_passphrase: Bytes,
    /// The present device list.
    pub list: Bytes,
    /// A P-256 key to prove possession against.
    pub challenge: Bytes,
}

/// Adds a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrol {
    /// From [`LoggedIn`].
    pub exchange: String,
    /// The next device list, with the new device in it.
    pub list: Bytes,
    /// The new device, 32 hexadecimal digits.
    pub device: String,
    /// Proof of possession of its agreement key, over the list's SHA-256.
    pub possession: Bytes,
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

/// A room that a user may come into, as far as the server knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomShown {
    /// The room's id, 32 hexadecimal digits.
    pub room: String,
    /// The newest version of its access list.
    pub version: u32,
    /// Whose devices are in it now, a user once for each. The relay's word: proof is for those inside.
    pub present: Vec<Name>,
}

/// The rooms that a user may come into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rooms {
    /// Ascending by id.
    pub rooms: Vec<RoomShown>,
}

/// Versions of a room's access list, from the one after the version asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessVersions {
    /// Signed [`crate::AccessList`]s, one after the other.
    pub versions: Vec<Bytes>,
    /// Whether there are more behind these.
    pub more: bool,
}

/// The next version of a room's access list, or the first of a new room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewAccess {
    /// A signed [`crate::AccessList`].
    pub access: Bytes,
}

/// A room is open to the device that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entered {
    /// A signed [`crate::Grant`] for it.
    pub grant: Bytes,
    /// The version of the access list that it goes by.
    pub version: u32,
}

/// Why a request failed, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// One of the words of [`code`].
    pub code: String,
    /// A sentence that says what to do.
    pub message: String,
}

/// The words of [`Problem::code`].
pub mod code {
    /// The body is not what this request takes.
    pub const BAD_REQUEST: &str = "bad_request";
    /// The name is taken.
    pub const NAME_TAKEN: &str = "name_taken";
    /// The name belongs to another domain.
    pub const OTHER_DOMAIN: &str = "other_domain";
    /// An invite token is needed, or the one given is not good.
    pub const INVITE: &str = "invite_needed";
    /// Wrong name or passphrase.
    pub const WRONG_CREDENTIALS: &str = "wrong_credentials";
    /// The token is unknown or was revoked.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// No name of this server's.
    pub const UNKNOWN_USER: &str = "unknown_user";
    /// The exchange is unknown or took too long.
    pub const EXCHANGE_OVER: &str = "exchange_over";
    /// The device list is not the next one of this account.
    pub const BAD_LIST: &str = "bad_list";
    /// There is no such room for this user.
    pub const UNKNOWN_ROOM: &str = "unknown_room";
    /// The access list is not the next one of this room, or its signer may not make this change.
    pub const BAD_ACCESS: &str = "bad_access";
    /// This operator opens no rooms that the relay can hear.
    pub const PROTECTION: &str = "protection";
    /// Too many requests.
    pub const TOO_MANY: &str = "too_many";
    /// The server cannot do it now.
    pub const UNAVAILABLE: &str = "unavailable";
}
