//! Joining by oneself: group info, tree, external commit (rule MLS-2).

use super::interface::{Event, How, Output, Reason};
use super::state::{Again, By, Flight, State, Told};
use super::timer::Timer;
use super::{Membership, Turn, within};
use crate::failure::Blame;
use crate::group::{ExternalJoin, Group, JoinError, Rejoin};
use crate::leaf::Joiner;
use crate::step::Outgoing;
use undertone_keys::JoinId;

impl Membership {
    /// This device is not where the others are, and cannot follow: it joins anew. Until then it seals nothing.
    pub(super) fn go_astray(&mut self, turn: &mut Turn<'_, '_>, again: Again) {
        self.astray.get_or_insert(turn.now);
        self.behind_since = None;
        self.refused = None;
        self.promoting = None;
        for timer in [Timer::Behind, Timer::Reconsider, Timer::Answer, Timer::Promote] {
            self.timers.clear(timer);
        }
        self.drop_flight(turn);
        if again == Again::New {
            self.forget(turn);
        }
        self.begin_by_self(turn);
    }

    /// Joins by oneself as soon as that is allowed.
    pub(super) fn begin_by_self(&mut self, turn: &mut Turn<'_, '_>) {
        self.timers.clear(Timer::Welcome);
        self.timers.clear(Timer::BySelf);
        let allowed = self.by_self_at.map(|last| last + self.policy.by_self);
        if let Some(at) = allowed.filter(|at| *at > turn.now) {
            self.wait_by_self();
            self.timers.set(Timer::BySelf, at);
            return;
        }
        self.state = State::AwaitingInfo;
        if self.reachable {
            self.turn.push(Output::AskInfo);
            self.await_answer(turn.now);
        }
    }

    /// The same a little later, and later each time: those who lost one race should not all be in the next.
    pub(super) fn by_self_later(&mut self, turn: &mut Turn<'_, '_>) {
        self.wait_by_self();
        let most = self.policy.backoff.saturating_mul(1 << self.lost.min(8)).min(self.policy.backoff_most);
        let mut at = turn.now + within(turn.rng, most);
        if let Some(last) = self.by_self_at {
            at = at.max(last + self.policy.by_self);
        }
        self.timers.set(Timer::BySelf, at);
    }

    /// Meanwhile somebody may still let this device in.
    fn wait_by_self(&mut self) {
        self.timers.clear(Timer::Answer);
        self.state = State::AwaitingWelcome { welcome: None };
    }

    pub(super) fn by_self_again(&mut self, turn: &mut Turn<'_, '_>) {
        if matches!(self.state, State::AwaitingWelcome { welcome: None }) {
            self.begin_by_self(turn);
        }
    }

    pub(super) fn on_info(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, info: Vec<u8>) {
        if matches!(self.state, State::Creating { .. }) {
            return self.compare_creation(turn, epoch, &info);
        }
        if matches!(self.state, State::AwaitingInfo) {
            self.tries = 0;
            self.turn.push(Output::FetchTree { epoch });
            self.state = State::AwaitingTree { epoch, info, tree: None };
            self.await_answer(turn.now);
        }
    }

    pub(super) fn on_no_info(&mut self, turn: &mut Turn<'_, '_>) {
        match self.state {
            State::Creating { .. } => self.await_answer(turn.now),
            State::AwaitingInfo | State::AwaitingTree { .. } => {
                if self.lost == self.policy.unanswered {
                    self.cannot(Reason::NoInfo);
                }
                self.lost = self.lost.saturating_add(1);
                self.by_self_later(turn);
            }
            _ => {}
        }
    }

