//! RSA-2048 OAEP with SHA-256, for devices that have nothing else (rules ID-3, ID-4, CALL-2).
//!
//! What it does not give: forward secrecy. Whoever gets the private key later opens everything that was ever sent to it,
//! which both sides are shown. It is chosen by name alone, never where the device has, or had, a P-256 key.
//!
//! A public key has one encoding: the 294 bytes of an SPKI with a modulus of 2,048 bits, the exponent 65,537 and NULL
//! parameters. A private key is never a value in a core: [`LegacyKey`] unwraps where it lies (rule ID-5).

use core::fmt;
use std::sync::Arc;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::agreement::Refused;
use crate::primitives;
use crate::secret::Secret;

/// Bytes of a public key.
pub const PUBLIC_KEY_LENGTH: usize = primitives::RSA_SPKI;
/// Bytes of a wrapped secret.
pub const WRAPPED_LENGTH: usize = 256;

/// A public RSA-2048 key.
#[derive(Clone, PartialEq, Eq)]
pub struct LegacyPublicKey(Arc<[u8; PUBLIC_KEY_LENGTH]>);

/// Bytes that are no RSA-2048 key in its one encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RSA-2048 public key")]
pub struct NotAKey;

impl LegacyPublicKey {
    /// Takes an SPKI.
    ///
    /// # Errors
    /// [`NotAKey`] for any other size, exponent or encoding.
    pub fn from_spki(bytes: &[u8]) -> Result<Self, NotAKey> {
        let bytes: [u8; PUBLIC_KEY_LENGTH] = bytes.try_into().map_err(|_| NotAKey)?;
        primitives::rsa_modulus(&bytes).ok_or(NotAKey)?;
        Ok(Self(Arc::new(bytes)))
    }

    /// The 294 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LENGTH] {
        &self.0
    }

    /// Wraps a secret for whoever has the private key, under a label that the other side must know.
    ///
    /// # Errors
    /// [`Refused`] when the primitive library refuses the key, which one in its one encoding is not.
    pub fn wrap(
        &self,
        rng: &mut impl rand_core::CryptoRng,
        label: &[u8; 32],
        secret: &Secret<32>,
    ) -> Result<Wrapped, Refused> {
        let seed = Secret::random(rng);
        let sealed = primitives::rsa_encrypt(&self.0, label, secret.expose(), seed.expose());
        sealed.map(|bytes| Wrapped(Box::new(bytes))).ok_or(Refused::Denied)
    }
}

impl fmt::Debug for LegacyPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = crate::digest::sha256(&[self.0.as_slice()]);
        f.write_str("LegacyPublicKey(")?;
        hash.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl<C> Encode<C> for LegacyPublicKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.0.as_slice())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for LegacyPublicKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Self::from_spki(d.bytes()?).map_err(|_| DecodeError::message("not an RSA-2048 key"))
    }
}

/// A wrapped secret: 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped(Box<[u8; WRAPPED_LENGTH]>);

impl Wrapped {
    /// Takes 256 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Box::new(bytes)))
    }

    /// The 256 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; WRAPPED_LENGTH] {
        &self.0
    }
}

/// What a device's private key unwrapped: 32 bytes. Like an agreement it can only be fed to a derivation.
#[derive(Debug)]
pub struct Unwrapped(Secret<32>);

impl Unwrapped {
    /// The result of an unwrapping done elsewhere; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Secret::from_slice(bytes).map(Self)
    }

    pub(crate) const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(crate) const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// A device's private RSA key wherever it lives. For the shells' adapters.
pub trait LegacyKey: Send + Sync {
    /// The public half.
    fn public(&self) -> &LegacyPublicKey;

    /// Unwraps what was wrapped to this key under this label.
    ///
    /// # Errors
    /// [`Refused`], the same for whatever does not unwrap.
    fn unwrap(&self, wrapped: &Wrapped, label: &[u8; 32]) -> Result<Unwrapped, Refused>;
}

/// A private key in this process's memory. Not on WebAssembly, where the browser has it.
#[cfg(not(target_family = "wasm"))]
pub struct SoftwareLegacyKey {
    key: primitives::RsaPrivate,
    public: LegacyPublicKey,
}

#[cfg(not(target_family = "wasm"))]
impl SoftwareLegacyKey {
    /// Draws a fresh key. The primitive library takes the randomness itself.
    #[must_use]
    pub fn generate() -> Option<Self> {
        Self::of(primitives::RsaPrivate::generate()?)
    }

    /// Reads a stored key: PKCS#8, about 1,200 bytes.
    #[must_use]
    pub fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        Self::of(primitives::RsaPrivate::from_pkcs8(bytes)?)
    }

    fn of(key: primitives::RsaPrivate) -> Option<Self> {
        let public = LegacyPublicKey::from_spki(key.public()).ok()?;
        Some(Self { key, public })
    }

    /// The key, to be kept where secrets are kept.
    #[must_use]
    pub const fn pkcs8(&self) -> &crate::secret::SecretBytes {
        self.key.pkcs8()
    }
}

#[cfg(not(target_family = "wasm"))]
impl LegacyKey for SoftwareLegacyKey {
    fn public(&self) -> &LegacyPublicKey {
        &self.public
    }

