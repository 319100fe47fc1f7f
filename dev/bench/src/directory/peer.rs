//! `akd` alone: its own look-ups and its own publishing, on a storage without a cache in front.

use std::path::Path;
use std::time::{Duration, Instant};

use akd::ecvrf::HardCodedAkdVRF;
use akd::storage::memory::AsyncInMemoryDatabase;
use akd::storage::{Database, StorageManager};
use akd::{AkdLabel, AkdValue, AzksParallelismConfig, WhatsAppV1Configuration};

use super::akd_sqlite::AkdSqlite;
use super::people::Change;

/// A directory by `akd`.
pub(super) struct Akd<D: Database + 'static>(akd::Directory<WhatsAppV1Configuration, D, HardCodedAkdVRF>);

impl Akd<AsyncInMemoryDatabase> {
    pub(super) async fn in_memory() -> anyhow::Result<Self> {
        Self::on(AsyncInMemoryDatabase::new()).await
    }
}

impl Akd<AkdSqlite> {
    pub(super) async fn on_sqlite(file: &Path) -> anyhow::Result<Self> {
        Self::on(AkdSqlite::open(file)?).await
    }
}

impl<D: Database + 'static> Akd<D> {
    async fn on(database: D) -> anyhow::Result<Self> {
        let manager = StorageManager::new_no_cache(database);
        Ok(Self(akd::Directory::new(manager, HardCodedAkdVRF, AzksParallelismConfig::default()).await?))
    }

    /// Publishes all of these as one epoch; how long it took.
    pub(super) async fn publish(&self, changes: &[Change]) -> anyhow::Result<Duration> {
        let entry = |change: &Change| (AkdLabel(change.label.clone()), AkdValue(change.value.to_vec()));
        let changes = changes.iter().map(entry).collect();
        let started = Instant::now();
        self.0.publish(changes).await?;
        Ok(started.elapsed())
    }

    /// Looks all of these up; how long it took. What comes is not encoded.
    pub(super) async fn lookup(&self, labels: &[Vec<u8>]) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for label in labels {
            self.0.lookup(AkdLabel(label.clone())).await?;
        }
        Ok(started.elapsed())
    }
}
