//! The key directory beside `akd` as it comes, in memory and on SQLite, and beside one bare VRF verification.
//!
//! All of them hold the same users in the same run. Look-ups are made and encoded on one thread, for users in an order that
//! has nothing to do with where they are stored.

mod akd_sqlite;
mod lookups;
mod ours;
mod peer;
mod people;
mod proofs;
mod publish;

use std::time::Duration;

use undertone_testkit::Folder;

use crate::table::Table;
use lookups::{Rate, labels};
use ours::{Bytes, Ours, VRF};
use peer::Akd;
use people::{changes, scattered};

/// Users, where nothing else is said.
pub(crate) const USERS: u32 = 100_000;

/// The server's VRF proofs are waited for so long; those that it has then are looked up.
const PROVING: Duration = Duration::from_secs(15);
/// The same for a larger directory: nearly four minutes of a fast core for a million users.
const PROVING_MORE: Duration = Duration::from_secs(1_200);
/// Starts; the one in the middle counts.
const RESTARTS: usize = 5;
/// Of bulk loads, in times of akd's in memory.
const AIM_BULK: f64 = 1.3;
/// Milliseconds from the start to the first answer.
const AIM_RESTART: f64 = 10.0;
/// Seconds until a million users are in memory.
const AIM_SNAPSHOT: f64 = 2.0;
/// Bytes on the disk for each user, with the VRF proofs made ahead.
const AIM_DISK: f64 = 650.0;

pub(crate) fn measure(table: &mut Table, users: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let few = users.clamp(1_000, USERS);
        let warm = beside_peers(table, few).await?;
        if users > few {
            println!("key directory: {users} users ...");
            alone(table, users, few, warm).await
        } else {
            table.left_out("directory: 1,000,000 users", "ten minutes and more: --users 1000000");
            Ok(())
        }
    })
}

/// Everything, beside everybody.
async fn beside_peers(table: &mut Table, users: u32) -> anyhow::Result<Rate> {
    let everybody = changes(0..users, 1)?;
    let folder = Folder::new("bench-akd")?;
    let (memory, sqlite) = (Akd::in_memory().await?, Akd::on_sqlite(&folder.join("akd.db")).await?);
    let (in_memory, on_sqlite) = (memory.publish(&everybody).await?, sqlite.publish(&everybody).await?);
    let ours = Ours::new()?;
    let directory = ours.open(false).await?;
    let loaded = ours::publish(&directory, &everybody).await?;
    drop(everybody);
    let what = format!("directory: bulk load of {users}");
    let epochs = directory.shown().epoch() - 1;
    let peer = format!("akd in memory in 1 epoch, ours in {epochs}, durable");
    table.ratio(&what, loaded.as_secs_f64(), in_memory.as_secs_f64(), "s", &peer, Some(AIM_BULK));
    table.fact("akd on SQLite: the same", format!("{:.2} s", on_sqlite.as_secs_f64()), "1 epoch, durable");

    let shipped = lookups::peer(table, &sqlite, users).await?;
    drop((sqlite, folder));
    let cold = lookups::cold(&directory, users)?;
    table.rate(
        "directory: look-ups, VRF cold",
        cold.each_second,
        shipped,
        "/s",
        lookups::PEER,
        Some(lookups::AIM_COLD),
    );
    directory.stop().await;
    drop(directory);

    restart(table, &ours, users, PROVING).await?;
    let directory = ours.open(false).await?;
    ours::in_memory(&directory).await;
    let proven = ours.proven(scattered(users))?;
    let labels = labels(proven.iter().copied().take(lookups::MOST))?;
    let warm = lookups::rate(&directory, &labels)?;
    let against = format!("{}; of {} users", lookups::PEER, proven.len());
    table.rate("directory: look-ups, VRF warm", warm.each_second, shipped, "/s", &against, Some(lookups::AIM_WARM));
    publish::beside(table, &directory, &memory, users, &proven).await?;
    drop(memory);
    proofs::measure(table, &directory, users, &proven).await?;
    directory.stop().await;
    drop(directory);
    let directory = ours.open_without_memory().await?;
    let stored = lookups::rate(&directory, labels.get(..lookups::SOME).unwrap_or(&labels))?;
    let against = "the tree read from the database for every proof";
    table.fact("directory: the same, 0 bytes for the tree", format!("{:.0} /s", stored.each_second), against);
    directory.stop().await;
    Ok(warm)
}

/// A larger directory, beside the smaller one.
async fn alone(table: &mut Table, users: u32, few: u32, warm: Rate) -> anyhow::Result<()> {
    let ours = Ours::new()?;
    let directory = ours.open(false).await?;
    let loaded = ours::publish(&directory, &changes(0..users, 1)?).await?;
    table.fact(&format!("directory: bulk load of {users}"), format!("{:.1} s", loaded.as_secs_f64()), "no peer");
    directory.stop().await;
    drop(directory);
    restart(table, &ours, users, PROVING_MORE).await?;
    let directory = ours.open(false).await?;
    ours::in_memory(&directory).await;
    let proven = ours.proven(scattered(users))?;
    let rate = lookups::rate(&directory, &labels(proven.iter().copied().take(lookups::MOST))?)?;
    let what = format!("directory: look-ups, VRF warm, {users} users");
    let against = format!("{few} users; of {} users", proven.len());
    table.rate(&what, rate.each_second, warm.each_second, "/s", &against, Some(lookups::AIM_MORE));
    publish::alone(table, &directory, users, &proven).await?;
    directory.stop().await;
    Ok(())
}

/// A start with the file as it is, and what the server does after it until it has nothing to do.
async fn restart(table: &mut Table, ours: &Ours, users: u32, patience: Duration) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(RESTARTS);
    for _ in 0..RESTARTS {
        let (directory, first, loaded) = ours.restart().await?;
        directory.stop().await;
        times.push((first, loaded));
    }
    times.sort_unstable();
    let (first, loaded) = times.get(RESTARTS / 2).copied().unwrap_or_default();
    let first = first.as_secs_f64() * 1e3;
    let what = format!("directory: from the start to the first answer, {users} users");
    table.limit(&what, first, "ms", "file in the system's cache", AIM_RESTART);
    let million = loaded.as_secs_f64() / f64::from(users) * 1e6;
    let against = format!("{:.3} s for {users} users", loaded.as_secs_f64());
    table.limit("directory: until 1,000,000 users are in memory", million, "s", &against, AIM_SNAPSHOT);
    let directory = ours.open(true).await?;
    let took = ours.prove(patience).await?;
    directory.stop().await;
    drop(directory);
    let Bytes { tables, proven } = ours.bytes()?;
    let (mut all, mut parts) = (0.0, Vec::new());
    for (name, bytes) in tables {
        let each = bytes / if name == VRF { proven.max(1.0) } else { f64::from(users) };
        all += each;
        if each >= 1.0 {
            parts.push(format!("{name} {each:.0}"));
        }
    }
    let against = format!("{}; {proven:.0} VRF proofs made in {:.1} s", parts.join(", "), took.as_secs_f64());
    table.limit(&format!("directory: on the disk for each of {users} users"), all, "bytes", &against, AIM_DISK);
    Ok(())
}
