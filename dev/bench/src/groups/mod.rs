//! MLS groups: what a commit costs those who make it and those who follow, beside openmls alone in the same tree; how long one takes to
//! the last of all sockets of a group; what all of it takes in bytes and memory.
//!
//! ```text
//! roster.rs    people, each with a device         hasty.rs   the crowd's backend
//! ours.rs      a member behind our wall           raw.rs     a member by openmls alone
//! tree.rs      a group in a populated tree: both kinds in it
//! processing.rs                                   commits, made and followed
//! shelf.rs     a server's data folder with these groups and their people's accounts
//! line.rs      all of a group's devices on their sockets
//! delivery.rs                                     commits to the last of them
//! ```

mod delivery;
mod hasty;
mod line;
mod ours;
mod processing;
mod raw;
mod roster;
mod shelf;
mod tree;

use openmls_libcrux_crypto::Provider as Libcrux;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider;
use undertone_groups::{GroupId, Suite, limits};

use self::roster::Roster;
use self::shelf::Shelved;
use self::tree::Populated;
use crate::house::House;
use crate::table::Table;

/// With X-Wing the crowd's joins take too long beyond.
const XWING_MOST: usize = 200;

/// The suite whose commits are delivered: of the two of RFC 9420 the one with the longer ones.
const DELIVERED: Suite = Suite::P256;

/// Groups of these sizes.
pub(crate) fn measure(table: &mut Table, sizes: &[usize]) -> anyhow::Result<()> {
    let mut sizes: Vec<usize> = sizes.iter().copied().filter(|size| (2..=limits::MEMBERS).contains(size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let roster = Roster::new(sizes.last().copied().unwrap_or(2) + 4)?;
    let mut shelved = Vec::new();
    for suite in Suite::ALL {
        for (number, &size) in (1..).zip(&sizes) {
            println!("groups: {size} members, {} ...", suite.as_str());
            let mut group = Wanted { table, roster: &roster, suite, size, number };
            let found = match suite {
                Suite::P256 | Suite::X25519 => group.measure(&|| Ok(OpenMlsRustCrypto::default()))?,
                Suite::XWing if size > XWING_MOST => {
                    table.left_out(&format!("groups, x-wing, {size}"), "its crowd alone would take minutes");
                    continue;
                }
                Suite::XWing => group.measure(&|| Libcrux::new().map_err(raw::failed("libcrux")))?,
            };
            if suite == DELIVERED {
                shelved.push(found);
            }
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
    /// The group as a server would find it, and how many milliseconds a member takes to follow a commit.
    fn measure<P: OpenMlsProvider + Send + Sync>(
        &mut self,
        new: &impl Fn() -> anyhow::Result<P>,
    ) -> anyhow::Result<(Shelved, f64)> {
        let id = GroupId::from_bytes([self.number; 16]);
        let mut group = Populated::new(self.roster, (self.suite, id), self.size, new)?;
        let mut shelved = Shelved::new(&group);
        let processed = processing::measure(self.table, self.roster, &mut group)?;
        shelved.updates = processed.updates;
        Ok((shelved, processed.follow))
    }
}

/// Commits of all of these, through a server.
fn deliver(table: &mut Table, roster: &Roster, groups: &[(Shelved, f64)]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        println!("groups: a server and {} accounts ...", roster.people.len());
        let mut tokens = Vec::new();
        let house = House::furnished("groups", async |data| {
            let groups: Vec<&Shelved> = groups.iter().map(|(group, _)| group).collect();
            tokens = shelf::fill(data, roster, &groups).await?;
            Ok(())
        });
        let house = house.await?;
        for (group, follow) in groups {
            println!("groups: {} sockets ...", group.size);
            delivery::measure(table, &house, &tokens, group, *follow).await?;
        }
        Ok(())
    })
}
