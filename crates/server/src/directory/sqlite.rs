//! The directory in one SQLite file: WAL, durable at every commit.
//!
//! One connection writes, and keeps its page cache warm; others, opened as they are needed and kept, read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use undertone_keys::digest::sha256;

use super::storage::{Batch, Binding, NewEpoch, Storage, StorageError, VrfPair};

mod journal;
mod read;
mod schema;
mod view;

use journal::Journal;
pub use view::SqliteView;

/// Waits so long for whoever else has the file open, such as a backup.
const BUSY: Duration = Duration::from_secs(5);
/// KiB of pages that the writing connection keeps. The system keeps the rest of the file.
const WRITER_CACHE: i64 = 64 << 10;
/// KiB of pages that each reading connection keeps. Every commit empties it.
const READER_CACHE: i64 = 4 << 10;
/// Bytes to which the write-ahead log is cut after it was longer, as it is in a bulk load.
const LOG_LEFT: i64 = 64 << 20;
/// Pages of the log (64 MiB) at which a commit brings them to their places itself. Mostly [`Storage::tidy`] was there before.
const LOG_PAGES: i64 = 16_384;
/// Nodes written, each on a page of its own at the worst, from which on it is worth while to tidy.
const UNTIDY: usize = 1_000;
/// Statements a connection keeps prepared.
const STATEMENTS: usize = 32;

/// The directory's database.
pub struct Sqlite {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    /// Behind the readers, as it is closed last: only a connection that may write brings the log to its place and takes it
    /// away. Left behind, it is read as a whole by the next start.
    writer: Mutex<Connection>,
    /// Nodes that are not in their places yet. Changes with the writing connection in hand alone, in the same moment as the
    /// database; `None` where a commit failed and nobody knows which of the two has happened, until the database is asked.
    journal: RwLock<Option<Arc<Journal>>>,
    /// Nodes written in place since it was tidy.
    untidy: AtomicUsize,
}

impl Sqlite {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] when it is something else, [`StorageError::Newer`] when a later server wrote it.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let mut writer = Connection::open(path)?;
        writer.busy_timeout(BUSY)?;
        writer.set_prepared_statement_cache_capacity(STATEMENTS);
        schema::check(&writer)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "cache_size", -WRITER_CACHE)?;
        writer.pragma_update(None, "journal_size_limit", LOG_LEFT)?;
        writer.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        schema::migrate(&mut writer)?;
        let journal = RwLock::new(Some(Arc::new(Journal::load(&writer)?)));
        let (writer, readers) = (Mutex::new(writer), Mutex::default());
        Ok(Self { path: path.to_owned(), writer, readers, journal, untidy: AtomicUsize::new(0) })
    }

    /// Reads the whole file for damage and says at which epoch it is. Changes nothing, and may be done beside a running
    /// server.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] and those of the database.
    pub fn examine(path: &Path) -> Result<u64, StorageError> {
        let connection = reader(path)?;
        schema::check(&connection)?;
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found == "ok" {
            Ok(read::head(&connection)?.map_or(0, |head| head.epoch))
        } else {
            Err(StorageError::Damaged)
        }
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // Whoever panicked held no transaction: those end when they are dropped.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writing connection outside of any transaction: what is written in one that was begun for reading would not be
    /// committed when the write is done.
    fn writing(&self) -> Result<MutexGuard<'_, Connection>, StorageError> {
        let connection = self.writer();
        if !connection.is_autocommit() {
            connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(connection)
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> RwLockReadGuard<'_, Option<Arc<Journal>>> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_journal(&self) -> RwLockWriteGuard<'_, Option<Arc<Journal>>> {
        self.journal.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal as the writing connection, which is in the caller's hand and has written nothing that it has not committed, sees
    /// it. Where nobody knew it, it is known from then on.
    fn known(&self, connection: &Connection) -> Result<Arc<Journal>, StorageError> {
        if let Some(journal) = &*self.journal() {
            return Ok(journal.clone());
        }
        // Nobody commits meanwhile, so what is read here is what every view begins with until somebody does.
        let mut shown = self.set_journal();
        let journal = Arc::new(Journal::load(connection)?);
        *shown = Some(journal.clone());
        Ok(journal)
    }

    /// Ends a transaction, and shows its journal together with it.
    fn finish(&self, transaction: Transaction<'_>, journal: Arc<Journal>) -> Result<(), StorageError> {
        let mut shown = self.set_journal();
        *shown = None;
        transaction.commit()?;
        *shown = Some(journal);
        Ok(())
    }

    /// Brings the nodes of the journal to their places.
    fn place(&self, connection: &mut Connection, journal: &Journal) -> Result<(), StorageError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        journal.place(&transaction, &[])?;
        self.finish(transaction, Arc::default())
    }

    /// No page more than there are: what a full disk says.
    #[cfg(test)]
    pub(crate) fn fill(&self, full: bool) {
        let pages = if full { 1_i64 } else { 1 << 30 };
        let _: i64 =
            self.writer().query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0)).unwrap();
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite({})", self.path.display())
    }
}

