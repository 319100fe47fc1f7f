//! What a new epoch leads to: its key in the ring, the roster, what is said about it.

use std::collections::BTreeSet;

use undertone_keys::JoinId;

use super::interface::{Event, How, Output};
use super::policy::times;
use super::presence::{behind, place};
use super::state::{By, View};
use super::timer::Timer;
use super::{Membership, Turn, within};
use crate::failure::Broken;
use crate::group::Group;
use crate::roll::{Member, Standing};

impl Membership {
    /// The group in the store is in another epoch than it was.
    pub(super) fn begin_epoch(&mut self, turn: &mut Turn<'_, '_>, by: &By) {
        let before = self.view.take();
        let Ok(group) = Group::open(turn.means.store, self.id) else { return self.broken(turn, Broken::Library) };
        let view = View::in_group(&group, turn.now);
        let (key, attest) = (group.media_key(), group.attest().ok());
        group.close();
        let (view, key) = match (view, key) {
            (Ok(view), Ok(key)) => (view, key),
            (Err(broken), _) | (_, Err(broken)) => return self.broken(turn, broken),
        };
        let entry = if let By::Entry(how) = by { Some(*how) } else { None };
        let (added, removed) = if entry.is_some() { Default::default() } else { changed(before.as_ref(), &view) };
        self.followed = self.followed.saturating_add(1);
        self.spent.epochs += 1;
        self.lacks_quorum = false;
        // What was known of another line counts for nothing.
        let before_known = if entry.is_some_and(How::is_new) { 0 } else { self.known };
        self.known = before_known.max(view.epoch);

        // What is still to be sealed under is newer than what is; only one is ever waiting.
        if entry.is_none() {
            self.promote();
        } else if entry.is_some_and(How::is_new) {
            // Epochs of another line may have the same numbers.
            self.promoting = None;
            self.clear_ring();
        }
        self.installed = Some(view.epoch);
        self.turn.push(Output::Install { epoch: view.epoch, key });
        self.turn.push(Output::Roster { epoch: view.epoch, own: view.own, members: view.members.clone() });
        self.presence.tree(&view, &added, turn.now);
        if self.attests(&view, by)
            && let Some(attest) = attest
        {
            self.turn.push(Output::Attest(attest));
        }
        if let Some(how) = entry {
            self.event(Event::Joined { epoch: view.epoch, how });
        }
        let who = match by {
            By::Me => view.members.iter().find(|member| member.index == view.own).cloned(),
            By::Other(member) => Some(member.clone()),
            By::Entry(_) => None,
        };
        let suite = self.terms.suite;
        // Nobody outside of the group has been given this epoch's key yet.
        let renewed_for_a_leave = self.renew_at.take().is_some_and(|(_, gone)| gone);
        let anybody_went = !removed.is_empty() || renewed_for_a_leave;
        self.event(Event::Epoch { epoch: view.epoch, by: who, added, removed, suite });

        // Whatever was to be committed is worked out anew.
        self.flight = None;
        self.refused = None;
        self.refused_said = false;
        self.removing = None;
        self.adding = None;
        self.frames_at = None;
        self.not_before = None;
        self.tries = 0;
        for timer in [Timer::Answer, Timer::Reconsider, Timer::Welcome, Timer::BySelf] {
            self.timers.clear(timer);
        }
        self.packages.retain(|device, package| {
            !view.members.iter().any(|member| member.device_ref() == *device || member.join == package.claim.said.join)
        });
        let members = view.members.len();
        let (epoch, newly) = (view.epoch, entry.is_some_and(How::is_new));
        self.view = Some(view);
        self.keep_birth(turn);
        self.doubts.new_epoch();
        self.timers.clear(Timer::Doubt);
        let say = times(self.policy.say_each, members).min(self.policy.say);
        self.timers.set(Timer::Say, turn.now + within(turn.rng, say));
        if newly {
            self.back(turn.now, epoch);
        }
        // Somebody was quicker: again at another time.
        if self.restored || (*by != By::Me && self.update_at.is_some_and(|at| at <= turn.now)) {
            self.early(turn);
        }
        self.striking = (self.striking || entry == Some(How::BySelf)) && self.has_strangers(turn);
        if !self.restored && !self.striking {
            let first = !self.sealing || newly;
            self.promoting = Some((epoch, anybody_went));
            if first {
                self.promote();
            } else {
                self.timers.set(Timer::Promote, turn.now + self.policy.apply);
            }
        }
    }

    /// Whether somebody is in the tree who is not let in.
    fn has_strangers(&self, turn: &Turn<'_, '_>) -> bool {
        let refused = |member: &Member| turn.means.roll.standing(&member.user, &member.device) == Standing::Refused;
        self.view.as_ref().is_some_and(|view| view.members.iter().any(refused))
    }

    /// The key of this epoch, once more: it is derived anew from the group, and is the same.
    pub(super) fn install_again(&mut self, turn: &mut Turn<'_, '_>) {
        let Some(epoch) = self.view.as_ref().map(|view| view.epoch).filter(|epoch| self.installed == Some(*epoch))
        else {
            return;
        };
        let Ok(group) = Group::open(turn.means.store, self.id) else { return };
        if let Ok(key) = group.media_key() {
            self.turn.push(Output::Install { epoch, key });
        }
        group.close();
    }

    /// Seals under the epoch that came last.
    pub(super) fn promote(&mut self) {
        self.timers.clear(Timer::Promote);
        if let Some((epoch, removed)) = self.promoting.take() {
            self.sealing = true;
            self.turn.push(Output::Promote { epoch, removed });
        }
    }

    /// Whether it is for this device to attest an epoch: for those behind the committer's leaf, so that a room of a thousand does not
    /// send a thousand.
    fn attests(&self, view: &View, by: &By) -> bool {
        let able = self.presence.able(view);
        match by {
            By::Other(member) => behind(&able, member.index, view.own) < self.policy.attesters,
            By::Entry(How::Welcomed) => place(&able, 0, view.own) <= self.policy.attesters,
            By::Me | By::Entry(_) => false,
        }
    }

    pub(super) fn say(&mut self, turn: &Turn<'_, '_>) {
        let Some(view) = &self.view else { return };
        if self.sealing && !self.held_back {
            self.turn.push(Output::Say { epoch: view.epoch, authenticator: view.authenticator });
        }
        let every = times(self.policy.say_each, view.members.len()).max(self.policy.say);
        self.timers.set(Timer::Say, turn.now + every);
    }
}

/// Whose leaves are new, and whose went.
fn changed(before: Option<&View>, now: &View) -> (Vec<Member>, Vec<Member>) {
    let Some(before) = before else { return Default::default() };
    // A leaf is one join's for as long as it is there.
    let leaves = |view: &View| view.members.iter().map(|member| (member.index, member.join)).collect::<BTreeSet<_>>();
    let missing = |from: &BTreeSet<(u32, JoinId)>, of: &View| -> Vec<Member> {
        of.members.iter().filter(|member| !from.contains(&(member.index, member.join))).cloned().collect()
    };
    (missing(&leaves(before), now), missing(&leaves(now), before))
}
