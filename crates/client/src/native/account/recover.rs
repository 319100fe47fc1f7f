//! The recovery key opens the account where the passphrase is lost, and sets another one (rule ID-6).

use opaque_ke::{ClientRegistration, ClientRegistrationFinishParameters, RegistrationResponse};
use undertone_keys::account::AccountWrap;
use undertone_keys::recovery::{RecoveryKey, sign_in};
use undertone_keys::secret::{Secret, SecretBytes};
use undertone_protocol::opaque::{Rng, Suite, identifiers, stretching};
use undertone_protocol::rest::{Bytes, LoggedIn, Name, NewPassphrase, RecoverChallenge, RecoverFinish, RecoverStart};

use super::meet::{Met, failed};
use super::open::Opened;
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
    let nobodys = Secret::<32>::random(&mut rng());
    let typed = passphrase.map_or_else(|| nobodys.expose().as_slice(), SecretBytes::as_slice);
    let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), typed).map_err(failed)?;
    let request = Bytes(started.message.serialize().to_vec());
    let start = RecoverStart { user: Name(user.clone()), request };
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
    let new = if let Some(passphrase) = passphrase {
        let response = RegistrationResponse::deserialize(&challenge.response.0).map_err(|_| met.bad())?;
        let stretching = stretching().map_err(failed)?;
        let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
        let parameters = ClientRegistrationFinishParameters::new(names, Some(&stretching));
        let random = &mut rng();
        let finished =
            started.state.finish(&mut Rng(random), passphrase.as_slice(), response, parameters).map_err(failed)?;
        let wrap = AccountWrap::from_export_key(&finished.export_key, user);
        let account = Bytes(wrap.wrap(&mut rng(), &account));
        Some(NewPassphrase { upload: Bytes(finished.message.serialize().to_vec()), account })
    } else {
        None
    };
    Opened::check(met, logged_in, account, new)
}
