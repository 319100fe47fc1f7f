//! Rooms whose keys come from an MLS group: the shipped delivery service, what each device keeps on its disk, and how things went.

use std::collections::BTreeMap;

use undertone_client::Outcome;
use undertone_client::engine::{Input, Output};
use undertone_client::group::{Event as GroupEvent, How};
use undertone_groups::{Store, WriteSet};
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, Time};
use undertone_protocol::Access;
use undertone_protocol::delivery::{GroupRequest, Tree, TreePatch, testing};
use undertone_protocol::signal::{ToDevice, ToServer};
use undertone_server::config::Limits;
use undertone_testkit::delivery_house::House;
use zeroize::Zeroizing;

use super::link::{below, chance};
use super::schedule::{Act, Schedule};
use super::world::{Arrival, World};

/// What a device's groups are on its disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(BTreeMap<Vec<u8>, Vec<u8>>);

impl core::fmt::Debug for Disk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Disk({})", self.0.len())
    }
}

impl Disk {
    fn write(&mut self, writes: &WriteSet) {
        for (key, value) in writes.changes() {
            match value {
                Some(value) => self.0.insert(key.to_vec(), value.to_vec()),
                None => self.0.remove(key),
            };
        }
    }

    /// As a process finds it that begins.
    #[expect(clippy::expect_used, reason = "what was written is read")]
    pub(crate) fn load(&self) -> Store {
        let entries = self.0.iter().map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())));
        Store::load(entries).expect("a store")
    }
}

/// How the groups of one or many schedules went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupCounts {
    pub(crate) created: u64,
    pub(crate) welcomed: u64,
    pub(crate) by_self: u64,
    pub(crate) stored: u64,
    pub(crate) rejoined: u64,
    pub(crate) removed: u64,
    pub(crate) old_disks: u64,
    pub(crate) server_restarts: u64,
    pub(crate) commits: u64,
    pub(crate) lost_commits: u64,
    pub(crate) shared: u64,
}

impl GroupCounts {
    pub(crate) const fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("groups created", self.created),
            ("welcomed", self.welcomed),
            ("came by themselves", self.by_self),
            ("still in it", self.stored),
            ("found back", self.rejoined),
            ("told they are out", self.removed),
            ("disks from before", self.old_disks),
            ("server restarts", self.server_restarts),
            ("commits taken", self.commits),
            ("commits lost", self.lost_commits),
            ("secrets shared", self.shared),
        ]
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.welcomed += other.welcomed;
        self.by_self += other.by_self;
        self.stored += other.stored;
        self.rejoined += other.rejoined;
        self.removed += other.removed;
        self.old_disks += other.old_disks;
        self.server_restarts += other.server_restarts;
        self.commits += other.commits;
        self.lost_commits += other.lost_commits;
        self.shared += other.shared;
    }
}

/// A delivery service for this world.
#[expect(clippy::expect_used, reason = "nothing of it depends on the seed")]
pub(crate) fn house(seed: u64) -> House {
    let key = SigningKey::generate(&mut SeededRng::new(seed));
    House::new(key, &Limits::default(), seed).expect("a house")
}

impl World {
    pub(crate) const fn is_grouped(&self) -> bool {
        self.house.is_some()
    }

    /// The server's shelf has this list from now on.
    #[expect(clippy::expect_used, reason = "lists are made one after the other")]
    pub(crate) fn house_list(&mut self, access: &Access) {
        let call = CallId::from_bytes(*access.list().room.as_bytes());
        let now = self.now;
        if let Some(house) = &mut self.house {
            house.set_room(now, access, call).expect("the next list");
        }
    }

    pub(crate) fn house_connects(&mut self, device: usize) {
        let (now, address) = (self.now, self.device(device).address.clone());
        let identity = *self.device(device).identity.public();
        if let Some(house) = &mut self.house {
            let _ = house.connect(now, &address, identity);
        }
        self.pump();
    }

    pub(crate) fn house_loses(&mut self, device: usize) {
        let address = self.device(device).address.clone();
        if let Some(house) = &mut self.house {
            house.disconnect(&address);
        }
    }

    pub(crate) fn house_hears(&mut self, device: usize, message: ToServer) {
        let (now, address) = (self.now, self.device(device).address.clone());
        if let Some(house) = &mut self.house {
            house.hear(now, &address, message);
        }
        self.pump();
    }

    /// What the server has for its devices goes on its way.
    fn pump(&mut self) {
        for device in 0..self.devices.len() {
            let address = self.device(device).address.clone();
            let Some(house) = &mut self.house else { return };
            for message in house.take(&address) {
                match message {
                    ToDevice::Group { .. } | ToDevice::KeyPackagesLow { .. } => {
                        self.trace(|| format!("    server -> p{device:03} {}", brief(&message)));
                        self.deliver(device, message);
                    }
                    ToDevice::Closing { .. } => {
                        if let Some((session, _)) = self.device(device).session {
                            self.after(1_000, Arrival::SignalDown { device, session });
                        }
                    }
                    // This world's own server says the rest.
                    _ => {}
                }
            }
        }
    }

