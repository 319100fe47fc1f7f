//! All nodes of a swarm in one process: for trying out, for tests, and for whoever wants the quorum without its point, which is that the nodes
//! have different operators.
//!
//! ```text
//! <data>/swarm.toml          what people who use the swarm are given; written at each start, with the ports of this one
//! <data>/wallets/<n>.keys    what one account is given: two coins and their keys on every node
//! <data>/nodes/<raida>/      a node's own folder
//! ```

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_raida::coin::{Authenticity, Coin};
use undertone_raida::coin_file::{CoinFile, NODES};
use undertone_raida::month;
use undertone_raida::node::coins::{Coins, Progress, Record};
use undertone_raida::node::serve::Serving;
use undertone_raida::swarm::{Swarm, SwarmName, SwarmNode};
use undertone_raida::wallet::{Origin, Wallet};

use super::{RaidaConfig, RaidaError, open, serve_opened};

/// What a swarm in one process is like.
#[derive(Clone, Debug)]
pub struct SwarmConfig {
    /// How many nodes: 2 to 25.
    pub nodes: u8,
    /// How many of them make a secret; about two thirds where nothing is said.
    pub threshold: Option<u8>,
    /// The first node's address; the others have the ports behind it. Port 0 takes free ones.
    pub listen: SocketAddr,
    /// Where clients reach them, if not at the address that they listen on.
    pub public: Option<IpAddr>,
    /// How many wallets there should be, at the least.
    pub wallets: u32,
    /// What every node is like: `raida`, `data` and `listen` are this swarm's own.
    pub node: RaidaConfig,
}

/// Coins of a wallet: one to heal the other with.
const IN_A_WALLET: u32 = 2;
/// Wallets that a swarm has room for.
pub const MOST_WALLETS: u32 = 10_000;

/// A swarm that is being served.
#[derive(Debug)]
pub struct SwarmServing {
    nodes: Vec<Serving>,
    /// Its description, with the addresses of this start.
    pub swarm: Swarm,
    /// The description's file.
    pub file: PathBuf,
    /// Files of wallets that nobody was given yet, as far as the folder says.
    pub wallets: Vec<PathBuf>,
}

impl SwarmServing {
    /// Starts every node; issues the nodes' own coins and the wallets that are not there yet. `progress` is told of each node whose coins
    /// are read in.
    ///
    /// # Errors
    /// [`RaidaError`].
    pub fn start(config: &SwarmConfig, progress: impl Fn(Progress)) -> Result<Self, RaidaError> {
        if !(2..=NODES).contains(&usize::from(config.nodes)) {
            return Err(RaidaError::Config("a swarm has 2 to 25 nodes"));
        }
        if config.wallets > MOST_WALLETS {
            return Err(RaidaError::Config("a swarm in one process has 10,000 wallets at most"));
        }
        let public = config.public.unwrap_or_else(|| config.listen.ip());
        if public.is_unspecified() {
            return Err(RaidaError::Config("clients need an address that they can reach: say which with --public"));
        }
        let data = &config.node.data;
        private_folder(data)?;
        let file = data.join("swarm.toml");
        let threshold = config.threshold.unwrap_or_else(|| Swarm::usual_threshold(config.nodes));
        let known = match std::fs::read_to_string(&file) {
            Ok(text) => Some(same(&text, config, threshold)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&file)(error)),
        };
        let configs: Vec<_> = (0..config.nodes).map(|raida| node(config, raida)).collect();
        let mut stores = Vec::new();
        for node in &configs {
            private_folder(&node.data)?;
            stores.push(open(node, |_| ())?.0);
            progress(Progress { done: stores.len(), of: configs.len() });
        }
        let name = match known {
            Some(name) => name,
            None => {
                let name = SwarmName::generate(&mut UnwrapErr(SysRng));
                own_coins(&configs, &stores)?;
                // From here on it is a swarm of this size, whatever comes of this start. Its addresses follow when it has them.
                let nodes = configs.iter().map(|node| described(node.raida, node.listen));
                let swarm = swarm_of(name, config, threshold, nodes.collect())?;
                replace(&file, swarm.write().as_bytes(), 0o644)?;
                name
            }
        };
        let folder = data.join("wallets");
        private_folder(&folder)?;
        (1..=config.wallets).try_for_each(|number| wallet(&folder, number, &stores))?;
        let wallets = (1..=config.wallets).map(|number| wallet_path(&folder, number)).filter(|path| path.exists());
        let wallets = wallets.collect();
        let mut nodes = Vec::new();
        for (node, store) in configs.iter().zip(stores) {
            nodes.push(serve_opened(node, store)?);
        }
        let reached = |(serving, node): (&Serving, &RaidaConfig)| {
            described(node.raida, SocketAddr::new(public, serving.address().port()))
        };
        let swarm = swarm_of(name, config, threshold, nodes.iter().zip(&configs).map(reached).collect())?;
        replace(&file, swarm.write().as_bytes(), 0o644)?;
        Ok(Self { nodes, swarm, file, wallets })
    }

    /// Ends one node, as if its machine had lost its power.
    pub fn kill(&mut self, raida: u8) {
        self.nodes.retain(|serving| serving.node().name().raida != raida);
    }

    /// Answers what is under way, writes changed pages back and ends.
    ///
    /// # Errors
    /// [`RaidaError`]: a node's journal has what its pages do not.
    pub fn stop(self) -> Result<(), RaidaError> {
        let stopped: Vec<_> = self.nodes.into_iter().map(Serving::stop).collect();
        stopped.into_iter().try_for_each(|node| Ok(node?))
    }
}

