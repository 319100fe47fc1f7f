//! A storage for `akd` on SQLite, as one writes it from the trait: a row for each record, an epoch in one transaction, no
//! cache but SQLite's pages. It is the peer that the server's directory is measured against.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use akd::errors::StorageError;
use akd::storage::types::{
    DbRecord, KeyData, StorageType, ValueState, ValueStateKey, ValueStateRetrievalFlag as Which,
};
use akd::storage::{Database, DbSetState, Storable};
use akd::tree_node::{NodeKey, TreeNode, TreeNodeType, TreeNodeWithPreviousValue};
use akd::{AkdLabel, AkdValue, AzksValue, Configuration, NodeLabel, WhatsAppV1Configuration};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

/// In place of the length of the label that stands for none: it has no bits, and bytes that are not zero.
const EMPTY: u16 = u16::MAX;
/// KiB of pages, as many as the server's writer keeps.
const CACHE: i64 = 64 << 10;

/// One connection, behind a lock.
pub(super) struct AkdSqlite(Mutex<Connection>);

impl AkdSqlite {
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(
            "CREATE TABLE node (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE vs (label BLOB, epoch INTEGER, version INTEGER, nl BLOB, value BLOB,
                 PRIMARY KEY (label, epoch)) WITHOUT ROWID;
             CREATE TABLE azks (id INTEGER PRIMARY KEY, epoch INTEGER, num INTEGER);",
        )?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<St: Storable>(connection: &Connection, id: &St::StorageKey) -> rusqlite::Result<Option<DbRecord>> {
        let key = St::get_full_binary_key_id(id);
        match St::data_type() {
            StorageType::Azks => {
                let mut azks = connection.prepare_cached("SELECT epoch, num FROM azks WHERE id = 1")?;
                let azks = azks.query_row([], |row| Ok(DbRecord::build_azks(number(row, 0)?, number(row, 1)?)));
                Ok(azks.optional()?.map(DbRecord::Azks))
            }
            StorageType::TreeNode => {
                let NodeKey(label) = TreeNodeWithPreviousValue::key_from_full_binary(&key).map_err(odd)?;
                let mut node = connection.prepare_cached("SELECT v FROM node WHERE k = ?")?;
                let packed: Option<Vec<u8>> = node.query_row([pack_label(&label)], |row| row.get(0)).optional()?;
                let node = packed.map(|packed| unpack(label, &packed).ok_or_else(|| odd("a node"))).transpose()?;
                Ok(node.map(DbRecord::TreeNode))
            }
            StorageType::ValueState => {
                let ValueStateKey(label, epoch) = ValueState::key_from_full_binary(&key).map_err(odd)?;
                Ok(newest(connection, &AkdLabel(label), Which::SpecificEpoch(epoch))?.map(DbRecord::ValueState))
            }
        }
    }

    fn put(&self, records: Vec<DbRecord>) -> rusqlite::Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for record in records {
            match record {
                DbRecord::Azks(azks) => {
                    let mut statement =
                        transaction.prepare_cached("INSERT OR REPLACE INTO azks (id, epoch, num) VALUES (1, ?, ?)")?;
                    statement.execute(params![azks.latest_epoch.cast_signed(), azks.num_nodes.cast_signed()])?;
                }
                DbRecord::TreeNode(node) => {
                    let mut statement = transaction.prepare_cached(
                        "INSERT INTO node (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
                    )?;
                    statement.execute(params![pack_label(&node.label), pack(&node)])?;
                }
                DbRecord::ValueState(ValueState { value, version, label, epoch, username }) => {
                    let mut statement = transaction.prepare_cached(
                        "INSERT OR REPLACE INTO vs (label, epoch, version, nl, value) VALUES (?, ?, ?, ?, ?)",
                    )?;
                    statement.execute(params![
                        username.0,
                        epoch.cast_signed(),
                        version.cast_signed(),
                        pack_label(&label),
                        value.0
                    ])?;
                }
            }
        }
        transaction.commit()
    }
}

#[async_trait]
impl Database for AkdSqlite {
    async fn set(&self, record: DbRecord) -> Result<(), StorageError> {
        self.put(vec![record]).map_err(|error| failed(&error))
    }

    async fn batch_set(&self, records: Vec<DbRecord>, _: DbSetState) -> Result<(), StorageError> {
        self.put(records).map_err(|error| failed(&error))
    }

    async fn get<St: Storable>(&self, id: &St::StorageKey) -> Result<DbRecord, StorageError> {
        Self::record::<St>(&self.connection(), id)
            .map_err(|error| failed(&error))?
            .ok_or_else(|| StorageError::NotFound(format!("{id:?}")))
    }

    async fn batch_get<St: Storable>(&self, ids: &[St::StorageKey]) -> Result<Vec<DbRecord>, StorageError> {
        let connection = self.connection();
        // One for all of them: SQLite locks and unlocks the file for each statement that stands alone.
        let transaction = connection.unchecked_transaction().map_err(|error| failed(&error))?;
        let records = ids.iter().filter_map(|id| Self::record::<St>(&transaction, id).transpose());
        records.collect::<Result<_, _>>().map_err(|error| failed(&error))
    }

    async fn get_user_data(&self, label: &AkdLabel) -> Result<KeyData, StorageError> {
        let connection = self.connection();
        let states = |connection: &Connection| {
            let mut statement =
                connection.prepare_cached("SELECT epoch, version, nl, value FROM vs WHERE label = ? ORDER BY epoch")?;
            statement.query_map([&label.0], |row| state(label, row))?.collect::<rusqlite::Result<Vec<_>>>()
        };
        match states(&connection).map_err(|error| failed(&error))? {
            states if states.is_empty() => Err(StorageError::NotFound(String::new())),
            states => Ok(KeyData { states }),
        }
    }

