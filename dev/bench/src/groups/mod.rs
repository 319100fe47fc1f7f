//! MLS groups: what a commit costs those who make it and those who follow, beside openmls alone in the same tree; how long one takes to
//! the last of all sockets of a group; what all of it takes in bytes and memory.
//!
//! ```text
//! roster.rs    people, each with a device         hasty.rs   the crowd's backend
//! ours.rs      a member behind our wall           raw.rs     a member by openmls alone
//! tree.rs      a group in a populated tree: both kinds in it
//! processing.rs                                   commits, made and followed
//! machine.rs   the whole of a member's machine
//! joining.rs                                      joins, and bytes
//! shelf.rs     a server's data folder with these groups and their people's accounts
//! line.rs      all of a group's devices on their sockets
//! delivery.rs                                     commits to the last of them
//! holding.rs                                      what the server holds
//! arrival.rs                                      from wanting to be in to the first frame
//!
//! traffic.rs                                      a host beside a group, by members (plot.rs draws)
//! day.rs       a day in a call, in virtual time   replay.rs  the same day by openmls alone
//! churn.rs                                        what both make of the tree
//! ```

mod arrival;
mod churn;
mod day;
mod delivery;
mod hasty;
mod holding;
mod joining;
mod line;
mod machine;
mod ours;
mod plot;
mod processing;
mod raw;
mod replay;
mod roster;
mod shelf;
mod traffic;
mod tree;

use std::path::PathBuf;

use openmls_libcrux_crypto::Provider as Libcrux;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider;
use undertone_groups::{GroupId, Suite, limits};

use self::joining::{Joined, NEWCOMERS};
use self::roster::Roster;
use self::shelf::Shelved;
use self::tree::Populated;
use crate::house::House;
use crate::table::Table;

/// The suite whose commits are delivered: of the two of RFC 9420 the one with the longer ones.
const DELIVERED: Suite = Suite::P256;

/// What a server holds of a smaller group is lost among what else it holds.
const HELD_FROM: usize = 50;

/// Groups of these sizes.
pub(crate) fn measure(table: &mut Table, sizes: &[usize]) -> anyhow::Result<()> {
    let mut sizes: Vec<usize> = sizes.iter().copied().filter(|size| (2..=limits::MEMBERS).contains(size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let roster = Roster::new(sizes.last().copied().unwrap_or(2) + NEWCOMERS)?;
    let mut shelved = Vec::new();
    for suite in Suite::ALL {
        let mut fitting: Vec<usize> = sizes.iter().map(|size| (*size).min(suite.members())).collect();
        fitting.dedup();
        for (number, &size) in (1..).zip(&fitting) {
            println!("groups: {size} members, {} ...", suite.as_str());
            let mut group = Wanted { table, roster: &roster, suite, size, number };
            let found = match suite {
                Suite::P256 | Suite::X25519 => group.measure(&|| Ok(OpenMlsRustCrypto::default()))?,
                Suite::XWing => group.measure(&|| Libcrux::new().map_err(raw::failed("libcrux")))?,
            };
            if suite == DELIVERED {
                shelved.push(found);
            }
        }
        if let Some(size) = sizes.iter().find(|size| **size > suite.members()) {
            let reason = format!("such a group has {} at most", suite.members());
            table.left_out(&format!("groups, {}, {size} and more", suite.as_str()), &reason);
        }
    }
    deliver(table, &roster, &shelved)
}

/// A group that is to be measured.
struct Wanted<'a> {
    table: &'a mut Table,
    roster: &'a Roster,
    suite: Suite,
    size: usize,
    number: u8,
}

impl Wanted<'_> {
    /// The group as a server would find it, and what it costs its members.
    fn measure<P: OpenMlsProvider + Send + Sync>(
        &mut self,
        new: &impl Fn() -> anyhow::Result<P>,
    ) -> anyhow::Result<Found> {
        let id = GroupId::from_bytes([self.number; 16]);
        let mut group = Populated::new(self.roster, (self.suite, id), self.size, new)?;
        let mut shelved = Shelved::new(&group);
        let mut processed = processing::measure(self.table, self.roster, &mut group)?;
        let joined = joining::measure(self.table, self.roster, &mut group, &processed, new)?;
        shelved.updates = std::mem::take(&mut processed.updates);
        Ok(Found { shelved, follow: processed.follow, joined })
    }
}

/// What is known of a group whose commits are to be delivered.
struct Found {
    shelved: Shelved,
    /// Milliseconds that a member takes to follow an update.
    follow: f64,
    joined: Joined,
}

/// Commits of all of these, through a server.
fn deliver(table: &mut Table, roster: &Roster, groups: &[Found]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        println!("groups: a server and {} accounts ...", roster.people.len());
        let copies: Vec<Vec<Shelved>> = (1_u8..)
            .zip(groups)
            .filter(|(_, found)| found.shelved.size >= HELD_FROM)
            .map(|(number, found)| (0..holding::COPIES).map(|copy| found.shelved.copy(copied(number, copy))).collect())
            .collect();
        let mut tokens = Vec::new();
        let house = House::furnished("groups", async |data| {
            let groups: Vec<&Shelved> =
                groups.iter().map(|found| &found.shelved).chain(copies.iter().flatten()).collect();
            tokens = shelf::fill(data, roster, &groups).await?;
            Ok(())
        });
        let house = house.await?;
        for copies in &copies {
            holding::measure(table, &house, &tokens, copies).await?;
        }
        for Found { shelved, follow, joined } in groups {
            println!("groups: {} sockets ...", shelved.size);
            let delivery = delivery::measure(table, &house, &tokens, shelved, *follow).await?;
            let name = format!("groups, {}, {}", shelved.suite.as_str(), shelved.size);
            arrival::sum(table, &name, shelved.size, joined, delivery);
        }
        println!("groups: joins of whole clients ...");
        arrival::whole(table, &house).await
    })
}

/// The id of a copy: no group that is delivered has it.
fn copied(number: u8, copy: u8) -> [u8; 16] {
    let mut id = [0xC0; 16];
    id.iter_mut().zip([number, copy]).for_each(|(place, byte)| *place = byte);
    id
}

/// What a change costs in rooms of these sizes, and what a day makes of a tree, as tables in Markdown; pictures go to these.
pub(crate) fn traffic(sizes: &[usize], plot: Option<&PathBuf>, churn: Option<&PathBuf>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(traffic::tell(sizes, plot))?;
    println!("a day in a call ...");
    churn::tell(churn)
}

#[cfg(test)]
mod tests;
