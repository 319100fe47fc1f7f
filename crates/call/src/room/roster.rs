//! Who is in the room: papers, list and devices, checked before anybody is heard (rules GRP-8, CALL-6).

use core::time::Duration;

use undertone_keys::envelope::Address;
use undertone_keys::{Time, UserId};
use undertone_media::Sender;
use undertone_media::key_id::SenderIndex;
use undertone_protocol::control::{Member, Refusal};
use undertone_protocol::{Access, Entry};
use undertone_transparency::TrustedPeer;

use super::{Event, Leaving, Output, RoomCall, Unproven};

/// How long somebody may be in the room whom the list does not name: as long as it takes to hear of a newer list, or to
/// be put out.
const STRANGER: Duration = Duration::from_secs(10);
/// A look-up that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// The devices of everybody in a call are looked up anew this often (rule CALL-6).
const RECHECK: Duration = Duration::from_secs(300);

/// Somebody in the room.
#[derive(Debug)]
pub(super) struct Seat {
    entry: Entry,
    state: SeatState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeatState {
    /// The list does not name its user with these rights, so far.
    AwaitingList { since: Time },
    /// Its user's devices are being proven.
    AwaitingProof,
    /// It is who it says it is, and belongs here.
    Admitted,
}

impl Seat {
    pub(super) const fn is_admitted(&self) -> bool {
        matches!(self.state, SeatState::Admitted)
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
    /// Proven once more since a device came that was not in the list before.
    again: bool,
}

impl RoomCall {
    pub(super) fn joined(&mut self, now: Time, index: SenderIndex, members: Vec<Member>, others: u16) {
        let Some(me) = &mut self.me else { return };
        me.index = Some(index);
        self.recheck_at = Some(self.recheck_at.unwrap_or(now + RECHECK));
        self.expected = Some((usize::from(others), Vec::new()));
        self.keys.joined(now);
        for member in members {
            self.arrived(now, member);
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
    }

    pub(super) fn arrived(&mut self, now: Time, member: Member) {
        let index = member.index;
        let entry = match Entry::verify(&member.grant, &member.join, &self.server, self.wall) {
            Ok(entry) => entry,
            Err(error) => return self.leave(Leaving::Proof(format!("somebody is in the room whose papers fail: {error}"))),
        };
        let (grant, list) = (&entry.grant, self.access.list());
        let here = grant.call == self.call && grant.room == list.room && grant.protection == list.terms.protection;
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
        let device = grant.member.device;
        let older = self.seats.iter().find(|(i, seat)| **i != index && seat.member().device == device);
        if let Some(older) = older.map(|(index, _)| *index) {
            self.gone(now, older, Refusal::Replaced);
        }
        // One that stayed while this device was away is the same join still.
        self.seats.entry(index).or_insert(Seat { entry, state: SeatState::AwaitingProof });
        if let Some((_, shown)) = &mut self.expected {
            shown.push(index);
        }
        self.examine(now, index);
        self.settle(now);
    }

    pub(super) fn gone(&mut self, now: Time, index: SenderIndex, reason: Refusal) {
        let Some(seat) = self.seats.remove(&index) else { return };
        if seat.is_admitted() {
            self.dismissed(now, index, &seat, reason);
        }
    }

    fn dismissed(&mut self, now: Time, index: SenderIndex, seat: &Seat, reason: Refusal) {
        self.outputs.push_back(Output::Dismiss(index));
        self.event(Event::Out { index, member: seat.member().clone(), reason });
        self.keys.left(now, index);
    }

    /// Asks of one seat what is still unknown, and admits it when nothing is.
    fn examine(&mut self, now: Time, index: SenderIndex) {
        let Some(seat) = self.seats.get_mut(&index) else { return };
        let (member, rights) = (seat.entry.grant.member.clone(), seat.entry.grant.rights);
        let listed = self.access.list().listed(&member.user).filter(|listed| listed.rights == rights).cloned();
        let Some(listed) = listed else {
            if !matches!(seat.state, SeatState::AwaitingList { .. }) {
                let was = core::mem::replace(&mut seat.state, SeatState::AwaitingList { since: now });
                if was == SeatState::Admitted
                    && let Some(seat) = self.seats.remove(&index)
                {
                    self.dismissed(now, index, &seat, Refusal::Removed);
                    self.seats.insert(index, seat);
                }
                // Perhaps it was listed a moment ago.
                self.fetch_access();
            }
            return;
        };
        let known = self.known.entry(member.user.clone()).or_default();
        let Some(peer) = &known.peer else {
            seat.state = SeatState::AwaitingProof;
            if !core::mem::replace(&mut known.asked, true) {
                self.outputs.push_back(Output::Resolve(member.user));
            }
            return;
        };
        if *peer.account() != listed.account {
            let who = member.user.display();
            return self.leave(Leaving::Proof(format!("{who} has another account key than the room's list names")));
        }
        match peer.device(member.device) {
            Some(record) if record.identity == seat.entry.grant.identity => {
                if seat.state != SeatState::Admitted {
                    seat.state = SeatState::Admitted;
                    let (standing, join) = (peer.standing(), seat.entry.join.join);
                    let sender = Sender { user: member.user.clone(), device: member.device, join, index };
                    self.outputs.push_back(Output::Admit(sender));
                    self.event(Event::In { index, member, standing, rights });
                    let crowd = self.seats.len();
                    self.keys.admitted(now, crowd);
                    self.again_early(now);
                }
            }
            // A device that is newer than the list we have of its user: look once more.
            None if !known.again => {
                (known.again, known.peer) = (true, None);
                seat.state = SeatState::AwaitingProof;
                if !core::mem::replace(&mut known.asked, true) {
                    self.outputs.push_back(Output::Resolve(member.user));
                }
            }
            // It was one of theirs, and is not any more (rule CALL-6).
            None if seat.state == SeatState::Admitted => {
                seat.state = SeatState::AwaitingList { since: now };
                if let Some(seat) = self.seats.remove(&index) {
                    self.dismissed(now, index, &seat, Refusal::Removed);
                    self.seats.insert(index, seat);
                }
                self.put_out(index);
            }
            Some(_) | None => {
                let who = member.user.display();
                self.leave(Leaving::Proof(format!("a device is in the room that is none of {who}'s")));
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

    pub(super) fn resolved(&mut self, now: Time, user: UserId, peer: Result<TrustedPeer, Unproven>) {
        let Some(known) = self.known.get_mut(&user) else { return };
        known.asked = false;
        match peer {
            Ok(peer) => {
                known.peer = Some(peer);
                known.retry_at = None;
                self.examine_all(now, |seat| seat.member().user == user);
                if let Some(known) = self.known.get_mut(&user) {
                    // Every device is in what is known now, or is being looked for once more.
                    known.again &= known.peer.is_none();
                }
            }
            Err(Unproven::Unavailable) => known.retry_at = Some(now + RETRY),
            Err(Unproven::Untrusted(why)) => {
                // Nobody in the room hangs on it: no reason to go.
                if self.seats.values().any(|seat| seat.member().user == user) {
                    let who = user.display();
                    self.leave(Leaving::Proof(format!("{who} is in the room, but {why}: see `undertone peer show {user}`")));
                }
            }
        }
    }

    pub(super) fn fetch_access(&mut self) {
        if !core::mem::replace(&mut self.fetching, true) {
            self.outputs.push_back(Output::FetchAccess);
        }
    }

    pub(super) fn access_fetched(&mut self, now: Time, access: Option<Access>) {
        self.fetching = false;
        let Some(access) = access else {
            self.refetch_at = Some(now + RETRY);
            return;
        };
        if access.list().version > self.access.list().version {
            self.access = access;
            let Some(listed) = self.access.list().listed(&self.local.address.user) else {
                return self.leave(Leaving::Removed);
            };
            if listed.rights != self.rights {
                self.outputs.push_back(Output::Rejoin);
            }
            self.examine_all(now, |_| true);
            self.keys.list_changed(now);
        }
        // Whoever is not on the newest list is put out by those who may.
        let strangers = self.seats.iter().filter(|(_, seat)| {
            let listed = self.access.list().listed(&seat.member().user);
            matches!(seat.state, SeatState::AwaitingList { .. }) && listed.is_none()
        });
        let strangers: Vec<SenderIndex> = strangers.map(|(index, _)| *index).collect();
        for index in strangers {
            self.put_out(index);
        }
        self.again_early(now);
    }

    pub(super) fn roster_timeout(&self) -> Option<Time> {
        let strangers = self.seats.values().filter_map(|seat| match seat.state {
            SeatState::AwaitingList { since } => Some(since + STRANGER),
            SeatState::AwaitingProof | SeatState::Admitted => None,
        });
        let retries = self.known.values().filter_map(|known| known.retry_at);
        strangers.chain(retries).chain(self.recheck_at).chain(self.refetch_at).min()
    }

    pub(super) fn tick_roster(&mut self, now: Time) {
        let late = self.seats.values().find(|seat| match seat.state {
            SeatState::AwaitingList { since } => now.since(since) >= STRANGER,
            SeatState::AwaitingProof | SeatState::Admitted => false,
        });
        if let Some(seat) = late {
            let who = seat.member().user.display();
            return self.leave(Leaving::Proof(format!("{who} is in the room and not on its list")));
        }
        if self.refetch_at.take_if(|at| *at <= now).is_some() {
            self.fetch_access();
        }
        for (user, known) in &mut self.known {
            if known.retry_at.take_if(|at| *at <= now).is_some() && !core::mem::replace(&mut known.asked, true) {
                self.outputs.push_back(Output::Resolve(user.clone()));
            }
        }
        if self.recheck_at.take_if(|at| *at <= now).is_some() {
            self.recheck_at = Some(now + RECHECK);
            let present = |user: &UserId| self.seats.values().any(|seat| seat.member().user == *user);
            self.known.retain(|user, known| known.asked || present(user));
            for (user, known) in &mut self.known {
                // What is known holds until something else is.
                if !core::mem::replace(&mut known.asked, true) {
                    known.again = true;
                    self.outputs.push_back(Output::Resolve(user.clone()));
                }
            }
        }
    }
}
