//! Giving a coin a key again on a node that has another: 44 to two helpers, 45 to the node, and 44 that proves it.
//!
//! ```text
//! owner                           helper, helper                     node
//!   44: half, about my coin --------->|                                |
//!   <------- ticket, under the key of the node's coin                  |
//!   45: both tickets, with another coin of mine ---------------------->|  opens them with its own coin's keys
//!   44 about the coin, under the new key and the other coin's --------->|
//! ```
//! The key is drawn here; a helper sees half of it, and never both halves. All requests up to 45 have one initial value, because it is the
//! tickets' too.
//!
//! What this cannot give: two nodes that work together can make tickets without the owner, and so decide any coin's key on any node; and they
//! know the key that was healed by them. So a coin that is right on too few nodes is not healed, it was taken; and what was healed is used
//! for no quorum secret ([`Keys::Issued`](super::Keys::Issued)).

use undertone_keys::Time;

use super::request::{Proof, Request, beside};
use super::round::{Answered, Round, proven};
use super::{Asker, Input, Lie, Machine, Output, Patience, Report, Said};
use crate::client::posting::report;
use crate::coin::{Authenticity, Coin, Half};
use crate::command::{Command, DecryptKey, EncryptKey, TicketItem};
use crate::header::nonce;
use crate::swarm::SwarmNode;

/// What a healing waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "states are named for what they await")]
enum Stage {
    /// A ticket of a helper for each half.
    AwaitingTickets,
    /// The node's word that it took them.
    AwaitingNode,
    /// The node's proof that it has the new key.
    AwaitingProof,
}

/// Why a coin was not healed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HealingError {
    /// No helpers were left.
    #[error("no two nodes gave a ticket for each half")]
    Helpers(Report),
    /// The node could open a ticket of one of these helpers, or of both, not.
    #[error("the tickets of nodes {} and {} did not open on node {raida}", helpers[0], helpers[1])]
    Tickets {
        /// Which node.
        raida: u8,
        /// Who made them.
        helpers: [u8; 2],
    },
    /// The node did not take the tickets, or did not answer.
    #[error("node {raida} did not take the tickets: {said}")]
    Node {
        /// Which node.
        raida: u8,
        /// What it said.
        said: Said,
    },
    /// It said yes and does not have the key.
    #[error("node {raida} does not prove that it has the new key: {said}")]
    Proof {
        /// Which node.
        raida: u8,
        /// What it said.
        said: Said,
    },
}

/// Why a healing cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotHeal {
    /// The swarm has no such node.
    #[error("the swarm has no node {0}")]
    NoNode(u8),
    /// No two other nodes are left that could help.
    #[error("no two other nodes are left that could help")]
    NoHelpers,
    /// The coin's keys are right on too few nodes.
    #[error(
        "the coin is right on {good} nodes, and {need} would have to be: somebody may have taken it over. Ask the operators for new coins"
    )]
    Taken {
        /// How many.
        good: usize,
        /// How many there should be.
        need: usize,
    },
    /// No other coin on the node.
    #[error("the wallet has no other coin with a key on node {0}, to ask with")]
    NoOtherCoin(u8),
}

/// A coin that has a key again.
pub struct Healed {
    /// Which coin.
    pub coin: Coin,
    /// On which node.
    pub raida: u8,
    /// Its key there, to be kept.
    pub key: Authenticity,
    /// Who gave the tickets for the first and the second half.
    pub helpers: [u8; 2],
}

impl core::fmt::Debug for Healed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Healed({} on node {} by {:?})", self.coin, self.raida, self.helpers)
    }
}

/// A ticket as a helper gave it.
type Given = (u8, [u8; 16]);

/// Helpers that are asked for a half at once: each that is asked learns it.
const AT_ONCE: usize = 1;

/// One coin on one node.
pub struct Healing {
    stage: Stage,
    round: Round,
    patience: Patience,
    coin: Coin,
    node: SwarmNode,
    key: Authenticity,
    tickets: [Option<Given>; 2],
    /// Helpers that were not asked yet, for each half.
    left: [Vec<Request>; 2],
    /// Which half each request of the round is about.
    asked: Vec<Half>,
    /// What helpers did that gave nothing.
    before: Report,
    with: Prepared,
    /// The last request, and what its answer has to be.
    proof: Option<Request>,
    proven_by: Option<Proof>,
    done: Option<Result<Healed, HealingError>>,
    ended: bool,
}