impl Storage for Sqlite {
    type View<'a> = SqliteView<'a>;

    fn bind(&self, binding: &Binding) -> Result<(), StorageError> {
        let mut connection = self.writing()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match read::binding(&transaction)? {
            Some(bound) if bound == *binding => return Ok(()),
            Some(_) => return Err(StorageError::OtherBinding),
            None => {}
        }
        transaction.execute(
            "INSERT INTO binding (id, origin, vrf_key, log_key) VALUES (1, ?, ?, ?)",
            params![binding.origin, binding.vrf_key, binding.log_key],
        )?;
        Ok(transaction.commit()?)
    }

    fn view(&self) -> Result<SqliteView<'_>, StorageError> {
        let idle = self.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => reader(&self.path)?,
        };
        // Nothing is committed before the connection has seen its moment.
        let journal = self.journal();
        let view = SqliteView::begin(connection, &self.readers)?;
        match &*journal {
            Some(journal) => Ok(view.with(journal.clone())),
            None => view.with_its_own(),
        }
    }

    fn own_view(&self) -> Result<SqliteView<'_>, StorageError> {
        let connection = self.writer();
        let journal = self.known(&connection)?;
        Ok(SqliteView::own(connection, journal))
    }

    /// A transaction that only reads: without it every single read locks the file and looks for the newest commit.
    fn begin_reading(&self) -> Result<(), StorageError> {
        let connection = self.writer();
        if connection.is_autocommit() {
            connection.prepare_cached("BEGIN")?.execute([])?;
        }
        Ok(())
    }

    fn end_reading(&self) {
        // Where it cannot be ended now, the next write says so.
        drop(self.writing());
    }

    /// Nodes to their places and a checkpoint, which waits for no reader. Within a commit it would be waited for.
    fn tidy(&self) -> Result<(), StorageError> {
        let mut connection = self.writing()?;
        let journal = self.known(&connection)?;
        if self.untidy.load(Ordering::Relaxed).saturating_add(journal.rows()) < UNTIDY {
            return Ok(());
        }
        if journal.rows() > 0 {
            // What is lost of it with the power is done again.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            let placed = self.place(&mut connection, &journal);
            connection.pragma_update(None, "synchronous", "FULL")?;
            placed?;
        }
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        self.untidy.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), StorageError> {
        let mut connection = self.writing()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (newest, size) = read::head(&transaction)?.map_or((0, 0), |head| (head.epoch, head.size));
        if batch.leaf.index != size {
            return Err(StorageError::Conflict);
        }
        let mut journal = self.known(&transaction)?;
        match &batch.epoch {
            Some(epoch) if epoch.number == newest + 1 => {
                let changed = epoch.changed.len();
                if journal.has_room(changed) {
                    journal = Arc::new(journal.with(&transaction, epoch.number, &epoch.changed)?);
                } else {
                    journal.place(&transaction, &epoch.changed)?;
                    self.untidy.fetch_add(journal.rows().saturating_add(changed), Ordering::Relaxed);
                    journal = Arc::default();
                }
                add_epoch(&transaction, epoch)?;
            }
            // There is nothing yet that a leaf could repeat.
            None if newest > 0 => {}
            Some(_) | None => return Err(StorageError::Conflict),
        }
        let mut leaf = transaction.prepare_cached("INSERT INTO leaf (number, entry) VALUES (?, ?)")?;
        leaf.execute(params![integer(batch.leaf.index)?, batch.leaf.entry])?;
        let mut subtree = transaction.prepare_cached("INSERT INTO subtree (level, number, hash) VALUES (?, ?, ?)")?;
        for (level, number, hash) in &batch.leaf.subtrees {
            subtree.execute(params![level, integer(*number)?, hash])?;
        }
        drop((leaf, subtree));
        self.finish(transaction, journal)
    }

    fn keep_proofs(&self, proofs: &[(u64, VrfPair)]) -> Result<(), StorageError> {
        let mut connection = self.writing()?;
        // What is lost with the power is made again; the next epoch's commit brings it to the disk.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let kept = keep_proofs(&mut connection, proofs);
        connection.pragma_update(None, "synchronous", "FULL")?;
        kept
    }

    fn keep_cosignature(&self, key: &str, size: u64, line: &str) -> Result<bool, StorageError> {
        let changed = self.writing()?.execute(
            "INSERT INTO cosignature (key, size, line) VALUES (?, ?, ?)
             ON CONFLICT (key) DO UPDATE SET size = excluded.size, line = excluded.line WHERE excluded.size >= size",
            params![key, integer(size)?, line],
        )?;
        Ok(changed > 0)
    }
}

