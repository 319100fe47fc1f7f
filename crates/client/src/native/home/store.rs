//! The store itself: `undertone.redb`, one owner, records by name.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use undertone_keys::cbor;
use zeroize::Zeroizing;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

/// A home folder, locked by this process.
pub struct Home {
    database: Database,
    folder: PathBuf,
}

/// Why a home folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The file system said no.
    #[error("{}: {source}{}", path.display(), advice(source.kind()))]
    Io {
        /// Which path.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process owns this home.
    #[error("another undertone process is using {}: end it, or choose another --home", .0.display())]
    InUse(PathBuf),
    /// There is as much evidence as is kept.
    #[error("{} is full: whoever is to see what lies there should see it now", .0.display())]
    Evidence(PathBuf),
    /// A record cannot be read.
    #[error("the record {0:?} of this home is damaged")]
    Damaged(String),
    /// The store failed.
    #[error("the home's store failed: {}{}", .0, store_advice(.0))]
    Store(Box<redb::Error>),
}

/// What a person can do about it.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ": it must be writable for you; choose another place with --home if it cannot be"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ": there is no room left; make some, or choose another place with --home"
        }
        _ => "",
    }
}

fn store_advice(error: &redb::Error) -> &'static str {
    if let redb::Error::Io(source) = error { advice(source.kind()) } else { "" }
}

impl<E: Into<redb::Error>> From<E> for HomeError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

/// A home that was copied or restored may be open to others: its keys are nobody else's.
fn close_to_others(folder: &Path, store: &Path) -> Result<(), HomeError> {
    for path in [folder, store] {
        let io = |source| HomeError::Io { path: path.to_owned(), source };
        let mode = match fs::metadata(path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(io(error)),
        };
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).map_err(io)?;
            tracing::warn!(path = %path.display(), "others could read this; now they cannot");
        }
    }
    Ok(())
}

impl Home {
    /// Opens or makes a home; one that others could read is closed to them.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        let io = |source| HomeError::Io { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        let path = folder.join("undertone.redb");
        close_to_others(folder, &path)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = options.map_err(|source| HomeError::Io { path: path.clone(), source })?;
        let opened = redb::backends::FileBackend::new(file)
            .and_then(|backend| Builder::new().set_check_integrity_on_open(true).create_with_backend(backend));
        match opened {
            Ok(database) => Ok(Self { database, folder: folder.to_owned() }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(HomeError::InUse(folder.to_owned())),
            Err(DatabaseError::Storage(redb::StorageError::Io(source))) => Err(HomeError::Io { path, source }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, HomeError> {
        match self.database.begin_read()?.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => Ok(table?.get(name)?.map(|bytes| Zeroizing::new(bytes.value().to_vec()))),
        }
    }

    /// Records as they stood at one moment: what was written together is read together.
    pub(super) fn get_together<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Zeroizing<Vec<u8>>>; N], HomeError> {
        let mut found = [const { None }; N];
        let table = match self.database.begin_read()?.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(found),
            table => table?,
        };
        for (place, name) in found.iter_mut().zip(names) {
            *place = table.get(name)?.map(|bytes| Zeroizing::new(bytes.value().to_vec()));
        }
        Ok(found)
    }

    /// Writes all of `records` or none, durable on return. `None` removes.
    pub(super) fn put(&self, records: &[(&str, Option<&[u8]>)]) -> Result<(), HomeError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (name, bytes) in records {
                match bytes {
                    Some(bytes) => table.insert(*name, *bytes)?,
                    None => table.remove(*name)?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, HomeError> {
        let table = match self.database.begin_read()?.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut names = Vec::new();
        for entry in table.range(prefix..)? {
            let (name, _) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            names.push(name.value().to_owned());
        }
        Ok(names)
    }

    pub(super) fn read<T: for<'b> Decode<'b, ()> + Encode<()>>(&self, name: &str) -> Result<Option<T>, HomeError> {
        let Some(bytes) = self.get(name)? else { return Ok(None) };
        cbor::decode(&bytes).map(Some).map_err(|_| HomeError::Damaged(name.to_owned()))
    }

    /// Changes one record in one step: `change` is given its bytes and says what stands there from now on, `None` where it is to
    /// stay. What else it returns is returned.
    pub(super) fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(Option<&[u8]>) -> Result<(Option<Vec<u8>>, T), HomeError>,
    ) -> Result<T, HomeError> {
        let transaction = self.database.begin_write()?;
        let result = {
            let mut table = transaction.open_table(RECORDS)?;
            let before = table.get(name)?.map(|bytes| Zeroizing::new(bytes.value().to_vec()));
            let (after, result) = change(before.as_ref().map(|bytes| bytes.as_slice()))?;
            if let Some(bytes) = after {
                table.insert(name, bytes.as_slice())?;
            }
            result
        };
        transaction.commit()?;
        Ok(result)
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Home({})", self.folder.display())
    }
}
