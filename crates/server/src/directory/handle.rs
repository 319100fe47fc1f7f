//! The directory as the rest of the server sees it.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use undertone_keys::UserId;
use undertone_keys::sign::{Server, SigningKey};
use undertone_transparency::checkpoint::origin;
use undertone_transparency::directory::wire::{HistoryProof, LookupProof};
use undertone_transparency::label;
use undertone_transparency::log::Hash;
use undertone_transparency::note::LogKey;

use super::epoch::Steps;
use super::error::{DirectoryError, OpenError};
use super::prover::{Proof, Prover};
use super::queue::{Change, Due};
use super::settings::{Keys, Settings};
use super::shown::Shown;
use super::sqlite::Sqlite;
use super::storage::{Binding, Storage, StorageError, View};
use super::tree::Stored;
use super::vrf::Vrf;
use super::writer::{Order, Writer};

/// The key directory of a domain. Clones share one.
pub struct Directory<S: Storage = Sqlite>(pub(super) Arc<Shared<S>>);

pub(super) struct Shared<S> {
    pub(super) storage: Arc<S>,
    pub(super) vrf: Vrf,
    pub(super) log: Arc<SigningKey<Server>>,
    pub(super) log_key: LogKey,
    pub(super) settings: Settings,
    shown: watch::Receiver<Arc<Shown>>,
    orders: mpsc::Sender<Order>,
    readers: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A version is durable, and every checkpoint from now on stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The epoch that it was published in.
    pub epoch: u64,
}

/// A proof, and the state of the directory that it is about.
#[derive(Clone, Debug)]
pub struct Answer<P> {
    /// The checkpoint and the leaf with the epoch's root.
    pub shown: Arc<Shown>,
    /// What is proven.
    pub proof: Proof<P>,
}

/// Threads that help the writer, however many cores there are: most of its work is for one.
const HELPERS: usize = 7;
/// How often it is looked whether what is durable is shown by now, where a proof comes from the storage.
const WAITS: u32 = 1_000;
/// How long between that. Signing takes far less.
const WAIT: Duration = Duration::from_millis(1);

