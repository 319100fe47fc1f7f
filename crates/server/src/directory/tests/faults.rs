use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::world::{Client, DOMAIN, Folder, audit, keys, loaded, open, publish, settings, user, value};
use crate::directory::{
    Batch, Binding, Directory, DirectoryError, Published, Settings, Sqlite, SqliteView, Storage, StorageError, VrfPair,
};

const WORKS: u32 = 0;
const NOT_COMMITTED: u32 = 1;
const COMMITTED: u32 = 2;
const UNREADABLE: u32 = 3;

/// A storage that fails as it is told.
struct Faulty(Sqlite, Arc<AtomicU32>);

impl Faulty {
    fn works(&self) -> Result<(), StorageError> {
        if self.1.load(Ordering::SeqCst) == UNREADABLE { Err(StorageError::Failed(10)) } else { Ok(()) }
    }
}

impl Storage for Faulty {
    type View<'a> = SqliteView<'a>;

    fn bind(&self, binding: &Binding) -> Result<(), StorageError> {
        self.0.bind(binding)
    }

    fn view(&self) -> Result<SqliteView<'_>, StorageError> {
        self.works()?;
        self.0.view()
    }

    fn own_view(&self) -> Result<SqliteView<'_>, StorageError> {
        self.works()?;
        self.0.own_view()
    }

    fn begin_reading(&self) -> Result<(), StorageError> {
        self.works()?;
        self.0.begin_reading()
    }

    fn end_reading(&self) {
        self.0.end_reading();
    }

    fn commit(&self, batch: &Batch) -> Result<(), StorageError> {
        match self.1.load(Ordering::SeqCst) {
            WORKS => self.0.commit(batch),
            COMMITTED => {
                self.0.commit(batch)?;
                Err(StorageError::Failed(1034))
            }
            _ => Err(StorageError::Full),
        }
    }

    fn keep_proofs(&self, proofs: &[(u64, VrfPair)]) -> Result<(), StorageError> {
        self.0.keep_proofs(proofs)
    }

    fn keep_cosignature(&self, key: &str, size: u64, line: &str) -> Result<bool, StorageError> {
        self.0.keep_cosignature(key, size, line)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_step_leaves_the_directory_as_it_was_or_as_it_was_to_be() {
    let folder = Folder::new("faults");
    let fault = Arc::new(AtomicU32::new(WORKS));
    for snapshot_bytes in [1 << 30, 0] {
        let storage = Faulty(Sqlite::open(&folder.file()).unwrap(), fault.clone());
        let settings = Settings { snapshot_bytes, ..settings() };
        let directory = Directory::open(storage, DOMAIN, keys(1, 2), settings).await.unwrap();
        let mut client = Client::new(&directory);
        let first = client.lookup(&directory, &user(1)).await.map_or(0, |found| found.version) + 1;
        for version in first..first + 12 {
            let kind = version % 4;
            fault.store(kind, Ordering::SeqCst);
            let (user, before) = (user(1), directory.shown());
            let outcome = directory.publish(&user, version, value(&user, version)).await;
            fault.store(WORKS, Ordering::SeqCst);
            let failure = match kind {
                WORKS => None,
                NOT_COMMITTED => Some(StorageError::Full),
                COMMITTED => Some(StorageError::Failed(1034)),
                _ => Some(StorageError::Failed(10)),
            };
            assert_eq!(outcome.err(), failure.map(DirectoryError::Storage));
            if failure.is_some() {
                // Nothing is shown that is not known to be durable, and what is shown verifies.
                assert_eq!(directory.shown().checkpoint, before.checkpoint);
                if kind != COMMITTED || snapshot_bytes > 0 {
                    let found = client.lookup(&directory, &user).await;
                    assert_eq!(found.map_or(0, |found| found.version), version - 1);
                }
                // Asked again, it is done, or was done before; once in any case.
                directory.publish(&user, version, value(&user, version)).await.unwrap();
            }
            assert_eq!(directory.shown().epoch(), before.epoch() + 1);
            assert_eq!(client.lookup(&directory, &user).await.unwrap().version, version);
        }
        audit(&directory).await;
        directory.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_changes_and_nothing_else() {
    let folder = Folder::new("full");
    let directory = open(&folder.file(), settings()).await.unwrap();
    loaded(&directory).await;
    publish(&directory, &[(1, 1)]).await;
    let mut client = Client::new(&directory);
    for round in 0..3 {
        directory.storage().fill(true);
        let many = 1_000 * (round + 1)..1_000 * (round + 1) + 600;
        let all = many.clone().map(|n| {
            let (directory, user) = (directory.clone(), user(n));
            async move { directory.publish(&user, 1, value(&user, 1)).await }
        });
        let outcomes = futures_util::future::join_all(all).await;
        // A small epoch may still find room between others.
        let full = Err(DirectoryError::Storage(StorageError::Full));
        assert!(outcomes.iter().filter(|outcome| **outcome == full).count() > 100);
        for (n, outcome) in many.clone().zip(outcomes).step_by(50) {
            let found = client.lookup(&directory, &user(n)).await;
            assert_eq!(found.map(|found| Published { epoch: found.epoch }), outcome.ok());
        }
        assert_eq!(client.lookup(&directory, &user(1)).await.unwrap().version, 1);
        directory.storage().fill(false);
        publish(&directory, &many.clone().map(|n| (n, 1)).collect::<Vec<_>>()).await;
        assert_eq!(client.lookup(&directory, &user(many.start)).await.unwrap().version, 1);
    }
    audit(&directory).await;
    directory.stop().await;
}
