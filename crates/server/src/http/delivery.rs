//! Requests about the MLS groups of calls, and about key packages.

use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use undertone_keys::CallId;
use undertone_keys::envelope::Address;
use undertone_protocol::rest::{ClaimKeyPackages, ClaimedKeyPackages, KeyPackagesLeft, Problem, UploadKeyPackages};

use super::rooms::{allowed, id};
use super::{Body, Desks, Refusal, authorize};
use crate::delivery::TreeRefused;
use crate::signal::wall_time;
use crate::store::{Accounts, Groups, KeyPackages, Rooms};

/// Which tree.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    epoch: Option<u64>,
}

/// The ratchet tree of a call's group, as RFC 9420 encodes it. Newcomers check it against the group info.
#[utoipa::path(get, path = "/v1/rooms/{room}/calls/{call}/tree",
    params(("room" = String, Path), ("call" = String, Path),
        ("epoch" = Option<u64>, Query, description = "the epoch of the group info at hand; the newest where it is left out")),
    responses((status = 200, body = [u8], content_type = "application/octet-stream"), (status = "4XX", body = Problem)))]
pub async fn tree<S: Accounts + Rooms + Groups>(
    State(shared): Desks<S>,
    Path((room, call)): Path<(String, String)>,
    Query(Asked { epoch }): Query<Asked>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let token = authorize(&shared, &headers).await?;
    let call = CallId::parse(&call).ok_or(TreeRefused::Unknown)?;
    let tree = shared.groups.tree(&token.user, (id(&room)?, call), epoch).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], tree))
}

/// A key package of each of some devices whose users are on the room's list.
#[utoipa::path(post, path = "/v1/rooms/{room}/key-packages/claim", params(("room" = String, Path)),
    request_body = ClaimKeyPackages, responses((status = 200, body = ClaimedKeyPackages), (status = "4XX", body = Problem)))]
pub async fn claim<S: Accounts + Rooms + KeyPackages>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    headers: HeaderMap,
    Body(body): Body<ClaimKeyPackages>,
) -> Result<Json<ClaimedKeyPackages>, Refusal> {
    let (token, room) = (allowed(&shared, &headers).await?, id(&room)?);
    let you = Address { user: token.user, device: token.device };
    Ok(Json(shared.packages.claim(&you, room, body, (Instant::now(), wall_time())).await?))
}

/// How many key packages of this device are left.
#[utoipa::path(get, path = "/v1/key-packages",
    responses((status = 200, body = KeyPackagesLeft), (status = "4XX", body = Problem)))]
pub async fn left<S: Accounts + Rooms + KeyPackages>(
    State(shared): Desks<S>,
    headers: HeaderMap,
) -> Result<Json<KeyPackagesLeft>, Refusal> {
    let token = allowed(&shared, &headers).await?;
    Ok(Json(shared.packages.left(&token, wall_time()).await?))
}

/// More key packages of this device. The same may be sent again: none is kept, or handed out, twice.
#[utoipa::path(post, path = "/v1/key-packages", request_body = UploadKeyPackages,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn upload<S: Accounts + Rooms + KeyPackages>(
    State(shared): Desks<S>,
    headers: HeaderMap,
    Body(body): Body<UploadKeyPackages>,
) -> Result<StatusCode, Refusal> {
    let token = allowed(&shared, &headers).await?;
    shared.packages.upload(&token, body, wall_time()).await?;
    Ok(StatusCode::NO_CONTENT)
}
