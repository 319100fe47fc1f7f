//! TLS 1.3 and nothing else, for TCP and QUIC alike.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rcgen::{PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use undertone_keys::digest::sha256;
use undertone_protocol::{ALPN_HTTP, ALPN_MEDIA};

/// A TLS key and its certificate, in DER.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// PKCS#8.
    pub(crate) key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

impl Certificate {
    /// Makes a P-256 key and a certificate for these names. Clients check the key against the server's statement,
    /// so the certificate's dates protect nothing and are long.
    ///
    /// # Errors
    /// When a name is none.
    pub fn self_signed(names: &[String]) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2125, 1, 1);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "undertone");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key)?.der().to_vec();
        Ok(Self { certificate, key: key.serialize_der() })
    }

    /// Takes DER bytes; `None` when the certificate cannot be read or is not about this key.
    #[must_use]
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Option<Self> {
        let made = Self { certificate, key };
        made.http().is_ok().then_some(made)
    }

    /// SHA-256 over the SubjectPublicKeyInfo, which the server's statement names.
    #[must_use]
    pub fn key_hash(&self) -> Option<[u8; 32]> {
        let der = CertificateDer::from(self.certificate.as_slice());
        let parsed = ParsedCertificate::try_from(&der).ok()?;
        Some(sha256(&[parsed.subject_public_key_info().as_ref()]))
    }

    fn config(&self, alpn: &[u8]) -> Result<ServerConfig, rustls::Error> {
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        config.ignore_client_order = true;
        // Tickets would link a device's connections and are worth one round trip a day.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    /// For HTTPS and WebSocket.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn http(&self) -> Result<ServerConfig, rustls::Error> {
        self.config(ALPN_HTTP)
    }

    /// For QUIC.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn media(&self) -> Result<ServerConfig, rustls::Error> {
        self.config(ALPN_MEDIA)
    }
}

/// AES-GCM first, post-quantum key exchange first.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    })
}
