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

/// Rule GRP-9: three who speak, and an audience of eighty, or as many as `UNDERTONE_LISTENERS` says, of whom some come late, leave and
/// lose their way. All who are there hear, and what it costs does not grow with who comes and goes.
#[test]
fn grp_9_an_audience_hears_while_it_comes_and_goes() {
    let listeners =
        std::env::var("UNDERTONE_LISTENERS").ok().and_then(|listeners| listeners.parse().ok()).unwrap_or(80);
    let schedule = Schedule::crowd(5, 3 + listeners);
    let schedule = Schedule { grouped: true, listeners, end: schedule.end + 30_000, ..schedule };
    let began = std::time::Instant::now();
    let counts = play_schedule(schedule).unwrap();
    let (letters, epochs, took) = (counts.letters, counts.groups.commits, began.elapsed().as_secs_f32());
    println!(
        "{listeners} who listen to three: {letters} letters, {epochs} commits, {} probes, {took:.1} s",
        counts.probes
    );
    assert!(counts.probes > 1_000 || listeners != 80, "it was looked at whether they hear");
    assert!(epochs < 60, "{epochs} epochs for an audience that comes within a second");
}
