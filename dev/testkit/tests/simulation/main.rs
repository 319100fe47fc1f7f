//! Group calls in virtual time: the shipped engines of several devices, the shipped relay core and a server, on links that
//! lose, delay, repeat and reorder, break and come back; all of it from one seed.
//!
//! ```text
//! seed --> schedule (who comes, goes, crashes, is cut off, and when)
//!      --> world (devices with clocks that drift, signalling in order, media lossy)
//!      --> invariants, looked at every quarter of a second
//! ```
//! What is simulated is the network, the server's shelf of papers, and time. Everything else is what people run. A seed
//! plays the same schedule again, to the last byte.
//!
//! # What must hold (see `invariants.rs`)
//! * Two members who have been able to reach relay, server and host for a while open each other's frames.
//! * Whoever is out opens nothing that is sealed afterwards; a stranger never opens anything.
//! * Whoever is off the list opens nothing, whatever a server does for it.
//! * No nonce repeats, nobody seals under an epoch that was overtaken, and letters stay below their bound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod acts;
mod crowds;
mod device;
mod faults;
mod grouped;
mod invariants;
mod link;
mod relayed;
mod schedule;
mod served;
mod swarm;
mod world;

use invariants::Violation;
use schedule::{Counts, Schedule};
use world::World;

/// Plays a schedule.
///
/// # Errors
/// [`Violation`]: what does not hold, and when.
fn play_schedule(schedule: Schedule) -> Result<Counts, Violation> {
    let mut world = World::new(schedule);
    world.play()?;
    Ok(world.counts())
}

/// How many schedules `make test` plays with either source of keys; `make simulate` sets another number.
const SCHEDULES: u64 = 10_000;

/// How often whoever waits hears that it goes on, in schedules.
const PROGRESS: u64 = 50_000;

#[test]
fn simulate_converges() {
    simulate(Schedule::of);
}

/// The same with keys from an MLS group (rules GRP-6, RLY-6, EKR-7, MLS-4).
#[test]
fn simulate_converges_with_mls() {
    simulate(Schedule::grouped);
}

#[expect(clippy::print_stdout, reason = "whoever plays schedules wants to read how it went")]
fn simulate(of: impl Fn(u64) -> Schedule + Copy + Send + Sync) {
    let play = |seed| play_schedule(of(seed));
    let number = std::env::var("UNDERTONE_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(SCHEDULES);
    let first: u64 = std::env::var("UNDERTONE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if number == 1 {
        // One seed again, with all that happens in it.
        let mut schedule = of(first);
        schedule.loud = true;
        println!("{:?}", play_schedule(schedule).unwrap());
        return;
    }
    let began = std::time::Instant::now();
    let play_every = |offset: usize, threads: usize| {
        let (mut counts, mut failures) = (Counts::default(), Vec::new());
        for seed in (first..first + number).skip(offset).step_by(threads) {
            match play(seed) {
                Ok(of) => counts.add(&of),
                Err(violation) => {
                    println!("{violation}");
                    failures.push(violation);
                }
            }
            let played = seed - first + 1;
            if played.is_multiple_of(PROGRESS) {
                println!("{played} of {number} played, {:.0} s", began.elapsed().as_secs_f32());
            }
        }
        (counts, failures)
    };
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    // In threads of the kind that groups are computed in: from others every commit would wait to be handed over.
    let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
    for (of, failed) in pool.broadcast(|worker| play_every(worker.index(), worker.num_threads())) {
        counts.add(&of);
        failures.extend(failed);
    }
    println!("{number} schedules in {:.1} s", began.elapsed().as_secs_f32());
    for (name, count) in counts.named().into_iter().chain(counts.groups.named()) {
        println!("  {name:<18} {count}");
    }
    failures.sort_by_key(|violation| violation.seed);
    let seeds: Vec<u64> = failures.iter().map(|violation| violation.seed).collect();
    println!("seeds that failed: {seeds:?}");
    assert!(failures.is_empty(), "{} of {number} schedules failed", failures.len());
    let grouped = of(first).grouped;
    let kinds = counts.named().into_iter().filter(|(name, _)| !grouped || !schedule::OF_HOSTS.contains(name));
    let kinds: Vec<_> = kinds.chain(counts.groups.named().into_iter().filter(|_| grouped)).collect();
    assert!(kinds.iter().all(|(_, count)| *count > 0 || number < 200), "a kind never happened: {kinds:?}");
}
