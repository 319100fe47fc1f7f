//! Making an account, adding a device to one, and leaving (rules ID-2, ID-6).

use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, RegistrationResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use undertone_keys::account::AccountWrap;
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::secret::SecretBytes;
use undertone_keys::sign::{Account, SigningKey};
use undertone_keys::{AccessToken, DeviceId, UserId};
use undertone_protocol::opaque::{CONTEXT, Rng, Suite, identifiers, stretching};
use undertone_protocol::rest::{
    Bytes, Enrol, Enrolled, LoggedIn, LoginChallenge, LoginFinish, LoginStart, Name, RegisterChallenge, RegisterFinish,
    RegisterStart, code,
};
use undertone_transparency::PeerTrust;
use undertone_transparency::trust::TrustError;
use undertone_transparency::verify::Purpose;

use super::connector::Connector;
use super::device_key::{Holder, KeyChoice, Pins};
use super::enrolment::{NewDevice, Pending};
use super::error::ClientError;
use super::home::{Home, ServerPin};
use super::lookup::Lookup;
use super::{rest, rng};

/// Characters, in bytes of UTF-8, of a new account's passphrase at least. The server can guess at it (see SECURITY.md), so more is better.
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
}

/// How a device is added to an account.
#[derive(Debug)]
pub struct Login<'a> {
    /// Host and port of the server.
    pub server: &'a str,
    /// The account's name, bare or in full.
    pub name: &'a str,
    /// The passphrase.
    pub passphrase: &'a SecretBytes,
    /// What the device is called.
    pub label: &'a str,
    /// Which key the device is to have.
    pub key: KeyChoice,
}

/// A server met for the first time, or again.
struct Met {
    pin: ServerPin,
    connector: Connector,
    user: UserId,
}

/// Looks who the server is. A home that knows it already insists on the same one.
async fn meet(home: &Home, server: &str, name: &str, passphrase: &SecretBytes) -> Result<Met, ClientError> {
    if let Some(device) = home.device()? {
        return Err(ClientError::LoggedIn(device.address.user.to_string()));
    }
    if passphrase.as_slice().is_empty() {
        return Err(ClientError::EmptyPassphrase);
    }
    home.rehearse()?;
    let (statement, _, connector) = Connector::introduce(server).await?;
    // The same server by another spelling, or another server for the same names.
    let same = |pin: &ServerPin| pin.address.eq_ignore_ascii_case(server) || pin.domain == statement.domain;
    if let Some(known) = home.server()?.filter(|pin| same(pin) && pin.identity != statement.identity) {
        return Err(ClientError::ServerChanged {
            server: server.to_owned(),
            shown: statement.identity.fingerprint(),
            pinned: known.identity.fingerprint(),
        });
    }
    let mut pin = ServerPin::new(server.to_owned(), &statement);
    if let Some(known) = home.server()?.filter(|known| known.identity == statement.identity) {
        if known.has_other_directory(&statement) {
            return Err(ClientError::DirectoryKey(server.to_owned()));
        }
        if known.is_replaced(&statement) {
            return Err(ClientError::ReplacedKey(server.to_owned()));
        }
        pin.keep_newer_of(&known);
    }
    let user = UserId::parse(name, &statement.domain).map_err(ClientError::Name)?;
    Ok(Met { pin, connector, user })
}

async fn post<T: DeserializeOwned>(connector: &Connector, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
    rest::post(connector.tcp().await?, connector.address(), path, None, body).await
}

fn failed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Login(error.to_string())
}

