//! HPKE (RFC 9180) in base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, one message per context.
//!
//! Our own code because the opener's private key may sit where no library can hold it (rule ID-5): [`open`] takes
//! the result of the agreement instead of the key. Tested against RFC 9180's vectors and the crate `hpke`.

use crate::aead::{self, AeadKey, OpenError};
use crate::agreement::{AgreementPublicKey, EphemeralKey, Refused, SharedSecret};
use crate::hkdf::{Prk, Sha256};
use crate::secret::{Secret, SecretBytes};

const VERSION: &[u8] = b"HPKE-v1";
/// "KEM" and DHKEM(P-256, HKDF-SHA256).
const KEM: &[u8] = b"KEM\x00\x10";
/// "HPKE", then KEM, KDF and AEAD.
const SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x02";
const MODE_BASE: u8 = 0;

/// An encapsulated key and what is sealed under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The sender's ephemeral public key (`enc`, 65 bytes).
    pub encapsulated: AgreementPublicKey,
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// Seals `text` to `recipient`.
///
/// # Errors
/// [`Refused`] when the primitive library refuses the recipient's key.
pub fn seal(
    rng: &mut impl rand_core::CryptoRng,
    recipient: &AgreementPublicKey,
    info: &[u8],
    associated: &[u8],
    text: &[u8],
) -> Result<Sealed, Refused> {
    seal_with(&EphemeralKey::generate(rng), recipient, info, associated, text)
}

fn seal_with(
    ephemeral: &EphemeralKey,
    recipient: &AgreementPublicKey,
    info: &[u8],
    associated: &[u8],
    text: &[u8],
) -> Result<Sealed, Refused> {
    let encapsulated = *ephemeral.public();
    let shared = ephemeral.agree(recipient)?;
    let (key, nonce) = schedule(&kem_secret(&shared, &encapsulated, recipient), info);
    // Room for the tag from the start: growing would leave the text behind in freed memory.
    let mut ciphertext = Vec::with_capacity(text.len() + aead::TAG_LENGTH);
    ciphertext.extend_from_slice(text);
    let tag = key.seal(nonce, associated, &mut ciphertext);
    ciphertext.extend_from_slice(&tag);
    Ok(Sealed { encapsulated, ciphertext })
}

/// Opens `sealed`, given the agreement of the recipient's private key with [`Sealed::encapsulated`].
///
/// # Errors
/// [`OpenError`] when anything at all does not match.
pub fn open(
    sealed: &Sealed,
    recipient: &AgreementPublicKey,
    shared: &SharedSecret,
    info: &[u8],
    associated: &[u8],
) -> Result<SecretBytes, OpenError> {
    let (key, nonce) = schedule(&kem_secret(shared, &sealed.encapsulated, recipient), info);
    let mut bytes = sealed.ciphertext.clone();
    let length = key.open(nonce, associated, &mut bytes)?.len();
    bytes.truncate(length);
    Ok(SecretBytes::new(bytes))
}

/// RFC 9180, 4.1: ExtractAndExpand over the agreement and both public keys.
fn kem_secret(shared: &SharedSecret, encapsulated: &AgreementPublicKey, recipient: &AgreementPublicKey) -> Secret<32> {
    let prk = labelled_extract(KEM, &[], b"eae_prk", shared.expose());
    let context = [encapsulated.as_bytes().as_slice(), recipient.as_bytes()].concat();
    labelled_expand(&prk, KEM, b"shared_secret", &context)
}

/// RFC 9180, 5.1: KeySchedule in base mode. One message is sealed per context, so the nonce is the base nonce.
fn schedule(kem_secret: &Secret<32>, info: &[u8]) -> (AeadKey, [u8; aead::NONCE_LENGTH]) {
    let psk_id_hash = labelled_extract(SUITE, &[], b"psk_id_hash", &[]);
    let info_hash = labelled_extract(SUITE, &[], b"info_hash", info);
    let context = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()].concat();
    let secret = labelled_extract(SUITE, kem_secret.expose(), b"secret", &[]);
    let key: Secret<32> = labelled_expand(&secret, SUITE, b"key", &context);
    let nonce: Secret<12> = labelled_expand(&secret, SUITE, b"base_nonce", &context);
    (AeadKey::new(&key), *nonce.expose())
}

fn labelled_extract(suite: &[u8], salt: &[u8], label: &[u8], input: &[u8]) -> Prk<Sha256> {
    Prk::extract(salt, &[VERSION, suite, label, input])
}

fn labelled_expand<const N: usize>(prk: &Prk<Sha256>, suite: &[u8], label: &[u8], info: &[u8]) -> Secret<N> {
    const { assert!(N <= 255 * 32) };
    let length = u16::try_from(N).unwrap_or_default().to_be_bytes();
    Secret::filled_by(|out| {
        // The length is bounded by the assertion above.
        prk.expand(&[&length, VERSION, suite, label, info], out).unwrap_or_default();
    })
}

#[cfg(test)]
mod tests;
