//! Own commits: what is wanted, when this device acts, and what becomes of them (rule MLS-4).
//!
//! What is wanted is worked out anew with every input, out of who is in the call, who is let in and who is in the tree. So a commit that
//! lost its epoch leaves nothing behind: what of it is still wanted is in the next one.

use super::interface::{Denied, Event, Lie, Output, Reason};
use super::policy::times;
use super::presence::{Verdict, place};
use super::state::{By, Flight, State, Told};
use super::timer::Timer;
use super::{Membership, Turn, within};
use crate::group::{Change, CommitError, ExternalJoin, Group, SettleError, noted_key};
use crate::key_package::KeyPackage;
use crate::refused::{Doubt, vouched};
use crate::roll::{DeviceRef, Standing};
use crate::step::Outgoing;
use core::time::Duration;
use std::collections::BTreeSet;
use undertone_keys::{DeviceId, Time, UserId};

/// What is wanted of the tree.
#[derive(Debug, Default)]
struct Wanted {
    remove: Vec<u32>,
    /// Whose leaves these are, where the device is not in.
    gone: Vec<DeviceRef>,
    add: Vec<DeviceRef>,
    /// When more may be.
    at: Option<Time>,
}

impl Membership {
    /// Commits what is due, and notes when more will be.
    pub(super) fn work(&mut self, turn: &mut Turn<'_, '_>) {
        self.timers.clear(Timer::Work);
        self.timers.clear(Timer::Listening);
        if !matches!(self.state, State::Inside) {
            return;
        }
        let Some(wanted) = self.wanted(turn) else { return };
        since(&mut self.removing, turn.now, !wanted.remove.is_empty());
        since(&mut self.adding, turn.now, !wanted.add.is_empty());
        self.show_listening(turn.now, &wanted.gone);

        let Some(view) = &self.view else { return };
        let late = self.known > view.epoch || self.refused.is_some();
        if self.flight.is_some() || !self.reachable || late {
            return;
        }
        let able = self.presence.able(view);
        let (mine, members) = (place(&able, 0, view.own), view.members.len());
        let in_turn = place(&able, usize::try_from(view.epoch).unwrap_or_default(), view.own);
        let wait = times(self.policy.step, mine);
        let remove_at = self.removing.map(|since| since + wait);
        let add_at = self.adding.filter(|_| mine < self.policy.helpers);
        let add_at = add_at.map(|since| since + self.policy.coalesce_with(members) + wait);
        let rotate_at = view.begun + self.policy.rotate + times(self.policy.step, in_turn);
        let renew_at = self.renew_at.map(|(at, _)| at);
        let update_at = [self.update_at, self.frames_at, renew_at, Some(rotate_at)].into_iter().flatten().min();
        if let Some(at) = self.not_before.filter(|at| *at > turn.now) {
            self.timers.set(Timer::Work, at);
            return;
        }
        let due = |at: Option<Time>| at.is_some_and(|at| at <= turn.now);
        let (removes, adds, updates) = (due(remove_at), due(add_at), due(update_at));
        let next = [remove_at, add_at, update_at, wanted.at].into_iter().flatten().filter(|at| *at > turn.now).min();
        if let Some(at) = next {
            self.timers.set(Timer::Work, at);
        }
        if adds {
            self.claim(turn.now, &wanted.add);
        }
        let ready: Vec<_> = wanted.add.into_iter().filter(|device| self.packages.contains_key(device)).collect();
        let adds = adds && !ready.is_empty() && self.claiming.is_empty();
        if removes || adds || updates {
            self.commit(turn, wanted.remove, ready);
        }
    }

