//! Who is in the room: papers, list and devices, checked before anybody is heard (rules GRP-8, CALL-6).

use core::time::Duration;
use std::collections::BTreeSet;

use undertone_keys::envelope::Address;
use undertone_keys::{Time, UserId};
use undertone_media::Sender;
use undertone_media::faults::{Fault, is_planted};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::control::{Member, Refusal};
use undertone_protocol::grant::GrantError;
use undertone_protocol::join::JoinError;
use undertone_protocol::limits::{MAX_LISTENERS, MAX_MEMBERS};
use undertone_protocol::{Access, Entry, Listed, Rights};
use undertone_transparency::TrustedPeer;

use super::{Event, Leaving, Output, RoomCall, Unproven};

/// How long somebody may be in the room whom the list does not name: as long as it takes to hear of a newer list, or to
/// be put out.
const STRANGER: Duration = Duration::from_secs(10);
/// A look-up that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// A list is asked for at most this often.
const FETCH: Duration = Duration::from_secs(1);
/// How long somebody's devices may take to be proven before the roster counts as one that cannot be.
const UNPROVEN: Duration = Duration::from_secs(60);
/// How long a device of the creator's that is being proven is waited for before another holds the keys.
const RIVAL: Duration = Duration::from_secs(3);
/// Look-ups of somebody in the room that may fail in a row before they are not heard any more.
const MAX_FAILED: u32 = 30;
/// The devices of everybody in a call are looked up anew this often (rule CALL-6).
const RECHECK: Duration = Duration::from_secs(300);

/// Somebody in the room.
#[derive(Debug)]
pub(super) struct Seat {
    entry: Entry,
    state: SeatState,
    /// Since when it is there.
    since: Time,
    /// In the audience: it has asked this device for keys.
    asks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeatState {
    /// The list does not name its user with these rights, so far.
    AwaitingList { since: Time },
    /// In the audience: it has asked this device for nothing, so there is no reason to prove it.
    AwaitingQuestion,
    /// Its user's devices are being proven.
    AwaitingProof { since: Time },
    /// It is who it says it is, and belongs here.
    Admitted,
}

impl Seat {
    pub(super) const fn is_admitted(&self) -> bool {
        matches!(self.state, SeatState::Admitted)
    }

    /// When this device has had enough of it.
    fn end(&self) -> Option<Time> {
        match self.state {
            // Who is only in the audience is sent nothing before it is proven, and that is all.
            _ if self.is_audience() => None,
            SeatState::AwaitingList { since } => Some(since + STRANGER),
            SeatState::AwaitingProof { since } => Some(since + UNPROVEN),
            SeatState::AwaitingQuestion | SeatState::Admitted => None,
        }
    }

    /// Whether it has been in for a moment only and may yet be proven.
    pub(super) fn is_being_proven(&self, now: Time) -> bool {
        matches!(self.state, SeatState::AwaitingProof { since } if now.since(since) < RIVAL)
    }

    pub(super) const fn since(&self) -> Time {
        self.since
    }

    /// Whether it is in the audience, by its grant; the list says the same of whoever is admitted.
    pub(super) const fn is_audience(&self) -> bool {
        self.entry.grant.is_audience()
    }

    /// It asks this device for keys; whether it is to be looked at for that: for the first time, or again where it was not let in then.
    pub(super) fn ask(&mut self, now: Time) -> bool {
        let again = match &mut self.state {
            SeatState::AwaitingList { since } if now.since(*since) >= STRANGER => {
                *since = now;
                true
            }
            _ => false,
        };
        !core::mem::replace(&mut self.asks, true) || again
    }

    pub(super) const fn member(&self) -> &Address {
        &self.entry.grant.member
    }

    pub(super) const fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// What is known of a user in the room.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) peer: Option<TrustedPeer>,
    /// A look-up is under way.
    asked: bool,
    /// When a failed look-up is tried again.
    retry_at: Option<Time>,
    /// Looked up once more since a device came that was not in the list before.
    again: bool,
    /// Look-ups that failed in a row.
    failed: u32,
    /// What was last found is not trusted.
    untrusted: bool,
    /// When its devices were last found.
    found_at: Option<Time>,
}

impl Known {
    /// A look-up is under way.
    pub(super) const fn is_asked(&self) -> bool {
        self.asked
    }

