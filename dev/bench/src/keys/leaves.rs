//! Somebody leaves: how long until everybody else seals under a key that the one who left has not got, and whether anybody
//! loses a frame by it.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use undertone_client::native::measure::Times;

use super::crowd::{Crowd, speakers};
use super::letter::Letter;
use super::member::Order;
use super::notes::{Frames, alone};
use crate::house::House;
use crate::process::own_cpu_ns;
use crate::table::Table;

/// Milliseconds until everybody who is left seals under the new key.
const AIM: f64 = 1_000.0;
/// A removal's epoch is sealed under so long after it came, on purpose (`apply_removed_ms`, crates/call/src/room/policy.rs).
const WAITED: Duration = Duration::from_millis(250);
/// What is looked at around each change: from just before it until everybody has long been done.
const BEFORE: Duration = Duration::from_millis(100);
const AFTER: Duration = Duration::from_millis(1_400);
/// So long after a frame was due nobody plays it any more: what is kept is kept for 200 ms, and rings through two queues.
const LATE: Duration = Duration::from_millis(400);
/// Leaves for each time that the same is looked at without one.
const FOR_EACH_CALM: usize = 5;
/// Leaves of the host itself.
const OF_HOSTS: usize = 5;
/// Leaves after each other before those who left come back, as a part of the room: it keeps its size to a twentieth.
const SHARE: usize = 20;

/// One leave.
#[derive(Clone, Copy, Debug)]
struct Leave {
    /// From the leaving until the last of the others sealed under a newer key.
    took: Duration,
    /// CPU of all members in it, beside what their sound takes.
    members: Duration,
    /// CPU of server and relay, beside what the sound takes.
    server: Duration,
    /// Around it.
    frames: Frames,
}

/// A stretch in which nothing happens but that people speak.
#[derive(Clone, Copy, Debug, Default)]
struct Calm {
    frames: Frames,
    /// CPU for each second, of the members and of the server.
    rates: (f64, f64),
}

/// Nanoseconds that members and server have had so far.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    at: Instant,
    members: u64,
    server: u64,
}

impl Cpu {
    fn now(house: &House) -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), members: own_cpu_ns()?, server: house.server.cpu_ns()? })
    }

    /// What both have had since.
    fn since(self, before: Self) -> (Duration, Duration) {
        let between = |now: u64, then: u64| Duration::from_nanos(now.saturating_sub(then));
        (between(self.members, before.members), between(self.server, before.server))
    }
}

/// Measures leaves of a room that has grown to this size and speaks.
pub(super) async fn measure(
    table: &mut Table,
    house: &House,
    crowd: &Crowd,
    letter: Letter,
    count: usize,
) -> anyhow::Result<()> {
    let size = crowd.members.len();
    let speakers = speakers(size);
    crowd.speak(speakers);
    crowd.settle().await?;
    let (mut leaves, mut calm) = (Vec::with_capacity(count), calm(house, crowd).await?);
    let mut frames = calm.frames;
    let at_once = (size / SHARE).max(1);
    while leaves.len() < count {
        for _ in 0..at_once.min(count - leaves.len()) {
            let leaver = pick(crowd, speakers, leaves.len()).context("nobody is left who could leave")?;
            leaves.push(leave(house, crowd, leaver, calm).await?);
            if leaves.len() % FOR_EACH_CALM == 0 {
                calm = self::calm(house, crowd).await?;
                frames.add(calm.frames);
            }
        }
        crowd.come_back().await?;
        crowd.speak(speakers);
    }
    report(table, size, speakers, letter, &leaves, frames)?;
    let mut hosts = Vec::with_capacity(OF_HOSTS);
    for _ in 0..OF_HOSTS.min(count) {
        // Who has just come back has no key yet, and frames of before it are none of this.
        crowd.settle().await?;
        let host = crowd.host().context("nobody is host")?;
        hosts.push(leave(house, crowd, host, calm).await?);
        crowd.come_back().await?;
        crowd.speak(speakers);
    }
    let times = Times::new(hosts.iter().map(|leave| leave.took).collect());
    let what = format!("keys, {size} in a room: the host leaves, until all seal under another's key");
    table.fact(&what, times.to_string(), &format!("{} times; it names who follows it", times.count()));
    frames_row(table, &hosts, &format!("{speakers} speak"));
    Ok(())
}

/// How many frames around these leaves nobody ever played for want of a key, and beside what: none may be.
fn frames_row(table: &mut Table, leaves: &[Leave], beside: &str) {
    let mut frames = Frames::default();
    leaves.iter().for_each(|leave| frames.add(leave.frames));
    let lost = frames.without_key();
    let found = format!("{lost} of {} ({} not sealed, {} not opened)", frames.due, frames.unsealed, frames.unopened);
    let against = format!("{beside}; lost on the path {}", frames.astray);
    table.row("the same: frames never played for want of a key", found, &against, Some(0.0), Some(lost == 0));
}

