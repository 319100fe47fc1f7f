//! Primitives from `aws-lc-rs`.
//!
//! The library's constructors return errors for wrong lengths alone where our types fix the length. Those branches
//! cannot be reached; they fail closed (a key that opens and verifies nothing) rather than panic.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{agreement, digest, hmac};

pub(crate) struct Gcm(Option<LessSafeKey>);

impl Gcm {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new))
    }

    pub(crate) fn seal(&self, nonce: [u8; 12], associated: &[u8], text: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .as_ref()
            .and_then(|key| key.seal_in_place_separate_tag(nonce, Aad::from(associated), text).ok())
            .and_then(|tag| tag.as_ref().try_into().ok());
        tag.unwrap_or_else(|| {
            // Only a text of 64 GiB gets here. Nothing of it may leave.
            text.fill(0);
            [0; 16]
        })
    }

    pub(crate) fn open<'t>(&self, nonce: [u8; 12], associated: &[u8], sealed: &'t mut [u8]) -> Option<&'t mut [u8]> {
        let length = sealed.len().checked_sub(16)?;
        let (text, tag) = sealed.split_at_mut(length);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.as_ref()?.open_in_place_separate_tag(nonce, Aad::from(associated), tag, text).ok()?;
        Some(text)
    }
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().unwrap_or_default()
}

pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut context = digest::Context::new(&digest::SHA512);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 64];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
    mac(hmac::HMAC_SHA256, key, parts, out);
}

pub(crate) fn hmac_sha512(key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
    mac(hmac::HMAC_SHA512, key, parts, out);
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]], out: &mut [u8; 64]) {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    out.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
}

pub(crate) struct Ed25519Pair(Option<Ed25519KeyPair>);

impl Ed25519Pair {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).ok())
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.as_ref().and_then(|pair| pair.public_key().as_ref().try_into().ok()).unwrap_or_default()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.0.as_ref().and_then(|pair| pair.try_sign(message).ok());
        signature.and_then(|signature| signature.as_ref().try_into().ok()).unwrap_or([0; 64])
    }
}

pub(crate) fn ed25519_verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let (commitment, _) = signature.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
    if super::is_of_small_order(key) || super::is_of_small_order(commitment) {
        return false;
    }
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

pub(crate) fn p256_verify(key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    // The library also reads hybrid points, which the other does not.
    key.first() == Some(&4) && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
}

pub(crate) struct P256Scalar(agreement::PrivateKey);

impl P256Scalar {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, bytes).ok().map(Self)
    }

    pub(crate) fn public(&self) -> Option<[u8; 65]> {
        self.0.compute_public_key().ok()?.as_ref().try_into().ok()
    }

    pub(crate) fn agree(&self, peer: &[u8; 65]) -> Option<crate::Secret<32>> {
        let peer = uncompressed(peer)?;
        agreement::agree(&self.0, peer, Unspecified, |x| crate::Secret::from_slice(x).ok_or(Unspecified)).ok()
    }
}

pub(crate) fn p256_on_curve(point: &[u8; 65]) -> bool {
    uncompressed(point).is_some_and(|point| agreement::ParsedPublicKey::try_from(point).is_ok())
}

/// The library also reads hybrid points and SPKI; one key must have one encoding.
fn uncompressed(point: &[u8; 65]) -> Option<agreement::UnparsedPublicKey<&[u8]>> {
    (point.first() == Some(&4)).then(|| agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point.as_slice()))
}

/// Encrypts `text` under `label`. The library draws the seed of the padding itself.
pub(crate) fn rsa_encrypt(
    spki: &[u8; super::RSA_SPKI],
    label: &[u8],
    text: &[u8],
    _seed: &[u8; 32],
) -> Option<[u8; 256]> {
    super::rsa_modulus(spki)?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).ok()?).ok()?;
    let mut out = [0; 256];
    let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, text, &mut out, Some(label)).ok()?.len();
    (length == out.len()).then_some(out)
}

pub(crate) struct RsaPrivate {
    key: OaepPrivateDecryptingKey,
    pkcs8: crate::secret::SecretBytes,
    public: [u8; super::RSA_SPKI],
}

impl RsaPrivate {
    pub(crate) fn generate() -> Option<Self> {
        Self::of(PrivateDecryptingKey::generate(KeySize::Rsa2048).ok()?)
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        Self::of(PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?)
    }

    fn of(key: PrivateDecryptingKey) -> Option<Self> {
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        let public: [u8; super::RSA_SPKI] = spki.as_ref().try_into().ok()?;
        super::rsa_modulus(&public)?;
        let der: Pkcs8V1Der<'_> = key.as_der().ok()?;
        let pkcs8 = crate::secret::SecretBytes::new(der.as_ref().to_vec());
        Some(Self { key: OaepPrivateDecryptingKey::new(key).ok()?, pkcs8, public })
    }

    pub(crate) const fn public(&self) -> &[u8; super::RSA_SPKI] {
        &self.public
    }

    pub(crate) const fn pkcs8(&self) -> &crate::secret::SecretBytes {
        &self.pkcs8
    }

    pub(crate) fn decrypt(&self, sealed: &[u8], label: &[u8]) -> Option<crate::secret::SecretBytes> {
        let mut out = zeroize::Zeroizing::new([0; 256]);
        let text = self.key.decrypt(&OAEP_SHA256_MGF1SHA256, sealed, &mut *out, Some(label)).ok()?;
        Some(crate::secret::SecretBytes::new(text.to_vec()))
    }
}
