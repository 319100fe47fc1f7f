//! Pages on their way back to their files, without holding up who reads and changes them meanwhile: the next journal is begun, the pages are
//! copied, the copies written. What fails is gone on with the next time, from where it failed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::journal::{self, Entries, Log};
use super::{Cell, Coins, PAGE, PageNumber, StoreError, locked};

/// Pages that are being written back, and the journal that leads to them.
pub(super) struct Generation {
    number: u64,
    dirty: BTreeMap<PageNumber, Arc<Cell>>,
    /// Their copies are on the disk.
    copied: bool,
}

#[derive(Default)]
pub(super) struct Writing {
    /// Begun, and not finished because something failed.
    generation: Option<Generation>,
    /// Files that nothing needs any more, oldest first.
    stale: Vec<Log>,
}

impl Coins {
    /// Writes back every page that was changed. Others read and change meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]: the journal has the changes still, and the next time goes on where this one failed.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut writing = locked(&self.writing);
        if writing.generation.is_none() {
            let (number, needed) = {
                let active = locked(&self.active);
                (active.number, active.broken || !active.dirty.is_empty())
            };
            if !needed {
                return self.tidy(&mut writing);
            }
            writing.generation = Some(self.rotate(number)?);
        }
        if let Some(generation) = &mut writing.generation {
            self.write_back(generation)?;
        }
        if let Some(Generation { number, dirty, .. }) = writing.generation.take() {
            self.counters.written.fetch_add(dirty.len() as u64, Ordering::Relaxed);
            writing.stale.extend([Log { number, images: false }, Log { number, images: true }]);
            let mut active = locked(&self.active);
            // What these had is in the pages, which are synced.
            active.unsynced.clear();
            active.leaving = 0;
        }
        self.tidy(&mut writing)
    }

    /// Begins the next journal; its name is on the disk before anybody writes to it.
    fn rotate(&self, number: u64) -> Result<Generation, StoreError> {
        let path = Log { number: number + 1, images: false }.path(&self.data);
        let failed = |error| StoreError::Io { path: path.clone(), error };
        // One that was begun and not used, because the folder could not be synced, is empty.
        if fs::metadata(&path).is_ok_and(|there| there.len() == 0) {
            self.options.disk.remove(&path).map_err(failed)?;
        }
        let next = self.options.disk.create(&path).map_err(failed)?;
        self.options.disk.sync_directory(&self.data).map_err(failed)?;
        let mut active = locked(&self.active);
        let former = std::mem::replace(&mut active.file, next);
        active.unsynced.push(former);
        (active.number, active.length, active.broken) = (number + 1, 0, false);
        let dirty = std::mem::take(&mut active.dirty);
        active.leaving = dirty.len();
        Ok(Generation { number, dirty, copied: false })
    }

    /// Removes what is in the pages, oldest first: a later file is never gone while an earlier one would be read without it.
    fn tidy(&self, writing: &mut Writing) -> Result<(), StoreError> {
        let any = !writing.stale.is_empty();
        while let Some(log) = writing.stale.first() {
            let path = log.path(&self.data);
            match self.options.disk.remove(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::Io { path, error }),
            }
            writing.stale.remove(0);
        }
        if any {
            let failed = |error| StoreError::Io { path: self.data.clone(), error };
            self.options.disk.sync_directory(&self.data).map_err(failed)?;
        }
        Ok(())
    }

    /// Copies the pages of a generation unless that was done, then writes the copies into the pages' files.
    fn write_back(&self, generation: &mut Generation) -> Result<(), StoreError> {
        let disk = &self.options.disk;
        let path = Log { number: generation.number, images: true }.path(&self.data);
        let failed = |error| StoreError::Io { path: path.clone(), error };
        if !generation.copied {
            if let Err(error) = self.copy(generation, &path) {
                // Half of them is of no use, and its room may be what is missing.
                let _gone = disk.remove(&path);
                return Err(failed(error));
            }
            generation.copied = true;
        }
        // From here on what was copied is what a crash leads to, so the files get the copies and not what the pages are by now.
        let mut written = 0;
        for entry in Entries::open(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.is_end() {
                break;
            }
            let path = entry.number.path(&self.data);
            let there = generation.dirty.get(&entry.number).is_some_and(|cell| cell.on_disk.load(Ordering::Relaxed));
            let done = if there { disk.overwrite(&path, &entry.bytes) } else { disk.replace(&path, &entry.bytes) };
            done.map_err(|error| StoreError::Io { path, error })?;
            if let Some(cell) = generation.dirty.get(&entry.number) {
                cell.on_disk.store(true, Ordering::Relaxed);
            }
            written += 1;
        }
        if written == generation.dirty.len() {
            Ok(())
        } else {
            generation.copied = false;
            Err(failed(io::Error::other("the copies cannot be read back")))
        }
    }

    fn copy(&self, generation: &Generation, path: &Path) -> io::Result<()> {
        let disk = &self.options.disk;
        if path.exists() {
            disk.remove(path)?;
        }
        let images = disk.create(path)?;
        disk.sync_directory(&self.data)?;
        let mut buffer = zeroize::Zeroizing::new(Vec::with_capacity(PAGE + 64));
        for (number, cell) in &generation.dirty {
            buffer.clear();
            if let Some(page) = &*locked(&cell.page) {
                journal::entry(*number, 0, page.as_bytes(), &mut buffer);
            }
            disk.append(&images, &buffer)?;
        }
        buffer.clear();
        journal::end(&mut buffer);
        disk.append(&images, &buffer)?;
        disk.sync(&images)
    }
}
