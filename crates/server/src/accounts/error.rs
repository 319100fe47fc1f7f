//! Why an account request is refused.

use opaque_ke::errors::ProtocolError;

use crate::directory::{DirectoryError, StorageError};
use crate::exchanges::TooMany;
use crate::store::StoreError;

/// Why an account request was refused. Each has a status and a word of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Not what this request takes.
    #[error("{0}")]
    Malformed(&'static str),
    /// The name is taken.
    #[error("this name is taken: choose another, or `login` if it is yours")]
    NameTaken,
    /// The name belongs elsewhere.
    #[error("this server is home to names @{0} only")]
    OtherDomain(String),
    /// An invite is needed.
    #[error("this server wants an invite token: ask its operator, then use --invite")]
    Invite,
    /// Wrong name or passphrase.
    #[error("wrong name or passphrase")]
    WrongCredentials,
    /// Wrong name or recovery key.
    #[error("wrong name or recovery key, or an account from before recovery keys could be used")]
    WrongRecovery,
    /// The operator's token is not one for this account.
    #[error("this is no token for this account to begin anew: ask the server's operator for one (`admin anew NAME`)")]
    NoAnew,
    /// Only the recovery key sets another passphrase.
    #[error(
        "another passphrase is set with the recovery key, or with the present one on a device of the account, and switched off with \
         the recovery key alone"
    )]
    NotRecovered,
    /// A device's name hides something.
    #[error("a device's name has characters that nobody sees, or that turn the text around: leave them out")]
    HiddenLabel,
    /// The account is announced to begin anew.
    #[error(
        "this account is announced to begin anew, and nothing else of it changes before that: if it was not you, run \
         `undertone devices keep` on one of its devices"
    )]
    Announced,
    /// The account is about to begin anew.
    #[error("this account begins anew within a minute: it is too late to keep it")]
    TooLate,
    /// No such exchange.
    #[error("this took too long or was done before: start again")]
    ExchangeOver,
    /// The list is not the next one.
    #[error("the device list is not the next one of this account: another device may have changed it, try again")]
    BadList,
    /// Too many exchanges.
    #[error("too many logins at this moment: try again in half a minute")]
    TooMany,
    /// All lists of an account are kept, and it has too many.
    #[error(
        "this account's devices have changed too often, or are too many, for another one: revoking goes on, and the recovery key \
         has more places (`--recovery`)"
    )]
    TooManyChanges,
    /// The store has no room left.
    #[error("the server has no room left and cannot write anything down: tell its operator, and try again then")]
    Full(#[source] StoreError),
    /// The store failed.
    #[error("the server cannot do this now")]
    Store(#[source] StoreError),
    /// The key directory did not take the list. It is stored, and published as soon as that can be done.
    #[error("the server's key directory cannot take the device now: try again with the same passphrase")]
    Directory(#[source] DirectoryError),
    /// The key directory has no room left.
    #[error("the server has no room left and cannot write anything down: tell its operator, and try again then")]
    DirectoryFull(#[source] DirectoryError),
}

impl From<DirectoryError> for AccountError {
    fn from(error: DirectoryError) -> Self {
        match error {
            full @ DirectoryError::Storage(StorageError::Full) => Self::DirectoryFull(full),
            error => Self::Directory(error),
        }
    }
}

impl From<TooMany> for AccountError {
    fn from(_: TooMany) -> Self {
        Self::TooMany
    }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoInvite => Self::Invite,
            full @ StoreError::Full(_) => Self::Full(full),
            error => Self::Store(error),
        }
    }
}

impl From<ProtocolError> for AccountError {
    fn from(_: ProtocolError) -> Self {
        Self::Malformed("the OPAQUE message cannot be read")
    }
}
