//! What failed proofs leave behind, a file each (rule KT-9).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use undertone_transparency::evidence::Evidence;
use undertone_transparency::gossip::Divergence;

use super::{Home, HomeError};

/// Files of evidence of each kind that are kept: a server that lies again and again fills no disk.
const MAX_EVIDENCE: usize = 64;
/// What stands behind the name of a file that is being written.
const PARTIAL: &str = ".partial";

impl Home {
    /// Writes evidence of a failed proof to a file of its own, which is returned.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_evidence(&self, evidence: &Evidence) -> Result<PathBuf, HomeError> {
        self.keep_as_evidence(evidence.convicts(), &evidence.digest(), &evidence.to_bytes())
    }

    /// Writes evidence of two logs to a file of its own, which is returned.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn keep_divergence(&self, evidence: &Divergence) -> Result<PathBuf, HomeError> {
        self.keep_as_evidence(evidence.convicts(), &evidence.digest(), &evidence.to_bytes())
    }

    pub(super) fn keep_as_evidence(
        &self,
        convicts: bool,
        digest: &[u8; 32],
        bytes: &[u8],
    ) -> Result<PathBuf, HomeError> {
        let folder = self.folder().join("evidence");
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        // What convicts has a place of its own, whatever else a server has others send.
        let kind = if convicts { "conviction-" } else { "answer-" };
        let path = folder.join(format!("{kind}{digest}.evidence"));
        let io = |source| HomeError::Io { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
        if path.exists() {
            return Ok(path);
        }
        let names = fs::read_dir(&folder).map_err(io)?.filter_map(Result::ok).map(|entry| entry.file_name());
        let is_kept = |name: &str| name.starts_with(kind) && !name.ends_with(PARTIAL);
        let kept = names.filter(|name| name.to_str().is_some_and(is_kept)).count();
        if kept >= MAX_EVIDENCE {
            return Err(HomeError::Evidence(folder));
        }
        write(&folder, &path, bytes).map_err(io)?;
        Ok(path)
    }
}

/// All of it stands there under its name, durable on return, or nothing does: half a file would be in the way of the whole one.
fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}