    /// What was last found is not trusted.
    pub(super) const fn is_untrusted(&self) -> bool {
        self.untrusted
    }
}

impl RoomCall {
    pub(super) fn joined(&mut self, now: Time, index: SenderIndex, members: Vec<Member>, others: u16) {
        let Some(me) = &mut self.me else { return };
        me.index = Some(index);
        self.recheck_at = Some(self.recheck_at.unwrap_or(now + RECHECK));
        self.expected = Some((usize::from(others), Vec::new()));
        self.keys_joined(now);
        // Whatever was said about the list while this device was not here, it has not heard.
        self.fetch_access(now);
        for member in members {
            self.arrived(now, &member);
        }
        self.settle(now);
    }

    /// When everybody was shown who is in, whoever was in before and is not any more has gone in the meantime.
    fn settle(&mut self, now: Time) {
        let Some((_, shown)) = self.expected.take_if(|(others, shown)| shown.len() >= *others) else { return };
        let gone: Vec<SenderIndex> = self.seats.keys().copied().filter(|index| !shown.contains(index)).collect();
        for index in gone {
            self.gone(now, index, Refusal::Left);
        }
        self.put_strangers_out();
    }

    pub(super) fn arrived(&mut self, now: Time, member: &Member) {
        let index = member.index;
        let entry = match Entry::verify(&member.grant, &member.join, &self.server, self.wall) {
            Ok(entry) => entry,
            // The server renews grants in time: a clock was set, and nobody forged anything. They come again with a new one,
            // and have no key till then.
            Err(JoinError::Grant(GrantError::Expired)) => return self.shown(now, index),
            Err(error) => {
                return self.leave(Leaving::Proof(format!("somebody is in the room whose papers fail: {error}")));
            }
        };
        let (grant, list) = (&entry.grant, self.access.list());
        let terms = grant.protection == list.terms.protection && grant.audience == list.terms.audience;
        let here = grant.call == self.call && grant.room == list.room && terms;
        if !here || grant.member.device == self.local.address.device {
            let who = grant.member.user.display();
            return self.leave(Leaving::Proof(format!("{who} is in the room with papers for another place")));
        }
        if let Some(here) = self.seats.get(&index)
            && here.entry.join.join != entry.join.join
        {
            // The relay gave the index anew, so its former holder has gone.
            self.gone(now, index, Refusal::Left);
        }
        // A join that has gone does not come again, whoever shows its papers; nor has anybody this device's own index.
        let own = self.me.as_ref().and_then(|me| me.index);
        let audience = grant.is_audience();
        let alike = self.seats.values().filter(|seat| seat.is_audience() == audience).count();
        let full = alike >= if audience { MAX_LISTENERS } else { MAX_MEMBERS };
        if self.past.contains(&entry.join.join) || own == Some(index) || full {
            return self.shown(now, index);
        }
        let device = grant.member.device;
        let older = self.seats.iter().find(|(i, seat)| **i != index && seat.member().device == device);
        if let Some(older) = older.map(|(index, _)| *index) {
            self.gone(now, older, Refusal::Replaced);
        }
        // One that stayed while this device was away is the same join still.
        let state = match audience {
            // Whom the list has never named has been given nothing, and no key changes when it goes.
            true => SeatState::AwaitingList { since: now },
            false => SeatState::AwaitingProof { since: now },
        };
        self.seats.entry(index).or_insert(Seat { entry, state, since: now, asks: false });
        self.examine(now, index);
        self.shown(now, index);
    }

    fn shown(&mut self, now: Time, index: SenderIndex) {
        if let Some((_, shown)) = &mut self.expected {
            shown.push(index);
        }
        self.settle(now);
    }

    pub(super) fn gone(&mut self, now: Time, index: SenderIndex, reason: Refusal) {
        let Some(seat) = self.seats.remove(&index) else { return };
        self.past.insert(seat.entry.join.join);
        self.outputs.push_back(Output::Dismiss(index));
        self.dismissed(now, index, &seat, seat.state, reason);
    }

