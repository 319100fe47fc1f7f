//! The server's directory on a file of its own.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use futures_util::future::try_join_all;
use rusqlite::Connection;
use undertone_keys::sign::SigningKey;
use undertone_keys::{Secret, WallTime};
use undertone_server::directory::{Directory, Keys, Proof, Settings, Sqlite, Storage, View};
use undertone_testkit::Folder;

use super::people::{Change, DOMAIN, changes};

/// Changes that are handed over at once in a bulk load.
const AT_ONCE: usize = 100_000;
/// Between two looks at whether something is done.
const LOOK: Duration = Duration::from_millis(1);

/// A file, and the directories that are opened on it one after the other.
pub(super) struct Ours(Folder);

/// The table of the VRF proofs.
pub(super) const VRF: &str = "vrf";

/// What is on the disk.
#[derive(Debug)]
pub(super) struct Bytes {
    /// Bytes of each table and index, the largest first.
    pub(super) tables: Vec<(String, f64)>,
    /// Versions that have VRF proofs.
    pub(super) proven: f64,
}

impl Ours {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Folder::new("bench-directory")?))
    }

    /// Opens it. Epochs follow each other without a pause; where `prove_ahead` is not said, nothing runs beside what is
    /// measured.
    pub(super) async fn open(&self, prove_ahead: bool) -> anyhow::Result<Directory> {
        self.open_with(Settings { prove_ahead, ..settings() }).await
    }

    /// The same without any memory for the tree.
    pub(super) async fn open_without_memory(&self) -> anyhow::Result<Directory> {
        self.open_with(Settings { prove_ahead: false, snapshot_bytes: 0, ..settings() }).await
    }

    async fn open_with(&self, settings: Settings) -> anyhow::Result<Directory> {
        let seed = |byte| Secret::filled_by(|seed: &mut [u8; 32]| seed.fill(byte));
        let keys = Keys { log: SigningKey::from_seed(seed(1)), vrf: seed(2) };
        Ok(Directory::open(Sqlite::open(&self.file())?, DOMAIN, keys, settings).await?)
    }

    /// Opens it; how long until the first answer, and until the tree is in memory.
    pub(super) async fn restart(&self) -> anyhow::Result<(Directory, Duration, Duration)> {
        let somebody = changes([0], 1)?;
        let started = Instant::now();
        let directory = self.open(false).await?;
        for change in &somebody {
            directory.lookup_now(&change.label)?;
        }
        let first = started.elapsed();
        in_memory(&directory).await;
        Ok((directory, first, started.elapsed()))
    }

    /// Waits until the open directory has made the VRF proofs of everybody, or for so long; how long it was.
    pub(super) async fn prove(&self, patience: Duration) -> anyhow::Result<Duration> {
        let (beside, started) = (Sqlite::open(&self.file())?, Instant::now());
        while started.elapsed() < patience && !beside.view()?.unproven(1)?.is_empty() {
            tokio::time::sleep(LOOK * 20).await;
        }
        Ok(started.elapsed())
    }

    /// Those of these users whose VRF proofs are made.
    pub(super) fn proven(&self, users: impl Iterator<Item = u32>) -> anyhow::Result<Vec<u32>> {
        let beside = Sqlite::open(&self.file())?;
        let (view, mut proven) = (beside.view()?, Vec::new());
        for user in users {
            for change in changes([user], 1)? {
                let newest = view.newest(&change.label, u64::MAX >> 1)?;
                proven.extend(newest.and_then(|newest| newest.vrf).map(|_| user));
            }
        }
        Ok(proven)
    }

    /// What the closed file has.
    pub(super) fn bytes(&self) -> anyhow::Result<Bytes> {
        let file = Connection::open(self.file())?;
        let _: i64 = file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        let sql = "SELECT name, CAST(SUM(pgsize) AS REAL) FROM dbstat GROUP BY name ORDER BY 2 DESC";
        let mut tables = file.prepare(sql)?;
        let tables = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let proven = file.query_row("SELECT CAST(COUNT(*) AS REAL) FROM vrf", [], |row| row.get(0))?;
        Ok(Bytes { tables, proven })
    }

    fn file(&self) -> PathBuf {
        self.0.join("directory.db")
    }
}

fn settings() -> Settings {
    let queue = NonZeroUsize::new(2 * AT_ONCE).unwrap_or(NonZeroUsize::MIN);
    Settings { epoch_interval: Duration::ZERO, queue, ..Settings::new(wall_time) }
}

fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Waits until the tree is in memory.
pub(super) async fn in_memory(directory: &Directory) {
    while !directory.shown().is_in_memory() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Publishes all of these; how long until the last of them was durable, signed and shown.
pub(super) async fn publish(directory: &Directory, changes: &[Change]) -> anyhow::Result<Duration> {
    let started = Instant::now();
    for changes in changes.chunks(AT_ONCE) {
        try_join_all(changes.iter().map(|change| directory.publish(&change.user, change.version, change.value)))
            .await?;
    }
    Ok(started.elapsed())
}

/// Looks one up and encodes what comes: its bytes.
pub(super) fn look_up(directory: &Directory, label: &[u8]) -> anyhow::Result<usize> {
    match directory.lookup_now(label)?.proof {
        Proof::Present(proof) => Ok(proof.to_bytes().len()),
        Proof::Absent(_) => bail!("a user is not there"),
    }
}
