//! One step of the directory: an epoch or a heartbeat, from what is durable to what may be shown.

use std::num::NonZeroUsize;
use std::sync::Arc;

use akd::storage::StorageManager;
use akd::{
    AkdLabel, AkdValue, AzksParallelismConfig, AzksParallelismOption, EpochHash, VersionFreshness,
    WhatsAppV1Configuration,
};
use tracing::{error, warn};
use undertone_keys::WallTime;
use undertone_keys::sign::{Server, SigningKey};
use undertone_transparency::leaf::Leaf;
use undertone_transparency::log::{self, Hash};
use undertone_transparency::note::KeyName;

use super::akd_store::{AkdStore, Near, Staged};
use super::codec;
use super::error::DirectoryError;
use super::queue::Due;
use super::settings::Settings;
use super::shown::{Shown, Unsigned, WithLeaf};
use super::snapshot::Snapshot;
use super::storage::{Batch, Head, LogLeaf, LogOf, NewEpoch, NodeRow, Storage, StorageError, Version, View};
use super::tree::Stored;
use super::vrf::Vrf;

/// Changes for which it is worth while to work on the tree with several threads.
const SHARED_FROM: usize = 32;

type Tree<S> = akd::Directory<WhatsAppV1Configuration, AkdStore<S>, Vrf>;

/// Makes the directory's steps. There is one, on the writer's thread.
pub(super) struct Steps<S: Storage> {
    storage: Arc<S>,
    near: Near,
    vrf: Vrf,
    vrf_key: Hash,
    origin: KeyName,
    log_key: Arc<SigningKey<Server>>,
    snapshot_bytes: u64,
    threads: NonZeroUsize,
}

impl<S: Storage> Steps<S> {
    pub(super) fn new(
        storage: Arc<S>,
        vrf: &Vrf,
        origin: KeyName,
        log_key: Arc<SigningKey<Server>>,
        settings: &Settings,
    ) -> Self {
        let (vrf, vrf_key) = (vrf.clone(), vrf.key_hash());
        let Settings { snapshot_bytes, threads, .. } = *settings;
        Self { storage, near: Near::default(), vrf, vrf_key, origin, log_key, snapshot_bytes, threads }
    }

    /// What is durable, signed; nothing before the first epoch. The tree is not loaded.
    pub(super) fn resume(&self) -> Result<Option<Shown>, StorageError> {
        self.near.forget();
        let view = self.storage.own_view()?;
        let Some(head) = view.head()? else { return Ok(None) };
        let leaf = self.check(&view, &head)?;
        let unsigned = Shown::work_out(leaf, head.size - 1, &LogOf(&view))?;
        Ok(Some(unsigned.sign(&self.origin, &self.log_key, None)))
    }

    /// The tree of the newest durable epoch, if it fits.
    pub(super) fn load(&self) -> Result<Option<Arc<Snapshot>>, StorageError> {
        let view = self.storage.view()?;
        let Some(head) = view.head()? else { return Ok(None) };
        if Snapshot::bytes(head.nodes) > self.snapshot_bytes {
            warn!(nodes = head.nodes, "the key directory's tree does not fit in memory: proofs come from the database");
            return Ok(None);
        }
        Snapshot::load(&view, &head).map(|tree| Some(Arc::new(tree)))
    }

    /// Whether what is durable is what is shown. After a commit that failed it may be more.
    pub(super) fn is_current(&self, shown: &Shown) -> Result<bool, StorageError> {
        let head = self.storage.own_view()?.head()?;
        Ok(head.is_some_and(|head| head.size == shown.size() && head.leaf == shown.inclusion.entry))
    }

    /// A new epoch with these versions, at the time `now`.
    pub(super) async fn epoch(
        &self,
        due: &[Due],
        before: Option<&Shown>,
        now: WallTime,
    ) -> Result<Shown, DirectoryError> {
        let made = self.make(due, before, now).await;
        match &made {
            Ok((_, staged, _)) => self.near.keep(staged),
            // It may be durable all the same.
            Err(_) => self.near.forget(),
        }
        let (unsigned, _, tree) = made?;
        Ok(unsigned.sign(&self.origin, &self.log_key, tree))
    }

    /// Makes an epoch durable, and the tree that is shown after that.
    async fn make(
        &self,
        due: &[Due],
        before: Option<&Shown>,
        now: WallTime,
    ) -> Result<(Unsigned, Staged, Option<Arc<Snapshot>>), DirectoryError> {
        let head = self.storage.own_view()?.head()?;
        // Nothing of an epoch that fails stays: it has its store to itself.
        let store = AkdStore::new(self.storage.clone(), self.near.clone(), head.as_ref(), due);
        let EpochHash(number, root) = self.publish(&store, due, before.map_or(0, Shown::epoch)).await?;
        let (staged, shared) = (store.take(), self.threads.get() > 1 && due.len() >= SHARED_FROM);
        // Now, as it is small now: once later epochs have touched the tree, it names every node they did.
        let audit = || store.added(&staged).map(|proof| proof.to_bytes());
        let (audit, changed) = beside(shared, audit, || staged.nodes.values().map(codec::row).collect());
        let leaf = Leaf { epoch: number, root, vrf_key: self.vrf_key, time: later(now, before.map(Shown::time), 0) };
        let epoch = new_epoch(number, root, audit?, changed, &staged)?;
        let tree = || before.and_then(|before| before.tree.as_ref()).and_then(|tree| self.grow(tree, &staged));
        let (tree, unsigned) = beside(shared, tree, || self.commit(Some(epoch), leaf, before));
        Ok((unsigned?, staged, tree))
    }

