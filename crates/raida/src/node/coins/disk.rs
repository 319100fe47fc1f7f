//! What the store does to the disk, one function each: everything that a crash can fall between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
use std::sync::atomic::{AtomicI64, Ordering};

#[cfg(test)]
use super::unsynced::Unsynced;

/// Who may read the files: the original's rights, or the owner alone.
#[derive(Clone, Debug)]
pub struct Disk {
    file_mode: u32,
    directory_mode: u32,
    /// Operations until the power fails; what is under way then is done by half.
    #[cfg(test)]
    pub(super) fuse: Option<Arc<AtomicI64>>,
    /// Operations until one fails, and those after it do not.
    #[cfg(test)]
    pub(super) fault: Option<Arc<AtomicI64>>,
    /// What a power cut takes: the ends of files that were appended to and not synced.
    #[cfg(test)]
    pub(super) unsynced: Option<Unsynced>,
}

impl Disk {
    /// Files that the group may read (0640, folders 0755) or the owner alone (0600, 0700).
    #[must_use]
    pub const fn new(shared: bool) -> Self {
        let (file_mode, directory_mode) = if shared { (0o640, 0o755) } else { (0o600, 0o700) };
        Self {
            file_mode,
            directory_mode,
            #[cfg(test)]
            fuse: None,
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            unsynced: None,
        }
    }

    /// How much of what is to be done is still done.
    #[cfg(test)]
    fn fails(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.fetch_sub(1, Ordering::SeqCst) == 0)
    }

    #[cfg(test)]
    fn burn(&self, length: usize) -> io::Result<usize> {
        let left = self.fuse.as_ref().map_or(i64::MAX, |fuse| fuse.fetch_sub(1, Ordering::SeqCst));
        match left {
            1.. => Ok(length),
            0 => Ok(length / 2),
            _ => Err(io::Error::other("the power has failed")),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests have a fuse here")]
    const fn burn(&self, length: usize) -> io::Result<usize> {
        Ok(length)
    }

    #[cfg(test)]
    fn went_out(&self) -> io::Result<()> {
        if self.fails() {
            return Err(io::Error::other("the disk has failed, this once"));
        }
        match &self.fuse {
            Some(fuse) if fuse.load(Ordering::SeqCst) < 0 => Err(io::Error::other("the power has failed")),
            _ => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests have a fuse here")]
    const fn went_out(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes a folder and those above it.
    pub(super) fn create_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(self.directory_mode).create(path)
    }

    /// A new file to append to; there must be none of that name.
    pub(super) fn create(&self, path: &Path) -> io::Result<Arc<File>> {
        self.burn(1)?;
        self.went_out()?;
        let made = OpenOptions::new().append(true).read(true).create_new(true).mode(self.file_mode).open(path)?;
        Ok(Arc::new(made))
    }

    pub(super) fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(unsynced) = &self.unsynced {
            unsynced.appending(file)?;
        }
        let whole = self.burn(bytes.len())?;
        file.write_all(bytes.get(..whole).unwrap_or_default())?;
        self.went_out()
    }

    /// Writes over a file that is there and as long.
    pub(super) fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(no_follow()).open(path)?;
        let whole = self.burn(bytes.len())?;
        file.write_all_at(bytes.get(..whole).unwrap_or_default(), 0)?;
        self.went_out()?;
        self.sync(&file)
    }

    /// Puts a whole file into place, or leaves what was there.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        let new = path.with_extension("new");
        if !directory.is_dir() {
            self.create_directory(directory)?;
            // The names of new folders have to last too: a page's folder, and its denomination's.
            for above in directory.ancestors().skip(1).take(2) {
                self.sync_directory(above)?;
            }
        }
        let mut file = OpenOptions::new();
        let file =
            file.write(true).create(true).truncate(true).mode(self.file_mode).custom_flags(no_follow()).open(&new)?;
        self.append(&file, bytes)?;
        self.sync(&file)?;
        self.burn(1)?;
        self.went_out()?;
        fs::rename(&new, path)?;
        self.sync_directory(directory)
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.went_out()?;
        file.sync_data()?;
        #[cfg(test)]
        if let Some(unsynced) = &self.unsynced {
            unsynced.synced(file)?;
        }
        Ok(())
    }

    pub(super) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.went_out()?;
        File::open(path)?.sync_all()
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.burn(1)?;
        self.went_out()?;
        fs::remove_file(path)
    }

    pub(super) fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.went_out()?;
        file.set_len(length)
    }
}

/// A name that somebody made a link of leads nowhere.
fn no_follow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}
