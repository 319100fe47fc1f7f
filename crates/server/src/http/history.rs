//! The history of the asking device's own account (rule KT-11).

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use undertone_protocol::rest::{AccountHistory, Bytes, Problem};

use super::{Desks, Refusal, authorize};
use crate::budget::Spending;
use crate::store::Accounts;

/// What the device knows already.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Known {
    seen: u64,
    from: u32,
}

/// Every version of the own account's device list from one on, as the key directory proves them. Nobody else's is shown.
#[utoipa::path(get, path = "/v1/account/history",
    params(("seen" = Option<u64>, Query, description = "leaves of the log seen so far: the answer shows that it only grew"),
        ("from" = Option<u32>, Query, description = "the newest version checked: the lists behind it come with the answer")),
    responses((status = 200, body = AccountHistory), (status = "4XX", body = Problem)))]
pub async fn history<S: Accounts>(
    State(shared): Desks<S>,
    Query(known): Query<Known>,
    headers: HeaderMap,
) -> Result<Json<AccountHistory>, Refusal> {
    let token = authorize(&shared, &headers).await?;
    if !shared.board.allow(&token.user, Spending::Lookup) {
        return Err(Refusal::too_many());
    }
    let answer = shared.desk.history(&token.user, known.seen, known.from).await?;
    Ok(Json(AccountHistory { answer: Bytes(answer.to_bytes()) }))
}
