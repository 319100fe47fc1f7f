//! Files that are whole before they are where others look.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::flags;
use crate::command::KeyId;

/// A file that is written and synced under another name, and gone again unless it is put into its place.
pub(super) struct Draft {
    path: PathBuf,
    new: PathBuf,
}

impl Draft {
    pub(super) fn write(path: PathBuf, bytes: &[u8], shared: bool) -> io::Result<Self> {
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let draft = Self { path, new: new.into() };
        let mode = if shared { 0o640 } else { 0o600 };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode).custom_flags(flags());
        let mut file = options.open(&draft.new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(draft)
    }

    pub(super) fn place(self) -> io::Result<()> {
        fs::rename(&self.new, &self.path)
    }
}

/// Whether a file's name is a draft's.
pub(super) fn is_draft(name: &str) -> bool {
    let of = name.strip_suffix(".new");
    of.is_some_and(|of| KeyId::from_name(of.strip_suffix(".owner").unwrap_or(of)).is_some())
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where it was put into its place there is none.
        let _gone = fs::remove_file(&self.new);
    }
}