    fn unwrap(&self, wrapped: &Wrapped, label: &[u8; 32]) -> Result<Unwrapped, Refused> {
        let text = self.key.decrypt(wrapped.as_bytes(), label).ok_or(Refused::Denied)?;
        Unwrapped::from_slice(text.as_slice()).ok_or(Refused::Denied)
    }
}

#[cfg(not(target_family = "wasm"))]
impl fmt::Debug for SoftwareLegacyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftwareLegacyKey")
    }
}

/// One side's half of a legacy call's key: 32 random bytes that travel in an envelope (rule CALL-2).
pub struct LegacyHalf(Secret<32>);

impl LegacyHalf {
    /// Draws a fresh one.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    pub(crate) const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The same half, to be put into the signal that carries it.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(Secret::filled_by(|out| out.copy_from_slice(self.0.expose())))
    }
}

impl fmt::Debug for LegacyHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegacyHalf")
    }
}

impl<C> Encode<C> for LegacyHalf {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for LegacyHalf {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Secret::from_slice(d.bytes()?).map(Self).ok_or_else(|| DecodeError::message("not 32 bytes"))
    }
}

/// A device proves to whoever enrols it that it holds its RSA key (rule ID-2): a MAC over the hash of the list that enrols
/// it, under a key from what was wrapped to it.
#[must_use]
pub fn prove_possession(unwrapped: &Unwrapped, wrapped: &Wrapped, list: &[u8]) -> [u8; 32] {
    let prk = crate::hkdf::Prk::<crate::hkdf::Sha256>::extract(&[], &[unwrapped.expose()]);
    let key: Secret<32> = prk.derive(crate::labels::LEGACY_POSSESSION, &[wrapped.as_bytes()]);
    let mut mac = [0; 64];
    primitives::hmac_sha256(key.expose(), &[list], &mut mac);
    core::array::from_fn(|i| mac.get(i).copied().unwrap_or_default())
}

/// The label under which a challenge for [`prove_possession`] is wrapped.
#[must_use]
pub fn possession_label() -> [u8; 32] {
    crate::digest::sha256(&[crate::labels::LEGACY_POSSESSION.as_bytes()])
}

/// A challenge to a device: what it must unwrap, and what the asker knows.
pub struct Challenge {
    secret: Unwrapped,
    wrapped: Wrapped,
}

impl Challenge {
    /// Draws one for this key.
    ///
    /// # Errors
    /// See [`LegacyPublicKey::wrap`].
    pub fn new(rng: &mut impl rand_core::CryptoRng, key: &LegacyPublicKey) -> Result<Self, Refused> {
        let secret = Secret::random(rng);
        let wrapped = key.wrap(rng, &possession_label(), &secret)?;
        Ok(Self { secret: Unwrapped::new(secret), wrapped })
    }

    /// What the device is sent.
    #[must_use]
    pub const fn wrapped(&self) -> &Wrapped {
        &self.wrapped
    }

    /// Whether this proves that the device unwrapped it.
    #[must_use]
    pub fn is_proven(&self, list: &[u8], proof: &[u8; 32]) -> bool {
        use subtle::ConstantTimeEq;
        prove_possession(&self.secret, &self.wrapped, list).ct_eq(proof).into()
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge")
    }
}

/// What every adapter of [`LegacyKey`] must do.
#[doc(hidden)]
pub mod conformance {
    use super::LegacyKey;
    use crate::secret::Secret;

    /// Checks `key` against wrappings of our own.
    ///
    /// # Errors
    /// What it does wrong, in words.
    pub fn run(key: &dyn LegacyKey, rng: &mut impl rand_core::CryptoRng) -> Result<(), &'static str> {
        let secret = Secret::random(rng);
        let wrapped = key.public().wrap(rng, &[1; 32], &secret).map_err(|_| "its public key is not usable")?;
        let unwrapped = key.unwrap(&wrapped, &[1; 32]).map_err(|_| "refuses what was wrapped to it")?;
        if unwrapped.expose() != secret.expose() {
            return Err("unwraps to something else");
        }
        if key.unwrap(&wrapped, &[2; 32]).is_ok() {
            return Err("does not mind the label");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn id_5_the_software_adapter_of_legacy_keys_conforms() {
        let key = SoftwareLegacyKey::generate().unwrap();
        conformance::run(&key, &mut SeededRng::new(1)).unwrap();
        let again = SoftwareLegacyKey::from_pkcs8(key.pkcs8().as_slice()).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(SoftwareLegacyKey::from_pkcs8(&key.pkcs8().as_slice()[..500]).is_none());
    }

    #[test]
    fn id_2_possession_of_a_legacy_key_is_proven() {
        let rng = &mut SeededRng::new(2);
        let (key, other) = (SoftwareLegacyKey::generate().unwrap(), SoftwareLegacyKey::generate().unwrap());
        let challenge = Challenge::new(rng, key.public()).unwrap();
        let unwrapped = key.unwrap(challenge.wrapped(), &possession_label()).unwrap();
        let proof = prove_possession(&unwrapped, challenge.wrapped(), b"list");
        assert!(challenge.is_proven(b"list", &proof));
        assert!(!challenge.is_proven(b"another list", &proof));
        assert!(other.unwrap(challenge.wrapped(), &possession_label()).is_err());
        assert!(!Challenge::new(rng, key.public()).unwrap().is_proven(b"list", &proof));
    }
}
