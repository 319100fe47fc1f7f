//! A desk over a folder of its own, and a person with passphrase, recovery key and devices.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opaque_ke::argon2::{Algorithm, Argon2, Params, Version};
use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, RegistrationResponse, ServerSetup,
};
use undertone_keys::account::AccountWrap;
use undertone_keys::agreement::{AgreementPublicKey, DeviceKey, SoftwareKey, prove_possession};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::record::DeviceRecord;
use undertone_keys::recovery::{RecoveryKey, sign_in};
use undertone_keys::sign::{Account, Device, SigningKey};
use undertone_keys::{AccessToken, DeviceId, Secret, UserId, WallTime};
use undertone_protocol::opaque::{CONTEXT, Rng, Suite, identifiers};
use undertone_protocol::rest::{
    Bytes, ChangeDevices, Enrol, Enrolled, LoggedIn, LoginFinish, LoginStart, Name, NewPassphrase, RecoverFinish,
    RecoverStart, RegisterFinish, RegisterStart,
};
use undertone_protocol::signal::ToDevice;

use super::super::{AccountError, Desk, rng};
use crate::config::{Limits, Registration};
use crate::directory::{self, Directory, Keys, Settings};
use crate::signal::wall_time;
use crate::store::{Accounts, Devices, Sqlite, Token};
use crate::switchboard::Switchboard;

pub(super) const DOMAIN: &str = "x";
pub(super) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) struct World {
    pub(super) desk: Desk<Sqlite>,
    pub(super) board: Arc<Switchboard>,
    folder: PathBuf,
}

/// A device's keys.
pub(super) struct Machine {
    pub(super) identity: SigningKey<Device>,
    key: SoftwareKey,
}

