//! The data folder: what is made at the first start and read at every other.
//!
//! | file | mode | what |
//! | --- | --- | --- |
//! | `identity.key` | 0600 | seed of the Ed25519 key that clients pin |
//! | `vrf.key` | 0600 | the key directory's VRF key; lost, the directory ends, and with another it does not open |
//! | `opaque.key` | 0600 | OPAQUE server setup; lost, nobody can log in any more |
//! | `tls.key`, `tls.crt` | 0600 | TLS key (PKCS#8 DER) and certificate (DER); may be replaced |
//! | `domain` | 0600 | the domain, fixed at the first start |
//! | `lock` | 0600 | held while a server runs |
//! | `undertone.db` | 0600 | accounts |
//! | `directory.db` | 0600 | the key directory and its log |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use opaque_ke::ServerSetup;
use undertone_keys::Secret;
use undertone_keys::sign::{Server, SigningKey};
use undertone_protocol::opaque::{Rng, Suite};
use undertone_transparency::checkpoint::origin;
use undertone_transparency::note::LogKey;

use crate::tls::Certificate;

/// The domain of a server that was told none.
pub const DEFAULT_DOMAIN: &str = "localhost";

/// The data folder of one server.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Held while the server runs: two servers on one folder would overwrite each other.
    _lock: File,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file system said no.
    #[error("{}: {source}{}", path.display(), advice(source.kind()))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another server runs on this folder.
    #[error("another server is using {}", .0.display())]
    InUse(PathBuf),
    /// A file is not what it should be.
    #[error("{} is damaged: restore it from a backup, the server will not make another in its place", .0.display())]
    Damaged(PathBuf),
    /// Only half of a TLS key and certificate is there.
    #[error(
        "{} is missing beside {}: put it back, or take both away and the server makes a new pair",
        missing.display(),
        there.display()
    )]
    Half {
        /// Which is not there.
        missing: PathBuf,
        /// Which is.
        there: PathBuf,
    },
    /// The VRF key is gone, and the directory that was made with it is there.
    #[error(
        "{} is missing, and {} was made with it: restore it from a backup, the server will not make another in its place",
        missing.display(),
        there.display()
    )]
    KeyLost {
        /// Which is not there.
        missing: PathBuf,
        /// What was made with it.
        there: PathBuf,
    },
    /// The folder belongs to another domain.
    #[error("this folder belongs to the domain {stored}, not {asked}: start with --domain {stored}")]
    Domain {
        /// What it was made for.
        stored: String,
        /// What was asked for.
        asked: String,
    },
    /// The certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Certificate(String),
}

/// The key in `identity.key`; `None` if it is none.
pub(crate) fn parse_identity(seed: &[u8]) -> Option<SigningKey<Server>> {
    Secret::from_slice(seed).map(SigningKey::from_seed)
}

/// The key of the log of the server that this folder is of, under its origin: what witnesses and auditors pin. Changes nothing.
///
/// # Errors
/// [`DataError`] where there is no server's folder, or its key is damaged.
pub fn log_key(path: &Path) -> Result<LogKey, DataError> {
    let read = |name: &str| {
        let path = path.join(name);
        fs::read(&path).map_err(|source| DataError::Io { path, source })
    };
    let (identity, domain) = (read("identity.key")?, read("domain")?);
    let key = parse_identity(&identity).ok_or_else(|| DataError::Damaged(path.join("identity.key")))?;
    let name = String::from_utf8(domain).ok().and_then(|domain| origin(&domain).ok());
    Ok(LogKey::new(name.ok_or_else(|| DataError::Damaged(path.join("domain")))?, *key.public()))
}

/// The domain of the server that this folder is of. Changes nothing.
///
/// # Errors
/// [`DataError`] where there is no server's folder, or the file is damaged.
pub fn domain(path: &Path) -> Result<String, DataError> {
    let path = path.join("domain");
    fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => DataError::Damaged(path),
        _ => DataError::Io { path, source },
    })
}

/// What is in `opaque.key`; `None` if it is damaged.
pub(crate) fn parse_opaque(bytes: &[u8]) -> Option<ServerSetup<Suite>> {
    ServerSetup::deserialize(bytes).ok()
}

/// What an operator can do about it.
const fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ": the server's user must be able to write there, or choose another folder with --data"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ": there is no room left; make some, or choose another folder with --data"
        }
        _ => "",
    }
}

