//! Which library computes what: a closed table. What does not stand in it is refused, never tried elsewhere.
//!
//! openmls names an algorithm and not a suite when it asks, so the table goes by algorithm:
//!
//! | asked for | answered by |
//! | --- | --- |
//! | SHA-256, HMAC, HKDF | RustCrypto |
//! | AES-128-GCM | RustCrypto |
//! | ChaCha20-Poly1305 | libcrux |
//! | ECDSA over P-256: to sign | RustCrypto |
//! | Ed25519: to sign; both: to verify | `undertone_keys`, natively several times as fast, and as strict in a browser |
//! | HPKE with DHKEM(P-256), DHKEM(X25519) | RustCrypto |
//! | HPKE with X-Wing | libcrux |
//!
//! Both libraries draw the ephemeral of an HPKE seal from the operating system, whatever generator the caller hands in; everything
//! else that is random in an operation is the caller's. So the bytes of a commit cannot be made a second time from the same
//! seed, and are kept until they are acknowledged instead (rule STO-2).

use std::sync::OnceLock;

use openmls_libcrux_crypto::CryptoProvider as Libcrux;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig,
    HpkeKdfType, HpkeKemType, HpkeKeyPair, KemOutput, SignatureScheme,
};
use tls_codec::SecretVLBytes;
use undertone_keys::Secret;
use undertone_keys::leaf::LeafScheme;

use crate::suite::Suite;

#[derive(Default)]
pub(crate) struct Crypto {
    rust_crypto: RustCrypto,
    /// Made when it is first asked for: it seeds a generator of its own.
    libcrux: OnceLock<Libcrux>,
}

/// Who answers.
enum Backend {
    RustCrypto,
    Libcrux,
}

const fn aead(algorithm: AeadType) -> Result<Backend, CryptoError> {
    match algorithm {
        AeadType::Aes128Gcm => Ok(Backend::RustCrypto),
        AeadType::ChaCha20Poly1305 => Ok(Backend::Libcrux),
        AeadType::Aes256Gcm => Err(CryptoError::UnsupportedAeadAlgorithm),
    }
}

const fn hpke(config: &HpkeConfig) -> Result<Backend, CryptoError> {
    match config {
        HpkeConfig(
            HpkeKemType::DhKemP256 | HpkeKemType::DhKem25519,
            HpkeKdfType::HkdfSha256,
            HpkeAeadType::AesGcm128,
        ) => Ok(Backend::RustCrypto),
        HpkeConfig(HpkeKemType::XWingKemDraft6, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305) => {
            Ok(Backend::Libcrux)
        }
        _ => Err(CryptoError::UnsupportedCiphersuite),
    }
}

/// Bytes of an X-Wing public key: one of ML-KEM-768 and one of X25519.
const XWING_PUBLIC: usize = 1184 + 32;

/// Refuses a public key that libcrux would cut out of its length, and panic: keys come from other members' leaves and from the group
/// info that a server hands out.
const fn key_length(config: &HpkeConfig, key: &[u8]) -> Result<(), CryptoError> {
    match config.0 {
        HpkeKemType::XWingKemDraft6 if key.len() != XWING_PUBLIC => Err(CryptoError::InvalidLength),
        _ => Ok(()),
    }
}

/// How leaves sign under it.
const fn leaf_scheme(scheme: SignatureScheme) -> Result<LeafScheme, CryptoError> {
    match scheme {
        SignatureScheme::ED25519 => Ok(LeafScheme::Ed25519),
        SignatureScheme::ECDSA_SECP256R1_SHA256 => Ok(LeafScheme::EcdsaP256),
        _ => Err(CryptoError::UnsupportedSignatureScheme),
    }
}

const fn hash(hash: HashType) -> Result<(), CryptoError> {
    match hash {
        HashType::Sha2_256 => Ok(()),
        HashType::Sha2_384 | HashType::Sha2_512 => Err(CryptoError::UnsupportedHashAlgorithm),
    }
}

impl Crypto {
    fn libcrux(&self) -> Result<&Libcrux, CryptoError> {
        if let Some(made) = self.libcrux.get() {
            return Ok(made);
        }
        let made = Libcrux::new()?;
        Ok(self.libcrux.get_or_init(|| made))
    }
}

/// Asks the backend that the table names.
macro_rules! ask {
    ($self:ident, $backend:expr, $method:ident($($argument:expr),*)) => {
        match $backend? {
            Backend::RustCrypto => $self.rust_crypto.$method($($argument),*),
            Backend::Libcrux => $self.libcrux()?.$method($($argument),*),
        }
    };
}

