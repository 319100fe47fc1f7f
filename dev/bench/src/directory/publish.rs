//! What a change costs: from the wish to its being durable, signed and shown.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use akd::storage::memory::AsyncInMemoryDatabase;
use undertone_server::directory::Directory;
use undertone_testkit::Folder;

use super::ours;
use super::peer::Akd;
use super::people::{Change, changes};
use crate::table::Table;

/// Changes of an epoch, how often, and the most it should take in times of akd in memory.
const SIZES: &[(usize, usize, f64)] = &[(1, 60, 2.5), (100, 7, 3.0)];

/// Changes of every size, one after the other: users nobody has met, and second versions of those that there are.
struct Rounds<'a> {
    /// The next new user.
    new: u32,
    /// Those there are.
    old: std::slice::Iter<'a, u32>,
}

impl Rounds<'_> {
    fn new_users(&mut self, count: usize) -> anyhow::Result<Vec<Change>> {
        let from = self.new;
        self.new = from.saturating_add(u32::try_from(count)?);
        changes(from..self.new, 1)
    }

    fn second_versions(&mut self, count: usize) -> anyhow::Result<Vec<Change>> {
        changes(self.old.by_ref().copied().take(count), 2)
    }
}

/// Each of them on both, in turns: what else the machine does meets both.
pub(super) async fn beside(
    table: &mut Table,
    directory: &Directory,
    akd: &Akd<AsyncInMemoryDatabase>,
    users: u32,
    proven: &[u32],
) -> anyhow::Result<()> {
    let synced = sync()?;
    table.fact("disk: 4 KiB and an fsync", format!("{synced:.3} ms"), "");
    let mut rounds = Rounds { new: users, old: proven.iter() };
    for &(count, repeats, aim) in SIZES {
        for second in [false, true] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..repeats {
                let due = if second { rounds.second_versions(count)? } else { rounds.new_users(count)? };
                theirs.push(akd.publish(&due).await?);
                ours.push(ours::publish(directory, &due).await?);
            }
            table.ratio(&what(count, second), ms(ours), ms(theirs), "ms", "akd in memory", Some(aim));
        }
    }
    Ok(())
}

/// The same without a peer.
pub(super) async fn alone(table: &mut Table, directory: &Directory, users: u32, proven: &[u32]) -> anyhow::Result<()> {
    let mut rounds = Rounds { new: users, old: proven.iter() };
    for &(count, repeats, _) in SIZES {
        for second in [false, true] {
            let mut ours = Vec::new();
            for _ in 0..repeats {
                let due = if second { rounds.second_versions(count)? } else { rounds.new_users(count)? };
                ours.push(ours::publish(directory, &due).await?);
            }
            table.fact(&what(count, second), format!("{:.2} ms", ms(ours)), &format!("{users} users, no peer"));
        }
    }
    Ok(())
}

fn what(count: usize, second: bool) -> String {
    let kind = if second { "second versions" } else { "new" };
    format!("directory: publish {count}, {kind}")
}

/// The one in the middle, in milliseconds.
fn ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// What bringing a page to this disk takes.
fn sync() -> anyhow::Result<f64> {
    let folder = Folder::new("bench-disk")?;
    let mut file = File::create(folder.join("page"))?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(ms(times))
}
