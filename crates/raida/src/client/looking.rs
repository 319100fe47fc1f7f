//! Looking at a wallet's coins: which keys are right on which nodes.

use undertone_keys::Time;

use super::request::{Proof, Request};
use super::round::{Round, proven};
use super::{Asker, Input, Lie, Machine, Output, Said};
use crate::coin::{Authenticity, Coin};
use crate::wallet::Wallet;

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

/// What one request is about.
struct Asked {
    coin: Coin,
    tried: bool,
    /// The coin under whose key the ticket is to be.
    other: Coin,
    proof: Proof,
    /// A tagged answer came, whose ticket did not open.
    tagged: Option<Said>,
}

/// A round of proofs, one for each coin and node, and one more where a key is tried; waits for all, as long as the patience is.
///
/// Each is a ticket under another coin's key, and so proves both keys. Where no ticket of a node's opens, one of the two keys is wrong, and the
/// one whose tag held is taken for right if the other was refused.
pub struct Looking {
    round: Round,
    coins: Vec<Asked>,
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
                    let other = other_than(asker.wallet, coin, raida);
                    let asked = key.zip(other).and_then(|(key, (other, under))| {
                        let (id, wall) = (asker.swarm.coin_id(), asker.wall);
                        let (request, proof) = Request::proof(id, node, (coin, key), (other, under), wall, rng)?;
                        Some((request, Asked { coin, tried, other, proof, tagged: None }))
                    });
                    match asked {
                        Some((request, asked)) => {
                            requests.push(request);
                            coins.push(asked);
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
        let said: Vec<_> = self.round.said().collect();
        let proven = |coin: Coin, raida: u8| {
            let mut all = self.coins.iter().zip(&said);
            all.any(|(asked, (at, said))| {
                *at == raida && said.is_good() && !asked.tried && (asked.coin == coin || asked.other == coin)
            })
        };
        // Refused, and nothing else: what is said on the way beside the node's own answer would be.
        let refused = |coin: Coin, raida: u8| {
            let mut all = self.coins.iter().zip(&said).filter(|(asked, (at, _))| *at == raida && asked.coin == coin);
            all.any(|(asked, (_, said))| {
                asked.tagged.is_none() && matches!(said, Said::Refused(_) | Said::Unknown(_)) && !asked.tried
            })
        };
        let judged = self.coins.iter().zip(&said).map(|(asked, (raida, said))| {
            let Asked { coin, tried, other, tagged, .. } = asked;
            let said = match tagged {
                _ if said.is_good() => *said,
                // Its key opened the other's ticket; or the other's key is the one that is wrong.
                Some(tagged) if !tried && (proven(*coin, *raida) || refused(*other, *raida)) => *tagged,
                _ => *said,
            };
            Looked { coin: *coin, raida: *raida, tried: *tried, said }
        });
        let mut all: Vec<_> = judged.collect();
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
                    let said = proven(&answered);
                    let Some(asked) = self.coins.get_mut(answered.at) else { return };
                    if said.is_good() && !asked.proof.holds(&answered.answer.payload) {
                        // Of a request before this one, or under another key than the wallet's.
                        asked.tagged = Some(said);
                        self.round.judge(answered.at, Said::Lied(Lie::Malformed));
                    } else {
                        self.round.judge(answered.at, said);
                    }
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

/// Another coin of the wallet with a key on this node.
fn other_than(wallet: &Wallet, coin: Coin, raida: u8) -> Option<(Coin, &Authenticity)> {
    let mut coins = wallet.coins().into_iter().filter(|other| *other != coin);
    coins.find_map(|other| Some((other, wallet.key(other, raida)?)))
}
