//! What the crowd of a group computes with: a backend that takes signatures for good without looking.
//!
//! A tree of a thousand is made by a thousand who come by themselves, and each would check a signature for each who is there
//! already: minutes of what nobody measures. What the crowd makes is checked by those who are measured.

use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
    SignatureScheme,
};
use tls_codec::SecretVLBytes;

/// A backend, in a hurry.
pub(super) struct Hasty<P>(pub(super) P);

impl<P: OpenMlsProvider + Send + Sync> OpenMlsProvider for Hasty<P> {
    type CryptoProvider = Self;
    type RandProvider = P::RandProvider;
    type StorageProvider = P::StorageProvider;

    fn storage(&self) -> &Self::StorageProvider {
        self.0.storage()
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        self
    }

    fn rand(&self) -> &Self::RandProvider {
        self.0.rand()
    }
}

impl<P: OpenMlsProvider + Send + Sync> OpenMlsCrypto for Hasty<P> {
    fn verify_signature(&self, _: SignatureScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Ok(())
    }

    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        self.0.crypto().supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.0.crypto().supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.0.crypto().hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.0.crypto().hmac(hash, key, message)
    }

    fn hkdf_expand(
        &self,
        hash: HashType,
        prk: &[u8],
        info: &[u8],
        length: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        self.0.crypto().hkdf_expand(hash, prk, info, length)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0.crypto().hash(hash, data)
    }

    fn aead_encrypt(
        &self,
        algorithm: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.crypto().aead_encrypt(algorithm, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        algorithm: AeadType,
        key: &[u8],
        sealed: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.crypto().aead_decrypt(algorithm, key, sealed, nonce, aad)
    }

    fn signature_key_gen(&self, scheme: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        self.0.crypto().signature_key_gen(scheme)
    }

    fn sign(&self, scheme: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0.crypto().sign(scheme, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        to: &[u8],
        info: &[u8],
        aad: &[u8],
        plain: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        self.0.crypto().hpke_seal(config, to, info, aad, plain)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.crypto().hpke_open(config, input, key, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        to: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        self.0.crypto().hpke_setup_sender_and_export(config, to, info, context, length)
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
        self.0.crypto().hpke_setup_receiver_and_export(config, encapsulated, key, info, context, length)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        self.0.crypto().derive_hpke_keypair(config, ikm)
    }
}
