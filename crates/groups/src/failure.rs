//! Who is to blame when an operation fails, and the failures that every operation can have.

use crate::store::StoreError;

/// Who is to blame. What a shell does (drop, ask again, tell the person, stop) follows from this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Bytes that are nothing. Anybody can send those.
    Malformed,
    /// Somebody made what they may not make.
    PeerMisbehaved,
    /// Honest, and not for this version or this group.
    Incompatible,
    /// Something is missing that may yet come: another epoch, a look-up, a pre-shared key.
    Unavailable,
    /// The caller asked for what cannot be.
    ApiMisuse,
    /// This device's own state, or the library, is at fault: join anew.
    Broken,
}

/// What is stored, or the library that reads it, does not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// What is stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The library, in a place where nothing from outside can make it fail.
    #[error("the MLS library failed")]
    Library,
}
