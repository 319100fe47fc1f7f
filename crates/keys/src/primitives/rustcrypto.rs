//! Primitives from RustCrypto, for WebAssembly.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
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
