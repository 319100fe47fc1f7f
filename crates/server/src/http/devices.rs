//! Requests about an account's devices, one's own and others'.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tracing::info;
use undertone_keys::UserId;
use undertone_protocol::rest::{
    AwaitConsent, Bytes, ChangeDevices, Consented, Devices, Enrol, Enrolled, GiveConsent, Problem, code,
};
use undertone_protocol::signal::Reason;

use super::{Body, Desks, Refusal, authorize, bearer};
use crate::accounts::AccountError;
use crate::budget::Spending;
use crate::signal::wall_time;
use crate::store::Accounts;

/// Add a device after a login.
#[utoipa::path(post, path = "/v1/devices", request_body = Enrol,
    responses((status = 200, body = Enrolled), (status = "4XX", body = Problem)))]
pub async fn enrol<S: Accounts>(State(shared): Desks<S>, Body(body): Body<Enrol>) -> Result<Json<Enrolled>, Refusal> {
    let enrolled = to_its_end(async move { shared.desk.enrol(body, wall_time()).await }).await?;
    info!("a device was added");
    Ok(Json(enrolled))
}

/// Change the list of devices without adding one, after a login.
#[utoipa::path(post, path = "/v1/devices/change", request_body = ChangeDevices,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn change<S: Accounts>(
    State(shared): Desks<S>,
    headers: HeaderMap,
    Body(body): Body<ChangeDevices>,
) -> Result<StatusCode, Refusal> {
    let bearer = bearer(&shared, &headers).await?;
    to_its_end(async move { shared.desk.change(body, bearer.as_ref(), wall_time()).await }).await?;
    info!("an account's devices were changed");
    Ok(StatusCode::NO_CONTENT)
}

/// Goes on also where whoever asked hangs up: what is stored is acted on and published, and not left at half.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, AccountError>> + Send + 'static,
) -> Result<T, Refusal> {
    let cut_off = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, "the server goes down");
    Ok(tokio::spawn(work).await.map_err(cut_off)??)
}

/// Wait for the consent of a device that is there, after a login.
#[utoipa::path(post, path = "/v1/devices/consent", request_body = AwaitConsent,
    responses((status = 200, body = Consented), (status = "4XX", body = Problem)))]
pub async fn await_consent<S: Accounts>(
    State(shared): Desks<S>,
    Body(body): Body<AwaitConsent>,
) -> Result<Json<Consented>, Refusal> {
    // A server that goes down does not wait for it.
    let waited = shared.stop.run_until_cancelled(shared.desk.await_consent(body)).await;
    Ok(Json(waited.unwrap_or(Ok(Consented { consent: None }))?))
}

/// Let a new device of the own account in.
#[utoipa::path(post, path = "/v1/consents", request_body = GiveConsent,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn give_consent<S: Accounts>(
    State(shared): Desks<S>,
    headers: HeaderMap,
    Body(body): Body<GiveConsent>,
) -> Result<StatusCode, Refusal> {
    let token = authorize(&shared, &headers).await?;
    if !shared.board.allow(&token.user, Spending::Lookup) {
        return Err(Refusal::too_many());
    }
    shared.desk.give_consent(&token, body).await?;
    info!("a device let another one into its account");
    Ok(StatusCode::NO_CONTENT)
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
pub async fn devices<S: Accounts>(
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
pub async fn logout<S: Accounts>(State(shared): Desks<S>, headers: HeaderMap) -> Result<StatusCode, Refusal> {
    let token = authorize(&shared, &headers).await?;
    shared.desk.store().revoke(token.device).await?;
    shared.board.close(token.device, Reason::Revoked);
    Ok(StatusCode::NO_CONTENT)
}
