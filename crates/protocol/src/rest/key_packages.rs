//! Key packages of a device: what others need to add it to an MLS group while it is away.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Bytes, Name};

/// Key packages of the device that asks, in addition to those that are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadKeyPackages {
    /// Their cipher suite.
    pub suite: u16,
    /// MLS messages, each handed out once.
    pub packages: Vec<Bytes>,
    /// Handed out where there is no other, as often as it takes; in the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_resort: Option<Bytes>,
    /// Until when all of these are good, in seconds since 1970: 30 days from now at most.
    pub expires: u64,
}

/// What the server has of the device that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyPackagesLeft {
    /// Ascending by suite.
    pub suites: Vec<SuiteLeft>,
}

/// What there is of one suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuiteLeft {
    /// The cipher suite.
    pub suite: u16,
    /// How many are good and were not handed out, the last resort not counted.
    pub left: u32,
    /// When the first of them is good no more, in seconds since 1970; 0 where there is none.
    pub expires: u64,
    /// The same of the last resort; 0 where there is none.
    pub last_resort_expires: u64,
}

/// A device of somebody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceNamed {
    /// Whose.
    pub user: Name,
    /// Its id, 32 hexadecimal digits.
    pub device: String,
}

/// A key package is wanted of each of these devices, whose users are on the room's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimKeyPackages {
    /// The cipher suite.
    pub suite: u16,
    /// 1 to 64 of them.
    pub devices: Vec<DeviceNamed>,
}

/// One for each device, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedKeyPackages {
    /// What there is.
    pub packages: Vec<ClaimedKeyPackage>,
}

/// A device's key package, or why there is none. Proof that it is the device's own is in the package (rule MLS-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedKeyPackage {
    /// The device's id, 32 hexadecimal digits.
    pub device: String,
    /// An MLS message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Bytes>,
    /// Whether it is the last resort, which others were or will be handed too.
    #[serde(default)]
    pub last_resort: bool,
    /// Where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
}

/// Why no key package of a device is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// The device has none that is good, or there is no such device.
    None,
    /// Its user is not on the room's list.
    Unlisted,
    /// This account has claimed as many of it as it may for a while.
    Later,
}
