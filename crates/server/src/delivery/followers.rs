//! Who follows a group, and what of its history they still need.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use undertone_keys::DeviceId;
use undertone_keys::envelope::Address;
use undertone_protocol::limits::{DESERTED_AFTER, FOLLOWER_MEMORY, MAX_FOLLOWERS};

use crate::memberships::Membership;

#[derive(Debug)]
struct Follower {
    address: Address,
    /// The number of its connection, while it has one.
    line: Option<u64>,
    /// The epoch that it is known to be in, if it is in the group: it needs the commit that ends it.
    seen: Option<u64>,
    /// Since when it has none.
    left: Instant,
}

impl Follower {
    fn is_remembered(&self, now: Instant) -> bool {
        self.line.is_some() || now.saturating_duration_since(self.left) < FOLLOWER_MEMORY
    }
}

/// The devices that follow one group, and those that did a short while ago.
#[derive(Debug, Default)]
pub(super) struct Followers(HashMap<DeviceId, Follower>);

impl Followers {
    /// A device follows on this connection; `false` where there are as many as can.
    pub(super) fn follow(&mut self, address: &Address, line: u64, seen: Option<u64>, now: Instant) -> bool {
        self.enter(address, Some(line), seen, now)
    }

    /// A device is let in and is to find the commits behind its `Welcome` when it comes.
    pub(super) fn expect(&mut self, address: &Address, seen: u64, now: Instant) {
        let line = self.0.get(&address.device).and_then(|follower| follower.line);
        self.enter(address, line, Some(seen), now);
    }

    fn enter(&mut self, address: &Address, line: Option<u64>, seen: Option<u64>, now: Instant) -> bool {
        if self.0.len() >= MAX_FOLLOWERS && !self.0.contains_key(&address.device) {
            self.0.retain(|_, follower| follower.line.is_some());
        }
        if self.0.len() >= MAX_FOLLOWERS && !self.0.contains_key(&address.device) {
            return false;
        }
        let follower = Follower { address: address.clone(), line, seen, left: now };
        self.0.insert(address.device, follower);
        true
    }

    /// A device shows that it is in this epoch.
    pub(super) fn saw(&mut self, device: DeviceId, epoch: u64) {
        if let Some(follower) = self.0.get_mut(&device) {
            follower.seen = follower.seen.max(Some(epoch));
        }
    }

    /// A device does not follow any more, on this connection.
    pub(super) fn unfollow(&mut self, device: DeviceId, line: u64) {
        if self.0.get(&device).is_some_and(|follower| follower.line == Some(line)) {
            self.0.remove(&device);
        }
    }

    /// These devices have no connection any more.
    pub(super) fn left(&mut self, gone: &[DeviceId], now: Instant) {
        for device in gone {
            if let Some(follower) = self.0.get_mut(device) {
                (follower.line, follower.left) = (None, now);
            }
        }
    }

    /// The devices that follow and have been in the group at some time.
    pub(super) fn members(&self) -> impl Iterator<Item = &Address> {
        let members = self.0.values().filter(|follower| follower.line.is_some() && follower.seen.is_some());
        members.map(|follower| &follower.address)
    }

    /// Whether nobody of these follows any more who has been in the group, or may come back to it.
    pub(super) fn have_deserted(&self, now: Instant, may_be_inside: impl Fn(&Address) -> bool) -> bool {
        let stays = |follower: &Follower| {
            follower.line.is_some() || now.saturating_duration_since(follower.left) < DESERTED_AFTER
        };
        let mut members = self.0.values().filter(|who| who.seen.is_some() && may_be_inside(&who.address));
        !members.any(stays)
    }

    /// Those who follow on a connection, in the group or not.
    pub(super) fn following(&self) -> impl Iterator<Item = &Address> {
        self.0.values().filter(|follower| follower.line.is_some()).map(|follower| &follower.address)
    }

    /// There is no group any more that anybody could have seen.
    pub(super) fn begin_anew(&mut self) {
        self.0.values_mut().for_each(|follower| follower.seen = None);
    }

    /// The group is in this epoch again, and these were never let in.
    pub(super) fn step_back(&mut self, epoch: u64, newcomers: &HashSet<DeviceId>) {
        for (device, follower) in &mut self.0 {
            let seen = follower.seen.filter(|_| !newcomers.contains(device));
            follower.seen = seen.map(|seen| seen.min(epoch));
        }
    }

    /// Forgets those who left long ago.
    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, follower| follower.is_remembered(now));
    }

    /// The connections of those who follow.
    pub(super) fn lines(&self) -> impl Iterator<Item = (DeviceId, u64)> {
        self.0.iter().filter_map(|(device, follower)| Some((*device, follower.line?)))
    }

    /// The connections of those who are to be told, without those who are not on the room's list any more: they follow no more.
    pub(super) fn told(&mut self, room: &Membership, except: Option<DeviceId>) -> Vec<(DeviceId, u64)> {
        self.0.retain(|_, follower| room.may_be_member(&follower.address.user));
        self.lines().filter(|(device, _)| Some(*device) != except).collect()
    }

    /// The oldest epoch that anybody is in who is waited for: commits before it are of no use. `None` where nobody is.
    pub(super) fn oldest(&self, now: Instant) -> Option<u64> {
        let waited_for = self.0.values().filter(|follower| follower.is_remembered(now));
        waited_for.filter_map(|follower| follower.seen).min()
    }

    /// Whether nobody is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(device: u16) -> Address {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&device.to_be_bytes());
        Address { user: "ada@x".parse().unwrap(), device: DeviceId::from_bytes(bytes) }
    }

    #[test]
    fn ekr_7_what_somebody_lacks_is_kept_while_they_are_waited_for() {
        let (mut followers, now) = (Followers::default(), Instant::now());
        assert_eq!(followers.oldest(now), None);
        assert!(followers.follow(&address(1), 1, Some(5), now));
        assert!(followers.follow(&address(2), 2, Some(3), now));
        assert!(followers.follow(&address(3), 3, None, now), "not in the group: it needs nothing");
        assert_eq!(followers.oldest(now), Some(3));
        followers.saw(address(2).device, 7);
        followers.saw(address(2).device, 4);
        assert_eq!(followers.oldest(now), Some(5), "nobody goes back");
        followers.expect(&address(4), 4, now);
        assert_eq!(followers.oldest(now), Some(4), "who is let in and was not there yet");
        followers.left(&[address(1).device], now);
        let later = now + FOLLOWER_MEMORY - Duration::from_secs(1);
        assert_eq!(followers.oldest(later), Some(4));
        let later = now + FOLLOWER_MEMORY;
        assert_eq!(followers.oldest(later), Some(7), "who does not come back is not waited for for ever");
        followers.forget(later);
        assert_eq!(followers.lines().count(), 2);
        assert_eq!(followers.0.len(), 2);
    }

    #[test]
    fn dos_1_followers_are_bounded_and_who_is_gone_gives_way() {
        let (mut followers, now) = (Followers::default(), Instant::now());
        for device in 0..u16::try_from(MAX_FOLLOWERS).unwrap() {
            assert!(followers.follow(&address(device), 1, None, now));
        }
        assert!(!followers.follow(&address(9_999), 1, None, now));
        assert!(followers.follow(&address(5), 2, None, now), "who follows already does again");
        followers.unfollow(address(5).device, 1);
        assert!(!followers.follow(&address(9_999), 1, None, now), "an older connection ended, the newer follows");
        followers.left(&[address(7).device], now);
        assert!(followers.follow(&address(9_999), 1, None, now));
    }
}
