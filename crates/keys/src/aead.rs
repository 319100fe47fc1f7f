//! AES-256-GCM: 32-byte key, 12-byte nonce, 16-byte tag.

use crate::primitives;
use crate::secret::Secret;

/// Bytes of a key.
pub const KEY_LENGTH: usize = 32;
/// Bytes of a nonce.
pub const NONCE_LENGTH: usize = 12;
/// Bytes of a tag.
pub const TAG_LENGTH: usize = 16;

/// The tag did not match. Deliberately without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open")]
pub struct OpenError;

/// An expanded AES-256-GCM key, ready for many uses without allocation. It does not choose nonces: the types that
/// own one (an SFrame sealer, an HPKE context, a hop) do, and they alone can see this.
pub struct AeadKey(primitives::Gcm);

impl AeadKey {
    /// Expands `key`.
    #[must_use]
    pub fn new(key: &Secret<KEY_LENGTH>) -> Self {
        Self(primitives::Gcm::new(key.expose()))
    }

    /// Seals `text` where it stands and returns the tag.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE_LENGTH], associated: &[u8], text: &mut [u8]) -> [u8; TAG_LENGTH] {
        self.0.seal(nonce, associated, text)
    }

    /// Opens `sealed` (ciphertext followed by its tag) where it stands and returns the text.
    ///
    /// # Errors
    /// [`OpenError`] when the tag does not match; the bytes are then not text and must not be used.
    pub fn open<'t>(
        &self,
        nonce: [u8; NONCE_LENGTH],
        associated: &[u8],
        sealed: &'t mut [u8],
    ) -> Result<&'t mut [u8], OpenError> {
        self.0.open(nonce, associated, sealed).ok_or(OpenError)
    }
}

impl core::fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("AeadKey")
    }
}
