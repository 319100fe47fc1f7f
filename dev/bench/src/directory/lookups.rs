//! Look-ups per second of one thread.

use std::hint::black_box;
use std::time::Instant;

use undertone_server::directory::Directory;

use super::akd_sqlite::AkdSqlite;
use super::ours::look_up;
use super::peer::Akd;
use super::people::{changes, scattered};
use crate::table::Table;

/// With what `akd` looks up.
pub(super) const PEER: &str = if cfg!(feature = "akd-as-shipped") {
    "akd as shipped, on SQLite, not encoded"
} else {
    "akd without greedy preloading, on SQLite, not encoded"
};
/// Times of the peer's rate, with the VRF proofs made ahead.
pub(super) const AIM_WARM: f64 = 30.0;
/// The same where the look-up makes them.
pub(super) const AIM_COLD: f64 = 2.0;
/// Of the smaller directory's rate.
pub(super) const AIM_MORE: f64 = 0.6;

/// Users that are looked up at most in one turn.
pub(super) const MOST: usize = 50_000;
/// Where each look-up is slow.
pub(super) const SOME: usize = 3_000;
/// The same for the peer.
const FEW: usize = 500;
/// Turns; the one in the middle counts.
const TURNS: usize = 3;

/// What looking up cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) each_second: f64,
}

/// Where these users are found.
pub(super) fn labels(users: impl IntoIterator<Item = u32>) -> anyhow::Result<Vec<Vec<u8>>> {
    Ok(changes(users, 1)?.into_iter().map(|change| change.label).collect())
}

/// The rate at which these are looked up, each of them several times.
pub(super) fn rate(directory: &Directory, labels: &[Vec<u8>]) -> anyhow::Result<Rate> {
    let mut turns = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        turns.push(turn(directory, labels)?);
    }
    Ok(Rate { each_second: middle(turns) })
}

/// The rate of first look-ups, which make VRF proofs.
pub(super) fn cold(directory: &Directory, users: u32) -> anyhow::Result<Rate> {
    // Each user once: a second look-up would find what the first one left.
    let labels = labels(scattered(users).take(SOME))?;
    let turns: Result<Vec<f64>, _> =
        labels.chunks(labels.len().div_ceil(TURNS)).map(|labels| turn(directory, labels)).collect();
    Ok(Rate { each_second: middle(turns?) })
}

fn turn(directory: &Directory, labels: &[Vec<u8>]) -> anyhow::Result<f64> {
    let started = Instant::now();
    for label in labels {
        black_box(look_up(directory, label)?);
    }
    Ok(labels.len() as f64 / started.elapsed().as_secs_f64())
}

/// The peer's rate.
pub(super) async fn peer(table: &mut Table, akd: &Akd<AkdSqlite>, users: u32) -> anyhow::Result<f64> {
    let mut turns = Vec::with_capacity(TURNS);
    let labels = labels(scattered(users).take(TURNS * FEW))?;
    for labels in labels.chunks(FEW) {
        turns.push(labels.len() as f64 / akd.lookup(labels).await?.as_secs_f64());
    }
    let each_second = middle(turns);
    table.fact("akd on SQLite: look-ups", format!("{each_second:.0} /s"), &format!("{users} users, {PEER}"));
    Ok(each_second)
}

fn middle(mut turns: Vec<f64>) -> f64 {
    turns.sort_unstable_by(f64::total_cmp);
    turns.get(turns.len() / 2).copied().unwrap_or_default()
}
