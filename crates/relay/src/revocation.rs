//! Devices that their users revoked: out of every room at once, and their grants good for nothing (rule CALL-6).
//!
//! Whoever holds keys does not need this: members go on under keys that the device does not get. It is what makes a stolen device
//! go where a server has opened rooms to it, and stay away.

use core::time::Duration;
use std::collections::{HashMap, HashSet};

use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, Time, UserId, WallTime};
use undertone_protocol::control::Refusal;
use undertone_protocol::limits::{GRANT_LIFETIME, MAX_REVOKED};

use crate::rooms::{ConnectionId, Rooms};

/// A grant may have been on its way to be signed while its device was revoked: those that were signed so much later are
/// good for nothing either. The server signs none for a device that it knows to be revoked.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// Which devices' grants were taken back.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    /// By device and user: what one account says of a device is nothing to another.
    members: HashMap<Address, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Time,
    /// Grants that end no later are refused.
    until: WallTime,
}

impl Revoked {
    /// Refuses these devices' grants that end no later than `until`, for as long as there can be any.
    fn add(&mut self, now: Time, wall: WallTime, members: Vec<Address>, until: WallTime) {
        let lifetime = GRANT_LIFETIME + UNDER_WAY;
        // By either clock: that of the wall may be set.
        self.members.retain(|_, entry| entry.until > wall || now.since(entry.since) < lifetime);
        for member in members {
            if self.members.len() >= MAX_REVOKED && !self.members.contains_key(&member) {
                let oldest = self.members.iter().min_by_key(|(_, entry)| entry.since).map(|(member, _)| member.clone());
                oldest.and_then(|oldest| self.members.remove(&oldest));
            }
            self.members.insert(member, Entry { since: now, until });
        }
    }

    /// Whether a grant that ends then was taken back.
    pub(crate) fn refuses(&self, member: &Address, expires: WallTime) -> bool {
        self.members.get(member).is_some_and(|entry| expires <= entry.until)
    }
}

impl Rooms {
    /// The server's own word: these devices may not act any more.
    pub(crate) fn revoke(&mut self, now: Time, members: Vec<Address>, wall: WallTime) {
        self.latest = self.latest.max(wall.plus(GRANT_LIFETIME.as_secs()));
        let until = self.latest.plus(UNDER_WAY.as_secs());
        let devices: HashSet<DeviceId> = members.iter().map(|member| member.device).collect();
        let is_one = |user: &UserId, device: DeviceId| {
            members.iter().any(|member| member.device == device && member.user == *user)
        };
        let gone: Vec<ConnectionId> = self
            .rooms
            .values()
            .flat_map(|room| room.roster().seats())
            .filter(|seat| devices.contains(&seat.device) && is_one(&seat.user, seat.device))
            .map(|seat| seat.connection)
            .collect();
        self.revoked.add(now, wall, members, until);
        for connection in gone {
            self.refuse(now, connection, Refusal::Revoked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: usize) -> Address {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        Address { user: UserId::parse("ada", "x").unwrap(), device: DeviceId::from_bytes(id) }
    }

    #[test]
    fn call_6_what_is_remembered_of_revoked_devices_is_bounded() {
        let (mut revoked, wall) = (Revoked::default(), WallTime::from_unix(1_000));
        let until = wall.plus(GRANT_LIFETIME.as_secs());
        revoked.add(Time::ZERO, wall, (0..MAX_REVOKED).map(member).collect(), until);
        revoked.add(Time::from_millis(1), wall, vec![member(0)], until);
        assert_eq!(revoked.members.len(), MAX_REVOKED, "nobody goes for one that is known");
        revoked.add(Time::from_millis(2), wall, vec![member(MAX_REVOKED)], until);
        assert_eq!(revoked.members.len(), MAX_REVOKED);
        assert!(revoked.refuses(&member(MAX_REVOKED), until), "the newest is kept");
        assert!(revoked.refuses(&member(0), until) && !revoked.refuses(&member(0), until.plus(1)));

        // Forgotten when no grant of theirs can be good any more, by the clock that nobody sets as well.
        let lifetime = GRANT_LIFETIME + UNDER_WAY;
        revoked.add(Time::from_millis(3), until.plus(100), vec![], until);
        assert_eq!(revoked.members.len(), MAX_REVOKED);
        revoked.add(Time::from_millis(3) + lifetime, wall, vec![], until);
        assert_eq!(revoked.members.len(), MAX_REVOKED);
        revoked.add(Time::from_millis(3) + lifetime, until.plus(100), vec![], until);
        assert!(revoked.members.is_empty());
    }
}