    /// The server's process is killed and begins anew.
    pub(crate) fn restart_server(&mut self) {
        let now = self.now;
        let Some(house) = &mut self.house else { return };
        self.counts.groups.server_restarts += 1;
        self.counts.groups.commits += house.delivered().commits;
        self.counts.groups.lost_commits += house.delivered().lost;
        house.restart(now);
        for device in 0..self.devices.len() {
            if let Some((session, _)) = self.device(device).session {
                let slow = below(&mut self.rng, 300_000);
                self.after(slow, Arrival::SignalDown { device, session });
            }
        }
    }

    pub(crate) fn carry_group(&mut self, device: usize, output: Output) {
        let (now, address) = (self.now, self.device(device).address.clone());
        let cut = self.device(device).server.is_cut(now);
        match output {
            Output::StoreGroups(mut writes) if self.device(device).disk_is_full => {
                // As the shell does: nothing that came after it leaves.
                while let Some(output) = self.device_mut(device).engine.poll_output() {
                    if let Output::StoreGroups(later) = output {
                        writes = writes.then(later);
                    }
                }
                self.input(device, Input::GroupsNotStored(writes));
            }
            Output::StoreGroups(writes) => self.device_mut(device).disk.write(&writes),
            Output::FetchTree { room, call, epoch } => {
                let tree = self
                    .house
                    .as_mut()
                    .and_then(|house| house.tree(now, &address.user, (room, call), Some(epoch)).ok().filter(|_| !cut));
                let lost = Input::Tree { call, epoch, tree: None };
                self.ask_server(device, Input::Tree { call, epoch, tree }, lost);
            }
            Output::PublishKeyPackage { suite, message } => {
                if let Some(house) = self.house.as_mut().filter(|_| !cut) {
                    let _ = house.publish(now, &address, suite, message);
                }
            }
            Output::ClaimKeyPackages { room, call, suite, devices } => {
                let claimed = self.house.as_mut().filter(|_| !cut);
                let claimed = claimed.and_then(|house| house.claim(now, &address, room, suite, &devices).ok());
                let claimed = claimed.unwrap_or_else(|| vec![None; devices.len()]);
                let none = devices.iter().map(|device| (device.clone(), None)).collect();
                let claimed = devices.into_iter().zip(claimed).collect();
                self.ask_server(device, Input::Claimed { call, claimed }, Input::Claimed { call, claimed: none });
            }
            _ => {}
        }
    }

    /// A process begins with what is on its disk; now and then with what was there a while ago.
    pub(crate) fn begin_from_disk(&mut self, device: usize) {
        if !self.is_grouped() {
            return;
        }
        let old = chance(&mut self.rng, 15);
        let server = *self.server.public();
        let here = self.device_mut(device);
        if old && let Some(before) = here.disk_before.take() {
            here.disk = before;
            self.counts.groups.old_disks += 1;
        }
        self.device_mut(device).begin(server);
    }

    pub(crate) fn note_group(&mut self, device: usize, event: &GroupEvent) {
        let counts = &mut self.counts.groups;
        match event {
            GroupEvent::Joined { how, .. } => {
                match how {
                    How::Created => counts.created += 1,
                    How::Welcomed => counts.welcomed += 1,
                    How::BySelf => counts.by_self += 1,
                    How::Stored => counts.stored += 1,
                }
                if *how == How::BySelf {
                    let now = self.now;
                    self.watch.came_by_itself(device, now);
                }
                if chance(&mut self.rng, 50) {
                    let here = self.device_mut(device);
                    here.disk_before = Some(here.disk.clone());
                }
            }
            GroupEvent::Withdrawn => {
                let here = self.device_mut(device);
                here.groups += 1;
                here.sealed.clear();
            }
            GroupEvent::Rejoined { .. } => counts.rejoined += 1,
            GroupEvent::Removed { .. } => counts.removed += 1,
            _ => {}
        }
    }
}

fn brief(message: &ToDevice) -> String {
    let text = format!("{message:?}");
    text.chars().take(120).collect()
}

/// Rule STO-2: whoever cannot keep what it is about to do does nothing of it, and says so; the others go on without it.
#[test]
fn sto_2_a_device_whose_disk_is_full_leaves_and_the_others_go_on() {
    let enter = |at, device| (at, Act::Enter(device));
    let acts = vec![enter(100, 0), enter(600, 1), enter(1_100, 2)];
    let quiet = Schedule { acts, end: 10_000, ..Schedule::grouped(1) };
    let mut world = World::new(Schedule { devices: 3, ..quiet });
    world.play().unwrap();
    assert!((0..3).all(|device| world.device(device).joined.is_some()));
    // The next change is one that the device with the full disk has to write down.
    world.device_mut(1).disk_is_full = true;
    world.act(Act::Leave(2));
    world.schedule.end = 20_000;
    world.play().unwrap();
    assert_eq!(world.device(1).outcome, Some(Outcome::RefusedByPolicy), "it is told that the room is over");
    assert!(world.device(1).joined.is_none() && world.device(0).joined.is_some());
    let alone = world.device(0).engine.explain_room(world.now).unwrap().group.unwrap();
    assert_eq!(alone.members.len(), 1, "{alone:?}");
}

