//! HKDF (RFC 5869) with SHA-256 and SHA-512, in the two steps that HPKE and SFrame need.

use crate::labels::Label;
use crate::primitives;
use crate::secret::Secret;

/// A hash function HKDF runs on.
pub trait Hash {
    /// Output length in bytes.
    const LENGTH: usize;
    /// HMAC over the concatenation of `parts`, written to the first [`Self::LENGTH`] bytes of `out`.
    fn hmac(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]);
}

/// HKDF-SHA256: envelopes, calls, everything but SFrame.
#[derive(Clone, Copy, Debug)]
pub struct Sha256;
/// HKDF-SHA512: SFrame's suite 5 (RFC 9605, 4.5).
#[derive(Clone, Copy, Debug)]
pub struct Sha512;

impl Hash for Sha256 {
    const LENGTH: usize = 32;

    fn hmac(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
        primitives::hmac_sha256(key, parts, out);
    }
}

impl Hash for Sha512 {
    const LENGTH: usize = 64;

    fn hmac(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
        primitives::hmac_sha512(key, parts, out);
    }
}

/// More output was asked for than 255 blocks of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HKDF cannot give that many bytes")]
pub struct TooLong;

/// A pseudorandom key: the result of the extract step. The first [`Hash::LENGTH`] bytes count.
#[derive(Debug)]
pub struct Prk<H> {
    key: Secret<64>,
    hash: core::marker::PhantomData<H>,
}

impl<H: Hash> Prk<H> {
    /// HKDF-Extract over the concatenation of `input`.
    #[must_use]
    pub fn extract(salt: &[u8], input: &[&[u8]]) -> Self {
        Self { key: Secret::filled_by(|out| H::hmac(salt, input, out)), hash: core::marker::PhantomData }
    }

    /// The bytes of the pseudorandom key.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.key.expose().get(..H::LENGTH).unwrap_or_default()
    }

    /// HKDF-Expand: fills `out` under the concatenation of `info`.
    ///
    /// # Errors
    /// [`TooLong`] when `out` is longer than 255 times the hash's output.
    pub fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), TooLong> {
        if out.len() > 255 * H::LENGTH {
            return Err(TooLong);
        }
        let mut block = Secret::<64>::filled_by(|_| ());
        let mut length = 0;
        for (count, chunk) in (1_u8..=255).zip(out.chunks_mut(H::LENGTH)) {
            let next = {
                let previous = block.expose().get(..length).unwrap_or_default();
                let mut parts = Vec::with_capacity(info.len() + 2);
                parts.push(previous);
                parts.extend_from_slice(info);
                let count = [count];
                parts.push(&count);
                Secret::<64>::filled_by(|out| H::hmac(self.as_slice(), &parts, out))
            };
            block = next;
            length = H::LENGTH;
            chunk.iter_mut().zip(block.expose()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    /// One secret of `N` bytes under a label and the length-prefixed parts of its context.
    #[must_use]
    pub fn derive<const N: usize>(&self, label: Label, context: &[&[u8]]) -> Secret<N> {
        const { assert!(N <= 255 * 32) };
        let lengths: Vec<[u8; 2]> =
            context.iter().map(|part| u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes()).collect();
        let mut info: Vec<&[u8]> = vec![label.as_bytes(), &[0]];
        for (length, part) in lengths.iter().zip(context) {
            info.push(length);
            info.push(part);
        }
        // The length is bounded by the assertion above.
        Secret::filled_by(|out| self.expand(&info, out).unwrap_or_default())
    }
}
