//! Primitives from RustCrypto, for WebAssembly.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048, Uint};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::Verifier;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey, ecdh};
use sha2::{Digest, Sha256, Sha512};

pub(crate) struct Gcm(Aes256Gcm);

impl Gcm {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(&(*key).into()))
    }

    pub(crate) fn seal(&self, nonce: [u8; 12], associated: &[u8], text: &mut [u8]) -> [u8; 16] {
        match self.0.encrypt_inout_detached(&Nonce::from(nonce), associated, (&mut *text).into()) {
            Ok(tag) => tag.into(),
            Err(_) => {
                // Only a text of 64 GiB gets here. Nothing of it may leave.
                text.fill(0);
                [0; 16]
            }
        }
    }

    pub(crate) fn open<'t>(&self, nonce: [u8; 12], associated: &[u8], sealed: &'t mut [u8]) -> Option<&'t mut [u8]> {
        let length = sealed.len().checked_sub(16)?;
        let (text, tag) = sealed.split_at_mut(length);
        let tag: [u8; 16] = (&*tag).try_into().ok()?;
        let (nonce, tag) = (Nonce::from(nonce), Tag::from(tag));
        self.0.decrypt_inout_detached(&nonce, associated, (&mut *text).into(), &tag).ok()?;
        Some(text)
    }
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
    if let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) {
        parts.iter().for_each(|part| mac.update(part));
        out.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
    }
}

pub(crate) fn hmac_sha512(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
    if let Ok(mut mac) = <Hmac<Sha512> as KeyInit>::new_from_slice(key) {
        parts.iter().for_each(|part| mac.update(part));
        out.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
    }
}

pub(crate) struct Ed25519Pair(SigningKey);

impl Ed25519Pair {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

pub(crate) fn ed25519_verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

pub(crate) fn p256_verify(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(signature) = p256::ecdsa::Signature::from_slice(signature) else {
        return false;
    };
    key.first() == Some(&4)
        && p256::ecdsa::VerifyingKey::from_sec1_bytes(key).is_ok_and(|key| key.verify(message, &signature).is_ok())
}

pub(crate) struct P256Scalar(SecretKey);

impl P256Scalar {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SecretKey::from_bytes(&p256::FieldBytes::from(*bytes)).ok().map(Self)
    }

    pub(crate) fn public(&self) -> Option<[u8; 65]> {
        self.0.public_key().to_sec1_point(false).as_bytes().try_into().ok()
    }

    pub(crate) fn agree(&self, peer: &[u8; 65]) -> Option<crate::Secret<32>> {
        let peer = PublicKey::from_sec1_bytes(peer).ok()?;
        let shared = ecdh::diffie_hellman(self.0.to_nonzero_scalar(), peer.as_affine());
        crate::Secret::from_slice(shared.raw_secret_bytes().as_slice())
    }
}

pub(crate) fn p256_on_curve(point: &[u8; 65]) -> bool {
    point.first() == Some(&4) && PublicKey::from_sec1_bytes(point).is_ok()
}

/// The exponent of every public key that is taken.
const RSA_EXPONENT: u32 = 65_537;
const RSA_EXPONENT_BITS: u32 = 17;

/// Encrypts `text` under `label` with the padding's `seed` (RFC 8017, 7.1.1). What is computed with are public numbers and
/// the padded text; whose bits take how long is not to be seen, as the library's form of the modulus fixes the steps.
pub(crate) fn rsa_encrypt(
    spki: &[u8; super::RSA_SPKI],
    label: &[u8],
    text: &[u8],
    seed: &[u8; 32],
) -> Option<[u8; 256]> {
    let modulus = Odd::new(U2048::from_be_slice(super::rsa_modulus(spki)?)).into_option()?;
    let padded = zeroize::Zeroizing::new(oaep_pad(label, text, seed)?);
    let base = FixedMontyForm::new(&U2048::from_be_slice(padded.as_slice()), &FixedMontyParams::new_vartime(modulus));
    let sealed = base.pow_bounded_exp(&Uint::<1>::from_u32(RSA_EXPONENT), RSA_EXPONENT_BITS).retrieve();
    Some(sealed.to_be_bytes().into())
}

/// 0, masked seed, masked (hash of the label, zeros, 1, text).
fn oaep_pad(label: &[u8], text: &[u8], seed: &[u8; 32]) -> Option<[u8; 256]> {
    let mut padded = [0; 256];
    let (_, rest) = padded.split_first_mut()?;
    let (masked_seed, data) = rest.split_first_chunk_mut::<32>()?;
    let zeros = data.len().checked_sub(32 + 1 + text.len())?;
    let (hash, tail) = data.split_first_chunk_mut::<32>()?;
    *hash = sha256(&[label]);
    let (one, room) = tail.get_mut(zeros..)?.split_first_mut()?;
    *one = 1;
    room.copy_from_slice(text);
    mask(seed, data);
    *masked_seed = *seed;
    mask(data, masked_seed);
    Some(padded)
}

/// MGF1 with SHA-256 (RFC 8017, B.2.1), over what stands there.
fn mask(seed: &[u8], out: &mut [u8]) {
    for (count, chunk) in (0_u32..).zip(out.chunks_mut(32)) {
        let hash = sha256(&[seed, &count.to_be_bytes()]);
        chunk.iter_mut().zip(hash).for_each(|(byte, mask)| *byte ^= mask);
    }
}
