//! What a person can be told about the group.

use core::time::Duration;

use undertone_groups::member::{Spent, Standpoint};
use undertone_groups::{Member, Suite};
use undertone_keys::Time;

use super::{Mls, QuorumExplained};
use crate::room::RoomCall;

/// The newest epoch of this device.
#[derive(Clone, Debug)]
pub(in crate::room) struct Began {
    pub(super) epoch: u64,
    /// Who committed; none where this device came into it from outside.
    pub(super) by: Option<Member>,
    pub(in crate::room) at: Time,
    /// The version of the access list that this device went by then.
    pub(in crate::room) version: u32,
    /// Somebody's leaf went with it.
    pub(in crate::room) removed: bool,
}

/// The group of a room's call, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupExplained {
    /// Where this device stands in it.
    pub standpoint: Standpoint,
    /// What protects it.
    pub suite: Suite,
    /// The newest epoch that this device is in.
    pub epoch: Option<u64>,
    /// Who has committed last; none where this device came into the epoch from outside, or is in none.
    pub committed_by: Option<Member>,
    /// How long ago that was.
    pub ago: Option<Duration>,
    /// Who is in the tree, by leaf: whoever is can open what is sealed in this epoch, and nobody else.
    pub members: Vec<Member>,
    /// The own leaf.
    pub own_leaf: Option<u32>,
    /// What keys have cost.
    pub spent: Spent,
    /// The quorum secret that every epoch has in it, where the terms say that one does.
    pub quorum: Option<QuorumExplained>,
}

impl Mls {
    fn explain(&self, now: Time) -> GroupExplained {
        let began = self.began.as_ref().filter(|_| !self.membership.members().is_empty());
        GroupExplained {
            standpoint: self.membership.standpoint(),
            suite: self.suite,
            epoch: began.map(|began| began.epoch),
            committed_by: began.and_then(|began| began.by.clone()),
            ago: began.map(|began| now.since(began.at)),
            members: self.membership.members().to_vec(),
            own_leaf: self.membership.own_leaf(),
            spent: self.membership.spent(),
            quorum: self.explain_quorum(),
        }
    }

    /// The epoch that is sealed under.
    pub(in crate::room) const fn sealing(&self) -> Option<u32> {
        self.sealing
    }

    /// Nothing is sealed.
    pub(in crate::room) const fn is_held(&self) -> bool {
        self.said_held
    }

    /// Whether a device is in the tree.
    pub(in crate::room) fn has(&self, member: &undertone_keys::envelope::Address) -> bool {
        self.roster.iter().any(|leaf| leaf.user == member.user && leaf.device == member.device)
    }
}

impl RoomCall {
    /// What there is to say about the room's MLS group; none where keys come from elsewhere.
    #[must_use]
    pub fn explain_group(&self, now: Time) -> Option<GroupExplained> {
        self.mls.as_ref().map(|mls| mls.explain(now))
    }
}
