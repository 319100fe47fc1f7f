//! Two groups under one name, and what does not open (rules MLS-3, EKR-7).
//!
//! A member that says another authenticator of an epoch that is here may lie. Then whoever believes it joins anew for nothing, once in
//! [`MemberPolicy::by_self`](super::policy::MemberPolicy): that is the price of stopping at the first sign. Who says so again is not
//! believed when somebody else agrees within [`MemberPolicy::blind`](super::policy::MemberPolicy).

use std::collections::BTreeSet;

use undertone_keys::Time;

use super::interface::{Event, Output, Reason};
use super::state::{Again, State};
use super::timer::Timer;
use super::{Membership, Turn};
use crate::group::Authenticator;
use crate::roll::DeviceRef;

/// What speaks for another group than this device's.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// When something that did not open was last acted on.
    acted: Option<Time>,
    /// Who has this epoch with the same authenticator.
    agreed: BTreeSet<DeviceRef>,
    /// Whose frames name this epoch and do not open.
    blind: BTreeSet<DeviceRef>,
    /// Whose frames name later ones.
    ahead: BTreeSet<DeviceRef>,
    /// By whose word this device has joined anew.
    believed: BTreeSet<DeviceRef>,
    /// Who of them says the same of this epoch.
    again: BTreeSet<DeviceRef>,
    forked: Option<Time>,
}

impl Doubts {
    pub(super) fn new_epoch(&mut self) {
        self.agreed.clear();
        self.blind.clear();
        self.ahead.clear();
        self.again.clear();
    }
}

impl Membership {
    pub(super) fn on_told(&mut self, turn: &mut Turn<'_, '_>, device: DeviceRef, epoch: u64, says: Authenticator) {
        let (State::Inside, Some(view)) = (&self.state, &self.view) else { return };
        if !view.members.iter().any(|member| member.device_ref() == device) || device == self.me {
            return;
        }
        if epoch > view.epoch {
            self.on_ahead(turn, device);
        } else if epoch < view.epoch {
            // Behind, or an answer that was overtaken.
        } else if says == view.authenticator {
            self.doubts.blind.remove(&device);
            self.doubts.agreed.insert(device);
        } else if self.doubts.believed.contains(&device) {
            // Once more, it is not believed before others had the time to say otherwise.
            if self.doubts.again.insert(device.clone()) {
                self.event(Event::Accused { by: device });
                self.timers.start(Timer::Doubt, turn.now + self.policy.blind);
            }
        } else {
            self.fork(turn, epoch, Some(device));
        }
    }

    pub(super) fn on_cannot_open(&mut self, turn: &mut Turn<'_, '_>, device: DeviceRef, epoch: u64) {
        let (State::Inside, Some(view)) = (&self.state, &self.view) else { return };
        if epoch > view.epoch {
            self.on_ahead(turn, device);
        } else if epoch == view.epoch && view.members.iter().any(|member| member.device_ref() == device) {
            let authenticator = view.authenticator;
            if self.may_act(turn.now) {
                self.turn.push(Output::Tell { to: vec![device.clone()], epoch, authenticator });
            }
            if !self.doubts.agreed.contains(&device) {
                self.doubts.blind.insert(device);
                self.timers.start(Timer::Doubt, turn.now + self.policy.blind);
            }
        }
    }

    /// Somebody seals under a later epoch, or says so: what is missing is asked for. What a member says is no proof that there is
    /// one; the delivery service says where the group is.
    fn on_ahead(&mut self, turn: &mut Turn<'_, '_>, device: DeviceRef) {
        self.doubts.ahead.insert(device);
        self.timers.start(Timer::Doubt, turn.now + self.policy.behind_most);
        if self.may_act(turn.now) {
            self.follow(turn.now);
        }
    }

    fn may_act(&mut self, now: Time) -> bool {
        let may = self.doubts.acted.is_none_or(|last| now.since(last) >= self.policy.emergency);
        if may {
            self.doubts.acted = Some(now);
        }
        may
    }

    /// Whether more than half of the others seal under later epochs.
    pub(super) fn most_are_ahead(&self) -> bool {
        self.doubts.ahead.len() * 2 > self.others()
    }

    fn others(&self) -> usize {
        self.view.as_ref().map_or(0, |view| self.presence.able(view).len().saturating_sub(1))
    }

    /// What did not open still does not.
    pub(super) fn decide(&mut self, turn: &mut Turn<'_, '_>) {
        let (State::Inside, Some(view)) = (&self.state, &self.view) else { return };
        let (epoch, others) = (view.epoch, self.others());
        if self.most_are_ahead() {
            self.doubts.ahead.clear();
            self.cannot(Reason::Withheld);
            self.go_astray(turn, Again::Same);
        } else if self.doubts.agreed.is_empty() {
            let by = self.doubts.again.first().cloned();
            if by.is_some() || self.doubts.blind.len() * 2 > others {
                self.fork(turn, epoch, by);
            }
        }
        self.doubts.blind.clear();
        self.doubts.ahead.clear();
    }

    /// There are two groups. This device seals nothing more, and comes into the one that the delivery service has.
    fn fork(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, by: Option<DeviceRef>) {
        self.event(Event::Forked { epoch, by: by.clone() });
        let again = self.doubts.forked.is_some_and(|last| turn.now.since(last) < self.policy.by_self * 2);
        if again {
            self.cannot(Reason::Forked);
        }
        self.doubts.forked = Some(turn.now);
        self.doubts.believed.extend(by);
        self.go_astray(turn, Again::Same);
    }
}
