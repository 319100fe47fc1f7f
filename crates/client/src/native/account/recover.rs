//! The recovery key opens the account where the passphrase is lost or switched off, and may set another one (rule ID-6).

use undertone_keys::account::AccountWrap;
use undertone_keys::recovery::{RecoveryKey, sign_in};
use undertone_keys::secret::{Secret, SecretBytes};
use undertone_protocol::rest::{Bytes, LoggedIn, Name, RecoverChallenge, RecoverFinish, RecoverStart};

use super::meet::Met;
use super::open::{Another, Opened};
use crate::native::error::ClientError;
use crate::native::rng;

pub(super) async fn open(
    met: &Met,
    key: &RecoveryKey,
    passphrase: Option<&SecretBytes>,
    legacy_key: Option<Bytes>,
) -> Result<Opened, ClientError> {
    let Met { pin, user, .. } = met;
    // The request comes first whether a passphrase is to be set or not; without one it is of a passphrase that nobody knows.
    let nobodys = SecretBytes::new(Secret::<32>::random(&mut rng()).expose().to_vec());
    let another = Another::begin(passphrase.unwrap_or(&nobodys))?;
    let start = RecoverStart { user: Name(user.clone()), request: another.request() };
    let challenge: RecoverChallenge = met.post("/v1/recover/start", &start).await?;
    let nonce = <[u8; 32]>::try_from(challenge.nonce.0.as_slice()).map_err(|_| met.bad())?;
    let signature = sign_in(&key.signer(user), &pin.domain, user, &nonce);
    let exchange = challenge.exchange;
    let finish = RecoverFinish { exchange, signature: Bytes(signature.as_bytes().to_vec()), legacy_key };
    let logged_in: LoggedIn = met.post("/v1/recover/finish", &finish).await.map_err(|error| match error {
        ClientError::WrongCredentials => ClientError::WrongRecoveryKey,
        error => error,
    })?;
    let wrap = AccountWrap::from_recovery_key(key, user);
    let account = wrap.unwrap(&logged_in.account.0).map_err(|_| met.bad())?;
    let new = passphrase.is_some().then(|| another.finish(met, &challenge.response.0, &account)).transpose()?;
    Opened::check(met, logged_in, account, new)
}
