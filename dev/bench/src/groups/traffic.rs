//! What a change costs in bytes and work over the size of a room: keys from a host beside keys from an MLS group.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use openmls_rust_crypto::OpenMlsRustCrypto;
use undertone_groups::{Change, GroupId, KeyPackage, Suite};
use undertone_keys::{CallId, RoomId};
use undertone_protocol::delivery::{GroupNews, GroupRequest, Tree, TreePatch};
use undertone_protocol::signal::{ToDevice, ToServer};

use super::ours::Ours;
use super::plot::{Curve, Panel, picture};
use super::roster::Roster;
use super::tree::{Made, Member, Populated};
use crate::keys::traffic::{Cause, Change as Letters, changes, kib};

/// The suite of the same curve as the letters of a host.
const SUITE: Suite = Suite::P256;
/// A host hands keys to so many at most here: the checks of papers in virtual time grow with the square.
const HOST_MOST: usize = 200;

/// What one change costs whom: bytes on the signalling connection both ways, and time.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: u64,
    work: Duration,
}

/// What changes cost in a room of one size.
#[derive(Clone, Copy, Debug)]
struct Costs {
    size: usize,
    /// One leaves: whoever makes the change, and a member.
    maker: Cost,
    member: Cost,
    /// One comes: whoever that is.
    newcomer: Cost,
}

