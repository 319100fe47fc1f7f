//! REST and the way to the WebSocket. The OpenAPI description is served at `/v1/openapi.json`.
#![allow(missing_debug_implementations, unreachable_pub, reason = "utoipa's generated types")]

mod history;
pub mod log;
mod rooms;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use undertone_keys::device_list::ClaimedList;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, VerifyingKey};
use undertone_keys::{AccessToken, UserId};
use undertone_protocol::rest::{
    Bytes, Devices, Enrol, Enrolled, LoggedIn, LoginChallenge, LoginFinish, LoginStart, Problem, RegisterChallenge,
    RegisterFinish, RegisterStart, ServerInfo, code,
};
use undertone_protocol::signal::Reason;
use undertone_protocol::{VERSION, limits};
use utoipa::OpenApi;

use crate::accounts::{AccountError, Desk};
use crate::budget::Spending;
use crate::listener::Place;
use crate::rooms::{RoomDesk, RoomError};
use crate::signal::{self, Session, wall_time};
use crate::store::{Accounts, Rooms, Token};
use crate::switchboard::Switchboard;

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(20);

/// What the handlers share.
#[derive(Debug)]
pub struct Shared<S> {
    /// Accounts.
    pub desk: Desk<S>,
    /// Rooms.
    pub rooms: RoomDesk<S>,
    /// Connected devices.
    pub board: Arc<Switchboard>,
    /// The server's signed statement.
    pub statement: Vec<u8>,
    /// True when the server goes down.
    pub stop: CancellationToken,
}

/// The description of this interface.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Undertone", description = "Accounts, device lists and rooms. Calls run over WebSocket and QUIC."),
    paths(
        server_info,
        register_start,
        register_finish,
        login_start,
        login_finish,
        enrol,
        devices,
        history::history,
        logout,
        rooms::list,
        rooms::above,
        rooms::take,
        rooms::enter,
        log::checkpoint,
        log::tile,
        log::audit,
        log::consistency,
        log::cosign
    )
)]
pub struct Description;

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| Description::openapi().to_pretty_json().unwrap_or_default());

/// All routes. Unknown ones, and known ones asked in another way, are refused like everything else: with a [`Problem`].
pub fn router<S: Accounts + Rooms + Clone>(shared: Arc<Shared<S>>) -> Router {
    let log = log::router(shared.desk.directory().clone());
    Router::new()
        .route("/v1/server", get(server_info::<S>))
        .route("/v1/register/start", post(register_start::<S>))
        .route("/v1/register/finish", post(register_finish::<S>))
        .route("/v1/login/start", post(login_start::<S>))
        .route("/v1/login/finish", post(login_finish::<S>))
        .route("/v1/devices", post(enrol::<S>))
        .route("/v1/users/{user}/devices", get(devices::<S>))
        .route("/v1/account/history", get(history::history::<S>))
        .route("/v1/logout", post(logout::<S>))
        .route("/v1/rooms", get(rooms::list::<S>))
        .route("/v1/rooms/{room}/access", get(rooms::above::<S>).post(rooms::take::<S>))
        .route("/v1/rooms/{room}/enter", post(rooms::enter::<S>))
        .route("/v1/signal", get(open_signal::<S>))
        .route("/v1/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION.as_str())))
        .merge(log)
        .route("/health", get(async || "ok\n"))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, code::BAD_REQUEST, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, code::BAD_REQUEST, "this is asked for in another way")
        })
        .layer(DefaultBodyLimit::max(limits::MAX_JSON))
        .with_state(shared)
}

/// A refused request.
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn too_many() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY, "too many requests of this account: slow down")
    }

    fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code::UNAUTHORIZED, "this device is not logged in: run `undertone login`")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(Problem { code: self.code.into(), message: self.message })).into_response()
    }
}

