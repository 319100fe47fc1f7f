//! The storage as `akd` sees it while an epoch is made.
//!
//! `akd` hands over a whole epoch at once ([`DbSetState::TransactionCommit`]). It is not written then: it is held here,
//! in front of what is stored, until the audit proof is made and all goes to the storage in one transaction with the
//! leaf of the log. Dropped instead, it was never there, and the next epoch starts from what is durable: each has a
//! store of its own, so what a failed one still does on some thread stays with it. `akd`'s own cache is not used: it
//! fills before a commit and stays filled when that fails. [`Near`] is filled after one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use akd::errors::StorageError as AkdError;
use akd::storage::types::{
    DbRecord, KeyData, StorageType, ValueState, ValueStateKey, ValueStateRetrievalFlag as Which,
};
use akd::storage::{Database, DbSetState, Storable};
use akd::tree_node::{NodeKey, TreeNode, TreeNodeType, TreeNodeWithPreviousValue};
use akd::{AkdLabel, AkdValue, Azks, Configuration, NodeLabel, WhatsAppV1Configuration};
use async_trait::async_trait;
use rustc_hash::FxHashMap;
use undertone_transparency::directory::wire::Nodes;
use undertone_transparency::directory::{AppendOnlyProof, Node};

use super::codec;
use super::queue::Due;
use super::storage::{Head, Storage, StorageError, Version, View};
use super::tree::shown;

/// Nodes with labels of so many bits at most are kept in memory: 32,767 at most, which take some 10 MB.
const NEAR: u32 = 14;
/// Parts of what was read.
const PARTS: usize = 16;

/// The storage with an epoch in front of it that is not committed.
pub(super) struct AkdStore<S>(Arc<Inner<S>>);

struct Inner<S> {
    storage: Arc<S>,
    near: Near,
    /// The tree that the epoch starts from.
    azks: Azks,
    /// The newest versions of the labels that are in the epoch.
    newest: FxHashMap<Vec<u8>, Option<Version>>,
    staged: RwLock<Staged>,
    /// Nodes as they are stored, in parts that have locks of their own: the threads that insert work on different sides of
    /// the tree. `akd` reads most of them two or three times on the way to an epoch.
    read: [Mutex<ByLabel>; PARTS],
    /// What went wrong last, as `akd` passes on nothing but texts.
    failure: Mutex<Option<StorageError>>,
}

/// The nodes near the root as they are stored: nearly every epoch reads them all. Clones share one.
#[derive(Clone, Default)]
pub(super) struct Near(Arc<RwLock<ByLabel>>);

type ByLabel = FxHashMap<NodeLabel, TreeNode>;

/// An epoch as `akd` handed it over.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Epoch and count of nodes.
    pub(super) azks: Option<Azks>,
    /// Every node that changed.
    pub(super) nodes: ByLabel,
    /// The new versions, by label.
    pub(super) versions: Vec<(Vec<u8>, Version)>,
    /// The nodes that were read for it, in parts.
    read: Vec<ByLabel>,
}

impl<S> Clone for AkdStore<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Storage> AkdStore<S> {
    /// For one epoch with these changes, on what is stored up to `head`.
    pub(super) fn new(storage: Arc<S>, near: Near, head: Option<&Head>, due: &[Due]) -> Self {
        // Before the first epoch there is a root without children.
        let (epoch, num_nodes) = head.map_or((0, 1), |head| (head.epoch, head.nodes));
        let azks = Azks { latest_epoch: epoch, num_nodes };
        let newest = due.iter().map(|due| (due.label.clone(), due.before)).collect();
        let (staged, read, failure) = Default::default();
        Self(Arc::new(Inner { storage, near, azks, newest, staged, read, failure }))
    }

    /// Takes the epoch away from in front of the storage, to be committed.
    pub(super) fn take(&self) -> Staged {
        let mut staged = std::mem::take(&mut *self.0.staged.write().unwrap_or_else(PoisonError::into_inner));
        let parts = self.0.read.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        staged.read = parts.map(|mut part| std::mem::take(&mut *part)).collect();
        staged
    }