/// Somebody, and what they know and have.
pub(super) struct Person {
    pub(super) user: UserId,
    pub(super) passphrase: Vec<u8>,
    pub(super) recovery: RecoveryKey,
    pub(super) account: SigningKey<Account>,
    pub(super) machine: Machine,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(&Limits::default()).await
    }

    pub(super) async fn with(limits: &Limits) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("undertone-desk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let setup = ServerSetup::<Suite>::new(&mut Rng(&mut rng()));
        let board = Arc::new(Switchboard::new(SigningKey::generate(&mut rng()), limits, false));
        let desk = Self::open(&folder, setup, board.clone(), limits).await;
        Self { desk, board, folder }
    }

    async fn open(
        folder: &std::path::Path,
        setup: ServerSetup<Suite>,
        board: Arc<Switchboard>,
        limits: &Limits,
    ) -> Desk<Sqlite> {
        let seed = |byte| Secret::filled_by(|seed| seed.fill(byte));
        let keys = Keys { log: SigningKey::from_seed(seed(1)), vrf: seed(2) };
        let settings = Settings { epoch_interval: Duration::ZERO, ..Settings::new(wall_time) };
        let storage = directory::Sqlite::open(&folder.join("directory.db")).unwrap();
        let directory = Directory::open(storage, DOMAIN, keys, settings).await.unwrap();
        let store = Sqlite::open(&folder.join("undertone.db")).await.unwrap();
        Desk::new(store, directory, setup, DOMAIN.into(), Registration::Open, limits).with_board(board)
    }

    /// The server ends and starts again.
    pub(super) async fn restarted(self) -> Self {
        let Self { desk, board, folder } = self;
        desk.directory.stop().await;
        desk.store.close().await;
        let setup = desk.setup.clone();
        drop(desk);
        let desk = Self::open(&folder, setup, board.clone(), &Limits::default()).await;
        desk.catch_up().await.unwrap();
        Self { desk, board, folder }
    }

    pub(super) async fn close(self) {
        self.desk.directory.stop().await;
        self.desk.store.close().await;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// A new account.
    pub(super) async fn register(&self, name: &str) -> (Person, Enrolled) {
        let user: UserId = UserId::parse(name, DOMAIN).unwrap();
        let person = Person::new(user);
        let enrolled = self.registers(&person, None).await.unwrap();
        (person, enrolled)
    }

    /// Registers, or begins anew with a token.
    pub(super) async fn registers(&self, person: &Person, anew: Option<&str>) -> Result<Enrolled, AccountError> {
        let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), &person.passphrase).unwrap();
        let start = RegisterStart {
            user: Name(person.user.clone()),
            request: Bytes(started.message.serialize().to_vec()),
            invite: None,
            anew: anew.map(str::to_owned),
            legacy_key: None,
        };
        let challenge = self.desk.register_start(start, HOME, wall_time()).await?;
        let (upload, wrapped) = person.uploads(started.state, &challenge.response.0);
        let record = person.machine.record(&person.user);
        let list = match &challenge.list {
            None => {
                let signed = record.sign(&person.machine.identity);
                DeviceList::first(&person.account, &person.user, signed).unwrap()
            }
            Some(before) => {
                let signed = record.sign(&person.machine.identity);
                DeviceList::anew(&person.account, &list_of(&before.0, &person.user), signed).unwrap()
            }
        };
        let by_recovery = AccountWrap::from_recovery_key(&person.recovery, &person.user);
        let finish = RegisterFinish {
            exchange: challenge.exchange,
            upload,
            account_by_passphrase: wrapped,
            account_by_recovery: Bytes(by_recovery.wrap(&mut rng(), &person.account)),
            recovery: Bytes(person.recovery.signer(&person.user).public().as_bytes().to_vec()),
            list: Bytes(list.to_bytes()),
            possession: person.machine.possession(&challenge.challenge.0, &list),
        };
        self.desk.register_finish(finish, wall_time()).await
    }

    pub(super) async fn login(&self, person: &Person) -> Result<LoggedIn, AccountError> {
        self.login_with(person, None).await
    }

    async fn login_with(&self, person: &Person, new_passphrase: Option<Bytes>) -> Result<LoggedIn, AccountError> {
        let started = ClientLogin::<Suite>::start(&mut Rng(&mut rng()), &person.passphrase).unwrap();
        let request = Bytes(started.message.serialize().to_vec());
        let challenge = self.desk.login_start(LoginStart { user: Name(person.user.clone()), request }, HOME).await?;
        let response = CredentialResponse::deserialize(&challenge.response.0).unwrap();
        let (names, stretching) = (identifiers(person.user.as_str().as_bytes(), DOMAIN.as_bytes()), stretching());
        let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), names, Some(&stretching));
        let finished = started.state.finish(&mut Rng(&mut rng()), &person.passphrase, response, parameters);
        let Ok(finished) = finished else { return Err(AccountError::WrongCredentials) };
        let finalization = Bytes(finished.message.serialize().to_vec());
        let finish = LoginFinish { exchange: challenge.exchange, finalization, legacy_key: None, new_passphrase };
        let logged_in = self.desk.login_finish(finish).await?;
        let opened = AccountWrap::from_export_key(&finished.export_key, &person.user).unwrap(&logged_in.account.0);
        assert_eq!(opened.unwrap().public(), person.account.public());
        Ok(logged_in)
    }

    /// By the recovery key, with a new passphrase for whoever wants it.
    pub(super) async fn recover(
        &self,
        person: &Person,
        passphrase: &[u8],
    ) -> Result<(LoggedIn, NewPassphrase), AccountError> {
        let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), passphrase).unwrap();
        let request = Bytes(started.message.serialize().to_vec());
        let start = RecoverStart { user: Name(person.user.clone()), request };
        let challenge = self.desk.recover_start(start, HOME).await?;
        let nonce = challenge.nonce.0.as_slice().try_into().unwrap();
        let signature = sign_in(&person.recovery.signer(&person.user), DOMAIN, &person.user, &nonce);
        let finish = RecoverFinish {
            exchange: challenge.exchange,
            signature: Bytes(signature.as_bytes().to_vec()),
            legacy_key: None,
        };
        let logged_in = self.desk.recover_finish(finish.clone()).await?;
        let again = self.desk.recover_finish(finish).await;
        assert!(matches!(again, Err(AccountError::ExchangeOver)), "a nonce is good once");
        let opened = AccountWrap::from_recovery_key(&person.recovery, &person.user).unwrap(&logged_in.account.0);
        assert_eq!(opened.unwrap().public(), person.account.public());
        let other = Person { passphrase: passphrase.to_vec(), ..person.again() };
        let (upload, account) = other.uploads(started.state, &challenge.response.0);
        Ok((logged_in, NewPassphrase { upload, account }))
    }

    pub(super) async fn enrol(
        &self,
        machine: &Machine,
        logged_in: LoggedIn,
        list: &DeviceList,
        passphrase: Option<NewPassphrase>,
    ) -> Result<Enrolled, AccountError> {
        let enrol = Enrol {
            exchange: logged_in.exchange,
            list: Bytes(list.to_bytes()),
            device: machine.id().to_string(),
            possession: machine.possession(&logged_in.challenge.0, list),
            passphrase,
        };
        self.desk.enrol(enrol, wall_time()).await
    }

    pub(super) async fn change(
        &self,
        logged_in: LoggedIn,
        list: &DeviceList,
        passphrase: Option<NewPassphrase>,
    ) -> Result<(), AccountError> {
        let (exchange, list) = (logged_in.exchange, Bytes(list.to_bytes()));
        let change = ChangeDevices { exchange, list, passphrase, passphrase_off: false };
        self.desk.change(change, None, wall_time()).await
    }

    /// Switches the passphrase off.
    pub(super) async fn switch_off(&self, logged_in: LoggedIn, list: &DeviceList) -> Result<(), AccountError> {
        let (exchange, list) = (logged_in.exchange, Bytes(list.to_bytes()));
        let change = ChangeDevices { exchange, list, passphrase: None, passphrase_off: true };
        self.desk.change(change, None, wall_time()).await
    }

    /// Sets another passphrase by the present one, as the device with this token, or as nobody's.
    pub(super) async fn renew(
        &self,
        person: &Person,
        passphrase: &[u8],
        bearer: Option<&Token>,
    ) -> Result<(), AccountError> {
        let started = ClientRegistration::<Suite>::start(&mut Rng(&mut rng()), passphrase).unwrap();
        let request = Bytes(started.message.serialize().to_vec());
        let logged_in = self.login_with(person, Some(request)).await?;
        let other = Person { passphrase: passphrase.to_vec(), ..person.again() };
        let (upload, account) = other.uploads(started.state, &logged_in.new_passphrase.unwrap().0);
        let (exchange, list) = (logged_in.exchange, logged_in.list);
        let passphrase = Some(NewPassphrase { upload, account });
        let change = ChangeDevices { exchange, list, passphrase, passphrase_off: false };
        self.desk.change(change, bearer, wall_time()).await
    }

    /// Whether a token is good, and whose it is.
    pub(super) async fn token(&self, enrolled: &Enrolled) -> Option<Token> {
        let token = AccessToken::parse(enrolled.token.as_ref().unwrap()).unwrap();
        self.desk.store.token(&token.hash()).await.unwrap()
    }

    /// The operator's token.
    pub(super) async fn admin_anew(&self, user: &UserId) -> String {
        let token = AccessToken::random(&mut rng()).to_text();
        self.desk.store.add_anew(sha256(&[token.as_bytes()]), user, wall_time()).await.unwrap();
        token
    }

    pub(super) async fn list(&self, user: &UserId) -> DeviceList {
        list_of(&self.desk.store.list(user).await.unwrap().unwrap().list, user)
    }

    /// A device's line.
    pub(super) fn connect(&self, user: &UserId, machine: &Machine) -> tokio::sync::mpsc::Receiver<ToDevice> {
        let you = Address { user: user.clone(), device: machine.id() };
        self.board.connect(you, *machine.identity.public()).1
    }
}

