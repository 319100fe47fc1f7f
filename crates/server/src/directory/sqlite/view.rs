//! Reading: states of the database.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use undertone_transparency::log::Hash;

use super::journal::Journal;
use super::read;
use crate::directory::storage::{Head, StorageError, Version, View, Visit};

/// A state of the database: of one moment on a reading connection, or what was committed last on the writing one.
pub struct SqliteView<'a> {
    held: Held<'a>,
    /// Nodes that are not in their places in this state.
    journal: Arc<Journal>,
}

enum Held<'a> {
    /// The connection is only taken away when the view ends.
    Pooled(Option<Connection>, &'a Mutex<Vec<Connection>>),
    Own(MutexGuard<'a, Connection>),
}

impl<'a> SqliteView<'a> {
    /// The state of this moment, on a reading connection; without its journal.
    pub(super) fn begin(connection: Connection, pool: &'a Mutex<Vec<Connection>>) -> Result<Self, StorageError> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        // The transaction's moment is that of its first read.
        connection.prepare_cached("SELECT MAX(epoch) FROM journal")?.query_row([], |_| Ok(()))?;
        Ok(Self { held: Held::Pooled(Some(connection), pool), journal: Arc::default() })
    }

    /// With the journal of that moment.
    pub(super) fn with(self, journal: Arc<Journal>) -> Self {
        let mut view = self;
        view.journal = journal;
        view
    }

    /// With the journal as the database has it.
    pub(super) fn with_its_own(self) -> Result<Self, StorageError> {
        let journal = Journal::load(self.connection()?)?;
        Ok(self.with(Arc::new(journal)))
    }

    pub(super) const fn own(connection: MutexGuard<'a, Connection>, journal: Arc<Journal>) -> Self {
        Self { held: Held::Own(connection), journal }
    }

    fn connection(&self) -> Result<&Connection, StorageError> {
        match &self.held {
            Held::Pooled(connection, _) => connection.as_ref().ok_or(StorageError::Failed(0)),
            Held::Own(connection) => Ok(connection.deref()),
        }
    }
}

impl Drop for SqliteView<'_> {
    fn drop(&mut self) {
        if let Held::Pooled(connection, pool) = &mut self.held
            && let Some(connection) = connection.take()
            // One that does not end its transaction is not used again.
            && connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).is_ok()
        {
            pool.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl fmt::Debug for SqliteView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteView")
    }
}

impl View for SqliteView<'_> {
    fn head(&self) -> Result<Option<Head>, StorageError> {
        read::head(self.connection()?)
    }

    fn node(&self, label: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(node) = self.journal.node(label) {
            return Ok(Some(node.to_vec()));
        }
        read::optional(self.connection()?, "SELECT node FROM node WHERE label = ?", [label])
    }

    fn nodes(&self, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let late = self.journal.nodes();
        let mut late = late.into_iter().peekable();
        let mut statement = self.connection()?.prepare("SELECT label, node FROM node ORDER BY label")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let bytes = |column| row.get_ref(column)?.as_blob().map_err(|_| StorageError::Damaged);
            let (label, placed) = (bytes(0)?, bytes(1)?);
            while let Some((label, node)) = late.next_if(|(late, _)| *late < label) {
                visit(label, node)?;
            }
            let newer = late.next_if(|(late, _)| *late == label);
            visit(label, newer.map_or(placed, |(_, node)| node))?;
        }
        late.try_for_each(|(label, node)| visit(label, node))
    }

    fn newest(&self, label: &[u8], epoch: u64) -> Result<Option<Version>, StorageError> {
        read::newest(self.connection()?, label, epoch)
    }

    fn versions(&self, label: &[u8], from: u32, to: u32) -> Result<Vec<Version>, StorageError> {
        read::versions(self.connection()?, label, from, to)
    }

    fn unproven(&self, most: usize) -> Result<Vec<(u64, Vec<u8>, u32)>, StorageError> {
        read::unproven(self.connection()?, most)
    }

    fn root(&self, epoch: u64) -> Result<Option<Hash>, StorageError> {
        // No epoch was ever beyond what SQLite can count.
        let Ok(epoch) = super::integer(epoch) else { return Ok(None) };
        read::optional(self.connection()?, "SELECT root FROM epoch WHERE number = ?", [epoch])
    }

    fn audit(&self, epoch: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let Ok(epoch) = super::integer(epoch) else { return Ok(None) };
        read::optional(self.connection()?, "SELECT audit FROM epoch WHERE number = ?", [epoch])
    }

    fn leaves(&self, first: u64, count: u16) -> Result<Vec<Vec<u8>>, StorageError> {
        let Ok(first) = super::integer(first) else { return Ok(Vec::new()) };
        let mut statement = self
            .connection()?
            .prepare_cached("SELECT entry FROM leaf WHERE number BETWEEN ?1 AND ?2 ORDER BY number")?;
        let last = first.saturating_add(i64::from(count)).saturating_sub(1);
        let rows = statement.query_map([first, last], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, StorageError> {
        let place = [i64::from(level), super::integer(index)?];
        let hash =
            read::optional(self.connection()?, "SELECT hash FROM subtree WHERE level = ? AND number = ?", place)?;
        hash.ok_or(StorageError::Damaged)
    }

    fn cosignatures(&self) -> Result<Vec<(u64, String)>, StorageError> {
        let mut statement = self.connection()?.prepare_cached("SELECT size, line FROM cosignature ORDER BY key")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let sized = |row: Result<(i64, String), rusqlite::Error>| {
            let (size, line) = row?;
            Ok((super::number(size)?, line))
        };
        rows.map(sized).collect()
    }
}