impl<S: Storage> Directory<S> {
    /// Opens the directory of `domain`: signs what is durable, or publishes the first epoch. Look-ups are answered from
    /// when this returns; the tree comes into memory after that.
    ///
    /// # Errors
    /// [`OpenError`]; [`StorageError::OtherBinding`] inside where the database was made with other keys (rule KT-14).
    pub async fn open(storage: S, domain: &str, keys: Keys, settings: Settings) -> Result<Self, OpenError> {
        let origin = origin(domain)?;
        let sentinel = label::sentinel(domain).map_err(|_| OpenError::Domain)?;
        let log = Arc::new(keys.log);
        let log_key = LogKey::new(origin.clone(), *log.public());
        let threads = settings.threads;
        let vrf = Vrf::new(keys.vrf, settings.vrf_proofs, settings.threads).ok_or(OpenError::VrfKey)?;
        let binding =
            Binding { origin: origin.as_str().to_owned(), vrf_key: vrf.key_hash(), log_key: *log_key.key().as_bytes() };
        let storage = Arc::new(storage);
        let (orders, inbox) = mpsc::channel(settings.queue.get());
        let (ready, is_ready) = oneshot::channel();
        let writer = {
            let (storage, vrf, settings, key) = (storage.clone(), vrf.clone(), settings.clone(), log.clone());
            let sentinel =
                Due { label: sentinel, version: 1, value: label::SENTINEL_VALUE, before: None, replies: Vec::new() };
            let start = async move || {
                storage.bind(&binding)?;
                let steps = Steps::new(storage.clone(), &vrf, origin, key, &settings);
                Writer::start(storage, steps, vrf, settings, sentinel).await
            };
            spawn(threads, async move || match start().await {
                Ok((writer, shown)) => {
                    if ready.send(Ok(shown)).is_ok() {
                        writer.run(inbox).await;
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            })?
        };
        let shown = is_ready.await.map_err(|_| OpenError::Thread)??;
        Ok(Self(Arc::new(Shared {
            storage,
            vrf,
            log,
            log_key,
            readers: Arc::new(Semaphore::new(settings.readers.get())),
            settings,
            shown,
            orders,
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// Publishes a version of a user's device list: `hash` of the signed list. Returns when it is durable and signed,
    /// after a second at most when all is well. Asking again for what is published already is answered with its epoch.
    ///
    /// # Errors
    /// [`DirectoryError`]. After [`DirectoryError::Storage`] nothing is published, or everything: ask again to know.
    pub async fn publish(&self, user: &UserId, version: u32, hash: Hash) -> Result<Published, DirectoryError> {
        let (reply, outcome) = oneshot::channel();
        let change = Change { label: label::devices(user), version, value: hash, reply };
        self.0.orders.send(Order::Publish(change)).await.map_err(|_| DirectoryError::Stopped)?;
        outcome.await.map_err(|_| DirectoryError::Stopped)?
    }

    /// The newest version of a user's device list, or that there is none, with its proof.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn lookup(&self, user: &UserId) -> Result<Answer<LookupProof>, DirectoryError> {
        let label = label::devices(user);
        self.read(move |directory| directory.lookup_now(&label)).await
    }

    /// The versions of a user's device list from `from` to the newest, or that there is none, with their proof. More
    /// than a proof can hold are cut at the old end.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub async fn history(&self, user: &UserId, from: u32) -> Result<Answer<HistoryProof>, DirectoryError> {
        let label = label::devices(user);
        self.read(move |directory| {
            directory.prove(|prover| prover.history(&label, from), |prover| prover.history(&label, from))
        })
        .await
    }

    /// What is shown now.
    #[must_use]
    pub fn shown(&self) -> Arc<Shown> {
        self.0.shown.borrow().clone()
    }

    /// Waits for what is shown after `seen`; at once where that was long ago.
    ///
    /// # Errors
    /// [`DirectoryError::Stopped`].
    pub async fn shown_after(&self, seen: u64) -> Result<Arc<Shown>, DirectoryError> {
        let mut shown = self.0.shown.clone();
        let newer = shown.wait_for(|shown| shown.size() > seen).await;
        newer.map(|shown| shown.clone()).map_err(|_| DirectoryError::Stopped)
    }

    /// The key that signs checkpoints, with its name.
    #[must_use]
    pub fn log_key(&self) -> &LogKey {
        &self.0.log_key
    }

    /// The VRF's public key.
    #[must_use]
    pub fn vrf_key(&self) -> [u8; 32] {
        self.0.vrf.public()
    }

    /// Publishes what waits, and ends the writer. What is read still is.
    pub async fn stop(&self) {
        let _ = self.0.orders.send(Order::Stop).await;
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    /// A look-up on this thread, by the label. Blocks for as long as the database does.
    ///
    /// # Errors
    /// [`DirectoryError::Storage`].
    pub fn lookup_now(&self, label: &[u8]) -> Result<Answer<LookupProof>, DirectoryError> {
        self.prove(|prover| prover.lookup(label), |prover| prover.lookup(label))
    }

    /// The database behind the directory.
    #[cfg(test)]
    pub(super) fn storage(&self) -> &S {
        &self.0.storage
    }

    /// Reads on a thread that may block, when it is its turn.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let turn = self.0.readers.clone().acquire_owned().await.map_err(|_| DirectoryError::Stopped)?;
        let directory = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            // Kept to the end of the reading, also where nobody waits for it any more.
            let _turn = turn;
            read(&directory)
        });
        done.await.map_err(|_| DirectoryError::Stopped)?
    }

    /// Makes a proof about what is shown, from memory or from the storage.
    fn prove<P>(
        &self,
        from_memory: impl Fn(&Prover<'_, super::snapshot::Snapshot, S::View<'_>>) -> Result<Proof<P>, StorageError>,
        from_storage: impl Fn(&Prover<'_, Stored<'_, S::View<'_>>, S::View<'_>>) -> Result<Proof<P>, StorageError>,
    ) -> Result<Answer<P>, DirectoryError> {
        for _ in 0..WAITS {
            let (shown, view) = (self.shown(), self.0.storage.view()?);
            let (epoch, vrf, view) = (shown.epoch(), &self.0.vrf, &view);
            let proof = match &shown.tree {
                Some(tree) => from_memory(&Prover { tree: tree.as_ref(), view, vrf, epoch })?,
                // The storage has the newest tree alone, for an instant before it is signed and shown.
                None if view.head()?.is_none_or(|head| head.epoch != epoch) => {
                    std::thread::sleep(WAIT);
                    continue;
                }
                None => from_storage(&Prover { tree: &Stored(view), view, vrf, epoch })?,
            };
            return Ok(Answer { shown, proof });
        }
        Err(StorageError::Failed(0).into())
    }
}

impl<S: Storage> Clone for Directory<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Storage> fmt::Debug for Directory<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({}, epoch {})", self.0.log_key.name(), self.shown().epoch())
    }
}

/// Runs the writer on a thread of its own, which may block. The others help it with large epochs, and sleep else.
fn spawn<F: Future<Output = ()>>(
    threads: NonZeroUsize,
    run: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let mut runtime = if threads.get() > 1 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    runtime.worker_threads(threads.get().saturating_sub(1).clamp(1, HELPERS)).thread_name("key-directory");
    let runtime = runtime.enable_time().build().map_err(|_| OpenError::Thread)?;
    let thread = std::thread::Builder::new().name("key-directory".into());
    thread.spawn(move || runtime.block_on(run())).map_err(|_| OpenError::Thread)
}
