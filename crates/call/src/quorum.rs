//! The quorum secret of a call (rules RKX-5, NEG-1), as far as the call machine knows it: whoever carries out [`Exchange`]s has the swarm,
//! its coins and its nodes; here there are bytes that travel in invite and answer, and a secret.

use undertone_keys::quorum::QuorumSecret;

/// Bytes of what one side says to the other about a quorum secret, at most.
pub const LONGEST: usize = 1_024;

/// What has to be done with a swarm for a call.
pub enum Exchange {
    /// The callee's: draw a secret and leave its shares for the caller.
    Give {
        /// What the caller says of the swarm and of itself.
        offer: Vec<u8>,
    },
    /// A room member's: leave shares of this secret for whoever asks.
    Share {
        /// What the asker says of the swarm and of itself.
        offer: Vec<u8>,
        /// The secret of the room's group.
        secret: QuorumSecret,
    },
    /// The caller's or the asker's: put the secret together.
    Take {
        /// What the other says of where its shares are.
        set: Vec<u8>,
    },
}

impl core::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Give { .. } => "Give",
            Self::Share { .. } => "Share",
            Self::Take { .. } => "Take",
        })
    }
}

/// What an exchange brought.
pub struct Exchanged {
    /// The secret, which is mixed into the call's key or the room's group.
    pub secret: QuorumSecret,
    /// For the other side, where the shares are; empty where the secret was taken.
    pub set: Vec<u8>,
    /// Over which nodes.
    pub nodes: QuorumNodes,
}

impl core::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Exchanged({:?})", self.nodes)
    }
}

/// How many nodes a secret came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuorumNodes {
    /// So many nodes make the secret; one fewer learn nothing.
    pub threshold: u8,
    /// Of so many.
    pub nodes: u8,
    /// So many did what they should.
    pub good: u8,
}

/// Why there is no secret: the shell has said so to people, with the names of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NoQuorum;
