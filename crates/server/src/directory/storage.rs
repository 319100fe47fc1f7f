//! What the directory needs of a database: a small contract, with SQLite as its first keeper.

use undertone_transparency::log::{Hash, Subtrees};

#[cfg(test)]
pub(crate) mod conformance;

/// A node of the tree as it is stored; `codec` packs and unpacks both halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The packed label.
    pub label: Vec<u8>,
    /// The packed rest.
    pub node: Vec<u8>,
}

/// A version of a user's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Counts from 1.
    pub version: u32,
    /// The epoch that it was published in.
    pub epoch: u64,
    /// The hash of the signed device list.
    pub value: Hash,
    /// Its VRF proofs, where they were made already.
    pub vrf: Option<VrfPair>,
}

/// A VRF proof and the beginning of the place in the tree that it leads to: 96 bytes that no epoch changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VrfProof {
    /// How the label of the leaf begins. The leaf itself has all of it; half is enough to find it, or to find that it is
    /// not there, as no two leaves begin alike: they would among 2^64 of them.
    pub place: [u8; 16],
    /// RFC 9381's pi: gamma 32, c 16, s 32.
    pub proof: [u8; 80],
}

/// The proofs of a version's two leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VrfPair {
    /// The leaf that is there from the version's own epoch on.
    pub fresh: VrfProof,
    /// The leaf that comes with the next version.
    pub stale: VrfProof,
}

/// One step of the directory.
#[derive(Clone, Debug)]
pub struct Batch {
    /// A new epoch; none where the log only says that nothing changed (rule KT-8).
    pub epoch: Option<NewEpoch>,
    /// The leaf of the log.
    pub leaf: LogLeaf,
}

/// A new epoch of the tree.
#[derive(Clone, Debug)]
pub struct NewEpoch {
    /// One more than the newest.
    pub number: u64,
    /// The root hash of its tree.
    pub root: Hash,
    /// Nodes in the tree, as `akd` counts them.
    pub nodes: u64,
    /// The nodes that changed, in their new states.
    pub changed: Vec<NodeRow>,
    /// The new versions, by label. Each is one more than the label's newest.
    pub versions: Vec<(Vec<u8>, Version)>,
    /// The proof that the epoch only added leaves (rule KT-12), as it is served.
    pub audit: Vec<u8>,
}

/// A leaf of the log, and what is complete with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLeaf {
    /// Its place: the size of the log before it.
    pub index: u64,
    /// The bytes of the leaf.
    pub entry: Vec<u8>,
    /// The subtrees that it completes (level, index, hash), its own hash at level 0 among them.
    pub subtrees: Vec<(u8, u64, Hash)>,
}

/// The newest durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest epoch.
    pub epoch: u64,
    /// Its root hash.
    pub root: Hash,
    /// Nodes in its tree.
    pub nodes: u64,
    /// Leaves in the log, one at least.
    pub size: u64,
    /// The newest of them.
    pub leaf: Vec<u8>,
}

/// What a database belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The log's origin line.
    pub origin: String,
    /// SHA-256 of the VRF public key.
    pub vrf_key: Hash,
    /// The log's public key.
    pub log_key: [u8; 32],
}

/// Why the storage did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no room left on the disk, or the file may not grow.
    #[error("there is no room left for the key directory: make some, nothing else has to be done")]
    Full,
    /// What is stored cannot be read, or does not fit together.
    #[error("the key directory's database is damaged: restore it from a backup")]
    Damaged,
    /// The batch is not the next one.
    #[error("the key directory's database has moved on")]
    Conflict,
    /// The file was written by a later version of this program.
    #[error("the key directory's database has format {found}, this server knows {known}: use the later server")]
    Newer {
        /// The file's format.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// The database was made with other keys or for another domain (rule KT-14).
    #[error("the key directory's database was made for another domain or with other keys: put those back")]
    OtherBinding,
    /// The database cannot do it: locked, gone. The number is SQLite's extended error code.
    #[error("the key directory's database failed (code {0})")]
    Failed(i32),
}