pub(super) async fn register(
    home: &Home,
    registration: Registration<'_>,
    pins: &dyn Pins,
) -> Result<Registered, ClientError> {
    let met = meet(home, registration.server, registration.name, registration.passphrase).await?;
    let passphrase = registration.passphrase.as_slice();
    if passphrase.len() < MIN_PASSPHRASE {
        return Err(ClientError::ShortPassphrase);
    }
    if let Some(pending) = home.pending()? {
        if *pending.list.user() != met.user {
            return Err(ClientError::Unfinished(pending.list.user().display()));
        }
        let key = &registration.key;
        if let Some(registered) = resume(home, &met, passphrase, (pending, key), pins).await? {
            return Ok(registered);
        }
    }
    let Met { pin, connector, user } = met;
    let server = connector.address().to_owned();
    // See `login`: an RSA key must be there first, and one on a token comes last.
    let make = || NewDevice::generate(&user, registration.label, &registration.key, pins);
    let early = if registration.key == KeyChoice::Rsa2048 { Some(make()?) } else { None };
    let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), passphrase).map_err(failed)?;
    let challenge: RegisterChallenge = post(
        &connector,
        "/v1/register/start",
        &RegisterStart {
            user: Name(user.clone()),
            request: Bytes(started.message.serialize().to_vec()),
            invite: registration.invite.map(str::to_owned),
            legacy_key: early.as_ref().and_then(|(device, _)| device.legacy_key()),
        },
    )
    .await?;
    let response =
        RegistrationResponse::deserialize(&challenge.response.0).map_err(|_| ClientError::BadAnswer(server.clone()))?;
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
    let list = DeviceList::first(&account, &user, device.signed_record())?;
    let wrap = |wrap: AccountWrap| Bytes(wrap.wrap(&mut rng(), &account));
    let finish = RegisterFinish {
        exchange: challenge.exchange,
        upload: Bytes(finished.message.serialize().to_vec()),
        account_by_passphrase: wrap(AccountWrap::from_export_key(&finished.export_key, &user)),
        account_by_recovery: wrap(AccountWrap::from_recovery_key(&recovery, &user)),
        list: Bytes(list.to_bytes()),
        possession: device.possession(&holder, &challenge.challenge.0, &list, &server)?,
    };
    let pending = Pending { device, list, recovery: Some(recovery) };
    home.put_pending(&pending)?;
    let enrolled: Enrolled = match post(&connector, "/v1/register/finish", &finish).await {
        // A server that says no has taken nothing. One that cannot do it now may have: what was made for it is kept, since the
        // next attempt goes on with it.
        Err(ClientError::Refused { code, message }) if code != code::UNAVAILABLE => {
            home.forget_pending()?;
            return Err(ClientError::Refused { code, message });
        }
        enrolled => enrolled?,
    };
    settle(home, &pin, &connector, pending, &enrolled).await
}

/// Makes the home a device of the account, now that the server has taken it, and others are shown that it has: what the
/// directory proves of the account is what this device has signed.
async fn settle(
    home: &Home,
    pin: &ServerPin,
    connector: &Connector,
    pending: Pending,
    enrolled: &Enrolled,
) -> Result<Registered, ClientError> {
    let bad = || ClientError::BadAnswer(connector.address().to_owned());
    let token = AccessToken::parse(&enrolled.token).ok_or_else(bad)?;
    let Pending { device, list, recovery } = pending;
    let (mut seen, lookup) = (home.seen(pin)?, Lookup { home, pin, token: &token, connector });
    // That its versions follow the list signed here is checked with it, and that it is this account's is checked here: nothing is
    // pinned yet that another key could be held against.
    let devices = lookup.devices(list.user(), Purpose::Begin, Some(&list), &mut seen).await?;
    is_ours(&list, devices.list(), device.id())?;
    home.settle(pin, &device.secrets(*list.account()), &token, &PeerTrust::pin(&devices))?;
    let (server_key, account) = (pin.identity.fingerprint(), list.account().fingerprint());
    Ok(Registered { user: list.user().clone(), recovery, server_key, account })
}

/// Whether what the directory has of the account is of the key that signed `signed`, and lets this device act.
fn is_ours(signed: &DeviceList, proven: &DeviceList, device: &DeviceId) -> Result<(), ClientError> {
    let (old, new) = (*signed.account(), *proven.account());
    if old != new {
        return Err(ClientError::Trust(TrustError::Changed { user: signed.user().clone(), old, new }));
    }
    proven.device(*device).map(|_| ()).ok_or_else(|| ClientError::NotListed(signed.user().display()))
}

