//! Random schedules: whatever happens, in the quiet after it all who are present are in one epoch, and they alone.

use std::time::Duration;

use rand_core::Rng;
use undertone_keys::testing::SeededRng;

use crate::net::{World, ms};

fn play(seed: u64) {
    let mut dice = SeededRng::new(seed.wrapping_mul(77) + 5);
    let mut roll = |sides: u64| dice.next_u64() % sides;
    let count = 2 + usize::try_from(roll(5)).unwrap();
    let mut world = World::new(count, seed);
    world.loss = [0, 0, 20, 100, 250][usize::try_from(roll(5)).unwrap()];
    world.delay = [(5, 5), (10, 40), (40, 200)][usize::try_from(roll(3)).unwrap()];
    world.media = roll(2) == 0;
    world.service.keeps = [256, 256, 3][usize::try_from(roll(3)).unwrap()];
    let mut acts = 0;
    for _ in 0..6 + roll(14) {
        let who = usize::try_from(roll(count as u64)).unwrap();
        let there = world.present.contains(&who);
        acts += 1;
        match (there, roll(8)) {
            (false, _) => world.join(who),
            (true, 0 | 1) => world.leave(who),
            (true, 2) => world.vanish(who, ms(500)),
            (true, 3) => {
                // Killed, and started again before anybody notices.
                world.vanish(who, ms(0));
                world.join(who);
            }
            (true, 4 | 5) => {
                if world.devices[who].online {
                    world.disconnect(who);
                } else {
                    world.connect(who);
                }
            }
            (true, 6) => world.drive(who, undertone_groups::member::Input::Sealed { frames: 70_000 }),
            (true, _) => {}
        }
        world.run(ms([20, 150, 900, 3_000][usize::try_from(roll(4)).unwrap()]));
    }
    world.loss = 0;
    for index in world.present.clone() {
        if !world.devices[index].online {
            world.connect(index);
        }
    }
    if world.present.is_empty() {
        return;
    }
    let before = world.service.uploads;
    world.run(Duration::from_secs(5));
    let took = world.settle(Duration::from_secs(70));
    let quiet = world.service.uploads;
    let bound = 12 * (acts + count);
    assert!(quiet <= bound, "{quiet} uploads for {acts} acts of {count}");
    // It stays so, and it stays quiet.
    world.run(Duration::from_secs(60));
    world.settle(ms(3_000));
    let after = world.service.uploads - quiet;
    assert!(after <= 4 * count, "{after} uploads in the quiet of {count}");
    let ended: std::collections::BTreeSet<_> = world.service.accepted.iter().map(|(epoch, ..)| epoch).collect();
    assert!(ended.len() <= world.service.accepted.len());
    if std::env::var("SEED").is_ok() {
        println!("seed {seed}: {count}, {acts} acts, settled {took:?}, uploads {before} {quiet} {after}");
    }
}

#[test]
fn rly_6_random_schedules_converge() {
    if let Ok(seed) = std::env::var("SEED") {
        return play(seed.parse().unwrap());
    }
    let (first, count) = (number("FIRST", 0), number("SCHEDULES", 300));
    for seed in first..first + count {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}
