//! Who hears whom, and what a device was told.

use undertone_call::Outcome;
use undertone_client::engine::Event;

use super::{ADA, BOB, World};

impl World {
    /// The epochs of the room's key that this device has used, in order.
    pub(crate) fn epochs(&self, device: usize) -> Vec<u32> {
        let epoch = |event: &Event| match event {
            Event::Room { event: undertone_call::room::Event::Epoch(epoch), .. } => Some(epoch.0),
            _ => None,
        };
        self.devices[device].events.iter().filter_map(epoch).collect()
    }

    /// The newest of them.
    pub(crate) fn newest(&self, device: usize) -> u32 {
        *self.epochs(device).last().unwrap()
    }

    /// Whom these devices take for host now, by index.
    pub(crate) fn host_of<const N: usize>(&self, devices: [usize; N]) -> [Option<u16>; N] {
        devices.map(|device| self.hosts(device).last().copied())
    }

    /// The hosts that this device has gone by, by index.
    pub(crate) fn hosts(&self, device: usize) -> Vec<u16> {
        let host = |event: &Event| match event {
            Event::Room { event: undertone_call::room::Event::Host { index, .. }, .. } => Some(*index),
            _ => None,
        };
        self.devices[device].events.iter().filter_map(host).collect()
    }

    /// Everybody's index who is in the room, by what they were told.
    pub(crate) fn index(&self, device: usize) -> Option<u16> {
        let connection = self.devices[device].relay?;
        self.indices.get(&connection).copied()
    }

    /// Whether this device sealed this packet, by the index it bears.
    pub(crate) fn sent_by(&self, device: usize, packet: &[u8]) -> bool {
        let sealed = &packet[undertone_media::packet::HEADER_LENGTH..];
        let (header, _) = undertone_media::sframe::Header::decode(sealed).unwrap();
        undertone_media::KeyId::from_u64(header.key_id).map(|id| id.sender) == self.index(device)
    }

    /// Whether each of these hears nearly every frame of each other one in the next `ms`.
    pub(crate) fn all_hear(&mut self, devices: &[usize], ms: u64) -> bool {
        for device in devices {
            self.devices[*device].heard_from.clear();
        }
        self.run(ms);
        let frames = u32::try_from(ms / 20).unwrap();
        devices.iter().all(|listener| {
            devices.iter().filter(|speaker| *speaker != listener).all(|speaker| {
                let index = self.index(*speaker).unwrap();
                let heard = self.devices[*listener].heard_from.get(&index).copied().unwrap_or_default();
                heard + 2 >= frames
            })
        })
    }

    /// Whether both hear nearly every frame of the next `ms`.
    pub(crate) fn both_hear(&mut self, ms: u64) -> bool {
        let before = [ADA, BOB].map(|device| self.devices[device].heard);
        self.run(ms);
        [ADA, BOB]
            .iter()
            .all(|device| self.devices[*device].heard - before[*device] + 2 >= u32::try_from(ms / 20).unwrap())
    }

    pub(crate) fn over(&self, device: usize) -> Option<Outcome> {
        self.devices[device].events.iter().find_map(|event| match event {
            Event::Over { outcome, .. } | Event::Refused { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }
}