/// Goes on with a registration whose answer was lost: if the server has taken it, the passphrase opens the account and
/// the device is in its list. `None` if it has not.
async fn resume(
    home: &Home,
    met: &Met,
    passphrase: &[u8],
    (pending, choice): (Pending, &KeyChoice),
    pins: &dyn Pins,
) -> Result<Option<Registered>, ClientError> {
    let opened = match open_account(met, passphrase, pending.device.legacy_key()).await {
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
    enrol(home, met, opened.exchange, &opened.challenge, (pending, holder)).await.map(Some)
}

/// What a login yields: the account key, for as long as it takes to sign a list.
struct Opened {
    exchange: String,
    challenge: Vec<u8>,
    account: SigningKey<Account>,
    list: DeviceList,
}

async fn open_account(met: &Met, passphrase: &[u8], legacy_key: Option<Bytes>) -> Result<Opened, ClientError> {
    let Met { pin, connector, user } = met;
    let bad = || ClientError::BadAnswer(connector.address().to_owned());
    let started = ClientLogin::<Suite>::start(&mut Rng(&mut rng()), passphrase).map_err(failed)?;
    let request = Bytes(started.message.serialize().to_vec());
    let challenge: LoginChallenge =
        post(connector, "/v1/login/start", &LoginStart { user: Name(user.clone()), request }).await?;
    let response = CredentialResponse::deserialize(&challenge.response.0).map_err(|_| bad())?;
    let stretching = stretching().map_err(failed)?;
    let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
    let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), names, Some(&stretching));
    let finished = started
        .state
        .finish(&mut Rng(&mut rng()), passphrase, response, parameters)
        .map_err(|_| ClientError::WrongCredentials)?;
    let finalization = Bytes(finished.message.serialize().to_vec());
    let finish = LoginFinish { exchange: challenge.exchange, finalization, legacy_key };
    let logged_in: LoggedIn = post(connector, "/v1/login/finish", &finish).await?;

    let wrap = AccountWrap::from_export_key(&finished.export_key, user);
    let account = wrap.unwrap(&logged_in.account_by_passphrase.0).map_err(|_| bad())?;
    let list = ClaimedList::from_bytes(&logged_in.list.0)?.verify(user)?;
    if list.account() != account.public() {
        return Err(undertone_keys::device_list::ListError::Signature.into());
    }
    Ok(Opened { exchange: logged_in.exchange, challenge: logged_in.challenge.0, account, list })
}

pub(super) async fn login(home: &Home, login: Login<'_>, pins: &dyn Pins) -> Result<Registered, ClientError> {
    let met = meet(home, login.server, login.name, login.passphrase).await?;
    // An earlier attempt may have been taken, and only its answer lost.
    let earlier = home.pending()?;
    if let Some(other) = earlier.as_ref().map(|pending| pending.list.user()).filter(|user| **user != met.user) {
        return Err(ClientError::Unfinished(other.display()));
    }
    // A challenge for an RSA key is made for this very key, which must be there first. A key on a token is made when all
    // else is known to be right: what lies on a token does not go away by itself.
    let early = match &earlier {
        None if login.key == KeyChoice::Rsa2048 => Some(NewDevice::generate(&met.user, login.label, &login.key, pins)?),
        Some(_) | None => None,
    };
    let device = earlier.as_ref().map(|pending| &pending.device).or_else(|| early.as_ref().map(|(device, _)| device));
    let legacy_key = device.and_then(NewDevice::legacy_key);
    let opened = open_account(&met, login.passphrase.as_slice(), legacy_key).await?;
    let (pending, holder) = match earlier {
        Some(pending) if !pending.device.has(&login.key) => return Err(ClientError::OtherKey),
        // With the recovery key of a registration, if it was one: nobody has seen it yet.
        Some(pending) if opened.list.device(*pending.device.id()).is_some() => {
            let holder = pending.device.holder(pins)?;
            (Pending { list: opened.list, ..pending }, holder)
        }
        // It was never taken: its keys are as good as any.
        Some(pending) => {
            let holder = pending.device.holder(pins)?;
            let list = opened.list.with(&opened.account, pending.device.signed_record())?;
            (Pending { device: pending.device, list, recovery: None }, holder)
        }
        None => {
            let (device, holder) = match early {
                Some(early) => early,
                None => NewDevice::generate(&met.user, login.label, &login.key, pins)?,
            };
            let list = opened.list.with(&opened.account, device.signed_record())?;
            (Pending { device, list, recovery: None }, holder)
        }
    };
    home.put_pending(&pending)?;
    enrol(home, &met, opened.exchange, &opened.challenge, (pending, holder)).await
}

