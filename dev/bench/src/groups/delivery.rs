//! How long a commit takes to the last of all who follow its group, through a server that is a process of its own.

use std::time::Duration;

use anyhow::Context as _;
use undertone_client::native::measure::Times;
use undertone_keys::AccessToken;
use undertone_protocol::delivery::{GroupRequest, TreePatch};

use super::line::Lines;
use super::shelf::Shelved;
use crate::house::House;
use crate::table::Table;

/// Between two commits: a server takes two a second of an account.
const PAUSE: Duration = Duration::from_millis(300);

/// Until everybody who is in has followed a commit, as if each had a machine of its own: milliseconds for so many.
const AIMS: [(usize, f64); 2] = [(200, 1_000.0), (1_000, 3_000.0)];

/// All of a group's updates, and what the last of its devices waits for, in milliseconds; `follow` is what a member takes to follow
/// one.
pub(super) async fn measure(
    table: &mut Table,
    house: &House,
    tokens: &[AccessToken],
    group: &Shelved,
    follow: f64,
) -> anyhow::Result<f64> {
    let name = format!("groups, {}, {}", group.suite.as_str(), group.size);
    let first = group.updates.first().context("no update")?.epoch;
    let tokens = tokens.get(..group.size).context("too few accounts")?;
    let mut lines = Lines::connect(house.server.address, tokens, (group.room, group.call), first).await?;
    tokio::time::sleep(2 * PAUSE).await;
    let (trees, mut delivered) = (group.trees()?, Vec::new());
    let (mut cpu, mut upload) = (0, 0);
    for (update, trees) in group.updates.iter().zip(trees.array_windows()) {
        let [before, after] = trees;
        let (made, epoch) = (&update.made, update.epoch);
        let (commit, info) = (made.commit.clone(), made.public.info.clone());
        let tree = TreePatch::between(before, after);
        let changed: usize = tree.nodes.iter().map(|node| node.node.len()).sum();
        upload = commit.len() + info.len() + changed;
        let request = GroupRequest::Commit { epoch, commit, welcomes: Vec::new(), info, tree };
        let busy = house.server.cpu_ns()?;
        delivered.push(lines.commit(update.by, epoch, request).await?);
        cpu += house.server.cpu_ns()? - busy;
        tokio::time::sleep(PAUSE).await;
    }
    let times = |pick: fn(&super::line::Delivered) -> Duration| Times::new(delivered.iter().map(pick).collect());
    let (last, taken, earliest) = (times(|d| d.last), times(|d| d.taken), times(|d| d.first));
    let against = format!("taken after {:.1} ms, the first has it after {:.1}", taken.ms(50), earliest.ms(50));
    table.fact(&format!("{name}: a commit to the last of {} sockets", group.size - 1), last.to_string(), &against);
    let (sum, against) = (last.ms(95) + follow, format!("delivery p95, and {follow:.2} ms to follow it"));
    let what = format!("{name}: until all have followed, a machine for each");
    match AIMS.iter().find(|(size, _)| *size == group.size) {
        Some((_, aim)) => table.limit(&what, sum, "ms", &against, *aim),
        None => table.fact(&what, format!("{sum:.1} ms"), &against),
    }
    let busy = Duration::from_nanos(cpu / u64::try_from(delivered.len().max(1))?);
    let against = format!("commit, group info and changed nodes: {upload} bytes came");
    table.fact(
        &format!("{name}: the server works for a commit"),
        format!("{:.2} ms", busy.as_secs_f64() * 1_000.0),
        &against,
    );
    Ok(last.ms(50))
}
