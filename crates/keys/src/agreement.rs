//! P-256 agreement, and the border behind which private agreement keys stay (rule ID-5).
//!
//! A core never holds a private agreement key. It emits a request that names a peer's public key and goes on when
//! a shell answers with a [`SharedSecret`]; shells answer through a [`DeviceKey`].

use core::fmt;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::primitives;
use crate::secret::Secret;

/// Bytes of a public key: SEC1, uncompressed (0x04, x, y).
pub const PUBLIC_KEY_LENGTH: usize = 65;

/// A P-256 public key, known to be a point of the curve and not the one at infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AgreementPublicKey([u8; PUBLIC_KEY_LENGTH]);

/// Bytes that are no uncompressed point of P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 public key")]
pub struct NotOnCurve;

impl AgreementPublicKey {
    /// Takes a SEC1 uncompressed point.
    ///
    /// # Errors
    /// [`NotOnCurve`] for anything else, compressed points included: one key has one encoding.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, NotOnCurve> {
        let bytes: [u8; PUBLIC_KEY_LENGTH] = bytes.try_into().map_err(|_| NotOnCurve)?;
        if primitives::p256_on_curve(&bytes) { Ok(Self(bytes)) } else { Err(NotOnCurve) }
    }

    /// The 65 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LENGTH] {
        &self.0
    }
}

impl fmt::Debug for AgreementPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = crate::digest::sha256(&[&self.0]);
        f.write_str("AgreementPublicKey(")?;
        hash.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl<C> Encode<C> for AgreementPublicKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for AgreementPublicKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::from_sec1(d.bytes()?).map_err(|_| DecodeError::message("not a P-256 point"))
    }
}

/// The x coordinate of an agreement: 32 bytes. Never a key itself (rule CALL-1): it can only be fed to a
/// derivation, and the type has no other exit.
#[derive(Debug)]
pub struct SharedSecret(Secret<32>);

impl SharedSecret {
    /// The result of an agreement done elsewhere (a token, a browser's key store).
    #[must_use]
    pub fn from_slice(x: &[u8]) -> Option<Self> {
        Secret::from_slice(x).map(Self)
    }

    pub(crate) const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// Why the holder of a private key did not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The key cannot be reached: a token pulled out, a key store locked.
    #[error("the device key cannot be reached")]
    Unavailable,
    /// The holder said no: a wrong PIN, a declined prompt.
    #[error("the device key's holder refused")]
    Denied,
}

/// A device's static agreement key wherever it lives: in this process, in a token, in a browser's key store.
/// For the shells' adapters; every adapter passes [`conformance`].
pub trait DeviceKey: Send + Sync {
    /// The public half.
    fn public(&self) -> &AgreementPublicKey;

    /// Agrees with `peer`. May take as long as a person takes to touch a token.
    ///
    /// # Errors
    /// [`Refused`].
    fn agree(&self, peer: &AgreementPublicKey) -> Result<SharedSecret, Refused>;
}

/// A private key in this process's memory.
pub struct SoftwareKey {
    scalar: primitives::P256Scalar,
    bytes: Secret<32>,
    public: AgreementPublicKey,
}

impl SoftwareKey {
    /// The key with this scalar; `None` when it is zero or not below the curve's order.
    #[must_use]
    pub fn from_scalar(bytes: Secret<32>) -> Option<Self> {
        let scalar = primitives::P256Scalar::from_bytes(bytes.expose())?;
        let public = AgreementPublicKey(scalar.public()?);
        Some(Self { scalar, bytes, public })
    }

    /// Draws a fresh key.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        // All but one scalar in 2^32 is valid, so this ends.
        loop {
            if let Some(key) = Self::from_scalar(Secret::random(rng)) {
                return key;
            }
        }
    }

    /// The scalar, to be kept where secrets are kept.
    #[must_use]
    pub const fn scalar(&self) -> &Secret<32> {
        &self.bytes
    }
}

impl DeviceKey for SoftwareKey {
    fn public(&self) -> &AgreementPublicKey {
        &self.public
    }

    fn agree(&self, peer: &AgreementPublicKey) -> Result<SharedSecret, Refused> {
        self.scalar.agree(&peer.0).map(SharedSecret).ok_or(Refused::Denied)
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftwareKey")
    }
}

/// A key drawn for one exchange. Cores may hold it, as it lives and dies within a protocol run.
pub struct EphemeralKey(SoftwareKey);

impl EphemeralKey {
    /// Draws a fresh key.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(SoftwareKey::generate(rng))
    }

    /// The ephemeral key of a published vector.
    #[cfg(test)]
    pub(crate) const fn for_vector(key: SoftwareKey) -> Self {
        Self(key)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &AgreementPublicKey {
        &self.0.public
    }

    /// Agrees with `peer`.
    ///
    /// # Errors
    /// [`Refused`] when the primitive library refuses the pair, which a validated key does not bring about.
    pub fn agree(&self, peer: &AgreementPublicKey) -> Result<SharedSecret, Refused> {
        self.0.agree(peer)
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey")
    }
}

/// A device proves to whoever enrols it that it holds its agreement key (rule ID-2): a MAC over the
/// hash of the list that enrols it, under a key from the agreement with a challenge. An agreement key can do nothing else than agree, so the proof is to
/// the asker alone; a peer gets its own with every call's confirmation.
#[must_use]
pub fn prove_possession(shared: &SharedSecret, challenge: &AgreementPublicKey, list: &[u8]) -> [u8; 32] {
    let prk = crate::hkdf::Prk::<crate::hkdf::Sha256>::extract(&[], &[shared.expose()]);
    let key: Secret<32> = prk.derive(crate::labels::AGREEMENT_POSSESSION, &[challenge.as_bytes()]);
    let mut mac = [0; 64];
    primitives::hmac_sha256(key.expose(), &[list], &mut mac);
    core::array::from_fn(|i| mac.get(i).copied().unwrap_or_default())
}

/// Checks a proof of [`prove_possession`]; `shared` is the asker's own agreement of the challenge's private half
/// with the key in question.
#[must_use]
pub fn possession_is_proven(
    shared: &SharedSecret,
    challenge: &AgreementPublicKey,
    list: &[u8],
    proof: &[u8; 32],
) -> bool {
    use subtle::ConstantTimeEq;
    prove_possession(shared, challenge, list).ct_eq(proof).into()
}

/// What every adapter of [`DeviceKey`] must do.
#[doc(hidden)]
pub mod conformance {
    use super::{DeviceKey, EphemeralKey};

    /// Checks `key` against software keys of our own.
    ///
    /// # Errors
    /// What it does wrong, in words.
    pub fn run(key: &dyn DeviceKey, rng: &mut impl rand_core::CryptoRng) -> Result<(), &'static str> {
        for _ in 0..4 {
            let peer = EphemeralKey::generate(rng);
            let here = key.agree(peer.public()).map_err(|_| "refuses a valid key")?;
            let there = peer.agree(key.public()).map_err(|_| "its public key is not usable")?;
            if here.expose() != there.expose() {
                return Err("the two sides do not agree");
            }
        }
        Ok(())
    }
}
