//! What a day of coming and going makes of a tree: the bytes of each commit, where those who come give themselves new keys early and
//! where nobody does.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use undertone_groups::Suite;

use super::day::{Day, Why};
use super::plot::{Curve, Panel, picture};
use super::replay::replay;
use super::roster::Roster;

/// Who is in, and who may be.
const SIZE: usize = 50;
const PEOPLE: usize = 120;
/// From somebody's going to somebody else's coming, and the other way round, on average: each stays for five hours.
const PAUSE: Duration = Duration::from_secs(180);
const HOURS: u64 = 24;

/// Plays the day, prints a table in Markdown; the picture goes to `plot`.
pub(super) fn tell(plot: Option<&PathBuf>) -> anyhow::Result<()> {
    let (suite, roster) = (Suite::P256, Roster::new(PEOPLE)?);
    let mut day = Day::new(&roster, suite)?;
    day.live(SIZE, PAUSE, Duration::from_secs(3_600 * HOURS))?;
    let (inside, together) = day.together();
    ensure!(inside == together, "{together} of {inside} are in one epoch in the end");
    let log = std::mem::take(&mut day.log);
    let alone = replay(&roster, suite, &log, 0)?;

    let hour = |at: undertone_keys::Time| at.as_millis() / 3_600_000;
    let mut rows = Vec::new();
    println!(
        "\n| hour | commits for a change | bytes each | early updates | bytes each | openmls alone, the same changes: bytes each |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for this in 0..HOURS {
        let of = |early: bool| {
            let entries = log.iter().zip(&alone).filter(|(entry, _)| hour(entry.at) == this);
            entries.filter(move |(entry, _)| (entry.why == Why::Early) == early).collect::<Vec<_>>()
        };
        let (changes, early) = (of(false), of(true));
        let ours = mean(changes.iter().map(|(entry, _)| entry.bytes));
        let early_bytes = mean(early.iter().map(|(entry, _)| entry.bytes));
        let raw = mean(changes.iter().filter_map(|(_, raw)| **raw));
        println!("| {} | {} | {ours:.0} | {} | {early_bytes:.0} | {raw:.0} |", this + 1, changes.len(), early.len());
        rows.push((f64::from(u32::try_from(this + 1)?), ours, early_bytes, raw));
    }
    let total =
        |why: &dyn Fn(Why) -> bool| log.iter().filter(|entry| why(entry.why)).map(|entry| entry.bytes).sum::<usize>();
    let (changes, early) = (total(&|why| why != Why::Early), total(&|why| why == Why::Early));
    let raw: usize = alone.iter().flatten().sum();
    println!(
        "\n{} commits, {} of them early: a member is sent {:.1} KiB in the day, {:.1} of that early; by openmls alone {:.1} KiB",
        log.len(),
        log.iter().filter(|entry| entry.why == Why::Early).count(),
        kib(changes + early),
        kib(early),
        kib(raw)
    );
    let last = log.iter().zip(&alone).rfind(|(entry, _)| entry.why != Why::Early).context("nothing happened")?;
    println!("the last change: {} bytes, by openmls alone {}", last.0.bytes, last.1.unwrap_or_default());
    if let Some(path) = plot {
        let curve = |class, name: &str, pick: fn(&(f64, f64, f64, f64)) -> f64| Curve {
            class,
            name: name.into(),
            points: rows.iter().map(|row| (row.0, pick(row) / 1024.0)).collect(),
        };
        let curves = vec![
            curve("mls", "who comes updates early", |row| row.1),
            curve("mls others", "these updates", |row| row.2),
            curve("alone", "openmls alone, nobody does", |row| row.3),
        ];
        let marks = (0..=8).map(|step| f64::from(step) * 3.0).collect();
        let title = "Bytes of a commit over a day, fifty in the call, each for five hours";
        let panel = Panel { title, across: "hour", unit: "KiB", curves, marks, decades: false };
        std::fs::write(path, picture(title, &[panel]))?;
    }
    Ok(())
}

fn mean(values: impl Iterator<Item = usize>) -> f64 {
    let (sum, count) = values.fold((0, 0), |(sum, count), value| (sum + value, count + 1));
    kib(sum) * 1024.0 / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a day's commits")]
fn kib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small day: all come together, who comes updates early, and openmls alone makes the same changes.
    #[test]
    fn a_day_is_played_and_replayed() {
        let (suite, roster) = (Suite::X25519, Roster::new(8).unwrap());
        let mut day = Day::new(&roster, suite).unwrap();
        day.live(5, Duration::from_secs(120), Duration::from_secs(3_600)).unwrap();
        // Whoever follows the last who left may come after the day is over.
        let (inside, together) = day.together();
        assert!(together == inside && inside >= 4, "{together} of {inside}");
        let early = day.log.iter().filter(|entry| entry.why == Why::Early).count();
        let came: usize = day.log.iter().map(|entry| entry.added.len()).sum();
        let went: usize = day.log.iter().map(|entry| entry.removed.len()).sum();
        assert!(early > 3 && came > 10 && went > 6, "{early} {came} {went}");
        let alone = replay(&roster, suite, &day.log, 0).unwrap();
        assert_eq!(alone.iter().flatten().count(), day.log.len() - early);
    }
}
