//! Which part a device has in a room with a group: it is a member of it, or it only listens.

use undertone_groups::member::{Input, Membership};
use undertone_groups::{Store, WriteSet};

use super::{Mls, device_ref, suite_of};
use crate::room::audience::Listening;
use crate::room::{Output, RoomCall};

impl RoomCall {
    /// In a room whose keys come from an MLS group: with all groups of this device, as they are on its disk. `online` says whether the
    /// server can be reached now.
    #[must_use]
    pub fn with_groups(mut self, store: Store, online: bool) -> Self {
        if let Some(suite) = self.access.list().terms.group_suite {
            // Who was a member before, and is in the audience now, is left with nothing of the group.
            self.mls = Some(Box::new(Mls::new(&self, suite_of(suite), store, online)));
            self.take_part();
        }
        self
    }

    /// The part that the list gives this device. Whoever may speak from now on comes into the group, whoever may not goes out of it.
    pub(in crate::room) fn take_part(&mut self) {
        let Some(suite) = self.access.list().terms.group_suite else { return };
        let listed = self.access.list().listed(&self.local.address.user);
        let only_listens = listed.is_some_and(|listed| self.access.list().terms.is_audience(listed.rights));
        if only_listens && let Some(mls) = self.mls.take() {
            let (online, (store, last)) = (mls.online, mls.end());
            // Every write set says the format; one that says nothing else changes nothing.
            if last.len() > 1 {
                self.outputs.push_back(Output::Store(last));
            }
            // It has to be served anew: what it has had as a member is not gone on with.
            self.outputs.push_back(Output::Clear);
            self.listening = Some(Box::new(Listening::new(store, online)));
        } else if !only_listens && let Some(listening) = self.listening.take() {
            let Listening { store, online, .. } = *listening;
            let mut mls = Mls::new(self, suite_of(suite), store, online);
            let seats = self.seats.values().filter(|seat| seat.is_admitted() && !seat.is_audience());
            seats.for_each(|seat| mls.tell(Input::Present(device_ref(seat.member()))));
            self.outputs.push_back(Output::Clear);
            self.mls = Some(Box::new(mls));
        }
    }

    /// The call is over for this device: all its groups, without this one, and what is still to be changed on its disk, in this order.
    /// None where keys come from elsewhere.
    #[must_use]
    pub fn into_groups(self) -> Option<(Store, Vec<WriteSet>)> {
        let pending = self.outputs.into_iter().filter_map(|output| match output {
            Output::Store(writes) => Some(writes),
            _ => None,
        });
        let (store, last) = match (self.mls, self.listening) {
            (Some(mls), _) => {
                let (store, last) = mls.end();
                (store, Some(last))
            }
            (None, Some(listening)) => (listening.store, None),
            (None, None) => return None,
        };
        Some((store, pending.chain(last).collect()))
    }

    /// Whether keys come from an MLS group.
    #[must_use]
    pub const fn has_group(&self) -> bool {
        self.mls.is_some() || self.listening.is_some()
    }

    /// Whether keys come from an MLS group, and this device is no member of it and only listens (rule GRP-9).
    #[must_use]
    pub const fn only_listens(&self) -> bool {
        self.listening.is_some()
    }
}

impl Mls {
    /// All groups of this device without this one, and what that changes on its disk.
    fn end(self) -> (Store, WriteSet) {
        let Self { membership, mut store, .. } = self;
        let last = Membership::end(membership, &mut store);
        (store, last)
    }

    /// How long the next in order waits for the one before it.
    pub(in crate::room) const fn step(&self) -> core::time::Duration {
        self.membership.policy().step
    }
}