fn add_epoch(connection: &Connection, epoch: &NewEpoch) -> Result<(), StorageError> {
    let number = integer(epoch.number)?;
    let mut version =
        connection.prepare_cached("INSERT INTO version (hash, label, version, epoch, value) VALUES (?, ?, ?, ?, ?)")?;
    for (label, new) in &epoch.versions {
        let newest = read::newest_number(connection, label)?;
        if newest.checked_add(1) != Some(new.version) || new.epoch != epoch.number {
            return Err(StorageError::Conflict);
        }
        version.execute(params![short_hash(label), label, new.version, number, new.value])?;
    }
    let mut row = connection.prepare_cached("INSERT INTO epoch (number, root, nodes, audit) VALUES (?, ?, ?, ?)")?;
    row.execute(params![number, epoch.root, integer(epoch.nodes)?, epoch.audit])?;
    Ok(())
}

fn keep_proofs(connection: &mut Connection, proofs: &[(u64, VrfPair)]) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut statement = transaction.prepare_cached("INSERT INTO vrf (version, proofs) VALUES (?, ?)")?;
    for (version, VrfPair { fresh, stale }) in proofs {
        statement.execute(params![integer(*version)?, [fresh.to_bytes(), stale.to_bytes()].as_flattened()])?;
    }
    drop(statement);
    Ok(transaction.commit()?)
}

fn reader(path: &Path) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -READER_CACHE)?;
    Ok(connection)
}

/// By what a label is found: eight bytes in the index in place of sixty. Labels are compared besides.
fn short_hash(label: &[u8]) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[label]);
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// SQLite's integers end at 2^63.
fn integer(number: u64) -> Result<i64, StorageError> {
    i64::try_from(number).map_err(|_| StorageError::Damaged)
}

fn number(integer: i64) -> Result<u64, StorageError> {
    u64::try_from(integer).map_err(|_| StorageError::Damaged)
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        // SQLITE_FULL; and SQLITE_IOERR_WRITE, _FSYNC and _SHMSIZE, which stand for a quota or a limit of file sizes.
        const NO_ROOM: [i32; 4] = [13, 778, 1034, 4874];
        match error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                _ if NO_ROOM.contains(&failure.extended_code) => Self::Full,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged,
                ErrorCode::ConstraintViolation => Self::Conflict,
                _ => Self::Failed(failure.extended_code),
            },
            // A column of another type or length, or a row that should be there.
            _ => Self::Damaged,
        }
    }
}

#[cfg(test)]
mod tests;
