//! Listening for alerts (42): says to every node where this coin's owner listens, again and again, and takes what they tell.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;

use undertone_keys::Time;

use super::request::{Request, Unable};
use super::{Asker, Carrier, Output};
use crate::coin::{Authenticity, Coin};
use crate::command::{AlertPart, Command, KEY_ID, KeyId, read_alert};
use crate::frame::{self, FrameKey};
use crate::header::{Encryption, RequestHeader, header_length, nonce};

/// How often a node is told: a third of the time that it remembers.
const AGAIN: Duration = Duration::from_secs(100);
/// Alerts that are known again when they come twice, till they are too old; more than nodes tell in that time are not taken.
const KNOWN: usize = 65_536;
/// Seconds that an alert's time may be off: what a node takes of its callers.
const OFF: u64 = 330;

/// What a node has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which node.
    pub raida: u8,
    /// Parts of keys that are there for this coin, as their sender says.
    pub parts: Vec<AlertPart>,
}

struct Node {
    raida: u8,
    address: SocketAddr,
    key: Authenticity,
}

/// A listener. It does not end; each [`Output::Done`] is one alert.
pub struct Listening {
    coin: Coin,
    coin_id: u16,
    nodes: Vec<Node>,
    again_at: Time,
    /// Initial values: the rest of a header no tag covers.
    known: VecDeque<([u8; 16], u64)>,
    outputs: VecDeque<Output<Told>>,
}

impl core::fmt::Debug for Listening {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Listening({} on {} nodes)", self.coin, self.nodes.len())
    }
}

impl Listening {
    /// Listens for what is for `coin`.
    ///
    /// # Errors
    /// [`Unable`]: nothing was sent.
    pub fn new(now: Time, asker: &Asker<'_>, coin: Coin, rng: &mut impl rand_core::CryptoRng) -> Result<Self, Unable> {
        let node = |node: &crate::swarm::SwarmNode| {
            let key = Authenticity::from_bytes(asker.wallet.key(coin, node.raida)?.expose());
            Some(Node { raida: node.raida, address: node.address, key })
        };
        let nodes: Vec<_> = asker.swarm.nodes().iter().filter_map(node).collect();
        if nodes.is_empty() {
            return Err(Unable::NoCoin(coin));
        }
        let (coin_id, known, outputs) = (asker.swarm.coin_id(), VecDeque::new(), VecDeque::new());
        let mut listening = Self { coin, coin_id, nodes, again_at: now, known, outputs };
        listening.tick(now, asker.wall, rng);
        Ok(listening)
    }

    /// Says again where it listens, when that is due.
    pub fn tick(&mut self, now: Time, wall: u64, rng: &mut impl rand_core::CryptoRng) {
        if now < self.again_at {
            return;
        }
        self.again_at = now + AGAIN;
        let mut payload = Vec::new();
        let (id, name) = (KeyId([0; KEY_ID]), self.coin.named());
        AlertPart { id, address: [0; 16], port: 0, sender: name, receiver: name }.write(&mut payload);
        for Node { raida, address, key } in &self.nodes {
            let node = crate::swarm::SwarmNode { raida: *raida, address: *address, coin: self.coin, operator: None };
            let nonce = nonce(wall, rng);
            let (by, command) = ((self.coin, key), Command::KeyAlert);
            if let Some(request) = Request::tagged(self.coin_id, &node, by, command, &payload, nonce) {
                let (bytes, carrier) = (request.bytes, Carrier::Datagram);
                self.outputs.push_back(Output::Send { raida: *raida, address: *address, bytes, carrier });
            }
        }
    }

    /// Takes a datagram from a node. What is not an alert of its own for this coin, of this time and for the first time, is passed over.
    pub fn received(&mut self, raida: u8, bytes: &[u8], wall: u64) {
        if let Some((iv, parts)) = self.read(raida, bytes, wall) {
            while self.known.pop_front_if(|(_, at)| at.saturating_add(2 * OFF + 1) < wall).is_some() {}
            if self.known.len() >= KNOWN || self.outputs.len() >= KNOWN {
                return;
            }
            self.known.push_back((iv, wall));
            self.outputs.push_back(Output::Done(Told { raida, parts }));
        }
    }

    fn read(&self, raida: u8, bytes: &[u8], wall: u64) -> Option<([u8; 16], Vec<AlertPart>)> {
        let mut bytes = bytes.to_vec();
        let (header, _) = RequestHeader::read(&bytes)?;
        let Ok(encryption @ Encryption::Tagged(coin)) = header.encryption else { return None };
        let alert = Command::of(header.group, header.command) == Some(Command::KeyAlert);
        let here = header.raida == raida && coin == self.coin.named() && header.time().abs_diff(wall) <= OFF;
        if !alert || !here {
            return None;
        }
        let key = FrameKey::of_one(&self.nodes.iter().find(|node| node.raida == raida)?.key);
        let text = frame::body(&header, encryption, bytes.get_mut(header_length(encryption.code())..)?).ok()?;
        let payload = frame::open(&header, &key, text).ok()?.payload;
        let parts = read_alert(text.get(payload)?).ok()?;
        // Looked for last: whoever has no key makes nobody search.
        let known = self.known.iter().any(|(iv, _)| *iv == header.iv());
        (!known && parts.iter().all(|part| part.receiver == coin)).then_some((header.iv(), parts))
    }

    /// The next thing to do; of connections there are none.
    pub fn poll_output(&mut self) -> Option<Output<Told>> {
        self.outputs.pop_front()
    }

    /// When to come back with [`tick`](Self::tick).
    #[must_use]
    pub const fn poll_timeout(&self) -> Time {
        self.again_at
    }
}
