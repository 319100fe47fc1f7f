//! A server that lies with its own keys: everybody meets one desk, and each who looks something up in the key directory meets
//! the fork of it that is meant for them.
//!
//! ```text
//! ada --her face--+--look-ups, history, log--> one fork
//!                 +--all else--+
//!                              +--> the desk, which is one of the forks
//!                 +--all else--+
//! bob --his face--+--look-ups, history, log--> another fork
//! ```
//! It has the TLS key of the forks, which are copies of one server. Nothing of the relay's goes through it: what a lie of this
//! kind comes to is settled before sound flows. A face may also tell something else than its fork says, or keep an answer back.

mod answers;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use undertone_protocol::ALPN_HTTP;
use undertone_transparency::answer::Answer;

pub use self::answers::Asked;
use self::answers::{Lie, told};
use crate::tls;

/// Bytes of a request's head at most.
const MAX_HEAD: usize = 16 * 1024;
/// What is answered by somebody who is busy.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n\
    content-length: 53\r\n\r\n{\"code\":\"unavailable\",\"message\":\"the log is busy...\"}";
/// What somebody answers who stands in front of a server that is away.
const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\nconnection: close\r\n\
    content-length: 18\r\n\r\n<h1>Nobody in</h1>";
/// How long one who is silent is silent.
const SILENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether an answer that is kept back may go.
const LOOK: Duration = Duration::from_millis(5);

/// What becomes of a question for the proof that the log grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proofs {
    /// It is handed on.
    Given,
    /// The server says that it is busy.
    Busy,
    /// Somebody in front of the server says that it is away.
    Away,
    /// It is not answered.
    Withheld,
}

/// What one face shows.
#[derive(Clone, Debug)]
struct Shown {
    fork: String,
    proofs: Proofs,
    asked: u64,
    lie: Option<Lie>,
    kept_back: KeptBack,
}

/// Answers that are there and not handed over yet.
#[derive(Clone, Debug, Default)]
struct KeptBack {
    /// To questions whose path begins so.
    path: Option<String>,
    /// How many it were since [`Face::keeps_back`].
    count: u64,
}

/// The lying server. Ends when dropped.
#[derive(Debug)]
pub struct TwoFaces {
    runtime: Runtime,
    tls: Arc<ServerConfig>,
    desk: String,
}

/// What one person sees of it.
#[derive(Clone, Debug)]
pub struct Face {
    address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
}

impl TwoFaces {
    /// One with the TLS key in the folder `data`, whose desk is the server at `desk`.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn new(data: &Path, desk: String) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from(std::fs::read(data.join("tls.crt"))?);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(std::fs::read(data.join("tls.key"))?));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        tls.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { runtime, tls: Arc::new(tls), desk })
    }

    /// A face that shows the directory of the desk, until [`Face::shows`].
    ///
    /// # Errors
    /// When no port is to be had.
    pub fn face(&self) -> anyhow::Result<Face> {
        let (fork, kept_back) = (self.desk.clone(), KeptBack::default());
        let shown = Arc::new(Mutex::new(Shown { fork, proofs: Proofs::Given, asked: 0, lie: None, kept_back }));
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let face = Face { address: listener.local_addr()?, shown };
        let (desk, acceptor, seen) = (self.desk.clone(), TlsAcceptor::from(self.tls.clone()), face.shown.clone());
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (desk, acceptor, seen) = (desk.clone(), acceptor.clone(), seen.clone());
                // Whoever hangs up in the middle is nobody's fault here.
                tokio::spawn(async move { carry(stream, &acceptor, &desk, &seen).await.ok() });
            }
        });
        Ok(face)
    }
}

impl Face {
    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Shows the directory of the server at `fork` from now on.
    pub fn shows(&self, fork: String) {
        self.change(|shown| shown.fork = fork);
    }

    /// What becomes of questions for proofs that the log grew, from now on.
    pub fn proofs(&self, proofs: Proofs) {
        self.change(|shown| shown.proofs = proofs);
    }

    /// How often such a proof was asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    /// What becomes of each answer to a look-up, from now on: `lie` is told what was asked, and what the fork says.
    pub fn lies(&self, lie: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) {
        self.change(|shown| shown.lie = Some(Lie::new(lie)));
    }

    /// Hands look-ups on as they are again.
    pub fn is_honest(&self) {
        self.change(|shown| shown.lie = None);
    }

    /// Keeps the answers to questions whose path begins so back from now on, as they are when they are asked; `None` lets go
    /// of them.
    pub fn keeps_back(&self, path: Option<&str>) {
        self.change(|shown| shown.kept_back = KeptBack { path: path.map(Into::into), count: 0 });
    }

    /// How many answers are kept back.
    #[must_use]
    pub fn kept_back(&self) -> u64 {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).kept_back.count
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One connection, which is for what its first request is for.
async fn carry(stream: TcpStream, acceptor: &TlsAcceptor, desk: &str, shown: &Mutex<Shown>) -> anyhow::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        anyhow::ensure!(stream.read_buf(&mut head).await? > 0 && head.len() < MAX_HEAD, "no request");
    }
    let text = String::from_utf8_lossy(&head);
    let path = text.split(' ').nth(1).context("no path")?;
    let grown = path.starts_with("/log/consistency/");
    let of_directory = ["/v1/users/", "/v1/account/history", "/log/"].iter().any(|begin| path.starts_with(begin));
    let Shown { fork, proofs, lie, kept_back, .. } = {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.asked += u64::from(grown);
        shown.clone()
    };
    let waits = kept_back.path.as_deref().is_some_and(|begin| path.starts_with(begin));
    let lie = lie.zip(Asked::read(path));
    match proofs {
        _ if waits || lie.is_some() => {
            let mut answer = answers::whole(&fork, &head).await?;
            if let Some((lie, asked)) = lie {
                answer = told(&answer, |answer| lie.to(&asked, answer))?;
            }
            if waits {
                wait_for_leave(shown, path).await;
            }
            stream.write_all(&answer).await?;
        }
        Proofs::Busy if grown => stream.write_all(BUSY.as_bytes()).await?,
        Proofs::Away if grown => stream.write_all(AWAY.as_bytes()).await?,
        Proofs::Withheld if grown => tokio::time::sleep(SILENCE).await,
        _ => {
            let mut server = tls::connect_to(if of_directory { &fork } else { desk }, &TLS13).await?;
            server.write_all(&head).await?;
            copy_bidirectional(&mut stream, &mut server).await?;
            return Ok(());
        }
    }
    stream.shutdown().await?;
    Ok(())
}

/// Waits until nobody wants answers to this path kept back any more.
async fn wait_for_leave(shown: &Mutex<Shown>, path: &str) {
    let is_kept = |first: bool| {
        let kept_back = &mut shown.lock().unwrap_or_else(PoisonError::into_inner).kept_back;
        let is_kept = kept_back.path.as_deref().is_some_and(|begin| path.starts_with(begin));
        kept_back.count += u64::from(first && is_kept);
        is_kept
    };
    let mut first = true;
    while is_kept(first) {
        first = false;
        tokio::time::sleep(LOOK).await;
    }
}
