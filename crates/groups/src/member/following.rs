//! Commits of others: in their order, judged, and merged; what is missing is asked for.

use core::cmp::Ordering;

use super::interface::{Event, How, Lie, OutReason, Output, Reason};
use super::state::{Again, By, State};
use super::timer::Timer;
use super::{Membership, Turn};
use crate::failure::{Blame, Broken};
use crate::group::{Group, JudgeError, MergeError, ReceiveError, Received};
use crate::refused::Refused;
use crate::roll::{DeviceRef, Member, Standing};
use crate::step::Step;
use undertone_keys::Time;

/// What a commit comes to.
enum Outcome {
    /// Another epoch has begun.
    Merged(Step, Member),
    /// It removes this device.
    Removed(Step, Member),
    /// It is this device's own.
    Own(Step),
    /// Look these up first.
    Needs(Vec<DeviceRef>),
    /// It is not taken.
    Refused(Refused),
    /// It is not the commit that it should be.
    NotIt,
    /// It was made from the own leaf, and not by what is stored here.
    Forgotten,
    /// A pre-shared key is missing.
    Psk,
    Broken(Broken),
}

impl Membership {
    pub(super) fn on_commit(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, bytes: Vec<u8>) {
        self.known = self.known.max(epoch.saturating_add(1));
        if let State::JoiningBySelf { flight, .. } = &self.state
            && flight.upload.epoch == epoch
        {
            return if flight.upload.commit == bytes {
                self.by_self_accepted(turn);
            } else {
                self.lost_by_self(turn);
            };
        }
        let ours = self.view.as_ref().map(|view| view.epoch);
        match ours.map(|ours| epoch.cmp(&ours)) {
            Some(Ordering::Less) => {}
            // Nothing has changed about it.
            Some(Ordering::Equal) if self.refused.as_ref() == Some(&bytes) => {}
            Some(Ordering::Equal) if matches!(self.state, State::Inside) => {
                self.held.insert(epoch, bytes);
                self.follow_held(turn);
            }
            _ => {
                self.hold_commit(epoch, bytes);
                if matches!(self.state, State::Inside) {
                    self.is_behind(turn.now, epoch.saturating_add(1));
                }
            }
        }
    }

    /// Keeps a commit of a later epoch. The farthest ones go first: those are asked for again.
    fn hold_commit(&mut self, epoch: u64, bytes: Vec<u8>) {
        self.held.insert(epoch, bytes);
        let bytes = |held: &std::collections::BTreeMap<u64, Vec<u8>>| held.values().map(Vec::len).sum::<usize>();
        while self.held.len() > self.policy.held || bytes(&self.held) > self.policy.held_bytes {
            // On the way in it is the other way round: the newest are the ones that will be needed.
            if matches!(self.state, State::Inside) {
                self.held.pop_last()
            } else {
                self.held.pop_first()
            };
        }
    }

    /// Takes the commits that are at hand.
    pub(super) fn follow_held(&mut self, turn: &mut Turn<'_, '_>) {
        loop {
            let Some(ours) = self.view.as_ref().map(|view| view.epoch) else { return };
            if !matches!(self.state, State::Inside) {
                return;
            }
            self.held.retain(|epoch, _| *epoch >= ours);
            let Some(bytes) = self.held.remove(&ours) else { break };
            if !self.process(turn, ours, bytes) {
                return;
            }
        }
        self.caught_up_or_on(turn);
    }

    /// Whether the next one may be taken.
    fn process(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, bytes: Vec<u8>) -> bool {
        match receive(self.id, turn, &bytes) {
            Outcome::Merged(step, by) => {
                self.keep(turn, step);
                self.followed = self.followed.saturating_add(1);
                self.begin_epoch(turn, &By::Other(by));
                true
            }
            Outcome::Own(step) => {
                self.keep(turn, step);
                self.settled(turn);
                true
            }
            Outcome::Removed(step, by) => {
                self.keep(turn, step);
                self.removed(turn, by);
                false
            }
            Outcome::Needs(devices) => {
                self.held.insert(epoch, bytes);
                self.resolve(turn, devices);
                false
            }
            Outcome::Refused(why) => self.refuse(turn, epoch, bytes, why),
            Outcome::NotIt => {
                self.event(Event::ServerLied(Lie::Commit { epoch }));
                self.is_behind(turn.now, epoch.saturating_add(1));
                false
            }
            // What is stored here may be older than what was sent from the same leaf (rule STO-3). Where this process has committed it
            // is not: anybody in the group can write a commit that says it is this device's.
            Outcome::Forgotten if !self.restored => self.refuse(turn, epoch, bytes, Refused::Invalid),
            Outcome::Forgotten => {
                self.astray.get_or_insert(turn.now);
                self.old_store(turn);
                false
            }
            // Whoever is in the group has its quorum secret. Any other key nobody of this group can have: whoever mixed it in keeps the
            // others out.
            Outcome::Psk => self.refuse(turn, epoch, bytes, Refused::Psk),
            Outcome::Broken(broken) => {
                self.broken(turn, broken);
                false
            }
        }
    }

    /// A commit that this device does not take has ended its epoch.
    fn refuse(&mut self, turn: &Turn<'_, '_>, epoch: u64, bytes: Vec<u8>, why: Refused) -> bool {
        self.event(Event::CommitRefused { epoch, why });
        self.turn.push(Output::Reject { epoch });
        self.refused = Some(bytes);
        self.timers.start(Timer::Reconsider, turn.now + self.policy.reconsider);
        false
    }

