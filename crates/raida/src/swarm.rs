//! A swarm: up to 25 nodes of different operators, and how many of them make a secret.
//!
//! Two people who have the same description of a swarm can use it together. It is a file, without secrets:
//!
//! ```
//! # use undertone_raida::swarm::Swarm;
//! let swarm = Swarm::read(r#"
//!     name = "6c1f0e3b5a7d49288f1e2d3c4b5a6978"
//!     coin_id = 6
//!     threshold = 2
//!
//!     [[node]]
//!     raida = 0
//!     address = "192.0.2.1:50000"
//!     coin = "00.1"
//!     operator = "the library"
//!
//!     [[node]]
//!     raida = 1
//!     address = "[2001:db8::1]:50001"
//!     coin = "00.2"
//!
//!     [[node]]
//!     raida = 7
//!     address = "198.51.100.7:50007"
//!     coin = "00.8"
//! "#).unwrap();
//! assert_eq!((swarm.threshold(), swarm.nodes().len()), (2, 3));
//! ```

use core::fmt;
use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use undertone_keys::digest::labelled_sha256;

use crate::coin::Coin;
use crate::coin_file::NODES;
use crate::labels;

/// Bytes of a description at most.
pub const LONGEST: usize = 64 << 10;
/// Characters of an operator's name at most.
const OPERATOR: usize = 64;

/// What two people compare: SHA-256 over everything of a swarm but where its nodes are reached, which may differ from one network to
/// another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct SwarmId(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

impl fmt::Display for SwarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(16).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SwarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwarmId({self})")
    }
}

/// Drawn when a swarm is set up, so that no two are alike: their nodes' numbers and coins mostly are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmName(pub [u8; 16]);

impl SwarmName {
    /// Drawn anew.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        let mut name = [0; 16];
        rng.fill_bytes(&mut name);
        Self(name)
    }

    fn read(text: &str) -> Option<Self> {
        let mut name = [0; 16];
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        if digits.len() != name.len() || !rest.is_empty() {
            return None;
        }
        for (byte, digits) in name.iter_mut().zip(digits) {
            let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? << 4 | low?).ok()?;
        }
        Some(Self(name))
    }
}

impl fmt::Display for SwarmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One node as its clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmNode {
    /// Its number, 0 to 24.
    pub raida: u8,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Its own coin, whose keys on the other nodes open tickets.
    pub coin: Coin,
    /// Who runs it, for people.
    pub operator: Option<String>,
}

/// A swarm's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    name: SwarmName,
    coin_id: u16,
    threshold: u8,
    nodes: Vec<SwarmNode>,
}