impl DataFolder {
    /// Opens or makes the folder and locks it.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let lock_path = path.join("lock");
        let io = |source| DataError::Io { path: lock_path.clone(), source };
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(DataError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(DataError::Io { path: lock_path, source }),
        }
    }

    /// Where the database lies, made with mode 0600 if it was not there.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn database(&self) -> Result<PathBuf, DataError> {
        self.private("undertone.db")
    }

    /// Where the key directory's database lies, made with mode 0600 if it was not there.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn directory(&self) -> Result<PathBuf, DataError> {
        self.private("directory.db")
    }

    fn private(&self, name: &str) -> Result<PathBuf, DataError> {
        let path = self.path.join(name);
        let made = OpenOptions::new().create(true).truncate(false).append(true).mode(0o600).open(&path);
        made.map_err(|source| DataError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// The server's identity key.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn identity(&self, rng: &mut impl rand_core::CryptoRng) -> Result<SigningKey<Server>, DataError> {
        let seed = self.read_or_make("identity.key", || Secret::<32>::random(rng).expose().to_vec())?;
        parse_identity(&seed).ok_or_else(|| DataError::Damaged(self.path.join("identity.key")))
    }

    /// The key directory's VRF key, made at the first start.
    ///
    /// # Errors
    /// [`DataError`], [`DataError::KeyLost`] where it is not there and the directory is.
    pub fn vrf(&self, rng: &mut impl rand_core::CryptoRng) -> Result<Secret<32>, DataError> {
        // It is there before the directory is.
        let (missing, there) = (self.path.join("vrf.key"), self.path.join("directory.db"));
        if there.exists() && !missing.exists() {
            return Err(DataError::KeyLost { missing, there });
        }
        let seed = self.read_or_make("vrf.key", || Secret::<32>::random(rng).expose().to_vec())?;
        Secret::from_slice(&seed).ok_or(DataError::Damaged(missing))
    }

    /// The OPAQUE setup.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn opaque(&self, rng: &mut impl rand_core::CryptoRng) -> Result<ServerSetup<Suite>, DataError> {
        let bytes =
            self.read_or_make("opaque.key", || ServerSetup::<Suite>::new(&mut Rng(rng)).serialize().to_vec())?;
        parse_opaque(&bytes).ok_or_else(|| DataError::Damaged(self.path.join("opaque.key")))
    }

    /// The TLS key and certificate: the operator's own, or a pair made for these names.
    ///
    /// # Errors
    /// [`DataError`], [`DataError::Half`] where only one of the two is there.
    pub fn certificate(&self, names: &[String]) -> Result<Certificate, DataError> {
        let [key, chain, partial] = ["tls.key", "tls.crt", "tls.key.partial"].map(|name| self.path.join(name));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Io { path, source }
        };
        let read = |path: &Path| fs::read(path).map_err(io(path));
        match (key.exists(), chain.exists()) {
            (true, true) => {}
            (false, false) => {
                let made =
                    Certificate::self_signed(names).map_err(|error| DataError::Certificate(error.to_string()))?;
                // The key is complete before the certificate appears, and gets its name last: a start that was cut off
                // in between is told from an operator's half pair by the key that waits.
                self.write(&partial, &made.key)?;
                self.write_new("tls.crt", &made.certificate)?;
                self.rename(&partial, &key)?;
            }
            (false, true) if Certificate::from_der(read(&chain)?, read(&partial).unwrap_or_default()).is_some() => {
                self.rename(&partial, &key)?;
            }
            // An operator's own pair, half of it: making a new one would overwrite the other half.
            (false, true) => return Err(DataError::Half { missing: key, there: chain }),
            (true, false) => return Err(DataError::Half { missing: chain, there: key }),
        }
        Certificate::from_der(read(&chain)?, read(&key)?).ok_or(DataError::Damaged(chain))
    }

    /// The domain: what was set at the first start, [`DEFAULT_DOMAIN`] if nothing was.
    ///
    /// # Errors
    /// [`DataError`], [`DataError::Domain`] when another one is asked for.
    pub fn domain(&self, asked: Option<&str>) -> Result<String, DataError> {
        let bytes = self.read_or_make("domain", || asked.unwrap_or(DEFAULT_DOMAIN).as_bytes().to_vec())?;
        let stored = String::from_utf8(bytes).map_err(|_| DataError::Damaged(self.path.join("domain")))?;
        match asked {
            Some(asked) if asked != stored => Err(DataError::Domain { stored, asked: asked.to_owned() }),
            Some(_) | None => Ok(stored),
        }
    }

    fn read_or_make(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, DataError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            Ok(_) => Err(DataError::Damaged(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = make();
                self.write_new(name, &bytes)?;
                Ok(bytes)
            }
            Err(source) => Err(DataError::Io { path, source }),
        }
    }

    /// Writes a file that appears whole or not at all.
    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        let partial = self.path.join(format!("{name}.partial"));
        self.write(&partial, bytes)?;
        self.rename(&partial, &self.path.join(name))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.sync_all().map_err(io)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DataError> {
        let io = |source| DataError::Io { path: to.to_owned(), source };
        fs::rename(from, to).map_err(io)?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(io)
    }
}