/// Who leaves next: from the end, nobody who is host, and nobody who speaks as long as there are others.
fn pick(crowd: &Crowd, speakers: usize, turn: usize) -> Option<usize> {
    let host = crowd.host();
    let mut places: Vec<usize> =
        crowd.inside().map(|member| member.place).filter(|place| Some(*place) != host).collect();
    places.sort_by_key(|place| (*place < speakers, usize::MAX - place));
    // Not the same one again and again: the others have come back behind it.
    let others = places.iter().filter(|place| **place >= speakers).count().max(1);
    places.get(turn * 7 % others).copied()
}

/// One leave and the frames around it.
async fn leave(house: &House, crowd: &Crowd, leaver: usize, calm: Calm) -> anyhow::Result<Leave> {
    let member = crowd.members.iter().find(|member| member.place == leaver).context("no such member")?;
    let known = member.notebook.lock().epoch().context("it leaves before it had a key")?;
    let before = Cpu::now(house)?;
    member.order(Order::Leave);
    let gone = || member.notebook.lock().left;
    while gone().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let left = gone().context("it has left")?;
    crowd.until("everybody has a key that whoever left has not", |notes| notes.beyond(known).is_some()).await?;
    let after = Cpu::now(house)?;
    let last = crowd.inside().filter_map(|member| member.notebook.lock().beyond(known)).max();
    let took = last.context("nobody is left")?.saturating_duration_since(left);
    tokio::time::sleep((left + AFTER + LATE).saturating_duration_since(Instant::now())).await;
    let frames = crowd.frames(left.checked_sub(BEFORE).unwrap_or(left), left + AFTER);
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let (members, server) = after.since(before);
    let beside = |all: Duration, rate: f64| all.saturating_sub(Duration::from_secs_f64(rate * seconds));
    let (members, server) = (beside(members, calm.rates.0), beside(server, calm.rates.1));
    Ok(Leave { took, members, server, frames })
}

/// As long as is looked at around a leave, with nobody leaving.
async fn calm(house: &House, crowd: &Crowd) -> anyhow::Result<Calm> {
    crowd.settle().await?;
    let before = Cpu::now(house)?;
    tokio::time::sleep(BEFORE + AFTER).await;
    let after = Cpu::now(house)?;
    tokio::time::sleep(LATE).await;
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let (members, server) = after.since(before);
    let rates = (members.as_secs_f64() / seconds, server.as_secs_f64() / seconds);
    Ok(Calm { frames: crowd.frames(before.at, after.at), rates })
}

fn report(
    table: &mut Table,
    size: usize,
    speakers: usize,
    letter: Letter,
    leaves: &[Leave],
    calm: Frames,
) -> anyhow::Result<()> {
    let members = u32::try_from(size)?;
    ensure!(!leaves.is_empty() && members > 1, "nothing was measured");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let times = Times::new(leaves.iter().map(|leave| leave.took).collect());
    let others = members - 1;
    let against = format!(
        "{} ms waited, and {others} letters sealed one after the other: {:.1} ms",
        WAITED.as_millis(),
        ms(letter.to_all(others))
    );
    let what = format!("keys, {size} in a room: one leaves, until all seal under the new key");
    table.row(&what, times.to_string(), &against, Some(AIM), Some(times.ms(95) <= AIM));
    let cpus = u32::try_from(available_parallelism().map_or(1, std::num::NonZero::get))?;
    let own = leaves.iter().map(|leave| alone(leave.took, leave.members, members, cpus, WAITED));
    let mean = |pick: fn(&Leave) -> Duration| {
        leaves.iter().map(pick).sum::<Duration>() / u32::try_from(leaves.len()).unwrap_or(u32::MAX).max(1)
    };
    let (all, server) = (mean(|leave| leave.members), mean(|leave| leave.server));
    let against = format!(
        "CPU: all members {:.1} ms, each {:.2} ms, server and relay {:.1} ms; {cpus} CPUs here",
        ms(all),
        ms(all / members),
        ms(server)
    );
    table.fact(
        "the same, less the other members' work: a machine for each",
        Times::new(own.collect()).to_string(),
        &against,
    );
    let beside = format!(
        "{speakers} speak; without a leave {} of {}, and {} lost on the path",
        calm.without_key(),
        calm.due,
        calm.astray
    );
    frames_row(table, leaves, &beside);
    Ok(())
}
