//! The swarm that this device uses: enrolment, its coins, and quorum secrets for calls (rule RKX-5).

mod carry;
mod original;

use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::debug;
use undertone_call::quorum::{Exchange, Exchanged, NoQuorum, QuorumNodes};
use undertone_keys::CallId;
use undertone_keys::quorum::QuorumSecret;
use undertone_raida::client::{self, Asker, Healing, HealingError, Looking, Patience, Report, Said};
use undertone_raida::coin::{Authenticity, Coin};
use undertone_raida::quorum::{Offer, Set};
use undertone_raida::status::Status;
use undertone_raida::swarm::Swarm;
use undertone_raida::wallet::{Origin, Wallet};

use super::error::ClientError;
use super::home::Home;
use super::{rng, wall_time};
use crate::engine::{QuorumPart, QuorumStep};
use carry::{Clock, carry};

pub use original::{Listener, Received};
pub use undertone_raida::client::{Healed, Looked};

/// A swarm, and this device's coins in it.
#[derive(Debug)]
pub(super) struct Enrolled {
    pub(super) swarm: Swarm,
    wallet: Wallet,
}

/// What can be said of a swarm and of this device's coins, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmView {
    /// What two people compare.
    pub id: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// How many of them make a secret.
    pub threshold: u8,
    /// This device's coins.
    pub coins: Vec<String>,
}

/// Why a device cannot be enrolled, or uses no swarm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmFault {
    /// No swarm.
    #[error("this device is not enrolled in a swarm")]
    NotEnrolled,
    /// The description.
    #[error(transparent)]
    Swarm(#[from] undertone_raida::swarm::SwarmError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] undertone_raida::wallet::WalletError),
    /// Too few coins, or too few keys of them.
    #[error("coin {coin} has no key for node {raida}: a wallet has every coin's key on every node of the swarm")]
    Incomplete {
        /// Which coin.
        coin: Coin,
        /// Which node.
        raida: u8,
    },
    /// One coin cannot heal itself.
    #[error("a wallet has two coins or more, so that one heals the other: this one has {0}")]
    Coins(usize),
    /// Too many nodes do not know the keys.
    #[error("{good} of {nodes} nodes know these keys: is it the right wallet, and is the swarm running?")]
    Unknown {
        /// Nodes where every coin's key is right.
        good: usize,
        /// Of so many.
        nodes: usize,
    },
    /// Too few keys that operators drew would be left.
    #[error(
        "coin {coin} has keys of operators on {issued} nodes: with one more that is healed it would make no quorum secret any more. Ask the operators for new coins"
    )]
    UsedUp {
        /// Which coin.
        coin: Coin,
        /// On how many nodes.
        issued: usize,
    },
    /// A healing.
    #[error(transparent)]
    CannotHeal(#[from] client::CannotHeal),
    /// A healing that failed.
    #[error(transparent)]
    Healing(#[from] HealingError),
    /// Not sixteen parts.
    #[error("a key in sixteen parts has a multiple of 16 bytes, 16 to 2,032 of them")]
    Key,
    /// A coin's name.
    #[error(transparent)]
    Coin(#[from] undertone_raida::coin::NotACoin),
    /// The wallet cannot do that.
    #[error(transparent)]
    Unable(#[from] client::Unable),
    /// No socket.
    #[error("no socket to ask nodes with: {0}")]
    Socket(std::io::Error),
}

impl SwarmFault {
    /// What to do next.
    pub(super) const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotEnrolled => {
                "`undertone raida enrol --swarm swarm.toml --keys my.keys` does that; whoever runs the swarm has both files."
            }
            Self::Incomplete { .. } | Self::Coins(_) => {
                "Ask the operators for what is missing, and name all their files: --keys can stand there more than once."
            }
            Self::CannotHeal(_) => "`undertone raida check` shows which keys are right where.",
            Self::Healing(_) => "Try again later, when more nodes are up.",
            _ => return None,
        })
    }
}

impl Enrolled {
    /// What this home has.
    pub(super) fn load(home: &Home) -> Result<Option<Arc<Self>>, ClientError> {
        Ok(home.swarm()?.map(|(swarm, wallet)| Arc::new(Self { swarm, wallet })))
    }

    pub(super) fn view(&self) -> SwarmView {
        SwarmView {
            id: self.swarm.id().to_string(),
            nodes: self.swarm.nodes().len(),
            threshold: self.swarm.threshold(),
            coins: self.wallet.coins().iter().map(ToString::to_string).collect(),
        }
    }

