//! Requests to a server's log, one after the other over one connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use undertone_transparency::follow::Resource;
use undertone_transparency::note::MAX_NOTE;

use super::connector::Connector;
use super::error::ClientError;

/// How long an answer may take: 32 MiB of an audit proof over a slow line, at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before each further attempt.
const PAUSES: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(2), Duration::from_secs(10)];

/// A connection to a log, made when it is needed and again when it has ended.
pub(super) struct LogClient {
    connector: Connector,
    open: Option<Open>,
}

/// An open connection. Its task ends with it.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _task: JoinSet<()>,
}

/// Why an attempt failed, and whether another may end otherwise.
enum Failed {
    ForNow(ClientError),
    ForGood(ClientError),
}

impl LogClient {
    pub(super) const fn new(connector: Connector) -> Self {
        Self { connector, open: None }
    }

    /// The newest checkpoint.
    pub(super) async fn checkpoint(&mut self) -> Result<Bytes, ClientError> {
        self.get("/log/checkpoint", MAX_NOTE).await
    }

    /// A tile, a bundle of entries or an audit proof.
    pub(super) async fn fetch(&mut self, resource: &Resource) -> Result<Bytes, ClientError> {
        self.get(&format!("/log/{resource}"), resource.most()).await
    }

    async fn get(&mut self, path: &str, most: usize) -> Result<Bytes, ClientError> {
        let mut pauses = PAUSES.iter();
        loop {
            let result = self.attempt(path, most).await;
            if result.is_err() {
                self.open = None;
            }
            match (result, pauses.next()) {
                (Ok(bytes), _) => return Ok(bytes),
                (Err(Failed::ForNow(_)), Some(pause)) => sleep(*pause).await,
                (Err(Failed::ForNow(error) | Failed::ForGood(error)), _) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self, path: &str, most: usize) -> Result<Bytes, Failed> {
        let unreachable = |connector: &Connector, error| Failed::ForNow(connector.unreachable(error));
        let lost = |connector: &Connector, error: hyper::Error| unreachable(connector, std::io::Error::other(error));
        let bad = |connector: &Connector| Failed::ForGood(ClientError::BadAnswer(connector.address().to_owned()));
        let request = Request::get(path).header(header::HOST, self.connector.address()).body(Full::new(Bytes::new()));
        let request = request.map_err(|_| bad(&self.connector))?;
        let open = match self.open.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let connector = &self.connector;
        let sender = &mut self.open.insert(open).sender;
        let exchange = async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), most).collect().await.map(|body| body.to_bytes());
            Ok::<_, hyper::Error>((status, body))
        };
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
        let answered = timeout(PATIENCE, exchange).await.map_err(|_| unreachable(connector, late()))?;
        let (status, body) = answered.map_err(|error| lost(connector, error))?;
        if !status.is_success() {
            let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let message = format!("the log answers {path} with {status}");
            let refused = ClientError::Refused { code: status.as_str().to_owned(), message };
            return Err(if passes { Failed::ForNow(refused) } else { Failed::ForGood(refused) });
        }
        body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(broken) => lost(connector, *broken),
            // Longer than an honest answer is.
            Err(_) => bad(connector),
        })
    }

    async fn connect(&self) -> Result<Open, Failed> {
        let stream = self.connector.tcp().await.map_err(|error| match error {
            ClientError::Unreachable { .. } => Failed::ForNow(error),
            _ => Failed::ForGood(error),
        })?;
        let handshake = Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream)).await;
        let lost = |error| Failed::ForNow(self.connector.unreachable(std::io::Error::other(error)));
        let (sender, connection) = handshake.map_err(lost)?;
        let mut task = JoinSet::new();
        // What ends it is told to whoever waits for an answer on it.
        task.spawn(async move { drop(connection.await) });
        Ok(Open { sender, _task: task })
    }
}
