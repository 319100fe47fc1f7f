//! What a node answers to one request.

use std::net::SocketAddr;
use std::time::Instant;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use undertone_keys::digest;

use super::alerts::{Alert, Alerts};
use super::coins::{Coins, Record, StoreError};
use super::keys::{Held, Keys, PostError};
use super::limits::{AddressLimit, Limits};
use super::own_coins::OwnCoins;
use super::profile::Profile;
use super::replays::{Names, REMEMBERED, Replays, Seen};
use crate::coin::{Authenticity, Coin, Half, Named};
use crate::command::{
    AlertPart, Command, DecryptKey, EncryptKey, GetKey, KEY_ID, KeyId, PostKey, StoredKey, TicketItem, read_alert,
};
use crate::frame::{self, FrameKey, Opened, Refused, Reply};
use crate::header::{Encryption, NodeName, RequestHeader, header_length, nonce};
use crate::status::Status;
use crate::{month, ticket};

/// Who a node is and how it behaves.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    /// Its number and the kind of its coins.
    pub name: NodeName,
    /// How much it asks.
    pub profile: Profile,
    /// Items of command 45 that it takes at once.
    pub items: usize,
    /// Encrypted requests that it remembers, so that none is done twice (strict).
    pub remembered: usize,
    /// How often one address may ask (strict).
    pub addresses: AddressLimit,
}

impl NodeOptions {
    /// A strict node with this name, and what is usual.
    #[must_use]
    pub const fn new(name: NodeName) -> Self {
        Self { name, profile: Profile::Strict, items: 64, remembered: REMEMBERED, addresses: AddressLimit::USUAL }
    }
}

/// One request as it came.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Header and body. Decrypted in place.
    pub bytes: &'a mut [u8],
    /// From whom.
    pub from: SocketAddr,
    /// By a datagram, whose sender's address may be somebody else's.
    pub datagram: bool,
    /// When, for how long it took.
    pub received: Instant,
    /// When, in seconds since 1970.
    pub now: u64,
}

/// A node, shared by its threads.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    coins: Coins,
    keys: Keys,
    own: OwnCoins,
    replays: Replays,
    limits: Limits,
    alerts: Alerts,
    /// When it was started, in seconds since 1970.
    started: u64,
}

/// Who encrypted a request.
#[derive(Clone, Copy)]
struct Caller {
    coin: Option<Coin>,
    second: Option<Coin>,
    /// Initial value of its keystream.
    iv: [u8; 16],
}

impl Caller {
    fn is(&self, coin: Coin) -> bool {
        self.coin == Some(coin) || self.second == Some(coin)
    }
}

/// What an alert is about that says where its coin listens.
const NOTHING: KeyId = KeyId([0; KEY_ID]);

/// A command that was done: status and payload.
type Done = Result<(Status, Vec<u8>), Status>;

fn store_failed(error: &StoreError) -> Status {
    tracing::error!(%error, "the coin store has failed");
    Status::Internal
}

impl Node {
    /// A node over an open store and folders, started `now` (seconds since 1970), 0 for one that has never answered anything.
    #[must_use]
    pub fn new(options: NodeOptions, coins: Coins, keys: Keys, own: OwnCoins, now: u64) -> Self {
        let (replays, limits) = (Replays::new(options.remembered), Limits::new(options.addresses));
        Self { options, coins, keys, own, replays, limits, alerts: Alerts::default(), started: now }
    }

    /// Who it is.
    #[must_use]
    pub const fn name(&self) -> NodeName {
        self.options.name
    }

    /// Its coins.
    #[must_use]
    pub const fn coins(&self) -> &Coins {
        &self.coins
    }

    /// Its posted keys.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The next alert that is to leave, by UDP. `None` until the next answer.
    #[must_use]
    pub fn poll_alert(&self) -> Option<Alert> {
        self.alerts.poll()
    }

