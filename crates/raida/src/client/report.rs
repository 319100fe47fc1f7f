//! What each node did.

use core::fmt;
use core::time::Duration;

use crate::quorum::ShareFault;
use crate::status::Status;

/// What one node did with what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// What it should, after this time.
    Good(Duration),
    /// Nothing yet when enough others had answered.
    Slow,
    /// Nothing: it is down, or cannot be reached.
    Silent,
    /// No.
    Refused(Status),
    /// A status that there is not.
    Unknown(u8),
    /// Something that is not true.
    Lied(Lie),
    /// It was not asked: the wallet has no key for it that could be used.
    NotAsked,
}

/// How a node was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Its answers are not by somebody who has the coin's key.
    Forged,
    /// Success, without what success brings.
    Malformed,
    /// A key that was posted for another coin.
    AnotherCoin,
    /// Another share than was posted.
    Share(ShareFault),
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forged => f.write_str("its answer is not by a node that has the coin's key"),
            Self::Malformed => f.write_str("it said yes and gave nothing that could be read"),
            Self::AnotherCoin => f.write_str("it gave a key that was posted for another coin"),
            Self::Share(fault) => fault.fmt(f),
        }
    }
}

impl Said {
    /// Whether the node did what it should.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good(_))
    }

    /// One word, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good(_) => "good",
            Self::Slow => "slow",
            Self::Silent => "down",
            Self::Refused(_) | Self::Unknown(_) => "refused",
            Self::Lied(_) => "lied",
            Self::NotAsked => "not_asked",
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(after) => write!(f, "{} ms", after.as_millis()),
            Self::Slow => f.write_str("slow: not waited for"),
            Self::Silent => f.write_str("down: no answer"),
            Self::Refused(status) => write!(f, "refused: {status}"),
            Self::Unknown(byte) => write!(f, "refused, with a status that there is not: {byte}"),
            Self::Lied(lie) => write!(f, "lied, or was changed on the way: {lie}"),
            Self::NotAsked => f.write_str("not asked: the wallet has no key for it that could be used"),
        }
    }
}

/// One node's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Which node.
    pub raida: u8,
    /// What it did.
    pub said: Said,
}

/// What all nodes did, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// A line for each.
    pub nodes: Vec<NodeReport>,
    /// How many it takes.
    pub need: usize,
}

impl Report {
    /// How many did what they should.
    #[must_use]
    pub fn good(&self) -> usize {
        self.nodes.iter().filter(|node| node.said.is_good()).count()
    }

    /// Whether those were enough.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.good() >= self.need
    }

    /// Those that said what is not true.
    pub fn liars(&self) -> impl Iterator<Item = NodeReport> {
        self.nodes.iter().copied().filter(|node| matches!(node.said, Said::Lied(_)))
    }
}
