//! Accounts over HTTPS, in JSON. Byte strings are base64 (standard alphabet, padded).
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/server` | - | [`ServerInfo`] |
//! | `POST /v1/register/start` | [`RegisterStart`] | [`RegisterChallenge`] |
//! | `POST /v1/register/finish` | [`RegisterFinish`] | [`Enrolled`] |
//! | `POST /v1/login/start` | [`LoginStart`] | [`LoginChallenge`] |
//! | `POST /v1/login/finish` | [`LoginFinish`] | [`LoggedIn`] |
//! | `POST /v1/recover/start` | [`RecoverStart`] | [`RecoverChallenge`] |
//! | `POST /v1/recover/finish` | [`RecoverFinish`] | [`LoggedIn`] |
//! | `POST /v1/devices` | [`Enrol`] | [`Enrolled`] |
//! | `POST /v1/devices/change` | [`ChangeDevices`] | nothing |
//! | `POST /v1/devices/consent` | [`AwaitConsent`] | [`Consented`] |
//! | `GET /v1/users/{user}/devices?seen={size}&known={version}` | - | [`Devices`] |
//! | `GET /v1/account/history?seen={size}&from={version}` | - | [`AccountHistory`] |
//! | `POST /v1/consents` | [`GiveConsent`] | nothing |
//! | `POST /v1/logout` | - | nothing |
//! | `GET /v1/rooms` | - | [`Rooms`] |
//! | `GET /v1/rooms/{room}/access?above={version}` | - | [`AccessVersions`] |
//! | `POST /v1/rooms/{room}/access` | [`NewAccess`] | nothing |
//! | `POST /v1/rooms/{room}/close` | - | nothing |
//! | `POST /v1/rooms/{room}/enter` | - | [`Entered`] |
//! | `POST /v1/rooms/{room}/knock` | - | nothing |
//! | `POST /v1/rooms/{room}/turn-away` | [`TurnAway`] | nothing |
//! | `GET /v1/rooms/{room}/calls/{call}/tree?epoch={epoch}` | - | the ratchet tree as RFC 9420 encodes it |
//! | `POST /v1/rooms/{room}/key-packages/claim` | [`ClaimKeyPackages`] | [`ClaimedKeyPackages`] |
//! | `GET /v1/key-packages` | - | [`KeyPackagesLeft`] |
//! | `POST /v1/key-packages` | [`UploadKeyPackages`] | nothing |
//! | `GET /v1/signal` | - | WebSocket, see [`crate::signal`] |
//!
//! From `GET /v1/users` on all want `Authorization: Bearer` with a device's token. `login/start`, `recover/start` and `devices/change` may
//! have one of the same account: its attempts have places of their own. Errors are [`Problem`].

mod devices;
mod key_packages;
mod login;
mod register;
mod rooms;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use undertone_keys::UserId;
use utoipa::ToSchema;

pub use devices::{AccountHistory, AwaitConsent, ChangeDevices, Consented, Devices, Enrol, Enrolled, GiveConsent};
pub use key_packages::{
    ClaimKeyPackages, ClaimedKeyPackage, ClaimedKeyPackages, DeviceNamed, KeyPackagesLeft, SuiteLeft,
    UploadKeyPackages, Withheld,
};
pub use login::{
    LoggedIn, LoginChallenge, LoginFinish, LoginStart, NewPassphrase, RecoverChallenge, RecoverFinish, RecoverStart,
};
pub use register::{RegisterChallenge, RegisterFinish, RegisterStart};
pub use rooms::{AccessVersions, Entered, NewAccess, RoomShown, Rooms, TurnAway};

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
    /// Wrong name, or wrong passphrase or recovery key.
    pub const WRONG_CREDENTIALS: &str = "wrong_credentials";
    /// The token is unknown or was revoked.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// No name of this server's.
    pub const UNKNOWN_USER: &str = "unknown_user";
    /// The exchange is unknown or took too long.
    pub const EXCHANGE_OVER: &str = "exchange_over";
    /// The device list is not the next one of this account.
    pub const BAD_LIST: &str = "bad_list";
    /// The account is announced to begin anew: nothing else of it changes until then, or until it is kept.
    pub const ANNOUNCED: &str = "announced";
    /// There is no such room for this user.
    pub const UNKNOWN_ROOM: &str = "unknown_room";
    /// The access list is not the next one of this room, or its signer may not make this change.
    pub const BAD_ACCESS: &str = "bad_access";
    /// There is no such tree, or none any more.
    pub const NO_TREE: &str = "no_tree";
    /// More key packages, or suites, than a device can have.
    pub const TOO_MANY_KEY_PACKAGES: &str = "too_many_key_packages";
    /// Whoever asks may not moderate in this room.
    pub const RIGHTS: &str = "rights";
    /// This operator opens no rooms that the relay can hear.
    pub const PROTECTION: &str = "protection";
    /// Too many requests.
    pub const TOO_MANY: &str = "too_many";
    /// The account's device list has changed too often, or has too many devices.
    pub const TOO_MANY_CHANGES: &str = "too_many_changes";
    /// The server cannot do it now.
    pub const UNAVAILABLE: &str = "unavailable";
}
