//! Key packages: each handed out once, to somebody in a room with whoever they are of (rule MLS-1).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, RoomId, UserId, WallTime};
use undertone_protocol::delivery::frame::key_package_suite;
use undertone_protocol::limits::{
    KEY_PACKAGE_CLAIM_WINDOW, KEY_PACKAGE_CLAIMS, KEY_PACKAGE_LIFETIME, KEY_PACKAGES_LOW, MAX_CLAIMED, MAX_KEY_PACKAGE,
    MAX_KEY_PACKAGE_SUITES, MAX_KEY_PACKAGES, MAX_KEY_PACKAGES_AT_ONCE,
};
use undertone_protocol::rest::{
    Bytes, ClaimKeyPackages, ClaimedKeyPackage, ClaimedKeyPackages, KeyPackagesLeft, SuiteLeft, UploadKeyPackages,
    Withheld,
};
use undertone_protocol::signal::ToDevice;

use crate::rooms::RoomDesk;
use crate::store::{KeyPackages, NewKeyPackages, Rooms, StoreError, Token};
use crate::switchboard::Switchboard;

/// Devices that are remembered of one account's claims at most; beyond, it claims of no other for a while.
const MAX_WINDOWS: usize = 2_048;

/// Why key packages are not taken, or not handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Not what belongs there.
    #[error("{0}")]
    Malformed(&'static str),
    /// More than a device can have.
    #[error("this device has as many key packages as the server keeps, or of as many suites")]
    TooMany,
    /// There is no such room for this user.
    #[error("there is no such room, or you are not on its list")]
    Unknown,
    /// Too much in too short a time.
    #[error("too many requests of this account: slow down")]
    Later,
    /// The store failed.
    #[error("the server cannot do this now")]
    Store(#[source] StoreError),
}

impl From<StoreError> for PackageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::TooMany,
            error => Self::Store(error),
        }
    }
}

/// How often one account claimed of one device.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    claims: u32,
}

/// The desk for key packages.
#[derive(Debug)]
pub struct PackageDesk<S> {
    store: S,
    rooms: Arc<RoomDesk<S>>,
    board: Arc<Switchboard>,
    /// What each account claimed a short while ago, by device.
    windows: Mutex<HashMap<UserId, HashMap<DeviceId, Window>>>,
    claims: AtomicU64,
}

fn malformed(holds: bool, otherwise: &'static str) -> Result<(), PackageError> {
    if holds { Ok(()) } else { Err(PackageError::Malformed(otherwise)) }
}

impl<S: KeyPackages + Rooms> PackageDesk<S> {
    /// A desk over `store`, for those who are in rooms together.
    #[must_use]
    pub fn new(store: S, rooms: Arc<RoomDesk<S>>, board: Arc<Switchboard>) -> Self {
        Self { store, rooms, board, windows: Mutex::default(), claims: AtomicU64::new(0) }
    }

    /// Key packages that were handed out since the start.
    #[must_use]
    pub fn claims(&self) -> u64 {
        self.claims.load(Ordering::Relaxed)
    }

    /// Keeps key packages of the device with this token.
    ///
    /// # Errors
    /// [`PackageError`].
    pub async fn upload(&self, token: &Token, upload: UploadKeyPackages, now: WallTime) -> Result<(), PackageError> {
        let UploadKeyPackages { suite, packages, last_resort, expires } = upload;
        malformed(packages.len() <= MAX_KEY_PACKAGES_AT_ONCE, "too many key packages at once")?;
        malformed(!packages.is_empty() || last_resort.is_some(), "there is no key package in it")?;
        for Bytes(package) in packages.iter().chain(&last_resort) {
            malformed(package.len() <= MAX_KEY_PACKAGE, "a key package is too large")?;
            malformed(key_package_suite(package) == Ok(suite), "that is no key package of this suite")?;
        }
        let latest = now.plus(KEY_PACKAGE_LIFETIME.as_secs()).as_unix();
        malformed(expires > now.as_unix(), "these key packages are good no more")?;
        let expires = WallTime::from_unix(expires.min(latest));
        let packages = packages.into_iter().map(|Bytes(package)| package).collect();
        let last_resort = last_resort.map(|Bytes(package)| package);
        let (most, suites) = (MAX_KEY_PACKAGES, MAX_KEY_PACKAGE_SUITES);
        let new = NewKeyPackages { suite, packages, last_resort, expires, most, suites };
        Ok(self.store.add_key_packages(token, new, now).await?)
    }

