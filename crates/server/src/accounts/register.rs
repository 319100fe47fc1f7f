//! Making an account.

use std::net::IpAddr;

use opaque_ke::{RegistrationRequest, ServerRegistration};
use undertone_keys::digest::sha256;
use undertone_keys::{AccessToken, UserId, WallTime};
use undertone_protocol::opaque::Suite;
use undertone_protocol::rest::{Bytes, Enrolled, NewPassphrase, RegisterChallenge, RegisterFinish, RegisterStart};

use super::devices::plain_labels;
use super::proof::{challenge, possession, read_list};
use super::{AccountError, Desk, MAX_WRAPPED, passphrase, rng};
use crate::config::Registration;
use crate::directory::Proof;
use crate::exchanges::{Kind, Permit, Step};
use crate::store::{Account, Accounts, Secrets, StoreError, Token};

impl<S: Accounts> Desk<S> {
    /// Begins a registration, or that an account begins anew.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn register_start(
        &self,
        request: RegisterStart,
        address: IpAddr,
        now: WallTime,
    ) -> Result<RegisterChallenge, AccountError> {
        let user = request.user.0;
        if user.domain() != self.domain {
            return Err(AccountError::OtherDomain(self.domain.clone()));
        }
        // Whoever tries names, invites or tokens pays for each try with a place.
        let place = self.exchanges.reserve(&mut rng(), &user, address)?;
        let (permit, list) = match &request.anew {
            Some(token) => {
                let hash = sha256(&[token.trim().as_bytes()]);
                (Permit::Anew(hash), Some(self.may_begin_anew(&user, &hash, now).await?))
            }
            None => (self.permit(&user, request.invite.as_deref()).await?, None),
        };
        let message = RegistrationRequest::deserialize(&request.request.0)?;
        let started = ServerRegistration::<Suite>::start(&self.setup, message, user.as_str().as_bytes())?;
        let (challenge, public) = challenge(request.legacy_key.as_ref())?;
        let response = Bytes(started.message.serialize().to_vec());
        let exchange = place.wait_for(Step::Register { challenge, permit });
        Ok(RegisterChallenge { exchange: exchange.to_string(), response, challenge: public, list: list.map(Bytes) })
    }

    async fn permit(&self, user: &UserId, invite: Option<&str>) -> Result<Permit, AccountError> {
        let permit = match (self.registration, invite) {
            (Registration::Open, _) => Permit::Open,
            (Registration::Invite, None) => return Err(AccountError::Invite),
            (Registration::Invite, Some(invite)) => {
                let hash = sha256(&[invite.trim().as_bytes()]);
                if !self.store.has_invite(&hash).await? {
                    return Err(AccountError::Invite);
                }
                Permit::Invite(hash)
            }
        };
        if self.store.account(user).await?.is_some() { Err(AccountError::NameTaken) } else { Ok(permit) }
    }

    /// Completes a registration, or announces that an account begins anew.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn register_finish(&self, request: RegisterFinish, now: WallTime) -> Result<Enrolled, AccountError> {
        let taken = self.exchanges.take(&request.exchange, Kind::Register);
        let Some((user, place, Step::Register { challenge, permit })) = taken else {
            return Err(AccountError::ExchangeOver);
        };
        let secrets = secrets(&request)?;
        let list = read_list(&request.list.0, &user)?;
        let record = match list.records() {
            [record] if (list.version() == 1) != matches!(permit, Permit::Anew(_)) => record,
            _ => return Err(AccountError::BadList),
        };
        plain_labels(&list, None)?;
        possession(&challenge, record, &list, &request.possession.0)?;
        let invite = match permit {
            Permit::Open => None,
            Permit::Invite(hash) => Some(hash),
            Permit::Anew(hash) => {
                let enrolled = self.announce(&user, &list, secrets, hash, now).await?;
                place.release();
                return Ok(enrolled);
            }
        };
        let account = Account {
            user: user.clone(),
            opaque: secrets.passphrase.opaque,
            by_passphrase: secrets.passphrase.by_passphrase,
            by_recovery: secrets.by_recovery,
            recovery: Some(secrets.recovery),
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
                Ok(Enrolled { token: Some(token.to_text()), effective: None })
            }
            Err(StoreError::Conflict) => Err(AccountError::NameTaken),
            Err(error) => Err(error.into()),
        }
    }
}

/// What opens a new account.
fn secrets(request: &RegisterFinish) -> Result<Secrets, AccountError> {
    if request.account_by_recovery.0.len() > MAX_WRAPPED {
        return Err(AccountError::Malformed("the wrapped account key is too long"));
    }
    let recovery: [u8; 32] = request
        .recovery
        .0
        .as_slice()
        .try_into()
        .map_err(|_| AccountError::Malformed("the recovery key's public half has 32 bytes"))?;
    let new = NewPassphrase { upload: request.upload.clone(), account: request.account_by_passphrase.clone() };
    Ok(Secrets { passphrase: passphrase(new)?, by_recovery: request.account_by_recovery.0.clone(), recovery })
}
