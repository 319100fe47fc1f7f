//! One device's life in the group of one call, over a delivery service that orders commits.
//!
//! ```text
//! membership.handle_input(now, Input::Present(device), &mut means, rng);     what happened
//! while let Some(output) = membership.poll_output() { .. }                    what to do: store, upload, install keys
//! membership.poll_timeout()                                                   when to come back with Input::Tick
//! ```
//!
//! It decides when to commit what, follows the commits of others, and finds its way back when it has lost it. The caller says who
//! is in the call and lets in whom the [`Roll`](crate::Roll) has; carries what it says to the delivery service; and puts its keys into the
//! ring. Each input changes three things: this value, which `poll_*` show; the [`Store`] in [`Means`]; and nothing else. All that an
//! input changes in the store comes out as one [`Output::Store`], before whatever else it leads to (rule STO-2).
//!
//! | awaits | until |
//! | --- | --- |
//! | the state of the group | the delivery service says it: there is none (create one), it is elsewhere (follow), or it is new (be added) |
//! | that its creation is taken | it is, or another one was first |
//! | a Welcome | one comes, or [`MemberPolicy::welcome`] has passed |
//! | group info, tree, and look-ups | all are there: then an external commit is uploaded |
//! | that its external commit is taken | it is, or another commit was first: again, a little later |
//! | nothing: it is inside | it leaves, is removed, or has to join anew |
//!
//! [`policy`] has all numbers ([`MemberPolicy`]). `presence`: whose leaf is to go, and in which order members act. `committing`: own commits (rule MLS-4).
//! `following`: commits of others. `joining`, `by_self`: the ways in (rule MLS-2). `epoch`: what a new epoch leads to. `doubt`: two groups
//! under one name, and what does not open (rules MLS-3, EKR-7).
//!
//! # Security goals
//! * Nothing is sealed under an epoch from which this device was removed, nor after a restart before its own commit (rule MED-3), nor while
//!   it is known to be in another group than the others.
//! * Whoever leaves the call or the list is removed by somebody who stays, whoever else does not act.
//! * A commit that lost is never brought again: what is still wanted is worked out anew in the epoch that is.
//!
//! # Not goals
//! To go on where the delivery service has given an epoch to a commit that nobody can take, and keeps to it: that is said
//! ([`Reason::Junk`]), and the old epoch goes on. To hide from a delivery service who commits how often.

pub mod policy;

mod birth;
mod by_self;
mod committing;
mod doubt;
mod epoch;
mod following;
mod interface;
mod joining;
mod presence;
mod state;
mod timer;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::CryptoRng;
use undertone_keys::Time;
use undertone_keys::quorum::QuorumSecret;

use self::doubt::Doubts;
pub use self::interface::{Denied, Event, How, Input, Lie, Means, OutReason, Output, Reason, Spent, Standpoint};
use self::policy::MemberPolicy;
use self::presence::Presence;
use self::state::{Flight, State, View};
use self::timer::{Timer, Timers};
use crate::failure::Broken;
use crate::group::{Group, GroupId, Shares};
use crate::key_package::KeyPackage;
use crate::roll::{DeviceRef, Member, Standing};
use crate::step::{Sent, Step};
use crate::store::{Store, WriteSet};
use crate::terms::Terms;

/// What one input is worked through with.
pub(crate) struct Turn<'t, 'm> {
    now: Time,
    means: &'t mut Means<'m>,
    rng: &'t mut dyn CryptoRng,
}

/// One device's life in the group of one call.
#[derive(Debug)]
pub struct Membership {
    id: GroupId,
    terms: Terms,
    me: DeviceRef,
    policy: MemberPolicy,
    state: State,
    view: Option<View>,
    presence: Presence,
    timers: Timers,
    reachable: bool,
    /// How often something was asked in vain.
    tries: u32,

    /// The group was in the store when this began: nothing is sealed before the next commit of one's own.
    restored: bool,
    /// This device came by itself into a tree with leaves that are not let in: nothing is sealed before they are out.
    striking: bool,
    /// The group cannot be joined for want of its quorum secret.
    lacks_quorum: bool,
    /// Nobody gives it.
    no_quorum: bool,
    /// A key package was published that nobody can have used yet.
    published: bool,
    /// The own commit that is uploaded.
    flight: Option<Flight>,
    /// Key packages that were claimed and not used yet.
    packages: BTreeMap<DeviceRef, KeyPackage>,
    /// Devices whose key packages were asked for.
    claiming: BTreeSet<DeviceRef>,
    /// Devices that have no good ones.
    unclaimable: BTreeMap<DeviceRef, Time>,
    /// Since when somebody is to be removed, and to be added.
    removing: Option<Time>,
    adding: Option<Time>,
    /// When this device gives itself new keys, beside the time for all.
    update_at: Option<Time>,
    /// When it does because it has sealed so much.
    frames_at: Option<Time>,
    /// When it does for those who are given keys from outside of the group, and whether somebody of them has gone.
    renew_at: Option<(Time, bool)>,
    /// What the delivery service refused is not tried again before.
    not_before: Option<Time>,
    /// How many one commit adds.
    batch: usize,
    /// Who was shown as still listening.
    listening: BTreeSet<DeviceRef>,

