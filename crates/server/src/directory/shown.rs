//! What everybody is shown: a durable epoch, under a signed checkpoint.

use std::sync::Arc;

use undertone_keys::WallTime;
use undertone_keys::sign::{Server, SigningKey};
use undertone_transparency::checkpoint::{Checkpoint, SignedCheckpoint};
use undertone_transparency::directory::Digest;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{self, Hash, Subtrees};
use undertone_transparency::note::KeyName;

use super::snapshot::Snapshot;
use super::storage::{LogLeaf, StorageError};

/// A state of the directory that may be shown: all of it is durable and signed.
#[derive(Debug)]
pub struct Shown {
    /// The newest leaf of the log. It names the epoch of every proof that goes with this state.
    pub leaf: Leaf,
    /// Where the leaf is in the log.
    pub inclusion: LeafProof,
    /// The log's checkpoint, signed by the log alone.
    pub checkpoint: SignedCheckpoint,
    /// The tree in memory, where there is room for it.
    pub(super) tree: Option<Arc<Snapshot>>,
}

/// That a leaf is in the log (rule KT-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafProof {
    /// The bytes of the leaf.
    pub entry: Vec<u8>,
    /// Its place.
    pub index: u64,
    /// The leaves of the log.
    pub size: u64,
    /// The proof (RFC 6962, 2.1.1), lowest level first.
    pub proof: Vec<Hash>,
}

impl Shown {
    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.leaf.epoch
    }

    /// The root hash of its tree.
    #[must_use]
    pub const fn root(&self) -> &Digest {
        &self.leaf.root
    }

    /// The leaves of the log.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.inclusion.size
    }

    /// When its newest leaf was made.
    #[must_use]
    pub const fn time(&self) -> WallTime {
        self.leaf.time
    }

    /// Whether its tree is in memory, where proofs are made faster.
    #[must_use]
    pub const fn is_in_memory(&self) -> bool {
        self.tree.is_some()
    }

    /// Works out what a log with this newest leaf shows. `tree` has the leaf's own subtrees already.
    pub(super) fn work_out<S: Subtrees<Error = StorageError>>(
        leaf: Leaf,
        index: u64,
        tree: &S,
    ) -> Result<Unsigned, StorageError> {
        let size = index.checked_add(1).ok_or(StorageError::Damaged)?;
        let (root, proof) = (log::root(size, tree)?, log::prove_inclusion(index, size, tree)?);
        Ok(Unsigned { leaf, root, inclusion: LeafProof { entry: leaf.to_bytes(), index, size, proof } })
    }
}

/// A state that may not be shown yet.
#[derive(Debug)]
pub(super) struct Unsigned {
    leaf: Leaf,
    root: Hash,
    inclusion: LeafProof,
}

impl Unsigned {
    /// Signs what has become durable. It gives the same bytes each time (RFC 8032), so a start may repeat it.
    pub(super) fn sign(self, origin: &KeyName, key: &SigningKey<Server>, tree: Option<Arc<Snapshot>>) -> Shown {
        let Self { leaf, root, inclusion } = self;
        let checkpoint = Checkpoint { origin: origin.clone(), size: inclusion.size, root }.sign(key);
        Shown { leaf, inclusion, checkpoint, tree }
    }
}

/// The log with a leaf that is not stored yet.
#[derive(Debug)]
pub(super) struct WithLeaf<'a, S> {
    pub(super) stored: &'a S,
    pub(super) leaf: &'a LogLeaf,
}

impl<S: Subtrees<Error = StorageError>> Subtrees for WithLeaf<'_, S> {
    type Error = StorageError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, StorageError> {
        let new = self.leaf.subtrees.iter().find(|(l, i, _)| (*l, *i) == (level, index));
        new.map_or_else(|| self.stored.subtree(level, index), |(_, _, hash)| Ok(*hash))
    }
}
