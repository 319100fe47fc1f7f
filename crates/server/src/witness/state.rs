//! The files of a witness.
//!
//! | file | mode | what |
//! | --- | --- | --- |
//! | the key file | 0600 | seed of the Ed25519 key, 32 bytes; made at the first start |
//! | `memory` | 0600 | what is known of the log ([`Memory`](super::Memory)) |
//! | `conviction-<rule>-<digits>.cbor` | 0600 | [`Evidence`](super::Evidence) that ends the cosigning until it is moved away |
//! | `suspicion-<rule>-<digits>.cbor` | 0600 | [`Evidence`](super::Evidence) that convicts nobody by itself |
//! | `lock` | 0600 | held while a witness runs |
//!
//! Never restore `memory` from a backup, and never let two witnesses have one key: either may cosign what the other
//! must not. A key whose memory is lost is to be replaced by a new one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use undertone_keys::Secret;
use undertone_keys::digest::sha256;
use undertone_keys::sign::{SigningKey, Witness};
use undertone_transparency::note::{BadName, WitnessKey};

use super::Accused;
use super::keep::Keep;
use super::memory::BadMemory;

/// Bytes of a stored memory at most: a note of 64 KiB and little else.
const MAX_MEMORY: u64 = 256 << 10;
/// Files of evidence of each kind at most: whoever is on the way to the log could make any number.
const MAX_FILES: usize = 64;
/// How the name of a file begins that ends the cosigning.
const CONVICTION: &str = "conviction-";
/// How the name of one begins that does not.
const SUSPICION: &str = "suspicion-";

/// The folder of one witness of one log, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another witness runs on this folder.
    #[error("another witness is using {}", .0.display())]
    InUse(PathBuf),
    /// The key file is not 32 bytes.
    #[error("{} is no witness's key: put the right file back, or name another one and a key is made", .0.display())]
    Key(PathBuf),
    /// What is remembered is damaged or belongs to another log or witness.
    #[error("{0}: start in another folder, with a new key if it was this log")]
    Memory(#[from] BadMemory),
}

/// The witness's key in this file; a new one, if there is no such file.
///
/// # Errors
/// [`StateError`].
pub fn read_or_make_key(path: &Path, rng: &mut impl rand_core::CryptoRng) -> Result<SigningKey<Witness>, StateError> {
    match read(path, 32)? {
        Some(seed) => {
            let seed = Secret::from_slice(&seed).ok_or_else(|| StateError::Key(path.to_owned()))?;
            Ok(SigningKey::from_seed(seed))
        }
        None => {
            let key = SigningKey::generate(rng);
            write_whole(path, key.seed().expose())?;
            Ok(key)
        }
    }
}

/// The public key with the name of the witness: the one given, or one of its own, `undertone-witness-` and 16
/// hexadecimal digits of the key's SHA-256. Two witnesses of a policy may not have the same.
///
/// # Errors
/// [`BadName`].
pub fn witness_key(key: &SigningKey<Witness>, name: Option<&str>) -> Result<WitnessKey, BadName> {
    let own = || format!("undertone-witness-{}", digits(&sha256(&[key.public().as_bytes()])));
    let name = name.map_or_else(own, str::to_owned).parse()?;
    Ok(WitnessKey::new(name, *key.public()))
}

impl Folder {
    /// Opens or makes the folder and locks it.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::InUse`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        let at = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&at);
        let lock = lock.map_err(failed(&at))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(StateError::Io { path: at, source }),
        }
    }

    /// Keeps evidence; the same twice is kept once. `None` when there is enough of its kind already.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn accuse(&self, accused: &Accused) -> Result<Option<PathBuf>, StateError> {
        let evidence = accused.evidence.as_ref();
        let kind = if accused.ends_cosigning() { CONVICTION } else { SUSPICION };
        // The clock makes no other evidence of it, so that a log that shows the same again and again fills nothing.
        let digits = digits(&evidence.digest());
        let path = self.path.join(format!("{kind}{}-{digits}.cbor", evidence.rule().to_ascii_lowercase()));
        if path.try_exists().map_err(failed(&path))? {
            return Ok(Some(path));
        }
        if self.files(kind)?.len() >= MAX_FILES {
            return Ok(None);
        }
        write_whole(&path, &evidence.to_bytes())?;
        Ok(Some(path))
    }

    /// The evidence for which nothing is cosigned.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn conviction(&self) -> Result<Option<PathBuf>, StateError> {
        Ok(self.files(CONVICTION)?.into_iter().min())
    }

    fn files(&self, kind: &str) -> Result<Vec<PathBuf>, StateError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed(&self.path))? {
            let name = entry.map_err(failed(&self.path))?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(kind) && name.ends_with(".cbor")) {
                files.push(self.path.join(name));
            }
        }
        Ok(files)
    }
}

impl Keep for Folder {
    type Error = StateError;

    fn read(&mut self) -> Result<Option<Vec<u8>>, StateError> {
        read(&self.path.join("memory"), MAX_MEMORY)
    }

    fn write(&mut self, memory: &[u8]) -> Result<(), StateError> {
        write_whole(&self.path.join("memory"), memory)
    }
}

/// What is in a file, and one byte more where it is longer than it may be; `None` where there is none.
fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, StateError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path)(source)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed(path))?;
    Ok(Some(bytes))
}

/// Writes a file that has all of its new contents or all of its old ones, whatever happens, and returns when it has the
/// new.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let partial = path.with_added_extension("partial");
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(failed(&partial))?;
    fs::rename(&partial, path).map_err(failed(path))?;
    // A file without a folder in its path lies in the current one.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    |source| StateError::Io { path, source }
}

/// Sixteen hexadecimal digits of a hash.
fn digits(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
