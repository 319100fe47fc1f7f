//! What an operator of a node may set, in a TOML file or on the command line.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use undertone_raida::frame::ReplyStream;
use undertone_raida::header::NodeName;
use undertone_raida::node::coins::{Blank, CoinOptions, Disk};
use undertone_raida::node::serve::ListenOptions;
use undertone_raida::node::{AddressLimit, KeyOptions, NodeOptions, Profile, REMEMBERED};

use super::RaidaError;

/// A node's configuration. Every field has a default that works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaidaConfig {
    /// Which of the 25 nodes it is: 0 to 24.
    pub raida: u8,
    /// The kind of coins that it keeps.
    pub coin_id: u16,
    /// Where everything is kept: `Data` (coins), `Keys` (posted keys), `coins` (its own coins).
    pub data: PathBuf,
    /// One port, TCP and UDP.
    pub listen: SocketAddr,
    /// How much it asks before it does something.
    pub profile: RaidaProfile,
    /// Where the keystream of replies begins: `continue` with the profile `strict`, which takes nothing else, and `restart`, as the documents
    /// have it, with `compat` where it is not said.
    pub keystream: Option<Keystream>,
    /// Pages of coins in memory, 17 KiB each.
    pub cache_pages: NonZeroUsize,
    /// Seconds between the times that changed pages are written back.
    pub write_back: NonZeroU64,
    /// Items of command 45 that are taken at once (strict).
    pub items: NonZeroUsize,
    /// Encrypted requests that are remembered for five and a half minutes, so that none is done twice (strict). Beyond that, and for more than
    /// 1,024 of one coin, the answer is to wait.
    pub remembered: NonZeroUsize,
    /// Requests that one address, or network of IPv6, may make in a second in the long run (strict); 0 for as many as come.
    pub per_address: u32,
    /// And at once.
    pub burst: NonZeroU32,
    /// Connections at once.
    pub connections: NonZeroUsize,
    /// Connections of one address at once.
    pub connections_of_one_address: NonZeroUsize,
    /// Seconds within which a connection's request has to be there.
    pub patience: NonZeroU64,
    /// Threads that read datagrams.
    pub readers: NonZeroUsize,
    /// Threads that wait for what the disk reads, and as many for what it writes.
    pub workers: NonZeroUsize,
    /// What bounds the posted keys.
    pub keys: RaidaKeys,
}

/// The two profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RaidaProfile {
    /// Every path that the documents leave open is closed.
    #[default]
    Strict,
    /// What the documents say, to the byte: anybody can take coins over.
    Compat,
}

/// Where the keystream of a reply begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keystream {
    /// Behind the request's.
    Continue,
    /// At the request's beginning: gives coins' keys away to who listens.
    Restart,
}

/// What bounds the posted keys.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaidaKeys {
    /// Keys of one coin.
    pub per_owner: NonZeroU32,
    /// Keys of all.
    pub total: NonZeroUsize,
    /// Seconds that a key is kept; 0 for ever.
    pub life: u64,
    /// A key that was fetched is removed.
    pub one_shot: bool,
    /// Keys in memory.
    pub cached: NonZeroUsize,
}

const fn nonzero(number: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(number - 1)
}

impl Default for RaidaConfig {
    fn default() -> Self {
        let ListenOptions { readers, workers, connections, of_one_address, patience, write_back } =
            ListenOptions::default();
        Self {
            raida: 0,
            coin_id: 6,
            data: PathBuf::from("undertone-raida"),
            listen: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            profile: RaidaProfile::default(),
            keystream: None,
            cache_pages: nonzero(1_000),
            write_back: NonZeroU64::new(write_back.as_secs()).unwrap_or(NonZeroU64::MIN),
            items: nonzero(64),
            remembered: nonzero(REMEMBERED),
            per_address: AddressLimit::USUAL.per_second,
            burst: NonZeroU32::MIN.saturating_add(AddressLimit::USUAL.burst - 1),
            connections: nonzero(connections),
            connections_of_one_address: nonzero(of_one_address),
            patience: NonZeroU64::new(patience.as_secs()).unwrap_or(NonZeroU64::MIN),
            readers: nonzero(readers),
            workers: nonzero(workers),
            keys: RaidaKeys::default(),
        }
    }
}

impl Default for RaidaKeys {
    fn default() -> Self {
        Self {
            per_owner: NonZeroU32::MIN.saturating_add(255),
            total: nonzero(100_000),
            life: 30 * 86_400,
            one_shot: false,
            cached: nonzero(10_000),
        }
    }
}

impl RaidaConfig {
    /// Whether it says what can be.
    ///
    /// # Errors
    /// [`RaidaError::Config`].
    pub fn check(&self) -> Result<(), RaidaError> {
        if self.raida > 24 {
            return Err(RaidaError::Config("`raida` is a node's number, 0 to 24"));
        }
        if self.profile == RaidaProfile::Strict && self.keystream == Some(Keystream::Restart) {
            return Err(RaidaError::Config(
                "`keystream = \"restart\"` gives coins' keys to whoever listens: it goes with `profile = \"compat\"` alone",
            ));
        }
        Ok(())
    }

    const fn is_strict(&self) -> bool {
        matches!(self.profile, RaidaProfile::Strict)
    }

    pub(super) const fn node(&self) -> NodeOptions {
        let stream = match self.keystream {
            Some(Keystream::Continue) => ReplyStream::Continue,
            Some(Keystream::Restart) | None => ReplyStream::Restart,
        };
        NodeOptions {
            name: NodeName { raida: self.raida, coin_id: self.coin_id },
            profile: if self.is_strict() { Profile::Strict } else { Profile::Compat(stream) },
            items: self.items.get(),
            remembered: self.remembered.get(),
            addresses: AddressLimit { per_second: self.per_address, burst: self.burst.get() },
        }
    }

    pub(super) const fn coins(&self) -> CoinOptions {
        let blank = if self.is_strict() { Blank::Drawn } else { Blank::Original };
        CoinOptions { pages: self.cache_pages, blank, disk: Disk::new(!self.is_strict()) }
    }

    pub(super) const fn keys(&self) -> KeyOptions {
        let RaidaKeys { per_owner, total, life, one_shot, cached } = self.keys;
        KeyOptions {
            shared: !self.is_strict(),
            per_owner: per_owner.get(),
            total: total.get(),
            life: if life == 0 { None } else { Some(life) },
            one_shot,
            cached,
        }
    }

    pub(super) const fn listening(&self) -> ListenOptions {
        ListenOptions {
            readers: self.readers.get(),
            workers: self.workers.get(),
            connections: self.connections.get(),
            of_one_address: self.connections_of_one_address.get(),
            patience: Duration::from_secs(self.patience.get()),
            write_back: Duration::from_secs(self.write_back.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_2_a_strict_node_does_not_restart_its_keystream() {
        let config = |text: &str| toml::from_str::<RaidaConfig>(text).unwrap();
        assert!(config("").check().is_ok());
        assert!(config("").node().profile.is_strict());
        assert!(config("keystream = \"restart\"").check().is_err());
        let compat = config("profile = \"compat\"\nkeystream = \"restart\"\nraida = 24");
        assert!(compat.check().is_ok());
        assert_eq!(compat.node().profile, Profile::Compat(ReplyStream::Restart));
        assert_eq!(config("profile = \"compat\"").node().profile, Profile::Compat(ReplyStream::Restart));
        assert!(config("raida = 25").check().is_err());
        assert!(toml::from_str::<RaidaConfig>("cache_pages = 0").is_err());
        assert!(toml::from_str::<RaidaConfig>("cach_pages = 1").is_err());
    }
}