    fn wanted(&mut self, turn: &mut Turn<'_, '_>) -> Option<Wanted> {
        let (mut wanted, mut unknown) = (Wanted::default(), Vec::new());
        let view = self.view.as_ref()?;
        let roll = turn.means.roll;
        let mut live = BTreeSet::new();
        for member in &view.members {
            let device = member.device_ref();
            match self.presence.verdict(view, member, roll, &self.policy) {
                Verdict::GoesAt(at) if at > turn.now => {
                    wanted.at = Some(wanted.at.map_or(at, |other| other.min(at)));
                    live.insert(device);
                }
                Verdict::Stays => {
                    live.insert(device);
                }
                Verdict::Goes | Verdict::GoesAt(_) => {
                    wanted.remove.push(member.index);
                    let listed = roll.standing(&device.user, &device.device) != Standing::Refused;
                    if !(listed && self.presence.is_here(&device)) && device != self.me {
                        wanted.gone.push(device);
                    }
                }
            }
        }
        for device in self.presence.here() {
            if *device == self.me || live.contains(device) {
                continue;
            }
            if let Some(until) = self.unclaimable.get(device).filter(|until| **until > turn.now) {
                wanted.at = Some(wanted.at.map_or(*until, |other| other.min(*until)));
                continue;
            }
            match roll.standing(&device.user, &device.device) {
                Standing::Listed(_) => wanted.add.push(device.clone()),
                Standing::Unknown => unknown.push(device.clone()),
                Standing::Refused => {}
            }
        }
        wanted.add.truncate(self.batch);
        if !unknown.is_empty() {
            self.resolve(turn, unknown);
        }
        Some(wanted)
    }

    /// Who is gone and not removed after a while is shown.
    fn show_listening(&mut self, now: Time, gone: &[DeviceRef]) {
        self.listening.retain(|device| gone.contains(device));
        let Some(at) = self.removing.map(|since| since + self.policy.listening) else { return };
        if at > now {
            if !gone.is_empty() {
                self.timers.set(Timer::Listening, at);
            }
            return;
        }
        for device in gone {
            if self.listening.insert(device.clone()) {
                self.event(Event::StillListening(device.clone()));
            }
        }
    }

    fn claim(&mut self, now: Time, devices: &[DeviceRef]) {
        let missing = |device: &&DeviceRef| !self.packages.contains_key(*device) && !self.claiming.contains(*device);
        let missing: Vec<_> = devices.iter().filter(missing).cloned().collect();
        if !missing.is_empty() {
            self.claiming.extend(missing.iter().cloned());
            self.timers.set(Timer::Claim, now + self.policy.claim);
            self.turn.push(Output::Claim(missing));
        }
    }

    pub(super) fn on_claimed(&mut self, turn: &mut Turn<'_, '_>, device: DeviceRef, bytes: Option<Vec<u8>>) {
        if !self.claiming.remove(&device) {
            return;
        }
        let lie = match bytes.map(|bytes| KeyPackage::parse(&bytes, self.terms.suite, turn.means.wall)) {
            Some(Ok(package)) if package.device() == device && self.is_good(turn, &package) => {
                self.packages.insert(device, package);
                return;
            }
            Some(Ok(_)) => Some(Lie::Swapped(device.clone())),
            Some(Err(error)) => Some(Lie::Package(device.clone(), error)),
            None => None,
        };
        if let Some(lie) = lie {
            self.event(Event::ServerLied(lie));
        }
        self.unclaimable.insert(device, turn.now + self.policy.unclaimable);
    }

    /// Whether the device made the package, and for a join that is not in the group.
    fn is_good(&self, turn: &Turn<'_, '_>, package: &KeyPackage) -> bool {
        let used = |view: &super::View| view.members.iter().any(|member| member.join == package.claim.said.join);
        let said = vouched(turn.means.roll, [(u32::MAX, &package.claim)]);
        !matches!(said, Err(Doubt::Refused(_))) && !self.view.as_ref().is_some_and(used)
    }

    pub(super) fn not_claimed(&mut self, turn: &Turn<'_, '_>) {
        for device in core::mem::take(&mut self.claiming) {
            self.unclaimable.insert(device, turn.now + self.policy.unclaimable);
        }
    }

