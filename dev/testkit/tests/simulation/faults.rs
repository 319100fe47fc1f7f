//! Whether the simulation finds a fault: they are planted, one at a time, and each is found soon.

use undertone_media::faults::{Fault, plant};

use super::play_schedule;
use super::schedule::Schedule;

/// Schedules in which a fault is found.
const FOUND_WITHIN: u64 = 1_000;

const FAULTS: [Fault; 7] = [
    Fault::KeepsTheKey,
    Fault::AsksForNothing,
    Fault::AsksWithoutEnd,
    Fault::TwoHosts,
    Fault::StaysBehind,
    Fault::TakesTheServersWord,
    Fault::CountsAnew,
];

/// The same where keys come from an MLS group.
const FAULTS_OF_GROUPS: [Fault; 5] = [
    Fault::KeepsTheLeaf,
    Fault::StaysBehind,
    Fault::FollowsNobody,
    Fault::TakesTheServersWord,
    Fault::KeepsTheAudience,
];

#[test]
fn planted_faults_are_caught() {
    catch(&FAULTS, Schedule::of);
}

#[test]
fn planted_faults_are_caught_with_mls() {
    catch(&FAULTS_OF_GROUPS, Schedule::grouped);
}

#[expect(clippy::print_stdout, reason = "whoever plants a fault wants to read how it was found")]
fn catch(faults: &[Fault], of: impl Fn(u64) -> Schedule) {
    let play = |seed| play_schedule(of(seed));
    for &fault in faults {
        plant(Some(fault));
        let found = (0..FOUND_WITHIN).find_map(|seed| play(seed).err());
        plant(None);
        let found = found.unwrap_or_else(|| panic!("{fault:?} was not found in {FOUND_WITHIN} schedules"));
        println!("{fault:?}: {}", found.to_string().chars().take(110).collect::<String>());
        assert!(play(found.seed).is_ok(), "it is the fault that is found, and nothing else: {found}");
    }
}
