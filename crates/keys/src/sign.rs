//! Ed25519 signatures (RFC 8032) with a role in the type and a domain string in every message (rule ID-8).

use core::fmt;
use core::marker::PhantomData;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::labels::Label;
use crate::primitives;
use crate::secret::Secret;

/// Marks the identity key of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {}
/// Marks the account key, which signs device lists and rests on no device (rule ID-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {}
/// Marks a server's identity key, which signs its TLS key and its grants (rule KT-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {}

/// A private Ed25519 key of one role.
pub struct SigningKey<R> {
    pair: primitives::Ed25519Pair,
    seed: Secret<32>,
    public: VerifyingKey<R>,
}

impl<R> SigningKey<R> {
    /// The key of this seed (RFC 8032's private key, 32 bytes).
    #[must_use]
    pub fn from_seed(seed: Secret<32>) -> Self {
        let pair = primitives::Ed25519Pair::from_seed(seed.expose());
        let public = VerifyingKey::from_bytes(pair.public());
        Self { pair, seed, public }
    }

    /// Draws a fresh key.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self::from_seed(Secret::random(rng))
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &VerifyingKey<R> {
        &self.public
    }

    /// The seed, to be kept where secrets are kept.
    #[must_use]
    pub const fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// Signs `label || 0x00 || message`.
    #[must_use]
    pub fn sign(&self, label: Label, message: &[u8]) -> Signature {
        Signature(self.pair.sign(&[label.as_bytes(), &[0], message].concat()))
    }
}

impl<R> fmt::Debug for SigningKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A public Ed25519 key of one role: 32 bytes.
pub struct VerifyingKey<R>([u8; 32], PhantomData<R>);

/// A signature did not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

impl<R> VerifyingKey<R> {
    /// The key with these bytes. A point that is none verifies nothing.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes, PhantomData)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Verifies a signature over `label || 0x00 || message`.
    ///
    /// # Errors
    /// [`BadSignature`] when it is not by this key or not over this.
    pub fn verify(&self, label: Label, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signed = [label.as_bytes(), &[0], message].concat();
        if primitives::ed25519_verify(&self.0, &signed, &signature.0) { Ok(()) } else { Err(BadSignature) }
    }

    /// A fingerprint for people: the first 160 bits of the key's SHA-256 as eight groups of five hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = crate::digest::sha256(&[&self.0]);
        let digits: String = hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
        let groups: Vec<&str> = (0..8).filter_map(|group| digits.get(group * 5..group * 5 + 5)).collect();
        groups.join("-")
    }
}

impl<R> Clone for VerifyingKey<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for VerifyingKey<R> {}
impl<R> PartialEq for VerifyingKey<R> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<R> Eq for VerifyingKey<R> {}

impl<R> fmt::Debug for VerifyingKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.fingerprint())
    }
}

impl<C, R> Encode<C> for VerifyingKey<R> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C, R> Decode<'b, C> for VerifyingKey<R> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = d.bytes()?.try_into().map_err(|_| DecodeError::message("not 32 bytes"))?;
        Ok(Self::from_bytes(bytes))
    }
}

/// An Ed25519 signature: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] [u8; 64]);

impl Signature {
    /// The signature with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

/// Bytes and a signature over them, travelling together as the exact bytes that were signed.
/// CBOR: `[bytes, signature]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Signed {
    /// What was signed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// By whom is for the reader to know.
    #[n(1)]
    pub signature: Signature,
}

impl Signed {
    /// Signs `bytes`.
    #[must_use]
    pub fn new<R>(key: &SigningKey<R>, label: Label, bytes: Vec<u8>) -> Self {
        let signature = key.sign(label, &bytes);
        Self { bytes, signature }
    }

    /// The bytes, once the signature is known to be by `key`.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify<R>(&self, key: &VerifyingKey<R>, label: Label) -> Result<&[u8], BadSignature> {
        key.verify(label, &self.bytes, &self.signature)?;
        Ok(&self.bytes)
    }
}
