//! Which of the groups of one call a device is in: one that was withdrawn is followed by another under the same id, and epochs are counted
//! from the beginning there (rule RLY-6). What tells them apart is the group info that each was begun with.

use undertone_keys::digest::sha256;
use zeroize::Zeroizing;

use super::{Membership, Turn};
use crate::group::GroupId;
use crate::store::{Store, WriteSet};

pub(super) fn of(store: &Store, id: GroupId) -> Option<[u8; 32]> {
    store.read(&key(id)).and_then(|born| born.try_into().ok())
}

/// What has to be written for nothing to be known of it.
pub(super) fn forget(store: &Store, id: GroupId) -> WriteSet {
    let mut writes = WriteSet::new();
    if of(store, id).is_some() {
        writes.delete(key(id));
    }
    writes
}

fn key(id: GroupId) -> Vec<u8> {
    [b"born\0".as_slice(), id.as_bytes()].concat()
}

impl Membership {
    /// Whether the delivery service has another group than the one that this device is in.
    pub(super) fn is_another(&self, born: Option<[u8; 32]>) -> bool {
        self.view.is_some() && self.born.zip(born).is_some_and(|(own, born)| own != born)
    }

    /// The delivery service says how the group was begun that it has now.
    pub(super) fn learn_birth(&mut self, turn: &mut Turn<'_, '_>, born: Option<[u8; 32]>) {
        if self.view.is_none() || self.born.is_none() {
            self.born = born.or(self.born);
        }
        self.keep_birth(turn);
    }

    /// This device has begun the group, with this info.
    pub(super) fn was_born(&mut self, info: &[u8]) {
        self.born = Some(sha256(&[info]));
    }

    /// For a later start.
    pub(super) fn keep_birth(&mut self, turn: &mut Turn<'_, '_>) {
        if let Some(born) = self.born.filter(|_| self.view.is_some())
            && of(turn.means.store, self.id) != Some(born)
        {
            let mut writes = WriteSet::new();
            writes.put(key(self.id), Zeroizing::new(born.to_vec()));
            turn.means.store.apply_beside(writes, &mut self.writes);
        }
    }

    /// Nothing is known of a group any more.
    pub(super) fn forget_birth(&mut self, turn: &mut Turn<'_, '_>) {
        self.born = None;
        let writes = forget(turn.means.store, self.id);
        turn.means.store.apply_beside(writes, &mut self.writes);
    }
}