impl Person {
    pub(super) fn new(user: UserId) -> Self {
        Self {
            user,
            passphrase: b"correct horse".to_vec(),
            recovery: RecoveryKey::generate(&mut rng()),
            account: SigningKey::generate(&mut rng()),
            machine: Machine::new(),
        }
    }

    /// The same person at another moment.
    pub(super) fn again(&self) -> Self {
        Self {
            user: self.user.clone(),
            passphrase: self.passphrase.clone(),
            recovery: RecoveryKey::parse(&self.recovery.to_text()).unwrap(),
            account: SigningKey::from_seed(Secret::from_slice(self.account.seed().expose()).unwrap()),
            machine: self.machine.again(),
        }
    }

    /// OPAQUE's upload, and the account key under its export key.
    fn uploads(&self, state: ClientRegistration<Suite>, response: &[u8]) -> (Bytes, Bytes) {
        let response = RegistrationResponse::deserialize(response).unwrap();
        let (names, stretching) = (identifiers(self.user.as_str().as_bytes(), DOMAIN.as_bytes()), stretching());
        let parameters = ClientRegistrationFinishParameters::new(names, Some(&stretching));
        let finished = state.finish(&mut Rng(&mut rng()), &self.passphrase, response, parameters).unwrap();
        let wrap = AccountWrap::from_export_key(&finished.export_key, &self.user);
        (Bytes(finished.message.serialize().to_vec()), Bytes(wrap.wrap(&mut rng(), &self.account)))
    }
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { identity: SigningKey::generate(&mut rng()), key: SoftwareKey::generate(&mut rng()) }
    }

    fn again(&self) -> Self {
        Self {
            identity: SigningKey::from_seed(Secret::from_slice(self.identity.seed().expose()).unwrap()),
            key: SoftwareKey::from_scalar(Secret::from_slice(self.key.scalar().expose()).unwrap()).unwrap(),
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        DeviceId::of(self.identity.public())
    }

    pub(super) fn record(&self, user: &UserId) -> DeviceRecord {
        let created = WallTime::from_unix(1);
        DeviceRecord::new(user.clone(), *self.identity.public(), *self.key.public(), created, "a device".into())
    }

    fn possession(&self, challenge: &[u8], list: &DeviceList) -> Bytes {
        let challenge = AgreementPublicKey::from_sec1(challenge).unwrap();
        let shared = self.key.agree(&challenge).unwrap();
        Bytes(prove_possession(&shared, &challenge, &list.hash()).to_vec())
    }
}

pub(super) fn list_of(bytes: &[u8], user: &UserId) -> DeviceList {
    ClaimedList::from_bytes(bytes).unwrap().verify(user).unwrap()
}

/// As little as the library takes: what is tested is not the stretching.
fn stretching() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap())
}
