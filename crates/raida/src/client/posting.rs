//! Posting parts of something over many nodes (41).

use std::net::IpAddr;

use undertone_keys::Time;
use zeroize::Zeroizing;

use super::request::{Request, Unable, padding};
use super::round::{Round, plainly};
use super::{Asker, Input, Keys, Machine, NodeReport, Output, Patience, Report, Said};
use crate::coin::{Coin, Named};
use crate::command::{ALERT_PARTS, AlertPart, Command, KeyId, PostKey};
use crate::header::nonce;

/// What one node is to keep.
pub struct Part {
    /// Which node.
    pub raida: u8,
    /// What it is fetched by.
    pub id: KeyId,
    /// 127 bytes at most.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl core::fmt::Debug for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Part({:?} on node {}, {} bytes)", self.id, self.raida, self.bytes.len())
    }
}

/// A round of posts. It ends when enough nodes have taken their part and the others had their grace, or with the whole patience.
pub struct Posting {
    round: Round,
    patience: Patience,
    need: usize,
    good: usize,
    not_asked: Vec<u8>,
    enough_since: Option<Time>,
    done: Option<Report>,
    ended: bool,
}

impl core::fmt::Debug for Posting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Posting({} of {})", self.good, self.need)
    }
}

impl Posting {
    /// Posts each part with the sender's coin, for the receiver's coin. `need` of them are enough.
    ///
    /// # Errors
    /// [`Unable`]: nothing was sent.
    pub fn new(
        now: Time,
        asker: &Asker<'_>,
        (sender, receiver): (Coin, Named),
        (parts, keys): (&[Part], Keys),
        need: usize,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, Unable> {
        if !asker.wallet.coins().contains(&sender) {
            return Err(Unable::NoCoin(sender));
        }
        let (mut requests, mut not_asked) = (Vec::new(), Vec::new());
        for part in parts {
            let node = asker.swarm.node(part.raida).ok_or(Unable::NoNode(part.raida))?;
            let post = PostKey { id: part.id, receiver: [0; 16], coin: receiver, key: &part.bytes };
            let payload = post.write(0, padding(rng)).ok_or(Unable::TooLong)?;
            let (key, nonce) = (keys.of(asker.wallet, sender, part.raida), nonce(asker.wall, rng));
            let request = key.and_then(|key| {
                Request::tagged(asker.swarm.coin_id(), node, (sender, key), Command::PostKey, &payload, nonce)
            });
            match request {
                Some(request) => requests.push(request),
                None => not_asked.push(part.raida),
            }
        }
        if requests.len() < need {
            return Err(Unable::TooFewKeys { have: requests.len(), need });
        }
        let round = Round::new(now, asker.patience, requests);
        let (good, enough_since, done, ended) = (0, None, None, false);
        Ok(Self { round, patience: asker.patience, need, good, not_asked, enough_since, done, ended })
    }

    /// Tells nodes (42) that these parts are there for the receiver's coin; the nodes tell whoever listens for it. `at` are the nodes that are to
    /// tell; one that does is enough.
    ///
    /// # Errors
    /// [`Unable`]: nothing was sent.
    pub fn alert(
        now: Time,
        asker: &Asker<'_>,
        (sender, receiver): (Coin, Coin),
        parts: &[(u8, KeyId)],
        at: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, Unable> {
        if parts.len() > ALERT_PARTS {
            return Err(Unable::TooLong);
        }
        let mut payload = Vec::new();
        for (raida, id) in parts {
            let node = asker.swarm.node(*raida).ok_or(Unable::NoNode(*raida))?;
            let address = match node.address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let (port, id) = (node.address.port(), *id);
            AlertPart { id, address, port, sender: sender.named(), receiver: receiver.named() }.write(&mut payload);
        }
        let (mut requests, mut not_asked) = (Vec::new(), Vec::new());
        for raida in at {
            let node = asker.swarm.node(*raida).ok_or(Unable::NoNode(*raida))?;
            let nonce = nonce(asker.wall, rng);
            let request = asker.wallet.key(sender, *raida).and_then(|key| {
                Request::tagged(asker.swarm.coin_id(), node, (sender, key), Command::KeyAlert, &payload, nonce)
            });
            match request {
                Some(request) => requests.push(request),
                None => not_asked.push(*raida),
            }
        }
        if requests.is_empty() {
            return Err(Unable::TooFewKeys { have: 0, need: 1 });
        }
        let round = Round::new(now, asker.patience, requests);
        let (good, enough_since, done, ended) = (0, None, None, false);
        Ok(Self { round, patience: asker.patience, need: 1, good, not_asked, enough_since, done, ended })
    }

    fn settle(&mut self, now: Time) {
        let graced = self.enough_since.is_some_and(|since| now >= since + self.patience.grace);
        if !self.ended && (graced || self.round.is_over()) {
            self.ended = true;
            self.done = Some(report(&self.round, &self.not_asked, self.need));
        }
    }
}

/// What a round's nodes did, and those that were not in it.
pub(super) fn report(round: &Round, not_asked: &[u8], need: usize) -> Report {
    let asked = round.said().map(|(raida, said)| NodeReport { raida, said });
    let not = not_asked.iter().map(|raida| NodeReport { raida: *raida, said: Said::NotAsked });
    let mut nodes: Vec<_> = asked.chain(not).collect();
    nodes.sort_by_key(|node| node.raida);
    Report { nodes, need }
}

impl Machine for Posting {
    type Done = Report;

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        if self.ended {
            return;
        }
        match input {
            Input::Received { raida, bytes } => {
                if let Some(answered) = self.round.received(now, raida, bytes) {
                    let said = plainly(&answered);
                    self.round.judge(answered.at, said);
                    self.good += usize::from(said.is_good());
                    if self.good >= self.need && self.enough_since.is_none() {
                        self.enough_since = Some(now);
                    }
                }
            }
            Input::Tick => self.round.tick(now),
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output<Report>> {
        if let Some(report) = self.done.take() {
            return Some(Output::Done(report));
        }
        if self.ended {
            return None;
        }
        self.round.poll_output().map(Into::into)
    }

    fn poll_timeout(&self) -> Option<Time> {
        if self.ended {
            return None;
        }
        let grace = self.enough_since.map(|since| since + self.patience.grace);
        self.round.poll_timeout().into_iter().chain(grace).min()
    }
}

impl<D> From<super::round::Sending> for Output<D> {
    fn from(sending: super::round::Sending) -> Self {
        let super::round::Sending { raida, address, bytes, carrier } = sending;
        Self::Send { raida, address, bytes, carrier }
    }
}
