//! Nodes of small epochs, before they come to their places.
//!
//! An epoch of a hundred changes touches a thousand nodes, nearly each of them on a page of its own: in place, four
//! megabytes would be written and brought to the disk for a hundred kilobytes of news. So the nodes of a small epoch are
//! one row of the table `journal`, and stand in memory in front of the table `node`, until the storage is tidied or they
//! have become too many.
//!
//! A row's bytes, for each node: length of the label (2, big-endian), the label, length of the rest (2), the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{StorageError, integer};
use crate::directory::storage::NodeRow;

/// Nodes of an epoch at most that go into the journal. More are written in place at once: neighbours share pages then.
const SMALL: usize = 4_096;
/// Nodes in the journal at most: about a megabyte.
const MOST: usize = 8_192;

/// The journal in memory. Clones share what is in it.
#[derive(Clone, Default)]
pub(super) struct Journal {
    /// The newest last.
    epochs: Vec<Arc<Nodes>>,
    rows: usize,
}

type Nodes = FxHashMap<Vec<u8>, Vec<u8>>;

impl Journal {
    /// As the database has it.
    pub(super) fn load(connection: &Connection) -> Result<Self, StorageError> {
        let mut journal = Self::default();
        let mut statement = connection.prepare_cached("SELECT nodes FROM journal ORDER BY epoch")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob().map_err(|_| StorageError::Damaged)?;
            journal.add(unpack(bytes)?);
        }
        Ok(journal)
    }

    /// Nodes in it; those that several epochs changed count for each.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Whether an epoch that changed so many nodes should go in.
    pub(super) const fn has_room(&self, changed: usize) -> bool {
        changed <= SMALL && self.rows.saturating_add(changed) <= MOST
    }

    /// The newest state of a node, if it is here.
    pub(super) fn node(&self, label: &[u8]) -> Option<&[u8]> {
        self.epochs.iter().rev().find_map(|epoch| epoch.get(label)).map(Vec::as_slice)
    }

    /// The newest states of all nodes here, in the order of labels.
    pub(super) fn nodes(&self) -> BTreeMap<&[u8], &[u8]> {
        let all = self.epochs.iter().flat_map(|epoch| epoch.iter());
        all.map(|(label, node)| (label.as_slice(), node.as_slice())).collect()
    }

    /// The journal with one more epoch, which is written to the database.
    pub(super) fn with(&self, connection: &Connection, epoch: u64, changed: &[NodeRow]) -> Result<Self, StorageError> {
        let mut statement = connection.prepare_cached("INSERT INTO journal (epoch, nodes) VALUES (?, ?)")?;
        statement.execute(rusqlite::params![integer(epoch)?, pack(changed)?])?;
        let mut next = self.clone();
        next.add(changed.iter().map(|row| (row.label.clone(), row.node.clone())).collect());
        Ok(next)
    }

    /// Brings all that is in it, and then these, to their places.
    pub(super) fn place(&self, connection: &Connection, changed: &[NodeRow]) -> Result<(), StorageError> {
        let changed = changed.iter().map(|row| (row.label.as_slice(), row.node.as_slice()));
        let mut nodes: Vec<_> = changed.collect();
        if self.rows > 0 {
            let newer: FxHashSet<_> = nodes.iter().map(|(label, _)| *label).collect();
            nodes.extend(self.nodes().into_iter().filter(|(label, _)| !newer.contains(label)));
        }
        nodes.sort_unstable();
        // In a table with one index and nothing that hangs on it, REPLACE writes where it finds, while an upsert looks for
        // the place up to three times. In the order of the table, neighbours go to one page while it is at hand.
        let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO node (label, node) VALUES (?, ?)")?;
        for (label, node) in nodes {
            statement.execute([label, node])?;
        }
        if self.rows > 0 {
            connection.prepare_cached("DELETE FROM journal")?.execute([])?;
        }
        Ok(())
    }

    fn add(&mut self, nodes: Nodes) {
        self.rows = self.rows.saturating_add(nodes.len());
        self.epochs.push(Arc::new(nodes));
    }
}

fn pack(rows: &[NodeRow]) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::with_capacity(rows.iter().map(|row| row.label.len() + row.node.len() + 4).sum());
    for part in rows.iter().flat_map(|row| [&row.label, &row.node]) {
        bytes.extend(u16::try_from(part.len()).map_err(|_| StorageError::Conflict)?.to_be_bytes());
        bytes.extend(part);
    }
    Ok(bytes)
}

fn unpack(mut bytes: &[u8]) -> Result<Nodes, StorageError> {
    let mut nodes = Nodes::default();
    while !bytes.is_empty() {
        let (label, node) = (part(&mut bytes)?, part(&mut bytes)?);
        nodes.insert(label, node);
    }
    Ok(nodes)
}

fn part(bytes: &mut &[u8]) -> Result<Vec<u8>, StorageError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(StorageError::Damaged)?;
    let (part, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(StorageError::Damaged)?;
    *bytes = rest;
    Ok(part.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_was_there_and_a_part_of_a_node_is_damaged() {
        let rows: Vec<_> =
            (0..3_u8).map(|n| NodeRow { label: vec![0, n], node: vec![n; usize::from(n) * 50] }).collect();
        let packed = pack(&rows).unwrap();
        let nodes = unpack(&packed).unwrap();
        assert_eq!(nodes.len(), 3);
        assert!(rows.iter().all(|row| nodes.get(&row.label) == Some(&row.node)));
        let whole: Vec<_> = (1..=packed.len()).filter(|end| unpack(&packed[..*end]).is_ok()).collect();
        assert_eq!(whole, [6, 62, 168], "nothing but whole nodes");
        let long = NodeRow { label: vec![], node: vec![0; 1 << 16] };
        assert_eq!(pack(&[long]), Err(StorageError::Conflict));
    }
}
