//! A delivery service that lies, and members who spoil an epoch.

use std::time::Duration;

use undertone_groups::member::{Event, How, Input, Lie, Reason};
use undertone_groups::{Change, Group, GroupId, Outgoing, PskId, Refused, Upload, psk};

use crate::net::{World, ms};
use crate::service::Request;
use crate::world::ID;

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
fn mls_malicious_service_withholds_commits() {
    let mut world = at_rest(4, 41);
    world.media = true;
    world.service.faults.withhold.insert(1);
    world.leave(3);
    world.run(ms(12_000));
    // It knows by the frames of the others, says so, and seals nothing.
    assert!(world.saw(1, |event| *event == Event::CannotBeServed(Reason::Withheld)) > 0);
    assert!(world.devices[1].hold);
    let asked = world.service.uploads;
    world.run(Duration::from_secs(120));
    assert!(world.service.uploads - asked < 10, "no storm");
    world.service.faults.withhold.clear();
    world.settle(ms(40_000));
}

#[test]
fn mls_malicious_service_serves_another_groups_info() {
    let mut world = World::new(4, 42);
    for index in 0..3 {
        world.join(index);
    }
    world.settle(ms(8_000));
    let mut other = World::new(4, 42);
    other.id = GroupId::from_bytes([9; 16]);
    for index in 0..3 {
        other.join(index);
    }
    other.settle(ms(8_000));
    let group = other.service.group.as_ref().unwrap();
    world.service.faults.no_welcome = true;
    world.service.faults.foreign = Some((group.info.clone(), group.trees[&group.epoch].clone()));
    world.join(3);
    world.run(Duration::from_secs(10));
    assert!(world.saw(3, |event| *event == Event::ServerLied(Lie::Info)) > 0);
    assert_eq!(world.epoch(3), None);
    world.service.faults.foreign = None;
    world.settle(ms(40_000));
}

#[test]
fn mls_malicious_service_serves_an_old_info() {
    let mut world = World::new(4, 43);
    for index in 0..3 {
        world.join(index);
    }
    world.settle(ms(8_000));
    let group = world.service.group.as_ref().unwrap();
    let phantom = (group.info.clone(), group.trees[&group.epoch].clone());
    world.run(ms(5_000));
    world.settle(ms(5_000));
    world.service.faults.no_welcome = true;
    world.service.faults.foreign = Some(phantom);
    world.join(3);
    world.run(Duration::from_secs(10));
    assert_eq!(world.epoch(3), None, "a commit of an epoch that is over is not taken");
    world.service.faults.foreign = None;
    world.settle(ms(60_000));
}

#[test]
fn mls_malicious_service_swaps_key_packages() {
    let mut world = World::new(4, 44);
    for index in 0..3 {
        world.join(index);
    }
    world.settle(ms(8_000));
    // Packages of another device are handed out for the newcomer's.
    for _ in 0..8 {
        let package = world.devices[1].person.package_bytes(crate::net::SUITE);
        world.service.packages.entry(1).or_default().push_back(package);
    }
    world.service.faults.swap = Some(world.of(1));
    world.join(3);
    world.settle(ms(10_000));
    let newcomer = world.of(3);
    let told = (0..3)
        .map(|index| world.saw(index, |event| matches!(event, Event::ServerLied(Lie::Swapped(of)) if *of == newcomer)));
    let told: usize = told.sum();
    assert!(told > 0);
    assert_eq!(world.saw(3, |event| matches!(event, Event::Joined { how: How::BySelf, .. })), 1);
}

/// Somebody's junk wins an epoch: bytes that look like a commit from the outside.
fn junk(world: &mut World, by: usize) {
    let before = world.epoch(by).unwrap();
    let group = world.service.group.as_ref().unwrap();
    let (epoch, tree, info) = (group.epoch, group.trees[&group.epoch].clone(), group.info.clone());
    // RFC 9420, 6: version 1, PrivateMessage, the group, the epoch, a commit, and the rest is noise.
    let mut commit = vec![0, 1, 0, 2, 16];
    commit.extend(ID.as_bytes());
    commit.extend(epoch.to_be_bytes());
    commit.extend([3, 0, 28]);
    commit.extend([7; 28]);
    commit.extend([64, 200]);
    commit.extend([9; 200]);
    let upload = Upload { group: ID, epoch, commit, welcome: None, group_info: info, tree: tree.clone() };
    assert_eq!(before, epoch);
    bring(world, by, upload);
}

/// Somebody brings a commit that its own membership knows nothing of.
fn bring(world: &mut World, by: usize, upload: Upload) {
    let before = world.service.group.as_ref().unwrap().trees[&upload.epoch].clone();
    let request = Request::Upload { upload, before, welcomed: Vec::new() };
    for (to, input) in world.service.handle(world.now, by, request) {
        if to != by {
            world.drive(to, input);
        }
    }
}

