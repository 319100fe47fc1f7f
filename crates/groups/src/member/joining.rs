//! The ways into a group: made, welcomed, or still in it from before.

use std::collections::BTreeSet;

use super::interface::{Event, How, Lie, Output, Reason};
use super::state::{Again, By, State, View, Welcome};
use super::timer::Timer;
use super::{Membership, Turn, birth};
use crate::failure::Broken;
use crate::group::{ExternalJoin, Group, GroupId, JoinError, stored};
use crate::key_package::{KeyPackage, forget_packages, waiting_packages};
use crate::leaf::Joiner;
use crate::quorum;
use crate::step::{Outgoing, acknowledge};
use crate::store::{Store, WriteSet};
use crate::terms::Quorum;
use undertone_keys::JoinId;
use undertone_keys::quorum::QuorumSecret;

impl Membership {
    pub(super) fn on_reachable(&mut self, turn: &mut Turn<'_, '_>) {
        self.reachable = true;
        self.tries = 0;
        self.tidy(turn);
        if self.restored && self.view.is_none() {
            match View::of(turn.means.store, self.id, turn.now) {
                // A group of one in which nothing has happened may be one whose creation another one forestalled.
                Ok(view) if view.epoch == 0 => self.forget(turn),
                Ok(view) => self.view = Some(view),
                Err(broken) => self.broken(turn, broken),
            }
        }
        self.follow(turn.now);
        // At hand before anybody looks for it.
        if matches!(self.state, State::AwaitingNews) && self.view.is_none() && !self.published {
            self.published = true;
            self.publish(turn);
        }
        // What was asked before this is lost. What was uploaded may not be: the state of the group tells.
        match self.state {
            State::AwaitingInfo | State::AwaitingTree { .. } => self.begin_by_self(turn),
            State::Creating { .. } | State::JoiningBySelf { .. } => self.await_answer(turn.now),
            State::AwaitingWelcome { welcome: Some(Welcome { epoch, tree: None, .. }) } => {
                self.turn.push(Output::FetchTree { epoch });
                self.await_answer(turn.now);
            }
            _ => {}
        }
        if self.flight.is_some() {
            self.await_answer(turn.now);
        }
    }

    /// A device is in one call at a time: groups of others are left from a process that was killed.
    fn tidy(&mut self, turn: &mut Turn<'_, '_>) {
        let stored = stored(turn.means.store).into_iter().chain(quorum::groups(turn.means.store));
        for other in stored.filter(|other| *other != self.id).collect::<BTreeSet<_>>() {
            forget_all(turn.means.store, other, &mut self.writes);
        }
    }

    pub(super) fn on_unreachable(&mut self) {
        self.reachable = false;
        self.away = true;
        self.claiming.clear();
        for timer in [Timer::Answer, Timer::State, Timer::Claim, Timer::Behind] {
            self.timers.clear(timer);
        }
    }

