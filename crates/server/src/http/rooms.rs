//! Requests about rooms.

use std::time::Instant;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tracing::warn;
use undertone_keys::RoomId;
use undertone_keys::envelope::Address;
use undertone_protocol::rest::{AccessVersions, Entered, NewAccess, Problem, Rooms as RoomsShown, TurnAway};

use super::{Body, Desks, Refusal, Shared, authorize, identity};
use crate::budget::Spending;
use crate::rooms::RoomError;
use crate::signal::wall_time;
use crate::store::{Accounts, Rooms, Token};

/// From which version on.
#[derive(Debug, Deserialize)]
pub struct Above {
    #[serde(default)]
    above: u32,
}

pub(super) async fn allowed<S: Accounts>(shared: &Shared<S>, headers: &HeaderMap) -> Result<Token, Refusal> {
    let token = authorize(shared, headers).await?;
    if shared.board.allow(&token.user, Spending::Room) { Ok(token) } else { Err(Refusal::too_many()) }
}

pub(super) fn id(room: &str) -> Result<RoomId, Refusal> {
    RoomId::parse(room).ok_or_else(|| RoomError::Unknown.into())
}

/// The rooms that one may come into.
#[utoipa::path(get, path = "/v1/rooms", responses((status = 200, body = RoomsShown), (status = "4XX", body = Problem)))]
pub async fn list<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    headers: HeaderMap,
) -> Result<Json<RoomsShown>, Refusal> {
    let token = allowed(&shared, &headers).await?;
    Ok(Json(RoomsShown { rooms: shared.rooms.list(&token.user).await? }))
}

/// Versions of a room's access list.
#[utoipa::path(get, path = "/v1/rooms/{room}/access",
    params(("room" = String, Path), ("above" = u32, Query, description = "the newest version known")),
    responses((status = 200, body = AccessVersions), (status = "4XX", body = Problem)))]
pub async fn above<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    Query(Above { above }): Query<Above>,
    headers: HeaderMap,
) -> Result<Json<AccessVersions>, Refusal> {
    let token = allowed(&shared, &headers).await?;
    Ok(Json(shared.rooms.above(&token.user, id(&room)?, above).await?))
}

/// Make a room, or change who may come in.
#[utoipa::path(post, path = "/v1/rooms/{room}/access", params(("room" = String, Path)), request_body = NewAccess,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn take<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    headers: HeaderMap,
    Body(NewAccess { access }): Body<NewAccess>,
) -> Result<StatusCode, Refusal> {
    let token = allowed(&shared, &headers).await?;
    let identity = identity(&shared, &token).await?;
    let you = Address { user: token.user, device: token.device };
    shared.rooms.take(&shared.board, id(&room)?, &you, &identity, &access.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A grant for a room.
#[utoipa::path(post, path = "/v1/rooms/{room}/enter", params(("room" = String, Path)),
    responses((status = 200, body = Entered), (status = "4XX", body = Problem)))]
pub async fn enter<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Entered>, Refusal> {
    let token = allowed(&shared, &headers).await?;
    let identity = identity(&shared, &token).await?;
    let you = Address { user: token.user, device: token.device };
    Ok(Json(shared.rooms.enter(&shared.board, id(&room)?, &you, identity, wall_time()).await?))
}

/// Ask to be let into a room. The answer is the same where there is no such room, and comes before anybody looks whether there is.
#[utoipa::path(post, path = "/v1/rooms/{room}/knock", params(("room" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn knock<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let (token, room) = (allowed(&shared, &headers).await?, id(&room)?);
    let heard = shared.rooms.hear_knock(room, &token.user, Instant::now())?;
    tokio::spawn(async move {
        if let Err(error) = shared.rooms.pass_on(&shared.board, room, &token.user, heard).await {
            warn!(%error, "a knock was not passed on");
        }
    });
    Ok(StatusCode::NO_CONTENT)
}

/// Do not let somebody in who asks. For moderators.
#[utoipa::path(post, path = "/v1/rooms/{room}/turn-away", params(("room" = String, Path)), request_body = TurnAway,
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn turn_away<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    headers: HeaderMap,
    Body(TurnAway { user }): Body<TurnAway>,
) -> Result<StatusCode, Refusal> {
    let token = allowed(&shared, &headers).await?;
    shared.rooms.turn_away(&shared.board, id(&room)?, &token.user, &user.0, Instant::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Close a room that one made before one began anew.
#[utoipa::path(post, path = "/v1/rooms/{room}/close", params(("room" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub async fn close<S: Accounts + Rooms>(
    State(shared): Desks<S>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let token = allowed(&shared, &headers).await?;
    shared.rooms.close(&shared.board, id(&room)?, &token.user).await?;
    Ok(StatusCode::NO_CONTENT)
}
