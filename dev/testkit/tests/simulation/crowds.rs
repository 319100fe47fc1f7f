//! Large rooms: fifty who all speak, and a thousand (`UNDERTONE_MEMBERS`) of whom fifty do.

use super::play_schedule;
use super::schedule::Schedule;

/// Plays a schedule of that many devices; what it took, for people.
fn crowd(devices: usize, seed: u64) -> String {
    let began = std::time::Instant::now();
    let counts = play_schedule(Schedule::crowd(seed, devices)).unwrap();
    let took = began.elapsed().as_secs_f32();
    format!("{devices} members, seed {seed}: {} letters, {} probes, {took:.1} s", counts.letters, counts.probes)
}

#[test]
fn simulate_converges_with_crowds() {
    println!("{}", crowd(50, 0));
    println!("{}", crowd(50, 2));
    // A minute and more: `make simulate` asks for it.
    if let Some(devices) = std::env::var("UNDERTONE_MEMBERS").ok().and_then(|members| members.parse().ok()) {
        println!("{}", crowd(devices, 0));
    }
}