    /// Somebody who was in, or would have been, is not taken for one of the room: not heard and sent nothing. Those who
    /// may put it out; one who stays is the end of the room for this device.
    fn estrange(&mut self, now: Time, index: SenderIndex) {
        let Some(seat) = self.seats.get_mut(&index) else { return };
        if matches!(seat.state, SeatState::AwaitingList { .. }) {
            return;
        }
        let was = core::mem::replace(&mut seat.state, SeatState::AwaitingList { since: now });
        if let Some(seat) = self.seats.remove(&index) {
            if was == SeatState::Admitted {
                self.outputs.push_back(Output::Suspend(index));
            }
            self.dismissed(now, index, &seat, was, Refusal::Removed);
            self.seats.insert(index, seat);
        }
    }

    fn dismissed(&mut self, now: Time, index: SenderIndex, seat: &Seat, was: SeatState, reason: Refusal) {
        // Whoever gave it a key has it admitted, and to others it may have been given one. Who could not be proven was given none.
        if seat.is_audience() && matches!(was, SeatState::Admitted | SeatState::AwaitingQuestion) {
            self.listener_gone(now, index, seat, reason);
        }
        if was != SeatState::Admitted {
            return;
        }
        self.event(Event::Out { index, member: seat.member().clone(), reason });
        if seat.is_audience() {
            return;
        }
        if let Some(listening) = &mut self.listening {
            listening.member_gone(now, seat.entry.join.join);
        }
        self.group_sees(seat.member(), false);
        self.keys_left(now, index, seat.entry.join.join);
    }

    /// Asks of one seat what is still unknown, and admits it when nothing is.
    pub(super) fn examine(&mut self, now: Time, index: SenderIndex) {
        let Some(seat) = self.seats.get(&index) else { return };
        let (member, rights) = (seat.entry.grant.member.clone(), seat.entry.grant.rights);
        let listed = self.access.list().listed(&member.user).filter(|listed| listed.rights == rights).cloned();
        let Some(listed) = listed.or_else(|| self.servers_word(&member.user, rights)) else {
            self.estrange(now, index);
            // Perhaps it was listed a moment ago.
            return self.fetch_access(now);
        };
        let Some(seat) = self.seats.get_mut(&index) else { return };
        if seat.is_audience() && !seat.asks {
            seat.state = SeatState::AwaitingQuestion;
            // Its question may have come before it was shown.
            return self.keys.look_again();
        }
        if matches!(seat.state, SeatState::AwaitingList { .. } | SeatState::AwaitingQuestion) {
            seat.state = SeatState::AwaitingProof { since: now };
        }
        let known = self.known.entry(member.user.clone()).or_default();
        let Some(peer) = &known.peer else { return self.look_up(&member.user) };
        let record = peer.device(member.device);
        let proven = record.is_some_and(|record| record.identity == seat.entry.grant.identity);
        if *peer.account() == listed.account && proven {
            if seat.is_admitted() {
                return;
            }
            seat.state = SeatState::Admitted;
            let (standing, join) = (peer.standing(), seat.entry.join.join);
            // A listener has nothing to say that anybody would play, whatever a relay forwards.
            if rights.speak {
                let sender = Sender { user: member.user.clone(), device: member.device, join, index };
                self.outputs.push_back(Output::Admit(sender));
            }
            let (ephemeral, audience) = (seat.entry.join.ephemeral.is_some(), seat.is_audience());
            let forward_secrecy = ephemeral || (self.has_group() && !audience);
            if !audience {
                self.group_sees(&member, true);
            }
            self.event(Event::In { index, member, standing, rights, forward_secrecy });
            self.keys_admitted(now);
            self.keys.look_again();
            if audience {
                self.listener_asks(now, index, None);
            } else if let Some(listening) = &mut self.listening {
                listening.member_came(now);
            }
            return;
        }
        // A device that is newer than the list we have of its user: look once more, and see then.
        if record.is_none() && (known.asked || !core::mem::replace(&mut known.again, true)) {
            return self.look_up(&member.user);
        }
        // Another account, or a device that is none of its user's, or is not any more (rule CALL-6).
        self.estrange(now, index);
        self.put_out(index);
    }