impl From<AccountError> for Refusal {
    fn from(refused: AccountError) -> Self {
        let (status, code) = match &refused {
            AccountError::Malformed(_) => (StatusCode::BAD_REQUEST, code::BAD_REQUEST),
            AccountError::NameTaken => (StatusCode::CONFLICT, code::NAME_TAKEN),
            AccountError::OtherDomain(_) => (StatusCode::BAD_REQUEST, code::OTHER_DOMAIN),
            AccountError::Invite => (StatusCode::FORBIDDEN, code::INVITE),
            AccountError::WrongCredentials => (StatusCode::UNAUTHORIZED, code::WRONG_CREDENTIALS),
            AccountError::ExchangeOver => (StatusCode::GONE, code::EXCHANGE_OVER),
            AccountError::BadList => (StatusCode::CONFLICT, code::BAD_LIST),
            AccountError::TooMany => (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY),
            AccountError::Directory(source) | AccountError::DirectoryFull(source) => {
                error!(%source, "the key directory failed");
                (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE)
            }
            AccountError::Store(source) | AccountError::Full(source) => {
                error!(%source, "the store failed");
                (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE)
            }
        };
        Self::new(status, code, refused.to_string())
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        AccountError::from(error).into()
    }
}

impl From<RoomError> for Refusal {
    fn from(refused: RoomError) -> Self {
        let (status, code) = match &refused {
            RoomError::Unknown => (StatusCode::NOT_FOUND, code::UNKNOWN_ROOM),
            RoomError::Access(_) => (StatusCode::CONFLICT, code::BAD_ACCESS),
            RoomError::Protection => (StatusCode::FORBIDDEN, code::PROTECTION),
            RoomError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY),
            RoomError::Store(source) | RoomError::Full(source) => {
                error!(%source, "the store failed");
                (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE)
            }
        };
        Self::new(status, code, refused.to_string())
    }
}

/// A JSON body whose refusal is a [`Problem`].
pub struct Body<T>(T);

impl<S: Send + Sync, T> FromRequest<S> for Body<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let read = tokio::time::timeout(BODY, Json::from_request(request, state)).await;
        let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, code::BAD_REQUEST, "the body took too long");
        let Json(body) = read.map_err(late)?.map_err(|rejection: JsonRejection| {
            Refusal::new(rejection.status(), code::BAD_REQUEST, rejection.body_text())
        })?;
        Ok(Self(body))
    }
}

type Desks<S> = State<Arc<Shared<S>>>;
type Peer = Extension<SocketAddr>;

/// What the server says of itself.
#[utoipa::path(get, path = "/v1/server", responses((status = 200, body = ServerInfo)))]
async fn server_info<S: Accounts>(State(shared): Desks<S>) -> Json<ServerInfo> {
    let statement = Bytes(shared.statement.clone());
    Json(ServerInfo { statement, version: VERSION, open_registration: shared.desk.is_open() })
}

/// Begin a registration.
#[utoipa::path(post, path = "/v1/register/start", request_body = RegisterStart,
    responses((status = 200, body = RegisterChallenge), (status = "4XX", body = Problem)))]
async fn register_start<S: Accounts>(
    State(shared): Desks<S>,
    Extension(peer): Peer,
    Body(body): Body<RegisterStart>,
) -> Result<Json<RegisterChallenge>, Refusal> {
    Ok(Json(shared.desk.register_start(body, peer.ip()).await?))
}

/// Complete a registration.
#[utoipa::path(post, path = "/v1/register/finish", request_body = RegisterFinish,
    responses((status = 200, body = Enrolled), (status = "4XX", body = Problem)))]
async fn register_finish<S: Accounts>(
    State(shared): Desks<S>,
    Body(body): Body<RegisterFinish>,
) -> Result<Json<Enrolled>, Refusal> {
    let enrolled = shared.desk.register_finish(body, wall_time()).await?;
    info!("an account was made");
    Ok(Json(enrolled))
}

/// Begin a login.
#[utoipa::path(post, path = "/v1/login/start", request_body = LoginStart,
    responses((status = 200, body = LoginChallenge), (status = "4XX", body = Problem)))]
async fn login_start<S: Accounts>(
    State(shared): Desks<S>,
    Extension(peer): Peer,
    Body(body): Body<LoginStart>,
) -> Result<Json<LoginChallenge>, Refusal> {
    Ok(Json(shared.desk.login_start(body, peer.ip()).await?))
}

/// Complete a login.
#[utoipa::path(post, path = "/v1/login/finish", request_body = LoginFinish,
    responses((status = 200, body = LoggedIn), (status = "4XX", body = Problem)))]
