//! A node, and how it answers.

use std::net::SocketAddr;
use std::time::Instant;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::turn::{Said, Turn};
use crate::coin::Coin;
use crate::command::Command;
use crate::frame::{self, FrameKey, Reply};
use crate::header::{Encryption, NodeName, RequestHeader, header_length};
use crate::node::alerts::{Alert, Alerts};
use crate::node::coins::{Coins, StoreError};
use crate::node::keys::Keys;
use crate::node::limits::{AddressLimit, Limits};
use crate::node::own_coins::OwnCoins;
use crate::node::profile::Profile;
use crate::node::replays::{Names, REMEMBERED, Replays};
use crate::status::Status;

/// Who a node is and how it behaves.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions {
    /// Its number and the kind of its coins.
    pub name: NodeName,
    /// How much it asks.
    pub profile: Profile,
    /// Items of command 45 that it takes at once.
    pub items: usize,
    /// Encrypted requests that it remembers, so that none is done twice, and a quarter as many pairs of tickets (strict).
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
    /// When: how long it took, and whether its address has asked too often, is counted from there.
    pub received: Instant,
    /// When, in seconds since 1970.
    pub now: u64,
}

/// A node, shared by its threads.
#[derive(Debug)]
pub struct Node {
    pub(super) options: NodeOptions,
    pub(super) coins: Coins,
    pub(super) keys: Keys,
    pub(super) own: OwnCoins,
    pub(super) replays: Replays,
    /// Pairs of tickets that were used, by the coins that they are about: whoever heals one coin without end uses up no other's room.
    pub(super) pairs: Replays,
    pub(super) limits: Limits,
    pub(super) alerts: Alerts,
    /// When it was started, in seconds since 1970.
    pub(super) started: u64,
}

/// Requests of one coin that are remembered at once.
const REQUESTS_OF_A_COIN: usize = 1_024;
/// Times that one coin is healed while its tickets are remembered. Each takes two helpers, who ask for the coin's key.
const PAIRS_OF_A_COIN: usize = 64;

pub(super) fn store_failed(error: &StoreError) -> Status {
    tracing::error!(%error, "the coin store has failed");
    Status::Internal
}

impl Node {
    /// A node over an open store and folders, started `now` (seconds since 1970), 0 for one that has never answered anything.
    #[must_use]
    pub fn new(options: NodeOptions, coins: Coins, keys: Keys, own: OwnCoins, now: u64) -> Self {
        let replays = Replays::new(options.remembered, REQUESTS_OF_A_COIN);
        let pairs = Replays::new((options.remembered / 4).max(PAIRS_OF_A_COIN), PAIRS_OF_A_COIN);
        let limits = Limits::new(options.addresses);
        Self { options, coins, keys, own, replays, pairs, limits, alerts: Alerts::default(), started: now }
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

    /// Whether a coin was issued, without looking at its page. The first coin of all has the name that means nobody, and is nobody's.
    pub(super) fn is_somebodys(&self, coin: Coin) -> bool {
        self.coins.bitmap().is_used(coin) && !coin.named().is_none()
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
        let allowed = !strict || self.limits.allow(from.ip(), datagram, received);
        if !allowed && datagram {
            // A status would be a datagram too, and two nodes that have had enough of each other would say so for ever.
            return false;
        }
        let names = (allowed && strict && encrypted).then(|| Names::of(bytes, body));
        let mut nonce = [0; 24];
        if header.encryption.is_ok_and(Encryption::is_tagged) {
            rng.fill_bytes(&mut nonce);
        }
        let body = bytes.get_mut(header_length_of(&header)..).unwrap_or_default();
        let listens = datagram.then_some(from);
        let mut turn = Turn { node: self, header, key: FrameKey::None, challenge: None, noted: None, listens };
        let taken = if allowed { turn.take(body, names.as_ref(), now, rng) } else { Err(Status::Rate) };
        let (status, payload) = match taken {
            Ok(Said::Now(status, payload)) => (status, Zeroizing::new(payload)),
            Ok(Said::Before(answer)) => {
                out.extend_from_slice(&answer);
                return true;
            }
            Ok(Said::Nothing) => return false,
            Err(status) if strict && datagram && status.is_of_header() => return false,
            Err(status) => (status, Zeroizing::default()),
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