    pub(super) fn on_state(
        &mut self,
        turn: &mut Turn<'_, '_>,
        (epoch, born): (Option<u64>, Option<[u8; 32]>),
        oldest: u64,
        seen: Option<u64>,
    ) {
        if !self.reachable {
            return;
        }
        self.tries = 0;
        self.timers.clear(Timer::State);
        // It was withdrawn meanwhile, and another begun.
        if self.is_another(born) {
            return self.on_withdrawn(turn);
        }
        self.learn_birth(turn, born);
        let ours = self.view.as_ref().filter(|_| matches!(self.state, State::Inside)).map(|view| view.epoch);
        let back = ours.is_some_and(|ours| epoch.is_none_or(|epoch| epoch < ours));
        // What was said before the last commit may come after it.
        if back && !core::mem::replace(&mut self.gone_back, true) {
            return self.follow(turn.now);
        }
        self.gone_back = false;
        // Whoever was away has not heard that it was withdrawn.
        let away = core::mem::take(&mut self.away);
        if back && away && epoch.is_none() {
            return self.on_withdrawn(turn);
        }
        let Some(epoch) = epoch else {
            return self.on_no_group(turn);
        };
        match &self.state {
            State::Creating { .. } => {
                // Whether it is this device's group that is there, only its group info tells.
                self.turn.push(Output::AskInfo);
                return self.await_answer(turn.now);
            }
            State::JoiningBySelf { flight, .. } => {
                let of = flight.upload.epoch;
                if epoch > of && oldest > of {
                    // Whether it was taken will not be known.
                    self.lost_by_self(turn);
                } else if epoch == of && !flight.lost {
                    self.send_by_self(turn.now);
                } else if epoch > of {
                    self.turn.push(Output::Follow { have: Some(of) });
                }
                return;
            }
            State::AwaitingNews | State::Inside => {}
            _ => return,
        }
        // An external commit from before the start, whose tree is gone: it is given up. If it was taken all the same, its leaf
        // is one of an older join.
        if matches!(self.state, State::AwaitingNews)
            && ExternalJoin::is_pending(turn.means.store, self.id)
            && let Ok(step) = ExternalJoin::lost(turn.means.store, self.id)
        {
            self.keep(turn, step);
        }
        let Some(ours) = self.view.as_ref().map(|view| view.epoch) else {
            return self.await_welcome(turn);
        };
        if self.restored && seen.is_some_and(|seen| seen > ours) {
            return self.old_store(turn);
        }
        if epoch < ours {
            self.known = epoch;
            self.event(Event::ServerLied(Lie::Back { to: epoch, from: ours }));
            return self.go_astray(turn, Again::Same);
        }
        if oldest > ours {
            let again = if self.restored { Again::New } else { Again::Same };
            return self.go_astray(turn, again);
        }
        if matches!(self.state, State::AwaitingNews) {
            self.state = State::Inside;
            self.begin_epoch(turn, &By::Entry(How::Stored));
            self.take_up_pending(turn);
        }
        if epoch == ours {
            // A commit that was refused is gone: the delivery service has given the epoch back.
            self.refused = None;
            self.timers.clear(Timer::Reconsider);
            self.known = epoch;
            self.caught_up();
            self.send_flight(turn.now);
        } else if self.refused.is_some() && epoch == ours.saturating_add(1) {
            self.known = epoch;
        } else {
            self.known = epoch;
            self.is_behind(turn.now, epoch);
        }
    }

    /// The group is gone that this device was in, or wanted to come into. Where another is, the delivery service says.
    pub(super) fn on_withdrawn(&mut self, turn: &mut Turn<'_, '_>) {
        if !self.reachable || matches!(self.state, State::Creating { .. } | State::Out(_)) {
            return;
        }
        self.event(Event::Withdrawn);
        if self.view.is_some() {
            self.astray.get_or_insert(turn.now);
        }
        self.forget(turn);
        self.forget_birth(turn);
        // Of the next one nothing is known.
        self.no_quorum = false;
        self.held.clear();
        (self.known, self.lost, self.tries) = (0, 0, 0);
        self.lacks_quorum = false;
        for timer in [Timer::Answer, Timer::Welcome, Timer::BySelf] {
            self.timers.clear(timer);
        }
        self.state = State::AwaitingNews;
        self.follow(turn.now);
    }

    /// The delivery service knows of no group: this device makes one.
    fn on_no_group(&mut self, turn: &mut Turn<'_, '_>) {
        if let State::Creating { .. } = self.state {
            return self.send_creation(turn);
        }
        if let State::JoiningBySelf { .. } = self.state
            && let Ok(step) = ExternalJoin::lost(turn.means.store, self.id)
        {
            self.keep(turn, step);
        }
        if let Some(view) = &self.view
            && !self.restored
        {
            let from = view.epoch;
            self.event(Event::ServerLied(Lie::Back { to: 0, from }));
        }
        self.forget(turn);
        self.held.clear();
        self.known = 0;
        let joiner = Joiner {
            user: &self.me.user,
            identity: turn.means.identity,
            join: JoinId::random(&mut turn.rng),
            now: turn.means.wall,
        };
        match Group::create(turn.means.store, turn.rng, self.id, &self.terms, &joiner) {
            Ok(step) => {
                self.keep(turn, step);
            }
            Err(_) => return self.cannot(Reason::Malformed),
        }
        let info = Group::open(turn.means.store, self.id).ok().and_then(|group| group.group_info(turn.rng).ok());
        self.state = State::Creating { info: info.unwrap_or_default() };
        self.send_creation(turn);
    }