async fn login_finish<S: Accounts>(
    State(shared): Desks<S>,
    Body(body): Body<LoginFinish>,
) -> Result<Json<LoggedIn>, Refusal> {
    Ok(Json(shared.desk.login_finish(body).await?))
}

/// Add a device after a login.
#[utoipa::path(post, path = "/v1/devices", request_body = Enrol,
    responses((status = 200, body = Enrolled), (status = "4XX", body = Problem)))]
async fn enrol<S: Accounts>(State(shared): Desks<S>, Body(body): Body<Enrol>) -> Result<Json<Enrolled>, Refusal> {
    let enrolled = shared.desk.enrol(body, wall_time()).await?;
    info!("a device was added");
    Ok(Json(enrolled))
}

/// What somebody who asks for a user's devices knows already.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    seen: u64,
    known: u32,
}

/// A user's signed device lists, as the key directory proves them, or that there is no such user.
#[utoipa::path(get, path = "/v1/users/{user}/devices",
    params(("user" = String, Path),
        ("seen" = Option<u64>, Query, description = "leaves of the log seen so far: the answer shows that it only grew"),
        ("known" = Option<u32>, Query, description = "the newest version known: the lists behind it come with the answer")),
    responses((status = 200, body = Devices), (status = "4XX", body = Problem)))]
async fn devices<S: Accounts>(
    State(shared): Desks<S>,
    Path(user): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Json<Devices>, Refusal> {
    let token = authorize(&shared, &headers).await?;
    if !shared.board.allow(&token.user, Spending::Lookup) {
        return Err(Refusal::too_many());
    }
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::UNKNOWN_USER, "that is no name of this server's");
    let user: UserId = user.parse().map_err(|_| unknown())?;
    if user.domain() != shared.desk.domain() {
        return Err(unknown());
    }
    let answer = shared.desk.prove(&user, asked.seen, asked.known).await?;
    Ok(Json(Devices { answer: Bytes(answer.to_bytes()) }))
}

/// End this device's access.
#[utoipa::path(post, path = "/v1/logout", responses((status = 204), (status = "4XX", body = Problem)))]
async fn logout<S: Accounts>(State(shared): Desks<S>, headers: HeaderMap) -> Result<StatusCode, Refusal> {
    let token = authorize(&shared, &headers).await?;
    shared.desk.store().revoke(token.device).await?;
    shared.board.close(token.device, Reason::Revoked);
    Ok(StatusCode::NO_CONTENT)
}

/// The device's WebSocket.
async fn open_signal<S: Accounts + Clone>(
    State(shared): Desks<S>,
    Extension(place): Extension<Arc<Place>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let token = authorize(&shared, &headers).await?;
    if !shared.board.allow(&token.user, Spending::Connection) {
        return Err(Refusal::too_many());
    }
    let identity = identity(&shared, &token).await?;
    let (bearer, you) = (token.hash, Address { user: token.user, device: token.device });
    let session =
        Session { bearer, store: shared.desk.store().clone(), board: shared.board.clone(), stop: shared.stop.clone() };
    let upgrade = upgrade.max_message_size(limits::MAX_SIGNAL).max_frame_size(limits::MAX_SIGNAL);
    Ok(upgrade.on_upgrade(async move |socket| {
        signal::serve(session, socket, you, identity).await;
        // The connection counts for its address until here.
        drop(place);
    }))
}

/// The device's identity key. It goes into grants, so it must be the one of the account's newest list.
async fn identity<S: Accounts>(shared: &Shared<S>, token: &Token) -> Result<VerifyingKey<Device>, Refusal> {
    let list = shared.desk.store().list(&token.user).await?.ok_or_else(Refusal::unauthorized)?;
    let list = ClaimedList::from_bytes(&list.list).and_then(|claimed| claimed.verify(&token.user));
    let list = list.map_err(|_| Refusal::from(crate::store::StoreError::Damaged))?;
    Ok(list.device(token.device).ok_or_else(Refusal::unauthorized)?.identity)
}

async fn authorize<S: Accounts>(shared: &Shared<S>, headers: &HeaderMap) -> Result<Token, Refusal> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).and_then(AccessToken::parse);
    let token = token.ok_or_else(Refusal::unauthorized)?;
    shared.desk.store().token(&token.hash()).await?.ok_or_else(Refusal::unauthorized)
}
