//! What a change of a blind room's key costs in messages and bytes, by how many are in: for the host, for everybody else, and for
//! somebody who comes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::invented::Invented;
use super::plot;
use super::world::{Count, Traffic, World};
use crate::table::Table;

/// The sizes that stand in the table of everything.
const SIZES: [usize; 4] = [2, 10, 50, 200];
/// So long after a change everything about it is said: what was not shown is sent again for six seconds.
const REST: Duration = Duration::from_secs(10);
/// A key is as old as that when it is changed for no other reason (`rotate`, crates/call/src/room/policy.rs).
const ROTATION: Duration = Duration::from_secs(300);

/// Bytes of 32 secret ones, sealed to one P-256 key and signed: what handing a key to each takes at least. An encapsulated key, the
/// secret, a tag and a signature.
const BARE: u64 = 65 + 32 + 16 + 64;

/// Why the key changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// One more comes, and there are so many.
    Join,
    /// There were so many, and one leaves.
    Leave,
    /// It is time.
    Rotation,
}

impl Cause {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Join => "one comes",
            Self::Leave => "one leaves",
            Self::Rotation => "it is time",
        }
    }
}

/// What one change cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// How many were in, with whoever came or left.
    pub(crate) size: usize,
    pub(crate) cause: Cause,
    pub(crate) host: Traffic,
    /// The dearest of those who are neither host nor the one who came or left.
    pub(crate) member: Traffic,
    /// Whoever came or left.
    pub(crate) other: Traffic,
}

/// The rows in the table of everything.
pub(super) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    let changes = changes(&SIZES).await?;
    for change in changes.iter().filter(|change| change.cause != Cause::Join || change.size > 2) {
        let Change { size, cause, host, member, .. } = *change;
        let handed = u64::try_from(size.saturating_sub(if cause == Cause::Leave { 2 } else { 1 }))?;
        let what = format!("keys, {size} in a room: {}: the host sends", cause.name());
        let peer = format!("a bare key to each of {handed}");
        if handed > 0 {
            table.ratio(&what, kib(host.sent.bytes), kib(handed * BARE), "KiB", &peer, None);
        }
        let found = format!("{} in, {} out", text(member.received), text(member.sent));
        table.fact(
            &format!("keys, {size} in a room: {}: a member", cause.name()),
            found,
            "the same for all sizes, at best",
        );
    }
    Ok(())
}

/// Everything, as a table in Markdown; the picture goes to `picture`.
pub(crate) async fn tell(sizes: &[usize], picture: Option<&PathBuf>) -> anyhow::Result<()> {
    let began = Instant::now();
    let changes = changes(sizes).await?;
    println!("\n| in the room | why | host sends | host receives | a member receives | sends | who came receives |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for Change { size, cause, host, member, other } in &changes {
        let newcomer = if *cause == Cause::Join { text(other.received) } else { String::new() };
        println!(
            "| {size} | {} | {} in {} messages | {} | {} | {} | {newcomer} |",
            cause.name(),
            text(host.sent),
            host.sent.messages,
            text(host.received),
            text(member.received),
            text(member.sent),
        );
    }
    println!("\n{:.1} s", began.elapsed().as_secs_f64());
    if let Some(path) = picture {
        std::fs::write(path, plot::picture(&changes))?;
    }
    Ok(())
}

/// Letters and their bytes, for people.
fn text(count: Count) -> String {
    format!("{} letters, {:.2} KiB", count.letters, kib(count.bytes))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a room's letters")]
pub(crate) fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// Every cause at each of these sizes. The room grows from one to the next.
pub(crate) async fn changes(sizes: &[usize]) -> anyhow::Result<Vec<Change>> {
    let mut sizes: Vec<usize> = sizes.iter().copied().filter(|size| *size >= 2).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let most = sizes.last().copied().context("a room of two at least")?;
    let mut world = World::new(Invented::new(most).await?)?;
    let (mut changes, mut inside) = (Vec::with_capacity(3 * sizes.len()), 0);
    for size in sizes {
        let last = size - 1;
        world.enter(inside..last);
        rest(&mut world)?;
        world.enter(last..size);
        changes.push(change(&mut world, size, Cause::Join, last)?);
        world.leave(last);
        changes.push(change(&mut world, size, Cause::Leave, last)?);
        world.enter(last..size);
        rest(&mut world)?;
        changes.push(rotation(&mut world, size)?);
        inside = size;
    }
    Ok(changes)
}

/// Lets everything be said, and counts from here on. The epoch that everybody is in then.
fn rest(world: &mut World) -> anyhow::Result<u32> {
    world.run(REST);
    let epoch = world.epoch().context("the room does not come to rest")?;
    world.take_traffic();
    Ok(epoch)
}

/// What came of a change that has just begun, around the `other`th.
fn change(world: &mut World, size: usize, cause: Cause, other: usize) -> anyhow::Result<Change> {
    world.run(REST);
    world.epoch().with_context(|| format!("{size} in a room, {}: not all have the new key", cause.name()))?;
    let host = world.host().context("nobody is host")?;
    let traffic = world.take_traffic();
    let of = |place: usize| traffic.get(place).copied().unwrap_or_default();
    let members = traffic.iter().take(size).enumerate().filter(|(place, _)| ![host, other].contains(place));
    let member = members.map(|(_, member)| *member).max_by_key(|member| member.sent.bytes + member.received.bytes);
    Ok(Change { size, cause, host: of(host), member: member.unwrap_or_default(), other: of(other) })
}

/// Waits until the key is changed for its age alone.
fn rotation(world: &mut World, size: usize) -> anyhow::Result<Change> {
    let before = world.epoch().context("the room is not at rest")?;
    world.run(ROTATION);
    // Nobody is left out.
    let change = change(world, size, Cause::Rotation, usize::MAX)?;
    let after = world.epoch().context("the room is not at rest")?;
    ensure!(after == before + 1, "{size} in a room: from epoch {before} to {after}, and it was time for one");
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host hands a letter to each, and each shows that it has it; nobody else's traffic grows with the room.
    #[tokio::test]
    async fn a_change_costs_the_host_a_letter_for_each_and_a_member_as_much_in_any_room() {
        let changes = changes(&[3, 6]).await.unwrap();
        let of = |size: usize, cause: Cause| *changes.iter().find(|c| c.size == size && c.cause == cause).unwrap();
        for cause in [Cause::Join, Cause::Leave, Cause::Rotation] {
            let (small, large) = (of(3, cause), of(6, cause));
            assert!(large.host.sent.letters > small.host.sent.letters, "{cause:?}");
            assert!(large.host.sent.bytes > small.host.sent.bytes, "{cause:?}");
            assert_eq!(large.member.sent.letters, small.member.sent.letters, "{cause:?}");
            assert_eq!(large.member.received.letters, small.member.received.letters, "{cause:?}");
        }
        // Five others, each of whom is handed the key and told when it is used.
        let timely = of(6, Cause::Rotation);
        assert_eq!((timely.host.sent.letters, timely.host.received.letters), (10, 5));
        assert_eq!((timely.member.received.letters, timely.member.sent.letters), (2, 1));
        // What there is for people comes from what was counted.
        let picture = plot::picture(&changes);
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    }

    #[tokio::test]
    async fn nobody_is_alone_in_a_room_whose_key_changes() {
        assert!(changes(&[0, 1]).await.is_err());
    }
}