    fn asker(&self) -> Asker<'_> {
        let patience = Patience::default();
        Asker { swarm: &self.swarm, wallet: &self.wallet, wall: wall_time().as_unix(), patience }
    }

    /// The coin that shares are posted for and with: the one with the most keys that nobody but operators drew. The others heal it.
    fn coin(&self) -> Option<Coin> {
        let issued = |coin: &Coin| {
            self.swarm.nodes().iter().filter(|node| self.wallet.issued(*coin, node.raida).is_some()).count()
        };
        // Of those with as many the first.
        self.wallet.coins().into_iter().rev().max_by_key(issued)
    }

    /// What a caller says of the swarm.
    pub(super) fn offer(&self) -> Option<Vec<u8>> {
        self.coin().map(|coin| Offer::new(&self.swarm, coin).encode())
    }

    /// Whether a caller's offer can be met; why not, for people.
    pub(super) fn can_meet(&self, offer: &[u8]) -> Result<(), String> {
        Offer::decode(offer, &self.swarm).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Does what a call has to have done, and says what nodes did. `left` is told where shares may lie from then on.
    pub(super) async fn exchange(
        &self,
        call: CallId,
        exchange: Exchange,
        left: impl FnOnce(Vec<u8>),
    ) -> (Result<Exchanged, NoQuorum>, QuorumStep) {
        let part = match &exchange {
            Exchange::Give { .. } => QuorumPart::Drawn,
            Exchange::Share { .. } => QuorumPart::Shared,
            Exchange::Take { .. } => QuorumPart::Fetched,
        };
        let done = match exchange {
            Exchange::Give { offer } => self.give(&offer, QuorumSecret::generate(&mut rng()), left).await,
            Exchange::Share { offer, secret } => self.give(&offer, secret, left).await,
            Exchange::Take { set } => self.take(&set).await,
        };
        match done {
            Ok((exchanged, report)) => (Ok(exchanged), QuorumStep { call, part, report, fault: None }),
            Err((fault, report)) => {
                let clock = report.nodes.iter().any(|node| node.said == Said::Refused(Status::Parameter));
                let hint = if clock { "; is this machine's clock right?" } else { "" };
                (Err(NoQuorum), QuorumStep { call, part, report, fault: Some(format!("{fault}{hint}")) })
            }
        }
    }

    fn nodes(&self, report: &Report) -> QuorumNodes {
        let count = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        QuorumNodes {
            threshold: self.swarm.threshold(),
            nodes: count(self.swarm.nodes().len()),
            good: count(report.good()),
        }
    }

    async fn give(
        &self,
        offer: &[u8],
        secret: QuorumSecret,
        left: impl FnOnce(Vec<u8>),
    ) -> Result<(Exchanged, Report), (String, Report)> {
        let none = |fault: String| (fault, Report::default());
        let offer = Offer::decode(offer, &self.swarm).map_err(|error| none(error.to_string()))?;
        let (Some(receiver), Some(sender)) = (offer.coin(), self.coin()) else {
            return Err(none("the wallet has no coin".to_owned()));
        };
        let clock = Clock::start();
        let (set, posting) = client::give(clock.now(), &self.asker(), (sender, receiver), &secret, &mut rng())
            .map_err(|unable| none(unable.to_string()))?;
        left(set.encode());
        let report = carry(posting, &clock).await.map_err(|error| none(error.to_string()))?;
        if !report.is_enough() {
            let fault =
                format!("{} of {} nodes took a share, and {} have to", report.good(), report.nodes.len(), report.need);
            return Err((fault, report));
        }
        let nodes = self.nodes(&report);
        Ok((Exchanged { secret, set: set.encode(), nodes }, report))
    }

    async fn take(&self, set: &[u8]) -> Result<(Exchanged, Report), (String, Report)> {
        let none = |fault: String| (fault, Report::default());
        let set = Set::decode(set, &self.swarm).map_err(|error| none(error.to_string()))?;
        let receiver = self.coin().ok_or_else(|| none("the wallet has no coin".to_owned()))?;
        let clock = Clock::start();
        let fetching = client::take(clock.now(), &self.asker(), receiver, &set, &mut rng())
            .map_err(|unable| none(unable.to_string()))?;
        let fetched = carry(fetching, &clock).await.map_err(|error| none(error.to_string()))?;
        match fetched.gathered.into_secret() {
            Ok(secret) => {
                let nodes = self.nodes(&fetched.report);
                Ok((Exchanged { secret, set: Vec::new(), nodes }, fetched.report))
            }
            Err(incomplete) => Err((incomplete.to_string(), fetched.report)),
        }
    }

    /// Takes shares back. What stays where it was, such as on a node that is down now, ends by itself.
    pub(super) async fn withdraw(&self, set: &[u8]) {
        let Ok(set) = Set::decode(set, &self.swarm) else { return };
        let clock = Clock::start();
        if let Ok(posting) = client::withdraw(clock.now(), &self.asker(), &set, &mut rng())
            && let Ok(report) = carry(posting, &clock).await
        {
            debug!(good = report.good(), "shares were taken back");
        }
    }

    /// Which keys are right on which nodes.
    async fn look(&self) -> Result<Vec<Looked>, ClientError> {
        let clock = Clock::start();
        let looking = Looking::new(clock.now(), &self.asker(), &mut rng());
        Ok(carry(looking, &clock).await.map_err(SwarmFault::Socket)?)
    }
}

