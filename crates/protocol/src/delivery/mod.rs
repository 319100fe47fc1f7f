//! The delivery service for the MLS group of a room's call (RFC 9420; rules RLY-6, MLS-1 to MLS-4, EKR-7).
//!
//! A call has one group, whose id is the 16 bytes of the call's id. The server keeps its epochs in order: of all commits to one
//! epoch it takes the first and gives the others that one to rebase on. What is in a commit it cannot read: it sees the fields of
//! [`frame`], and of the ratchet tree a list of opaque nodes ([`tree`]), of which a commit says what changes ([`patch`]).
//!
//! | a device says | and is answered | everybody else who follows |
//! | --- | --- | --- |
//! | [`GroupRequest::Follow`] | [`GroupNews::State`], its [`GroupNews::Welcome`], [`GroupNews::Commit`]s it lacks | - |
//! | [`GroupRequest::Create`] | [`GroupNews::Accepted`] | [`GroupNews::Opened`] |
//! | [`GroupRequest::Commit`] | [`GroupNews::Accepted`] | [`GroupNews::Commit`], [`GroupNews::Welcome`] |
//! | the same, too late | [`GroupNews::Refused`] and the [`GroupNews::Commit`] that was first | - |
//! | [`GroupRequest::Attest`], [`GroupRequest::Unfollow`] | - | - |
//! | [`GroupRequest::Reject`] | - | [`GroupNews::GivenBack`], once enough have said so; whoever said it is told as well |
//! | [`GroupRequest::Withdraw`] | - | [`GroupNews::Withdrawn`], once enough have said so; whoever said it is told as well |
//! | [`GroupRequest::Info`] | [`GroupNews::Info`] | - |
//! | [`GroupRequest::Reinform`] | [`GroupNews::Accepted`] | - |
//!
//! News may come twice, and out of a slow device's queue they may be lost: a device that sees a gap follows again.

pub mod frame;
pub mod hash;
pub mod patch;
pub mod testing;
pub mod tree;

mod reader;
mod shared;

use minicbor::{Decode, Encode};
use undertone_keys::CallId;
use undertone_keys::envelope::Address;

pub use frame::{CommitFrame, EpochDigest, FrameError, InfoFrame, epoch_digest};
pub use hash::TreeHashes;
pub use patch::{NodePatch, TreePatch};
pub use shared::Opaque;
pub use tree::{Node, Tree, TreeError};

/// The id of the MLS group of a call.
#[must_use]
pub const fn group_id(call: &CallId) -> &[u8; 16] {
    call.as_bytes()
}

/// What a device wants of a call's group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum GroupRequest {
    /// Tell me of the group for as long as this connection lasts, and what I lack of it.
    #[n(0)]
    Follow {
        /// The epoch that the device is in, if it is in the group.
        #[n(0)]
        have: Option<u64>,
    },
    /// Tell me no more.
    #[n(1)]
    Unfollow,
    /// Begin the group, at epoch 0 with one member.
    #[n(2)]
    Create {
        /// The first `GroupInfo`, as an MLS message.
        #[cbor(n(0), with = "minicbor::bytes")]
        info: Vec<u8>,
        /// The first tree, from nothing.
        #[n(1)]
        tree: TreePatch,
    },
    /// End an epoch. The same bytes may be sent again by the same device until they are answered.
    #[n(3)]
    Commit {
        /// The epoch that it ends; the message says the same.
        #[n(0)]
        epoch: u64,
        /// The commit, as an MLS message: private, but for one by which somebody comes in.
        #[cbor(n(1), with = "minicbor::bytes")]
        commit: Vec<u8>,
        /// For those who are let in by it.
        #[n(2)]
        welcomes: Vec<Welcoming>,
        /// The `GroupInfo` of the epoch that it opens.
        #[cbor(n(3), with = "minicbor::bytes")]
        info: Vec<u8>,
        /// From the tree of the epoch that it ends to that of the epoch that it opens.
        #[n(4)]
        tree: TreePatch,
    },
    /// What I see of the epoch that I am in. Counted once for each device and epoch.
    #[n(4)]
    Attest {
        /// The epoch.
        #[n(0)]
        epoch: u64,
        /// Its digest, as this member has it.
        #[cbor(n(1), with = "minicbor::bytes")]
        digest: EpochDigest,
    },
    /// What do I need to come in by an external commit? The tree is fetched over HTTPS.
    #[n(5)]
    Info,
    /// The group info that the server has of this epoch is false, as more say than say otherwise: here is another.
    #[n(6)]
    Reinform {
        /// The newest epoch.
        #[n(0)]
        epoch: u64,
        /// Its `GroupInfo`, with the digest that this device attested.
        #[cbor(n(1), with = "minicbor::bytes")]
        info: Vec<u8>,
        /// Its tree, from that of the epoch before.
        #[n(2)]
        tree: TreePatch,
    },
    /// I am in this epoch and cannot take the commit that ended it. Not answered; counted once for each device, until the server starts again.
    #[n(7)]
    Reject {
        /// The epoch that it ended: the one before the newest.
        #[n(0)]
        epoch: u64,
    },
    /// I am outside of the group and cannot come in: what it is at this epoch is not what a group may be. Not answered; counted once for each
    /// device. It means something as long as nobody but whoever began the group has shown to be in it.
    #[n(8)]
    Withdraw {
        /// The newest epoch.
        #[n(0)]
        epoch: u64,
        /// Of which group, as `State` says how it was begun: a word that comes late says nothing about the next one.
        #[cbor(n(1), with = "minicbor::bytes")]
        born: Option<[u8; 32]>,
    },
}

