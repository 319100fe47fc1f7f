//! REST and the way to the WebSocket. The OpenAPI description is served at `/v1/openapi.json`.
#![allow(missing_debug_implementations, unreachable_pub, reason = "utoipa's generated types")]

mod delivery;
mod devices;
mod history;
pub mod log;
mod rooms;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use undertone_keys::AccessToken;
use undertone_keys::device_list::ClaimedList;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, VerifyingKey};
use undertone_protocol::rest::{
    Bytes, Enrolled, LoggedIn, LoginChallenge, LoginFinish, LoginStart, Problem, RecoverChallenge, RecoverFinish,
    RecoverStart, RegisterChallenge, RegisterFinish, RegisterStart, ServerInfo, code,
};
use undertone_protocol::{VERSION, limits};
use utoipa::OpenApi;

use crate::accounts::{AccountError, Asker, Desk};
use crate::budget::Spending;
use crate::delivery::{GroupDesk, PackageDesk, PackageError, TreeRefused};
use crate::listener::Place;
use crate::rooms::{RoomDesk, RoomError};
use crate::signal::{self, Session, wall_time};
use crate::store::{Accounts, Groups, KeyPackages, Rooms, Token};
use crate::switchboard::Switchboard;

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(20);

/// What the handlers share.
#[derive(Debug)]
pub struct Shared<S> {
    /// Accounts.
    pub desk: Desk<S>,
    /// Rooms.
    pub rooms: Arc<RoomDesk<S>>,
    /// The MLS groups of their calls.
    pub groups: Arc<GroupDesk<S>>,
    /// Key packages.
    pub packages: PackageDesk<S>,
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
        recover_start,
        recover_finish,
        devices::enrol,
        devices::change,
        devices::await_consent,
        devices::give_consent,
        devices::devices,
        history::history,
        devices::logout,
        rooms::list,
        rooms::above,
        rooms::take,
        rooms::enter,
        rooms::close,
        rooms::knock,
        rooms::turn_away,
        delivery::tree,
        delivery::claim,
        delivery::left,
        delivery::upload,
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
pub fn router<S: Accounts + Rooms + Groups + KeyPackages + Clone>(shared: Arc<Shared<S>>) -> Router {
    let log = log::router(shared.desk.directory().clone());
    let whole_list = DefaultBodyLimit::max(limits::MAX_ACCESS_JSON);
    Router::new()
        .route("/v1/server", get(server_info::<S>))
        .route("/v1/register/start", post(register_start::<S>))
        .route("/v1/register/finish", post(register_finish::<S>))
        .route("/v1/login/start", post(login_start::<S>))
        .route("/v1/login/finish", post(login_finish::<S>))
        .route("/v1/recover/start", post(recover_start::<S>))
        .route("/v1/recover/finish", post(recover_finish::<S>))
        .route("/v1/devices", post(devices::enrol::<S>))
        .route("/v1/devices/change", post(devices::change::<S>))
        .route("/v1/devices/consent", post(devices::await_consent::<S>))
        .route("/v1/consents", post(devices::give_consent::<S>))
        .route("/v1/users/{user}/devices", get(devices::devices::<S>))
        .route("/v1/account/history", get(history::history::<S>))
        .route("/v1/logout", post(devices::logout::<S>))
        .route("/v1/rooms", get(rooms::list::<S>))
        .route("/v1/rooms/{room}/access", get(rooms::above::<S>).post(rooms::take::<S>).layer(whole_list))
        .route("/v1/rooms/{room}/enter", post(rooms::enter::<S>))
        .route("/v1/rooms/{room}/close", post(rooms::close::<S>))
        .route("/v1/rooms/{room}/knock", post(rooms::knock::<S>))
        .route("/v1/rooms/{room}/turn-away", post(rooms::turn_away::<S>))
        .route("/v1/rooms/{room}/calls/{call}/tree", get(delivery::tree::<S>))
        .route("/v1/rooms/{room}/key-packages/claim", post(delivery::claim::<S>))
        .route("/v1/key-packages", get(delivery::left::<S>).post(delivery::upload::<S>))
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
            AccountError::Malformed(_) | AccountError::HiddenLabel => (StatusCode::BAD_REQUEST, code::BAD_REQUEST),
            AccountError::NameTaken => (StatusCode::CONFLICT, code::NAME_TAKEN),
            AccountError::OtherDomain(_) => (StatusCode::BAD_REQUEST, code::OTHER_DOMAIN),
            AccountError::Invite | AccountError::NoAnew => (StatusCode::FORBIDDEN, code::INVITE),
            AccountError::NotRecovered => (StatusCode::FORBIDDEN, code::BAD_REQUEST),
            AccountError::Announced | AccountError::TooLate => (StatusCode::CONFLICT, code::ANNOUNCED),
            AccountError::WrongCredentials | AccountError::WrongRecovery => {
                (StatusCode::UNAUTHORIZED, code::WRONG_CREDENTIALS)
            }
            AccountError::ExchangeOver => (StatusCode::GONE, code::EXCHANGE_OVER),
            AccountError::BadList => (StatusCode::CONFLICT, code::BAD_LIST),
            AccountError::TooMany => (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY),
            AccountError::TooManyChanges => (StatusCode::CONFLICT, code::TOO_MANY_CHANGES),
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
            RoomError::Rights => (StatusCode::FORBIDDEN, code::RIGHTS),
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

impl From<TreeRefused> for Refusal {
    fn from(refused: TreeRefused) -> Self {
        let (status, code) = match &refused {
            TreeRefused::Unknown => (StatusCode::NOT_FOUND, code::UNKNOWN_ROOM),
            TreeRefused::TooMany => (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY),
            TreeRefused::NoTree => (StatusCode::NOT_FOUND, code::NO_TREE),
            TreeRefused::Store(source) => {
                error!(%source, "the store failed");
                (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE)
            }
        };
        Self::new(status, code, refused.to_string())
    }
}

impl From<PackageError> for Refusal {
    fn from(refused: PackageError) -> Self {
        let (status, code) = match &refused {
            PackageError::Malformed(_) => (StatusCode::BAD_REQUEST, code::BAD_REQUEST),
            PackageError::TooMany => (StatusCode::CONFLICT, code::TOO_MANY_KEY_PACKAGES),
            PackageError::Unknown => (StatusCode::NOT_FOUND, code::UNKNOWN_ROOM),
            PackageError::Later => (StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY),
            PackageError::Store(source) => {
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
    Ok(Json(shared.desk.register_start(body, peer.ip(), wall_time()).await?))
}

/// Complete a registration.
#[utoipa::path(post, path = "/v1/register/finish", request_body = RegisterFinish,
    responses((status = 200, body = Enrolled), (status = "4XX", body = Problem)))]
async fn register_finish<S: Accounts>(
    State(shared): Desks<S>,
    Body(body): Body<RegisterFinish>,
) -> Result<Json<Enrolled>, Refusal> {
    let finish = async move { shared.desk.register_finish(body, wall_time()).await };
    let enrolled = devices::to_its_end(finish).await?;
    if enrolled.effective.is_none() {
        info!("an account was made, or began anew at once");
    }
    Ok(Json(enrolled))
}

/// Begin a login.
#[utoipa::path(post, path = "/v1/login/start", request_body = LoginStart,
    responses((status = 200, body = LoginChallenge), (status = "4XX", body = Problem)))]
async fn login_start<S: Accounts>(
    State(shared): Desks<S>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Body(body): Body<LoginStart>,
) -> Result<Json<LoginChallenge>, Refusal> {
    let asker = Asker { address: peer.ip(), token: bearer(&shared, &headers).await? };
    Ok(Json(shared.desk.login_start(body, asker).await?))
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

/// Begin a login with the recovery key.
#[utoipa::path(post, path = "/v1/recover/start", request_body = RecoverStart,
    responses((status = 200, body = RecoverChallenge), (status = "4XX", body = Problem)))]
