//! Small control data between members, sealed by MLS. Media never goes this way.

use rand_core::CryptoRng;

use super::Group;
use crate::failure::{Blame, Broken};
use crate::limits;
use crate::provider::Provider;
use crate::step::{Outgoing, Step, post};

/// Why nothing is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// More than [`limits::MESSAGE`] bytes.
    #[error("the message is too large")]
    TooLarge,
    /// The store or the library failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl SealError {
    /// Who is to blame.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::TooLarge => Blame::ApiMisuse,
            Self::Broken(_) => Blame::Broken,
        }
    }
}

impl Group<'_> {
    /// Seals a message for all members of this epoch. It uses up one generation of the own ratchet, so it is only ever sent when the
    /// step is durable.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(mut self, rng: &mut dyn CryptoRng, message: &[u8]) -> Result<Step, SealError> {
        if message.len() > limits::MESSAGE {
            return Err(SealError::TooLarge);
        }
        let provider = Provider::new(self.store, rng);
        let sealed = self.mls.create_message(&provider, &self.key, message).map_err(|_| Broken::Library)?;
        let bytes = sealed.to_bytes().map_err(|_| Broken::Library)?;
        let sent = post(provider.overlay(), Outgoing::Message { group: self.id, bytes }).map_err(Broken::Store)?;
        Ok(Step { store: provider.into_writes().with_loaded(self.into_loaded()), send: vec![sent] })
    }
}