    /// The proof that the epoch taken away only added, from what `akd` read and wrote to make it.
    pub(super) fn added(&self, staged: &Staged) -> Result<AppendOnlyProof, StorageError> {
        let near = self.0.near.read();
        let epoch = staged.azks.as_ref().ok_or(StorageError::Conflict)?.latest_epoch;
        let (mut unchanged, mut inserted) = (Vec::new(), Vec::new());
        let mut due = vec![NodeLabel::root()];
        while let Some(label) = due.pop() {
            let read = || staged.read.get(part(&label)).and_then(|read| read.get(&label));
            let known = staged.nodes.get(&label).or_else(read).or_else(|| near.get(&label));
            let stored = if known.is_none() { Some(self.stored(&label)?) } else { None };
            let node = known.or(stored.as_ref()).ok_or(StorageError::Damaged)?;
            if node.last_epoch < epoch {
                unchanged.push(shown(node)?);
            } else if node.node_type == TreeNodeType::Leaf {
                inserted.push(Node::new(label, node.hash.0).ok_or(StorageError::Damaged)?);
            } else {
                due.extend([node.right_child, node.left_child].into_iter().flatten());
            }
        }
        let nodes = |nodes| Nodes::new(nodes).ok_or(StorageError::Damaged);
        Ok(AppendOnlyProof { unchanged: nodes(unchanged)?, inserted: nodes(inserted)? })
    }

    /// What went wrong since this was asked last.
    pub(super) fn failure(&self) -> Option<StorageError> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn staged(&self) -> RwLockReadGuard<'_, Staged> {
        self.0.staged.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn azks(&self) -> Azks {
        if let Some(azks) = self.staged().azks.clone() {
            return azks;
        }
        self.0.azks.clone()
    }

    fn node(&self, label: &NodeLabel) -> Result<TreeNode, StorageError> {
        if let Some(node) = self.staged().nodes.get(label) {
            return Ok(node.clone());
        }
        if let Some(node) = self.0.near.read().get(label) {
            return Ok(node.clone());
        }
        let part = self.0.read.get(part(label)).ok_or(StorageError::Damaged)?;
        let read = || part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = read().get(label) {
            return Ok(node.clone());
        }
        let node = self.stored(label)?;
        read().insert(*label, node.clone());
        Ok(node)
    }

    fn stored(&self, label: &NodeLabel) -> Result<TreeNode, StorageError> {
        match self.0.storage.own_view()?.node(&codec::label_key(label))? {
            Some(packed) => codec::read(label, &packed),
            None if *label == NodeLabel::root() && self.0.azks.latest_epoch == 0 => Ok(empty_root()),
            // `akd` asks for no node that it has not seen the name of. It would go on with a tree that lacks this one.
            None => Err(StorageError::Damaged),
        }
    }

    fn newest(&self, label: &AkdLabel, which: Which) -> Result<Option<Version>, StorageError> {
        if let (Which::LeqEpoch(epoch), Some(known)) = (which, self.0.newest.get(&label.0))
            && epoch == self.0.azks.latest_epoch
        {
            return Ok(*known);
        }
        let view = self.0.storage.own_view()?;
        match which {
            Which::MaxEpoch => view.newest(label, u64::MAX >> 1),
            Which::LeqEpoch(epoch) => view.newest(label, epoch),
            Which::SpecificEpoch(epoch) => Ok(view.newest(label, epoch)?.filter(|version| version.epoch == epoch)),
            Which::MinEpoch => Ok(view.versions(label, 1, 1)?.pop()),
            Which::SpecificVersion(version) => match u32::try_from(version) {
                Ok(version) => Ok(view.versions(label, version, version)?.pop()),
                Err(_) => Ok(None),
            },
        }
    }

    /// Remembers what went wrong, and says that something did.
    fn failed(&self, error: StorageError) -> AkdError {
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        AkdError::Connection(error.to_string())
    }

    fn record<St: Storable>(&self, id: &St::StorageKey) -> Result<Option<DbRecord>, StorageError> {
        let key = St::get_full_binary_key_id(id);
        match St::data_type() {
            StorageType::Azks => Ok(Some(DbRecord::Azks(self.azks()))),
            StorageType::TreeNode => {
                let NodeKey(label) = TreeNodeWithPreviousValue::key_from_full_binary(&key).map_err(damaged)?;
                Ok(Some(codec::record(self.node(&label)?)))
            }
            StorageType::ValueState => {
                let ValueStateKey(label, epoch) = ValueState::key_from_full_binary(&key).map_err(damaged)?;
                let label = AkdLabel(label);
                let version = self.newest(&label, Which::SpecificEpoch(epoch))?;
                Ok(version.map(|version| DbRecord::ValueState(state(&label, &version))))
            }
        }
    }
}

impl Near {
    /// Takes over what a committed epoch read and wrote.
    pub(super) fn keep(&self, staged: &Staged) {
        let mut near = self.write();
        let nodes = staged.read.iter().flatten().chain(&staged.nodes).filter(|(label, _)| label.label_len <= NEAR);
        for (label, node) in nodes {
            near.insert(*label, node.clone());
        }
    }

