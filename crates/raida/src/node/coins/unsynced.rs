//! What a power cut takes from a disk, for tests: the ends of files that were appended to and not synced.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

/// A file that was appended to, and how long it was when it was synced last.
#[derive(Debug)]
struct Appended {
    file: File,
    synced: u64,
}

/// Those files, by their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsynced(Arc<Mutex<BTreeMap<u64, Appended>>>);

impl Unsynced {
    /// Something is to be appended.
    pub(super) fn appending(&self, file: &File) -> io::Result<()> {
        let there = file.metadata()?;
        if let Vacant(place) = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(there.ino()) {
            place.insert(Appended { file: file.try_clone()?, synced: there.len() });
        }
        Ok(())
    }

    /// What is in the file lasts.
    pub(super) fn synced(&self, file: &File) -> io::Result<()> {
        let there = file.metadata()?;
        if let Some(appended) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&there.ino()) {
            appended.synced = there.len();
        }
        Ok(())
    }

    /// The power has failed: what was not synced is gone.
    pub(super) fn lose(&self) -> io::Result<()> {
        let files = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for Appended { file, synced } in files.into_values() {
            if file.metadata()?.len() > synced {
                file.set_len(synced)?;
            }
        }
        Ok(())
    }
}