    pub(super) fn send_creation(&mut self, turn: &mut Turn<'_, '_>) {
        let State::Creating { info } = &self.state else { return };
        let tree = Group::open(turn.means.store, self.id).ok().and_then(|group| group.tree().ok()).unwrap_or_default();
        self.spent.sent += (info.len() + tree.len()) as u64;
        self.spent.uploads += 1;
        self.turn.push(Output::Create { info: info.clone(), tree });
        self.await_answer(turn.now);
    }

    /// The group info of what stands at the delivery service, while a creation is under way.
    pub(super) fn compare_creation(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, info: &[u8]) {
        let State::Creating { info: own } = &self.state else { return };
        if epoch == 0 && own == info { self.created(turn) } else { self.not_created(turn) }
    }

    pub(super) fn created(&mut self, turn: &mut Turn<'_, '_>) {
        self.not_before = None;
        self.timers.clear(Timer::Answer);
        self.tries = 0;
        if let State::Creating { info } = core::mem::replace(&mut self.state, State::Inside) {
            self.was_born(&info);
        }
        self.begin_epoch(turn, &By::Entry(How::Created));
    }

    /// Somebody else has begun a group. Whoever is to wait before it may begin one itself need not wait any more.
    pub(super) fn on_opened(&mut self, turn: &mut Turn<'_, '_>) {
        if self.reachable
            && matches!(self.state, State::Creating { .. })
            && self.not_before.is_some_and(|at| at > turn.now)
        {
            self.follow(turn.now);
        }
    }

    /// Another group was first.
    pub(super) fn not_created(&mut self, turn: &mut Turn<'_, '_>) {
        self.not_before = None;
        self.forget(turn);
        self.await_welcome(turn);
    }

    /// Waits to be added, with a key package at hand.
    pub(super) fn await_welcome(&mut self, turn: &mut Turn<'_, '_>) {
        self.timers.clear(Timer::Answer);
        self.tries = 0;
        self.state = State::AwaitingWelcome { welcome: None };
        self.timers.set(Timer::Welcome, turn.now + self.policy.welcome_with(self.presence.count()));
        if self.presence.is_alone() {
            return self.begin_by_self(turn);
        }
        // The one from the start has not been tried yet.
        if !core::mem::take(&mut self.published) {
            self.publish(turn);
        }
    }

    /// The relay has shown everybody, and there is nobody who could let this device in.
    pub(super) fn nobody_welcomes(&mut self, turn: &mut Turn<'_, '_>) {
        let waits =
            matches!(self.state, State::AwaitingWelcome { welcome: None }) && self.timers.is_set(Timer::Welcome);
        if waits && self.presence.is_alone() {
            self.begin_by_self(turn);
        }
    }

    fn publish(&mut self, turn: &mut Turn<'_, '_>) {
        // A device that comes and goes leaves some behind that nobody used: at some time all of them are too old.
        if waiting_packages(turn.means.store) >= self.policy.packages && stored(turn.means.store).is_empty() {
            let writes = forget_packages(turn.means.store);
            turn.means.store.apply_and_keep(writes, &mut self.writes);
        }
        let joiner = Joiner {
            user: &self.me.user,
            identity: turn.means.identity,
            join: JoinId::random(&mut turn.rng),
            now: turn.means.wall,
        };
        match KeyPackage::generate(turn.means.store, turn.rng, self.terms.suite, &joiner) {
            Ok(step) => {
                for sent in self.keep(turn, step) {
                    if let Outgoing::KeyPackage { bytes } = sent.what {
                        self.turn.push(Output::Publish { package: bytes });
                        // One that does not come to the server is not brought again: the next join has another.
                        if let Ok(writes) = acknowledge(turn.means.store, sent.id) {
                            turn.means.store.apply_and_keep(writes, &mut self.writes);
                        }
                    }
                }
            }
            Err(broken) => self.event(Event::Broken(broken)),
        }
    }

    pub(super) fn on_welcome(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, bytes: Vec<u8>) {
        let new = Welcome { epoch, bytes, tree: None };
        match &mut self.state {
            State::JoiningBySelf { welcome, .. } if welcome.as_ref().is_none_or(|old| old.epoch <= epoch) => {
                *welcome = Some(new);
            }
            State::AwaitingNews | State::AwaitingWelcome { .. } | State::AwaitingInfo | State::AwaitingTree { .. }
                if self.view.is_none() || self.astray.is_some() =>
            {
                self.use_welcome(turn, new);
            }
            _ => {}
        }
    }

