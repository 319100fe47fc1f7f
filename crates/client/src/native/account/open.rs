//! Opening the account key: it lies on no device, and is here for as long as it takes to sign a list (rule ID-6).

use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    ClientRegistrationStartResult, CredentialResponse, RegistrationResponse,
};
use undertone_keys::account::AccountWrap;
use undertone_keys::device_list::{ClaimedList, DeviceList, ListError};
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::secret::SecretBytes;
use undertone_keys::sign::{Account, SigningKey};
use undertone_protocol::opaque::{CONTEXT, Rng, Suite, identifiers, stretching};
use undertone_protocol::rest::{Bytes, LoggedIn, LoginChallenge, LoginFinish, LoginStart, Name, NewPassphrase};

use super::meet::{Met, failed};
use super::register::MIN_PASSPHRASE;
use super::{anew, recover};
use crate::native::error::ClientError;
use crate::native::rng;

/// What opens an account key.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// The passphrase.
    Passphrase(&'a SecretBytes),
    /// The recovery key.
    Recovery {
        /// The key.
        key: &'a RecoveryKey,
        /// A passphrase that takes the place of the one there is. Without one it stays as it is, or off.
        passphrase: Option<&'a SecretBytes>,
    },
}

impl Unlock<'_> {
    /// Nobody should ask a server with what cannot be right.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        match self {
            Self::Passphrase(passphrase) if passphrase.as_slice().is_empty() => Err(ClientError::EmptyPassphrase),
            Self::Recovery { passphrase: Some(passphrase), .. } => new_passphrase(passphrase),
            Self::Passphrase(_) | Self::Recovery { passphrase: None, .. } => Ok(()),
        }
    }
}

/// Whether a new passphrase is one.
pub(super) fn new_passphrase(passphrase: &SecretBytes) -> Result<(), ClientError> {
    match passphrase.as_slice().len() {
        0 => Err(ClientError::EmptyPassphrase),
        length if length < MIN_PASSPHRASE => Err(ClientError::ShortPassphrase),
        _ => Ok(()),
    }
}

/// An opened account.
pub(super) struct Opened {
    pub(super) exchange: String,
    pub(super) challenge: Vec<u8>,
    pub(super) account: SigningKey<Account>,
    /// The list in force: signed by that key, and no more is known of it.
    pub(super) list: DeviceList,
    /// The list that is to begin the account anew.
    pub(super) announced: Option<DeviceList>,
    /// Goes with what this exchange changes.
    pub(super) passphrase: Option<NewPassphrase>,
}

/// Opens the account; with `another` passphrase, which is to take the place of the one there is.
pub(super) async fn open(
    met: &Met,
    unlock: Unlock<'_>,
    legacy_key: Option<Bytes>,
    another: Option<&SecretBytes>,
) -> Result<Opened, ClientError> {
    match unlock {
        Unlock::Passphrase(passphrase) => by_passphrase(met, passphrase.as_slice(), legacy_key, another).await,
        Unlock::Recovery { key, passphrase } => recover::open(met, key, another.or(passphrase), legacy_key).await,
    }
}

pub(super) async fn by_passphrase(
    met: &Met,
    passphrase: &[u8],
    legacy_key: Option<Bytes>,
    another: Option<&SecretBytes>,
) -> Result<Opened, ClientError> {
    let Met { pin, user, .. } = met;
    let started = ClientLogin::<Suite>::start(&mut Rng(&mut rng()), passphrase).map_err(failed)?;
    let request = Bytes(started.message.serialize().to_vec());
    let challenge: LoginChallenge =
        met.post("/v1/login/start", &LoginStart { user: Name(user.clone()), request }).await?;
    let response = CredentialResponse::deserialize(&challenge.response.0).map_err(|_| met.bad())?;
    let stretching = stretching().map_err(failed)?;
    let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
    let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), names, Some(&stretching));
    let finished = started
        .state
        .finish(&mut Rng(&mut rng()), passphrase, response, parameters)
        .map_err(|_| ClientError::WrongCredentials)?;
    let finalization = Bytes(finished.message.serialize().to_vec());
    let another = another.map(Another::begin).transpose()?;
    let new_passphrase = another.as_ref().map(Another::request);
    let finish = LoginFinish { exchange: challenge.exchange, finalization, legacy_key, new_passphrase };
    let logged_in: LoggedIn = met.post("/v1/login/finish", &finish).await?;
    let wrap = AccountWrap::from_export_key(&finished.export_key, user);
    let account = wrap.unwrap(&logged_in.account.0).map_err(|_| met.bad())?;
    let new = match (another, &logged_in.new_passphrase) {
        (Some(another), Some(response)) => Some(another.finish(met, &response.0, &account)?),
        (Some(_), None) => return Err(met.bad()),
        (None, _) => None,
    };
    Opened::check(met, logged_in, account, new)
}

/// A passphrase that takes the place of another one: the half of its OPAQUE registration that stays here.
pub(super) struct Another<'p> {
    typed: &'p SecretBytes,
    started: ClientRegistrationStartResult<Suite>,
}

impl<'p> Another<'p> {
    pub(super) fn begin(typed: &'p SecretBytes) -> Result<Self, ClientError> {
        let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), typed.as_slice()).map_err(failed)?;
        Ok(Self { typed, started })
    }

    pub(super) fn request(&self) -> Bytes {
        Bytes(self.started.message.serialize().to_vec())
    }

    /// What the server is to keep of it: OPAQUE's upload, and the account key under its export key.
    pub(super) fn finish(
        self,
        met: &Met,
        response: &[u8],
        account: &SigningKey<Account>,
    ) -> Result<NewPassphrase, ClientError> {
        let Met { pin, user, .. } = met;
        let response = RegistrationResponse::deserialize(response).map_err(|_| met.bad())?;
        let stretching = stretching().map_err(failed)?;
        let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
        let parameters = ClientRegistrationFinishParameters::new(names, Some(&stretching));
        let finished = self.started.state.finish(&mut Rng(&mut rng()), self.typed.as_slice(), response, parameters);
        let finished = finished.map_err(failed)?;
        let wrap = AccountWrap::from_export_key(&finished.export_key, user);
        let account = Bytes(wrap.wrap(&mut rng(), account));
        Ok(NewPassphrase { upload: Bytes(finished.message.serialize().to_vec()), account })
    }
}

impl Opened {
    /// While an account is announced to begin anew, nothing else of it changes (rule ID-7).
    pub(super) fn must_be_quiet(&self) -> Result<(), ClientError> {
        match &self.announced {
            None => Ok(()),
            Some(announced) => Err(ClientError::Announced {
                user: announced.user().display(),
                account: announced.account().fingerprint(),
            }),
        }
    }

    /// What the server says of the account must be signed by the key that was opened.
    pub(super) fn check(
        met: &Met,
        logged_in: LoggedIn,
        account: SigningKey<Account>,
        passphrase: Option<NewPassphrase>,
    ) -> Result<Self, ClientError> {
        let LoggedIn { exchange, list, announced, challenge, .. } = logged_in;
        let list = ClaimedList::from_bytes(&list.0)?.verify(&met.user)?;
        if list.account() != account.public() {
            return Err(ListError::Signature.into());
        }
        let announced = announced.map(|bytes| anew::announcement(&list, &bytes.0)).transpose()?;
        Ok(Self { exchange, challenge: challenge.0, account, list, announced, passphrase })
    }
}
