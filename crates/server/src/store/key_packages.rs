//! What the server keeps of devices' key packages.

use std::future::Future;

use undertone_keys::WallTime;
use undertone_keys::envelope::Address;

use super::{StoreError, Token};

/// Key packages that a device brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyPackages {
    /// Their cipher suite.
    pub suite: u16,
    /// Each to be handed out once.
    pub packages: Vec<Vec<u8>>,
    /// To be handed out where there is no other; in the place of the one before.
    pub last_resort: Option<Vec<u8>>,
    /// Until when they are good.
    pub expires: WallTime,
    /// The device may have so many then, the last resort not counted.
    pub most: u32,
    /// And of so many suites.
    pub suites: u32,
}

/// What a device has of one suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The cipher suite.
    pub suite: u16,
    /// How many, the last resort not counted.
    pub left: u32,
    /// When the first of them is good no more.
    pub expires: Option<WallTime>,
    /// When the last resort is good no more.
    pub last_resort: Option<WallTime>,
}

/// What is handed out of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOut {
    /// The package, if there is one.
    pub package: Option<Vec<u8>>,
    /// Whether it is the last resort.
    pub last_resort: bool,
    /// How many are left, the last resort not counted.
    pub left: u32,
}

/// Key packages. Each call is all or nothing, and durable when it returns. Those of a device go with its token.
pub trait KeyPackages: Send + Sync + 'static {
    /// Keeps key packages of the device with this token. What is there or was handed out already is left as it is.
    /// [`StoreError::Conflict`] when they would be too many, or the token is gone.
    fn add_key_packages(
        &self,
        token: &Token,
        new: NewKeyPackages,
        now: WallTime,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What a device has that is good, ascending by suite.
    fn key_packages_left(
        &self,
        token: &Token,
        now: WallTime,
    ) -> impl Future<Output = Result<Vec<Left>, StoreError>> + Send;

    /// Hands out one of each of these devices, the one first that is good for the shortest time, and never again.
    fn claim_key_packages(
        &self,
        suite: u16,
        devices: &[Address],
        now: WallTime,
    ) -> impl Future<Output = Result<Vec<HandedOut>, StoreError>> + Send;

    /// Forgets those that are good no more, and says how many.
    fn forget_key_packages(&self, now: WallTime) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
