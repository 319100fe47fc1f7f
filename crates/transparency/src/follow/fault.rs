//! What a log can do wrong in the eyes of somebody who reads all of it.

use crate::checkpoint::{CheckpointError, NotFollowing};
use crate::directory::AppendOnlyError;
use crate::leaf::LeafOrder;
use crate::log::{BadEntries, BadTile};

use super::evidence::Evidence;
use super::resource::Resource;

/// Why a checkpoint is not taken: a witness does not cosign it, an audit ends with it. Each names the rule and the values;
/// [`Evidence::convicts`] tells which of them are the log's own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// KT-1: not a checkpoint of this log, signed by its key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// KT-4: the log went back, shows another tree, or does not begin with what was seen of it.
    #[error(transparent)]
    Log(#[from] NotFollowing),
    /// KT-4: a tile that came is not the one of the checkpoint's tree. The tiles at the right edge are verified
    /// together, and the last of them is named.
    #[error("{resource} is not what the checkpoint of {size} leaves stands for: {why}")]
    Tile {
        /// What was asked for.
        resource: Resource,
        /// Leaves of the checkpoint.
        size: u64,
        /// What is wrong with it.
        why: BadTile,
    },
    /// KT-3: entries that came are not those of the checkpoint's tree.
    #[error("{resource} is not what the checkpoint of {size} leaves stands for: {why}")]
    Entries {
        /// What was asked for.
        resource: Resource,
        /// Leaves of the checkpoint.
        size: u64,
        /// What is wrong with it.
        why: BadEntries,
    },
    /// KT-3: an entry of the log is no leaf of a key directory.
    #[error("entry {index} of the log is no leaf of a key directory")]
    Leaf {
        /// Its place, from 0 on.
        index: u64,
    },
    /// KT-3: the log does not begin with the directory's first epoch.
    #[error("the log begins with epoch {epoch}, not with 1")]
    First {
        /// The epoch of its first leaf.
        epoch: u64,
    },
    /// KT-3, KT-8, KT-14: a leaf that cannot stand behind the one before it.
    #[error("leaf {index} of the log: {why}")]
    Order {
        /// The place of the later leaf.
        index: u64,
        /// What is wrong with it.
        why: LeafOrder,
    },
    /// KT-12: the proof for an epoch cannot be read.
    #[error("the proof that epoch {epoch} only added is malformed")]
    Proof {
        /// Which epoch.
        epoch: u64,
    },
    /// KT-12: an epoch is not shown to have only added to the one before.
    #[error("epoch {epoch} is not shown to have only added: {why}")]
    Audit {
        /// Which epoch.
        epoch: u64,
        /// What is wrong with the proof, or with the epoch.
        why: AppendOnlyError,
    },
    /// KT-12, for witnesses alone: a cosignature of this witness that it does not know of. Its folder was lost, set back or copied, or its
    /// key is used twice; what else was cosigned with it, nobody knows.
    #[error(
        "the log has a cosignature of this witness for {size} leaves that the witness does not remember: make a new key"
    )]
    Forgotten {
        /// Leaves of the checkpoint.
        size: u64,
    },
}

impl Fault {
    /// The rule that is broken.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "KT-1",
            Self::Log(_) | Self::Tile { .. } => "KT-4",
            Self::Order { why, .. } => why.rule(),
            Self::Entries { .. } | Self::Leaf { .. } | Self::First { .. } => "KT-3",
            Self::Proof { .. } | Self::Audit { .. } | Self::Forgotten { .. } => "KT-12",
        }
    }
}

/// A fault, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", fault.rule())]
pub struct Accused {
    /// What the log did wrong.
    pub fault: Fault,
    /// What a third party needs to see it.
    pub evidence: Box<Evidence>,
}

impl Accused {
    /// Whether nothing may be cosigned any more until a person has looked at it: the log is convicted, or the witness
    /// has forgotten what it cosigned.
    #[must_use]
    pub fn ends_cosigning(&self) -> bool {
        matches!(self.fault, Fault::Forgotten { .. }) || self.evidence.convicts()
    }
}