    fn commit(&mut self, turn: &mut Turn<'_, '_>, remove: Vec<u32>, add: Vec<DeviceRef>) {
        let Ok(group) = Group::open(turn.means.store, self.id) else {
            return self.broken(turn, crate::failure::Broken::Library);
        };
        let packages: Vec<_> = add.iter().filter_map(|device| self.packages.get(device).cloned()).collect();
        let change = Change { add: packages, remove, psks: Vec::new() };
        let before = group.tree().unwrap_or_default();
        match group.commit(turn.rng, change, turn.means.roll) {
            Ok(step) => {
                self.note_welcomed(turn, &add);
                for sent in self.keep(turn, step) {
                    if let Outgoing::Commit(upload) = sent.what {
                        let (before, welcomed) = (before.clone(), add.clone());
                        self.flight =
                            Some(Flight { upload, before, welcomed, lost: false, fresh: true, told: Told::Ours });
                    }
                }
                self.tries = 0;
                self.send_flight(turn.now);
            }
            Err(CommitError::Broken(broken)) => self.broken(turn, broken),
            Err(CommitError::Needs(devices)) => {
                self.put_off(turn.now, self.policy.answer);
                self.resolve(turn, devices);
            }
            // Where only one is left, it is not the number of them.
            Err(CommitError::Psk) => {
                self.cannot(Reason::Psk);
                self.put_off(turn.now, self.policy.denied);
            }
            // There is no smaller one: it is made again when the tree may have filled.
            Err(CommitError::TooLarge) if add.is_empty() => {
                self.cannot(Reason::Malformed);
                self.put_off(turn.now, self.policy.denied);
            }
            Err(CommitError::TooLarge) if add.len() > 1 => {
                self.batch = (add.len() / 2).max(1);
                self.put_off(turn.now, self.policy.backoff);
            }
            // One of the packages does not fit, and the library does not say which.
            Err(_) => {
                self.unusable(turn.now, add);
                self.put_off(turn.now, self.policy.answer);
            }
        }
    }

    /// Keeps whom the commit welcomes beside it, since it may have to be brought again after a restart.
    fn note_welcomed(&mut self, turn: &mut Turn<'_, '_>, devices: &[DeviceRef]) {
        let noted = Noted(devices.iter().map(|of| (of.user.clone(), of.device)).collect());
        let mut writes = crate::store::WriteSet::new();
        writes.put(noted_key(self.id), zeroize::Zeroizing::new(undertone_keys::cbor::encode(&noted)));
        turn.means.store.apply_and_keep(writes, &mut self.writes);
    }

    /// Takes up an own commit from before the start.
    pub(super) fn take_up_pending(&mut self, turn: &Turn<'_, '_>) {
        let Ok(group) = Group::open(turn.means.store, self.id) else { return };
        let (Ok(Some(sent)), Ok(before)) = (group.pending(), group.tree()) else { return };
        if let Outgoing::Commit(upload) = sent.what {
            let noted = turn.means.store.read(&noted_key(self.id)).map(undertone_keys::cbor::decode::<Noted>);
            let noted = noted.and_then(Result::ok).filter(|_| upload.welcome.is_some());
            let welcomed = noted.map(|Noted(of)| of).unwrap_or_default();
            let welcomed = welcomed.into_iter().map(|(user, device)| DeviceRef { user, device }).collect();
            self.flight = Some(Flight { upload, before, welcomed, lost: false, fresh: false, told: Told::Ours });
        }
    }

    fn unusable(&mut self, now: Time, devices: Vec<DeviceRef>) {
        for device in devices {
            self.packages.remove(&device);
            self.unclaimable.insert(device, now + self.policy.unclaimable);
        }
    }

    fn put_off(&mut self, now: Time, delay: Duration) {
        self.not_before = Some(now + delay);
        self.timers.set(Timer::Work, now + delay);
    }

    /// Uploads the own commit, or does so again.
    pub(super) fn send_flight(&mut self, now: Time) {
        let Some(flight) = &self.flight else { return };
        if !self.reachable {
            return;
        }
        if flight.told == Told::Asking {
            self.turn.push(Output::FetchTree { epoch: flight.upload.epoch });
        } else if !flight.lost {
            let output = flight.output();
            self.spend(&output);
            self.turn.push(output);
        }
        self.await_answer(now);
    }