async fn recover_start<S: Accounts>(
    State(shared): Desks<S>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Body(body): Body<RecoverStart>,
) -> Result<Json<RecoverChallenge>, Refusal> {
    let asker = Asker { address: peer.ip(), token: bearer(&shared, &headers).await? };
    Ok(Json(shared.desk.recover_start(body, asker).await?))
}

/// Complete a login with the recovery key.
#[utoipa::path(post, path = "/v1/recover/finish", request_body = RecoverFinish,
    responses((status = 200, body = LoggedIn), (status = "4XX", body = Problem)))]
async fn recover_finish<S: Accounts>(
    State(shared): Desks<S>,
    Body(body): Body<RecoverFinish>,
) -> Result<Json<LoggedIn>, Refusal> {
    let logged_in = shared.desk.recover_finish(body).await?;
    info!("a recovery key opened its account");
    Ok(Json(logged_in))
}

/// The device's WebSocket.
async fn open_signal<S: Accounts + Rooms + Groups + Clone>(
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
    let session = Session {
        bearer,
        store: shared.desk.store().clone(),
        board: shared.board.clone(),
        rooms: shared.rooms.clone(),
        groups: shared.groups.clone(),
        stop: shared.stop.clone(),
    };
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
    bearer(shared, headers).await?.ok_or_else(Refusal::unauthorized)
}

/// The device whose token came with a request, if one did that is good.
async fn bearer<S: Accounts>(shared: &Shared<S>, headers: &HeaderMap) -> Result<Option<Token>, Refusal> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).and_then(AccessToken::parse);
    match token {
        Some(token) => Ok(shared.desk.store().token(&token.hash()).await?),
        None => Ok(None),
    }
}
