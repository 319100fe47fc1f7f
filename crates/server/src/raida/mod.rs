//! A RAIDA node beside the server, or alone: its configuration, its start, and what an operator does with its coins.

mod coins;
mod config;

pub use coins::{Checked, Created, check, create, import};
pub use config::{Keystream, RaidaConfig, RaidaKeys, RaidaProfile};

use crate::signal::wall_time;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_raida::node::coins::{Coins, Progress, Recovered, StoreError};
use undertone_raida::node::serve::Serving;
use undertone_raida::node::{Keys, Node, OwnCoins};

/// Why a node does not start, or its coins cannot be worked on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaidaError {
    /// The configuration says what cannot be.
    #[error("{0}")]
    Config(&'static str),
    /// The coin store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of posted keys.
    #[error("{path}: {error}")]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The port.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

/// Opens a node's coin store.
///
/// # Errors
/// [`RaidaError`].
pub fn open(config: &RaidaConfig, progress: impl Fn(Progress) + Sync) -> Result<(Coins, Recovered), RaidaError> {
    config.check()?;
    Ok(Coins::open(&config.data.join("Data"), config.coins(), &mut UnwrapErr(SysRng), progress)?)
}

/// Starts a node.
///
/// # Errors
/// [`RaidaError`].
pub fn serve(config: &RaidaConfig, progress: impl Fn(Progress) + Sync) -> Result<(Serving, Recovered), RaidaError> {
    let (coins, recovered) = open(config, progress)?;
    let path = config.data.join("Keys");
    let keys = Keys::open(&path, config.keys()).map_err(|error| RaidaError::Folder { path, error })?;
    let own = OwnCoins::new(&config.data.join("coins"), config.coin_id);
    let node = Node::new(config.node(), coins, keys, own, wall_time().as_unix());
    let serving = Serving::start(node, config.listen, config.listening())
        .map_err(|error| RaidaError::Listen { address: config.listen, error })?;
    Ok((serving, recovered))
}
