//! What of the disk a request has to wait for, seen before it is answered: so that the thread that reads datagrams answers what it can at
//! once, and nothing that will be refused takes a place among those that wait.

use rand_core::CryptoRng;

use super::Node;
use crate::coin::Named;
use crate::command::{Command, KeyId};
use crate::frame::{self, FrameKey};
use crate::header::{Encryption, RequestHeader};

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
    /// What an answer has to wait for. What is refused waits for nothing: what cannot be read, is for another node, under a coin that was not
    /// issued, or under a tag that is not its own.
    #[must_use]
    pub fn waits_for(&self, bytes: &[u8]) -> WaitsFor {
        let Some((header, body)) = RequestHeader::read(bytes) else {
            return WaitsFor::Nothing;
        };
        let known = |group, command| Command::of(group, command).is_some();
        let command = Command::of(header.group, header.command);
        let (Ok(encryption), Some(command)) = (header.check(self.options.name, known), command) else {
            return WaitsFor::Nothing;
        };
        let strict = self.options.profile.is_strict();
        if strict && command.acts() && !encryption.is_tagged() {
            return WaitsFor::Nothing;
        }
        let mut keys = Vec::with_capacity(2);
        for named in callers(encryption) {
            let Some(coin) = named.coin().filter(|coin| !strict || self.is_somebodys(*coin)) else {
                return WaitsFor::Nothing;
            };
            match self.coins.peek(coin) {
                Some(record) => keys.push(record.key),
                None => return WaitsFor::Read,
            }
        }
        let waits_for = self.command_waits_for(command, encryption, body);
        let key = match keys.as_slice() {
            [key] if encryption.is_tagged() => FrameKey::of_one(key),
            [first, second] => FrameKey::of_two(first, second),
            _ => return waits_for,
        };
        let refused = waits_for != WaitsFor::Nothing && !frame::has_its_tag(&header, &key, body);
        if refused { WaitsFor::Nothing } else { waits_for }
    }

    /// Reads the pages of the coins that a request is under, and says what else it has to wait for.
    #[must_use]
    pub fn read_keys(&self, bytes: &[u8], rng: &mut dyn CryptoRng) -> WaitsFor {
        let encryption = RequestHeader::read(bytes).and_then(|(header, _)| header.encryption.ok());
        for coin in encryption.into_iter().flat_map(callers).filter_map(Named::coin) {
            // What cannot be read is told when it is answered.
            let _record = self.coins.read(coin, rng);
        }
        self.waits_for(bytes)
    }

    fn command_waits_for(&self, command: Command, encryption: Encryption, body: &[u8]) -> WaitsFor {
        let plain = encryption == Encryption::None;
        match command {
            Command::PostKey | Command::DecryptKey => WaitsFor::Sync,
            // What an encrypted request asks for is seen only after it is opened.
            Command::EncryptKey => WaitsFor::Read,
            Command::KeyAlert if self.options.profile.is_strict() => WaitsFor::Read,
            Command::KeyAlert | Command::Echo => WaitsFor::Nothing,
            Command::GetKey => {
                let id = body.get(frame::CHALLENGE..).and_then(|payload| payload.first_chunk().copied().map(KeyId));
                match id.filter(|_| plain) {
                    Some(id) if !self.keys.has(id) || self.keys.is_resident(id) => WaitsFor::Nothing,
                    // A key that is given away once is removed, and that is synced.
                    _ if self.keys.is_one_shot() => WaitsFor::Sync,
                    _ => WaitsFor::Read,
                }
            }
        }
    }
}

/// Whose keys a request is under.
fn callers(encryption: Encryption) -> impl Iterator<Item = Named> {
    let (first, second) = match encryption {
        Encryption::None | Encryption::Locker(_) => (None, None),
        Encryption::Coin(named) | Encryption::Tagged(named) => (Some(named), None),
        Encryption::TaggedByTwo(first, second) => (Some(first), Some(second)),
    };
    first.into_iter().chain(second)
}
