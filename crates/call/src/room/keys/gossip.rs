//! What hosts, or members of an MLS group, were shown of the key directory's log, compared with what this device was shown (rule KT-13).
//!
//! A key that came is used at once: a server that answers late, or not at all, silences nobody. One that shows two people
//! two directories is found out while they talk, and this device leaves.

use core::time::Duration;
use std::collections::HashMap;

use undertone_keys::digest::sha256;
use undertone_keys::{JoinId, Time};
use undertone_media::key_id::SenderIndex;

use crate::room::{Compared, Leaving, Output, RoomCall};

/// A comparison that nobody has answered by then is answered by nobody.
const LOST: Duration = Duration::from_secs(60);

/// A checkpoint that is to be compared.
#[derive(Debug)]
struct Due {
    index: SenderIndex,
    join: JoinId,
    told: Vec<u8>,
}

/// What is compared, and what was.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    /// The hash of the last checkpoint that each told.
    last: HashMap<SenderIndex, [u8; 32]>,
    /// The newest that still has to be compared.
    due: Option<Due>,
    /// Whose is being compared.
    asked: Option<JoinId>,
    /// When the last comparison began.
    asked_at: Option<Time>,
}

impl Gossip {
    /// When the next comparison may begin.
    fn next(&self, pause: Duration) -> Option<Time> {
        let pause = if self.asked.is_some() { LOST } else { pause };
        self.due.as_ref().map(|_| self.asked_at.map_or(Time::ZERO, |at| at + pause))
    }

    pub(super) fn forget(&mut self, index: SenderIndex) {
        self.last.remove(&index);
        self.due.take_if(|due| due.index == index);
    }
}

impl RoomCall {
    /// A host says what it was shown of the log.
    pub(in crate::room) fn told_checkpoint(&mut self, index: SenderIndex, told: Vec<u8>) {
        let Some(join) = self.seats.get(&index).map(|seat| seat.entry().join.join) else { return };
        if told.is_empty() || told == self.checkpoint {
            return;
        }
        let hash = sha256(&[&told]);
        if self.keys.gossip.last.insert(index, hash) != Some(hash) {
            self.keys.gossip.due = Some(Due { index, join, told });
        }
    }

    /// When there is something to compare.
    pub(in crate::room) fn gossip_timeout(&self) -> Option<Time> {
        self.keys.gossip.next(self.policy.compare)
    }

    /// Begins the next comparison where it is time to.
    pub(in crate::room) fn mind_gossip(&mut self, now: Time) {
        if self.gossip_timeout().is_none_or(|at| at > now) {
            return;
        }
        let Some(due) = self.keys.gossip.due.take() else { return };
        let Some(user) = self.seats.get(&due.index).map(|seat| seat.member().user.clone()) else { return };
        (self.keys.gossip.asked, self.keys.gossip.asked_at) = (Some(due.join), Some(now));
        self.outputs.push_back(Output::Compare { user, told: due.told });
    }

    /// What the last comparison came to.
    pub(in crate::room) fn compared(&mut self, compared: Compared) {
        let Some(join) = self.keys.gossip.asked.take() else { return };
        match compared {
            // What could not be compared is kept by whoever compares, and asked again.
            Compared::Agrees | Compared::Unavailable => {}
            Compared::Disagrees(reason) => self.leave(Leaving::Proof(reason)),
            // The log has signed nothing of the kind: the lie is the host's.
            Compared::Untrue => self.convict(join),
        }
    }
}
