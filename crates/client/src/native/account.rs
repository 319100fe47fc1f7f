//! Making an account, adding a device to one, and leaving (rules ID-2, ID-6).

use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, RegistrationResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use undertone_keys::account::AccountWrap;
use undertone_keys::agreement::{AgreementPublicKey, DeviceKey, SoftwareKey, prove_possession};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::envelope::Address;
use undertone_keys::record::DeviceRecord;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::secret::SecretBytes;
use undertone_keys::sign::{Account, Device, SigningKey};
use undertone_keys::{AccessToken, Secret, UserId};
use undertone_protocol::opaque::{CONTEXT, Rng, Suite, identifiers, stretching};
use undertone_protocol::rest::{
    Bytes, Enrol, Enrolled, LoggedIn, LoginChallenge, LoginFinish, LoginStart, Name, RegisterChallenge, RegisterFinish,
    RegisterStart,
};
use undertone_transparency::PeerTrust;

use super::connector::Connector;
use super::error::ClientError;
use super::home::{DeviceSecrets, Home, ServerPin};
use super::{rest, rng, wall_time};

/// Bytes of a new account's passphrase at least. The server can guess at it (see SECURITY.md), so more is better.
const MIN_PASSPHRASE: usize = 8;

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
}

/// A new account.
#[derive(Debug)]
pub struct Registered {
    /// Who.
    pub user: UserId,
    /// To be written down: shown once, kept nowhere.
    pub recovery: RecoveryKey,
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
}

/// Fresh keys of a device that is not part of an account yet.
struct NewDevice {
    identity: SigningKey<Device>,
    agreement: SoftwareKey,
    record: DeviceRecord,
}

impl NewDevice {
    fn generate(user: &UserId, label: &str) -> Self {
        let (identity, agreement) = (SigningKey::generate(&mut rng()), SoftwareKey::generate(&mut rng()));
        let label: String = label.chars().filter(|c| !c.is_control()).take(16).collect();
        let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), wall_time(), label);
        Self { identity, agreement, record }
    }

    /// Shows the server that the agreement key is ours.
    fn possession(&self, challenge: &[u8], list: &DeviceList, server: &str) -> Result<Bytes, ClientError> {
        let bad = || ClientError::BadAnswer(server.to_owned());
        let challenge = AgreementPublicKey::from_sec1(challenge).map_err(|_| bad())?;
        let shared = self.agreement.agree(&challenge).map_err(|_| bad())?;
        Ok(Bytes(prove_possession(&shared, &challenge, &list.hash()).to_vec()))
    }

    fn secrets(&self, account: undertone_keys::sign::VerifyingKey<Account>) -> DeviceSecrets {
        DeviceSecrets {
            address: Address { user: self.record.user.clone(), device: self.record.device },
            label: self.record.label.clone(),
            account,
            identity_seed: Secret::filled_by(|out| out.copy_from_slice(self.identity.seed().expose())),
            agreement_scalar: Secret::filled_by(|out| out.copy_from_slice(self.agreement.scalar().expose())),
        }
    }
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
    let user = UserId::parse(name, &statement.domain).map_err(ClientError::Name)?;
    Ok(Met { pin: ServerPin::new(server.to_owned(), &statement), connector, user })
}

async fn post<T: DeserializeOwned>(connector: &Connector, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
    rest::post(connector.tcp().await?, connector.address(), path, body).await
}

fn failed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Login(error.to_string())
}

