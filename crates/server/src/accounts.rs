//! Registration, login and devices: what the server checks before it stores anything.

use std::net::IpAddr;

use futures_util::StreamExt;
use getrandom::SysRng;
use opaque_ke::errors::ProtocolError;
use opaque_ke::{
    CredentialFinalization, CredentialRequest, RegistrationRequest, RegistrationUpload, ServerLogin,
    ServerLoginParameters, ServerRegistration, ServerSetup,
};
use rand_core::UnwrapErr;
use undertone_keys::agreement::{EphemeralKey, possession_is_proven};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::digest::sha256;
use undertone_keys::legacy::{self, LegacyPublicKey};
use undertone_keys::record::DeviceRecord;
use undertone_keys::{AccessToken, DeviceId, UserId, WallTime};
use undertone_protocol::limits;
use undertone_protocol::opaque::{CONTEXT, Rng, Suite, identifiers};
use undertone_protocol::rest::{
    Bytes, Enrol, Enrolled, LoggedIn, LoginChallenge, LoginFinish, LoginStart, RegisterChallenge, RegisterFinish,
    RegisterStart,
};

use crate::config::{Limits, Registration};
use crate::directory::{Directory, DirectoryError, Proof, StorageError};
use crate::exchanges::{Challenge, Exchanges, Kind, Step, TooMany};
use crate::store::{Account, Accounts, StoreError, StoredList, Token};

/// Lists that wait to be published at the same time, where many do.
const AT_ONCE: usize = 4_096;
/// Bytes of a wrapped account key at most.
const MAX_WRAPPED: usize = 256;

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
    /// No such exchange.
    #[error("this took too long or was done before: start again")]
    ExchangeOver,
    /// The list is not the next one.
    #[error("the device list is not the next one of this account: another device may have changed it, try again")]
    BadList,
    /// Too many exchanges.
    #[error("too many logins at this moment: try again in half a minute")]
    TooMany,
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

/// The account desk.
#[derive(Debug)]
pub struct Desk<S> {
    store: S,
    directory: Directory,
    setup: ServerSetup<Suite>,
    domain: String,
    registration: Registration,
    exchanges: Exchanges,
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
        Self { store, directory, setup, domain, registration, exchanges }
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