    async fn get_user_state(&self, label: &AkdLabel, which: Which) -> Result<ValueState, StorageError> {
        let found = newest(&self.connection(), label, which).map_err(|error| failed(&error))?;
        found.ok_or_else(|| StorageError::NotFound(String::new()))
    }

    async fn get_user_state_versions(
        &self,
        labels: &[AkdLabel],
        which: Which,
    ) -> Result<HashMap<AkdLabel, (u64, AkdValue)>, StorageError> {
        let (connection, mut found) = (self.connection(), HashMap::with_capacity(labels.len()));
        for label in labels {
            if let Some(state) = newest(&connection, label, which).map_err(|error| failed(&error))? {
                found.insert(label.clone(), (state.version, state.value));
            }
        }
        Ok(found)
    }
}

fn newest(connection: &Connection, label: &AkdLabel, which: Which) -> rusqlite::Result<Option<ValueState>> {
    let (condition, number) = match which {
        Which::SpecificVersion(version) => ("version = ?", version),
        Which::SpecificEpoch(epoch) => ("epoch = ?", epoch),
        Which::LeqEpoch(epoch) => ("epoch <= ?", epoch),
        Which::MaxEpoch => ("epoch <= ?", u64::MAX >> 1),
        // The first version is of the first epoch that the label has.
        Which::MinEpoch => ("version = ?", 1),
    };
    let sql =
        format!("SELECT epoch, version, nl, value FROM vs WHERE label = ? AND {condition} ORDER BY epoch DESC LIMIT 1");
    connection
        .prepare_cached(&sql)?
        .query_row(params![label.0, number.cast_signed()], |row| state(label, row))
        .optional()
}

fn state(label: &AkdLabel, row: &Row<'_>) -> rusqlite::Result<ValueState> {
    let place: Vec<u8> = row.get(2)?;
    let place = take_label(&mut place.as_slice()).ok_or_else(|| odd("a label"))?;
    Ok(ValueState {
        value: AkdValue(row.get(3)?),
        version: number(row, 1)?,
        label: place,
        epoch: number(row, 0)?,
        username: label.clone(),
    })
}

/// SQLite's integers have a sign; ours are far from it.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

fn failed(error: &rusqlite::Error) -> StorageError {
    StorageError::Connection(error.to_string())
}

fn odd(what: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnName(what.into())
}

/// Length in bits, then the bytes that count.
fn pack_label(label: &NodeLabel) -> Vec<u8> {
    if *label == WhatsAppV1Configuration::empty_label() {
        return EMPTY.to_be_bytes().to_vec();
    }
    let mut packed = (label.label_len as u16).to_be_bytes().to_vec();
    packed.extend(label.label_val.iter().take(label.label_len.div_ceil(8) as usize));
    packed
}

/// The newest state, then the one before it, if there is one.
fn pack(node: &TreeNodeWithPreviousValue) -> Vec<u8> {
    let mut packed = Vec::with_capacity(400);
    for state in [Some(&node.latest_node), node.previous_node.as_ref()].into_iter().flatten() {
        packed.push(state.node_type as u8);
        packed.extend(state.last_epoch.to_be_bytes());
        packed.extend(state.min_descendant_epoch.to_be_bytes());
        packed.extend(state.hash.0);
        packed.extend(pack_label(&state.parent));
        for child in [state.left_child, state.right_child] {
            packed.push(u8::from(child.is_some()));
            packed.extend(child.iter().flat_map(pack_label));
        }
    }
    packed
}

fn unpack(label: NodeLabel, mut packed: &[u8]) -> Option<TreeNodeWithPreviousValue> {
    let latest_node = take_state(label, &mut packed)?;
    let previous_node = if packed.is_empty() { None } else { Some(take_state(label, &mut packed)?) };
    Some(TreeNodeWithPreviousValue { label, latest_node, previous_node })
}

fn take_state(label: NodeLabel, packed: &mut &[u8]) -> Option<TreeNode> {
    let node_type = match take(packed)? {
        [1] => TreeNodeType::Leaf,
        [2] => TreeNodeType::Root,
        [3] => TreeNodeType::Interior,
        _ => return None,
    };
    let (last_epoch, lowest, hash) = (take(packed)?, take(packed)?, take(packed)?);
    let parent = take_label(packed)?;
    let mut child = || match take(packed)? {
        [0] => Some(None),
        _ => Some(Some(take_label(packed)?)),
    };
    let (left_child, right_child) = (child()?, child()?);
    Some(TreeNode {
        label,
        last_epoch: u64::from_be_bytes(last_epoch),
        min_descendant_epoch: u64::from_be_bytes(lowest),
        parent,
        node_type,
        left_child,
        right_child,
        hash: AzksValue(hash),
    })
}

fn take_label(packed: &mut &[u8]) -> Option<NodeLabel> {
    let length = u16::from_be_bytes(take(packed)?);
    if length == EMPTY {
        return Some(WhatsAppV1Configuration::empty_label());
    }
    let (bytes, rest) = packed.split_at_checked(usize::from(length).div_ceil(8))?;
    *packed = rest;
    let mut value = [0; 32];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(NodeLabel::new(value, length.into()))
}

fn take<const N: usize>(packed: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = packed.split_first_chunk()?;
    *packed = rest;
    Some(*taken)
}
