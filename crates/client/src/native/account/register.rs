//! Making an account, or beginning one anew (rules ID-6, ID-7).

use opaque_ke::{ClientRegistration, ClientRegistrationFinishParameters, RegistrationResponse};
use undertone_keys::account::AccountWrap;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::secret::SecretBytes;
use undertone_keys::sign::{Account, SigningKey};
use undertone_keys::{UserId, WallTime};
use undertone_protocol::opaque::{Rng, Suite, identifiers, stretching};
use undertone_protocol::rest::{Bytes, Enrolled, Name, RegisterChallenge, RegisterFinish, RegisterStart, code};

use super::meet::{Met, failed, meet};
use super::settle::{enrol, settle};
use super::{anew, open};
use crate::native::device_key::{KeyChoice, Pins};
use crate::native::enrolment::{self, NewDevice, Pending};
use crate::native::error::ClientError;
use crate::native::home::Home;
use crate::native::rng;

/// Characters, in bytes of UTF-8, of a new passphrase at least. The server can guess at it (see SECURITY.md), so more is better.
pub const MIN_PASSPHRASE: usize = 8;

/// What an account is made of.
#[derive(Debug)]
pub struct Registration<'a> {
    /// Host and port of the server.
    pub server: &'a str,
    /// The name wanted, bare or in full.
    pub name: &'a str,
    /// The passphrase.
    pub passphrase: &'a SecretBytes,
    /// What the device is called.
    pub label: &'a str,
    /// An invite token, where the server wants one.
    pub invite: Option<&'a str>,
    /// The operator's token by which the account of that name begins anew, under another account key: everybody who had one
    /// that opens the old key has lost it (rule ID-7).
    pub anew: Option<&'a str>,
    /// Which key the device is to have.
    pub key: KeyChoice,
}

/// A new account.
#[derive(Debug)]
pub struct Registered {
    /// Who.
    pub user: UserId,
    /// To be written down: shown once, kept nowhere. A device that joins an account brings none.
    pub recovery: Option<RecoveryKey>,
    /// The server's key, pinned from now on.
    pub server_key: String,
    /// The account key, which peers pin.
    pub account: String,
    /// When an account that begins anew does so, where other devices may still act until then: a login finishes it. The home
    /// is no device of it before.
    pub effective: Option<WallTime>,
}

pub(in crate::native) async fn register(
    home: &Home,
    registration: Registration<'_>,
    pins: &dyn Pins,
) -> Result<Registered, ClientError> {
    open::new_passphrase(registration.passphrase)?;
    enrolment::label(registration.label)?;
    let met = meet(home, registration.server, registration.name).await?;
    let passphrase = registration.passphrase.as_slice();
    let earlier = home.pending()?;
    if let Some(pending) = earlier.as_ref().filter(|pending| *pending.list.user() != met.user) {
        return Err(ClientError::Unfinished(pending.list.user().display()));
    }
    let waits = earlier.as_ref().and_then(|pending| pending.effective);
    if let Some(pending) = earlier
        && let Some(registered) =
            resume(home, &met, (passphrase, registration.anew), (pending, &registration.key), pins).await?
    {
        return Ok(registered);
    }
    let Met { pin, user, .. } = &met;
    // See `login`: an RSA key must be there first, and one on a token comes last.
    let make = || NewDevice::generate(user, registration.label, &registration.key, pins);
    let early = if registration.key == KeyChoice::Rsa2048 { Some(make()?) } else { None };
    let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), passphrase).map_err(failed)?;
    let start = RegisterStart {
        user: Name(user.clone()),
        request: Bytes(started.message.serialize().to_vec()),
        invite: registration.invite.map(str::to_owned),
        anew: registration.anew.map(str::to_owned),
        legacy_key: early.as_ref().and_then(|(device, _)| device.legacy_key()),
    };
    let challenge: RegisterChallenge =
        met.post("/v1/register/start", &start).await.map_err(|error| stands(error, user, waits))?;
    let response = RegistrationResponse::deserialize(&challenge.response.0).map_err(|_| met.bad())?;
    let stretching = stretching().map_err(failed)?;
    let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
    let parameters = ClientRegistrationFinishParameters::new(names, Some(&stretching));
    let finished = started.state.finish(&mut Rng(&mut rng()), passphrase, response, parameters).map_err(failed)?;

    let (device, holder) = match early {
        Some(early) => early,
        None => make()?,
    };
    let account = SigningKey::<Account>::generate(&mut rng());
    let recovery = RecoveryKey::generate(&mut rng());
    let list = anew::first_list(&met, &challenge, &account, (&device, registration.anew.is_some()))?;
    let wrap = |wrap: AccountWrap| Bytes(wrap.wrap(&mut rng(), &account));
    let possession = device.possession(&holder, &challenge.challenge.0, &list, met.connector.address())?;
    let finish = RegisterFinish {
        exchange: challenge.exchange,
        upload: Bytes(finished.message.serialize().to_vec()),
        account_by_passphrase: wrap(AccountWrap::from_export_key(&finished.export_key, user)),
        account_by_recovery: wrap(AccountWrap::from_recovery_key(&recovery, user)),
        recovery: Bytes(recovery.signer(user).public().as_bytes().to_vec()),
        list: Bytes(list.to_bytes()),
        possession,
    };
    // An earlier attempt may be the one that was taken after all: it comes back where this one is refused.
    let before = home.pending_bytes()?;
    let pending = Pending { device, list, recovery: Some(recovery), effective: None };
    home.put_pending(&pending)?;
    let enrolled: Enrolled = match met.post("/v1/register/finish", &finish).await {
        // A server that says no has taken nothing. One that cannot do it now may have: what was made for it is kept, since the
        // next attempt goes on with it.
        Err(error @ ClientError::Refused { .. }) if !error.is(code::UNAVAILABLE) => {
            match before {
                Some(before) => home.put_pending_bytes(&before)?,
                None => home.forget_pending()?,
            }
            return Err(stands(error, user, waits));
        }
        enrolled => enrolled?,
    };
    settle(home, &met, pending, &enrolled).await
}

/// An account is announced to begin anew already, perhaps by this very home.
fn stands(error: ClientError, user: &UserId, effective: Option<WallTime>) -> ClientError {
    if error.is(code::ANNOUNCED) { ClientError::NotYet { user: user.display(), effective } } else { error }
}

/// Goes on with a registration whose answer was lost: if the server has taken it, the passphrase opens the account and
/// the device is in its list. `None` if it has not.
async fn resume(
    home: &Home,
    met: &Met,
    (passphrase, anew): (&[u8], Option<&str>),
    (pending, choice): (Pending, &KeyChoice),
    pins: &dyn Pins,
) -> Result<Option<Registered>, ClientError> {
    let opened = match open::by_passphrase(met, passphrase, pending.device.legacy_key(), None).await {
        // Whoever has a token may begin anew once more: the server says whether the first attempt stands.
        Err(error @ ClientError::WrongCredentials) if anew.is_none() && pending.list.begins_anew().is_some() => {
            return Err(anew::not_yet(error, Some(&pending)));
        }
        Err(ClientError::WrongCredentials) => return Ok(None),
        opened => opened?,
    };
    if opened.list.hash() != pending.list.hash() {
        return Ok(None);
    }
    if !pending.device.has(choice) {
        return Err(ClientError::OtherKey);
    }
    let holder = pending.device.holder(pins)?;
    enrol(home, met, opened, (pending, holder)).await.map(Some)
}