/// What a disk that was full for a while owes is made good: nothing is left there of the group that the device has left, and least of all a
/// commit that would be sent again after the next start.
#[test]
fn sto_2_what_a_full_disk_owes_is_written_before_anything_else() {
    let enter = |at, device| (at, Act::Enter(device));
    let quiet = Schedule { acts: vec![enter(100, 0), enter(1_500, 1)], end: 6_000, ..Schedule::grouped(1) };
    let mut world = World::new(Schedule { devices: 2, ..quiet });
    world.play().unwrap();
    let waiting = |world: &World| undertone_groups::waiting(&world.device(1).disk.load()).unwrap().len();
    assert_eq!(waiting(&world), 0);
    // It puts out whoever leaves; its disk is full when it hears that its commit was taken.
    world.act(Act::Leave(0));
    while waiting(&world) == 0 {
        world.schedule.end += 10;
        world.play().unwrap();
    }
    world.device_mut(1).disk_is_full = true;
    world.schedule.end += 5_000;
    world.play().unwrap();
    assert_eq!(world.device(1).outcome, Some(Outcome::RefusedByPolicy));
    assert_eq!(waiting(&world), 1, "it could not be taken out");
    let here = world.device_mut(1);
    (here.disk_is_full, here.wanted) = (false, false);
    world.act(Act::Enter(1));
    world.schedule.end += 10_000;
    world.play().unwrap();
    assert!(world.device(1).joined.is_some());
    assert_eq!(waiting(&world), 0);
}

/// Rule RLY-6: somebody on the list begins the call's group with what is none, before anybody else comes. Those who come withdraw it, and
/// are in one of their own.
#[test]
fn rly_6_a_call_whose_group_was_begun_with_junk_goes_on() {
    let enter = |at, device| (at, Act::Enter(device));
    let acts = vec![enter(1_000, 0), enter(1_200, 1), enter(1_500, 2)];
    let quiet = Schedule { acts, end: 900, listeners: 0, ..Schedule::grouped(1) };
    let mut world = World::new(Schedule { devices: 4, ..quiet });
    world.play().unwrap();
    let place = world.access.last().unwrap().list().room;
    let call = CallId::from_bytes(*place.as_bytes());
    let tree = testing::tree(1, 7);
    let info = testing::group_info(&call, 0, &tree, b"junk");
    let request = GroupRequest::Create { info, tree: TreePatch::between(&Tree::default(), &tree) };
    world.house_hears(3, ToServer::Group { room: place, call, number: 1, request });
    world.schedule.end = 16_000;
    world.play().unwrap();
    assert_eq!(world.house.as_ref().unwrap().delivered().withdrawn, 1);
    let groups = (0..3).map(|device| world.device(device).engine.explain_room(world.now).unwrap().group.unwrap());
    let groups: Vec<_> = groups.map(|group| (group.epoch, group.members.len())).collect();
    assert!(groups[0].1 == 3 && groups.iter().all(|group| *group == groups[0]), "{groups:?}");
}

/// Rule GRP-9: a server keeps one member from the list that takes a listener off, and goes on for that listener, as the relay does. Who
/// serves it hears of the list from the others, and what it was given by then is good for seconds.
#[test]
fn grp_9_a_member_who_is_kept_from_a_list_serves_nobody_for_long() {
    let never = Time::from_millis(u64::MAX / 2_000);
    let mut served = 0;
    for seed in 0..8 {
        let enter = |at, device| (at, Act::Enter(device));
        let acts = vec![enter(100, 0), enter(600, 1), enter(1_500, 2)];
        let quiet = Schedule { acts, end: 9_000, devices: 3, listeners: 1, ..Schedule::grouped(seed) };
        let mut world = World::new(quiet);
        // What is said beside the sound comes through.
        (0..3).for_each(|device| world.device_mut(device).relay.loss = 0);
        world.play().unwrap();
        let audience = world.device(2).engine.explain_room(world.now).unwrap().keys.audience.unwrap();
        served += usize::from(audience.server.as_ref() == Some(&world.device(1).address));
        let before = world.access.last().cloned().unwrap();
        world.lax = true;
        world.act(Act::Ghost(2, true));
        // Both are shown the list from before; how soon nothing opens is looked at here, and not by the invariants.
        for kept in [1, 2] {
            world.device_mut(kept).ghost = Some((before.clone(), never));
        }
        // Keys change every few seconds from then on.
        world.watch.upset(never);
        world.schedule.end = world.now.as_millis() + 40_000;
        world.play().unwrap();
        let packet = world.seal(0).unwrap().unwrap();
        assert!(!world.device(2).engine.would_open(&packet), "seed {seed}: it is not on the list and still listens");
    }
    assert!(served > 0, "it was served by the other one each time");
}