/// Rule MLS-3: what is wrong at the service is told it with the next commit, and nobody is kept in who is to go.
#[test]
fn mls_malicious_member_brings_another_tree_beside_its_commit() {
    let mut world = at_rest(4, 48);
    world.service.faults.other_tree = true;
    world.drive(3, Input::Sealed { frames: 65_536 });
    world.run(ms(1_500));
    assert!(!world.service.faults.other_tree, "it has committed");
    world.settle(ms(1_000));
    world.relist(3, false);
    world.vanish(3, ms(200));
    world.settle(ms(3_000));
    let told = |index| world.saw(index, |event| *event == Event::ServerLied(Lie::Tree));
    assert_eq!((0..3).map(told).sum::<usize>(), 1, "whoever commits next");
    // From then on the service has the group's tree again.
    world.service.faults.no_welcome = true;
    world.join(3);
    world.relist(3, true);
    world.settle(ms(40_000));
}

/// Rule MLS-1: a key that nobody else was given keeps nobody out, and the epoch is given back.
#[test]
fn mls_malicious_member_mixes_in_a_key_of_its_own() {
    let mut world = at_rest(4, 49);
    world.service.faults.withdraws = true;
    let id = PskId::new(b"nobody else's").unwrap();
    let upload = {
        let roll = world.list.roll();
        let person = &mut world.devices[3].person;
        let secret = undertone_keys::Secret::from_slice(&[5; 32]).unwrap();
        let writes = psk::register(&person.store, &mut person.rng, &id, &secret).unwrap();
        person.store.apply(writes);
        let change = Change { psks: vec![id], ..Change::default() };
        let step = Group::open(&person.store, ID).unwrap().commit(&mut person.rng, change, &roll).unwrap();
        let Outgoing::Commit(upload) = step.send.into_iter().next().unwrap().what else { panic!("no commit") };
        upload
    };
    bring(&mut world, 3, upload);
    world.vanish(3, ms(200));
    for index in 0..3 {
        let refused = |event: &Event| matches!(event, Event::CommitRefused { why: Refused::Psk, .. });
        assert_eq!(world.saw(index, refused), 1, "{index}");
    }
    world.settle(ms(5_000));
    for index in 0..3 {
        assert_eq!(world.saw(index, |event| matches!(event, Event::Rejoined { .. })), 0, "{index} never had to go");
    }
}

/// Rule STO-3: who has committed since the start has no older store than what was sent from its leaf, whatever somebody writes.
#[test]
fn mls_malicious_member_speaks_as_another_leaf() {
    let mut world = at_rest(4, 50);
    world.drive(1, Input::Sealed { frames: 65_536 });
    world.run(ms(1_500));
    world.settle(ms(1_000));
    let upload = {
        let roll = world.list.roll();
        let store = crate::world::load(&world.devices[1].person.disk);
        let rng = &mut world.devices[3].person.rng;
        let step = Group::open(&store, ID).unwrap().commit(rng, Change::update(), &roll).unwrap();
        let Outgoing::Commit(upload) = step.send.into_iter().next().unwrap().what else { panic!("no commit") };
        upload
    };
    bring(&mut world, 3, upload);
    assert_eq!(world.saw(1, |event| matches!(event, Event::CommitRefused { .. })), 1);
    world.settle(ms(40_000));
    assert_eq!(world.saw(1, |event| *event == Event::OldStore), 0);
}

#[test]
fn mls_malicious_member_wins_an_epoch_with_junk_and_the_service_gives_it_back() {
    let mut world = at_rest(4, 45);
    world.service.faults.withdraws = true;
    junk(&mut world, 3);
    world.run(ms(200));
    for index in 0..3 {
        assert!(world.saw(index, |event| matches!(event, Event::CommitRefused { .. })) > 0);
    }
    world.settle(ms(3_000));
    world.drive(0, Input::Sealed { frames: 65_536 });
    world.run(ms(500));
    world.settle(ms(2_000));
}

#[test]
fn mls_malicious_member_wins_an_epoch_with_junk_and_the_service_keeps_to_it() {
    let mut world = at_rest(4, 46);
    junk(&mut world, 3);
    let gone = world.of(3);
    world.vanish(3, Duration::ZERO);
    world.run(Duration::from_secs(20));
    for index in 0..3 {
        assert!(world.saw(index, |event| *event == Event::CannotBeServed(Reason::Junk)) > 0, "{index}");
    }
    let uploads = world.service.uploads;
    world.run(Duration::from_secs(300));
    for index in 0..3 {
        // They go on in the old epoch, and show who may still listen.
        assert!(!world.devices[index].hold && world.epoch(index).is_some());
        assert_eq!(world.saw(index, |event| *event == Event::StillListening(gone.clone())), 1);
    }
    println!("{} uploads in five minutes", world.service.uploads - uploads);
    assert!(world.service.uploads - uploads < 20, "no storm");
}

#[test]
fn mls_malicious_member_floods_with_words() {
    let mut world = at_rest(4, 47);
    let device = world.of(2);
    let uploads = world.service.uploads;
    let authenticator = {
        let group = Group::open(&world.devices[0].person.store, ID).unwrap();
        group.authenticator().unwrap()
    };
    for step in 0..10_000_u64 {
        let epoch = world.epoch(0).unwrap_or(0) + 1 + step;
        world.drive(0, Input::Told { device: device.clone(), epoch, authenticator });
        world.drive(0, Input::CannotOpen { device: device.clone(), epoch });
        if step % 100 == 0 {
            world.run(ms(100));
        }
    }
    world.settle(ms(3_000));
    assert_eq!(world.saw(0, |event| matches!(event, Event::Rejoined { .. })), 0, "one alone is not the room");
    assert!(world.service.uploads - uploads < 10);
}
