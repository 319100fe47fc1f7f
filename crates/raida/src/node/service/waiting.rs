//! What of the disk a request has to wait for, seen before it is answered: the thread that reads datagrams answers at once what it can, and
//! whoever has no coin's key takes no place among those that wait, nor a page's in memory.

use rand_core::CryptoRng;

use super::{Asked, Node};
use crate::coin::{Coin, Named};
use crate::command::{Command, KeyId};
use crate::frame::{self, FrameKey};
use crate::header::{Encryption, RequestHeader};
use crate::node::coins::Record;
use crate::node::keys::Place;

/// What of the disk an answer has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Nothing: all that it needs is in memory.
    Nothing,
    /// A page or a key that may have to be read.
    Read,
    /// Something that is written and synced, which takes many times as long.
    Sync,
}

impl Node {
    /// What an answer has to wait for. What will be refused waits for nothing where that shows without reading: what is no request to this
    /// node, what comes from an address that has asked too often (strict), is under a coin that was not issued (strict), or under a key that
    /// is not its coin's. [`WaitsFor::Read`] where that has to be read first: then [`read_keys`](Self::read_keys) says the rest.
    #[must_use]
    pub fn waits_for(&self, asked: &Asked<'_>) -> WaitsFor {
        self.look(asked, |coin| self.coins.peek(coin))
    }

    /// The same, with the pages read that it takes to know whose a request is.
    #[must_use]
    pub fn read_keys(&self, asked: &Asked<'_>, rng: &mut dyn CryptoRng) -> WaitsFor {
        // What cannot be read is told when it is answered.
        self.look(asked, |coin| self.coins.read(coin, rng).ok())
    }

    fn look(&self, asked: &Asked<'_>, mut record: impl FnMut(Coin) -> Option<Record>) -> WaitsFor {
        let Some((header, behind)) = RequestHeader::read(asked.bytes) else {
            return WaitsFor::Nothing;
        };
        let known = |group, command| Command::of(group, command).is_some();
        let command = Command::of(header.group, header.command);
        let (Ok(encryption), Some(command)) = (header.check(self.options.name, known), command) else {
            return WaitsFor::Nothing;
        };
        let strict = self.options.profile.is_strict();
        let untagged = strict && command.acts() && !encryption.is_tagged();
        if untagged || strict && !self.limits.would_allow(asked.from.ip(), asked.datagram, asked.received) {
            return WaitsFor::Nothing;
        }
        let coin = |named: Named| named.coin().filter(|coin| !strict || self.is_somebodys(*coin));
        let (first, second) = callers(encryption);
        let coins = [first, second].map(|named| named.map(coin));
        if coins.contains(&Some(None)) {
            return WaitsFor::Nothing;
        }
        let mut keys = coins.into_iter().flatten().flatten().filter_map(&mut record).map(|record| record.key);
        let key = match (encryption, keys.next(), keys.next()) {
            (Encryption::None, ..) => FrameKey::None,
            (Encryption::Locker(prefix), ..) => match self.coins.lockers().key(&prefix).filter(|_| !strict) {
                Some(key) => FrameKey::untagged(key),
                None => return WaitsFor::Nothing,
            },
            (Encryption::Coin(_), Some(one), _) => FrameKey::untagged(one),
            (Encryption::Tagged(_), Some(one), _) => FrameKey::of_one(&one),
            (Encryption::TaggedByTwo(..), Some(one), Some(other)) => FrameKey::of_two(&one, &other),
            // A page that is not in memory.
            _ => return WaitsFor::Read,
        };
        let body = behind.get(..usize::from(header.body)).unwrap_or_default();
        let waits_for = self.command_waits_for(command, encryption, body, asked.now);
        let refused = waits_for != WaitsFor::Nothing && !frame::opens(&header, &key, body);
        if refused { WaitsFor::Nothing } else { waits_for }
    }

    fn command_waits_for(&self, command: Command, encryption: Encryption, body: &[u8], now: u64) -> WaitsFor {
        let one_shot = self.keys.is_one_shot();
        match command {
            Command::PostKey | Command::DecryptKey => WaitsFor::Sync,
            Command::GetKey if encryption == Encryption::None => {
                let id = body.get(frame::CHALLENGE..).and_then(|payload| payload.first_chunk().copied().map(KeyId));
                match id.map_or(Place::Nowhere, |id| self.keys.place(id, now)) {
                    // A key that is given away once is removed, and that is synced.
                    Place::Memory | Place::Disk if one_shot => WaitsFor::Sync,
                    Place::Memory | Place::Nowhere => WaitsFor::Nothing,
                    Place::Disk => WaitsFor::Read,
                }
            }
            // What an encrypted request asks for is seen only after it is opened.
            Command::GetKey if one_shot => WaitsFor::Sync,
            Command::GetKey | Command::EncryptKey => WaitsFor::Read,
            Command::KeyAlert if self.options.profile.is_strict() => WaitsFor::Read,
            Command::KeyAlert | Command::Echo => WaitsFor::Nothing,
        }
    }
}

/// Whose keys a request is under.
const fn callers(encryption: Encryption) -> (Option<Named>, Option<Named>) {
    match encryption {
        Encryption::None | Encryption::Locker(_) => (None, None),
        Encryption::Coin(named) | Encryption::Tagged(named) => (Some(named), None),
        Encryption::TaggedByTwo(first, second) => (Some(first), Some(second)),
    }
}

#[cfg(test)]
mod tests;