    /// A commit has removed this device.
    fn removed(&mut self, turn: &mut Turn<'_, '_>, by: Member) {
        self.event(Event::Removed { by: Some(by) });
        self.outside();
        self.held.clear();
        let listed = turn.means.roll.standing(&self.me.user, &self.me.device) != Standing::Refused;
        if listed {
            // For others it was gone. It is not.
            self.await_welcome(turn);
        } else {
            self.forget(turn);
            self.timers.clear_all();
            self.state = State::Out(OutReason::Removed);
            self.hold(turn.now);
        }
    }

    /// A commit was refused, and stays so. Where nobody is known to have gone on from it the old epoch is as good as any: whoever seals
    /// under the new one is noticed ([`Input::CannotOpen`](super::Input)).
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_, '_>) {
        let (Some(_), State::Inside) = (&self.refused, &self.state) else { return };
        let Some(ours) = self.view.as_ref().map(|view| view.epoch) else { return };
        if self.known > ours.saturating_add(1) || self.most_are_ahead() {
            return self.go_astray(turn, Again::Same);
        }
        if !core::mem::replace(&mut self.refused_said, true) {
            self.cannot(Reason::Junk);
        }
        self.follow(turn.now);
        self.timers.set(Timer::Reconsider, turn.now + self.policy.denied);
    }

    /// The group is known to have come to this epoch, and this device is not there.
    pub(super) fn is_behind(&mut self, now: Time, epoch: u64) {
        self.known = self.known.max(epoch);
        let new = self.behind_since.is_none();
        self.behind_since.get_or_insert(now);
        if new {
            self.follow(now);
        }
        self.timers.start(Timer::Behind, now + self.policy.behind);
    }

    pub(super) fn caught_up(&mut self) {
        self.behind_since = None;
        self.timers.clear(Timer::Behind);
    }

    /// What is missing still is asked for.
    fn caught_up_or_on(&mut self, turn: &mut Turn<'_, '_>) {
        let Some(ours) = self.view.as_ref().map(|view| view.epoch) else { return };
        if let Some(last) = self.held.keys().next_back().copied() {
            self.is_behind(turn.now, last.saturating_add(1));
        }
        if ours >= self.known {
            self.caught_up();
        } else if self.behind_since.is_some() && self.followed >= self.policy.followed {
            self.behind_since = Some(turn.now);
            self.follow(turn.now);
        }
    }

    pub(super) fn still_behind(&mut self, turn: &mut Turn<'_, '_>) {
        let (Some(since), State::Inside) = (self.behind_since, &self.state) else { return };
        if !self.reachable || self.refused.is_some() || self.resolving {
            self.timers.set(Timer::Behind, turn.now + self.policy.behind);
        } else if turn.now.since(since) >= self.policy.behind_most {
            self.cannot(Reason::Withheld);
            self.go_astray(turn, Again::Same);
        } else {
            self.follow(turn.now);
            self.timers.set(Timer::Behind, turn.now + self.policy.behind);
        }
    }
}

/// Reads and judges a commit. Nothing of it is kept yet.
fn receive(id: crate::group::GroupId, turn: &mut Turn<'_, '_>, bytes: &[u8]) -> Outcome {
    let Ok(group) = Group::open(turn.means.store, id) else {
        return Outcome::Broken(Broken::Library);
    };
    let received = match group.receive(&mut *turn.rng, bytes) {
        Ok(received) => received,
        Err(ReceiveError::Refused(why)) => return Outcome::Refused(why),
        Err(ReceiveError::Broken(broken)) => return Outcome::Broken(broken),
        Err(ReceiveError::OwnForgotten) => return Outcome::Forgotten,
        Err(ReceiveError::Psk) => return Outcome::Psk,
        Err(error) => {
            // One that is sealed and does not open may be anybody's junk, which has won.
            let junk = error.blame() == Blame::Unavailable && matches!(error, ReceiveError::Replayed);
            return if junk { Outcome::Refused(Refused::Invalid) } else { Outcome::NotIt };
        }
    };
    match received {
        Received::Commit(staged) => {
            let (by, removed) = (staged.sender().clone(), staged.removes_this_device());
            let verdict = match staged.judge(turn.means.roll) {
                Ok(verdict) => verdict,
                Err(JudgeError::Needs(devices)) => return Outcome::Needs(devices),
                Err(JudgeError::Refused(why)) => return Outcome::Refused(why),
            };
            match staged.merge(verdict) {
                Ok(step) if removed => Outcome::Removed(step, by),
                Ok(step) => Outcome::Merged(step, by),
                Err(MergeError::Broken(broken)) => Outcome::Broken(broken),
                Err(MergeError::OtherCommit) => Outcome::Broken(Broken::Library),
            }
        }
        Received::OwnCommit(group) => {
            // Opened again, since this one holds on to the randomness.
            drop(group);
            let accepted = Group::open(turn.means.store, id).ok().map(|group| group.accepted(turn.rng));
            match accepted {
                Some(Ok(step)) => Outcome::Own(step),
                _ => Outcome::Broken(Broken::Library),
            }
        }
        // A commit from the own leaf that is not the one pending here.
        Received::Echo => Outcome::Forgotten,
        Received::Message(_) => Outcome::NotIt,
    }
}

impl How {
    /// Whether what is sealed by others may have been opened by this device before.
    pub(super) const fn is_new(self) -> bool {
        !matches!(self, Self::Stored)
    }
}
