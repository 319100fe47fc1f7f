//! What a listener does to have the key of each epoch.

use std::collections::BTreeSet;

use undertone_groups::Store;
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::key_id::SenderIndex;

use super::{ANSWER, DOUBT, GRACE, OLD, RENEW};
use crate::room::keys::About;
use crate::room::mls::in_the_ring;
use crate::room::signal::ListenersKey;
use crate::room::{Event, KeySignal, Output, RoomCall};

/// A device that only listens.
#[derive(Debug)]
pub(in crate::room) struct Listening {
    /// The groups of this device, for the day that it may speak.
    pub(in crate::room) store: Store,
    pub(in crate::room) online: bool,
    /// The newest epoch that it was given, its key, and when.
    newest: Option<(u64, ListenersKey, Time)>,
    /// Who gives it keys.
    source: Option<JoinId>,
    /// It lacks a key, and asks for it from then on.
    wish: Option<Time>,
    /// Who was asked last, and until when that one is waited for.
    asked: Option<(JoinId, Time)>,
    /// Who did not answer, or with what does not open.
    tried: BTreeSet<JoinId>,
    /// What it has does not help: whoever is asked now may say otherwise.
    distrusts: bool,
    /// When it says again that it is still there.
    renew_at: Option<Time>,
    seen: Seen,
    /// When it last lacked a later key.
    behind: Option<Time>,
    /// When it last went to another member because of a doubt.
    doubted: Option<Time>,
}

/// What was seen on the media path of frames that do not open, and was not looked into yet.
#[derive(Debug, Default)]
struct Seen {
    /// They are of the newest epoch, and its key does not open them.
    present: bool,
    /// They are of the newest epoch, and its key is not in the ring.
    lost: bool,
    /// They are of a later one.
    later: bool,
    /// They are of one that was before ...
    older: bool,
    /// ... and more of those would be no remnant.
    aged: bool,
}

/// What is to be written.
pub(super) enum Due {
    Question,
    Renewal,
}

impl Listening {
    pub(in crate::room) fn new(store: Store, online: bool) -> Self {
        Self {
            store,
            online,
            newest: None,
            source: None,
            wish: Some(Time::ZERO),
            asked: None,
            tried: BTreeSet::new(),
            distrusts: false,
            renew_at: None,
            seen: Seen::default(),
            behind: None,
            doubted: None,
        }
    }

    /// The newest epoch that it can open.
    pub(in crate::room) fn opens(&self) -> Option<u32> {
        self.epoch().map(|epoch| in_the_ring(epoch).0)
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        self.newest.as_ref().map(|(epoch, ..)| *epoch)
    }

    pub(super) const fn source(&self) -> Option<JoinId> {
        self.source
    }

    /// A new join is another listener to everybody.
    pub(in crate::room) fn joined(&mut self) {
        (self.source, self.asked, self.wish, self.renew_at) = (None, None, Some(Time::ZERO), None);
        self.tried.clear();
    }

    /// A member is in and proven: somebody who may be asked.
    pub(in crate::room) fn member_came(&mut self, now: Time) {
        self.wish = self.wish.map(|_| now);
    }

    /// A member is gone. What it gave is good until the next epoch, which comes because it is gone.
    pub(in crate::room) fn member_gone(&mut self, now: Time, join: JoinId) {
        self.tried.remove(&join);
        self.asked.take_if(|(asked, _)| *asked == join);
        if self.source.take_if(|source| *source == join).is_some() {
            self.wish = Some(now);
        }
    }

    /// Frames do not open: their epoch is not here, or is and does not help. On the media path, so nothing comes of it before the next
    /// [`Tick`](crate::room::Input::Tick).
    pub(in crate::room) fn missed(&mut self, epoch: Option<u8>) {
        let Some(present) = self.epoch() else { return };
        let [.., last] = present.to_be_bytes();
        match epoch.map(|epoch| epoch.wrapping_sub(last)) {
            None => self.seen.present = true,
            Some(0) => self.seen.lost = true,
            Some(1..128) => self.seen.later = true,
            Some(128..) => self.seen.older = true,
        }
    }

    /// The ring did not take a key.
    pub(in crate::room) fn not_installed(&mut self) {
        self.seen.present = true;
    }

    /// When what was seen is to be looked into.
    fn look_at(&self, now: Time) -> Option<Time> {
        // An older epoch is sealed under for a moment after the next has begun. For longer, what was given is of another line.
        let given = self.newest.as_ref().map(|(.., given)| *given + OLD);
        let older = given.filter(|_| self.seen.older);
        let doubt = self.seen.present.then_some(now).into_iter().chain(older).min();
        let doubt = doubt.map(|at| self.doubted.map_or(at, |doubted| at.max(doubted + DOUBT)));
        let at_once = self.seen.lost || (self.seen.later && self.wish.is_none());
        doubt.into_iter().chain(at_once.then_some(now)).min()
    }

    pub(super) fn look(&mut self, now: Time) {
        if self.look_at(now).is_none_or(|at| at > now) {
            return;
        }
        if core::mem::take(&mut self.seen.later) && self.wish.is_none() {
            let again = self.behind.replace(now).is_some_and(|before| now.since(before) < OLD);
            self.wish = Some(if again { now } else { now + GRACE });
            if again {
                // What came instead was not it.
                self.tried.extend(self.source.take());
                self.distrusts = true;
            }
        }
        let old = self.newest.as_ref().is_some_and(|(.., given)| now.since(*given) >= OLD);
        if self.seen.older && old && !core::mem::replace(&mut self.seen.aged, true) {
            self.seen.older = false;
        }
        let doubt = self.seen.present || (self.seen.older && old);
        if doubt && self.doubted.is_none_or(|doubted| now.since(doubted) >= DOUBT) {
            (self.seen.present, self.seen.older) = (false, false);
            self.doubted = Some(now);
            // It is not asked again before the others were.
            self.tried.extend(self.source.take());
            (self.wish, self.distrusts) = (Some(now), true);
        }
    }

