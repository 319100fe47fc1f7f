//! Large rooms: fifty who all speak, and a thousand (`UNDERTONE_MEMBERS`) of whom fifty do.

use super::play_schedule;
use super::schedule::Schedule;

/// Plays schedules of that many devices and says what they took.
fn crowds(devices: usize, seeds: &[u64]) {
    for &seed in seeds {
        let began = std::time::Instant::now();
        let counts = play_schedule(Schedule::crowd(seed, devices)).unwrap();
        let took = began.elapsed().as_secs_f32();
        println!("{devices} members, seed {seed}: {} letters, {} probes, {took:.1} s", counts.letters, counts.probes);
    }
}

#[test]
fn simulate_converges_with_crowds() {
    crowds(50, &[0, 2]);
    // A minute and more: `make simulate` asks for it.
    if let Some(devices) = std::env::var("UNDERTONE_MEMBERS").ok().and_then(|members| members.parse().ok()) {
        crowds(devices, &[0]);
    }
}