/// Times that a healing is begun again where tickets did not open.
const HEALINGS: usize = 4;

/// This device's coins: looked at, and healed one by one.
#[derive(Debug)]
pub struct Coins {
    home: Arc<Home>,
    /// One at a time: each writes the wallet anew.
    enrolled: Mutex<Arc<Enrolled>>,
}

impl Coins {
    pub(super) fn open(home: Arc<Home>) -> Result<Self, ClientError> {
        let enrolled = Enrolled::load(&home)?.ok_or(SwarmFault::NotEnrolled)?;
        Ok(Self { home, enrolled: Mutex::new(enrolled) })
    }

    /// The swarm and the coins.
    pub async fn view(&self) -> SwarmView {
        self.enrolled.lock().await.view()
    }

    /// Asks every node about every coin. Where a healing was cut short, the key that the node has is found out, and kept.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn look(&self) -> Result<Vec<Looked>, ClientError> {
        let mut enrolled = self.enrolled.lock().await;
        let seen = enrolled.look().await?;
        if let Some(wallet) = settled(&enrolled.wallet, &seen)? {
            self.keep(&mut enrolled, wallet)?;
        }
        Ok(of_settled(&enrolled.wallet, seen))
    }

    fn keep(&self, enrolled: &mut Arc<Enrolled>, wallet: Wallet) -> Result<(), ClientError> {
        self.home.put_swarm(&enrolled.swarm, &wallet)?;
        *enrolled = Arc::new(Enrolled { swarm: enrolled.swarm.clone(), wallet });
        Ok(())
    }

    /// Gives a coin a key again on a node that has another, and keeps it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn heal(&self, broken: Looked, seen: &[Looked]) -> Result<Healed, ClientError> {
        let mut enrolled = self.enrolled.lock().await;
        let right =
            |coin, raida| seen.iter().any(|at| at.coin == coin && at.raida == raida && !at.tried && at.said.is_good());
        // A refusal is no proof: whoever is on the way can say that a key is wrong, and what is healed is worth less.
        let has_issued = |raida: u8| enrolled.wallet.issued(broken.coin, raida).is_some();
        let issued = enrolled.swarm.nodes().iter().filter(|node| has_issued(node.raida)).count();
        if has_issued(broken.raida) && issued <= usize::from(enrolled.swarm.threshold()) {
            return Err(SwarmFault::UsedUp { coin: broken.coin, issued }.into());
        }
        let (clock, mut spared) = (Clock::start(), Vec::new());
        loop {
            let whom = (broken.coin, broken.raida, spared.as_slice());
            let healing = Healing::new(clock.now(), &enrolled.asker(), whom, right, &mut rng());
            let healing = healing.map_err(SwarmFault::from)?;
            // The node may have taken it though nobody hears so.
            let mut wallet = copy(&enrolled.wallet)?;
            wallet.try_key(broken.coin, broken.raida, Authenticity::from_bytes(healing.key().expose()));
            self.keep(&mut enrolled, wallet)?;
            match carry(healing, &clock).await.map_err(SwarmFault::Socket)? {
                Ok(healed) => {
                    let mut wallet = copy(&enrolled.wallet)?;
                    let key = Authenticity::from_bytes(healed.key.expose());
                    wallet.set(healed.coin, healed.raida, key, Origin::Healed);
                    self.keep(&mut enrolled, wallet)?;
                    return Ok(healed);
                }
                // One of them gave noise, and nobody knows which.
                Err(HealingError::Tickets { helpers, .. }) if spared.len() < 2 * HEALINGS => spared.extend(helpers),
                Err(error) => return Err(SwarmFault::from(error).into()),
            }
        }
    }
}