    /// Publishes what the directory does not have yet: a server that was cut off between storing a list and publishing it
    /// does so before anybody asks.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn catch_up(&self) -> Result<usize, AccountError> {
        let waiting = self.store.unpublished(self.directory.shown().epoch()).await?;
        // All at once: as many as can go into one epoch, and one epoch after the other.
        let publish = waiting.iter().map(|(user, list)| self.publish_one(user, list));
        let mut published = futures_util::stream::iter(publish).buffer_unordered(AT_ONCE);
        let mut failed = Ok(());
        while let Some(published) = published.next().await {
            // One that cannot be published keeps nobody else from it.
            failed = failed.and(published);
        }
        failed.map(|()| waiting.len())
    }

    /// Publishes a user's lists up to the newest stored, whatever of them is published already.
    async fn publish(&self, user: &UserId) -> Result<(), AccountError> {
        let newest = self.store.list(user).await?.ok_or(AccountError::Store(StoreError::Damaged))?;
        match self.publish_one(user, &newest).await {
            Err(AccountError::Directory(DirectoryError::Gap { newest })) => {
                for list in self.store.lists_above(user, newest).await? {
                    self.publish_one(user, &list).await?;
                }
                Ok(())
            }
            published => published,
        }
    }

    async fn publish_one(&self, user: &UserId, list: &StoredList) -> Result<(), AccountError> {
        let published = self.directory.publish(user, list.version, sha256(&[&list.list])).await;
        let epoch = published?.epoch;
        // Where this is lost, it is published once more, to no effect.
        if let Err(error) = self.store.published(user, list.version, epoch).await {
            tracing::warn!(%error, "that a list is published was not noted");
        }
        Ok(())
    }

    /// Whether anybody may register.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.registration == Registration::Open
    }

    /// Begins a registration.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn register_start(
        &self,
        request: RegisterStart,
        address: IpAddr,
    ) -> Result<RegisterChallenge, AccountError> {
        let user = request.user.0;
        if user.domain() != self.domain {
            return Err(AccountError::OtherDomain(self.domain.clone()));
        }
        // Whoever tries names or invites pays for each try with a place.
        let place = self.exchanges.reserve(&mut rng(), &user, address)?;
        let invite = match (self.registration, &request.invite) {
            (Registration::Open, _) => None,
            (Registration::Invite, None) => return Err(AccountError::Invite),
            (Registration::Invite, Some(invite)) => {
                let hash = sha256(&[invite.trim().as_bytes()]);
                if !self.store.has_invite(&hash).await? {
                    return Err(AccountError::Invite);
                }
                Some(hash)
            }
        };
        if self.store.account(&user).await?.is_some() {
            return Err(AccountError::NameTaken);
        }
        let message = RegistrationRequest::deserialize(&request.request.0)?;
        let started = ServerRegistration::<Suite>::start(&self.setup, message, user.as_str().as_bytes())?;
        let (challenge, public) = challenge(request.legacy_key.as_ref())?;
        let response = Bytes(started.message.serialize().to_vec());
        let exchange = place.wait_for(Step::Register { challenge, invite });
        Ok(RegisterChallenge { exchange: exchange.to_string(), response, challenge: public })
    }

    /// Completes a registration.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn register_finish(&self, request: RegisterFinish, now: WallTime) -> Result<Enrolled, AccountError> {
        let taken = self.exchanges.take(&request.exchange, Kind::Register);
        let Some((user, place, Step::Register { challenge, invite })) = taken else {
            return Err(AccountError::ExchangeOver);
        };
        if request.account_by_passphrase.0.len() > MAX_WRAPPED || request.account_by_recovery.0.len() > MAX_WRAPPED {
            return Err(AccountError::Malformed("the wrapped account key is too long"));
        }
        let upload = RegistrationUpload::<Suite>::deserialize(&request.upload.0)?;
        let list = read_list(&request.list.0, &user)?;
        let [record] = list.records() else { return Err(AccountError::BadList) };
        if list.version() != 1 {
            return Err(AccountError::BadList);
        }
        possession(&challenge, record, &list, &request.possession.0)?;
        let account = Account {
            user: user.clone(),
            opaque: ServerRegistration::finish(upload).serialize().to_vec(),
            by_passphrase: request.account_by_passphrase.0,
            by_recovery: request.account_by_recovery.0,
            created: now,
        };
        // A name stays its holder's also where the accounts were set back behind the directory.
        if matches!(self.directory.lookup(&user).await?.proof, Proof::Present(_)) {
            return Err(AccountError::NameTaken);
        }
        let token = AccessToken::random(&mut rng());
        let stored = Token { hash: token.hash(), user: user.clone(), device: record.device };
        match self.store.create(account, request.list.0, stored, invite).await {
            Ok(()) => {
                place.release();
                self.publish(&user).await?;
                Ok(Enrolled { token: token.to_text() })
            }
            Err(StoreError::Conflict) => Err(AccountError::NameTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a login. Names that do not exist get an answer that cannot be told from another's.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn login_start(&self, request: LoginStart, address: IpAddr) -> Result<LoginChallenge, AccountError> {
        let user = request.user.0;
        let place = self.exchanges.reserve(&mut rng(), &user, address)?;
        let account = self.store.account(&user).await?;
        let file = account
            .as_ref()
            .map(|account| ServerRegistration::<Suite>::deserialize(&account.opaque))
            .transpose()
            .map_err(|_| AccountError::Store(StoreError::Damaged))?;
        let message = CredentialRequest::deserialize(&request.request.0)?;
        let name = user.as_str().as_bytes();
        let started =
            ServerLogin::start(&mut Rng(&mut rng()), &self.setup, file, message, name, self.parameters(&user))?;
        let response = Bytes(started.message.serialize().to_vec());
        let step = Step::Login { state: Box::new(started.state), account: account.map(Box::new) };
        let exchange = place.wait_for(step);
        Ok(LoginChallenge { exchange: exchange.to_string(), response })
    }

    /// Completes a login: whoever did it knows the passphrase.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn login_finish(&self, request: LoginFinish) -> Result<LoggedIn, AccountError> {
        let taken = self.exchanges.take(&request.exchange, Kind::Login);
        let Some((user, place, Step::Login { state, account })) = taken else {
            return Err(AccountError::ExchangeOver);
        };
        let message = CredentialFinalization::deserialize(&request.finalization.0)?;
        let finished = state.finish(message, self.parameters(&user));
        let (Ok(_), Some(account)) = (finished, account) else {
            return Err(AccountError::WrongCredentials);
        };
        let list = self.store.list(&user).await?.ok_or(AccountError::Store(StoreError::Damaged))?;
        let (challenge, public) = challenge(request.legacy_key.as_ref())?;
        let exchange = place.wait_for(Step::Enrol { challenge });
        Ok(LoggedIn {
            exchange: exchange.to_string(),
            account_by_passphrase: Bytes(account.by_passphrase),
            list: Bytes(list.list),
            challenge: public,
        })
    }

    /// Takes the list that adds a device, after a login. A device that is in the newest list already, and shows that it
    /// holds its key, gets a new token: the answer to its first attempt may have been lost.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn enrol(&self, request: Enrol, now: WallTime) -> Result<Enrolled, AccountError> {
        let Some((user, place, Step::Enrol { challenge })) = self.exchanges.take(&request.exchange, Kind::Enrol) else {
            return Err(AccountError::ExchangeOver);
        };
        let device = DeviceId::parse(&request.device).ok_or(AccountError::Malformed("not a device id"))?;
        let stored = self.store.list(&user).await?.ok_or(AccountError::Store(StoreError::Damaged))?;
        let known = read_list(&stored.list, &user).map_err(|_| AccountError::Store(StoreError::Damaged))?;
        let list = read_list(&request.list.0, &user)?;
        let record = list.device(device).ok_or(AccountError::BadList)?;
        possession(&challenge, record, &list, &request.possession.0)?;
        let token = AccessToken::random(&mut rng());
        let stored = Token { hash: token.hash(), user: user.clone(), device };
        let result = if list.hash() == known.hash() {
            self.store.replace_token(stored, now).await
        } else {
            list.follows(&known).map_err(|_| AccountError::BadList)?;
            // One device more, and no other than the one that proves its key here; the others are as they were.
            let kept = known.records().iter().all(|old| list.records().contains(old));
            let one_more = kept && list.records().len() == known.records().len() + 1;
            if !one_more || known.records().iter().any(|record| record.device == device) {
                return Err(AccountError::BadList);
            }
            let next = StoredList { version: list.version(), list: request.list.0 };
            self.store.append_list(&user, next, stored, now).await
        };
        match result {
            Ok(()) => {
                place.release();
                self.publish(&user).await?;
                Ok(Enrolled { token: token.to_text() })
            }
            Err(StoreError::Conflict) => Err(AccountError::BadList),
            Err(error) => Err(error.into()),
        }
    }

    /// Registrations and logins under way, or failed a moment ago.
    pub fn in_flight(&self) -> usize {
        self.exchanges.len()
    }

    /// Forgets exchanges whose time is over.
    pub fn expire(&self) {
        self.exchanges.expire();
    }

    fn parameters<'a>(&'a self, user: &'a UserId) -> ServerLoginParameters<'a, 'a> {
        ServerLoginParameters {
            context: Some(CONTEXT),
            identifiers: identifiers(user.as_str().as_bytes(), self.domain.as_bytes()),
        }
    }
}