    pub(super) fn due(&mut self, now: Time) -> Option<Due> {
        self.asked.take_if(|(_, until)| *until <= now);
        if !self.online {
            None
        } else if self.asked.is_none() && self.wish.is_some_and(|at| at <= now) {
            Some(Due::Question)
        } else {
            self.renew_at.is_some_and(|at| at <= now).then_some(Due::Renewal)
        }
    }

    pub(in crate::room) fn timeout(&self, now: Time) -> Option<Time> {
        let asked = self.asked.map(|(_, until)| until);
        let wish = self.wish.filter(|_| self.asked.is_none());
        let written = [wish, self.renew_at].into_iter().flatten().filter(|_| self.online);
        written.chain(asked).chain(self.look_at(now)).min()
    }

    /// Whom to ask: who gave the last key, and else whoever is next.
    pub(super) fn next(&mut self, servers: &[(JoinId, SenderIndex)]) -> Option<(JoinId, SenderIndex)> {
        if servers.iter().all(|(member, _)| self.tried.contains(member)) {
            self.tried.clear();
        }
        let source = servers.iter().find(|(member, _)| self.source == Some(*member));
        source.or_else(|| servers.iter().find(|(member, _)| !self.tried.contains(member))).copied()
    }

    /// The newest epoch and its key, if the ring is without it.
    pub(super) fn lost(&mut self) -> Option<(u64, ListenersKey)> {
        let lost = core::mem::take(&mut self.seen.lost);
        self.newest.as_ref().filter(|_| lost).map(|(epoch, key, _)| (*epoch, key.again()))
    }

    /// It asks this member. What another has given, or does not open, is no reason not to be given it: the newest epoch that the
    /// question may name.
    pub(super) fn ask(&mut self, now: Time, member: JoinId) -> Option<u64> {
        let newest = self.epoch().filter(|_| self.source == Some(member));
        self.tried.insert(member);
        (self.source, self.asked) = (None, Some((member, now + ANSWER)));
        newest
    }

    /// A key came in: whether it is of another line than the last; none where it is not taken.
    pub(super) fn takes(&mut self, now: Time, from: JoinId, epoch: u64, key: &ListenersKey) -> Option<bool> {
        let asked = self.asked.is_some_and(|(asked, _)| asked == from);
        if !asked && self.source != Some(from) {
            return None;
        }
        (self.source, self.asked, self.wish) = (Some(from), None, None);
        (self.seen, self.renew_at) = (Seen::default(), Some(now + RENEW));
        self.tried.remove(&from);
        let other =
            self.newest.as_ref().is_some_and(|(have, old, _)| *have > epoch || (*have == epoch && !old.is(key)));
        // What contradicts it is taken only in doubt: a letter may be late, and another member a moment behind.
        if other && !core::mem::take(&mut self.distrusts) {
            return None;
        }
        self.distrusts = false;
        self.newest = Some((epoch, key.again(), now));
        Some(other)
    }
}

impl RoomCall {
    /// Asks for what is missing, and says that this device is still there.
    pub(in crate::room) fn mind_listening(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(own) = self.own_join().filter(|_| self.own_index().is_some() && self.listening.is_some()) else {
            return;
        };
        self.mind_gossip(now);
        let Some(listening) = &mut self.listening else { return };
        listening.look(now);
        if let Some((epoch, key)) = listening.lost() {
            self.opens_with(epoch, key, false);
        }
        let Some(listening) = &mut self.listening else { return };
        let Some(due) = listening.due(now) else { return };
        let servers: Vec<_> =
            self.servers(own).into_iter().filter_map(|(member, index)| Some((member, index?))).collect();
        let Some(listening) = &mut self.listening else { return };
        let (to, newest) = match due {
            Due::Question => {
                let Some((member, index)) = listening.next(&servers) else {
                    listening.wish = Some(now + ANSWER);
                    return;
                };
                (index, listening.ask(now, member))
            }
            Due::Renewal => {
                let source = servers.iter().find(|(member, _)| listening.source == Some(*member));
                listening.renew_at = source.map(|_| now + RENEW);
                let Some((_, index)) = source else { return };
                (*index, listening.epoch())
            }
        };
        let about = About { term: 0, epoch: 0, request: RequestId::random(rng) };
        self.post(to, about, &KeySignal::Listen { newest }, rng);
    }

    /// A member has sent the key of an epoch, and what it was shown of the key directory (rule KT-13).
    pub(in crate::room) fn hears(
        &mut self,
        now: Time,
        index: SenderIndex,
        (epoch, key, removed): (u64, ListenersKey, bool),
        checkpoint: Vec<u8>,
    ) {
        let seat = self.seats.get(&index).filter(|seat| seat.is_admitted() && !seat.is_audience());
        let Some(join) = seat.map(|seat| seat.entry().join.join) else { return };
        let Some(listening) = &mut self.listening else { return };
        let Some(other_line) = listening.takes(now, join, epoch, &key) else { return };
        if other_line {
            self.outputs.push_back(Output::Clear);
        }
        self.opens_with(epoch, key, removed);
        self.event(Event::Epoch(in_the_ring(epoch)));
        self.told_checkpoint(index, checkpoint);
    }

    fn opens_with(&mut self, epoch: u64, key: ListenersKey, removed: bool) {
        let epoch = in_the_ring(epoch);
        self.outputs.push_back(Output::Install(epoch, key.into_media_key()));
        self.outputs.push_back(Output::Promote { epoch, removed });
    }
}
