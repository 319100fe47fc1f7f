//! Looking at a wallet's coins: which keys are right on which nodes.

use undertone_keys::Time;

use super::request::{Request, nonce};
use super::round::{Round, proven};
use super::{Asker, Input, Machine, Output, Said};
use crate::coin::Coin;

/// What a node says of a coin's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Which coin.
    pub coin: Coin,
    /// Which node.
    pub raida: u8,
    /// It is about the key that a healing has tried, and not about the one that the wallet has.
    pub tried: bool,
    /// [`Said::Good`] where node and wallet have the same key, and both have shown it.
    pub said: Said,
}

/// A round of proofs, one for each coin and node, and one more where a key is tried; waits for all, as long as the patience is.
pub struct Looking {
    round: Round,
    coins: Vec<(Coin, bool)>,
    not_asked: Vec<Looked>,
    ended: bool,
    done: Option<Vec<Looked>>,
}

impl core::fmt::Debug for Looking {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Looking({} keys)", self.coins.len())
    }
}

impl Looking {
    /// Asks every node about every coin.
    pub fn new(now: Time, asker: &Asker<'_>, rng: &mut impl rand_core::CryptoRng) -> Self {
        let (mut requests, mut coins, mut not_asked) = (Vec::new(), Vec::new(), Vec::new());
        for coin in asker.wallet.coins() {
            for node in asker.swarm.nodes() {
                let raida = node.raida;
                for (key, tried) in [(asker.wallet.key(coin, raida), false), (asker.wallet.tried(coin, raida), true)] {
                    let nonce = nonce(asker.wall, rng);
                    match key.and_then(|key| Request::proof(asker.swarm.coin_id(), node, (coin, key), nonce)) {
                        Some(request) => {
                            requests.push(request);
                            coins.push((coin, tried));
                        }
                        None if tried => {}
                        None => not_asked.push(Looked { coin, raida, tried, said: Said::NotAsked }),
                    }
                }
            }
        }
        let mut looking =
            Self { round: Round::new(now, asker.patience, requests), coins, not_asked, ended: false, done: None };
        looking.settle();
        looking
    }

    fn settle(&mut self) {
        if self.ended || !self.round.is_over() {
            return;
        }
        self.ended = true;
        let asked = self.coins.iter().zip(self.round.said());
        let mut all: Vec<_> =
            asked.map(|((coin, tried), (raida, said))| Looked { coin: *coin, raida, tried: *tried, said }).collect();
        all.append(&mut self.not_asked);
        all.sort_by_key(|looked| (looked.coin, looked.raida, looked.tried));
        self.done = Some(all);
    }
}

impl Machine for Looking {
    type Done = Vec<Looked>;

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Received { raida, bytes } => {
                if let Some(answered) = self.round.received(now, raida, bytes) {
                    self.round.judge(answered.at, proven(&answered));
                }
            }
            Input::Tick => self.round.tick(now),
        }
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output<Vec<Looked>>> {
        match self.round.poll_output() {
            Some(sending) => Some(sending.into()),
            None => self.done.take().map(Output::Done),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.round.poll_timeout()
    }
}
