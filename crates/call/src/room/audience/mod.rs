//! Those who only listen in a room with an audience: they have no leaf in the call's MLS group, and a member seals each epoch's media
//! key to them (rule GRP-9, docs/adr/0031).
//!
//! ```text
//! listener                              the member that serves it
//!   Listen {none} ------------------->        its papers, the list and the key directory, as with anybody in the room
//!                                             (and a new epoch, where it is not to have the key of this one)
//!   <------- Hear {epoch, key, ..}            and from then on one for each epoch
//!   Listen {epoch}, every minute ---->        it is still there
//! ```
//! Who serves whom nobody agrees on: it is computed from the joins, and where two see it differently one more letter is written. What
//! a member does is in `serve`, what a listener does in `listen`.

mod listen;
mod serve;
#[cfg(test)]
mod tests;

use core::time::Duration;

use undertone_keys::digest::labelled_sha256;
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, JoinId};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::labels;

pub(in crate::room) use listen::Listening;
pub(in crate::room) use serve::Audience;

use super::RoomCall;

/// A listener says this often that it is still there ...
const RENEW: Duration = Duration::from_secs(60);
/// ... and is forgotten when it has not for so long: a relay that hides a leave gains no more than this.
const LEASE: Duration = Duration::from_secs(180);
/// Whoever was asked and does not answer within this is followed by the next.
const ANSWER: Duration = Duration::from_secs(2);
/// A key that has not come is waited for this long before anybody is asked: it may be one of thousands that are on their way.
const GRACE: Duration = Duration::from_secs(1);
/// What was given and does not open is no reason to go to another member more often than this: anybody can send what does not open.
const DOUBT: Duration = Duration::from_secs(3);
/// Who asks again within this is not sent the same key again.
const AGAIN: Duration = Duration::from_secs(1);
/// A new list has come to every member after this.
const FOLLOWED: Duration = Duration::from_secs(5);
/// Frames of an epoch before the one that was given are no wonder for this long.
const OLD: Duration = Duration::from_secs(10);
/// In a crowd those who leave by themselves are gathered for so long before the key is changed: each change is a letter to everybody.
const GATHER: Duration = Duration::from_secs(10);

/// The audience, as this device sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudienceExplained {
    /// How many listeners the relay shows: its word, and none of it to those who listen themselves.
    pub shown: usize,
    /// How many of them this device hands keys to; it has proven each.
    pub served: usize,
    /// For a listener: who hands keys to it, if anybody does.
    pub server: Option<Address>,
    /// For a listener: the newest epoch that it has the key of.
    pub epoch: Option<u64>,
}

/// Where a member stands among those who may serve a listener: the highest serves it.
fn order(call: &CallId, member: JoinId, listener: JoinId) -> [u8; 32] {
    labelled_sha256(labels::SERVES, &[call.as_bytes(), member.as_bytes(), listener.as_bytes()])
}

impl RoomCall {
    /// The members who may serve a listener, the one who is to do it first. The own place is without an index.
    fn servers(&self, listener: JoinId) -> Vec<(JoinId, Option<SenderIndex>)> {
        let others = self.seats.iter().filter(|(_, seat)| seat.is_admitted() && !seat.is_audience());
        let others = others.map(|(index, seat)| (seat.entry().join.join, Some(*index)));
        let own = self.mls.as_ref().and(self.me.as_ref()).filter(|me| me.index.is_some()).map(|me| (me.join, None));
        let mut all: Vec<_> = others.chain(own).collect();
        all.sort_by_cached_key(|(member, _)| core::cmp::Reverse(order(&self.call, *member, listener)));
        all
    }

    /// What there is to say about the audience; none where the room has none.
    #[must_use]
    pub fn explain_audience(&self) -> Option<AudienceExplained> {
        self.access.list().terms.audience?;
        let served = self.mls.as_ref().map_or(0, |mls| mls.audience.served());
        let listening = self.listening.as_ref();
        let server = listening.and_then(|listening| listening.source());
        let server = server.and_then(|join| self.seats.values().find(|seat| seat.entry().join.join == join));
        Some(AudienceExplained {
            shown: self.seats.values().filter(|seat| seat.is_audience()).count(),
            served,
            server: server.map(|seat| seat.member().clone()),
            epoch: listening.and_then(|listening| listening.epoch()),
        })
    }

    /// Whether so many are in that each change of key is felt.
    fn is_crowd(&self) -> bool {
        // Of those whom the relay shows, no more than the list names.
        self.seats.len().min(self.access.list().members.len()) > self.policy.crowd
    }
}