    /// Whether a request can be answered without waiting for the disk. What cannot be read is quick to refuse.
    #[must_use]
    pub fn is_quick(&self, bytes: &[u8]) -> bool {
        let Some((header, body)) = RequestHeader::read(bytes) else {
            return true;
        };
        let strict = self.options.profile.is_strict();
        let plain = header.encryption == Ok(Encryption::None);
        let refused = strict && !header.encryption.is_ok_and(Encryption::is_tagged);
        let known = |coin: Coin| self.coins.is_resident(coin) || strict && !self.coins.bitmap().is_used(coin);
        let resident = |named: Named| named.coin().is_none_or(known);
        let key = match header.encryption {
            Ok(Encryption::Coin(coin) | Encryption::Tagged(coin)) => resident(coin),
            Ok(Encryption::TaggedByTwo(first, second)) => resident(first) && resident(second),
            Ok(Encryption::None | Encryption::Locker(_)) | Err(_) => true,
        };
        key && match Command::of(header.group, header.command) {
            // Strict nodes refuse these without a tag, before anything is looked for.
            Some(Command::PostKey | Command::DecryptKey | Command::EncryptKey) => refused,
            // What an encrypted request asks for is seen only after it is opened.
            Some(Command::GetKey) => {
                let id = body.get(frame::CHALLENGE..).and_then(|payload| payload.first_chunk());
                plain && id.is_none_or(|id| self.keys.is_resident(KeyId(*id)))
            }
            // Whom it is about is seen only after it is opened.
            Some(Command::KeyAlert) => refused || !strict,
            Some(Command::Echo) | None => true,
        }
    }

    /// Appends the answer to `out`. `false` for what is answered with silence: fewer bytes than a header has; and in the strict profile a
    /// datagram whose header is refused, because such an answer read as a request would be refused by another node, and so on for ever,
    /// and a request that comes again while it is being answered.
    pub fn answer(&self, asked: Asked<'_>, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) -> bool {
        let Asked { bytes, from, datagram, received, now } = asked;
        let Some((header, _)) = RequestHeader::read(bytes) else {
            return false;
        };
        let start = out.len();
        let encrypted = !matches!(header.encryption, Ok(Encryption::None) | Err(_));
        let strict = self.options.profile.is_strict();
        let body = bytes.get(header_length_of(&header)..).unwrap_or_default();
        let body = body.get(..usize::from(header.body)).unwrap_or(body);
        let names = if strict && encrypted { Some(Names::of(bytes, body)) } else { None };
        let mut nonce = [0; 24];
        if header.encryption.is_ok_and(Encryption::is_tagged) {
            rng.fill_bytes(&mut nonce);
        }
        let body = bytes.get_mut(header_length_of(&header)..).unwrap_or_default();
        let listens = datagram.then_some(from);
        let mut turn = Turn { node: self, header, key: FrameKey::None, challenge: None, noted: None, listens };
        let taken = match !strict || self.limits.allow(from.ip(), datagram, received) {
            true => turn.take(body, names.as_ref(), now, rng),
            // A status would be a datagram too, and two nodes that have had enough of each other would say so for ever.
            false if datagram => return false,
            false => Err(Status::Rate),
        };
        let (status, payload) = match taken {
            Ok(Said::Now(status, payload)) => (status, zeroize::Zeroizing::new(payload)),
            Ok(Said::Before(answer)) => {
                out.extend_from_slice(&answer);
                return true;
            }
            Ok(Said::Nothing) => return false,
            Err(status) if strict && datagram && status.is_of_header() => return false,
            Err(status) => (status, zeroize::Zeroizing::default()),
        };
        // How long it took would show whether somebody listens.
        let alert = strict && Command::of(header.group, header.command) == Some(Command::KeyAlert);
        let reply = Reply {
            raida: self.options.name.raida,
            status,
            took: if alert { 0 } else { u32::try_from(received.elapsed().as_micros()).unwrap_or(u32::MAX) },
            challenge: turn.challenge,
            stream: self.options.profile.reply_stream(),
            nonce,
        };
        frame::seal_reply(&header, &turn.key, &reply, &payload, out);
        if let (Some(coin), Some(answer)) = (turn.noted, out.get(start..)) {
            self.replays.answered(coin, &header.iv(), answer);
        }
        true
    }
}

