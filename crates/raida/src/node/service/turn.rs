//! One request on its way through a node: whether it is taken, by whom it is, and whether it came before.

use std::net::SocketAddr;
use std::sync::Arc;

use rand_core::CryptoRng;

use super::answer::{Node, store_failed};
use crate::coin::{Authenticity, Coin, Named};
use crate::command::Command;
use crate::frame::{self, FrameKey, Opened, Refused};
use crate::header::{Encryption, RequestHeader};
use crate::node::coins::Record;
use crate::node::replays::{Names, Replays, Seen};
use crate::status::Status;
use crate::ticket;

/// Who encrypted a request.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) coin: Option<Coin>,
    pub(super) second: Option<Coin>,
    /// Initial value of its keystream.
    pub(super) iv: [u8; 16],
}

impl Caller {
    pub(super) fn is(&self, coin: Coin) -> bool {
        self.coin == Some(coin) || self.second == Some(coin)
    }
}

/// A command that was done: status and payload.
pub(super) type Done = Result<(Status, Vec<u8>), Status>;

/// What becomes of a request.
pub(super) enum Said {
    /// It was done now.
    Now(Status, Vec<u8>),
    /// The request came before, and this was the answer.
    Before(Arc<[u8]>),
    /// The request came before, and its answer is on its way.
    Nothing,
}

/// One request on its way through the node.
pub(super) struct Turn<'n> {
    pub(super) node: &'n Node,
    pub(super) header: RequestHeader,
    pub(super) key: FrameKey,
    pub(super) challenge: Option<[u8; frame::CHALLENGE]>,
    /// Under which coin it was noted.
    pub(super) noted: Option<Coin>,
    /// Where its sender could be told something.
    pub(super) listens: Option<SocketAddr>,
}

impl Turn<'_> {
    pub(super) const fn is_strict(&self) -> bool {
        self.node.options.profile.is_strict()
    }

    pub(super) fn take(
        &mut self,
        body: &mut [u8],
        names: Option<&Names>,
        now: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Said, Status> {
        let known = |group, command| Command::of(group, command).is_some();
        let encryption = self.header.check(self.node.options.name, known)?;
        let command = Command::of(self.header.group, self.header.command).ok_or(Status::Command)?;
        let text = frame::body(&self.header, encryption, body)?;
        if self.header.body == 0 {
            return match command {
                Command::Echo => Ok(Said::Now(Status::Success, Vec::new())),
                _ => Err(Status::Empty),
            };
        }
        // Without a tag whoever is on the way turns bits of a key, of a ticket or of a name.
        if self.is_strict() && command.acts() && !encryption.is_tagged() {
            return Err(Status::Encryption);
        }
        let (key, caller) = self.key(encryption, rng)?;
        self.key = key;
        let opened = frame::open(&self.header, &self.key, text);
        let Opened { challenge, payload } = opened.map_err(|Refused { status, challenge }| {
            // Under a key that is wrong this is garbage, but garbage that depends on the right one.
            self.challenge = challenge.filter(|_| !self.is_strict() || encryption == Encryption::None);
            status
        })?;
        self.challenge = challenge;
        let payload = text.get(payload).unwrap_or_default();
        // Nothing is done without a payload, and under types 4 and 5 no payload is the same body under every nonce.
        let timed = names.filter(|_| command != Command::Echo && !payload.is_empty());
        if timed.is_some() && self.is_repeatable(command) {
            Replays::check_time(self.header.time(), now, self.node.started)?;
        } else if let Some(names) = timed
            && let Some(coin) = caller.coin
        {
            // The hash of a challenge under a nonce that was used is not for whoever uses it again.
            self.challenge = None;
            Replays::check_time(self.header.time(), now, self.node.started)?;
            match self.node.replays.note(coin, &caller.iv, names, now) {
                Seen::Never => self.noted = Some(coin),
                Seen::Answered(answer) => return Ok(Said::Before(answer)),
                Seen::Unanswered => return Ok(Said::Nothing),
                Seen::OtherwiseUsed => return Err(Status::Encryption),
                Seen::Full => return Err(Status::Rate),
            }
            self.challenge = challenge;
        }
        let (status, payload) = match command {
            Command::Echo => Ok((Status::Success, Vec::new())),
            Command::KeyAlert => self.key_alert(&caller, payload, now, rng),
            Command::PostKey => self.post_key(&caller, payload, now),
            Command::GetKey => self.get_key(&caller, payload, now),
            Command::EncryptKey => self.encrypt_key(&caller, encryption, payload, rng),
            Command::DecryptKey => self.decrypt_key(&caller, payload, now, rng),
        }?;
        Ok(Said::Now(status, payload))
    }

    /// Whether a command that comes again changes nothing and shows nothing: fetching a key that stays, whose answers are each under a nonce of their
    /// own.
    fn is_repeatable(&self, command: Command) -> bool {
        let tagged = self.header.encryption.is_ok_and(Encryption::is_tagged);
        command == Command::GetKey && tagged && !self.node.keys.is_one_shot()
    }

    /// The key that a request is encrypted with, and whose it is.
    fn key(&self, encryption: Encryption, rng: &mut dyn CryptoRng) -> Result<(FrameKey, Caller), Status> {
        let mut caller = Caller { coin: None, second: None, iv: self.header.iv() };
        let key = match encryption {
            Encryption::None => FrameKey::None,
            Encryption::Coin(named) => {
                caller.coin = named.coin();
                FrameKey::untagged(self.issued(named, Status::Encryption, rng)?)
            }
            // Nine of a locker's sixteen bytes are the header's and known ones: what is left can be searched for.
            Encryption::Locker(_) if self.is_strict() => return Err(Status::Encryption),
            Encryption::Locker(prefix) => {
                FrameKey::untagged(self.node.coins.lockers().key(&prefix).ok_or(Status::Encryption)?)
            }
            Encryption::Tagged(named) => {
                caller.coin = named.coin();
                FrameKey::of_one(&self.issued(named, Status::EncryptionCoin, rng)?)
            }
            Encryption::TaggedByTwo(first, second) => {
                (caller.coin, caller.second) = (first.coin(), second.coin());
                let first = self.issued(first, Status::EncryptionCoin, rng)?;
                FrameKey::of_two(&first, &self.issued(second, Status::EncryptionCoin, rng)?)
            }
        };
        Ok((key, caller))
    }

    pub(super) fn record(&self, coin: Coin, rng: &mut dyn CryptoRng) -> Result<Record, Status> {
        self.node.coins.read(coin, rng).map_err(|error| store_failed(&error))
    }

    /// The key of a coin that was issued; of any coin in the compatible profile.
    pub(super) fn issued(
        &self,
        named: Named,
        otherwise: Status,
        rng: &mut dyn CryptoRng,
    ) -> Result<Authenticity, Status> {
        let coin = named.coin().filter(|coin| !self.is_strict() || self.node.is_somebodys(*coin)).ok_or(otherwise)?;
        let record = self.record(coin, rng)?;
        if record.is_used() || !self.is_strict() { Ok(record.key) } else { Err(otherwise) }
    }

    /// The form of its tickets.
    pub(super) const fn form(&self) -> ticket::Form {
        if self.is_strict() { ticket::Form::Strict } else { ticket::Form::Compat }
    }
}