    /// Commits of later epochs.
    held: BTreeMap<u64, Vec<u8>>,
    /// The epoch that the group is known to have come to.
    known: u64,
    behind_since: Option<Time>,
    /// What the group was begun with (SHA-256 of its first info): another one may take its place.
    born: Option<[u8; 32]>,
    /// What the delivery service said since it last told where the group is may be lost.
    away: bool,
    /// The delivery service said that the group has gone back, and is asked once more.
    gone_back: bool,
    /// Commits taken since the delivery service was last asked for them.
    followed: u32,
    /// A commit of the present epoch that was refused, and whether it was judged by an older list.
    refused: Option<Vec<u8>>,
    /// It was said that it stays so.
    refused_said: bool,
    /// Devices that are being looked up.
    resolving: bool,

    /// When an external commit of this device was last taken.
    by_self_at: Option<Time>,
    /// How many were lost since.
    lost: u32,
    /// Since when this device is on its way back in.
    astray: Option<Time>,
    doubts: Doubts,

    /// The newest epoch that was installed, the one to be sealed under next, and whether it has removed somebody.
    installed: Option<u64>,
    promoting: Option<(u64, bool)>,
    sealing: bool,
    held_back: bool,

    spent: Spent,
    writes: WriteSet,
    turn: Vec<Output>,
    outputs: VecDeque<Output>,
}