    pub(super) fn spend(&mut self, output: &Output) {
        if let Output::Upload { upload, .. } = output {
            let welcome = upload.welcome.as_ref().map_or(0, Vec::len);
            let bytes = upload.commit.len() + welcome + upload.group_info.len() + upload.tree.len();
            self.spent.sent += bytes as u64;
            self.spent.uploads += 1;
        }
    }

    pub(super) fn on_accepted(&mut self, turn: &mut Turn<'_, '_>, epoch: u64) {
        self.known = self.known.max(epoch);
        match &self.state {
            State::Creating { .. } if epoch == 0 => self.created(turn),
            State::JoiningBySelf { flight, .. } if flight.upload.epoch.checked_add(1) == Some(epoch) => {
                self.by_self_accepted(turn);
            }
            State::Inside
                if self.flight.as_ref().is_some_and(|flight| flight.upload.epoch.checked_add(1) == Some(epoch)) =>
            {
                let accepted = Group::open(turn.means.store, self.id).map(|group| group.accepted(turn.rng));
                match accepted {
                    Ok(Ok(step)) => {
                        self.keep(turn, step);
                        self.settled(turn);
                        self.follow_held(turn);
                    }
                    Ok(Err(SettleError::Broken(broken))) => self.broken(turn, broken),
                    Ok(Err(SettleError::None)) | Err(_) => self.broken(turn, crate::failure::Broken::Library),
                }
            }
            _ => {}
        }
    }

    /// The own commit began an epoch.
    pub(super) fn settled(&mut self, turn: &mut Turn<'_, '_>) {
        self.update_at = None;
        // What was too large for a tree of unfilled nodes may not be any more.
        if self.flight.as_ref().is_some_and(|flight| flight.welcomed.len() >= self.batch) {
            self.batch = (self.batch + 1).min(self.policy.batch);
        }
        // One from before the start may be older than what was sealed under it since: the store may be an old one.
        self.restored &= !self.flight.as_ref().is_some_and(|flight| flight.fresh);
        self.begin_epoch(turn, &By::Me);
    }

    pub(super) fn on_refused(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, why: Denied) {
        let of = epoch.checked_sub(1);
        match &mut self.state {
            State::Creating { .. } if epoch == 0 => self.creation_refused(turn, why),
            State::JoiningBySelf { flight, .. } if Some(flight.upload.epoch) == of => self.by_self_refused(turn, why),
            State::Inside => {
                if let Some(flight) = &mut self.flight
                    && Some(flight.upload.epoch) == of
                {
                    // What won comes by itself, or is asked for. The own commit stays until it is there: it goes with it.
                    flight.lost |= why == Denied::Lost;
                    self.commit_refused(turn, epoch, why);
                }
            }
            _ => {}
        }
    }

    fn creation_refused(&mut self, turn: &mut Turn<'_, '_>, why: Denied) {
        match why {
            Denied::Lost => return self.not_created(turn),
            Denied::NotAllowed => self.cannot(Reason::NotAllowed),
            Denied::Malformed | Denied::Mismatch | Denied::TooLarge => self.cannot(Reason::Malformed),
            Denied::Later(_) | Denied::Ahead | Denied::NoGroup => {}
        }
        let after = if let Denied::Later(after) = why { after.max(self.policy.backoff) } else { self.policy.denied };
        self.not_before = Some(turn.now + after);
        self.timers.set(Timer::Answer, turn.now + after);
    }

    fn by_self_refused(&mut self, turn: &mut Turn<'_, '_>, why: Denied) {
        match why {
            Denied::Lost | Denied::Ahead | Denied::NoGroup => self.lost_by_self(turn),
            Denied::NotAllowed | Denied::Malformed | Denied::Mismatch | Denied::TooLarge | Denied::Later(_) => {
                match why {
                    Denied::NotAllowed => self.cannot(Reason::NotAllowed),
                    Denied::Later(_) => {}
                    _ => self.cannot(Reason::Malformed),
                }
                // By then the epoch is over: it is made anew.
                if let Ok(step) = ExternalJoin::lost(turn.means.store, self.id) {
                    self.keep(turn, step);
                }
                let after = if let Denied::Later(after) = why { after } else { self.policy.denied };
                self.lost = self.lost.saturating_add(1);
                self.by_self_later(turn);
                self.timers.set(Timer::BySelf, turn.now + after.max(self.policy.backoff));
            }
        }
        if why == Denied::NoGroup {
            self.state = State::AwaitingNews;
            self.follow(turn.now);
        }
    }

