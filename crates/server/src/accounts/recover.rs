//! Coming into an account with its recovery key, where the passphrase is lost (rule ID-6).

use rand_core::Rng as _;
use undertone_keys::recovery::is_signed_in;
use undertone_keys::sign::{Recovery, Signature, VerifyingKey};
use undertone_protocol::rest::{Bytes, LoggedIn, RecoverChallenge, RecoverFinish, RecoverStart};

use super::{AccountError, Asker, Desk, rng};
use crate::exchanges::{Kind, Secret, Step};
use crate::store::Accounts;

impl<S: Accounts> Desk<S> {
    /// Begins a login with the recovery key. Names that do not exist get an answer that cannot be told from another's.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn recover_start(
        &self,
        request: RecoverStart,
        asker: impl Into<Asker>,
    ) -> Result<RecoverChallenge, AccountError> {
        let user = request.user.0;
        let place = self.place(&user, &asker.into())?;
        let account = self.store.account(&user).await?;
        let response = self.registration(&user, &request.request)?;
        let mut nonce = [0; 32];
        rng().fill_bytes(&mut nonce);
        let exchange = place.wait_for(Step::Recover { nonce, account: account.map(Box::new) });
        Ok(RecoverChallenge { exchange: exchange.to_string(), nonce: Bytes(nonce.to_vec()), response })
    }

    /// Completes it: whoever did it has the recovery key. The nonce is good for one answer, right or wrong.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn recover_finish(&self, request: RecoverFinish) -> Result<LoggedIn, AccountError> {
        let taken = self.exchanges.take(&request.exchange, Kind::Recover);
        let Some((user, place, Step::Recover { nonce, account })) = taken else {
            return Err(AccountError::ExchangeOver);
        };
        let signature = request.signature.0.as_slice().try_into();
        let signature = signature.map_err(|_| AccountError::Malformed("a signature has 64 bytes"))?;
        let signature = Signature::from_bytes(signature);
        let key = account.as_ref().and_then(|account| account.recovery);
        let key = key.map_or(self.nobody, VerifyingKey::<Recovery>::from_bytes);
        let signed = is_signed_in(&key, &self.domain, &user, &nonce, &signature);
        let (true, Some(account)) = (signed, account) else { return Err(AccountError::WrongRecovery) };
        // The account may have begun anew since it was asked for.
        if self.store.account(&user).await?.is_none_or(|now| now.recovery != account.recovery) {
            return Err(AccountError::WrongRecovery);
        }
        let legacy_key = request.legacy_key.as_ref();
        let opened = self.opened(&user, place, Secret::Recovery, account.by_recovery, legacy_key).await?;
        if self.store.account(&user).await?.is_none_or(|now| now.recovery != account.recovery) {
            drop(self.exchanges.take(&opened.exchange, Kind::Enrol));
            return Err(AccountError::WrongRecovery);
        }
        Ok(opened)
    }
}