impl Membership {
    /// The life of the device `me` in the group `id`, which it may have in its store from before.
    #[must_use]
    pub fn new(id: GroupId, terms: Terms, me: DeviceRef, policy: MemberPolicy, store: &Store) -> Self {
        let restored = Group::open(store, id).is_ok();
        Self {
            id,
            terms,
            me,
            policy,
            state: State::AwaitingNews,
            view: None,
            presence: Presence::default(),
            timers: Timers::default(),
            reachable: false,
            tries: 0,
            restored,
            striking: false,
            lacks_quorum: false,
            no_quorum: false,
            published: false,
            flight: None,
            packages: BTreeMap::new(),
            claiming: BTreeSet::new(),
            unclaimable: BTreeMap::new(),
            removing: None,
            adding: None,
            update_at: None,
            frames_at: None,
            renew_at: None,
            not_before: None,
            batch: policy.batch,
            listening: BTreeSet::new(),
            held: BTreeMap::new(),
            known: 0,
            behind_since: None,
            born: birth::of(store, id),
            away: true,
            gone_back: false,
            followed: 0,
            refused: None,
            refused_said: false,
            resolving: false,
            by_self_at: None,
            lost: 0,
            astray: None,
            doubts: Doubts::default(),
            installed: None,
            promoting: None,
            sealing: false,
            held_back: false,
            spent: Spent::default(),
            writes: WriteSet::new(),
            turn: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Nothing that happens is an error of the membership.
    pub fn handle_input(&mut self, now: Time, input: Input, means: &mut Means<'_>, rng: &mut dyn CryptoRng) {
        let mut turn = Turn { now, means, rng };
        if !matches!(self.state, State::Out(_)) {
            self.take(&mut turn, input);
            while let Some(timer) = self.timers.due(now) {
                self.fire(&mut turn, timer);
            }
            self.mind(&mut turn);
        }
        let writes = core::mem::take(&mut self.writes);
        // Every write set says the format; one that says nothing else changes nothing.
        if writes.len() > 1 {
            self.outputs.push_back(Output::Store(writes));
        }
        self.outputs.extend(self.turn.drain(..));
    }

    /// The call is over for this device, and nothing of its group is for a later start: what that changes in the store, where it is
    /// done.
    pub fn end(self, store: &mut Store) -> WriteSet {
        let mut kept = WriteSet::new();
        joining::forget_all(store, self.id, &mut kept);
        kept
    }

    /// The next thing to do. `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Where it stands.
    #[must_use]
    pub const fn standpoint(&self) -> Standpoint {
        match (&self.state, &self.view) {
            (State::Out(why), _) => Standpoint::Out(*why),
            (State::Inside, Some(view)) => Standpoint::Inside(view.epoch),
            (_, Some(_)) => Standpoint::Rejoining,
            (_, None) => Standpoint::Joining,
        }
    }

    /// Who is in the tree that this device knows, by leaf.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.view.as_ref().map_or(&[], |view| &view.members)
    }

    /// The own leaf.
    #[must_use]
    pub fn own_leaf(&self) -> Option<u32> {
        self.view.as_ref().map(|view| view.own)
    }

    /// What a member of a group with an audience needs of the epoch that this device is in.
    #[must_use]
    pub fn shares(&self, store: &Store) -> Option<Shares> {
        let group = Group::open(store, self.id).ok()?;
        let shares = group.shares().ok();
        group.close();
        shares
    }

    /// The quorum secret of the group that this device is in, for whoever is to have it too.
    #[must_use]
    pub fn quorum(&self, store: &Store) -> Option<QuorumSecret> {
        let group = Group::open(store, self.id).ok()?;
        let secret = group.quorum();
        group.close();
        secret
    }

    /// The group cannot be joined for want of its quorum secret: this device has none, or the one that it was given is another.
    #[must_use]
    pub const fn lacks_quorum(&self) -> bool {
        self.lacks_quorum
    }

    /// The numbers that it goes by.
    #[must_use]
    pub const fn policy(&self) -> &MemberPolicy {
        &self.policy
    }

    /// What keys have cost.
    #[must_use]
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    fn take(&mut self, turn: &mut Turn<'_, '_>, input: Input) {
        match input {
            Input::Reachable => self.on_reachable(turn),
            Input::Unreachable => self.on_unreachable(),
            Input::Present(device) => self.presence.arrived(device),
            Input::Absent(device) => {
                self.unclaimable.remove(&device);
                self.packages.remove(&device);
                self.presence.left(device);
            }
            Input::Shown(others) => self.presence.set_shown(others),
            Input::Complete(complete) => {
                self.presence.set_complete(complete);
                self.nobody_welcomes(turn);
            }
            Input::RollChanged | Input::Resolved => self.on_roll(turn),
            Input::Quorum(secret) => self.on_quorum(turn, &secret),
            Input::NoQuorum(hopeless) => self.on_no_quorum(turn, hopeless),
            Input::State { epoch, oldest, seen, born } => self.on_state(turn, (epoch, born), oldest, seen),
            Input::Commit { epoch, bytes } => {
                self.count(bytes.len());
                self.on_commit(turn, epoch, bytes);
            }
            Input::Welcome { epoch, bytes } => {
                self.count(bytes.len());
                self.on_welcome(turn, epoch, bytes);
            }
            Input::Accepted { epoch } => self.on_accepted(turn, epoch),
            Input::Refused { epoch, why } => self.on_refused(turn, epoch, why),
            Input::Info { epoch, info } => {
                self.count(info.len());
                self.on_info(turn, epoch, info);
            }
            Input::NoInfo => self.on_no_info(turn),
            Input::Tree { epoch, bytes } => {
                self.count(bytes.as_ref().map_or(0, Vec::len));
                self.on_tree(turn, epoch, bytes);
            }
            Input::Claimed { device, package } => {
                self.count(package.as_ref().map_or(0, Vec::len));
                self.on_claimed(turn, device, package);
            }
            Input::Told { device, epoch, authenticator } => self.on_told(turn, device, epoch, authenticator),
            Input::CannotOpen { device, epoch } => self.on_cannot_open(turn, device, epoch),
            Input::KeyLost => self.install_again(turn),
            Input::Sealed { frames } => self.on_sealed(turn, frames),
            Input::Renew { at, removed } => {
                let (before, gone) = self.renew_at.unwrap_or((at, removed));
                self.renew_at = Some((at.min(before), removed || gone));
            }
            Input::Withdrawn => self.on_withdrawn(turn),
            Input::Opened => self.on_opened(turn),
            Input::Leave => self.out(turn, OutReason::Left),
            Input::Revoked => self.out(turn, OutReason::Revoked),
            Input::Tick => {}
        }
    }

    fn fire(&mut self, turn: &mut Turn<'_, '_>, timer: Timer) {
        match timer {
            Timer::Answer => self.not_answered(turn),
            Timer::State => self.no_state(turn),
            Timer::Welcome => self.not_welcomed(turn),
            Timer::BySelf => self.by_self_again(turn),
            Timer::Behind => self.still_behind(turn),
            Timer::Reconsider => self.give_up(turn),
            Timer::Promote => self.promote(),
            Timer::Claim => self.not_claimed(turn),
            Timer::Resolve => {
                self.resolving = false;
                self.on_roll(turn);
            }
            Timer::Say => self.say(turn),
            Timer::Doubt => self.decide(turn),
            // What is due is worked out with every input.
            Timer::Work | Timer::Listening => {}
        }
    }

    /// What follows from where it stands now, whatever the input was.
    fn mind(&mut self, turn: &mut Turn<'_, '_>) {
        if matches!(self.state, State::Out(_)) {
            return;
        }
        if let Some(view) = &self.view {
            self.presence.look(view, turn.now);
        }
        self.work(turn);
        self.hold(turn.now);
    }

    /// Seals nothing, or again, as it should be.
    fn hold(&mut self, now: Time) {
        let late = self.behind_since.is_some_and(|since| now.since(since) >= self.policy.behind_hold);
        let astray = self.view.is_none() || self.astray.is_some() || late || self.restored || self.striking;
        // Who never sealed has nothing to hold back.
        if (self.sealing || self.held_back) && astray != self.held_back {
            self.held_back = astray;
            self.turn.push(Output::Hold(astray));
        }
    }

    /// The list changed, or devices were looked up.
    fn on_roll(&mut self, turn: &mut Turn<'_, '_>) {
        self.resolving = false;
        self.timers.clear(Timer::Resolve);
        if turn.means.roll.standing(&self.me.user, &self.me.device) == Standing::Refused {
            self.out(turn, OutReason::Removed);
            return;
        }
        self.unclaimable.retain(|_, until| *until > turn.now);
        self.try_tree(turn);
        self.try_welcome(turn);
        if let Some(bytes) = self.refused.take()
            && let Some(epoch) = self.view.as_ref().map(|view| view.epoch)
        {
            self.held.insert(epoch, bytes);
        }
        self.follow_held(turn);
        // Whoever was refused the service for long may have been so because of the list.
        if matches!(self.state, State::AwaitingWelcome { welcome: None }) && self.lost > self.policy.unanswered {
            self.lost = 0;
            self.by_self_later(turn);
        }
        if self.tries > 0 && self.timers.is_set(Timer::State) {
            self.tries = 0;
            self.follow(turn.now);
        }
    }

    /// Has devices looked up.
    fn resolve(&mut self, turn: &Turn<'_, '_>, devices: Vec<DeviceRef>) {
        if !self.resolving {
            self.resolving = true;
            self.timers.set(Timer::Resolve, turn.now + self.policy.resolve);
            self.turn.push(Output::Resolve(devices));
        }
    }

    /// Keeps a step, and returns what it sends.
    fn keep(&mut self, turn: &mut Turn<'_, '_>, step: Step) -> Vec<Sent> {
        turn.means.store.apply_and_keep(step.store, &mut self.writes);
        step.send
    }

    /// Forgets the group and what was on the way to it.
    fn forget(&mut self, turn: &mut Turn<'_, '_>) {
        match Group::forget(turn.means.store, self.id) {
            Ok(writes) => turn.means.store.apply_and_keep(writes, &mut self.writes),
            Err(broken) => self.event(Event::Broken(broken)),
        }
        self.outside();
    }

    /// Nothing of the group is in the store any more.
    fn outside(&mut self) {
        self.view = None;
        self.flight = None;
        self.restored = false;
        self.striking = false;
        self.refused = None;
        self.behind_since = None;
        self.promoting = None;
        self.update_at = None;
        self.removing = None;
        self.adding = None;
        self.claiming.clear();
        self.listening.clear();
        for timer in [Timer::Promote, Timer::Behind, Timer::Reconsider, Timer::Say, Timer::Doubt, Timer::Claim] {
            self.timers.clear(timer);
        }
        self.clear_ring();
    }

    fn clear_ring(&mut self) {
        if self.installed.take().is_some() {
            self.turn.push(Output::Clear);
        }
    }

    fn out(&mut self, turn: &mut Turn<'_, '_>, why: OutReason) {
        self.forget(turn);
        if why == OutReason::Removed {
            self.event(Event::Removed { by: None });
        }
        self.timers.clear_all();
        self.hold(turn.now);
        self.state = State::Out(why);
    }

    fn broken(&mut self, turn: &mut Turn<'_, '_>, broken: Broken) {
        self.event(Event::Broken(broken));
        self.forget(turn);
        self.astray.get_or_insert(turn.now);
        self.begin_by_self(turn);
    }

    fn event(&mut self, event: Event) {
        self.turn.push(Output::Event(event));
    }

    fn cannot(&mut self, reason: Reason) {
        self.event(Event::CannotBeServed(reason));
    }

    fn count(&mut self, bytes: usize) {
        self.spent.received += bytes as u64;
    }

    /// Asks the delivery service where the group is, for what this device lacks.
    fn follow(&mut self, now: Time) {
        self.followed = 0;
        if self.reachable {
            let have = self.view.as_ref().map(|view| view.epoch);
            self.turn.push(Output::Follow { have });
            self.timers.set(Timer::State, now + self.policy.answer_after(self.tries));
        }
    }

    fn await_answer(&mut self, now: Time) {
        self.timers.set(Timer::Answer, now + self.policy.answer_after(self.tries));
    }
}

/// A time within a span, drawn.
fn within(rng: &mut dyn CryptoRng, span: Duration) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(rng.next_u64() % micros)
}
