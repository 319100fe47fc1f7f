//! Accounts and their devices: what the server checks before it stores anything.
//!
//! ```text
//! start --place--> challenge --finish--> logged in --+--> a list that adds a device, or changes some
//!                                                    |
//!                        a present device's consent -+
//! what is stored --> tokens, lines and seats of revoked devices go --> the key directory --> devices are told
//! ```

mod anew;
mod change;
mod consent;
mod devices;
mod error;
mod login;
mod proof;
mod publish;
mod recover;
mod register;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use getrandom::SysRng;
use opaque_ke::{RegistrationUpload, ServerLoginParameters, ServerRegistration, ServerSetup};
use rand_core::UnwrapErr;
use undertone_keys::UserId;
use undertone_keys::sign::{Recovery, SigningKey, VerifyingKey};
use undertone_protocol::limits;
use undertone_protocol::opaque::{CONTEXT, Suite, identifiers};
use undertone_protocol::rest::{Bytes, NewPassphrase};
use undertone_relay::shell::Counts;

pub use error::AccountError;

use crate::config::{Limits, Registration};
use crate::directory::Directory;
use crate::exchanges::{Exchanges, Place, TooMany};
use crate::store::{Accounts, Passphrase, Token};
use crate::switchboard::Switchboard;
use consent::Consents;

/// Bytes of a wrapped account key at most.
const MAX_WRAPPED: usize = 256;

/// Who begins a login: from where, and with which device's token, if with any.
#[derive(Clone, Debug)]
pub struct Asker {
    /// From where.
    pub address: IpAddr,
    /// A token that is good, of whichever account.
    pub token: Option<Token>,
}

impl From<IpAddr> for Asker {
    fn from(address: IpAddr) -> Self {
        Self { address, token: None }
    }
}

/// The account desk. Switchboard and relay are named behind it, by [`Desk::with_board`] and [`Desk::with_relay`].
#[derive(Debug)]
pub struct Desk<S> {
    store: S,
    directory: Directory,
    setup: ServerSetup<Suite>,
    domain: String,
    registration: Registration,
    exchanges: Exchanges,
    consents: Consents,
    /// Stands in where there is no account to recover: a check takes as long.
    nobody: VerifyingKey<Recovery>,
    board: Option<Arc<Switchboard>>,
    relay: Option<Counts>,
}

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

impl<S: Accounts> Desk<S> {
    /// A desk over `store`.
    #[must_use]
    pub fn new(
        store: S,
        directory: Directory,
        setup: ServerSetup<Suite>,
        domain: String,
        registration: Registration,
        limits: &Limits,
    ) -> Self {
        let exchanges = Exchanges::new(limits.logins, limits.logins_per_account, limits::LOGIN_TIMEOUT);
        let consents = Consents::new(limits::MAX_CONSENTS, limits::MAX_CONSENTS_PER_ACCOUNT, limits::CONSENT_TIMEOUT);
        let nobody = *SigningKey::generate(&mut rng()).public();
        let (board, relay) = (None, None);
        Self { store, directory, setup, domain, registration, exchanges, consents, nobody, board, relay }
    }

    /// Tells connected devices of changes, and ends the connections of those that are revoked.
    #[must_use]
    pub fn with_board(self, board: Arc<Switchboard>) -> Self {
        Self { board: Some(board), ..self }
    }

    /// Has this relay put out devices that are revoked.
    #[must_use]
    pub fn with_relay(self, relay: Counts) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// The store behind the desk.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The domain of all names here.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The key directory.
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whether anybody may register.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.registration == Registration::Open
    }

    /// Registrations and logins under way, or failed a moment ago.
    pub fn in_flight(&self) -> usize {
        self.exchanges.len()
    }

    /// Forgets exchanges and consents whose time is over.
    pub fn expire(&self) {
        self.exchanges.expire();
        self.consents.expire();
    }

    /// A place for a login, among the account's own where it is a device of it that asks (rule DOS-1).
    fn place(&self, user: &UserId, asker: &Asker) -> Result<Place<'_>, TooMany> {
        match asker.token.as_ref().filter(|token| token.user == *user) {
            Some(token) => self.exchanges.reserve_own(&mut rng(), user, token.device, asker.address),
            None => self.exchanges.reserve(&mut rng(), user, asker.address),
        }
    }

    fn parameters<'a>(&'a self, user: &'a UserId) -> ServerLoginParameters<'a, 'a> {
        ServerLoginParameters {
            context: Some(CONTEXT),
            identifiers: identifiers(user.as_str().as_bytes(), self.domain.as_bytes()),
        }
    }
}

/// What is stored of a passphrase, from what its owner uploads.
fn passphrase(NewPassphrase { upload, account }: NewPassphrase) -> Result<Passphrase, AccountError> {
    let Bytes(by_passphrase) = account;
    if by_passphrase.len() > MAX_WRAPPED {
        return Err(AccountError::Malformed("the wrapped account key is too long"));
    }
    let upload = RegistrationUpload::<Suite>::deserialize(&upload.0)?;
    Ok(Passphrase { opaque: ServerRegistration::finish(upload).serialize().to_vec(), by_passphrase })
}
