//! Rooms and who may come in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Bytes, Name};

/// A room that a user may come into, as far as the server knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomShown {
    /// The room's id, 32 hexadecimal digits.
    pub room: String,
    /// The newest version of its access list.
    pub version: u32,
    /// Whose devices are in it now, a user once for each. The relay's word: proof is for those inside.
    pub present: Vec<Name>,
    /// What it is called, where this user made it under an account key from before they began anew: nobody can sign for them there any
    /// more, and nothing is left but to close it (`POST /v1/rooms/{room}/close`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
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

/// Somebody who asks to be let into a room is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnAway {
    /// Who.
    pub user: Name,
}

/// A room is open to the device that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entered {
    /// A signed [`crate::Grant`] for it.
    pub grant: Bytes,
    /// The version of the access list that it goes by.
    pub version: u32,
}