    /// Makes the external commit, if everything that is needed is at hand.
    pub(super) fn try_tree(&mut self, turn: &mut Turn<'_, '_>) {
        let State::AwaitingTree { epoch, info, tree: Some(tree) } = &self.state else {
            return;
        };
        let (epoch, info, tree) = (*epoch, info.clone(), tree.clone());
        let join = if self.view.is_some() {
            Rejoin::Same
        } else {
            let join = JoinId::random(&mut turn.rng);
            let now = turn.means.wall;
            Rejoin::New(Joiner { user: &self.me.user, identity: turn.means.identity, join, now })
        };
        let (id, terms) = (self.id, &self.terms);
        let external = ExternalJoin { id, terms, group_info: &info, tree: &tree, psks: &[], join };
        match external.start(turn.means.store, turn.rng, turn.means.roll) {
            Ok(step) => {
                for sent in self.keep(turn, step) {
                    if let Outgoing::Commit(upload) = sent.what {
                        let flight = Flight {
                            upload,
                            before: tree.clone(),
                            welcomed: Vec::new(),
                            lost: false,
                            fresh: true,
                            told: Told::Theirs,
                        };
                        self.state = State::JoiningBySelf { flight, welcome: None };
                    }
                }
                self.send_by_self(turn.now);
            }
            Err(JoinError::Needs(devices)) => self.resolve(turn, devices),
            Err(error) => {
                // If nobody else can come in either, it is better gone.
                let shut_out = self.no_quorum && error == JoinError::Psk;
                if shut_out || matches!(error.blame(), Blame::Malformed | Blame::Incompatible | Blame::PeerMisbehaved) {
                    self.turn.push(Output::Withdraw { epoch, born: self.born });
                }
                self.cannot_join(error);
                self.lost = self.lost.saturating_add(1).max(2);
                self.by_self_later(turn);
            }
        }
    }

    pub(super) fn send_by_self(&mut self, now: undertone_keys::Time) {
        let State::JoiningBySelf { flight, .. } = &self.state else { return };
        if !flight.lost && self.reachable {
            let output = flight.output();
            self.spend(&output);
            self.turn.push(output);
        }
        self.await_answer(now);
    }

    pub(super) fn by_self_accepted(&mut self, turn: &mut Turn<'_, '_>) {
        let step = match ExternalJoin::accepted(turn.means.store, self.id) {
            Ok(step) => step,
            Err(error) => {
                let broken = match error {
                    crate::group::SettleError::Broken(broken) => broken,
                    crate::group::SettleError::None => crate::failure::Broken::Library,
                };
                return self.broken(turn, broken);
            }
        };
        self.keep(turn, step);
        self.timers.clear(Timer::Answer);
        self.tries = 0;
        self.lost = 0;
        self.by_self_at = Some(turn.now);
        self.state = State::Inside;
        self.restored = false;
        self.begin_epoch(turn, &By::Entry(How::BySelf));
        self.follow_held(turn);
    }

    /// Another commit was first.
    pub(super) fn lost_by_self(&mut self, turn: &mut Turn<'_, '_>) {
        let State::JoiningBySelf { welcome, .. } = &mut self.state else { return };
        let welcome = welcome.take();
        if let Ok(step) = ExternalJoin::lost(turn.means.store, self.id) {
            self.keep(turn, step);
        }
        self.timers.clear(Timer::Answer);
        self.lost = self.lost.saturating_add(1);
        match welcome {
            Some(welcome) => {
                self.state = State::AwaitingWelcome { welcome: None };
                self.use_welcome(turn, welcome);
            }
            None => self.by_self_later(turn),
        }
    }

    /// Drops an own commit whose outcome does not matter any more.
    pub(super) fn drop_flight(&mut self, turn: &mut Turn<'_, '_>) {
        self.flight = None;
        let withdrawn = match Group::open(turn.means.store, self.id) {
            Ok(group) if matches!(group.pending(), Ok(Some(_))) => group.withdrawn(turn.rng).ok(),
            _ => None,
        };
        if let Some(step) = withdrawn {
            self.keep(turn, step);
        }
    }

    /// This device is back in the group.
    pub(super) fn back(&mut self, now: undertone_keys::Time, epoch: u64) {
        if let Some(since) = self.astray.take() {
            self.event(Event::Rejoined { epoch, after: now.since(since) });
        }
    }
}