    /// Forgets everything, where it is not certain what is stored.
    pub(super) fn forget(&self) {
        self.write().clear();
    }

    fn read(&self) -> RwLockReadGuard<'_, FxHashMap<NodeLabel, TreeNode>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, FxHashMap<NodeLabel, TreeNode>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<S: Storage> Database for AkdStore<S> {
    async fn set(&self, record: DbRecord) -> Result<(), AkdError> {
        self.batch_set(vec![record], DbSetState::General).await
    }

    async fn batch_set(&self, records: Vec<DbRecord>, state: DbSetState) -> Result<(), AkdError> {
        match state {
            DbSetState::TransactionCommit => {
                let mut staged = self.0.staged.write().unwrap_or_else(PoisonError::into_inner);
                let staged = records.into_iter().try_for_each(|record| stage(record, &mut staged));
                staged.map_err(|error| self.failed(error))
            }
            // Nothing is written outside of an epoch.
            DbSetState::General => Err(self.failed(StorageError::Conflict)),
        }
    }

    async fn get<St: Storable>(&self, id: &St::StorageKey) -> Result<DbRecord, AkdError> {
        match self.record::<St>(id) {
            Ok(record) => record.ok_or_else(|| AkdError::NotFound(format!("{id:?}"))),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn batch_get<St: Storable>(&self, ids: &[St::StorageKey]) -> Result<Vec<DbRecord>, AkdError> {
        let records = ids.iter().filter_map(|id| self.record::<St>(id).transpose());
        records.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    async fn get_user_data(&self, label: &AkdLabel) -> Result<KeyData, AkdError> {
        let versions = self.0.storage.own_view().and_then(|view| view.versions(label, 1, u32::MAX));
        let versions = versions.map_err(|error| self.failed(error))?;
        if versions.is_empty() {
            return Err(AkdError::NotFound(String::new()));
        }
        Ok(KeyData { states: versions.iter().map(|version| state(label, version)).collect() })
    }

    async fn get_user_state(&self, label: &AkdLabel, which: Which) -> Result<ValueState, AkdError> {
        let version = self.newest(label, which).map_err(|error| self.failed(error))?;
        version.map(|version| state(label, &version)).ok_or_else(|| AkdError::NotFound(String::new()))
    }

    async fn get_user_state_versions(
        &self,
        labels: &[AkdLabel],
        which: Which,
    ) -> Result<HashMap<AkdLabel, (u64, AkdValue)>, AkdError> {
        let mut found = HashMap::with_capacity(labels.len());
        for label in labels {
            if let Some(version) = self.newest(label, which).map_err(|error| self.failed(error))? {
                found.insert(label.clone(), (version.version.into(), AkdValue(version.value.to_vec())));
            }
        }
        Ok(found)
    }
}

/// Takes over a record of an epoch.
fn stage(record: DbRecord, staged: &mut Staged) -> Result<(), StorageError> {
    match record {
        DbRecord::Azks(azks) => staged.azks = Some(azks),
        DbRecord::TreeNode(node) => drop(staged.nodes.insert(node.label, node.latest_node)),
        DbRecord::ValueState(ValueState { value, version, epoch, username, .. }) => {
            let version = u32::try_from(version).map_err(|_| StorageError::Conflict)?;
            let value = value.0.try_into().map_err(|_| StorageError::Conflict)?;
            staged.versions.push((username.0, Version { version, epoch, value, vrf: None }));
        }
    }
    Ok(())
}

/// The part in which a node is kept: by the first bits of its label, as the tree is shared out by them.
fn part(label: &NodeLabel) -> usize {
    let [first, ..] = label.label_val;
    usize::from(first) * PARTS / 256
}

/// The tree before its first epoch.
fn empty_root() -> TreeNode {
    TreeNode {
        label: NodeLabel::root(),
        last_epoch: 0,
        min_descendant_epoch: 0,
        parent: NodeLabel::root(),
        node_type: TreeNodeType::Root,
        left_child: None,
        right_child: None,
        hash: WhatsAppV1Configuration::empty_root_value(),
    }
}

/// The leaf's place is not kept: it comes out of the VRF, and nobody asks this record for it.
fn state(label: &AkdLabel, version: &Version) -> ValueState {
    let Version { version, epoch, value, .. } = version;
    DbRecord::build_user_state(label.0.clone(), value.to_vec(), (*version).into(), 0, [0; 32], *epoch)
}

fn damaged(_: String) -> StorageError {
    StorageError::Damaged
}
