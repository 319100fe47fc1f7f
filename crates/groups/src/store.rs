//! Where a device's groups live: a map from keys to values that the shell keeps, sealed, on its disk.
//!
//! An operation reads the map and never writes it. What it would change comes out as a [`WriteSet`]; the shell commits that in one
//! transaction, then lets [`Store::apply`] do the same in memory, and only then lets bytes leave (rule STO-2). An operation
//! that is refused is one whose write set nobody commits.
//!
//! Values are in openmls's own layout, which is no stable format. So the store names its format and the version of the library,
//! and a store of another is not opened: the device joins anew, which costs one commit.

use core::cell::Cell;
use core::fmt;
use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use zeroize::Zeroizing;

use crate::group::{GroupId, Loaded};

/// The format of keys and values, with the version of the library whose layout they have.
const FORMAT: &[u8] = b"\x02openmls 0.9.2";
const FORMAT_KEY: &[u8] = b"format";

/// The state of all groups of one device, in memory. Holds secrets: no `Debug`, no `Clone`, and values are wiped.
///
/// Beside the values it holds one group as the library has it in memory, so that not every operation reads a whole tree again. It is
/// there only as long as it says what the values say: whatever changes them drops it, or brings the one that belongs to them.
pub struct Store {
    entries: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
    loaded: Cell<Option<Box<Loaded>>>,
}

/// Why stored bytes are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Written by another version of this software.
    #[error("the groups were stored in another format")]
    Format,
    /// A value is not what stands under its key.
    #[error("the stored groups are damaged")]
    Damaged,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// An empty one. The first write set carries the format.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), loaded: Cell::new(None) }
    }

    /// The one that the shell has kept.
    ///
    /// # Errors
    /// [`StoreError::Format`] when there is something and it is not of this format.
    pub fn load(entries: impl IntoIterator<Item = (Vec<u8>, Zeroizing<Vec<u8>>)>) -> Result<Self, StoreError> {
        let store = Self { entries: entries.into_iter().collect(), loaded: Cell::new(None) };
        let known = store.read(FORMAT_KEY).is_some_and(|format| format == FORMAT);
        if known || store.entries.is_empty() { Ok(store) } else { Err(StoreError::Format) }
    }

    /// Does in memory what the shell has committed.
    pub fn apply(&mut self, writes: WriteSet) {
        // Every write set says the format.
        if writes.len() > 1 {
            self.loaded = Cell::new(writes.loaded);
        }
        for (key, value) in writes.entries {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }

    /// The same before the shell has committed it, for whoever gathers what an input changes: it is added to `kept`.
    pub(crate) fn apply_and_keep(&mut self, writes: WriteSet, kept: &mut WriteSet) {
        for (key, value) in &writes.entries {
            kept.entries.insert(key.clone(), value.as_ref().map(|value| Zeroizing::new(value.to_vec())));
        }
        self.apply(writes);
    }

    /// The same for what is no part of a group as the library has it.
    pub(crate) fn apply_beside(&mut self, writes: WriteSet, kept: &mut WriteSet) {
        let loaded = self.loaded.take();
        self.apply_and_keep(writes, kept);
        self.loaded.set(loaded);
    }

    /// The group as it is in memory. Whoever has changed nothing of it puts it back.
    pub(crate) fn take_loaded(&self, id: GroupId) -> Option<Box<Loaded>> {
        self.loaded.take().filter(|loaded| loaded.id == id)
    }

    pub(crate) fn put_back(&self, loaded: Box<Loaded>) {
        self.loaded.set(Some(loaded));
    }

    pub(crate) fn read(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|value| value.as_slice())
    }

    pub(crate) fn starting_with<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.entries
            .range(prefix.to_vec()..)
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

/// What an operation changes, to be committed as one transaction. Holds secrets: no `Clone`, and values are wiped.
#[must_use = "what is not committed has not happened"]
pub struct WriteSet {
    entries: BTreeMap<Vec<u8>, Option<Zeroizing<Vec<u8>>>>,
    /// The group as it is in memory once these are applied.
    loaded: Option<Box<Loaded>>,
}

/// A write set as one value, for what may yet be dropped.
#[derive(Encode, Decode)]
struct Packed(#[n(0)] Vec<PackedEntry>);

#[derive(Encode, Decode)]
struct PackedEntry {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    value: Option<Vec<u8>>,
}

impl Drop for PackedEntry {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.value.zeroize();
    }
}

impl Default for WriteSet {
    fn default() -> Self {
        Self::new()
    }
}

impl WriteSet {
    /// Changes nothing but the format, which every write set says.
    pub(crate) fn new() -> Self {
        let entries = BTreeMap::from([(FORMAT_KEY.to_vec(), Some(Zeroizing::new(FORMAT.to_vec())))]);
        Self { entries, loaded: None }
    }

    /// The same, with the group that they are the values of.
    pub(crate) fn with_loaded(self, loaded: Box<Loaded>) -> Self {
        Self { loaded: Some(loaded), ..self }
    }

    /// Every change, in the order of the keys: a new value, or none where the key goes.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries.iter().map(|(key, value)| (key.as_slice(), value.as_ref().map(|value| value.as_slice())))
    }

    /// How many keys change.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and new values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.changes().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum()
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Zeroizing<Vec<u8>>) {
        self.entries.insert(key, Some(value));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.entries.insert(key, None);
    }

    pub(crate) fn change(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.entries.get(key).map(|value| value.as_ref().map(|value| value.as_slice()))
    }

    /// What both change, as one transaction: where they change the same, the later one counts.
    pub fn then(mut self, later: Self) -> Self {
        self.absorb(later);
        self
    }

    /// Adds what another set changes, which wins.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.loaded = None;
    }

    /// The whole set as one value.
    pub(crate) fn pack(self) -> Zeroizing<Vec<u8>> {
        // Heads of at most nine bytes for two strings and an array around them, and for the set.
        let room = self.size() + self.len() * 32 + 32;
        let entries = self
            .entries
            .into_iter()
            .map(|(key, value)| PackedEntry { key, value: value.map(|mut value| core::mem::take(&mut *value)) });
        cbor::encode_secret(&Packed(entries.collect()), room)
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, StoreError> {
        let Packed(entries) = cbor::decode(bytes).map_err(|_| StoreError::Damaged)?;
        let mut set = Self::new();
        for mut entry in entries {
            let (key, value) = (core::mem::take(&mut entry.key), entry.value.take());
            set.entries.insert(key, value.map(Zeroizing::new));
        }
        Ok(set)
    }
}

impl fmt::Debug for WriteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteSet")
    }
}