fn header_length_of(header: &RequestHeader) -> usize {
    header_length(match header.encryption {
        Ok(encryption) => encryption.code(),
        Err(code) => code,
    })
}

enum Said {
    Now(Status, Vec<u8>),
    /// The request came before, and this was the answer.
    Before(std::sync::Arc<[u8]>),
    /// The request came before, and its answer is on its way.
    Nothing,
}

/// One request on its way through the node.
struct Turn<'n> {
    node: &'n Node,
    header: RequestHeader,
    key: FrameKey,
    challenge: Option<[u8; frame::CHALLENGE]>,
    /// Under which coin it was noted.
    noted: Option<Coin>,
    /// Where its sender could be told something.
    listens: Option<SocketAddr>,
}

impl Turn<'_> {
    const fn is_strict(&self) -> bool {
        self.node.options.profile.is_strict()
    }

    fn take(
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
                FrameKey::Coin(self.issued(named, Status::Encryption, rng)?)
            }
            // Nine of a locker's sixteen bytes are the header's and known ones: what is left can be searched for.
            Encryption::Locker(_) if self.is_strict() => return Err(Status::Encryption),
            Encryption::Locker(prefix) => {
                FrameKey::Coin(self.node.coins.lockers().key(&prefix).ok_or(Status::Encryption)?)
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

    fn record(&self, coin: Coin, rng: &mut dyn CryptoRng) -> Result<Record, Status> {
        self.node.coins.read(coin, rng).map_err(|error| store_failed(&error))
    }

    /// Whether a coin was issued, without looking at its page. The first coin of all has the name that means nobody, and is nobody's.
    fn is_somebodys(&self, coin: Coin) -> bool {
        self.node.coins.bitmap().is_used(coin) && !coin.named().is_none()
    }

    /// The key of a coin that was issued; of any coin in the compatible profile.
    fn issued(&self, named: Named, otherwise: Status, rng: &mut dyn CryptoRng) -> Result<Authenticity, Status> {
        let coin = named.coin().filter(|coin| !self.is_strict() || self.is_somebodys(*coin)).ok_or(otherwise)?;
        let record = self.record(coin, rng)?;
        if record.is_used() || !self.is_strict() { Ok(record.key) } else { Err(otherwise) }
    }

    fn post_key(&self, caller: &Caller, payload: &[u8], now: u64) -> Done {
        let post = PostKey::read(payload)?;
        let strict = self.is_strict();
        if strict && caller.coin.is_none() {
            return Err(Status::Encryption);
        }
        if strict && !post.coin.is_none() && post.coin.coin().is_none() {
            return Err(Status::Parameter);
        }
        let owner = caller.coin.map(Coin::named).unwrap_or_default();
        let bytes = zeroize::Zeroizing::new([post.coin.to_bytes().as_slice(), post.key].concat());
        let posted = if strict && post.key.is_empty() {
            self.node.keys.withdraw(post.id, owner, now)
        } else {
            self.node.keys.post(post.id, owner, !strict, &bytes, now)
        };
        match posted {
            Ok(()) => Ok((Status::Success, Vec::new())),
            Err(PostError::Exists) => Err(Status::Exists),
            Err(PostError::Full) => Err(Status::Rate),
            Err(PostError::Io(error)) => {
                tracing::error!(%error, "a posted key cannot be written");
                Err(Status::Files)
            }
        }
    }

    /// Tells those whom keys are for. In the compatible profile it is acknowledged and no more, as in the original.
    fn key_alert(&self, caller: &Caller, payload: &[u8], now: u64, rng: &mut dyn CryptoRng) -> Done {
        let done = Ok((Status::Success, Vec::new()));
        if !self.is_strict() {
            return done;
        }
        let coin = caller.coin.ok_or(Status::Encryption)?;
        let parts = read_alert(payload)?;
        if parts.iter().any(|part| part.sender != coin.named()) {
            return Err(Status::Parameter);
        }
        // About nothing, from a coin to itself: that is where it listens.
        if let [AlertPart { id: NOTHING, receiver, .. }] = parts.as_slice()
            && *receiver == coin.named()
        {
            let at = self.listens.ok_or(Status::Parameter)?;
            return if self.node.alerts.listen(coin, at, now) { done } else { Err(Status::Rate) };
        }
        let mut receivers: Vec<Named> = parts.iter().map(|part| part.receiver).collect();
        receivers.sort_unstable();
        receivers.dedup();
        for receiver in receivers {
            // Whether somebody listens is not the sender's to know.
            let Some(to) = receiver.coin().and_then(|receiver| self.node.alerts.tell(receiver, coin, now)) else {
                continue;
            };
            let key = self.issued(receiver, Status::Serial, rng)?;
            let mut told = Vec::new();
            parts.iter().filter(|part| part.receiver == receiver).for_each(|part| part.write(&mut told));
            let nonce = nonce(now, rng);
            let header = RequestHeader {
                encryption: Ok(Encryption::Tagged(receiver)),
                nonce,
                echo: nonce.last_chunk().copied().unwrap_or_default(),
                ..self.header
            };
            if let Some(bytes) = frame::seal_request(header, &FrameKey::of_one(&key), &[0; frame::CHALLENGE], &told) {
                self.node.alerts.send(Alert { to, bytes });
            }
        }
        done
    }

    fn get_key(&self, caller: &Caller, payload: &[u8], now: u64) -> Done {
        let get = GetKey::read(payload)?;
        let may = |held: &Held| {
            let Some(stored) = StoredKey::read(&held.bytes) else {
                return false;
            };
            let mine = stored.coin.is_none() || stored.coin.coin().is_some_and(|coin| caller.is(coin));
            let from = get.sender.is_none() || get.sender == held.owned.owner;
            !self.is_strict() || mine && from
        };
        // A key that is not for the caller looks like one that is not there.
        let held = self.node.keys.fetch(get.id, now, may).ok_or(Status::Files)?;
        Ok((Status::Success, held.bytes.to_vec()))
    }

    fn encrypt_key(&self, caller: &Caller, encryption: Encryption, payload: &[u8], rng: &mut dyn CryptoRng) -> Done {
        let asked = EncryptKey::read(payload)?;
        let strict = self.is_strict();
        let target = asked.under().coin().ok_or(Status::Serial)?;
        if strict && !self.is_somebodys(target) {
            return Err(Status::Serial);
        }
        let record = self.record(target, rng)?;
        let (half, coin) = match asked {
            EncryptKey::Wrapped { .. } => {
                if strict && !caller.is(target) {
                    return Err(Status::Encryption);
                }
                let mut key = zeroize::Zeroizing::new([0; 16]);
                rng.fill_bytes(key.as_mut_slice());
                return Ok((Status::Done, ticket::wrap(&key, &record.key).to_vec()));
            }
            EncryptKey::Ticket { half, .. } => {
                // Whoever owns the coin that the ticket is about shows it by the second key of type 5: under the first the ticket's layer and
                // the reply's would be one.
                let proven = matches!(encryption, Encryption::TaggedByTwo(..))
                    && caller.second == Some(target)
                    && caller.coin != Some(target);
                if strict && !proven {
                    return Err(Status::Encryption);
                }
                (half, target)
            }
            EncryptKey::TicketFor { half, coin, key, .. } => {
                let coin = coin.coin().ok_or(Status::Serial)?;
                if strict {
                    let owned = self.record(coin, rng)?;
                    let right = owned.is_used() & bool::from(owned.key.ct_eq(&Authenticity::from_bytes(key)));
                    if !right || caller.coin.is_none() || caller.is(target) {
                        return Err(Status::Encryption);
                    }
                }
                (half, coin)
            }
        };
        let mut drawn = [0; 2];
        rng.fill_bytes(&mut drawn);
        let ticket = ticket::seal(self.form(), &half, coin, &record.key, &caller.iv, drawn);
        Ok((Status::Done, ticket.to_vec()))
    }

    const fn form(&self) -> ticket::Form {
        if self.is_strict() { ticket::Form::Strict } else { ticket::Form::Compat }
    }

    fn decrypt_key(&self, caller: &Caller, payload: &[u8], now: u64, rng: &mut dyn CryptoRng) -> Done {
        let asked = DecryptKey::read(payload)?;
        if self.is_strict() && (caller.coin.is_none() || caller.iv == [0; 16]) {
            return Err(Status::Encryption);
        }
        if self.is_strict() && asked.count() > self.node.options.items {
            return Err(Status::TooMany);
        }
        let own = asked.coin.coin().and_then(|coin| self.node.own.get(coin, Instant::now())).ok_or(Status::CoinFile)?;
        let items: Vec<_> = asked.items().collect();
        let mut results = vec![0; items.len()];
        let (mut changed, mut failed) = (false, None);
        let form = self.form();
        let open =
            |item: &TicketItem, coin: Coin| ticket::open(form, &item.ticket, coin, &own.key(item.helper)?, &caller.iv);
        for (at, item) in items.iter().enumerate() {
            let (Some(coin), Some(half)) = (item.coin.coin(), item.half()) else {
                continue;
            };
            let written = if self.is_strict() {
                // Both halves, from two nodes that are not this one: no single helper decides what a coin's key is.
                let of_coin: Vec<_> = items.iter().filter(|other| other.coin == item.coin).collect();
                let pair = match (half, of_coin.as_slice()) {
                    (Half::First, [a, b]) | (Half::First, [b, a]) if a.half() == Some(Half::First) => Some((*a, *b)),
                    _ => None,
                };
                let Some((first, second)) = pair else {
                    continue;
                };
                let this = self.node.options.name.raida;
                let apart = first.helper != second.helper && first.helper != this && second.helper != this;
                let opened = open(first, coin).zip(open(second, coin));
                let Some((low, high)) = opened.filter(|_| apart && second.half() == Some(Half::Second)) else {
                    continue;
                };
                // The same tickets by another caller are the same tickets.
                let names = Names::of(&first.ticket, &[first.ticket, second.ticket].concat());
                let hash = digest::sha256(&[&caller.iv, &first.ticket, &second.ticket]);
                let nonce = hash.first_chunk().copied().unwrap_or_default();
                match asked.coin.coin().map(|own| self.node.replays.note(own, &nonce, &names, now)) {
                    Some(Seen::Never) => {}
                    Some(Seen::Full) => {
                        failed = Some(Status::Rate);
                        break;
                    }
                    _ => continue,
                }
                let mut key = zeroize::Zeroizing::new([0; 16]);
                key.iter_mut().zip(low.iter().chain(high.iter())).for_each(|(to, from)| *to = *from);
                let heal = |record: &Record| {
                    let key = Authenticity::from_bytes(&key);
                    record.is_used().then(|| Record { key, changed: month::at(now) })
                };
                let written = match self.node.coins.change(coin, rng, heal) {
                    Ok(written) => written,
                    Err(error) => {
                        failed = Some(store_failed(&error));
                        break;
                    }
                };
                let other = items.iter().position(|other| other.coin == item.coin && other.split != item.split);
                if let Some(result) = other.and_then(|other| results.get_mut(other)) {
                    *result = u8::from(written);
                }
                written
            } else {
                let Some(new) = open(item, coin) else {
                    continue;
                };
                let heal = |record: &Record| {
                    let mut key = zeroize::Zeroizing::new(*record.key.expose());
                    let start = usize::from(half.to_byte()) * 8;
                    key.iter_mut().skip(start).zip(new.iter()).for_each(|(to, from)| *to = *from);
                    Some(Record { key: Authenticity::from_bytes(&key), changed: month::at(now) })
                };
                match self.node.coins.change(coin, rng, heal) {
                    Ok(written) => written,
                    Err(error) => {
                        failed = Some(store_failed(&error));
                        break;
                    }
                }
            };
            if let Some(result) = results.get_mut(at) {
                *result = u8::from(written);
            }
            if written {
                changed = true;
                tracing::info!(%coin, "a coin's key was changed by tickets");
            }
        }
        // What was changed lasts, and is answered for, whatever became of the items behind it.
        match failed {
            _ if changed => self.node.coins.commit().map_err(|error| store_failed(&error))?,
            Some(status) => return Err(status),
            None => {}
        }
        Ok((Status::Success, results))
    }
}
