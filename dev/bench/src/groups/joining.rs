//! Coming in, by a Welcome and by oneself, beside openmls alone; and what a group is in bytes.

use std::time::Duration;

use anyhow::Context as _;
use openmls_traits::OpenMlsProvider;
use undertone_groups::{Change, Group, KeyPackage, Store};

use super::ours::Ours;
use super::processing::{Both, Processed};
use super::raw::Raw;
use super::roster::Roster;
use super::tree::{Member, Populated};
use crate::memory::Held;
use crate::table::Table;

/// Joins of each kind: all of them one after the other, and nobody goes.
const JOINS: usize = 3;
/// Copies of a group that are held at once.
const COPIES: u8 = 8;
/// How many times more at most.
const ROUNDS: u32 = 30;
/// People of a roster beyond a group's own.
pub(super) const NEWCOMERS: usize = 2 * JOINS;

/// How long what belongs to a join takes, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// Whoever adds.
    pub(super) adding: f64,
    /// Whoever is welcomed.
    pub(super) welcomed: f64,
    /// Whoever comes by a commit of their own.
    pub(super) by_self: f64,
}

/// Rows of one group's joins and bytes. It is full of unmerged leaves after that.
pub(super) fn measure<P: OpenMlsProvider + Send + Sync>(
    table: &mut Table,
    roster: &Roster,
    group: &mut Populated<P>,
    processed: &Processed,
    new: &impl Fn() -> anyhow::Result<P>,
) -> anyhow::Result<Joined> {
    let (suite, size, name) = (group.suite, group.size, format!("groups, {}, {}", group.suite.as_str(), group.size));
    let mut by_self = Both::default();
    for newcomer in 0..JOINS {
        // Nobody is told of these commits: each of them comes into the same epoch.
        let (one, other) = (roster.person(size + newcomer)?, roster.person(size + JOINS + newcomer)?);
        let mut ours = Ours::outside(group.id, group.terms);
        let (_, made) = ours.join(roster, one, &group.public)?;
        by_self.add(true, made + ours.joined()?);
        let (_, _, taken) = Raw::join(new()?, suite, other, &group.public)?;
        by_self.add(false, taken);
    }
    let by_self = by_self.row(table, &format!("{name}: coming by oneself")).context("nobody came")?;

    let (mut welcomed, mut adding) = (Both::default(), Vec::new());
    let (mut welcome, mut commit) = (0, 0);
    for newcomer in 0..JOINS {
        let (mut ours, other) = (Ours::outside(group.id, group.terms), roster.person(size + JOINS + newcomer)?);
        let raw = Raw::wait(new()?, suite, other)?;
        let packages = [ours.wait(roster.person(size + newcomer)?)?, KeyPackage::put_in(suite, raw.message()?)];
        let host = group.members.iter_mut().rev().find_map(|(_, member)| match member {
            Member::Ours(ours) => Some(ours),
            Member::Raw(_) => None,
        });
        let host = host.context("nobody of ours")?;
        let add = packages.iter().map(|package| host.package(package)).collect::<anyhow::Result<_>>()?;
        let (made, taken) = host.commit(roster, Change { add, ..Change::default() })?;
        adding.push(taken);
        host.accepted()?;
        let bytes = made.welcome.as_ref().context("no Welcome")?;
        welcomed.add(true, ours.welcomed(roster, bytes, &made.public.tree)?);
        let (_, taken) = raw.join(bytes, &made.public.tree)?;
        welcomed.add(false, taken);
        (welcome, commit) = (bytes.len(), made.commit.len());
    }
    let welcomed = welcomed.row(table, &format!("{name}: being welcomed")).context("nobody came")?;
    bytes(table, &name, group, processed, (welcome, commit))?;
    let adding = adding.iter().min().map_or(f64::NAN, |taken: &Duration| taken.as_secs_f64() * 1_000.0);
    Ok(Joined { adding, welcomed, by_self })
}

fn bytes<P>(
    table: &mut Table,
    name: &str,
    group: &Populated<P>,
    processed: &Processed,
    (welcome, adding): (usize, usize),
) -> anyhow::Result<()> {
    let update = processed.updates.last().context("no update")?.made.commit.len();
    let found = format!("{update} an update, {} the longest removal, {adding} with two who come", processed.removal);
    table.fact(&format!("{name}: bytes of a commit"), found, "to each who is in");
    let (info, tree) = (group.public.info.len(), group.public.tree.len());
    let found = format!("{welcome} the Welcome of two, {info} a group info, {tree} the tree");
    let each = format!("{} of the tree for each who is in", tree / group.size.max(1));
    table.fact(&format!("{name}: bytes for who comes"), found, &each);
    let ours = group.members.iter().find_map(|(_, member)| match member {
        Member::Ours(ours) => Some(ours),
        Member::Raw(_) => None,
    });
    let (ours, size) = (ours.context("nobody of ours")?, group.size.max(1));
    let kept = ours.stored();
    let found = format!("{:.1} KiB", f64::from(u32::try_from(kept)?) / 1024.0);
    table.fact(&format!("{name}: a client keeps"), found, &format!("{} bytes for each who is in", kept / size));
    let held = in_memory(ours, f64::from(u32::try_from(kept)?) / 1024.0, ROUNDS)?;
    let each = held * 1024.0 / f64::from(u32::try_from(size)?);
    let found = format!("{held:.0} KiB");
    table.fact(&format!("{name}: a client holds in memory"), found, &format!("{each:.0} bytes for each who is in"));
    Ok(())
}

/// KiB of one group, as a client has it that is in a call: its store, and the group that is read from it. Copies are made until they do not
/// go into what the allocator has at hand any more: none takes less than `least`, what it has on the disk.
fn in_memory(ours: &Ours, least: f64, rounds: u32) -> anyhow::Result<f64> {
    let before = Held::of(std::process::id())?.private;
    let stores = (0..COPIES).map(|_| ours.begin()).collect::<anyhow::Result<Vec<Store>>>()?;
    let groups = stores.iter().map(|store| Group::open(store, ours.id)).collect::<Result<Vec<Group<'_>>, _>>()?;
    let each = (Held::of(std::process::id())?.private - before) / f64::from(COPIES);
    // Those of before are there for as long as this goes on.
    let each = if each >= least || rounds == 0 { each } else { in_memory(ours, least, rounds - 1)? };
    drop(groups);
    Ok(each)
}
