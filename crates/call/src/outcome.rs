//! How calls end (rule CALL-3).

use minicbor::{Decode, Encode};

/// The end of a call, as both sides may see it. Each is distinct to people and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Outcome {
    /// It was answered, and somebody hung up.
    #[n(1)]
    Ended,
    /// The callee declined.
    #[n(2)]
    Declined,
    /// All of the callee's devices are in another call.
    #[n(3)]
    Busy,
    /// The caller gave up while it rang.
    #[n(4)]
    Cancelled,
    /// Nobody answered in time.
    #[n(5)]
    NoAnswer,
    /// None of the callee's devices is connected.
    #[n(6)]
    Offline,
    /// The peer was there and is not any more.
    #[n(7)]
    PeerVanished,
    /// Something that should have been proven was not.
    #[n(8)]
    RefusedByProof,
    /// The local policy of one side does not allow it.
    #[n(9)]
    RefusedByPolicy,
    /// Another of the callee's devices answered.
    #[n(10)]
    Taken,
    /// Of a room: somebody who may took this device's user off its list. Never said by a peer.
    #[n(11)]
    Removed,
    /// Of a room: the device that holds its keys is gone. Never said by a peer.
    #[n(12)]
    HostGone,
    /// The quorum secret that was to be mixed in did not come together, or one side does not use that swarm (rule RKX-5).
    #[n(13)]
    NoQuorum,
}

impl Outcome {
    /// The word for JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Declined => "declined",
            Self::Busy => "busy",
            Self::Cancelled => "cancelled",
            Self::NoAnswer => "no_answer",
            Self::Offline => "offline",
            Self::PeerVanished => "peer_vanished",
            Self::RefusedByProof => "refused_by_proof",
            Self::RefusedByPolicy => "refused_by_policy",
            Self::Taken => "taken",
            Self::Removed => "removed",
            Self::HostGone => "host_gone",
            Self::NoQuorum => "no_quorum",
        }
    }
}
