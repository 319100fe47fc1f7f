//! What openmls computes with, draws from and keeps its state in, for one operation.

mod crypto;
mod random;
mod storage;
#[cfg(test)]
mod vectors;

use openmls_traits::OpenMlsProvider;
use rand_core::CryptoRng;

pub(crate) use self::crypto::Crypto;
pub(crate) use self::random::Random;
pub(crate) use self::storage::Overlay;
use crate::store::{Store, WriteSet};

/// One operation's provider: dropped when the operation is refused, and with it all that the operation would have written.
pub(crate) struct Provider<'a> {
    crypto: Crypto,
    random: Random<'a>,
    overlay: Overlay<'a>,
}

impl<'a> Provider<'a> {
    pub(crate) fn new(store: &'a Store, rng: &'a mut dyn CryptoRng) -> Self {
        Self { crypto: Crypto::default(), random: Random::new(rng), overlay: Overlay::new(store) }
    }

    pub(crate) const fn overlay(&self) -> &Overlay<'a> {
        &self.overlay
    }

    /// What the operation has changed.
    pub(crate) fn into_writes(self) -> WriteSet {
        self.overlay.into_writes()
    }
}

impl<'a> OpenMlsProvider for Provider<'a> {
    type CryptoProvider = Crypto;
    type RandProvider = Random<'a>;
    type StorageProvider = Overlay<'a>;

    fn storage(&self) -> &Self::StorageProvider {
        &self.overlay
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        &self.crypto
    }

    fn rand(&self) -> &Self::RandProvider {
        &self.random
    }
}