/// Measures both, prints a table in Markdown; the picture goes to `plot`.
pub(super) async fn tell(sizes: &[usize], plot: Option<&PathBuf>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut sizes: Vec<usize> = sizes.iter().copied().filter(|size| *size >= 3).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let hosted: Vec<usize> = sizes.iter().copied().filter(|size| *size <= HOST_MOST).collect();
    println!("a host's rooms ...");
    let host = hosts(&changes(&hosted).await?);
    let roster = Roster::new(sizes.last().context("three at least")? + 1)?;
    let mut mls = Vec::new();
    for size in sizes {
        println!("an MLS group of {size} ...");
        mls.push(grouped(&roster, size)?);
    }
    println!("\n| in the room | keys from | who makes a leave's key | work | a member | work | who comes | work |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (name, costs) in
        host.iter().map(|costs| ("the host", costs)).chain(mls.iter().map(|costs| ("the group", costs)))
    {
        let cell = |cost: Cost| format!("{:.2} KiB | {:.2} ms", kib(cost.bytes), ms(cost.work));
        let Costs { size, maker, member, newcomer } = *costs;
        println!("| {size} | {name} | {} | {} | {} |", cell(maker), cell(member), cell(newcomer));
    }
    println!("\n{:.1} s", began.elapsed().as_secs_f64());
    if let Some(path) = plot {
        std::fs::write(path, draw(&host, &mls))?;
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The same of rooms with a host, as their letters were counted.
fn hosts(changes: &[Letters]) -> Vec<Costs> {
    let of = |size: usize, cause: Cause| changes.iter().find(|change| change.size == size && change.cause == cause);
    let cost = |traffic: crate::keys::world::Traffic| Cost {
        bytes: traffic.sent.bytes + traffic.received.bytes,
        work: traffic.work,
    };
    let mut sizes: Vec<usize> = changes.iter().map(|change| change.size).collect();
    sizes.dedup();
    let costs = |size: usize| {
        let (leave, join) = (of(size, Cause::Leave)?, of(size, Cause::Join)?);
        Some(Costs { size, maker: cost(leave.host), member: cost(leave.member), newcomer: cost(join.other) })
    };
    sizes.into_iter().filter_map(costs).collect()
}

/// What somebody says to the server to bring a commit that lets nobody in.
fn said(made: &Made, before: &[u8]) -> anyhow::Result<u64> {
    let tree = TreePatch::between(&Tree::decode(before)?, &Tree::decode(&made.public.tree)?);
    let (commit, info) = (made.commit.clone(), made.public.info.clone());
    let request = GroupRequest::Commit { epoch: 1_000, commit, welcomes: Vec::new(), info, tree };
    let (room, call) = (RoomId::from_bytes([1; 16]), CallId::from_bytes([1; 16]));
    Ok(u64::try_from(ToServer::Group { room, call, number: 1, request }.encode().len())?)
}

/// What somebody is told by the server.
fn told(news: GroupNews) -> anyhow::Result<u64> {
    Ok(u64::try_from(ToDevice::Group { call: CallId::from_bytes([1; 16]), news }.encode().len())?)
}

/// A group in a populated tree: one leaves, and another comes.
fn grouped(roster: &Roster, size: usize) -> anyhow::Result<Costs> {
    let id = GroupId::from_bytes([3; 16]);
    let mut group = Populated::new(roster, (SUITE, id), size, &|| Ok(OpenMlsRustCrypto::default()))?;
    // The second leaf goes, whom nobody here has to ask any more; the last commits, and the first follows.
    let gone = 1;
    group.members.retain(|(place, _)| *place != gone);
    let mut ours: Vec<&mut Ours> = group
        .members
        .iter_mut()
        .filter_map(|(_, member)| match member {
            Member::Ours(ours) => Some(ours),
            Member::Raw(_) => None,
        })
        .collect();
    let [member, maker] = ours.as_mut_slice() else { anyhow::bail!("two of ours are wanted") };
    // The first commits find everything cold.
    let mut before = group.public.tree.clone();
    for _ in 0..3 {
        let (made, _) = maker.commit(roster, Change::update())?;
        maker.accepted()?;
        member.follow(roster, &made.commit)?;
        before = made.public.tree;
    }
    let (made, work) = maker.commit(roster, Change { remove: vec![u32::try_from(gone)?], ..Change::default() })?;
    let work = work + maker.accepted()?;
    let accepted = told(GroupNews::Accepted { number: 1, epoch: 1_001 })?;
    let maker_cost = Cost { bytes: said(&made, &before)? + accepted, work };
    let work = member.follow(roster, &made.commit)?;
    let news = GroupNews::Commit { epoch: 1_000, commit: made.commit.clone().into() };
    let member_cost = Cost { bytes: told(news)?, work };

    let mut newcomer = Ours::outside(id, group.terms);
    let package = newcomer.wait(roster.person(size)?)?;
    let published = KeyPackage::take_out(&package)?.1.len();
    let add = vec![maker.package(&package)?];
    let (made, _) = maker.commit(roster, Change { add, ..Change::default() })?;
    let welcome = made.welcome.clone().context("no Welcome")?;
    let work = newcomer.welcomed(roster, &welcome, &made.public.tree)?;
    let news = GroupNews::Welcome { epoch: 1_001, welcome: welcome.into() };
    let bytes = told(news)? + u64::try_from(made.public.tree.len() + published)?;
    Ok(Costs { size, maker: maker_cost, member: member_cost, newcomer: Cost { bytes, work } })
}

fn draw(host: &[Costs], mls: &[Costs]) -> String {
    let curve = |class, name: &str, costs: &[Costs], pick: &dyn Fn(&Costs) -> f64| Curve {
        class,
        name: name.into(),
        points: costs
            .iter()
            .map(|costs| (f64::from(u32::try_from(costs.size).unwrap_or(u32::MAX)), pick(costs)))
            .collect(),
    };
    let panel = |title, unit, pick: fn(Cost) -> f64| Panel {
        title,
        across: "members of the room",
        unit,
        curves: vec![
            curve("host", "host, one leaves", host, &|costs| pick(costs.maker)),
            curve("host others", "a member, one leaves", host, &|costs| pick(costs.member)),
            curve("host comes", "who comes", host, &|costs| pick(costs.newcomer)),
            curve("mls", "MLS, one leaves", mls, &|costs| pick(costs.maker)),
            curve("mls others", "a member, one leaves", mls, &|costs| pick(costs.member)),
            curve("mls comes", "who comes", mls, &|costs| pick(costs.newcomer)),
        ],
        marks: mls.iter().map(|costs| f64::from(u32::try_from(costs.size).unwrap_or(u32::MAX))).collect(),
        decades: true,
    };
    picture(
        "What a change of key costs, with a host and with an MLS group, by members of the room",
        &[
            panel("Bytes of a change, sent and received: keys from a host, and from an MLS group", "KiB", |cost| {
                kib(cost.bytes)
            }),
            panel("Work of a change", "ms", |cost| ms(cost.work)),
        ],
    )
}