async fn enrol(
    home: &Home,
    met: &Met,
    exchange: String,
    challenge: &[u8],
    (pending, holder): (Pending, Holder),
) -> Result<Registered, ClientError> {
    let server = met.connector.address();
    let enrol = Enrol {
        exchange,
        device: pending.device.id().to_string(),
        list: Bytes(pending.list.to_bytes()),
        possession: pending.device.possession(&holder, challenge, &pending.list, server)?,
    };
    let enrolled: Enrolled = post(&met.connector, "/v1/devices", &enrol).await?;
    settle(home, &met.pin, &met.connector, pending, &enrolled).await
}

pub(super) async fn logout(home: &Home) -> Result<(), ClientError> {
    let (Some(pin), Some(token)) = (home.server()?, home.token()?) else { return Err(ClientError::NotLoggedIn) };
    let (_, connector) = Connector::to_pinned(&pin).await?;
    match rest::post_empty(connector.tcp().await?, connector.address(), "/v1/logout", &token).await {
        // A token that is gone already is what was wanted.
        Ok(()) => {}
        Err(ClientError::Refused { code, .. }) if code == code::UNAUTHORIZED => {}
        Err(error) => return Err(error),
    }
    Ok(home.forget()?)
}

#[cfg(test)]
mod tests {
    use undertone_keys::agreement::{DeviceKey, SoftwareKey};
    use undertone_keys::record::DeviceRecord;
    use undertone_keys::sign::Device;
    use undertone_keys::testing::SeededRng;
    use undertone_keys::{Secret, WallTime};

    use super::*;

    /// A server that publishes a list of a key of its own behind the first one pins nothing in a device that has just begun.
    #[test]
    fn kt_7_what_the_directory_has_of_a_new_account_is_of_its_own_key_and_with_this_device() {
        let rng = &mut SeededRng::new(1);
        let user = UserId::parse("ada", "localhost").unwrap();
        let mut record = || {
            let (identity, agreement) = (SigningKey::<Device>::generate(rng), SoftwareKey::generate(rng));
            let now = WallTime::from_unix(1);
            let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), now, "phone".into());
            (record.device, record.sign(&identity))
        };
        let account = |n: u8| SigningKey::<Account>::from_seed(Secret::filled_by(|seed| seed.fill(n)));
        let ((mine, first), (_, second), (_, theirs)) = (record(), record(), record());
        let signed = DeviceList::first(&account(1), &user, first).unwrap();
        let grown = signed.with(&account(1), second).unwrap();
        assert!(is_ours(&signed, &signed, &mine).is_ok() && is_ours(&signed, &grown, &mine).is_ok());
        let impostor = DeviceList::first(&account(2), &user, theirs).unwrap();
        let refused = is_ours(&signed, &impostor, &mine);
        assert!(matches!(refused, Err(ClientError::Trust(TrustError::Changed { .. }))), "{refused:?}");
        let revoked = grown.revoke(&account(1), mine).unwrap();
        assert!(matches!(is_ours(&signed, &revoked, &mine), Err(ClientError::NotListed(_))));
    }
}