    fn commit_refused(&mut self, turn: &mut Turn<'_, '_>, epoch: u64, why: Denied) {
        match why {
            Denied::Lost => {
                self.timers.clear(Timer::Answer);
                self.known = self.known.max(epoch);
                self.behind_since.get_or_insert(turn.now);
                self.timers.start(Timer::Behind, turn.now + self.policy.behind);
            }
            // Where the group is then, the delivery service says.
            Denied::Ahead | Denied::NoGroup => self.follow(turn.now),
            Denied::Later(after) => self.timers.set(Timer::Answer, turn.now + after.max(self.policy.backoff)),
            // Whoever committed last brought another tree beside the commit than the group has (MLS-3). What follows is told from
            // that one, whatever it is: what it comes to has to be the tree of this commit's group info.
            Denied::Mismatch if self.flight.as_ref().is_some_and(|flight| flight.told == Told::Ours) => {
                self.event(Event::ServerLied(Lie::Tree));
                if let Some(flight) = &mut self.flight {
                    flight.told = Told::Asking;
                    self.turn.push(Output::FetchTree { epoch: flight.upload.epoch });
                }
                self.await_answer(turn.now);
            }
            Denied::Mismatch if self.flight.as_ref().is_some_and(|flight| flight.told == Told::Asking) => {}
            Denied::NotAllowed | Denied::Malformed | Denied::Mismatch | Denied::TooLarge => {
                let added = self.flight.as_ref().map(|flight| flight.welcomed.clone()).unwrap_or_default();
                self.drop_flight(turn);
                self.timers.clear(Timer::Answer);
                if why == Denied::TooLarge && added.len() > 1 {
                    self.batch = (added.len() / 2).max(1);
                    return self.put_off(turn.now, self.policy.backoff);
                }
                self.unusable(turn.now, added);
                self.cannot(if why == Denied::NotAllowed { Reason::NotAllowed } else { Reason::Malformed });
                self.put_off(turn.now, self.policy.denied);
            }
        }
    }

    /// The tree that the delivery service has of the epoch of the own commit.
    pub(super) fn told_from(&mut self, now: Time, of: u64, tree: Option<Vec<u8>>) {
        let asking = |flight: &&mut Flight| flight.told == Told::Asking && flight.upload.epoch == of;
        let Some(flight) = self.flight.as_mut().filter(asking) else { return };
        flight.told = Told::Theirs;
        if let Some(tree) = tree {
            flight.before = tree;
        }
        self.send_flight(now);
    }

    pub(super) fn on_sealed(&mut self, turn: &mut Turn<'_, '_>, frames: u64) {
        if frames >= self.policy.frames && self.frames_at.is_none() {
            self.frames_at = Some(turn.now + within(turn.rng, self.policy.step));
        }
    }

    /// Draws when this device gives itself new keys: who was added has filled no path, and who was started again may not seal yet.
    pub(super) fn early(&mut self, turn: &mut Turn<'_, '_>) {
        let members = self.view.as_ref().map_or(0, |view| view.members.len());
        let spread = if self.restored { self.policy.step } else { times(self.policy.early_each, members) };
        let first = if self.restored { Duration::ZERO } else { self.policy.early };
        let delay = (first + within(turn.rng, spread)).min(self.policy.early_most);
        self.update_at = Some(turn.now + delay);
    }
}

impl Flight {
    pub(super) fn output(&self) -> Output {
        Output::Upload { upload: self.upload.clone(), before: self.before.clone(), welcomed: self.welcomed.clone() }
    }
}

/// Whom the last own commit welcomes.
#[derive(minicbor::Encode, minicbor::Decode)]
struct Noted(#[n(0)] Vec<(UserId, DeviceId)>);

/// Since when something is so.
fn since(at: &mut Option<Time>, now: Time, is: bool) {
    *at = is.then(|| at.unwrap_or(now));
}
