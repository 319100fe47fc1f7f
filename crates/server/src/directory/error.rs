//! What can go wrong with the directory as a whole.

use undertone_transparency::note::BadName;

use super::storage::StorageError;

/// Why the directory did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another list has this version, or the same list has the one before.
    #[error("the key directory has another device list of this version")]
    Conflict,
    /// A version in between was never published.
    #[error("the key directory has version {newest} of this device list, and this is not the next one")]
    Gap {
        /// The newest published version; 0 for none.
        newest: u32,
    },
    /// The server stops.
    #[error("the key directory is being stopped")]
    Stopped,
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The tree could not be extended. The log says why.
    #[error("the key directory's tree could not be extended")]
    Tree,
}

/// Why the directory does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The domain cannot have a directory.
    #[error("no key directory can have this domain's name")]
    Domain,
    /// The VRF key is none.
    #[error("the key directory's VRF key is no key")]
    VrfKey,
    /// The writer's thread could not be started.
    #[error("the key directory could not be started")]
    Thread,
    /// What is stored cannot be gone on with.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<BadName> for OpenError {
    fn from(_: BadName) -> Self {
        Self::Domain
    }
}