impl OpenMlsCrypto for Crypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        let ours = Suite::ALL.into_iter().any(|suite| suite.ciphersuite() == ciphersuite);
        if ours { Ok(()) } else { Err(CryptoError::UnsupportedCiphersuite) }
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        Suite::ALL.into_iter().map(Suite::ciphersuite).collect()
    }

    fn hkdf_extract(&self, algorithm: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        hash(algorithm)?;
        self.rust_crypto.hkdf_extract(algorithm, salt, ikm)
    }

    fn hmac(&self, algorithm: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        hash(algorithm)?;
        self.rust_crypto.hmac(algorithm, key, message)
    }

    fn hkdf_expand(
        &self,
        algorithm: HashType,
        prk: &[u8],
        info: &[u8],
        length: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        hash(algorithm)?;
        self.rust_crypto.hkdf_expand(algorithm, prk, info, length)
    }

    fn hash(&self, algorithm: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        hash(algorithm)?;
        self.rust_crypto.hash(algorithm, data)
    }

    fn aead_encrypt(
        &self,
        algorithm: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        ask!(self, aead(algorithm), aead_encrypt(algorithm, key, data, nonce, aad))
    }

    fn aead_decrypt(
        &self,
        algorithm: AeadType,
        key: &[u8],
        sealed: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        ask!(self, aead(algorithm), aead_decrypt(algorithm, key, sealed, nonce, aad))
    }

    fn signature_key_gen(&self, _: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        // Leaf keys are drawn from the caller's generator: see `leaf`.
        Err(CryptoError::UnsupportedSignatureScheme)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signed: &[u8],
    ) -> Result<(), CryptoError> {
        let holds = leaf_scheme(scheme)?.verify(key, data, signed);
        if holds { Ok(()) } else { Err(CryptoError::InvalidSignature) }
    }

    fn sign(&self, scheme: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let ours = leaf_scheme(scheme)?;
        // RustCrypto panics at a secret of another length.
        let secret: Secret<32> = Secret::from_slice(key).ok_or(CryptoError::InvalidLength)?;
        match ours.sign(&secret, data) {
            Some(signature) => Ok(signature.to_vec()),
            None => self.rust_crypto.sign(scheme, data, key),
        }
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        to: &[u8],
        info: &[u8],
        aad: &[u8],
        text: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        key_length(&config, to)?;
        ask!(self, hpke(&config), hpke_seal(config, to, info, aad, text))
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        sealed: &HpkeCiphertext,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        ask!(self, hpke(&config), hpke_open(config, sealed, key, info, aad))
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        to: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        key_length(&config, to)?;
        ask!(self, hpke(&config), hpke_setup_sender_and_export(config, to, info, context, length))
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        encapsulated: &[u8],
        key: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        ask!(self, hpke(&config), hpke_setup_receiver_and_export(config, encapsulated, key, info, context, length))
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        ask!(self, hpke(&config), derive_hpke_keypair(config, ikm))
    }
}

#[cfg(test)]
mod basics;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mls_1_what_is_not_in_the_table_is_refused() {
        let crypto = Crypto::default();
        for suite in Suite::ALL {
            assert_eq!(crypto.supports(suite.ciphersuite()), Ok(()));
        }
        for other in [
            Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
            Ciphersuite::MLS_256_DHKEMP384_AES256GCM_SHA384_P384,
            Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519,
        ] {
            assert_eq!(crypto.supports(other), Err(CryptoError::UnsupportedCiphersuite));
        }
        // Right parts, wrongly put together.
        let mixed = HpkeConfig(HpkeKemType::XWingKemDraft6, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128);
        assert!(matches!(crypto.derive_hpke_keypair(mixed, &[1; 32]), Err(CryptoError::UnsupportedCiphersuite)));
        assert!(matches!(crypto.hash(HashType::Sha2_512, b""), Err(CryptoError::UnsupportedHashAlgorithm)));
        assert!(matches!(
            crypto.aead_encrypt(AeadType::Aes256Gcm, &[0; 32], b"", &[0; 12], b""),
            Err(CryptoError::UnsupportedAeadAlgorithm)
        ));
        // libcrux panics at a key that is too short.
        let xwing = || Suite::XWing.ciphersuite().hpke_config();
        for length in [0, 32, 1184, 1215, 1217] {
            let key = vec![0; length];
            assert!(crypto.hpke_seal(xwing(), &key, b"", b"", b"").is_err());
            assert!(crypto.hpke_setup_sender_and_export(xwing(), &key, b"", b"", 32).is_err());
        }
        for length in [0, 16, 1119, 1121] {
            let sealed = HpkeCiphertext { kem_output: vec![0; length].into(), ciphertext: vec![0; 15].into() };
            assert!(crypto.hpke_open(xwing(), &sealed, &[1; 32], b"", b"").is_err());
            let output = vec![0; length];
            assert!(crypto.hpke_setup_receiver_and_export(xwing(), &output, &[1; 32], b"", b"", 32).is_err());
        }
        assert!(matches!(
            crypto.sign(SignatureScheme::ECDSA_SECP256R1_SHA256, b"", &[1; 31]),
            Err(CryptoError::InvalidLength)
        ));
    }
}
