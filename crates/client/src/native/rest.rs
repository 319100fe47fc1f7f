//! One JSON request over one TLS connection.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use undertone_keys::AccessToken;
use undertone_protocol::limits::{CONSENT_WAIT, MAX_ACCESS_JSON, MAX_JSON, MAX_PROOF, MAX_TREE};
use undertone_protocol::rest::{Problem, code};

use super::error::ClientError;

const PATIENCE: Duration = Duration::from_secs(20);
/// For what a server waits for itself, up to [`CONSENT_WAIT`].
const MORE_PATIENCE: Duration = Duration::from_secs(CONSENT_WAIT.as_secs() + 20);

/// `GET path`.
pub(crate) async fn get<T: DeserializeOwned>(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: Option<&AccessToken>,
) -> Result<T, ClientError> {
    let body = exchange(stream, server, (Method::GET, path), token, Bytes::new(), MAX_JSON).await?;
    serde_json::from_slice(&body).map_err(|_| ClientError::BadAnswer(server.to_owned()))
}

/// `GET path` for an answer as large as a room's access list.
pub(crate) async fn get_list<T: DeserializeOwned>(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: &AccessToken,
) -> Result<T, ClientError> {
    let body = exchange(stream, server, (Method::GET, path), Some(token), Bytes::new(), MAX_ACCESS_JSON).await?;
    serde_json::from_slice(&body).map_err(|_| ClientError::BadAnswer(server.to_owned()))
}

/// `GET path` for an answer as large as what a key directory proves.
pub(crate) async fn get_proof<T: DeserializeOwned>(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: &AccessToken,
) -> Result<T, ClientError> {
    let body = exchange(stream, server, (Method::GET, path), Some(token), Bytes::new(), MAX_PROOF).await?;
    serde_json::from_slice(&body).map_err(|_| ClientError::BadAnswer(server.to_owned()))
}

/// `GET path` of what everybody may read, for bytes.
pub(crate) async fn get_bytes(stream: TlsStream<TcpStream>, server: &str, path: &str) -> Result<Bytes, ClientError> {
    exchange(stream, server, (Method::GET, path), None, Bytes::new(), MAX_JSON).await
}

/// `GET path` of a ratchet tree.
pub(crate) async fn get_tree(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: &AccessToken,
) -> Result<Vec<u8>, ClientError> {
    let body = exchange(stream, server, (Method::GET, path), Some(token), Bytes::new(), MAX_TREE).await?;
    Ok(body.to_vec())
}

/// `POST path` with a JSON body, for a JSON answer.
pub(crate) async fn post<T: DeserializeOwned>(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: Option<&AccessToken>,
    body: &impl Serialize,
) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).map_err(|_| ClientError::BadAnswer(server.to_owned()))?;
    let answer = exchange(stream, server, (Method::POST, path), token, body.into(), MAX_JSON).await?;
    serde_json::from_slice(&answer).map_err(|_| ClientError::BadAnswer(server.to_owned()))
}

/// `POST path` with a JSON body, for a JSON answer that the server may take its time for.
pub(crate) async fn post_patiently<T: DeserializeOwned>(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    body: &impl Serialize,
) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).map_err(|_| ClientError::BadAnswer(server.to_owned()))?;
    let (what, limits) = ((Method::POST, path), (MAX_JSON, MORE_PATIENCE));
    let answer = exchange_within(stream, server, what, None, body.into(), limits).await?;
    serde_json::from_slice(&answer).map_err(|_| ClientError::BadAnswer(server.to_owned()))
}

/// `POST path` with a JSON body, for no answer.
pub(crate) async fn post_for_nothing<'t>(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: impl Into<Option<&'t AccessToken>>,
    body: &impl Serialize,
) -> Result<(), ClientError> {
    let body = serde_json::to_vec(body).map_err(|_| ClientError::BadAnswer(server.to_owned()))?;
    exchange(stream, server, (Method::POST, path), token.into(), body.into(), MAX_JSON).await.map(|_| ())
}

/// `POST path` without a body, for no answer.
pub(crate) async fn post_empty(
    stream: TlsStream<TcpStream>,
    server: &str,
    path: &str,
    token: &AccessToken,
) -> Result<(), ClientError> {
    exchange(stream, server, (Method::POST, path), Some(token), Bytes::new(), MAX_JSON).await.map(|_| ())
}

async fn exchange(
    stream: TlsStream<TcpStream>,
    server: &str,
    (method, path): (Method, &str),
    token: Option<&AccessToken>,
    body: Bytes,
    most: usize,
) -> Result<Bytes, ClientError> {
    exchange_within(stream, server, (method, path), token, body, (most, PATIENCE)).await
}

/// Boxed: an HTTP client is compiled here once, and not in everything that waits for an answer.
fn exchange_within<'a>(
    stream: TlsStream<TcpStream>,
    server: &'a str,
    what: (Method, &'a str),
    token: Option<&'a AccessToken>,
    body: Bytes,
    limits: (usize, Duration),
) -> Pin<Box<dyn Future<Output = Result<Bytes, ClientError>> + Send + 'a>> {
    Box::pin(carry_out(stream, server, what, token, body, limits))
}

async fn carry_out(
    stream: TlsStream<TcpStream>,
    server: &str,
    (method, path): (Method, &str),
    token: Option<&AccessToken>,
    body: Bytes,
    (most, patience): (usize, Duration),
) -> Result<Bytes, ClientError> {
    let bad = || ClientError::BadAnswer(server.to_owned());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, server)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close");
    if let Some(token) = token {
        let mut bearer = header::HeaderValue::try_from(format!("Bearer {}", token.to_text())).map_err(|_| bad())?;
        bearer.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, bearer);
    }
    let request = request.body(Full::new(body)).map_err(|_| bad())?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), most).collect().await.map(|body| body.to_bytes());
            Ok::<_, hyper::Error>((status, body))
        };
        // The connection is polled beside the request and dropped with it.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    };
    let late = || ClientError::Unreachable {
        server: server.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"),
    };
    let lost = |error: hyper::Error| ClientError::Unreachable {
        server: server.to_owned(),
        source: std::io::Error::other(error),
    };
    let (status, body) = timeout(patience, exchange).await.map_err(|_| late())?.map_err(lost)?;
    let body = body.map_err(|_| bad())?;
    if status.is_success() {
        return Ok(body);
    }
    let problem: Problem = match serde_json::from_slice(&body) {
        Ok(problem) => problem,
        // Whatever stands in front of a server that is away or busy says so in words of its own.
        Err(_) if is_for_now(status) => {
            Problem { code: code::UNAVAILABLE.into(), message: format!("the server cannot answer now ({status})") }
        }
        Err(_) => return Err(bad()),
    };
    Err(match problem.code.as_str() {
        code::WRONG_CREDENTIALS => ClientError::WrongCredentials,
        // What a server says goes to a terminal: words, no control sequences.
        _ => ClientError::Refused {
            code: problem.code,
            message: problem.message.chars().filter(|c| !c.is_control()).take(500).collect(),
        },
    })
}

/// Whether a status says that it may be otherwise in a while.
const fn is_for_now(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
