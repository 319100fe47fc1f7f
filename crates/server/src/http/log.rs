//! The key directory's log for everybody: mirrors, auditors, witnesses (C2SP tlog-tiles). No account is needed, and
//! nothing here tells a name: tiles hold hashes, entries roots, audit proofs places and commitments.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tracing::{debug, error};
use undertone_protocol::rest::{Problem, code};
use undertone_transparency::log::TilePath;
use undertone_transparency::note::{MAX_NAME, NoteSignature};

use super::{BODY, Refusal};
use crate::directory::{Directory, DirectoryError};

/// Requests about the log that are answered at the same time: half of those that may read the directory, so that
/// whoever copies the log takes no look-up's place.
const TURNS: usize = 4;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// Lines of cosignatures in one request at most.
const MAX_LINES: usize = 4;
/// Bytes of a request with cosignatures at most: the longest name, and 72 bytes and an id in base64, for each line.
const MAX_COSIGNATURES: usize = MAX_LINES * (MAX_NAME + 128);

/// What is the same for ever. A partial tile too is: a larger one has another path.
const FOREVER: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "application/octet-stream"),
    (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
];
/// What is the same for ever, and asked for a short while only.
const FOR_NOW: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "public, max-age=600")];
/// What the next epoch replaces.
const NEVER: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];

/// The log, and who may read it at the same time.
#[derive(Debug)]
pub struct LogDesk {
    directory: Directory,
    turns: Semaphore,
}

type Desk = State<Arc<LogDesk>>;

/// The routes below `/log`, to be merged into a router with any state.
pub fn router<T: Clone + Send + Sync + 'static>(directory: Directory) -> Router<T> {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .route("/log/audit/{epoch}", get(audit))
        .route("/log/consistency/{from}/{to}", get(consistency))
        .route("/log/cosignature", post(cosign))
        .with_state(Arc::new(LogDesk { directory, turns: Semaphore::new(TURNS) }))
}

impl LogDesk {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let busy = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, "the log is busy: try again");
        timeout(TURN, self.turns.acquire()).await.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

impl From<DirectoryError> for Refusal {
    fn from(source: DirectoryError) -> Self {
        error!(%source, "the key directory failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, "the key directory cannot answer now")
    }
}

fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, code::BAD_REQUEST, "the log has nothing there")
}

/// The newest checkpoint of the log: a C2SP note with the log's signature and the cosignatures there are.
#[utoipa::path(get, path = "/log/checkpoint",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "5XX", body = Problem)))]
pub async fn checkpoint(State(desk): Desk) -> Result<Response, Refusal> {
    let _turn = desk.turn().await?;
    let checkpoint = desk.directory.checkpoint().await?;
    Ok((NEVER, checkpoint.to_bytes()).into_response())
}

/// A tile of the log, or a bundle of its entries.
#[utoipa::path(get, path = "/log/tile/{path}",
    params(("path" = String, Path, description = "level or `entries`, index and width as C2SP tlog-tiles has them: \
        `0/x001/x234/067.p/5`")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub async fn tile(State(desk): Desk, Path(path): Path<String>) -> Result<Response, Refusal> {
    let path: TilePath = format!("tile/{path}").parse().map_err(|_| nothing())?;
    let tile = match path {
        TilePath::Tile(tile) => tile,
        TilePath::Entries(bundle) => bundle.tile(),
    };
    let _turn = desk.turn().await?;
    let bytes = desk.directory.tile(path).await?.ok_or_else(nothing)?;
    Ok((if tile.is_full() { FOREVER } else { FOR_NOW }, bytes).into_response())
}

/// The proof that the log of `to` leaves grew from that of `from` (RFC 6962, 2.1.2): 32 bytes for each hash.
#[utoipa::path(get, path = "/log/consistency/{from}/{to}",
    params(("from" = u64, Path), ("to" = u64, Path, description = "no more than the newest checkpoint has")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub async fn consistency(State(desk): Desk, Path((from, to)): Path<(u64, u64)>) -> Result<Response, Refusal> {
    let _turn = desk.turn().await?;
    let proof = desk.directory.consistency(from, to).await?.ok_or_else(nothing)?;
    Ok((FOREVER, proof.concat()).into_response())
}

/// The proof that an epoch of the directory only added to the one before: deterministic CBOR.
#[utoipa::path(get, path = "/log/audit/{epoch}", params(("epoch" = u64, Path, description = "the first is 1")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub async fn audit(State(desk): Desk, Path(epoch): Path<String>) -> Result<Response, Refusal> {
    let number: u64 = epoch.parse().map_err(|_| nothing())?;
    let _turn = desk.turn().await?;
    let bytes = desk.directory.audit(number).await?.ok_or_else(nothing)?;
    Ok((FOREVER, bytes).into_response())
}

/// For which checkpoint a cosignature is.
#[derive(Debug, Deserialize)]
pub struct At {
    size: u64,
}

/// Take a witness's cosignature.
#[utoipa::path(post, path = "/log/cosignature",
    params(("size" = u64, Query, description = "leaves of the checkpoint that is cosigned")),
    request_body(content = String, content_type = "text/plain", description = "C2SP note signature lines"),
    responses((status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem)))]
pub async fn cosign(State(desk): Desk, Query(At { size }): Query<At>, request: Request) -> Result<StatusCode, Refusal> {
    let bad = |message| Refusal::new(StatusCode::BAD_REQUEST, code::BAD_REQUEST, message);
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, code::BAD_REQUEST, "the body took too long");
    let body = timeout(BODY, to_bytes(request.into_body(), MAX_COSIGNATURES)).await.map_err(late)?;
    let too_large = |_| {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::BAD_REQUEST, "these are more lines than are taken at once")
    };
    let body = body.map_err(too_large)?;
    let lines = core::str::from_utf8(&body).ok().and_then(|text| NoteSignature::parse_lines(text).ok());
    let lines = lines.filter(|lines| lines.len() <= MAX_LINES);
    let lines = lines.ok_or_else(|| bad("these are no signature lines of a C2SP note, each with its newline"))?;
    let _turn = desk.turn().await?;
    for line in lines {
        let name = line.name.clone();
        if !desk.directory.cosign(size, line).await? {
            debug!(%name, size, "a cosignature was refused");
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                code::BAD_REQUEST,
                "no cosignature of this checkpoint by a witness of this log, or an older one than the log has",
            ));
        }
        debug!(%name, size, "a witness cosigned");
    }
    Ok(StatusCode::NO_CONTENT)
}
