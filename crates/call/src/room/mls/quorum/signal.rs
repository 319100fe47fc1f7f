//! What an asker and a member that has the quorum secret write to each other. The secret is in none of it.

use minicbor::{Decode, Encode};
use undertone_keys::RequestId;

use crate::quorum::LONGEST;

/// A word about the quorum secret of a room's group, in a `KeySignal`.
#[derive(Debug, Encode, Decode)]
#[cbor(flat)]
pub enum QuorumSignal {
    /// To a member: give it to me.
    #[n(0)]
    Ask {
        /// What the asker says of its swarm and of itself.
        #[cbor(n(0), with = "minicbor::bytes")]
        offer: Vec<u8>,
    },
    /// From the member, under the question's id: its shares are at the nodes.
    #[n(1)]
    Given {
        /// Where, and what proves them.
        #[cbor(n(0), with = "minicbor::bytes")]
        set: Vec<u8>,
    },
    /// The same: it cannot give it now.
    #[n(2)]
    None {
        /// It is in the group, and has it.
        #[n(0)]
        inside: bool,
    },
    /// To the member: the asker has the shares, or could not take them; nobody needs them any more.
    #[n(3)]
    Taken {
        /// The question's id.
        #[n(0)]
        ask: RequestId,
    },
}

impl QuorumSignal {
    /// Whether it is no longer than it may be.
    pub(in crate::room) fn is_short(&self) -> bool {
        match self {
            Self::Ask { offer: said } | Self::Given { set: said } => said.len() <= LONGEST,
            Self::None { .. } | Self::Taken { .. } => true,
        }
    }
}
