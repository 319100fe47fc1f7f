//! What is read on any connection.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::{integer, number, short_hash};
use crate::directory::storage::{Binding, Head, StorageError, Version, VrfPair, VrfProof};

pub(super) fn optional<T: FromSql, P: Params>(
    connection: &Connection,
    sql: &str,
    parameters: P,
) -> Result<Option<T>, StorageError> {
    Ok(connection.prepare_cached(sql)?.query_row(parameters, |row| row.get(0)).optional()?)
}

pub(super) fn binding(connection: &Connection) -> Result<Option<Binding>, StorageError> {
    let mut statement = connection.prepare_cached("SELECT origin, vrf_key, log_key FROM binding")?;
    let row =
        statement.query_row([], |row| Ok(Binding { origin: row.get(0)?, vrf_key: row.get(1)?, log_key: row.get(2)? }));
    Ok(row.optional()?)
}

pub(super) fn head(connection: &Connection) -> Result<Option<Head>, StorageError> {
    let mut statement =
        connection.prepare_cached("SELECT number, root, nodes FROM epoch ORDER BY number DESC LIMIT 1")?;
    let epoch = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let Some((epoch, root, nodes)) = epoch else { return Ok(None) };
    // An epoch never comes without its leaf.
    let mut statement = connection.prepare_cached("SELECT number, entry FROM leaf ORDER BY number DESC LIMIT 1")?;
    let (last, leaf): (i64, _) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(Head { epoch: number(epoch)?, root, nodes: number(nodes)?, size: number(last)? + 1, leaf }))
}

pub(super) fn newest(connection: &Connection, label: &[u8], epoch: u64) -> Result<Option<Version>, StorageError> {
    let mut statement = connection.prepare_cached(
        "SELECT version.version, epoch, value, proofs FROM version LEFT JOIN vrf ON vrf.version = version.id
         WHERE hash = ? AND label = ? AND epoch <= ? ORDER BY version.version DESC LIMIT 1",
    )?;
    let mut rows = statement.query(params![short_hash(label), label, integer(epoch)?])?;
    rows.next()?.map(version).transpose()
}

/// The number of the newest version; 0 where there is none.
pub(super) fn newest_number(connection: &Connection, label: &[u8]) -> Result<u32, StorageError> {
    const SQL: &str = "SELECT version FROM version WHERE hash = ? AND label = ? ORDER BY version DESC LIMIT 1";
    Ok(optional(connection, SQL, params![short_hash(label), label])?.unwrap_or(0))
}

pub(super) fn versions(
    connection: &Connection,
    label: &[u8],
    from: u32,
    to: u32,
) -> Result<Vec<Version>, StorageError> {
    let mut statement = connection.prepare_cached(
        "SELECT version.version, epoch, value, proofs FROM version LEFT JOIN vrf ON vrf.version = version.id
         WHERE hash = ? AND label = ? AND version.version BETWEEN ? AND ? ORDER BY version.version",
    )?;
    let mut rows = statement.query(params![short_hash(label), label, from, to])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        versions.push(version(row)?);
    }
    Ok(versions)
}

pub(super) fn unproven(connection: &Connection, most: usize) -> Result<Vec<(u64, Vec<u8>, u32)>, StorageError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, label, version FROM version WHERE id > (SELECT COALESCE(MAX(version), 0) FROM vrf)
         ORDER BY id LIMIT ?",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map([most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let numbered = |row: Result<(i64, Vec<u8>, u32), rusqlite::Error>| {
        let (id, label, version) = row?;
        Ok((number(id)?, label, version))
    };
    rows.map(numbered).collect()
}

fn version(row: &Row<'_>) -> Result<Version, StorageError> {
    let proofs = row.get_ref(3)?.as_blob_or_null().map_err(|_| StorageError::Damaged)?;
    let pair = |bytes: &[u8]| {
        let (fresh, stale) = bytes.split_at_checked(VrfProof::LENGTH)?;
        Some(VrfPair { fresh: VrfProof::from_bytes(fresh)?, stale: VrfProof::from_bytes(stale)? })
    };
    Ok(Version {
        version: row.get(0)?,
        epoch: number(row.get(1)?)?,
        value: row.get(2)?,
        vrf: proofs.map(|bytes| pair(bytes).ok_or(StorageError::Damaged)).transpose()?,
    })
}