    /// What the server's grant says, where that is taken for the list: never, but where that fault is planted.
    fn servers_word(&self, user: &UserId, rights: Rights) -> Option<Listed> {
        let peer = self.known.get(user)?.peer.as_ref().filter(|_| is_planted(Fault::TakesTheServersWord))?;
        Some(Listed { user: user.clone(), account: *peer.account(), rights })
    }

    pub(super) fn look_up(&mut self, user: &UserId) {
        let known = self.known.entry(user.clone()).or_default();
        if !core::mem::replace(&mut known.asked, true) {
            self.outputs.push_back(Output::Resolve(user.clone()));
        }
    }

    /// Looks somebody up once more whose proof is as old as proofs may be (rule CALL-6).
    pub(super) fn prove_again(&mut self, now: Time, user: &UserId) {
        let found = self.known.get(user).and_then(|known| known.found_at);
        if found.is_some_and(|found| now.since(found) >= RECHECK) {
            self.look_up(user);
        }
    }

    /// The server is back: look-ups that failed need not wait.
    pub(super) fn look_up_again(&mut self, now: Time) {
        for (user, known) in &mut self.known {
            if known.retry_at.is_some() {
                known.retry_at = Some(now);
            } else if known.asked {
                // Asked while the server was away: whoever waits for that waits for nothing.
                self.outputs.push_back(Output::Resolve(user.clone()));
            }
        }
    }

    fn put_out(&mut self, index: SenderIndex) {
        if self.rights.moderate {
            self.outputs.push_back(Output::Remove(index));
        }
    }

    fn examine_all(&mut self, now: Time, of: impl Fn(&Seat) -> bool) {
        let seats = self.seats.iter().filter(|(_, seat)| of(seat));
        let indices: Vec<SenderIndex> = seats.map(|(index, _)| *index).collect();
        for index in indices {
            self.examine(now, index);
        }
    }

    pub(super) fn resolved(&mut self, now: Time, user: &UserId, peer: Result<TrustedPeer, Unproven>) {
        let Some(known) = self.known.get_mut(user) else { return };
        known.asked = false;
        known.untrusted = matches!(peer, Err(Unproven::Untrusted(_)));
        match peer {
            Ok(peer) => {
                self.checkpoint = peer.checkpoint().to_vec();
                known.peer = Some(peer);
                (known.retry_at, known.failed, known.found_at) = (None, 0, Some(now));
                self.examine_all(now, |seat| seat.member().user == *user);
                if let Some(known) = self.known.get_mut(user) {
                    // Every device is in what is known now, or is being looked for once more.
                    known.again &= known.asked;
                }
            }
            Err(Unproven::Unavailable) => {
                known.failed += 1;
                known.retry_at = Some(now + RETRY);
                if known.failed >= MAX_FAILED {
                    // What was proven half an hour ago is worth nothing for ever (rule CALL-6).
                    known.peer = None;
                    let seats = self.seats.iter().filter(|(_, seat)| seat.member().user == *user);
                    let seats: Vec<SenderIndex> = seats.map(|(index, _)| *index).collect();
                    seats.into_iter().for_each(|index| self.estrange(now, index));
                }
            }
            Err(Unproven::Untrusted(why)) => {
                let seats = self.seats.iter().filter(|(_, seat)| seat.is_audience() && seat.member().user == *user);
                let listening: Vec<SenderIndex> = seats.map(|(index, _)| *index).collect();
                listening.into_iter().for_each(|index| self.estrange(now, index));
                // Nobody in the room hangs on it: no reason to go.
                if self.seats.values().any(|seat| !seat.is_audience() && seat.member().user == *user) {
                    let who = user.display();
                    self.leave(Leaving::Proof(format!(
                        "{who} is in the room, but {why}: see `undertone peer show {user}`"
                    )));
                }
            }
        }
        self.group_told(undertone_groups::member::Input::RollChanged);
    }

    /// Somebody says that the list has this version: it is fetched until it is there.
    pub(super) fn want_version(&mut self, now: Time, version: u32) {
        self.wanted_version = self.wanted_version.max(version);
        if version > self.access.list().version {
            self.fetch_access(now);
        }
    }