/// Why a description is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// Not the fields of one.
    #[error("the description of a swarm cannot be read: {0}")]
    Format(String),
    /// Too few nodes, or too many.
    #[error("a swarm has 2 to 25 nodes, and this one has {0}")]
    Nodes(usize),
    /// A number that no node has, or that two have.
    #[error("node {0}: a node's number is 0 to 24, and one node's alone")]
    Number(u8),
    /// Two nodes with one address or one coin.
    #[error("nodes {0} and {1} have one address or one coin: one operator's failure would be two")]
    Twice(u8, u8),
    /// The threshold.
    #[error("the threshold is {0}, and should be 2 to the number of nodes")]
    Threshold(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    coin_id: u16,
    threshold: u8,
    node: Vec<FileNode>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNode {
    raida: u8,
    address: SocketAddr,
    coin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
}

impl Swarm {
    /// How many of `nodes` make a secret where nobody says otherwise: about two thirds, of 25 nodes 17.
    #[must_use]
    pub const fn usual_threshold(nodes: u8) -> u8 {
        // As many may lie or be gone as are left of the others: n - (n - 1) / 3, so that 8 of 25 may.
        nodes.saturating_sub(nodes.saturating_sub(1) / 3)
    }

    /// Nodes in the order of their numbers.
    ///
    /// # Errors
    /// [`SwarmError`].
    pub fn new(name: SwarmName, coin_id: u16, threshold: u8, mut nodes: Vec<SwarmNode>) -> Result<Self, SwarmError> {
        if !(2..=NODES).contains(&nodes.len()) {
            return Err(SwarmError::Nodes(nodes.len()));
        }
        nodes.sort_by_key(|node| node.raida);
        for (at, node) in nodes.iter().enumerate() {
            let before = nodes.get(..at).unwrap_or_default();
            if usize::from(node.raida) >= NODES || before.iter().any(|other| other.raida == node.raida) {
                return Err(SwarmError::Number(node.raida));
            }
            if let Some(other) = before.iter().find(|other| other.address == node.address || other.coin == node.coin) {
                return Err(SwarmError::Twice(other.raida, node.raida));
            }
        }
        if threshold < 2 || usize::from(threshold) > nodes.len() {
            return Err(SwarmError::Threshold(threshold));
        }
        Ok(Self { name, coin_id, threshold, nodes })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`SwarmError`].
    pub fn read(text: &str) -> Result<Self, SwarmError> {
        if text.len() > LONGEST {
            return Err(SwarmError::Format("it is too long".to_owned()));
        }
        let file: File = toml::from_str(text).map_err(|error| SwarmError::Format(error.to_string()))?;
        let node = |node: FileNode| {
            let coin: Coin =
                node.coin.parse().map_err(|error| SwarmError::Format(format!("{}: {error}", node.coin)))?;
            let named = |name: &String| name.chars().count() <= OPERATOR && !name.chars().any(char::is_control);
            if coin.named().is_none() || !node.operator.as_ref().is_none_or(named) {
                return Err(SwarmError::Format(format!("node {}: its coin or its operator's name", node.raida)));
            }
            Ok(SwarmNode { raida: node.raida, address: node.address, coin, operator: node.operator })
        };
        let nodes = file.node.into_iter().map(node).collect::<Result<_, _>>()?;
        let name = SwarmName::read(&file.name);
        let name = name.ok_or_else(|| SwarmError::Format("its name is not 32 hex digits".to_owned()))?;
        Self::new(name, file.coin_id, file.threshold, nodes)
    }

    /// Writes a file.
    #[must_use]
    pub fn write(&self) -> String {
        let node = |node: &SwarmNode| FileNode {
            raida: node.raida,
            address: node.address,
            coin: node.coin.to_string(),
            operator: node.operator.clone(),
        };
        let node = self.nodes.iter().map(node).collect();
        // Numbers and short strings: there is nothing that could not be written.
        toml::to_string(&File { name: self.name.to_string(), coin_id: self.coin_id, threshold: self.threshold, node })
            .unwrap_or_default()
    }

    /// What two people compare.
    #[must_use]
    pub fn id(&self) -> SwarmId {
        let mut text = Vec::with_capacity(20 + 6 * self.nodes.len());
        text.extend_from_slice(&self.name.0);
        text.extend_from_slice(&self.coin_id.to_be_bytes());
        text.push(self.threshold);
        for node in &self.nodes {
            text.push(node.raida);
            text.extend_from_slice(&node.coin.named().to_bytes());
        }
        SwarmId(labelled_sha256(labels::SWARM, &[&text]))
    }

    /// What it was named when it was set up.
    #[must_use]
    pub const fn name(&self) -> SwarmName {
        self.name
    }

    /// The kind of coins that its nodes keep.
    #[must_use]
    pub const fn coin_id(&self) -> u16 {
        self.coin_id
    }

    /// How many nodes make a secret: one fewer learn nothing.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Its nodes, in the order of their numbers.
    #[must_use]
    pub fn nodes(&self) -> &[SwarmNode] {
        &self.nodes
    }

    /// The node with that number.
    #[must_use]
    pub fn node(&self, raida: u8) -> Option<&SwarmNode> {
        self.nodes.iter().find(|node| node.raida == raida)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coin::Denomination;

    const NAME: SwarmName = SwarmName([0xab; 16]);

    fn node(raida: u8) -> SwarmNode {
        let coin = Coin::new(Denomination::new(0).unwrap(), u32::from(raida) + 1).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 50_000 + u16::from(raida)));
        SwarmNode { raida, address, coin, operator: None }
    }

    fn nodes() -> Vec<SwarmNode> {
        (0..25).rev().map(node).collect()
    }

    #[test]
    fn rkx_5_a_swarm_is_read_as_it_was_written() {
        let swarm = Swarm::new(NAME, 6, 17, nodes()).unwrap();
        assert_eq!(Swarm::read(&swarm.write()), Ok(swarm.clone()));
        assert_eq!(swarm.nodes()[24].raida, 24);
        assert_eq!(Swarm::usual_threshold(25), 17);
        assert_eq!((2..6).map(Swarm::usual_threshold).collect::<Vec<_>>(), [2, 3, 3, 4]);
        // Addresses are not what people have to agree on; everything else is.
        let mut moved = nodes();
        moved[3].address = SocketAddr::from(([192, 0, 2, 1], 1));
        assert_eq!(Swarm::new(NAME, 6, 17, moved).unwrap().id(), swarm.id());
        let mut coin = nodes();
        coin[3].coin = "01.77".parse().unwrap();
        let others = [
            Swarm::new(SwarmName([0; 16]), 6, 17, nodes()),
            Swarm::new(NAME, 6, 17, coin),
            Swarm::new(NAME, 7, 17, nodes()),
            Swarm::new(NAME, 6, 16, nodes()),
        ];
        assert!(others.into_iter().all(|other| other.unwrap().id() != swarm.id()));
    }

    #[test]
    fn rkx_5_what_is_no_swarm_is_refused() {
        let with = |change: fn(&mut Vec<SwarmNode>)| {
            let mut nodes = nodes();
            change(&mut nodes);
            Swarm::new(NAME, 6, 17, nodes).err()
        };
        assert_eq!(with(|nodes| nodes.truncate(1)), Some(SwarmError::Nodes(1)));
        assert_eq!(with(|nodes| nodes[0].raida = 25), Some(SwarmError::Number(25)));
        assert_eq!(with(|nodes| nodes[0].raida = 3), Some(SwarmError::Number(3)));
        assert_eq!(with(|nodes| nodes[1].address = nodes[0].address), Some(SwarmError::Twice(23, 24)));
        assert_eq!(with(|nodes| nodes[1].coin = nodes[0].coin), Some(SwarmError::Twice(23, 24)));
        assert_eq!(with(|nodes| nodes.truncate(16)), Some(SwarmError::Threshold(17)));
        assert_eq!(Swarm::new(NAME, 6, 1, nodes()).err(), Some(SwarmError::Threshold(1)));
        let text = Swarm::new(NAME, 6, 17, nodes()).unwrap().write();
        for (from, to) in [
            ("00.1\"", "00.0\""),
            ("00.1\"", "1\""),
            ("coin_id", "coin"),
            ("abab", "ab"),
            ("abab", "xbab"),
            ("127.0.0.1:50000", "nowhere"),
        ] {
            assert!(matches!(Swarm::read(&text.replace(from, to)), Err(SwarmError::Format(_))), "{from}");
        }
        assert!(Swarm::read(&"#".repeat(LONGEST + 1)).is_err());
    }
}
