//! Rooms full of people who all speak, and what arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use undertone_protocol::ALPN_MEDIA;

use crate::process::Served;

/// Between two packets of one speaker.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// Bytes that a speaker says in each.
pub(crate) const PAYLOAD: usize = 80;
const WARM_UP: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_millis(500);

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    pub(crate) seconds: u64,
}

impl Load {
    /// Every speaker's room and place in it.
    pub(crate) fn speakers(&self) -> impl Iterator<Item = (usize, usize)> {
        let members = self.members;
        (0..self.rooms).flat_map(move |room| (0..members).map(move |member| (room, member)))
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    expected: u64,
    received: u64,
    window_received: u64,
    window_cpu_ns: u64,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    pub(crate) fn delivered(&self) -> f64 {
        self.received as f64 / self.expected.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    pub(crate) fn cpu_us_per_delivery(&self) -> f64 {
        self.window_cpu_ns as f64 / 1000.0 / self.window_received.max(1) as f64
    }
}

/// What speakers count, and when they are done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) done: AtomicBool,
}

/// Lets the speakers that run already speak, and measures the relay meanwhile.
pub(crate) async fn watch(load: &Load, relay: &Served, counters: &Counters) -> anyhow::Result<Run> {
    tokio::time::sleep(WARM_UP).await;
    let received = || counters.received.load(Ordering::Relaxed);
    let (before, cpu_before) = (received(), relay.cpu_ns()?);
    tokio::time::sleep(Duration::from_secs(load.seconds)).await;
    let (after, cpu_after) = (received(), relay.cpu_ns()?);
    counters.done.store(true, Ordering::Relaxed);
    tokio::time::sleep(DRAIN).await;
    let others = u64::try_from(load.members.saturating_sub(1))?;
    Ok(Run {
        expected: counters.sent.load(Ordering::Relaxed) * others,
        received: received(),
        window_received: after - before,
        window_cpu_ns: cpu_after - cpu_before,
    })
}

/// Speaks on a connection: `next` writes a packet and returns its length. Counts what comes back.
pub(crate) fn speak(
    connection: Connection,
    counters: Arc<Counters>,
    phase: Duration,
    mut next: impl FnMut(&mut [u8]) -> usize + Send + 'static,
) {
    let (listening, heard) = (connection.clone(), counters.clone());
    tokio::spawn(async move {
        while listening.read_datagram().await.is_ok() {
            heard.received.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::spawn(async move {
        tokio::time::sleep(phase).await;
        let mut ticks = tokio::time::interval(TICK);
        let mut buffer = [0; 1500];
        while !counters.done.load(Ordering::Relaxed) {
            ticks.tick().await;
            let length = next(&mut buffer);
            let packet = bytes::Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            if connection.send_datagram(packet).is_ok() {
                counters.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        // What is under way may still arrive.
        tokio::time::sleep(DRAIN * 2).await;
        drop(connection);
    });
}

/// A QUIC client of this relay, with a socket of its own.
pub(crate) async fn connect(relay: &Served) -> anyhow::Result<(Endpoint, Connection)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(relay.certificate.as_slice()))?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_MEDIA.to_vec()];
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let connection = endpoint.connect_with(config, relay.address, "localhost")?.await?;
    Ok((endpoint, connection))
}

/// TLS for a relay of the benchmark, and its certificate (DER) for those who connect.
pub(crate) fn server_tls() -> anyhow::Result<(rustls::ServerConfig, Vec<u8>)> {
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
