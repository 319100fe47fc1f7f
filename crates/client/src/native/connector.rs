//! TLS 1.3 to one server, checked against its pinned identity (rule KT-14) instead of certificate authorities.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use undertone_keys::digest::sha256;
use undertone_protocol::rest::ServerInfo;
use undertone_protocol::statement::Statement;
use undertone_protocol::{ALPN_HTTP, ALPN_MEDIA, VERSION};

use super::error::ClientError;
use super::home::ServerPin;
use super::rest;

const CONNECT: Duration = Duration::from_secs(5);

/// Which TLS keys are taken.
#[derive(Debug)]
struct KeyCheck {
    algorithms: WebPkiSupportedAlgorithms,
    /// SHA-256 of the one SubjectPublicKeyInfo that is; `None` to look at what the server has, before anything
    /// else is said on that connection.
    expected: Option<[u8; 32]>,
    shown: Mutex<Option<[u8; 32]>>,
}

impl ServerCertVerifier for KeyCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let hash = sha256(&[key.as_ref()]);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        if self.expected.is_some_and(|expected| expected != hash) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

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

fn config(check: Arc<KeyCheck>, alpn: &[u8]) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(check)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Connections to one server whose TLS key is known to be its own.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    address: String,
    key: [u8; 32],
}

impl Connector {
    /// Asks a server who it is: its statement must be about the TLS key of this very connection. Nothing but the
    /// question is sent.
    pub(crate) async fn introduce(address: &str) -> Result<(Statement, ServerInfo, Self), ClientError> {
        let check = Arc::new(KeyCheck {
            algorithms: provider().signature_verification_algorithms,
            expected: None,
            shown: Mutex::default(),
        });
        let stream = connect(address, check.clone()).await?;
        let info: ServerInfo = rest::get(stream, address, "/v1/server", None).await?;
        if info.version != VERSION {
            return Err(ClientError::Version { server: address.to_owned(), theirs: info.version, ours: VERSION });
        }
        let shown = *check.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let key = shown.ok_or_else(|| ClientError::BadAnswer(address.to_owned()))?;
        let statement = Statement::verify(&info.statement.0, &key)?;
        Ok((statement, info, Self { address: address.to_owned(), key }))
    }

    /// Finds the pinned server again.
    pub(crate) async fn to_pinned(pin: &ServerPin) -> Result<(Statement, Self), ClientError> {
        let (statement, _, connector) = Self::introduce(&pin.address).await?;
        if statement.identity != pin.identity {
            return Err(ClientError::ServerChanged {
                server: pin.address.clone(),
                shown: statement.identity.fingerprint(),
                pinned: pin.identity.fingerprint(),
            });
        }
        if pin.has_other_directory(&statement) {
            return Err(ClientError::DirectoryKey(pin.address.clone()));
        }
        if pin.is_replaced(&statement) {
            return Err(ClientError::ReplacedKey(pin.address.clone()));
        }
        Ok((statement, connector))
    }

    fn check(&self) -> Arc<KeyCheck> {
        let algorithms = provider().signature_verification_algorithms;
        Arc::new(KeyCheck { algorithms, expected: Some(self.key), shown: Mutex::default() })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A connection for one request or one WebSocket.
    pub(crate) async fn tcp(&self) -> Result<TlsStream<TcpStream>, ClientError> {
        connect(&self.address, self.check()).await
    }

    /// The TLS side of a media connection.
    pub(crate) fn media(&self) -> Result<ClientConfig, ClientError> {
        config(self.check(), ALPN_MEDIA).map_err(|error| self.unreachable(std::io::Error::other(error)))
    }

    pub(crate) fn unreachable(&self, source: std::io::Error) -> ClientError {
        ClientError::Unreachable { server: self.address.clone(), source }
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

async fn connect(address: &str, check: Arc<KeyCheck>) -> Result<TlsStream<TcpStream>, ClientError> {
    if !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(ClientError::Address(address.to_owned()));
    }
    let unreachable = |source| ClientError::Unreachable { server: address.to_owned(), source };
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
    let name = ServerName::try_from(host(address).to_owned())
        .map_err(|_| unreachable(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not HOST:PORT")))?;
    let config = config(check, ALPN_HTTP).map_err(|error| unreachable(std::io::Error::other(error)))?;
    let stream = timeout(CONNECT, TcpStream::connect(address)).await.map_err(|_| unreachable(late()))?;
    let stream = stream.map_err(unreachable)?;
    let _ = stream.set_nodelay(true);
    let handshake = timeout(CONNECT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    handshake.map_err(|_| unreachable(late()))?.map_err(|error| {
        let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match refused {
            // Between two connections the key became another one: a restart with a new one, or somebody in between.
            Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
                ClientError::OtherTlsKey(address.to_owned())
            }
            _ => unreachable(error),
        }
    })
}