/// The contract, which the `conformance` test checks:
/// 1. [`Storage::commit`] is all or nothing, and durable when it returns. When it fails, either nothing of it is there
///    or, where the failure came after the fact, all of it; [`View::head`] tells which.
/// 2. Epochs count from 1 and leaves from 0, both without gaps: a batch that does not come next is a
///    [`StorageError::Conflict`]. So no epoch ever has two roots, and no place of the log two leaves.
/// 3. Nothing of what was committed is ever changed or taken away, but for nodes of the tree, of which the newest state
///    is kept, and for VRF proofs, which can be made again.
/// 4. A view shows one state: all of a batch or nothing, however long it is looked at.
/// 5. There is one writer. Views are taken on any thread, at the same time as a commit.
///
/// Every call blocks. Whoever serves requests makes them on threads that may.
pub trait Storage: Send + Sync + 'static {
    /// A state of the database.
    type View<'a>: View;

    /// Binds a new database, or checks that an old one was bound to the same.
    ///
    /// # Errors
    /// [`StorageError::OtherBinding`] and those of the database.
    fn bind(&self, binding: &Binding) -> Result<(), StorageError>;

    /// The newest state, which stays the same while it is looked at.
    ///
    /// # Errors
    /// Those of the database.
    fn view(&self) -> Result<Self::View<'_>, StorageError>;

    /// The writer's own view: of everything committed so far, through the writer's warm caches. The writer holds it for
    /// single reads only, and never while it commits.
    ///
    /// # Errors
    /// Those of the database.
    fn own_view(&self) -> Result<Self::View<'_>, StorageError>;

    /// Says that many own views follow, which may share what each would do for itself. It changes nothing of what they
    /// show. The next write ends it, and so does [`Storage::end_reading`].
    ///
    /// # Errors
    /// Those of the database.
    fn begin_reading(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Ends what [`Storage::begin_reading`] began, if nothing did yet.
    fn end_reading(&self) {}

    /// Does what could wait so far and changes nothing of what there is, such as bringing what is durable to its place.
    ///
    /// # Errors
    /// Those of the database.
    fn tidy(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] when it is not the next one, and those of the database.
    fn commit(&self, batch: &Batch) -> Result<(), StorageError>;

    /// Keeps VRF proofs of versions, in the order in which [`View::unproven`] named them. They are a cache: this need
    /// not be durable.
    ///
    /// # Errors
    /// Those of the database.
    fn keep_proofs(&self, proofs: &[(u64, VrfPair)]) -> Result<(), StorageError>;

    /// Keeps a witness's note line for the log at a size, in place of an older one of the same key. False where a newer
    /// one is there already.
    ///
    /// # Errors
    /// Those of the database.
    fn keep_cosignature(&self, key: &str, size: u64, line: &str) -> Result<bool, StorageError>;
}

/// What is called with each node: packed label, packed rest.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<(), StorageError> + 'v;

/// A state of the database.
pub trait View {
    /// The newest epoch and leaf; none in a new database.
    ///
    /// # Errors
    /// Those of the database.
    fn head(&self) -> Result<Option<Head>, StorageError>;

    /// The packed rest of the node with this packed label.
    ///
    /// # Errors
    /// Those of the database.
    fn node(&self, label: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Every node (packed label, packed rest), in the order of packed labels: a parent before its children.
    ///
    /// # Errors
    /// Those of the database, and those of `visit`, which end it.
    fn nodes(&self, visit: &mut Visit<'_>) -> Result<(), StorageError>;

    /// The newest version of a label that `epoch` has.
    ///
    /// # Errors
    /// Those of the database.
    fn newest(&self, label: &[u8], epoch: u64) -> Result<Option<Version>, StorageError>;

    /// The versions of a label from `from` to `to`, both included, oldest first.
    ///
    /// # Errors
    /// Those of the database.
    fn versions(&self, label: &[u8], from: u32, to: u32) -> Result<Vec<Version>, StorageError>;

    /// Versions (storage's number, label, version) that have no VRF proofs yet, `most` at most, in the order they came.
    ///
    /// # Errors
    /// Those of the database.
    fn unproven(&self, most: usize) -> Result<Vec<(u64, Vec<u8>, u32)>, StorageError>;

    /// The root hash of an epoch.
    ///
    /// # Errors
    /// Those of the database.
    fn root(&self, epoch: u64) -> Result<Option<Hash>, StorageError>;

    /// The proof that an epoch only added, as it is served.
    ///
    /// # Errors
    /// Those of the database.
    fn audit(&self, epoch: u64) -> Result<Option<Vec<u8>>, StorageError>;

    /// The leaves of the log from `first` on, `count` at most.
    ///
    /// # Errors
    /// Those of the database.
    fn leaves(&self, first: u64, count: u16) -> Result<Vec<Vec<u8>>, StorageError>;

    /// The hash of a complete subtree of the log.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] where it is missing, and those of the database.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, StorageError>;

    /// The witnesses' newest lines: size and line.
    ///
    /// # Errors
    /// Those of the database.
    fn cosignatures(&self) -> Result<Vec<(u64, String)>, StorageError>;
}

/// The log of a view, for the proofs about it.
#[derive(Debug)]
pub(super) struct LogOf<'v, V>(pub(super) &'v V);

impl<V: View> Subtrees for LogOf<'_, V> {
    type Error = StorageError;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, StorageError> {
        self.0.subtree(level, index)
    }
}

impl VrfProof {
    /// Bytes of a proof with its place.
    pub const LENGTH: usize = 96;

    /// The place, then the proof.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (place, proof) = bytes.split_at_mut(16);
        place.copy_from_slice(&self.place);
        proof.copy_from_slice(&self.proof);
        bytes
    }

    /// The reverse; `None` for any other number of bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (place, proof) = bytes.split_first_chunk()?;
        Some(Self { place: *place, proof: proof.try_into().ok()? })
    }
}

impl core::fmt::Debug for VrfProof {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("VrfProof")
    }
}
