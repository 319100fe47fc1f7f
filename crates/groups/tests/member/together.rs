//! Coming and going where nothing goes wrong but time.

use std::collections::BTreeSet;
use std::time::Duration;

use undertone_groups::member::{Event, How};

use crate::net::{World, ms};

fn one_commit_per_epoch(world: &World) {
    let ended: BTreeSet<u64> = world.service.accepted.iter().map(|(epoch, ..)| *epoch).collect();
    assert_eq!(ended.len(), world.service.accepted.len());
}

#[test]
fn rly_6_one_commit_per_epoch_while_five_come_one_after_the_other() {
    let mut world = World::new(5, 1);
    for index in 0..5 {
        world.join(index);
        world.run(ms(700));
    }
    let took = world.settle(ms(3_000));
    println!("settled after {took:?}, {} uploads, {} lost", world.service.uploads, world.service.lost);
    one_commit_per_epoch(&world);
    assert_eq!(world.saw(0, |event| matches!(event, Event::Joined { how: How::Created, .. })), 1);
    for index in 1..5 {
        assert_eq!(world.saw(index, |event| matches!(event, Event::Joined { how: How::Welcomed, .. })), 1);
    }
    // Whoever was welcomed updates early, and then it is quiet till the next rotation.
    world.run(ms(10_000));
    let epochs = world.service.accepted.len();
    world.run(Duration::from_secs(200));
    assert_eq!(world.service.accepted.len(), epochs);
    world.run(Duration::from_secs(150));
    assert_eq!(world.service.accepted.len(), epochs + 1, "one rotation, by one of them");
    one_commit_per_epoch(&world);
    world.settle(ms(500));
}

#[test]
fn rly_6_creator_race() {
    for seed in 0..20 {
        let mut world = World::new(3, seed);
        for index in 0..3 {
            world.join(index);
        }
        world.settle(ms(6_000));
        let created = (0..3)
            .filter(|index| world.saw(*index, |event| matches!(event, Event::Joined { how: How::Created, .. })) > 0);
        assert_eq!(created.count(), 1);
        one_commit_per_epoch(&world);
    }
}

#[test]
fn mls_4_all_join_at_once_twenty() {
    all_join_at_once(20);
}

#[test]
fn mls_4_all_join_at_once_seventy_in_two_batches() {
    all_join_at_once(70);
}

#[test]
fn mls_4_all_join_at_once_fifty() {
    all_join_at_once(50);
}

fn all_join_at_once(count: usize) {
    let mut world = World::new(count, 7);
    for index in 0..count {
        world.join(index);
    }
    let took = world.settle(ms(10_000));
    let (uploads, epochs) = (world.service.uploads, world.service.accepted.len());
    println!("{count} in {took:?}: {uploads} uploads, {epochs} epochs, {} claims", world.service.claims);
    one_commit_per_epoch(&world);
    assert!(uploads <= count, "{uploads} uploads");
    if count > 50 {
        return;
    }
    // Each updates early, spread out: no more than a few lose a race.
    world.run(Duration::from_secs(2) + ms(300) * u32::try_from(count).unwrap());
    world.settle(ms(5_000));
    let (uploads, epochs) = (world.service.uploads, world.service.accepted.len());
    let spent: Vec<_> = world.devices.iter().map(|device| device.membership.as_ref().unwrap().spent()).collect();
    let (sent, received): (u64, u64) = spent.iter().fold((0, 0), |sum, one| (sum.0 + one.sent, sum.1 + one.received));
    println!("{} bytes sent and {} received for each device", sent / count as u64, received / count as u64);
    println!("then {uploads} uploads, {epochs} epochs, {} lost", world.service.lost);
    assert!(uploads <= 3 * count, "{uploads} uploads for {count}");
    one_commit_per_epoch(&world);
}

#[test]
fn grp_5_leaver_is_removed_within_a_second() {
    for (count, seed) in [(2, 3), (3, 4), (8, 5)] {
        let mut world = World::new(count, seed);
        for index in 0..count {
            world.join(index);
        }
        world.settle(ms(8_000));
        world.run(ms(5_000));
        world.settle(ms(2_000));
        // The lowest leaf and the last one.
        for gone in [count - 1, 0] {
            if world.present.len() > 1 {
                world.leave(gone);
                let took = world.settle(ms(1_000));
                println!("{gone} of {count} gone after {took:?}");
            }
        }
        one_commit_per_epoch(&world);
    }
}

#[test]
fn mls_4_committer_dies() {
    let mut world = World::new(6, 11);
    for index in 0..6 {
        world.join(index);
    }
    world.settle(ms(8_000));
    world.run(ms(6_000));
    world.settle(ms(2_000));
    // Whoever would act first is there for the relay, and answers nobody any more; then somebody leaves.
    let leaves = world.devices[5].membership.as_ref().unwrap().members().to_vec();
    let first = world.service.index(&leaves[0].device_ref());
    let second = world.service.index(&leaves[1].device_ref());
    for dead in [first, second] {
        world.devices[dead].membership = None;
    }
    let gone = world.service.index(&leaves[5].device_ref());
    let left = world.of(gone);
    let at = world.now;
    world.leave(gone);
    world.run(ms(1_500));
    let third = world.service.index(&leaves[2].device_ref());
    let members = world.devices[third].membership.as_ref().unwrap().members().to_vec();
    assert!(members.iter().all(|member| member.device_ref() != left));
    let last = world.service.accepted.last().unwrap();
    assert_eq!(last.1, third, "the third acts after two steps");
    println!("removed {:?} after", last.2.since(at));
    // Two steps are more than it takes for a missing commit to be shown.
    one_commit_per_epoch(&world);
}

#[test]
fn call_6_who_is_taken_off_the_list_is_removed_although_present() {
    let mut world = World::new(4, 13);
    for index in 0..4 {
        world.join(index);
    }
    world.settle(ms(8_000));
    world.relist(2, false);
    assert!(world.saw(2, |event| matches!(event, Event::Removed { .. })) > 0, "it knows by itself");
    world.present.remove(&2);
    world.settle(ms(1_000));
    assert!(world.devices[2].ring.is_empty());
}

#[test]
fn mls_4_gone_and_still_in_the_tree_is_shown() {
    let mut world = World::new(3, 17);
    for index in 0..3 {
        world.join(index);
    }
    world.settle(ms(8_000));
    world.run(ms(5_000));
    world.settle(ms(2_000));
    // Nobody can reach the delivery service, and one goes.
    for index in 0..2 {
        world.disconnect(index);
    }
    let gone = world.of(2);
    world.vanish(2, Duration::ZERO);
    world.run(ms(2_000));
    for index in 0..2 {
        assert_eq!(world.saw(index, |event| *event == Event::StillListening(gone.clone())), 1);
    }
    for index in 0..2 {
        world.connect(index);
    }
    world.settle(ms(1_000));
}

#[test]
fn grp_2_whoever_has_sealed_enough_asks_for_a_new_epoch() {
    let mut world = World::new(2, 19);
    world.join(0);
    world.join(1);
    world.settle(ms(8_000));
    world.run(ms(5_000));
    let before = world.epoch(0).unwrap();
    world.drive(1, undertone_groups::member::Input::Sealed { frames: 65_535 });
    world.run(ms(1_000));
    assert_eq!(world.epoch(0), Some(before));
    world.drive(1, undertone_groups::member::Input::Sealed { frames: 65_536 });
    world.run(ms(1_000));
    assert_eq!(world.epoch(0), Some(before + 1));
    world.settle(ms(500));
}