    pub(super) fn fetch_access(&mut self, now: Time) {
        if self.fetching {
            return;
        }
        let next = self.fetched_at.map_or(now, |at| at + FETCH);
        if next > now {
            self.refetch_at = Some(self.refetch_at.map_or(next, |at| at.min(next)));
            return;
        }
        (self.fetching, self.fetched_at, self.refetch_at) = (true, Some(now), None);
        self.outputs.push_back(Output::FetchAccess);
    }

    pub(super) fn access_fetched(&mut self, now: Time, access: Option<Access>) {
        self.fetching = false;
        let Some(access) = access else {
            self.refetch_at = Some(now + RETRY);
            return;
        };
        if access.list().version > self.access.list().version {
            (self.access, self.access_since) = (access, now);
            let Some(listed) = self.access.list().listed(&self.local.address.user) else {
                return self.leave(Leaving::Removed);
            };
            if listed.rights != self.rights {
                self.outputs.push_back(Output::Rejoin);
            }
            self.take_part();
            self.examine_all(now, |_| true);
            self.group_told(undertone_groups::member::Input::RollChanged);
            self.keys_list_changed(now);
        }
        if self.wanted_version > self.access.list().version {
            self.refetch_at = Some(now + RETRY);
        }
        self.put_strangers_out();
        self.keys.look_again();
    }

    /// Whoever is not on the newest list is put out by those who may.
    fn put_strangers_out(&mut self) {
        let strangers = self.seats.iter().filter(|(_, seat)| {
            let listed = self.access.list().listed(&seat.member().user);
            matches!(seat.state, SeatState::AwaitingList { .. })
                && listed.is_none_or(|listed| listed.rights != seat.entry.grant.rights)
        });
        let strangers: Vec<SenderIndex> = strangers.map(|(index, _)| *index).collect();
        for index in strangers {
            self.put_out(index);
        }
    }

    pub(super) fn roster_timeout(&self) -> Option<Time> {
        let ends = self.seats.values().filter_map(Seat::end);
        // A rival that is not proven in time gives way.
        let rivals = self.seats.values().filter_map(|seat| match seat.state {
            SeatState::AwaitingProof { since } => Some(since + RIVAL),
            SeatState::AwaitingList { .. } | SeatState::AwaitingQuestion | SeatState::Admitted => None,
        });
        let rivals = rivals.filter(|at| self.ticked.is_none_or(|ticked| *at > ticked));
        let retries = self.known.values().filter_map(|known| known.retry_at);
        ends.chain(rivals).chain(retries).chain(self.recheck_at).chain(self.refetch_at).min()
    }

    pub(super) fn tick_roster(&mut self, now: Time) {
        self.ticked = Some(now);
        if let Some(seat) = self.seats.values().find(|seat| seat.end().is_some_and(|end| end <= now)) {
            let who = seat.member().user.display();
            let why = match seat.state {
                SeatState::AwaitingList { .. } => "is in the room and does not belong there",
                SeatState::AwaitingQuestion | SeatState::AwaitingProof { .. } | SeatState::Admitted => {
                    "is in the room and cannot be proven"
                }
            };
            return self.leave(Leaving::Proof(format!("{who} {why}")));
        }
        if self.refetch_at.take_if(|at| *at <= now).is_some() {
            self.fetch_access(now);
        }
        for (user, known) in &mut self.known {
            if known.retry_at.take_if(|at| *at <= now).is_some() && !core::mem::replace(&mut known.asked, true) {
                self.outputs.push_back(Output::Resolve(user.clone()));
            }
        }
        if self.recheck_at.take_if(|at| *at <= now).is_some() {
            self.recheck_at = Some(now + RECHECK);
            self.fetch_access(now);
            let present: BTreeSet<&UserId> = self.seats.values().map(|seat| &seat.member().user).collect();
            self.known.retain(|user, known| known.asked || present.contains(user));
            // Listeners are looked up when they say that they are still there: not thousands at a time.
            let members = self.seats.values().filter(|seat| !seat.is_audience()).map(|seat| &seat.member().user);
            let members: BTreeSet<&UserId> = members.collect();
            for (user, known) in self.known.iter_mut().filter(|(user, _)| members.contains(user)) {
                // What is known holds until something else is.
                if !core::mem::replace(&mut known.asked, true) {
                    self.outputs.push_back(Output::Resolve(user.clone()));
                }
            }
        }
    }
}
