//! What becomes of a commit of one's own, and how a group ends.

use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;

use super::external::ExternalJoin;
use super::{Group, GroupId, noted_key, own_key, provisional_key, since_key};
use crate::failure::{Blame, Broken};
use crate::provider::{Overlay, Provider};
use crate::step::{self, Step, settle};
use crate::store::{Store, StoreError, WriteSet};

/// Why a commit is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// There is none.
    #[error("no commit is pending")]
    None,
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl SettleError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::None => Blame::ApiMisuse,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl Group<'_> {
    /// The delivery service has taken the own commit: the group goes on to its epoch.
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn accepted(mut self, rng: &mut dyn CryptoRng) -> Result<Step, SettleError> {
        if ExternalJoin::is_pending(self.store, self.id) {
            return ExternalJoin::accepted(self.store, self.id);
        }
        let sent = self.pending().map_err(Broken::Store)?.ok_or(SettleError::None)?;
        if self.mls.pending_commit().is_none() {
            return Err(SettleError::None);
        }
        let provider = Provider::new(self.store, rng);
        self.mls.merge_pending_commit(&provider).map_err(|_| Broken::Library)?;
        settle(provider.overlay(), &sent);
        Ok(Step { store: provider.into_writes().with_loaded(self.into_loaded()), send: Vec::new() })
    }

    /// The delivery service has refused the own commit for good, and no other one has won: it is dropped. Never to be called on a
    /// guess: a commit that was dropped here and taken there cannot be followed, and the device has to join anew.
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn withdrawn(mut self, rng: &mut dyn CryptoRng) -> Result<Step, SettleError> {
        if ExternalJoin::is_pending(self.store, self.id) {
            return ExternalJoin::lost(self.store, self.id);
        }
        let sent = self.pending().map_err(Broken::Store)?.ok_or(SettleError::None)?;
        let provider = Provider::new(self.store, rng);
        self.mls.clear_pending_commit(provider.storage()).map_err(Broken::Store)?;
        settle(provider.overlay(), &sent);
        Ok(Step { store: provider.into_writes().with_loaded(self.into_loaded()), send: Vec::new() })
    }

    /// Forgets a group: its keys, what waits to be sent to it, and a join that was not taken yet. Nobody else learns of it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn forget(store: &Store, id: GroupId) -> Result<WriteSet, Broken> {
        let overlay = Overlay::new(store);
        erase(&overlay, id)?;
        overlay.delete(provisional_key(id));
        overlay.delete(noted_key(id));
        empty_outbox(store, &overlay, id)?;
        Ok(overlay.into_writes())
    }
}

/// The groups that this device is in, or on its way into.
pub(crate) fn stored(store: &Store) -> Vec<GroupId> {
    let of = |prefix: &'static [u8]| {
        let id = move |key: &[u8]| key.strip_prefix(prefix).and_then(|id| id.try_into().ok()).map(GroupId::from_bytes);
        store.starting_with(prefix).filter_map(move |(key, _)| id(key))
    };
    of(super::OWN).chain(of(super::PROVISIONAL)).collect()
}

/// Deletes what is stored of a group.
pub(super) fn erase(overlay: &Overlay<'_>, id: GroupId) -> Result<(), StoreError> {
    overlay.erase(&id.mls())?;
    overlay.delete(own_key(id));
    overlay.delete(since_key(id));
    Ok(())
}

/// Takes everything out of the outbox that was for a group.
pub(super) fn empty_outbox(store: &Store, overlay: &Overlay<'_>, id: GroupId) -> Result<(), StoreError> {
    for sent in step::waiting(store)? {
        if sent.what.group() == Some(id) {
            settle(overlay, &sent);
        }
    }
    Ok(())
}