    /// What the server has of the device with this token.
    ///
    /// # Errors
    /// [`PackageError`].
    pub async fn left(&self, token: &Token, now: WallTime) -> Result<KeyPackagesLeft, PackageError> {
        let unix = |time: Option<WallTime>| time.map_or(0, WallTime::as_unix);
        let left = self.store.key_packages_left(token, now).await?;
        let shown = left.into_iter().map(|left| SuiteLeft {
            suite: left.suite,
            left: left.left,
            expires: unix(left.expires),
            last_resort_expires: unix(left.last_resort),
        });
        Ok(KeyPackagesLeft { suites: shown.collect() })
    }

    /// Hands out one key package of each of these devices, as far as their users are on the room's list and there is one; tells a
    /// device of which few are left.
    ///
    /// # Errors
    /// [`PackageError`].
    pub async fn claim(
        &self,
        you: &Address,
        room: RoomId,
        claim: ClaimKeyPackages,
        (at, now): (Instant, WallTime),
    ) -> Result<ClaimedKeyPackages, PackageError> {
        let ClaimKeyPackages { suite, devices } = claim;
        malformed(!devices.is_empty() && devices.len() <= MAX_CLAIMED, "one to sixty-four devices are named")?;
        let membership = self.rooms.membership(&self.board, &you.user, room).await.map_err(|_| PackageError::Later)?;
        let membership = membership.filter(|room| room.lists(&you.user)).ok_or(PackageError::Unknown)?;
        let mut named = Vec::with_capacity(devices.len());
        for device in devices {
            let id = DeviceId::parse(&device.device).ok_or(PackageError::Malformed("that names no device"))?;
            let to = Address { user: device.user.0, device: id };
            let withheld = if !membership.lists(&to.user) {
                Some(Withheld::Unlisted)
            } else if self.may_claim(&you.user, id, at) {
                None
            } else {
                Some(Withheld::Later)
            };
            named.push((to, withheld));
        }
        let wanted: Vec<Address> =
            named.iter().filter(|(_, withheld)| withheld.is_none()).map(|(to, _)| to.clone()).collect();
        let mut handed_out = self.store.claim_key_packages(suite, &wanted, now).await?.into_iter();
        let mut packages = Vec::with_capacity(named.len());
        for (to, withheld) in named {
            let device = to.device.to_string();
            let none =
                |withheld| ClaimedKeyPackage { device: device.clone(), package: None, last_resort: false, withheld };
            packages.push(match withheld {
                Some(_) => none(withheld),
                None => match handed_out.next() {
                    Some(handed) if handed.package.is_some() => {
                        self.claims.fetch_add(1, Ordering::Relaxed);
                        if handed.left < KEY_PACKAGES_LOW {
                            self.board.tell(&you.user, &to, ToDevice::KeyPackagesLow { suite, left: handed.left });
                        }
                        let package = handed.package.map(Bytes);
                        ClaimedKeyPackage { package, last_resort: handed.last_resort, ..none(None) }
                    }
                    _ => none(Some(Withheld::None)),
                },
            });
        }
        Ok(ClaimedKeyPackages { packages })
    }

    /// Whether an account may claim one more of a device, which it then has.
    fn may_claim(&self, user: &UserId, device: DeviceId, now: Instant) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = windows.entry(user.clone()).or_default();
        if windows.len() >= MAX_WINDOWS && !windows.contains_key(&device) {
            return false;
        }
        let window = windows.entry(device).or_insert(Window { since: now, claims: 0 });
        if now.saturating_duration_since(window.since) >= KEY_PACKAGE_CLAIM_WINDOW {
            *window = Window { since: now, claims: 0 };
        }
        window.claims += 1;
        window.claims <= KEY_PACKAGE_CLAIMS
    }

    /// Forgets claims that count no more, and key packages that are good no more.
    ///
    /// # Errors
    /// [`StoreError`]; it is tried again.
    pub async fn expire(&self, at: Instant, now: WallTime) -> Result<(), StoreError> {
        let is_over = |window: &Window| at.saturating_duration_since(window.since) >= KEY_PACKAGE_CLAIM_WINDOW;
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, windows| {
            windows.retain(|_, window| !is_over(window));
            !windows.is_empty()
        });
        self.store.forget_key_packages(now).await?;
        Ok(())
    }
}