/// What the request of 45 is made of, besides tickets.
struct Prepared {
    coin_id: u16,
    by: Coin,
    key: Authenticity,
    nonce: [u8; 24],
}

impl core::fmt::Debug for Healing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Healing({} on node {}, {:?})", self.coin, self.node.raida, self.stage)
    }
}

impl Healing {
    /// Heals `coin` on node `raida`, with the help of nodes where its key is `right`, but for those to be `spared`, and of another coin of the
    /// wallet that is `right` there. The [key](Self::key) is to be kept as one that is tried before anything is sent.
    ///
    /// # Errors
    /// [`CannotHeal`]: nothing was sent.
    pub fn new(
        now: Time,
        asker: &Asker<'_>,
        (coin, raida, spared): (Coin, u8, &[u8]),
        right: impl Fn(Coin, u8) -> bool,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, CannotHeal> {
        let node = asker.swarm.node(raida).ok_or(CannotHeal::NoNode(raida))?.clone();
        let good = asker.swarm.nodes().iter().filter(|node| right(coin, node.raida)).count();
        let need = usize::from(asker.swarm.threshold());
        if good < need {
            return Err(CannotHeal::Taken { good, need });
        }
        let other = asker.wallet.coins().into_iter().filter(|other| *other != coin && right(*other, raida));
        let with = other.into_iter().find_map(|other| {
            let key = Authenticity::from_bytes(asker.wallet.key(other, raida)?.expose());
            Some(Prepared { coin_id: asker.swarm.coin_id(), by: other, key, nonce: nonce(asker.wall, rng) })
        });
        let with = with.ok_or(CannotHeal::NoOtherCoin(raida))?;
        let key = Authenticity::generate(rng);
        let mut left = [Vec::new(), Vec::new()];
        // Not always the same helpers, and none for both halves.
        let mut helpers: Vec<_> = asker.swarm.nodes().iter().filter(|helper| helper.raida != raida).collect();
        let start = usize::try_from(rng.next_u32()).unwrap_or_default() % helpers.len().max(1);
        helpers.rotate_left(start);
        let mut halves = [Half::First, Half::Second].into_iter().cycle();
        for helper in helpers.into_iter().filter(|helper| right(coin, helper.raida) && !spared.contains(&helper.raida))
        {
            let Some(coin_key) = asker.wallet.key(coin, helper.raida) else { continue };
            let Some(half) = halves.next() else { continue };
            let target = node.coin.named();
            let asked =
                EncryptKey::TicketFor { target, half: *key.half(half), coin: coin.named(), key: coin_key.expose() };
            let nonce = beside(&with.nonce, helper.raida);
            let by = (coin, coin_key);
            let request = Request::tagged(with.coin_id, helper, by, Command::EncryptKey, &asked.write(), nonce);
            if let Some(left) = left.get_mut(usize::from(half.to_byte())) {
                left.extend(request);
            }
        }
        if left.iter().any(Vec::is_empty) {
            return Err(CannotHeal::NoHelpers);
        }
        let round = Round::new(now, asker.patience, []);
        let (stage, patience, tickets) = (Stage::AwaitingTickets, asker.patience, [None; 2]);
        let proof = Request::proof(with.coin_id, &node, (coin, &key), (with.by, &with.key), asker.wall, rng);
        let (proof, proven_by) = proof.unzip();
        let (asked, before, done, ended) = (Vec::new(), Report::default(), None, false);
        let mut healing = Self {
            stage,
            round,
            patience,
            coin,
            node,
            key,
            tickets,
            left,
            asked,
            before,
            with,
            proof,
            proven_by,
            done,
            ended,
        };
        healing.ask_helpers(now);
        Ok(healing)
    }

    /// The key that the coin is to have.
    #[must_use]
    pub const fn key(&self) -> &Authenticity {
        &self.key
    }

    /// Asks the next helpers for what is missing.
    fn ask_helpers(&mut self, now: Time) {
        self.before.nodes.extend(report(&self.round, &[], 2).nodes);
        let (mut requests, mut asked) = (Vec::new(), Vec::new());
        for half in [Half::First, Half::Second] {
            let at = usize::from(half.to_byte());
            let (Some(None), Some(left)) = (self.tickets.get(at), self.left.get_mut(at)) else { continue };
            let next = left.drain(..left.len().min(AT_ONCE));
            requests.extend(next);
            asked.resize(requests.len(), half);
        }
        if requests.is_empty() {
            let report = core::mem::take(&mut self.before);
            self.end(Err(HealingError::Helpers(Report { need: 2, ..report })));
            return;
        }
        (self.round, self.asked) = (Round::new(now, self.patience, requests), asked);
    }

    fn end(&mut self, done: Result<Healed, HealingError>) {
        (self.done, self.ended) = (Some(done), true);
    }

    fn helped(&mut self, now: Time, answered: &Answered) {
        let ticket: Option<[u8; 16]> = answered.answer.payload.as_slice().try_into().ok();
        let said = match (proven(answered), ticket) {
            (Said::Good(_), None) => Said::Lied(Lie::Malformed),
            (said, _) => said,
        };
        self.round.judge(answered.at, said);
        if let (Said::Good(_), Some(ticket), Some(half)) = (said, ticket, self.asked.get(answered.at))
            && let Some(place) = self.tickets.get_mut(usize::from(half.to_byte()))
            && place.is_none()
            && let Some((raida, _)) = self.round.said().nth(answered.at)
        {
            *place = Some((raida, ticket));
        }
        let [Some(first), Some(second)] = self.tickets else { return };
        let item = |(helper, ticket): Given, half: Half| TicketItem {
            split: half.to_byte(),
            helper,
            coin: self.coin.named(),
            ticket,
        };
        let payload =
            DecryptKey::write(self.node.coin.named(), &[item(first, Half::First), item(second, Half::Second)]);
        let Prepared { coin_id, by, key, nonce } = &self.with;
        // The helpers' requests were under the same initial value, and other keys.
        let nonce = beside(nonce, self.node.raida);
        let request = Request::tagged(*coin_id, &self.node, (*by, key), Command::DecryptKey, &payload, nonce);
        self.stage = Stage::AwaitingNode;
        self.round = Round::new(now, self.patience, request);
    }

    fn taken(&mut self, now: Time, answered: &Answered) {
        let raida = self.node.raida;
        let said = proven(answered);
        self.round.judge(answered.at, said);
        if !said.is_good() {
            // It need not be the node's: its own answer is waited for.
            return;
        }
        if answered.answer.payload.as_slice() != [1, 1] {
            let [Some((first, _)), Some((second, _))] = self.tickets else { return };
            return self.end(Err(HealingError::Tickets { raida, helpers: [first, second] }));
        }
        self.stage = Stage::AwaitingProof;
        self.round = Round::new(now, self.patience, self.proof.take());
    }

    fn has_the_key(&mut self, answered: &Answered) {
        let holds = self.proven_by.as_ref().is_some_and(|proof| proof.holds(&answered.answer.payload));
        let said = match proven(answered) {
            Said::Good(_) if !holds => Said::Lied(Lie::Malformed),
            said => said,
        };
        self.round.judge(answered.at, said);
        let [Some((first, _)), Some((second, _))] = self.tickets else { return };
        if said.is_good() {
            let key = Authenticity::from_bytes(self.key.expose());
            self.end(Ok(Healed { coin: self.coin, raida: self.node.raida, key, helpers: [first, second] }));
        }
    }

    fn settle(&mut self, now: Time) {
        if self.ended || !self.round.is_over() {
            return;
        }
        let raida = self.node.raida;
        let silent = self.round.said().next().map_or(Said::Silent, |(_, said)| said);
        match self.stage {
            Stage::AwaitingTickets => self.ask_helpers(now),
            Stage::AwaitingNode => self.end(Err(HealingError::Node { raida, said: silent })),
            Stage::AwaitingProof => self.end(Err(HealingError::Proof { raida, said: silent })),
        }
    }
}

impl Machine for Healing {
    type Done = Result<Healed, HealingError>;

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        if self.ended {
            return;
        }
        match input {
            Input::Received { raida, bytes } => {
                if let Some(answered) = self.round.received(now, raida, bytes) {
                    match self.stage {
                        Stage::AwaitingTickets => self.helped(now, &answered),
                        Stage::AwaitingNode => self.taken(now, &answered),
                        Stage::AwaitingProof => self.has_the_key(&answered),
                    }
                }
            }
            Input::Tick => self.round.tick(now),
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output<Self::Done>> {
        if let Some(done) = self.done.take() {
            return Some(Output::Done(done));
        }
        if self.ended {
            return None;
        }
        self.round.poll_output().map(Into::into)
    }

    fn poll_timeout(&self) -> Option<Time> {
        if self.ended { None } else { self.round.poll_timeout() }
    }
}
