//! What is lost comes back: commits, Welcomes, epochs, whole stores.

use std::time::Duration;

use undertone_groups::member::{Event, How, Input, OutReason, Standpoint};

use crate::net::{World, ms};

fn at_rest(count: usize, seed: u64) -> World {
    let mut world = World::new(count, seed);
    for index in 0..count {
        world.join(index);
    }
    world.settle(ms(8_000));
    world.run(ms(2_000) + ms(300) * u32::try_from(count).unwrap());
    world.settle(ms(3_000));
    world
}

#[test]
fn ekr_7_wrong_epoch_heals_when_a_commit_is_lost() {
    let mut world = at_rest(4, 21);
    world.media = true;
    // One of them is told nothing for a moment; frames under a later epoch are what it notices.
    world.service.faults.withhold.insert(1);
    world.leave(3);
    world.run(ms(400));
    world.service.faults.withhold.clear();
    let took = world.settle(ms(4_000));
    println!("healed after {took:?}");
    assert_eq!(world.saw(1, |event| matches!(event, Event::Rejoined { .. })), 0, "by the commit that was missing");
}

#[test]
fn ekr_7_wrong_epoch_heals_where_history_is_not_kept() {
    let mut world = at_rest(3, 22);
    world.service.keeps = 1;
    world.disconnect(1);
    for _ in 0..3 {
        world.drive(0, Input::Sealed { frames: 65_536 });
        world.run(ms(800));
    }
    world.connect(1);
    world.settle(ms(4_000));
    assert_eq!(world.saw(1, |event| matches!(event, Event::Rejoined { .. })), 1);
    assert_eq!(world.saw(1, |event| matches!(event, Event::Joined { how: How::BySelf, .. })), 1);
}

/// Whoever was alone in the group was taken off the list and is gone: nobody is left in it to put that leaf out, and nobody may stay out for
/// ever because of it (docs/adr/0030).
#[test]
fn mls_1_who_comes_by_itself_puts_out_whom_the_list_does_not_name_before_it_seals() {
    let mut world = World::new(2, 23);
    world.join(0);
    world.settle(ms(2_000));
    world.relist(0, false);
    world.vanish(0, Duration::ZERO);
    world.join(1);
    let begun = world.now;
    let inside = |world: &World| world.saw(1, |event| matches!(event, Event::Joined { how: How::BySelf, .. })) > 0;
    while !inside(&world) {
        assert!(world.now.since(begun) < ms(1_000), "nobody is there whose Welcome it could wait for");
        world.run(ms(1));
    }
    let members = |world: &World| world.devices[1].membership.as_ref().unwrap().members().len();
    assert_eq!((members(&world), world.devices[1].sealing), (2, None), "somebody else would have the key");
    while members(&world) == 2 {
        world.run(ms(1));
        assert!(members(&world) == 1 || world.devices[1].sealing.is_none());
    }
    world.settle(ms(1_000));
    assert_eq!(world.devices[1].sealing, world.epoch(1));
}

/// The same where the relay shows somebody who is not proven so far: that one may yet let it in.
#[test]
fn mls_2_a_welcome_is_waited_for_while_anybody_is_shown() {
    let mut world = World::new(2, 28);
    world.join(0);
    world.settle(ms(2_000));
    world.vanish(0, ms(60_000));
    world.join(1);
    world.drive(1, Input::Shown(1));
    world.run(ms(1_500));
    assert_eq!(world.saw(1, |event| matches!(event, Event::Joined { .. })), 0);
    world.settle(ms(6_000));
    assert_eq!(world.saw(1, |event| matches!(event, Event::Joined { how: How::BySelf, .. })), 1);
}

#[test]
fn mls_2_lost_welcome_leads_to_an_external_join() {
    let mut world = World::new(4, 24);
    for index in 0..3 {
        world.join(index);
    }
    world.settle(ms(8_000));
    world.service.faults.no_welcome = true;
    world.join(3);
    let took = world.settle(ms(6_000));
    println!("in by itself after {took:?}");
    assert_eq!(world.saw(3, |event| matches!(event, Event::Joined { how: How::BySelf, .. })), 1);
}

#[test]
fn mls_2_lost_welcome_because_the_key_package_is_gone() {
    let mut world = World::new(3, 25);
    world.join(0);
    world.join(1);
    world.settle(ms(8_000));
    // What was published with a store that is not there any more.
    world.join(2);
    world.run(ms(45));
    world.vanish(2, Duration::ZERO);
    world.devices[2].person.disk.clear();
    world.run(ms(3_000));
    world.join(2);
    world.settle(ms(8_000));
}