fn read_list(bytes: &[u8], user: &UserId) -> Result<DeviceList, AccountError> {
    ClaimedList::from_bytes(bytes).and_then(|claimed| claimed.verify(user)).map_err(|_| AccountError::BadList)
}

/// Draws a challenge for a device, of the kind of its key, and what of it the device is sent.
fn challenge(legacy_key: Option<&Bytes>) -> Result<(Challenge, Bytes), AccountError> {
    let Some(key) = legacy_key else {
        let key = EphemeralKey::generate(&mut rng());
        let public = Bytes(key.public().as_bytes().to_vec());
        return Ok((Challenge::P256(key), public));
    };
    let malformed = AccountError::Malformed("the device's RSA key is none of 2,048 bits in its one encoding");
    let Ok(key) = LegacyPublicKey::from_spki(&key.0) else { return Err(malformed) };
    let Ok(challenge) = legacy::Challenge::new(&mut rng(), &key) else { return Err(malformed) };
    let wrapped = Bytes(challenge.wrapped().as_bytes().to_vec());
    Ok((Challenge::Rsa2048(key, Box::new(challenge)), wrapped))
}

/// Rule ID-2: the device shows that it holds the key it lists. It lists one: which key reaches it is not a choice that a
/// server could make for others (rule ID-3).
fn possession(
    challenge: &Challenge,
    record: &DeviceRecord,
    list: &DeviceList,
    proof: &[u8],
) -> Result<(), AccountError> {
    let missing = AccountError::Malformed("the device has not shown that it holds the key it lists");
    let Ok(proof) = proof.try_into() else { return Err(missing) };
    let proven = match (challenge, &record.agreement, &record.legacy) {
        (Challenge::P256(challenge), Some(key), None) => match challenge.agree(key) {
            Ok(shared) => possession_is_proven(&shared, challenge.public(), &list.hash(), proof),
            Err(_) => false,
        },
        (Challenge::Rsa2048(key, challenge), None, Some(listed)) => {
            key == listed && challenge.is_proven(&list.hash(), proof)
        }
        _ => false,
    };
    if proven { Ok(()) } else { Err(missing) }
}