    /// Goes in by a Welcome: fetches the tree to it.
    pub(super) fn use_welcome(&mut self, turn: &mut Turn<'_, '_>, welcome: Welcome) {
        if let State::AwaitingWelcome { welcome: Some(old) } = &self.state
            && old.epoch > welcome.epoch
        {
            return;
        }
        self.timers.clear(Timer::BySelf);
        self.timers.clear(Timer::Welcome);
        self.turn.push(Output::FetchTree { epoch: welcome.epoch });
        self.state = State::AwaitingWelcome { welcome: Some(welcome) };
        self.await_answer(turn.now);
    }

    pub(super) fn on_tree(&mut self, turn: &mut Turn<'_, '_>, of: u64, bytes: Option<Vec<u8>>) {
        match &mut self.state {
            State::AwaitingWelcome { welcome: Some(welcome) } if welcome.epoch == of && welcome.tree.is_none() => {
                if bytes.is_none() {
                    return self.begin_by_self(turn);
                }
                welcome.tree = bytes;
                self.timers.clear(Timer::Answer);
                self.try_welcome(turn);
            }
            State::AwaitingTree { epoch, tree, .. } if *epoch == of && tree.is_none() => {
                if bytes.is_none() {
                    return self.on_no_info(turn);
                }
                *tree = bytes;
                self.timers.clear(Timer::Answer);
                self.try_tree(turn);
            }
            State::Inside => self.told_from(turn.now, of, bytes),
            _ => {}
        }
    }

    /// Joins, if everything that is needed is at hand.
    pub(super) fn try_welcome(&mut self, turn: &mut Turn<'_, '_>) {
        let State::AwaitingWelcome { welcome: Some(Welcome { bytes, tree: Some(tree), .. }) } = &self.state else {
            return;
        };
        let (bytes, tree) = (bytes.clone(), tree.clone());
        // Whoever is let in anew has nothing to expect of an older join.
        if self.view.is_some() {
            self.forget(turn);
        }
        let joined = Group::join(turn.means.store, turn.rng, self.id, &self.terms, &bytes, &tree, turn.means.roll);
        match joined {
            Ok(step) => {
                self.keep(turn, step);
                self.state = State::Inside;
                // Who was added has filled no path: it is done early, but not by all at once.
                self.begin_epoch(turn, &By::Entry(How::Welcomed));
                self.early(turn);
            }
            Err(JoinError::Needs(devices)) => self.resolve(turn, devices),
            // The Welcome is as good when the secret is there.
            Err(JoinError::Psk) if self.terms.quorum != Quorum::None => {
                self.cannot_join(JoinError::Psk);
                self.timers.set(Timer::Welcome, turn.now + self.policy.welcome);
            }
            Err(error) => {
                self.cannot_join(error);
                self.state = State::AwaitingWelcome { welcome: None };
                self.by_self_later(turn);
            }
        }
    }

    /// Says why a group is not joined.
    pub(super) fn cannot_join(&mut self, error: JoinError) {
        match error {
            JoinError::Refused(why) => self.cannot(Reason::Refused(why)),
            JoinError::Psk => {
                self.lacks_quorum = self.terms.quorum != Quorum::None;
                self.cannot(Reason::Psk);
            }
            JoinError::Malformed | JoinError::TooLarge | JoinError::OtherGroup => {
                self.event(Event::ServerLied(Lie::Info));
            }
            JoinError::Broken(broken) => self.event(Event::Broken(broken)),
            // A key package that is not here any more: what was published with an older store, say.
            JoinError::NoKeyPackage | JoinError::Exists | JoinError::NoEarlierJoin | JoinError::Needs(_) => {}
        }
    }

    pub(super) fn not_welcomed(&mut self, turn: &mut Turn<'_, '_>) {
        // One that has come, and does not open for want of the quorum secret, is too old when that comes.
        let waits = match &self.state {
            State::AwaitingWelcome { welcome } => welcome.is_none() || self.lacks_quorum,
            _ => false,
        };
        if waits {
            self.by_self_later(turn);
        }
    }