#[test]
fn mls_2_external_join_of_several_at_once_settles() {
    let mut world = World::new(8, 27);
    world.join(0);
    world.settle(ms(8_000));
    world.service.faults.no_welcome = true;
    for index in 1..8 {
        world.join(index);
    }
    let took = world.settle(ms(20_000));
    println!("seven by themselves after {took:?}: {} uploads, {} lost", world.service.uploads, world.service.lost);
    assert!(world.service.uploads < 90, "{} uploads", world.service.uploads);
}

#[test]
fn mls_3_fork_is_noticed_when_somebody_says_so() {
    let mut world = at_rest(3, 28);
    let epoch = world.epoch(0).unwrap();
    // Somebody in the group says another authenticator.
    let other = at_rest(2, 29);
    let foreign = {
        let group = undertone_groups::Group::open(&other.devices[0].person.store, crate::world::ID).unwrap();
        group.authenticator().unwrap()
    };
    let device = world.of(1);
    world.drive(0, Input::Told { device: device.clone(), epoch, authenticator: foreign });
    assert!(world.devices[0].hold, "it seals nothing");
    assert_eq!(world.saw(0, |event| *event == Event::Forked { epoch, by: Some(device.clone()) }), 1);
    let took = world.settle(ms(3_000));
    println!("back after {took:?}");
    assert_eq!(world.saw(0, |event| matches!(event, Event::Rejoined { .. })), 1);

    // A liar is believed once, and then no more where others agree.
    world.run(ms(12_000));
    let epoch = world.epoch(0).unwrap();
    world.drive(0, Input::Told { device: device.clone(), epoch, authenticator: foreign });
    assert!(!world.devices[0].hold);
    assert_eq!(world.saw(0, |event| *event == Event::Accused { by: device.clone() }), 1);
}

#[test]
fn mls_3_fork_is_noticed_when_nothing_opens() {
    // A delivery service that shows each of two another commit of the same epoch.
    let mut world = at_rest(2, 30);
    let both = world.service.group.clone();
    world.disconnect(0);
    world.drive(1, Input::Sealed { frames: 65_536 });
    world.run(ms(500));
    world.service.group = both;
    world.disconnect(1);
    world.connect(0);
    world.drive(0, Input::Sealed { frames: 65_536 });
    world.run(ms(500));
    let newest = |index: usize| *world.devices[index].ring.keys().next_back().unwrap();
    let epoch = newest(0);
    assert_eq!(newest(1), epoch);
    assert!(world.devices[0].ring[&epoch] != world.devices[1].ring[&epoch], "two epochs under one number");
    world.connect(1);
    world.media = true;
    world.run(ms(1_500));
    // Whoever is told first comes into the other line; what that commit is to the second shows the same.
    for index in 0..2 {
        let noticed = |event: &Event| matches!(event, Event::Forked { .. } | Event::CommitRefused { .. });
        assert!(world.saw(index, noticed) > 0);
    }
    assert!(world.saw(0, |event| matches!(event, Event::Forked { .. })) > 0);
    let took = world.settle(ms(8_000));
    println!("one group again after {took:?}");
}

#[test]
fn grp_5_removed_while_offline_is_told_and_comes_back() {
    let mut world = at_rest(3, 32);
    // The way to everybody is lost: for the others it is gone.
    let me = world.of(1);
    world.disconnect(1);
    for other in [0, 2] {
        world.drive(other, Input::Absent(me.clone()));
    }
    world.run(ms(2_000));
    assert!(world.devices[0].membership.as_ref().unwrap().members().iter().all(|m| m.device_ref() != me));
    world.connect(1);
    world.run(ms(100));
    assert_eq!(world.saw(1, |event| matches!(event, Event::Removed { by: Some(_) })), 1);
    for other in [0, 2] {
        world.drive(other, Input::Present(me.clone()));
    }
    world.settle(ms(4_000));

    // And for good, where it is not on the list any more.
    world.disconnect(1);
    let person = &world.devices[1].person;
    world.list.0.remove(&person.device());
    for other in [0, 2] {
        world.drive(other, Input::RollChanged);
    }
    world.run(ms(2_000));
    world.present.remove(&1);
    world.connect(1);
    world.run(ms(200));
    let membership = world.devices[1].membership.as_ref().unwrap();
    assert_eq!(membership.standpoint(), Standpoint::Out(OutReason::Removed));
    assert!(world.devices[1].ring.is_empty());
    world.settle(ms(1_000));
}

