//! Coming into an account with its passphrase (rule ID-6).

use std::time::Instant;

use opaque_ke::{CredentialFinalization, CredentialRequest, RegistrationRequest, ServerLogin, ServerRegistration};
use undertone_keys::UserId;
use undertone_protocol::opaque::{Rng, Suite};
use undertone_protocol::rest::{Bytes, LoggedIn, LoginChallenge, LoginFinish, LoginStart};

use super::proof::challenge;
use super::{AccountError, Asker, Desk, rng};
use crate::exchanges::{Kind, Opened, Place, Secret, Step};
use crate::store::{Account, Accounts, StoreError};

impl<S: Accounts> Desk<S> {
    /// Begins a login. Names that do not exist, and accounts whose passphrase is switched off, get an answer that cannot be told from
    /// another's, and fail at the end like a wrong passphrase.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn login_start(
        &self,
        request: LoginStart,
        asker: impl Into<Asker>,
    ) -> Result<LoginChallenge, AccountError> {
        let user = request.user.0;
        let place = self.place(&user, &asker.into())?;
        let account = self.store.account(&user).await?.filter(Account::has_passphrase);
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
        // The passphrase may be another since it was asked for.
        if self.store.account(&user).await?.is_none_or(|now| now.opaque != account.opaque) {
            return Err(AccountError::WrongCredentials);
        }
        let new_passphrase = match &request.new_passphrase {
            Some(request) => Some(self.registration(&user, request)?),
            None => None,
        };
        let legacy_key = request.legacy_key.as_ref();
        let opened = self.opened(&user, place, Secret::Passphrase, account.by_passphrase, legacy_key).await?;
        // And since then: what the old one opened is over.
        if self.store.account(&user).await?.is_none_or(|now| now.opaque != account.opaque) {
            drop(self.exchanges.take(&opened.exchange, Kind::Enrol));
            return Err(AccountError::WrongCredentials);
        }
        Ok(LoggedIn { new_passphrase, ..opened })
    }

    /// The answer to an OPAQUE registration request of another passphrase.
    pub(super) fn registration(&self, user: &UserId, request: &Bytes) -> Result<Bytes, AccountError> {
        let message = RegistrationRequest::deserialize(&request.0)?;
        let started = ServerRegistration::<Suite>::start(&self.setup, message, user.as_str().as_bytes())?;
        Ok(Bytes(started.message.serialize().to_vec()))
    }

    /// The account is open: what is needed to add a device, or to change the list.
    pub(super) async fn opened(
        &self,
        user: &UserId,
        place: Place<'_>,
        by: Secret,
        account: Vec<u8>,
        legacy_key: Option<&Bytes>,
    ) -> Result<LoggedIn, AccountError> {
        let list = self.store.list(user).await?.ok_or(AccountError::Store(StoreError::Damaged))?;
        let waiting = self.store.waiting(user).await?;
        let (challenge, public) = challenge(legacy_key)?;
        let exchange = place.wait_for(Step::Enrol { challenge, opened: Opened { by, since: Instant::now() } });
        Ok(LoggedIn {
            exchange: exchange.to_string(),
            account: Bytes(account),
            list: Bytes(list.list),
            announced: waiting.map(|waiting| Bytes(waiting.list.list)),
            challenge: public,
            new_passphrase: None,
        })
    }
}
