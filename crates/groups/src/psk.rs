//! Pre-shared keys that come from elsewhere: a quorum secret ([`quorum`](crate::quorum)), or the key of a group that this one follows.
//!
//! Whoever does not have the key can neither make nor follow an epoch that it is mixed into.

use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
use openmls_traits::storage::StorageProvider;
use rand_core::CryptoRng;
use undertone_keys::Secret;

use crate::failure::Broken;
use crate::limits;
use crate::provider::{Overlay, Provider};
use crate::store::{Store, WriteSet};

/// What everybody calls a pre-shared key by: up to [`limits::PSK_ID`] bytes that are no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PskId(Vec<u8>);

impl PskId {
    /// The id with these bytes. `None` if there are none, or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=limits::PSK_ID).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// That of a quorum secret.
    pub(crate) fn of_quorum(id: &[u8; 32]) -> Self {
        Self(id.to_vec())
    }

    pub(crate) fn mls(&self) -> Psk {
        Psk::External(ExternalPsk::new(self.0.clone()))
    }

    pub(crate) fn of(psk: &PreSharedKeyId) -> Option<Self> {
        match psk.psk() {
            Psk::External(external) => Self::new(external.psk_id()),
            Psk::Resumption(_) => None,
        }
    }
}

/// Puts a key where commits and joins find it.
///
/// # Errors
/// [`Broken`].
pub fn register(store: &Store, rng: &mut dyn CryptoRng, id: &PskId, secret: &Secret<32>) -> Result<WriteSet, Broken> {
    let provider = Provider::new(store, rng);
    PreSharedKeyId::external(id.0.clone(), Vec::new())
        .store(&provider, secret.expose())
        .map_err(|_| Broken::Library)?;
    Ok(provider.into_writes())
}

/// Forgets a key.
///
/// # Errors
/// [`Broken`].
pub fn forget(store: &Store, id: &PskId) -> Result<WriteSet, Broken> {
    let overlay = Overlay::new(store);
    overlay.delete_psk(&id.mls())?;
    Ok(overlay.into_writes())
}
