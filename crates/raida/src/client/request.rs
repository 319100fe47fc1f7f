//! One request: sealed once, sent as often as it takes. A strict node answers the same bytes with the same answer.

use subtle::ConstantTimeEq;
use undertone_keys::digest;

use crate::coin::{Authenticity, Coin, Named};
use crate::command::{Command, EncryptKey};
use crate::frame::{self, Answer, CHALLENGE, FrameKey, NotAReply, ReplyStream};
use crate::header::{Encryption, RequestHeader, nonce};
use crate::swarm::SwarmNode;
use crate::ticket::{self, Form};

/// Why a request cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unable {
    /// No such coin in the wallet.
    #[error("the wallet has no coin {0}")]
    NoCoin(Coin),
    /// Too few nodes that the wallet has a key for, of the kind that is asked for.
    #[error("the wallet has keys that can be used for this on {have} nodes of the swarm, and {need} are needed")]
    TooFewKeys {
        /// How many it has.
        have: usize,
        /// How many it takes.
        need: usize,
    },
    /// A part that is longer than a node keeps.
    #[error("a part is longer than the 127 bytes that a node keeps")]
    TooLong,
    /// No node with that number.
    #[error("the swarm has no node {0}")]
    NoNode(u8),
}

/// A request and what it takes to read its answer.
pub(super) struct Request {
    pub(super) node: SwarmNode,
    pub(super) bytes: Vec<u8>,
    header: RequestHeader,
    key: FrameKey,
}

impl Request {
    /// What proves that the node has these two keys: a ticket about the coin under the other one's key (44). The request and its answer are tagged
    /// under the coin's key, and the ticket is of this request alone, because its initial value and the half in it were drawn for it. An echo
    /// would not do: that of type 1 shows whoever listens 32 bits of the key, and that of type 4 proves nothing.
    pub(super) fn proof(
        coin_id: u16,
        node: &SwarmNode,
        (coin, key): (Coin, &Authenticity),
        other: (Coin, &Authenticity),
        wall: u64,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Option<(Self, Proof)> {
        let mut half = [0; 8];
        rng.fill_bytes(&mut half);
        let nonce = nonce(wall, rng);
        let asked = EncryptKey::TicketFor { target: other.0.named(), half, coin: coin.named(), key: key.expose() };
        let request = Self::tagged(coin_id, node, (coin, key), Command::EncryptKey, &asked.write(), nonce)?;
        let iv = request.header.iv();
        let proof = Proof { coin, under: Authenticity::from_bytes(other.1.expose()), half, iv };
        Some((request, proof))
    }

    /// With a tag under a coin's key (type 4): nothing on the way learns or changes what is asked.
    pub(super) fn tagged(
        coin_id: u16,
        node: &SwarmNode,
        (coin, key): (Coin, &Authenticity),
        command: Command,
        payload: &[u8],
        nonce: [u8; 24],
    ) -> Option<Self> {
        let (group, number) = command.number();
        let header = RequestHeader {
            version: 1,
            split: 0,
            raida: node.raida,
            shard: 0,
            group,
            command: number,
            coin_id,
            encryption: Ok(Encryption::Tagged(coin.named())),
            body: 0,
            nonce,
            echo: *nonce.last_chunk()?,
        };
        let key = FrameKey::of_one(key);
        let bytes = frame::seal_request(header, &key, &NO_CHALLENGE, payload)?;
        let (header, _) = RequestHeader::read(&bytes)?;
        Some(Self { node: node.clone(), bytes, header, key })
    }

    /// Reads an answer.
    pub(super) fn open(&self, bytes: &[u8]) -> Result<Answer, NotAReply> {
        // A tagged reply has neither a challenge nor a place in the request's keystream.
        frame::open_reply(&self.header, &self.key, &NO_CHALLENGE, ReplyStream::Continue, bytes)
    }
}

/// What a ticket has to be, to be of a request.
pub(super) struct Proof {
    coin: Coin,
    under: Authenticity,
    half: [u8; 8],
    iv: [u8; 16],
}

impl Proof {
    /// Whether this answer's ticket is. Nodes of either profile make them.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        let Ok(ticket) = payload.try_into() else { return false };
        [Form::Strict, Form::Compat].into_iter().any(|form| {
            let half = ticket::open(form, ticket, self.coin, &self.under, &self.iv);
            half.is_some_and(|half| bool::from(half.as_slice().ct_eq(&self.half)))
        })
    }
}

const NO_CHALLENGE: [u8; CHALLENGE] = [0; CHALLENGE];

/// The same nonce for a request beside another, where both have to have one initial value: what is behind it, the echo among it, is this
/// request's own.
pub(super) fn beside(nonce: &[u8; 24], number: u8) -> [u8; 24] {
    let own = digest::sha256(&[nonce, &[number]]);
    let mut beside = *nonce;
    beside.iter_mut().skip(16).zip(own).for_each(|(to, from)| *to = from);
    beside
}

/// A place of the key space's bytes that are not the key.
pub(super) fn padding(rng: &mut impl rand_core::CryptoRng) -> [u8; crate::command::KEY_SPACE] {
    let mut padding = [0; crate::command::KEY_SPACE];
    rng.fill_bytes(&mut padding);
    padding
}

/// The coin's own name, or nobody's.
pub(super) fn name_of(coin: Option<Coin>) -> Named {
    coin.map(Coin::named).unwrap_or_default()
}
