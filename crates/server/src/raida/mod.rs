//! A RAIDA node beside the server, or alone: its configuration, its start, and what an operator does with its coins.

mod coins;
mod config;
pub mod doctor;
mod swarm;

pub use coins::{Checked, Created, check, create, import};
pub use config::{Keystream, RaidaConfig, RaidaKeys, RaidaProfile};
pub use swarm::{MOST_WALLETS, SwarmConfig, SwarmServing};

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
    /// A folder that this process may not write.
    #[error(
        "{path}: the node must be able to write there; give it to the user that the node runs as, or name another folder with --data"
    )]
    Closed {
        /// Which file or folder.
        path: std::path::PathBuf,
    },
    /// The folder of posted keys.
    #[error("{path}: {error}")]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The description of a swarm.
    #[error("{0}")]
    Swarm(String),
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
    let folder = config.data.join("Data");
    let new = !folder.exists();
    let opened = Coins::open(&folder, config.coins(), &mut UnwrapErr(SysRng), progress);
    let opened = opened.map_err(|error| match error {
        StoreError::Io { path, error } => folder_error(path, error),
        other => other.into(),
    })?;
    if new {
        let path = unserved(config);
        std::fs::write(&path, []).map_err(|error| folder_error(path, error))?;
    }
    Ok(opened)
}

fn folder_error(path: std::path::PathBuf, error: std::io::Error) -> RaidaError {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => RaidaError::Closed { path },
        _ => RaidaError::Folder { path, error },
    }
}

/// Starts a node.
///
/// # Errors
/// [`RaidaError`].
pub fn serve(config: &RaidaConfig, progress: impl Fn(Progress) + Sync) -> Result<(Serving, Recovered), RaidaError> {
    let (coins, recovered) = open(config, progress)?;
    Ok((serve_opened(config, coins)?, recovered))
}

fn serve_opened(config: &RaidaConfig, coins: Coins) -> Result<Serving, RaidaError> {
    let path = config.data.join("Keys");
    let keys = Keys::open(&path, config.keys()).map_err(|error| folder_error(path, error))?;
    let own = OwnCoins::new(&config.data.join("coins"), config.coin_id);
    let node = Node::new(config.node(), coins, keys, own, since(config)?);
    Serving::start(node, config.listen, config.listening())
        .map_err(|error| RaidaError::Listen { address: config.listen, error })
}

/// The file that says of a folder that its node has never answered anything.
fn unserved(config: &RaidaConfig) -> std::path::PathBuf {
    config.data.join("unserved")
}

/// A node's coins come from one that was served.
///
/// # Errors
/// [`RaidaError::Folder`].
pub fn was_served(config: &RaidaConfig) -> Result<(), RaidaError> {
    since(config).map(|_| ())
}

/// From when on a node has answered requests, in seconds since 1970. One that was never served has answered none that could come again, so that
/// it need not wait for them to be too old. From here on it was.
fn since(config: &RaidaConfig) -> Result<u64, RaidaError> {
    let path = unserved(config);
    let end = || -> std::io::Result<u64> {
        match std::fs::remove_file(&path) {
            Ok(()) => {
                std::fs::File::open(&config.data)?.sync_all()?;
                Ok(0)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(wall_time().as_unix()),
            Err(error) => Err(error),
        }
    };
    end().map_err(|error| RaidaError::Folder { path: path.clone(), error })
}
