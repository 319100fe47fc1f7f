//! Fetching parts of something from many nodes (43).

use undertone_keys::Time;

use super::posting::report;
use super::request::{Request, Unable, name_of};
use super::round::{Answered, Round, proven};
use super::{Asker, Input, Keys, Lie, Machine, Output, Patience, Report, Said};
use crate::coin::Coin;
use crate::command::{Command, GetKey, KeyId, StoredKey};
use crate::header::nonce;
use crate::quorum::Collected;

/// Where what was fetched comes together.
pub trait Gather {
    /// Takes what the node at this place of the list gave.
    ///
    /// # Errors
    /// [`Lie`], for what cannot be what was posted there.
    fn take(&mut self, place: usize, bytes: &[u8]) -> Result<(), Lie>;

    /// Whether it is whole.
    fn is_whole(&self) -> bool;
}

impl Gather for Collected {
    fn take(&mut self, place: usize, bytes: &[u8]) -> Result<(), Lie> {
        self.add(place, bytes).map_err(Lie::Share)
    }

    fn is_whole(&self) -> bool {
        self.is_whole()
    }
}

/// What is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// From which node.
    pub raida: u8,
    /// By which id.
    pub id: KeyId,
}

/// What came of it.
#[derive(Debug)]
pub struct Fetched<G> {
    /// Whole or not.
    pub gathered: G,
    /// What each node did.
    pub report: Report,
}

/// A round of fetches. It ends when what was gathered is whole and the nodes that are left had their grace, or with the whole patience.
pub struct Fetching<G> {
    round: Round,
    patience: Patience,
    /// The place in the list of what each request asks for.
    places: Vec<usize>,
    receiver: Coin,
    need: usize,
    not_asked: Vec<u8>,
    whole_since: Option<Time>,
    gathered: Option<G>,
    done: Option<Fetched<G>>,
}

impl<G> core::fmt::Debug for Fetching<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Fetching({} parts)", self.places.len())
    }
}

impl<G: Gather> Fetching<G> {
    /// Fetches with the receiver's coin what the sender's coin has posted, or anybody's. `need` of them make it whole.
    ///
    /// # Errors
    /// [`Unable`]: nothing was sent.
    pub fn new(
        now: Time,
        asker: &Asker<'_>,
        (receiver, sender): (Coin, Option<Coin>),
        (wanted, keys): (&[Wanted], Keys),
        (gathered, need): (G, usize),
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, Unable> {
        if !asker.wallet.coins().contains(&receiver) {
            return Err(Unable::NoCoin(receiver));
        }
        let (mut requests, mut places, mut not_asked) = (Vec::new(), Vec::new(), Vec::new());
        for (place, wanted) in wanted.iter().enumerate() {
            let node = asker.swarm.node(wanted.raida).ok_or(Unable::NoNode(wanted.raida))?;
            let get = GetKey { id: wanted.id, sender: name_of(sender), address: [0; 16] };
            let (key, nonce) = (keys.of(asker.wallet, receiver, wanted.raida), nonce(asker.wall, rng));
            let request = key.and_then(|key| {
                Request::tagged(asker.swarm.coin_id(), node, (receiver, key), Command::GetKey, &get.write(), nonce)
            });
            match request {
                Some(request) => {
                    requests.push(request);
                    places.push(place);
                }
                None => not_asked.push(wanted.raida),
            }
        }
        if requests.len() < need {
            return Err(Unable::TooFewKeys { have: requests.len(), need });
        }
        let round = Round::new(now, asker.patience, requests);
        let (whole_since, gathered, done) = (None, Some(gathered), None);
        Ok(Self { round, patience: asker.patience, places, receiver, need, not_asked, whole_since, gathered, done })
    }

    fn judge(&mut self, answered: &Answered) -> Said {
        let Some(gathered) = &mut self.gathered else { return Said::Slow };
        let plain = proven(answered);
        if !plain.is_good() {
            return plain;
        }
        let Some(stored) = StoredKey::read(&answered.answer.payload) else { return Said::Lied(Lie::Malformed) };
        if !stored.coin.is_none() && stored.coin != self.receiver.named() {
            return Said::Lied(Lie::AnotherCoin);
        }
        let place = self.places.get(answered.at).copied().unwrap_or(usize::MAX);
        match gathered.take(place, stored.key) {
            Ok(()) => plain,
            Err(lie) => Said::Lied(lie),
        }
    }

    fn settle(&mut self, now: Time) {
        let graced = self.whole_since.is_some_and(|since| now >= since + self.patience.grace);
        if (graced || self.round.is_over())
            && let Some(gathered) = self.gathered.take()
        {
            let report = report(&self.round, &self.not_asked, self.need);
            self.done = Some(Fetched { gathered, report });
        }
    }
}

impl<G: Gather> Machine for Fetching<G> {
    type Done = Fetched<G>;

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        if self.gathered.is_none() {
            return;
        }
        match input {
            Input::Received { raida, bytes } => {
                if let Some(answered) = self.round.received(now, raida, bytes) {
                    let said = self.judge(&answered);
                    self.round.judge(answered.at, said);
                    let whole = || self.gathered.as_ref().is_some_and(Gather::is_whole);
                    if said.is_good() && self.whole_since.is_none() && whole() {
                        self.whole_since = Some(now);
                    }
                }
            }
            Input::Tick => self.round.tick(now),
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output<Fetched<G>>> {
        if let Some(done) = self.done.take() {
            return Some(Output::Done(done));
        }
        self.gathered.as_ref()?;
        self.round.poll_output().map(Into::into)
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.gathered.as_ref()?;
        let grace = self.whole_since.map(|since| since + self.patience.grace);
        self.round.poll_timeout().into_iter().chain(grace).min()
    }
}