/// A `Welcome`, and who is let in by it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcoming {
    /// The devices: 1 to [`crate::limits::MAX_WELCOMED`] over all Welcomes of a commit.
    #[n(0)]
    pub to: Vec<Address>,
    /// The `Welcome`, as an MLS message, without the tree.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub welcome: Vec<u8>,
}

/// What a device is told of a call's group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum GroupNews {
    /// Where the group is: the answer to [`GroupRequest::Follow`]. The commits that follow it may be fewer than are lacking; who is
    /// not at `epoch` behind them follows again.
    #[n(0)]
    State {
        /// The request's number.
        #[n(0)]
        number: u32,
        /// The oldest epoch whose end is still known: who is in an older one has to come in anew.
        #[n(1)]
        oldest: u64,
        /// The epoch that the group is in, if there is one.
        #[n(2)]
        epoch: Option<u64>,
        /// The newest epoch in which this device has shown to be before this request, where the server knows: one that is in an older has
        /// an old store, and must seal nothing from it (rule STO-3).
        #[n(3)]
        seen: Option<u64>,
        /// SHA-256 of the group info that the group was begun with: a call's next group, after one that was withdrawn, has another.
        #[cbor(n(4), with = "minicbor::bytes")]
        born: Option<[u8; 32]>,
    },
    /// An epoch ended.
    #[n(1)]
    Commit {
        /// The epoch that it ends.
        #[n(0)]
        epoch: u64,
        /// The commit.
        #[n(1)]
        commit: Opaque,
    },
    /// The device is let in.
    #[n(2)]
    Welcome {
        /// The epoch that it comes into.
        #[n(0)]
        epoch: u64,
        /// The `Welcome`.
        #[n(1)]
        welcome: Opaque,
    },
    /// It is done, and durable.
    #[n(3)]
    Accepted {
        /// The request's number.
        #[n(0)]
        number: u32,
        /// The epoch that the request opened, or was about.
        #[n(1)]
        epoch: u64,
    },
    /// It is not done.
    #[n(4)]
    Refused {
        /// The request's number.
        #[n(0)]
        number: u32,
        /// Why not.
        #[n(1)]
        why: Denied,
        /// Milliseconds after which the same request can be sent again, for [`Denied::Later`]; else 0.
        #[n(2)]
        after_ms: u32,
    },
    /// What is needed to come in.
    #[n(5)]
    Info {
        /// The request's number.
        #[n(0)]
        number: u32,
        /// The newest epoch.
        #[n(1)]
        epoch: u64,
        /// Of how many people a device attested the group info, the one who brought it among them.
        #[n(2)]
        attested: u32,
        /// Of how many people a device attested something else.
        #[n(3)]
        disputed: u32,
        /// Its `GroupInfo`.
        #[n(4)]
        info: Opaque,
    },
    /// Somebody began the group: it is at epoch 0.
    #[n(6)]
    Opened,
    /// The commit that ended an epoch was one that too many cannot take: the group is in that epoch again, and nothing of the commit, its
    /// `Welcome`s among it, is good for anything.
    #[n(7)]
    GivenBack {
        /// The epoch that the group is in.
        #[n(0)]
        epoch: u64,
        /// The oldest epoch whose end is still known.
        #[n(1)]
        oldest: u64,
        /// SHA-256 of the commit. An answer may overtake news: who has another commit to this epoch than that one has heard of what came
        /// after, and has nothing to take back.
        #[cbor(n(2), with = "minicbor::bytes")]
        commit: [u8; 32],
    },
    /// Too many could not come into the group, and nobody but whoever began it was in it: there is none any more, and another can be begun.
    #[n(8)]
    Withdrawn,
}

/// Why a request about a group is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Denied {
    /// Another commit ended that epoch, or another device began the group. The commit follows, where it is still known.
    #[n(1)]
    Lost,
    /// The group has not come to that epoch.
    #[n(2)]
    Ahead,
    /// That epoch is too long ago.
    #[n(3)]
    Behind,
    /// There is no group yet.
    #[n(4)]
    NoGroup,
    /// The device's user is not on the room's newest access list, or the room is in another call: which of the two, and whether
    /// there is such a room, is not said.
    #[n(5)]
    NotYours,
    /// A part of it is not the message that belongs there.
    #[n(6)]
    Malformed,
    /// A part of it is larger than its limit, or there are too many of them.
    #[n(7)]
    TooLarge,
    /// Too much in too short a time.
    #[n(8)]
    Later,
    /// More people attest something else than the group info at hand.
    #[n(9)]
    Disputed,
    /// Its parts are not of one group, one epoch, one suite and one tree.
    #[n(10)]
    Mismatch,
    /// As many as can follow do, or the device follows as many groups as it can.
    #[n(11)]
    TooMany,
    /// The server cannot do it now.
    #[n(12)]
    Unavailable,
}
