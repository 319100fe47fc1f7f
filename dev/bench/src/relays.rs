//! Relays beside each other, under the same load.

use undertone_protocol::Protection;

use crate::load::{Load, Run};
use crate::table::Table;
use crate::{limit, obvious, ours};

/// Instructions for each that the limit needs.
const AIM_INSTRUCTIONS: f64 = 2.0;
/// CPU time for each that the obvious relay needs.
const AIM_CPU: f64 = 0.7;
/// What a hop room may cost for each that a blind one does.
const AIM_HOP: f64 = 1.1;
/// How busy one speaker with all the listeners may keep a relay, in CPUs.
const AIM_BUSY: f64 = 0.5;
/// How much later the last hundredth of packets may arrive than the limit's.
const AIM_LATE: f64 = 3.0;
/// A packet in ten thousand may be lost to a machine that has something else to do: nothing else loses any.
const ALL: f64 = 0.9999;

/// Rooms in which everybody speaks.
pub(crate) fn rooms(table: &mut Table, load: &Load) -> anyhow::Result<()> {
    let runs = [
        ("limit", limit::measure(load)?),
        ("obvious", obvious::measure(load)?),
        ("blind", ours::measure(load, Protection::Blind, 1)?),
        ("hop", ours::measure(load, Protection::Hop, 1)?),
        ("blind, two threads", ours::measure(load, Protection::Blind, 2)?),
    ];
    let name = format!("{} x {}", load.rooms, load.members);
    for (relay, run) in &runs {
        describe(table, &format!("{name}, {relay}"), run);
    }
    let [(_, limit), (_, obvious), (_, blind), (_, hop), (_, two)] = &runs;
    let cpu = Run::cpu_us_per_delivery;
    let what = |relay: &str| format!("{name}, {relay}: CPU per delivery");
    table.fact(&what("limit"), format!("{:.2} us", cpu(limit)), "plain UDP, one seal each");
    table.ratio(&what("obvious"), cpu(obvious), cpu(limit), "us", "the limit", None);
    table.ratio(&what("blind"), cpu(blind), cpu(limit), "us", "the limit", None);
    table.ratio(&what("blind"), cpu(blind), cpu(obvious), "us", "the obvious relay", Some(AIM_CPU));
    table.ratio(&what("hop"), cpu(hop), cpu(blind), "us", "blind", Some(AIM_HOP));
    table.ratio(&what("blind, two threads"), cpu(two), cpu(blind), "us", "one thread", None);
    if load.instructions {
        instructions(table, &name, load)?;
    }
    Ok(())
}

/// What depends on nothing else that the machine does. Runs of their own, since counting takes time.
fn instructions(table: &mut Table, name: &str, load: &Load) -> anyhow::Result<()> {
    let what = |relay: &str| format!("{name}, {relay}: instructions per delivery");
    let limit = limit::measure(load)?;
    if let Some(Err(reason)) = &limit.instructions {
        for relay in ["blind", "hop"] {
            table.left_out(&what(relay), reason);
        }
        return Ok(());
    }
    let blind = ours::measure(load, Protection::Blind, 1)?;
    let hop = ours::measure(load, Protection::Hop, 1)?;
    let count = |run: &Run| run.instructions_per_delivery().unwrap_or(f64::NAN);
    table.ratio(&what("blind"), count(&blind), count(&limit), "", "the limit", Some(AIM_INSTRUCTIONS));
    table.ratio(&what("hop"), count(&hop), count(&blind), "", "blind", Some(AIM_HOP));
    Ok(())
}

/// One speaks, many listen.
pub(crate) fn fan(table: &mut Table, listeners: usize, seconds: u64) -> anyhow::Result<()> {
    let load = Load { rooms: 1, members: listeners + 1, speakers: 1, seconds, instructions: false };
    let limit = limit::measure(&load)?;
    let name = format!("1 to {listeners}");
    describe(table, &format!("{name}, limit"), &limit);
    for protection in [Protection::Blind, Protection::Hop] {
        let ours = ours::measure(&load, protection, 1)?;
        let relay = format!("{name}, {}", protection.as_str());
        describe(table, &relay, &ours);
        let busy = ours.cores();
        let found = format!("{busy:.2}");
        table.row(&format!("{relay}: CPUs busy"), found, "one core", Some(AIM_BUSY), Some(busy <= AIM_BUSY));
        let (p99, against) = (ms(ours.p99_us), ms(limit.p99_us));
        table.ratio(&format!("{relay}: 99 % of packets within"), p99, against, "ms", "the limit", Some(AIM_LATE));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// What stands by itself.
fn describe(table: &mut Table, relay: &str, run: &Run) {
    let share = run.delivered();
    let found = format!("{:.3} %", 100.0 * share);
    let busy = format!("of what was sent; {:.2} CPUs busy", run.cores());
    // What peers lose is no aim of ours.
    let met = (!relay.ends_with("limit") && !relay.ends_with("obvious")).then_some(share >= ALL);
    table.row(&format!("{relay}: delivered"), found, &busy, None, met);
    let found = format!("p50 {:.2} ms, p99 {:.2} ms", ms(run.p50_us), ms(run.p99_us));
    let late = format!("99 % sent within {:.2} ms of their time", ms(run.late_p99_us));
    table.fact(&format!("{relay}: speaker to listener"), found, &late);
}
