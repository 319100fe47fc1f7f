//! Key packages in memory.

use std::collections::BTreeMap;

use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;

use super::key_packages::{HandedOut, KeyPackages, Left, NewKeyPackages};
use super::memory::Memory;
use super::{StoreError, Token};

#[derive(Clone, Debug)]
struct Kept {
    suite: u16,
    last_resort: bool,
    hash: [u8; 32],
    /// Gone once it was handed out.
    package: Option<Vec<u8>>,
    expires: WallTime,
}

impl Kept {
    fn is_good(&self, now: WallTime) -> bool {
        self.expires > now && self.package.is_some()
    }
}

/// What one token's device brought, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptPackages(Vec<Kept>);

impl KeptPackages {
    fn left(&self, now: WallTime) -> Vec<Left> {
        let mut left: BTreeMap<u16, Left> = BTreeMap::new();
        for kept in self.0.iter().filter(|kept| kept.is_good(now)) {
            let none = Left { suite: kept.suite, left: 0, expires: None, last_resort: None };
            let of = left.entry(kept.suite).or_insert(none);
            if kept.last_resort {
                of.last_resort = of.last_resort.max(Some(kept.expires));
            } else {
                of.left += 1;
                of.expires = Some(of.expires.map_or(kept.expires, |first| first.min(kept.expires)));
            }
        }
        left.into_values().collect()
    }

    fn hand_out(&mut self, suite: u16, now: WallTime) -> HandedOut {
        let good = self.0.iter_mut().filter(|kept| kept.suite == suite && kept.is_good(now));
        // The first of those that are equal: the one that came first.
        let Some(first) = good.min_by_key(|kept| (kept.last_resort, kept.expires)) else {
            return HandedOut { package: None, last_resort: false, left: 0 };
        };
        if first.last_resort {
            return HandedOut { package: first.package.clone(), last_resort: true, left: 0 };
        }
        let package = first.package.take();
        let left = self.left(now).iter().find(|left| left.suite == suite).map_or(0, |left| left.left);
        HandedOut { package, last_resort: false, left }
    }
}

impl KeyPackages for Memory {
    async fn add_key_packages(&self, token: &Token, new: NewKeyPackages, now: WallTime) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        if tables.tokens.get(&token.device).is_none_or(|known| known.hash != token.hash) {
            return Err(StoreError::Conflict);
        }
        let mut packages = tables.packages.get(&token.hash).cloned().unwrap_or_default();
        if new.last_resort.is_some() {
            packages.0.retain(|kept| !(kept.suite == new.suite && kept.last_resort));
        }
        let once = new.packages.into_iter().map(|package| (package, false));
        for (package, last_resort) in once.chain(new.last_resort.map(|package| (package, true))) {
            let hash = sha256(&[&package]);
            if packages.0.iter().all(|kept| kept.hash != hash) {
                let (suite, package, expires) = (new.suite, Some(package), new.expires);
                packages.0.push(Kept { suite, last_resort, hash, package, expires });
            }
        }
        let left = packages.left(now);
        let count = left.iter().find(|left| left.suite == new.suite).map_or(0, |left| left.left);
        if count > new.most || u32::try_from(left.len()).unwrap_or(u32::MAX) > new.suites {
            return Err(StoreError::Conflict);
        }
        tables.packages.insert(token.hash, packages);
        Ok(())
    }

    async fn key_packages_left(&self, token: &Token, now: WallTime) -> Result<Vec<Left>, StoreError> {
        Ok(self.tables().packages.get(&token.hash).map(|packages| packages.left(now)).unwrap_or_default())
    }

    async fn claim_key_packages(
        &self,
        suite: u16,
        devices: &[Address],
        now: WallTime,
    ) -> Result<Vec<HandedOut>, StoreError> {
        let tables = &mut *self.tables();
        let mut handed_out = Vec::with_capacity(devices.len());
        for Address { user, device } in devices {
            let token = tables.tokens.get(device).filter(|token| token.user == *user);
            let packages = token.and_then(|token| tables.packages.get_mut(&token.hash));
            let none = HandedOut { package: None, last_resort: false, left: 0 };
            handed_out.push(packages.map_or(none, |packages| packages.hand_out(suite, now)));
        }
        Ok(handed_out)
    }

    async fn forget_key_packages(&self, now: WallTime) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        for packages in self.tables().packages.values_mut() {
            let before = packages.0.len();
            packages.0.retain(|kept| kept.expires > now);
            forgotten += (before - packages.0.len()) as u64;
        }
        Ok(forgotten)
    }
}
