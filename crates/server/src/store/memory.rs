//! Rooms, their groups and key packages in memory, for simulations: as every keeper keeps them, and gone with the process. Accounts it has
//! none, but the tokens of devices.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use undertone_keys::{CallId, DeviceId, RoomId};

use super::Token;
use super::memory_groups::KeptGroup;
use super::memory_key_packages::KeptPackages;
use super::memory_rooms::KeptRoom;

/// A database that a simulated server finds again when it is started again: clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) rooms: BTreeMap<RoomId, KeptRoom>,
    pub(super) groups: HashMap<CallId, KeptGroup>,
    /// By the device that the token is of.
    pub(super) tokens: HashMap<DeviceId, Token>,
    pub(super) packages: HashMap<[u8; 32], KeptPackages>,
}

impl Memory {
    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device's token, in the place of any that it had.
    pub fn put_token(&self, token: Token) {
        let mut tables = self.tables();
        if tables.tokens.get(&token.device) == Some(&token) {
            return;
        }
        tables.drop_token(token.device);
        tables.tokens.insert(token.device, token);
    }

    /// Forgets a device's token.
    pub fn revoke(&self, device: DeviceId) {
        self.tables().drop_token(device);
    }
}

impl Tables {
    fn drop_token(&mut self, device: DeviceId) {
        if let Some(token) = self.tokens.remove(&device) {
            self.packages.remove(&token.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_keeps_what_it_keeps_as_the_database_does() {
        let store = Memory::default();
        super::super::rooms::conformance::run(&store).await;
        super::super::groups_conformance::run(&store).await;
        super::super::key_packages_conformance::run(
            &store,
            async |token| store.put_token(token),
            async |device| store.revoke(device),
        )
        .await;
    }
}
