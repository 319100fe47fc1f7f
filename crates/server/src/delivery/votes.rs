//! What members say of the group info at hand. The server cannot follow private commits, so whoever won an epoch may have brought a
//! group info that does not come of its commit, and those who come in by it would be in a group of their own. Members attest what
//! they see.

use std::collections::{HashMap, HashSet};

use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, UserId};
use undertone_protocol::delivery::EpochDigest;
use undertone_protocol::limits::MAX_ATTESTS;

/// How many people attest the group info at hand, and how many something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) attested: u32,
    pub(super) disputed: u32,
}

impl Tally {
    /// Whether it is not to be handed out.
    pub(super) const fn is_disputed(self) -> bool {
        self.disputed > self.attested
    }
}

/// The votes of one epoch. A device has one, and its first stands. People are counted, not devices: who has forty of them is one.
#[derive(Debug)]
pub(super) struct Votes {
    digest: EpochDigest,
    by: HashMap<DeviceId, (UserId, EpochDigest)>,
}

impl Votes {
    /// No votes yet, on a group info with this digest.
    pub(super) fn new(digest: EpochDigest) -> Self {
        Self { digest, by: HashMap::new() }
    }

    /// Counts a vote; whether it is one more that says otherwise.
    pub(super) fn cast(&mut self, by: &Address, digest: EpochDigest) -> bool {
        if self.by.len() >= MAX_ATTESTS || self.by.contains_key(&by.device) {
            return false;
        }
        self.by.insert(by.device, (by.user.clone(), digest));
        digest != self.digest
    }

    /// Whether this is the digest of the group info at hand.
    pub(super) fn is_on(&self, digest: EpochDigest) -> bool {
        self.digest == digest
    }

    /// What this device voted for.
    pub(super) fn of(&self, device: DeviceId) -> Option<EpochDigest> {
        self.by.get(&device).map(|(_, digest)| *digest)
    }

    /// How the votes stand on a group info with this digest. Whose devices do not agree counts on both sides.
    pub(super) fn on(&self, digest: EpochDigest) -> Tally {
        let people = |agrees: bool| {
            let of_it = self.by.values().filter(|(_, vote)| (*vote == digest) == agrees).map(|(user, _)| user);
            u32::try_from(of_it.collect::<HashSet<&UserId>>().len()).unwrap_or(u32::MAX)
        };
        Tally { attested: people(true), disputed: people(false) }
    }

    /// How they stand on the one at hand.
    pub(super) fn tally(&self) -> Tally {
        self.on(self.digest)
    }

    /// Another group info is at hand.
    pub(super) const fn turn_to(&mut self, digest: EpochDigest) {
        self.digest = digest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(user: &str, device: u16) -> Address {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&device.to_be_bytes());
        Address { user: user.parse().unwrap(), device: DeviceId::from_bytes(bytes) }
    }

    #[test]
    fn mls_3_people_are_counted_once_however_many_devices_they_have() {
        let (right, wrong) = ([1; 32], [2; 32]);
        let mut votes = Votes::new(wrong);
        for device in 0..40 {
            votes.cast(&address("eve@x", device), wrong);
        }
        assert_eq!(votes.tally(), Tally { attested: 1, disputed: 0 });
        assert!(votes.cast(&address("ada@x", 100), right));
        assert!(!votes.tally().is_disputed(), "one against one: it stands");
        assert!(!votes.cast(&address("ada@x", 100), wrong), "the first stands");
        assert!(votes.cast(&address("bob@x", 101), right));
        assert_eq!(votes.tally(), Tally { attested: 1, disputed: 2 });
        assert!(votes.tally().is_disputed());
        // Whose devices are in two groups says both.
        votes.cast(&address("bob@x", 102), wrong);
        assert_eq!(votes.tally(), Tally { attested: 2, disputed: 2 });
        assert_eq!(votes.on(right), Tally { attested: 2, disputed: 2 });
    }

    #[test]
    fn dos_1_votes_are_bounded() {
        let mut votes = Votes::new([1; 32]);
        for device in 0..u16::try_from(MAX_ATTESTS + 100).unwrap() {
            votes.cast(&address(&format!("m{device}@x"), device), [1; 32]);
        }
        assert_eq!(votes.by.len(), MAX_ATTESTS);
    }
}