pub(super) async fn register(home: &Home, registration: Registration<'_>) -> Result<Registered, ClientError> {
    let Met { pin, connector, user } =
        meet(home, registration.server, registration.name, registration.passphrase).await?;
    let server = connector.address().to_owned();
    let passphrase = registration.passphrase.as_slice();
    if passphrase.len() < MIN_PASSPHRASE {
        return Err(ClientError::ShortPassphrase);
    }
    let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), passphrase).map_err(failed)?;
    let challenge: RegisterChallenge = post(
        &connector,
        "/v1/register/start",
        &RegisterStart {
            user: Name(user.clone()),
            request: Bytes(started.message.serialize().to_vec()),
            invite: registration.invite.map(str::to_owned),
        },
    )
    .await?;
    let response =
        RegistrationResponse::deserialize(&challenge.response.0).map_err(|_| ClientError::BadAnswer(server.clone()))?;
    let stretching = stretching().map_err(failed)?;
    let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
    let parameters = ClientRegistrationFinishParameters::new(names, Some(&stretching));
    let finished = started.state.finish(&mut Rng(&mut rng()), passphrase, response, parameters).map_err(failed)?;

    let account = SigningKey::<Account>::generate(&mut rng());
    let recovery = RecoveryKey::generate(&mut rng());
    let device = NewDevice::generate(&user, registration.label);
    let list = DeviceList::first(&account, &user, device.record.sign(&device.identity))?;
    let wrap = |wrap: AccountWrap| Bytes(wrap.wrap(&mut rng(), &account));
    let enrolled: Enrolled = post(
        &connector,
        "/v1/register/finish",
        &RegisterFinish {
            exchange: challenge.exchange,
            upload: Bytes(finished.message.serialize().to_vec()),
            account_by_passphrase: wrap(AccountWrap::from_export_key(&finished.export_key, &user)),
            account_by_recovery: wrap(AccountWrap::from_recovery_key(&recovery, &user)),
            list: Bytes(list.to_bytes()),
            possession: device.possession(&challenge.challenge.0, &list, &server)?,
        },
    )
    .await?;
    let token = AccessToken::parse(&enrolled.token).ok_or(ClientError::BadAnswer(server))?;
    home.settle(&pin, &device.secrets(*account.public()), &token, &PeerTrust::pin(&list))?;
    let (server_key, account) = (pin.identity.fingerprint(), account.public().fingerprint());
    Ok(Registered { user, recovery, server_key, account })
}

pub(super) async fn login(home: &Home, login: Login<'_>) -> Result<(), ClientError> {
    let Met { pin, connector, user } = meet(home, login.server, login.name, login.passphrase).await?;
    let server = connector.address().to_owned();
    let bad = || ClientError::BadAnswer(server.clone());
    let passphrase = login.passphrase.as_slice();
    let started = ClientLogin::<Suite>::start(&mut Rng(&mut rng()), passphrase).map_err(failed)?;
    let request = Bytes(started.message.serialize().to_vec());
    let challenge: LoginChallenge =
        post(&connector, "/v1/login/start", &LoginStart { user: Name(user.clone()), request }).await?;
    let response = CredentialResponse::deserialize(&challenge.response.0).map_err(|_| bad())?;
    let stretching = stretching().map_err(failed)?;
    let names = identifiers(user.as_str().as_bytes(), pin.domain.as_bytes());
    let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), names, Some(&stretching));
    let finished = started
        .state
        .finish(&mut Rng(&mut rng()), passphrase, response, parameters)
        .map_err(|_| ClientError::WrongCredentials)?;
    let finalization = Bytes(finished.message.serialize().to_vec());
    let finish = LoginFinish { exchange: challenge.exchange, finalization };
    let logged_in: LoggedIn = post(&connector, "/v1/login/finish", &finish).await?;

    let wrap = AccountWrap::from_export_key(&finished.export_key, &user);
    let account = wrap.unwrap(&logged_in.account_by_passphrase.0).map_err(|_| bad())?;
    let known = ClaimedList::from_bytes(&logged_in.list.0)?.verify(&user)?;
    if known.account() != account.public() {
        return Err(undertone_keys::device_list::ListError::Signature.into());
    }
    let device = NewDevice::generate(&user, login.label);
    let list = known.with(&account, device.record.sign(&device.identity))?;
    let enrolled: Enrolled = post(
        &connector,
        "/v1/devices",
        &Enrol {
            exchange: logged_in.exchange,
            list: Bytes(list.to_bytes()),
            device: device.record.device.to_string(),
            possession: device.possession(&logged_in.challenge.0, &list, &server)?,
        },
    )
    .await?;
    let token = AccessToken::parse(&enrolled.token).ok_or_else(bad)?;
    home.settle(&pin, &device.secrets(*account.public()), &token, &PeerTrust::pin(&list))?;
    Ok(())
}

pub(super) async fn logout(home: &Home) -> Result<(), ClientError> {
    let (Some(pin), Some(token)) = (home.server()?, home.token()?) else { return Err(ClientError::NotLoggedIn) };
    let (_, connector) = Connector::to_pinned(&pin).await?;
    match rest::post_empty(connector.tcp().await?, connector.address(), "/v1/logout", &token).await {
        // A token that is gone already is what was wanted.
        Ok(()) => {}
        Err(ClientError::Refused { code, .. }) if code == undertone_protocol::rest::code::UNAUTHORIZED => {}
        Err(error) => return Err(error),
    }
    Ok(home.forget()?)
}
