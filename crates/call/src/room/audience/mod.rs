//! Listeners of a room whose keys come from an MLS group: they have no leaf, and members seal each epoch's key to them
//! (rule GRP-9, docs/adr/0031).
//!
//! ```text
//! listener                              the member that serves it
//!   Listen {newest} ----------------->        checked as anybody in the room is
//!                                             (a new epoch, if this one was opened before it came)
//!   <------------------ Hear {epoch, key}     and from then on one for each epoch
//!   Listen {newest}, every minute --->        it is still there
//! ```
//! Who serves whom nobody agrees on: it is computed from the joins (`order`), and where two see it differently one more letter is
//! written. What a member does is in `serve`, what a listener does in `listen`.

mod listen;
mod serve;

use core::time::Duration;

use undertone_keys::digest::labelled_sha256;
use undertone_keys::{CallId, JoinId};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::labels;

pub(in crate::room) use listen::Listening;
pub(in crate::room) use serve::Served;

use super::RoomCall;

/// A listener says this often that it is still there ...
const RENEW: Duration = Duration::from_secs(60);
/// ... and is forgotten when it has not for so long: a relay that hides a leave gains no more than this.
const LEASE: Duration = Duration::from_secs(180);
/// Whoever was asked and does not answer within this is followed by the next.
const ANSWER: Duration = Duration::from_secs(2);
/// In a crowd those who leave are gathered for so long before the key is changed: each change is a letter to every listener.
const GATHER: Duration = Duration::from_secs(10);

/// Where a member stands among those who may serve a listener: the highest serves it.
fn order(call: &CallId, member: JoinId, listener: JoinId) -> [u8; 32] {
    labelled_sha256(labels::SERVES, &[call.as_bytes(), member.as_bytes(), listener.as_bytes()])
}

impl RoomCall {
    /// The members who may serve a listener, the one who is to do it first. The own place is without an index.
    fn servers(&self, listener: JoinId) -> Vec<(JoinId, Option<SenderIndex>)> {
        let others = self.seats.iter().filter(|(_, seat)| seat.is_admitted() && !seat.only_listens());
        let others = others.map(|(index, seat)| (seat.entry().join.join, Some(*index)));
        let own = self.mls.as_ref().and(self.me.as_ref()).filter(|me| me.index.is_some()).map(|me| (me.join, None));
        let mut all: Vec<_> = others.chain(own).collect();
        all.sort_by_cached_key(|(member, _)| core::cmp::Reverse(order(&self.call, *member, listener)));
        all
    }
}