/// Whether the folder's swarm is the one that is asked for: who was enrolled in another would not know it again.
fn same(text: &str, config: &SwarmConfig, threshold: u8) -> Result<SwarmName, RaidaError> {
    let there = Swarm::read(text).map_err(|error| RaidaError::Swarm(error.to_string()))?;
    let numbers = there.nodes().iter().map(|node| node.raida).eq(0..config.nodes);
    if numbers && there.threshold() == threshold && there.coin_id() == config.node.coin_id {
        return Ok(there.name());
    }
    Err(RaidaError::Config(
        "the folder has a swarm of another size, threshold or kind of coins: start it as it was, or choose another --data",
    ))
}

fn described(raida: u8, address: SocketAddr) -> SwarmNode {
    SwarmNode { raida, address, coin: own_coin(raida), operator: None }
}

fn swarm_of(
    name: SwarmName,
    config: &SwarmConfig,
    threshold: u8,
    mut nodes: Vec<SwarmNode>,
) -> Result<Swarm, RaidaError> {
    // Ports that the system is to choose are not known yet, and are to be told apart all the same.
    for node in nodes.iter_mut().filter(|node| node.address.port() == 0) {
        node.address.set_port(u16::from(node.raida) + 1);
    }
    Swarm::new(name, config.node.coin_id, threshold, nodes).map_err(|error| RaidaError::Swarm(error.to_string()))
}

fn node(config: &SwarmConfig, raida: u8) -> RaidaConfig {
    let port = match config.listen.port() {
        0 => 0,
        first => first.saturating_add(u16::from(raida)),
    };
    RaidaConfig {
        raida,
        data: config.node.data.join("nodes").join(raida.to_string()),
        listen: SocketAddr::new(config.listen.ip(), port),
        // Each is asked little, and all share one machine.
        readers: NonZeroUsize::MIN,
        workers: NonZeroUsize::MIN,
        ..config.node.clone()
    }
}

/// A coin of the denomination whose power of ten is 0. The swarm's numbers are bounded far below a store's.
fn coin(serial: u32) -> Coin {
    Coin::one(u16::try_from(serial).unwrap_or(u16::MAX))
}

/// Node `raida`'s own: the first coins but the one whose name means nobody.
fn own_coin(raida: u8) -> Coin {
    coin(u32::from(raida) + 1)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RaidaError {
    let path = path.to_owned();
    |error| RaidaError::Folder { path, error }
}

fn private_folder(path: &Path) -> Result<(), RaidaError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

/// Writes a file whole or not at all.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RaidaError> {
    let part = path.with_extension("part");
    let _left_over = std::fs::remove_file(&part);
    let write = || -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        std::fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    write().map_err(at(path))
}

fn issue(coins: &Coins, coin: Coin, key: &Authenticity) -> Result<(), RaidaError> {
    let now = super::wall_time().as_unix();
    let record = || Record { key: Authenticity::from_bytes(key.expose()), changed: month::at(now) };
    coins.change(coin, &mut UnwrapErr(SysRng), |_| Some(record()))?;
    Ok(())
}

/// Gives every node a coin of its own, with a key on every other. Nobody has used the swarm yet: what a start that was cut short left is
/// written over.
fn own_coins(configs: &[RaidaConfig], stores: &[Coins]) -> Result<(), RaidaError> {
    let rng = &mut UnwrapErr(SysRng);
    for owner in configs {
        let keys: [Authenticity; NODES] = std::array::from_fn(|_| Authenticity::generate(rng));
        for (store, key) in stores.iter().zip(&keys) {
            issue(store, own_coin(owner.raida), key)?;
        }
        let folder = owner.data.join("coins");
        private_folder(&folder)?;
        let file = folder.join(format!("{}.bin", own_coin(owner.raida)));
        replace(&file, &CoinFile::write(owner.coin_id, &keys), 0o600)?;
    }
    stores.iter().try_for_each(|store| Ok(store.flush()?))
}

fn wallet_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number}.keys"))
}

/// Makes a wallet that is not there: its file first, under another name, so that a start that is cut short leaves nobody with coins and no
/// keys. One whose coins are in use and whose file is gone was given to somebody.
fn wallet(folder: &Path, number: u32, stores: &[Coins]) -> Result<(), RaidaError> {
    let path = wallet_path(folder, number);
    let unfinished = path.with_extension("issuing");
    let first = u32::try_from(NODES).unwrap_or_default() + 1 + IN_A_WALLET * (number - 1);
    let coins: Vec<_> = (first..first + IN_A_WALLET).map(coin).collect();
    let given = stores.iter().any(|store| coins.iter().any(|coin| store.bitmap().is_used(*coin)));
    if path.exists() || given && !unfinished.exists() {
        return Ok(());
    }
    let rng = &mut UnwrapErr(SysRng);
    let mut wallet = Wallet::default();
    for coin in &coins {
        (0..).zip(stores).for_each(|(raida, _)| wallet.set(*coin, raida, Authenticity::generate(rng), Origin::Issued));
    }
    replace(&unfinished, wallet.write().as_bytes(), 0o600)?;
    for (raida, store) in (0..).zip(stores) {
        for coin in &coins {
            if let Some(key) = wallet.key(*coin, raida) {
                issue(store, *coin, key)?;
            }
        }
        store.flush()?;
    }
    std::fs::rename(&unfinished, &path).map_err(at(&path))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}
