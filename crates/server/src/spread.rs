//! Letters to many devices of a room in one message: what the holder of its keys hands on when they change.

use std::sync::Arc;
use std::time::Duration;

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, RoomId, UserId};
use undertone_protocol::Access;
use undertone_protocol::limits::{MAX_ENVELOPE, MAX_LETTERS};
use undertone_protocol::signal::{Letter, Reason, ReturnedLetter, ToDevice, Why};

use crate::budget::Spending;
use crate::memberships::Membership;
use crate::rooms::RoomDesk;
use crate::store::Rooms;
use crate::switchboard::Switchboard;

/// When a letter that one device has no room for can be sent again: by then it has read, or its sender's budget for it holds
/// some more.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// A budget that fills more slowly than this is not waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// The answer: none where everything was handed on.
pub(crate) fn returned(call: CallId, letters: Vec<ReturnedLetter>, after: Duration) -> Option<ToDevice> {
    let after_ms = if letters.iter().any(|letter| letter.why == Why::Later) {
        // Rounded up: whoever comes a moment too early is told once more.
        u32::try_from(after.min(LONGEST).as_millis()).unwrap_or(u32::MAX).saturating_add(1)
    } else {
        0
    };
    (!letters.is_empty()).then_some(ToDevice::Returned { call, letters, after_ms })
}

/// The store cannot be asked: it fails, or whoever wants to know has asked too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotNow;

impl<S: Rooms> RoomDesk<S> {
    /// Who is on a room's newest list, and its call: from memory, or at the cost of a request about a room. `None` where there is no
    /// such room.
    pub(crate) async fn membership(
        &self,
        board: &Switchboard,
        asker: &UserId,
        room: RoomId,
    ) -> Result<Option<Arc<Membership>>, NotNow> {
        match self.memberships.known(room) {
            Ok(known) => Ok(Some(known)),
            Err(_) if !board.allow(asker, Spending::Room) => Err(NotNow),
            Err(reading) => {
                let Some(stored) = self.store.room(room).await.map_err(|_| NotNow)? else { return Ok(None) };
                let newest = self.store.newest_access(room).await.map_err(|_| NotNow)?;
                let access = newest.and_then(|(_, access)| Access::from_stored(&access).ok());
                let membership = Membership::from(stored);
                let membership = match &access {
                    Some(access) if access.list().terms.audience.is_some() => membership.with_list(access.list()),
                    _ => membership,
                };
                let membership = Arc::new(membership);
                self.memberships.keep(room, &membership, reading);
                Ok(Some(membership))
            }
        }
    }

    /// Hands letters on, if the sender is on the room's newest list and this is its present call, to whoever is on that list;
    /// says what was not handed on. The list is in memory: the database is asked at the first spread in a room and after a change,
    /// at the cost of any other request about a room.
    ///
    /// # Errors
    /// [`Reason::Malformed`] for no letters, too many, or one too large: the connection ends.
    pub async fn spread(
        &self,
        board: &Switchboard,
        from: &Address,
        (room, call): (RoomId, CallId),
        letters: Vec<Letter>,
    ) -> Result<Option<ToDevice>, Reason> {
        let fits = letters.iter().all(|letter| letter.envelope.len() <= MAX_ENVELOPE);
        if letters.is_empty() || letters.len() > MAX_LETTERS || !fits {
            return Err(Reason::Malformed);
        }
        let all = |why| letters.iter().map(|letter| ReturnedLetter { to: letter.to.device, why }).collect();
        let membership = match self.membership(board, &from.user, room).await {
            Ok(membership) => membership,
            Err(NotNow) => return Ok(returned(call, all(Why::Later), PAUSE)),
        };
        let Some(membership) = membership.filter(|room| room.is_in(call) && room.lists(&from.user)) else {
            return Ok(returned(call, all(Why::Refused), Duration::ZERO));
        };
        let (letters, after) = board.spread(from, call, &membership, letters);
        Ok(returned(call, letters, after))
    }
}

#[cfg(test)]
pub(crate) mod tests;