fn copy(wallet: &Wallet) -> Result<Wallet, SwarmFault> {
    Ok(Wallet::read(&wallet.write())?)
}

/// What a wallet is after a look: keys that were tried are the coins' where nodes have them, and are forgotten where nodes have the ones before.
/// `None` where nothing changes.
fn settled(wallet: &Wallet, seen: &[Looked]) -> Result<Option<Wallet>, SwarmFault> {
    let mut new = None;
    for at in seen.iter().filter(|at| at.said.is_good() && wallet.tried(at.coin, at.raida).is_some()) {
        let new = match &mut new {
            Some(new) => new,
            None => new.insert(copy(wallet)?),
        };
        new.settle(at.coin, at.raida, at.tried);
    }
    Ok(new)
}

/// What is known of the keys that a wallet has, after it was [`settled`].
fn of_settled(wallet: &Wallet, seen: Vec<Looked>) -> Vec<Looked> {
    let mut known: Vec<Looked> = Vec::new();
    for at in seen {
        match known.last_mut().filter(|last| last.coin == at.coin && last.raida == at.raida) {
            // The key that was tried is the coin's now.
            Some(last) if at.said.is_good() => last.said = at.said,
            Some(_) => {}
            None => known.push(Looked { tried: false, ..at }),
        }
    }
    known.retain(|at| wallet.coins().contains(&at.coin));
    known
}

/// Takes a swarm's description and a wallet, asks the nodes whether they know its keys, and keeps both.
pub(super) async fn enrol(home: &Home, swarm: &str, keys: &[&str]) -> Result<(SwarmView, Vec<Looked>), ClientError> {
    let swarm = Swarm::read(swarm).map_err(SwarmFault::from)?;
    let mut wallet = Wallet::default();
    keys.iter().try_for_each(|text| wallet.add(text)).map_err(SwarmFault::from)?;
    let coins = wallet.coins();
    if coins.len() < 2 {
        return Err(SwarmFault::Coins(coins.len()).into());
    }
    for coin in &coins {
        if let Some(node) = swarm.nodes().iter().find(|node| wallet.key(*coin, node.raida).is_none()) {
            return Err(SwarmFault::Incomplete { coin: *coin, raida: node.raida }.into());
        }
    }
    // What a healing that was cut short has left is found out first.
    if let Some((known, before)) =
        home.swarm()?.filter(|(known, before)| known.id() == swarm.id() && before.is_trying())
    {
        let enrolled = Enrolled { swarm: known, wallet: before };
        let seen = enrolled.look().await?;
        if let Some(wallet) = settled(&enrolled.wallet, &seen)? {
            home.put_swarm(&enrolled.swarm, &wallet)?;
        }
    }
    // Keys of these coins that were healed since the operators drew them are tried too.
    if let Some((_, before)) = home.swarm()?.filter(|(known, _)| known.id() == swarm.id()) {
        for (coin, node) in coins.iter().flat_map(|coin| swarm.nodes().iter().map(move |node| (*coin, node))) {
            if let (Some(known), None) = (before.key(coin, node.raida), before.issued(coin, node.raida)) {
                wallet.try_key(coin, node.raida, Authenticity::from_bytes(known.expose()));
            }
        }
    }
    let mut enrolled = Enrolled { swarm, wallet };
    let mut seen = enrolled.look().await?;
    if let Some(wallet) = settled(&enrolled.wallet, &seen)? {
        enrolled.wallet = wallet;
    }
    seen = of_settled(&enrolled.wallet, seen);
    let nodes = enrolled.swarm.nodes();
    let right = |raida: u8| seen.iter().filter(|at| at.raida == raida).all(|at| at.said.is_good());
    let good = nodes.iter().filter(|node| right(node.raida)).count();
    if good < usize::from(enrolled.swarm.threshold()) {
        return Err(SwarmFault::Unknown { good, nodes: nodes.len() }.into());
    }
    home.put_swarm(&enrolled.swarm, &enrolled.wallet)?;
    Ok((enrolled.view(), seen))
}