#[test]
fn sto_3_restored_from_an_old_store_seals_nothing_and_joins_anew() {
    let mut world = at_rest(3, 33);
    let old = world.devices[1].person.disk.clone();
    // It goes on for a while, with commits of its own.
    for _ in 0..3 {
        world.drive(1, Input::Sealed { frames: 65_536 });
        world.run(ms(1_000));
    }
    let epoch = world.epoch(1).unwrap();
    world.vanish(1, ms(200));
    world.devices[1].person.disk = old;
    world.join(1);
    world.settle(ms(40_000));
    assert!(world.epoch(1).unwrap() > epoch);
    assert!(world.saw(1, |event| *event == Event::OldStore || matches!(event, Event::Removed { .. })) > 0);
}

#[test]
fn sto_3_restored_from_an_old_store_that_was_only_followed_with() {
    let mut world = at_rest(3, 34);
    let old = world.devices[1].person.disk.clone();
    for _ in 0..3 {
        world.drive(0, Input::Sealed { frames: 65_536 });
        world.run(ms(1_000));
    }
    // The relay does not even notice that it was away. What the service has not seen, nobody knows; so it seals nothing before its own
    // commit, and no key is used twice: the world checks that at each seal.
    world.devices[1].membership = None;
    world.devices[1].person.disk = old;
    world.present.remove(&1);
    world.join(1);
    world.settle(ms(10_000));
}

#[test]
fn sto_3_restored_from_an_old_store_whose_commit_was_on_its_way() {
    let mut world = at_rest(3, 38);
    let before = world.service.uploads;
    world.drive(1, Input::Sealed { frames: 65_536 });
    while world.service.uploads == before {
        world.run(ms(5));
    }
    let old = world.devices[1].person.disk.clone();
    world.run(ms(1_000));
    world.settle(ms(1_000));
    // It was taken, and sealed under; and so were two more.
    for _ in 0..2 {
        world.drive(0, Input::Sealed { frames: 65_536 });
        world.run(ms(1_000));
    }
    world.devices[1].membership = None;
    world.devices[1].person.disk = old;
    world.present.remove(&1);
    world.join(1);
    // The commit that comes back as its own does not make it new: the world sees to it that no key is sealed under twice.
    world.settle(ms(10_000));
}

#[test]
fn mls_2_two_external_commits_of_one_device_are_thirty_seconds_apart() {
    let mut world = at_rest(3, 39);
    for _ in 0..3 {
        let epoch = world.epoch(0);
        let device = world.of(1);
        let other = world.of(2);
        for device in [device, other] {
            for _ in 0..5 {
                let Some(epoch) = epoch else { break };
                world.drive(0, Input::CannotOpen { device: device.clone(), epoch: epoch + 1 });
            }
        }
        world.run(Duration::from_secs(20));
    }
    let joined = |(at, event): &(_, Event)| matches!(event, Event::Joined { how: How::BySelf, .. }).then_some(*at);
    let times: Vec<undertone_keys::Time> = world.devices[0].events.iter().filter_map(joined).collect();
    assert!(times.len() >= 2);
    assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_secs(30)));
    world.settle(ms(40_000));
}

#[test]
fn sto_2_restarted_in_the_middle_of_everything() {
    for seed in 0..12 {
        let mut world = at_rest(3, 35);
        world.rng = undertone_keys::testing::SeededRng::new(seed);
        let at = Duration::from_millis(seed * 9);
        world.vanish(2, Duration::ZERO);
        // The first leaf is killed while its commit is on the way, at one moment or another.
        world.run(ms(20) + at);
        let first = world.service.index(&world.devices[0].membership.as_ref().unwrap().members()[0].device_ref());
        if first == 2 {
            continue;
        }
        world.devices[first].membership = None;
        world.devices[first].connection += 1;
        world.present.remove(&first);
        world.join(first);
        world.settle(ms(40_000));
    }
}

#[test]
fn mls_2_a_withdrawn_group_is_made_anew() {
    let mut world = at_rest(3, 36);
    world.service.group = None;
    world.service.welcomes.clear();
    for index in 0..3 {
        world.disconnect(index);
        world.connect(index);
    }
    world.settle(ms(10_000));
}

#[test]
fn rly_6_an_answer_that_is_lost_is_asked_for_again() {
    let mut world = at_rest(2, 37);
    world.service.faults.forgetful = 1;
    world.drive(0, Input::Sealed { frames: 65_536 });
    world.run(ms(1_500));
    let took = world.settle(ms(4_000));
    println!("after {took:?}");
    world.service.faults.forgetful = 100;
    world.drive(0, Input::Sealed { frames: 65_536 });
    world.run(Duration::from_secs(12));
    world.service.faults.forgetful = 0;
    world.settle(ms(20_000));
}
