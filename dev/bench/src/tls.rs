//! TLS for both ends of the benchmark.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::congestion::CubicConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, NoneTokenStore, TransportConfig};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use undertone_protocol::ALPN_MEDIA;

/// So that a listener of a relay without pings is not taken for gone while the others come in.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes under way at most. A speaker says little; whether it may say it now is not to depend on an acknowledgement.
const WINDOW: u64 = 1024 * 1024;

/// TLS for a relay of the benchmark, and its certificate (DER) for those who connect.
pub(crate) fn server() -> anyhow::Result<(rustls::ServerConfig, Vec<u8>)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
    tls.ignore_client_order = true;
    Ok((tls, made.cert.der().to_vec()))
}

/// What clients speak QUIC with, to a relay that has this certificate. One for all: each connection is a first one.
pub(crate) fn client(certificate: &[u8]) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
    tls.resumption = Resumption::disabled();
    let mut congestion = CubicConfig::default();
    congestion.initial_window(WINDOW);
    let mut transport = TransportConfig::default();
    transport
        // The relay's own idle timeout holds.
        .max_idle_timeout(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        // Probes would be more packets than there are, and say nothing on this path.
        .mtu_discovery_config(None)
        .congestion_controller_factory(Arc::new(congestion));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport)).token_store(Arc::new(NoneTokenStore));
    Ok(config)
}
