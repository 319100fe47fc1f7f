//! The server's shelf: grants, and the versions of a room's list.

use undertone_client::engine::Input;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, RoomId, WallTime};
use undertone_protocol::limits::MAX_SPEAKERS;
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Access, AccessList, Grant, Listed, Protection, Rights, Terms};

use super::{ADA, NAMES, World};

impl World {
    pub(crate) fn grant(&self, device: usize, call: CallId) -> Signed {
        let device = &self.devices[device];
        Grant {
            room: RoomId::from_bytes(*call.as_bytes()),
            call,
            member: device.address.clone(),
            identity: *device.identity.public(),
            protection: self.protection,
            rights: Rights { speak: true, moderate: false },
            expires: self.clock().plus(10_000),
            audience: None,
        }
        .sign(&self.server)
    }

    pub(crate) fn room_grant(&self, device: usize, rights: Rights) -> Signed {
        let (list, device) = (self.access.last().unwrap().list(), &self.devices[device]);
        Grant {
            room: list.room,
            call: CallId::from_bytes(*list.room.as_bytes()),
            member: device.address.clone(),
            identity: *device.identity.public(),
            protection: list.terms.protection,
            rights,
            expires: self.clock().plus(self.grants_last),
            audience: None,
        }
        .sign(&self.server)
    }

    /// A world of these people, without a call; the first makes a room for all of them and may moderate.
    pub(crate) fn room(seed: u64, names: &[&str], protection: Protection) -> Self {
        let mut world = Self::new(seed);
        let server = *world.server.public();
        for name in names.iter().skip(2) {
            let device = Self::device(&mut world.rng, name, server);
            world.devices.push(device);
            world.welcome(world.devices.len() - 1);
        }
        let members = (0..world.devices.len()).map(|device| world.listed(device, device == ADA)).collect();
        let ada = &world.devices[ADA];
        let mut list = AccessList {
            format: 1,
            room: RoomId::from_bytes([77; 16]),
            version: 1,
            previous: None,
            name: "team".into(),
            terms: Terms::room(protection),
            creator: ada.address.user.clone(),
            members,
            signer: ada.address.clone(),
            created: WallTime::from_unix(1),
        };
        list.members.sort_by(|a, b| a.user.cmp(&b.user));
        world.access = vec![Access::sign(list, &ada.identity).unwrap()];
        world
    }

    /// A blind room of so many, who all hear each other; Ada came first and is host.
    pub(crate) fn in_room(seed: u64, count: usize) -> Self {
        let mut world = Self::room(seed, &NAMES[..count], Protection::Blind);
        (0..count).for_each(|device| world.enter(device));
        world.run(1_500);
        let everybody: Vec<usize> = (0..count).collect();
        assert!(world.all_hear(&everybody, 1_000), "{:?}", world.devices[ADA].events);
        world
    }

    /// The first fifty may speak.
    pub(crate) fn listed(&self, place: usize, moderate: bool) -> Listed {
        let device = &self.devices[place];
        let rights = Rights { speak: place < MAX_SPEAKERS, moderate };
        Listed { user: device.address.user.clone(), account: *device.list.account(), rights }
    }

    /// Ada changes who is on the list; everybody connected is told.
    pub(crate) fn relist(&mut self, mut members: Vec<Listed>) {
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let (before, ada) = (self.access.last().unwrap(), &self.devices[ADA]);
        let next = before.next(members, ada.address.clone(), WallTime::from_unix(2));
        let next = Access::sign(next, &ada.identity).unwrap();
        next.follows(before).unwrap();
        let (room, version) = (next.list().room, next.list().version);
        self.access.push(next);
        for device in 0..self.devices.len() {
            self.signals.push_back((device, ToDevice::RoomChanged { room, version }));
        }
    }

    pub(crate) fn enter(&mut self, device: usize) {
        let access = Box::new(self.access.last().unwrap().clone());
        self.input(device, Input::JoinRoom { access, quorum: None });
    }
}
