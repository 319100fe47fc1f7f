//! The tables, and how files of earlier formats come to have them.
//!
//! | table | row |
//! |---|---|
//! | `binding` | what the file belongs to; one row |
//! | `node` | a node of the tree, in its newest state, but for what is in `journal` |
//! | `journal` | the nodes that a small epoch changed, until they are written to `node` |
//! | `version` | a version of a label's entry; numbered in the order they came, so that pages fill up |
//! | `vrf` | the two VRF proofs of a version (192 bytes); the cache of rule KT-5 |
//! | `epoch` | root, count of nodes and audit proof of an epoch |
//! | `leaf`, `subtree` | the log: its entries and the hashes of its complete subtrees |
//! | `cosignature` | the newest line of each witness |

use rusqlite::{Connection, TransactionBehavior};

use super::StorageError;

/// "UKTD": what the file says it is.
const APPLICATION: i64 = 0x554b_5444;

/// Each brings a file from the format of its place to the next one. None is ever changed after it was released.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE binding (
        id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, vrf_key BLOB NOT NULL, log_key BLOB NOT NULL);
    CREATE TABLE node (label BLOB PRIMARY KEY, node BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE version (
        id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, label BLOB NOT NULL, version INTEGER NOT NULL,
        epoch INTEGER NOT NULL, value BLOB NOT NULL);
    CREATE INDEX version_hash ON version (hash, version);
    CREATE TABLE vrf (version INTEGER PRIMARY KEY, proofs BLOB NOT NULL);
    CREATE TABLE epoch (number INTEGER PRIMARY KEY, root BLOB NOT NULL, nodes INTEGER NOT NULL, audit BLOB NOT NULL);
    CREATE TABLE leaf (number INTEGER PRIMARY KEY, entry BLOB NOT NULL);
    CREATE TABLE subtree (
        level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, number))
        WITHOUT ROWID;
    CREATE TABLE cosignature (key TEXT PRIMARY KEY, size INTEGER NOT NULL, line TEXT NOT NULL) WITHOUT ROWID;
",
    "
    -- Nodes are written in a shorter form; those that are there stay until they change. VRF proofs are made again.
    DELETE FROM vrf;
",
    "
    CREATE TABLE journal (epoch INTEGER PRIMARY KEY, nodes BLOB NOT NULL);
",
];

/// Refuses a file that is not the directory's, or is of a later format. A new file is empty and says nothing.
pub(super) fn check(connection: &Connection) -> Result<(), StorageError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let known = known();
    match application {
        APPLICATION if found > known => Err(StorageError::Newer { found, known }),
        APPLICATION => Ok(()),
        0 if tables == 0 && found == 0 => Ok(()),
        _ => Err(StorageError::Damaged),
    }
}

/// Brings the file to the newest format, all at once or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).map_err(|_| StorageError::Damaged)?;
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration)?;
    }
    if found < known() {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", known())?;
    }
    Ok(transaction.commit()?)
}

const fn known() -> i64 {
    MIGRATIONS.len() as i64
}