    /// The newest leaf again, with a newer time (rule KT-8).
    pub(super) fn heartbeat(&self, before: &Shown, now: WallTime) -> Result<Shown, StorageError> {
        let leaf = Leaf { time: later(now, Some(before.time()), 1), ..before.leaf };
        let unsigned = self.commit(None, leaf, Some(before))?;
        Ok(unsigned.sign(&self.origin, &self.log_key, before.tree.clone()))
    }

    async fn publish(&self, store: &AkdStore<S>, due: &[Due], newest: u64) -> Result<EpochHash, DirectoryError> {
        for Due { label, before, .. } in due {
            if let Some(Version { version, vrf: Some(pair), .. }) = before {
                self.vrf.know(label, VersionFreshness::Stale, (*version).into(), pair.stale);
            }
        }
        let changes = due.iter().map(|due| (AkdLabel(due.label.clone()), AkdValue(due.value.to_vec())));
        let failed = |error: akd::errors::AkdError| failure(store, &error);
        let manager = StorageManager::new_no_cache(store.clone());
        let tree = Tree::new(manager, self.vrf.clone(), self.parallelism(due.len())).await.map_err(failed)?;
        let made = tree.publish(changes.collect()).await.map_err(failed)?;
        let EpochHash(number, _) = made;
        if newest.checked_add(1) == Some(number) { Ok(made) } else { Err(StorageError::Conflict.into()) }
    }

    /// How many threads insert. One alone where handing over would take longer than the work.
    fn parallelism(&self, changes: usize) -> AzksParallelismConfig {
        let insertion = match u32::try_from(self.threads.get()) {
            Ok(threads) if threads > 1 && changes >= SHARED_FROM => AzksParallelismOption::Static(threads),
            _ => AzksParallelismOption::Disabled,
        };
        AzksParallelismConfig { insertion, ..AzksParallelismConfig::disabled() }
    }

    /// Makes a step durable.
    fn commit(&self, epoch: Option<NewEpoch>, leaf: Leaf, before: Option<&Shown>) -> Result<Unsigned, StorageError> {
        let index = before.map_or(0, Shown::size);
        if before.is_some_and(|before| leaf.comes_after(&before.leaf).is_err()) {
            return Err(StorageError::Conflict);
        }
        let view = self.storage.own_view()?;
        let subtrees = log::appended(index, leaf.hash(), &LogOf(&view))?;
        let batch = Batch { epoch, leaf: LogLeaf { index, entry: leaf.to_bytes(), subtrees } };
        let unsigned = Shown::work_out(leaf, index, &WithLeaf { stored: &LogOf(&view), leaf: &batch.leaf })?;
        drop(view);
        self.storage.commit(&batch)?;
        Ok(unsigned)
    }

    /// The snapshot with a new epoch; none where it does not fit any more, or does not fit together.
    fn grow(&self, tree: &Snapshot, staged: &Staged) -> Option<Arc<Snapshot>> {
        if staged.azks.as_ref().is_some_and(|azks| Snapshot::bytes(azks.num_nodes) > self.snapshot_bytes) {
            warn!("the key directory's tree does not fit in memory any more: proofs come from the database");
            return None;
        }
        let next = tree.next(&staged.nodes);
        next.inspect_err(|error| error!(%error, "the key directory's tree in memory is lost")).ok().map(Arc::new)
    }

    /// The newest leaf, if it, the newest epoch and the tree belong together and to this server.
    fn check(&self, view: &S::View<'_>, head: &Head) -> Result<Leaf, StorageError> {
        let leaf = Leaf::from_bytes(&head.leaf).map_err(|_| StorageError::Damaged)?;
        let root = Stored(view).root()?;
        let same = (leaf.epoch, leaf.root, leaf.vrf_key) == (head.epoch, head.root, self.vrf_key);
        if same && root == head.root { Ok(leaf) } else { Err(StorageError::Damaged) }
    }
}

/// Does both, one on a thread of its own where that is worth while.
fn beside<A: Send, B>(shared: bool, there: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    if !shared {
        return (there(), here());
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(there);
        let here = here();
        (thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), here)
    })
}

fn new_epoch(
    number: u64,
    root: Hash,
    audit: Vec<u8>,
    changed: Vec<NodeRow>,
    staged: &Staged,
) -> Result<NewEpoch, StorageError> {
    let azks = staged.azks.as_ref().filter(|azks| azks.latest_epoch == number).ok_or(StorageError::Conflict)?;
    Ok(NewEpoch { number, root, nodes: azks.num_nodes, changed, versions: staged.versions.clone(), audit })
}

/// The time of a leaf: never before that of the one before it, and `more` seconds after it at least.
fn later(now: WallTime, before: Option<WallTime>, more: u64) -> WallTime {
    before.map_or(now, |before| now.max(before.plus(more)))
}

/// What the storage said, where it was the storage. The texts of `akd` name labels of the tree and no user.
fn failure<S: Storage>(store: &AkdStore<S>, error: &akd::errors::AkdError) -> DirectoryError {
    store.failure().map_or_else(
        || {
            error!(%error, "the key directory's tree failed");
            DirectoryError::Tree
        },
        DirectoryError::Storage,
    )
}
