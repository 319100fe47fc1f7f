//! What a listener does to have the key of each epoch.

use std::collections::BTreeSet;

use undertone_groups::Store;
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::key_id::SenderIndex;

use super::{ANSWER, RENEW};
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
    /// The newest epoch whose key it has, and who gave it.
    epoch: Option<u64>,
    source: Option<JoinId>,
    /// It lacks a key.
    wish: bool,
    /// What it has does not open what should open.
    doubts: bool,
    /// Who was asked last, and until when that one is waited for.
    asked: Option<(JoinId, Time)>,
    tried: BTreeSet<JoinId>,
    /// When it says again that it is still there.
    renew_at: Option<Time>,
}

impl Listening {
    pub(in crate::room) const fn new(store: Store, online: bool) -> Self {
        Self {
            store,
            online,
            epoch: None,
            source: None,
            wish: true,
            doubts: false,
            asked: None,
            tried: BTreeSet::new(),
            renew_at: None,
        }
    }

    /// The newest epoch that it can open.
    pub(in crate::room) fn opens(&self) -> Option<u32> {
        self.epoch.map(|epoch| in_the_ring(epoch).0)
    }

    /// A new join is another listener to everybody.
    pub(in crate::room) fn joined(&mut self) {
        (self.source, self.asked, self.wish) = (None, None, true);
        self.tried.clear();
    }

    /// Frames do not open: their epoch is not here, or is and does not help. On the media path, so nothing comes of it before the next
    /// [`Tick`](crate::room::Input::Tick).
    pub(in crate::room) fn missed(&mut self, epoch: Option<u8>) {
        let Some(present) = self.epoch else { return };
        let [.., last] = present.to_be_bytes();
        let ahead = epoch.map_or(0, |epoch| epoch.wrapping_sub(last));
        if ahead < 128 {
            self.wish = true;
            self.doubts |= ahead == 0;
        }
    }

    pub(in crate::room) fn timeout(&self, now: Time) -> Option<Time> {
        let asked = self.asked.map(|(_, until)| until);
        let wish = (self.wish && self.asked.is_none() && self.online).then_some(now);
        asked.into_iter().chain(wish).chain(self.renew_at).min()
    }
}

impl RoomCall {
    /// Asks for what is missing, and says that this device is still there.
    pub(in crate::room) fn mind_listening(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(own) = self.own_join().filter(|_| self.own_index().is_some()) else { return };
        let servers = self.servers(own);
        let Some(listening) = &mut self.listening else { return };
        let is_here = |join: JoinId| servers.iter().any(|(member, _)| *member == join);
        if listening.source.take_if(|source| !is_here(*source)).is_some() {
            listening.wish = true;
        }
        let renew = listening.renew_at.take_if(|at| *at <= now).is_some();
        if !listening.online {
            return;
        }
        listening.asked = listening.asked.filter(|(asked, until)| *until > now && is_here(*asked));
        let to = if listening.wish && listening.asked.is_none() {
            if servers.iter().all(|(member, _)| listening.tried.contains(member)) {
                listening.tried.clear();
            }
            servers.iter().find(|(member, _)| !listening.tried.contains(member))
        } else {
            servers.iter().find(|(member, _)| renew && listening.source == Some(*member))
        };
        let Some((member, Some(index))) = to.copied() else { return };
        if listening.wish {
            listening.tried.insert(member);
            listening.asked = Some((member, now + ANSWER));
        }
        listening.renew_at = Some(now + RENEW);
        // What it does not trust it does not have.
        let newest = listening.epoch.filter(|_| !listening.wish);
        let about = About { term: 0, epoch: 0, request: RequestId::random(rng) };
        self.post(index, about, &KeySignal::Listen { newest }, rng);
    }

    /// A member has sent the key of an epoch.
    pub(in crate::room) fn hears(&mut self, now: Time, index: SenderIndex, epoch: u64, key: ListenersKey) {
        let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted() && !seat.only_listens()) else { return };
        let join = seat.entry().join.join;
        let Some(listening) = &mut self.listening else { return };
        let asked = listening.asked.is_some_and(|(asked, _)| asked == join);
        if !asked && listening.source != Some(join) {
            return;
        }
        // One source counts upwards. What another says, or the same one about what does not open, begins anew.
        let again = listening.epoch.is_some_and(|have| epoch <= have);
        if again && listening.source == Some(join) && !listening.doubts {
            (listening.asked, listening.wish) = (None, false);
            return;
        }
        (listening.epoch, listening.source, listening.asked) = (Some(epoch), Some(join), None);
        (listening.wish, listening.doubts) = (false, false);
        listening.tried.clear();
        listening.renew_at = Some(now + RENEW);
        if again {
            self.outputs.push_back(Output::Clear);
        }
        let epoch = in_the_ring(epoch);
        self.outputs.push_back(Output::Install(epoch, key.into_media_key()));
        self.outputs.push_back(Output::Promote { epoch, removed: false });
        self.event(Event::Epoch(epoch));
    }
}
