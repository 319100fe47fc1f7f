//! Who is in the call, held against who is in the tree.

use std::collections::{BTreeMap, BTreeSet};

use undertone_keys::{JoinId, Time};

use super::policy::MemberPolicy;
use super::state::View;
use crate::roll::{DeviceRef, Member, Roll, Standing};

/// What the relay has shown, and which leaves have been replaced.
#[derive(Debug, Default)]
pub(super) struct Presence {
    here: BTreeSet<DeviceRef>,
    /// Was here, and is not any more.
    gone: BTreeSet<DeviceRef>,
    complete: bool,
    /// How many others are there, proven or not.
    shown: usize,
    /// Joins that have been followed by a newer one of the same device.
    replaced: BTreeSet<JoinId>,
    /// Leaves whose device has not been shown, and since when.
    unseen: BTreeMap<JoinId, Time>,
}

/// Whether a leaf is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    Goes,
    /// If its device is not shown by then.
    GoesAt(Time),
}

impl Presence {
    pub(super) fn arrived(&mut self, device: DeviceRef) {
        self.gone.remove(&device);
        self.here.insert(device);
    }

    pub(super) fn left(&mut self, device: DeviceRef) {
        if self.here.remove(&device) {
            self.gone.insert(device);
        }
    }

    /// What was seen before is nothing to go by while the relay is showing everybody anew.
    pub(super) fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
        self.unseen.clear();
        if !complete {
            self.gone.clear();
        }
    }

    pub(super) fn is_here(&self, device: &DeviceRef) -> bool {
        self.here.contains(device)
    }

    pub(super) const fn set_shown(&mut self, others: usize) {
        self.shown = others;
    }

    /// Whether the relay has shown everybody, and that is nobody.
    pub(super) fn is_alone(&self) -> bool {
        self.complete && self.here.is_empty() && self.shown == 0
    }

    pub(super) fn here(&self) -> impl Iterator<Item = &DeviceRef> {
        self.here.iter()
    }

    pub(super) fn count(&self) -> usize {
        self.here.len()
    }

    /// A new tree: of each device that has a new leaf the older ones are replaced.
    pub(super) fn tree(&mut self, view: &View, added: &[Member], now: Time) {
        for new in added {
            let older = view.members.iter().filter(|other| other.same_device(new) && other.join != new.join);
            let older: Vec<_> = older.filter(|other| !added.contains(other)).map(|other| other.join).collect();
            self.replaced.extend(older);
        }
        let joins: BTreeSet<JoinId> = view.members.iter().map(|member| member.join).collect();
        self.replaced.retain(|join| joins.contains(join));
        self.unseen.retain(|join, _| joins.contains(join));
        self.look(view, now);
    }

    /// Notes since when a leaf's device is not seen.
    pub(super) fn look(&mut self, view: &View, now: Time) {
        for member in &view.members {
            if self.here.contains(&member.device_ref()) {
                self.unseen.remove(&member.join);
            } else {
                self.unseen.entry(member.join).or_insert(now);
            }
        }
    }

    pub(super) fn verdict(&self, view: &View, member: &Member, roll: &dyn Roll, policy: &MemberPolicy) -> Verdict {
        if member.join == view.join {
            return Verdict::Stays;
        }
        let own_older = view.members.get(view.place).is_some_and(|own| own.same_device(member));
        let device = member.device_ref();
        let refused = || roll.standing(&device.user, &device.device) == Standing::Refused;
        if own_older || self.replaced.contains(&member.join) || refused() {
            return Verdict::Goes;
        }
        if self.here.contains(&device) || !self.complete {
            return Verdict::Stays;
        }
        match self.unseen.get(&member.join) {
            _ if self.gone.contains(&device) => Verdict::Goes,
            Some(since) => Verdict::GoesAt(*since + policy.unseen),
            None => Verdict::Stays,
        }
    }

    /// The leaves that may be counted on to act, the own one among them, by index.
    pub(super) fn able(&self, view: &View) -> Vec<u32> {
        let able = |member: &&Member| {
            member.join == view.join
                || (self.here.contains(&member.device_ref()) && !self.replaced.contains(&member.join))
        };
        view.members.iter().filter(able).map(|member| member.index).collect()
    }
}

/// The place of a leaf in an order that begins at `from`.
pub(super) fn place(order: &[u32], from: usize, leaf: u32) -> usize {
    let at = order.iter().position(|other| *other == leaf).unwrap_or_default();
    let count = order.len().max(1);
    (at + count - from % count) % count
}

/// The place of a leaf behind another: the next one has place 0.
pub(super) fn behind(order: &[u32], other: u32, leaf: u32) -> usize {
    let from = order.iter().position(|index| *index > other).unwrap_or_default();
    place(order, from, leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mls_4_places_go_round() {
        let order = [0, 2, 5, 9];
        assert_eq!(order.map(|leaf| place(&order, 0, leaf)), [0, 1, 2, 3]);
        assert_eq!(order.map(|leaf| place(&order, 2, leaf)), [2, 3, 0, 1]);
        assert_eq!(order.map(|leaf| place(&order, 7, leaf)), [1, 2, 3, 0]);
        assert_eq!(order.map(|leaf| behind(&order, 2, leaf)), [2, 3, 0, 1]);
        assert_eq!(order.map(|leaf| behind(&order, 9, leaf)), [0, 1, 2, 3]);
        assert_eq!(order.map(|leaf| behind(&order, 3, leaf)), [2, 3, 0, 1]);
        assert_eq!(place(&[], 3, 1), 0);
    }
}