    /// A secret that may be the group's.
    pub(super) fn on_quorum(&mut self, turn: &mut Turn<'_, '_>, secret: &QuorumSecret) {
        if self.terms.quorum == Quorum::None {
            return;
        }
        match quorum::keep(turn.means.store, turn.rng, self.id, secret) {
            Ok(writes) => turn.means.store.apply_and_keep(writes, &mut self.writes),
            Err(broken) => return self.event(Event::Broken(broken)),
        }
        let lacked = core::mem::take(&mut self.lacks_quorum);
        self.try_tree(turn);
        self.try_welcome(turn);
        // Whoever has waited for nothing else need not wait for its turn.
        if lacked && matches!(self.state, State::AwaitingWelcome { welcome: None }) && !self.lacks_quorum {
            self.begin_by_self(turn);
        }
    }

    /// Whoever could let this device in is not there, or does not: it looks at the group itself, to say so of what it is now.
    pub(super) fn on_no_quorum(&mut self, turn: &mut Turn<'_, '_>, hopeless: bool) {
        self.no_quorum = hopeless && self.terms.quorum != Quorum::None;
        if self.no_quorum && matches!(self.state, State::AwaitingWelcome { .. }) {
            self.begin_by_self(turn);
        }
    }

    /// The store is older than what was seen of this device: it is left alone, and this is a new join.
    pub(super) fn old_store(&mut self, turn: &mut Turn<'_, '_>) {
        self.event(Event::OldStore);
        self.forget(turn);
        self.await_welcome(turn);
    }

    fn unanswered(&mut self) {
        self.tries = self.tries.saturating_add(1);
        if self.tries == self.policy.unanswered {
            self.cannot(Reason::NoAnswer);
        }
    }

    /// The delivery service has not said where the group is.
    pub(super) fn no_state(&mut self, turn: &Turn<'_, '_>) {
        if self.reachable {
            self.unanswered();
            self.follow(turn.now);
        }
    }

    /// The delivery service has not answered something else.
    pub(super) fn not_answered(&mut self, turn: &mut Turn<'_, '_>) {
        if !self.reachable {
            return;
        }
        self.unanswered();
        match &self.state {
            State::Creating { .. } => {
                self.follow(turn.now);
                self.await_answer(turn.now);
            }
            State::AwaitingWelcome { welcome: Some(Welcome { epoch, tree: None, .. }) } => {
                self.turn.push(Output::FetchTree { epoch: *epoch });
                self.await_answer(turn.now);
            }
            State::AwaitingInfo | State::AwaitingTree { tree: None, .. } => {
                self.turn.push(Output::AskInfo);
                self.state = State::AwaitingInfo;
                self.await_answer(turn.now);
            }
            State::JoiningBySelf { .. } => {
                self.follow(turn.now);
                self.send_by_self(turn.now);
            }
            State::Inside if self.flight.is_some() => {
                self.follow(turn.now);
                self.send_flight(turn.now);
            }
            _ => {}
        }
    }
}

/// Everything that is known of a group.
pub(super) fn forget_all(store: &mut Store, id: GroupId, kept: &mut WriteSet) {
    let all = [Group::forget(store, id), quorum::forget(store, id), Ok(birth::forget(store, id))];
    for writes in all.into_iter().flatten() {
        store.apply_and_keep(writes, kept);
    }
}

impl View {
    /// The group as it is stored.
    pub(super) fn of(store: &Store, id: GroupId, begun: undertone_keys::Time) -> Result<Self, Broken> {
        let group = Group::open(store, id).map_err(|_| Broken::Library)?;
        let view = Self::in_group(&group, begun)?;
        group.close();
        Ok(view)
    }

    pub(super) fn in_group(group: &Group<'_>, begun: undertone_keys::Time) -> Result<Self, Broken> {
        let own = group.own_index();
        let members = group.members();
        let place = members.iter().position(|member| member.index == own).ok_or(Broken::Library)?;
        let join = members.get(place).ok_or(Broken::Library)?.join;
        let authenticator = group.authenticator()?;
        Ok(Self { epoch: group.epoch(), own, join, members, place, authenticator, begun })
    }
}
