//! Requests to a log over HTTPS.
//!
//! The server's TLS key is not checked against anything: a checkpoint is signed by the log's key, tiles, entries and
//! audit proofs are verified under it, and a cosignature is public. Whoever stands in between can withhold all this, as
//! the log itself could, and nothing more. So no certificate authority, and no pinned key that changes, keeps a witness
//! from its work.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use undertone_protocol::ALPN_HTTP;
use undertone_transparency::note::{MAX_NOTE, NoteSignature};

use super::Resource;
use super::address::LogAddress;

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take: 32 MiB of an audit proof over a slow line, at most.
const ANSWER: Duration = Duration::from_secs(60);
/// How long to wait before each further attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];
/// Bytes of an answer to a posted cosignature that are read.
const MAX_ANSWER: usize = 16 << 10;

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection.
    #[error("the log cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// The connection broke.
    #[error("the connection to the log broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It took too long.
    #[error("the log does not answer in time")]
    Late,
    /// More than an honest answer has.
    #[error("the answer to {path} is longer than {most} bytes")]
    TooLong {
        /// What was asked for.
        path: String,
        /// Bytes at most.
        most: usize,
    },
    /// It was refused.
    #[error("the log answers {path} with {status}{}", advice(*.status))]
    Status {
        /// What was asked for.
        path: String,
        /// The answer.
        status: StatusCode,
    },
}

/// What an operator can do about it.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => ": is this witness's key among the witnesses in the server's configuration?",
        _ => "",
    }
}

impl FetchError {
    /// Whether another attempt may end otherwise.
    fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::Late => true,
            Self::TooLong { .. } => false,
            Self::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// A connection to a log, made when it is needed and again when it has ended.
pub struct Client {
    address: LogAddress,
    tls: TlsConnector,
    open: Option<Open>,
}

/// An open connection. Its task ends with it.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _task: JoinSet<()>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.address)
    }
}

impl Client {
    /// Of the log at this address. Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(address: LogAddress) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let check = Arc::new(AnyCertificate(provider.clone()));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(check)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)), open: None })
    }

    /// The log's address.
    #[must_use]
    pub const fn address(&self) -> &LogAddress {
        &self.address
    }

    /// The newest checkpoint, with the cosignatures that the log has.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn checkpoint(&mut self) -> Result<Bytes, FetchError> {
        self.ask(Method::GET, "/log/checkpoint", Bytes::new(), MAX_NOTE).await
    }

    /// A tile, a bundle of entries or an audit proof.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&mut self, resource: &Resource) -> Result<Bytes, FetchError> {
        self.ask(Method::GET, &format!("/log/{resource}"), Bytes::new(), resource.most()).await
    }

    /// Hands the log a cosignature of its checkpoint of `size` leaves. The same one twice is the same as once.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn cosign(&mut self, size: u64, line: &NoteSignature) -> Result<(), FetchError> {
        let path = format!("/log/cosignature?size={size}");
        self.ask(Method::POST, &path, line.to_string().into(), MAX_ANSWER).await.map(drop)
    }

    /// A request, in several attempts where that may help.
    async fn ask(&mut self, method: Method, path: &str, body: Bytes, most: usize) -> Result<Bytes, FetchError> {
        let mut pauses = PAUSES.iter();
        loop {
            let attempt = self.attempt(&method, path, body.clone(), most).await;
            match (attempt, pauses.next()) {
                (Err(error), Some(pause)) if error.passes() => sleep(*pause).await,
                (result, _) => return result,
            }
        }
    }

    async fn attempt(&mut self, method: &Method, path: &str, body: Bytes, most: usize) -> Result<Bytes, FetchError> {
        let reused = self.open.is_some();
        let result = self.exchange(method, path, body.clone(), most).await;
        // The log ends a connection after a while, and that may cross with a request: a new one decides.
        let result = match result {
            Err(FetchError::Broken(_)) if reused => {
                self.open = None;
                self.exchange(method, path, body, most).await
            }
            result => result,
        };
        if result.is_err() {
            self.open = None;
        }
        result
    }

    async fn exchange(&mut self, method: &Method, path: &str, body: Bytes, most: usize) -> Result<Bytes, FetchError> {
        let host = self.address.to_string();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host.strip_prefix("https://").unwrap_or(&host))
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(body));
        // The path is of our own making, so there is no other reason.
        let invalid = |_| FetchError::Unreachable(io::ErrorKind::InvalidInput.into());
        let request = request.map_err(invalid)?;
        let open = match self.open.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => timeout(CONNECT, self.connect()).await.map_err(|_| FetchError::Late)??,
        };
        let sender = &mut self.open.insert(open).sender;
        let exchange = async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), most).collect().await;
            Ok::<_, hyper::Error>((status, body.map(|body| body.to_bytes())))
        };
        let (status, body) = timeout(ANSWER, exchange).await.map_err(|_| FetchError::Late)??;
        if !status.is_success() {
            return Err(FetchError::Status { path: path.to_owned(), status });
        }
        body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(broken) => FetchError::Broken(*broken),
            Err(_) => FetchError::TooLong { path: path.to_owned(), most },
        })
    }

    async fn connect(&self) -> Result<Open, FetchError> {
        let LogAddress { host, port } = &self.address;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| FetchError::Unreachable(io::ErrorKind::InvalidInput.into()))?;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(FetchError::Unreachable)?;
        let _ = stream.set_nodelay(true);
        let stream = self.tls.connect(name, stream).await.map_err(FetchError::Unreachable)?;
        let (sender, connection) = Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream)).await?;
        let mut task = JoinSet::new();
        // What ends it is told to whoever waits for an answer on it.
        task.spawn(async move { drop(connection.await) });
        Ok(Open { sender, _task: task })
    }
}

/// Takes every certificate; see the module for why. That the other side has its key is still checked, so that one
/// connection is one party's.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
