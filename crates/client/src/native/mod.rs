//! The native driver: a home folder, TLS, HTTP, WebSocket, QUIC, Opus and sound cards around the engine.

mod account;
mod advice;
mod audit;
pub mod calendar;
mod config;
mod connector;
mod device_key;
mod directory;
mod doctor;
mod driver;
mod enrolment;
pub mod errand;
mod error;
mod explain;
mod home;
mod links;
mod log_audit;
mod log_client;
mod lookup;
pub mod measure;
mod online;
mod open_questions;
mod proof;
mod rest;
mod rooms;
mod self_audit;
pub mod sound;
mod swarm;
mod token;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_call::Local;
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::secret::SecretBytes;
use undertone_keys::{DeviceId, UserId, WallTime, pairing};
use undertone_transparency::PeerTrust;
use undertone_transparency::trust::TrustError;

pub use account::{Entrance, Login, MIN_PASSPHRASE, Registered, Registration, Unlock};
pub use audit::{About, CheckedEvidence, Fault, check_evidence};
pub use config::{ClientConfig, ConfigError, ConfigFault};
pub use device_key::{KeyChoice, NoPins, Pins, TokenPlace};
use directory::Directory;
pub use doctor::Finding;
pub use error::{ClientError, ExitClass};
pub use explain::RoomKeys;
pub use home::{DeviceSecrets, Home, HomeError, KeyPlace, ServerPin};
pub use log_audit::LogAudit;
pub use online::{Loudness, Online, Status, TapReport, Wanted};
pub use proof::{Cosigned, Entry, Growth, Proof};
pub use rooms::{Invitee, LostRoom, RoomBook, RoomFault, RoomView};
pub use self_audit::{AuditedVersion, SelfAudit};
pub use sound::Sound;
pub use swarm::{Coins, Healed, Listener, Looked, Received, SwarmFault, SwarmView};
pub use token::TokenFault;

pub use crate::engine::{Alarm, Owed};

/// The operating system's random numbers.
pub(crate) const fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// The wall clock of this machine.
pub(crate) fn wall_time() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    WallTime::from_unix(since.map_or(0, |since| since.as_secs()))
}

/// One device of one account, or a home folder that is to become one.
#[derive(Clone)]
pub struct Client {
    home: Arc<Home>,
    pins: Arc<dyn Pins>,
    /// The way to the server that is in use: what one command saw of the log, the next one must follow.
    directory: Arc<Mutex<Weak<Directory>>>,
    /// The device that was connected last, if it still is.
    connected: Arc<Mutex<Option<explain::Asker>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.home.folder().display())
    }
}

/// Where an account lives and what it is called.
#[derive(Clone, Debug)]
pub struct Whoami {
    /// User and device.
    pub address: Address,
    /// What the device is called.
    pub label: String,
    /// The account key, which peers pin.
    pub account: String,
    /// Where its static key lies.
    pub key: KeyPlace,
    /// Host and port of the server.
    pub server: String,
    /// The server's pinned identity key.
    pub server_key: String,
}

impl Client {
    /// Opens or makes a home folder and locks it: one process owns a home (rule STO-1).
    ///
    /// # Errors
    /// [`HomeError`], [`HomeError::InUse`] among them.
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        let home = Arc::new(Home::open(folder)?);
        Ok(Self { home, pins: Arc::new(NoPins), directory: Arc::default(), connected: Arc::default() })
    }

    /// Takes errands of other processes that find this home taken; see [`errand`].
    ///
    /// # Errors
    /// The system's.
    pub fn counter(&self) -> std::io::Result<errand::Counter> {
        errand::Counter::open(&self.home)
    }

    /// The way to the server: the one that a connection of this device uses, if there is one.
    async fn directory(&self) -> Result<Arc<Directory>, ClientError> {
        let known = || self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = known().upgrade();
        if let (Some(directory), Some(token)) = (in_use, self.home.token()?)
            && directory.token().hash() == token.hash()
        {
            return Ok(directory);
        }
        let directory = Arc::new(Directory::open(self.home.clone()).await?);
        *known() = Arc::downgrade(&directory);
        Ok(directory)
    }

    /// Asks for the PIN there where this device's key lies, or is to lie, on a token.
    #[must_use]
    pub fn with_pins(self, pins: Arc<dyn Pins>) -> Self {
        Self { pins, ..self }
    }

    /// Makes an account with this device as its first, or begins one anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, registration: Registration<'_>) -> Result<Registered, ClientError> {
        account::register(&self.home, registration, &*self.pins).await
    }

    /// Adds this device to an account by its passphrase or its recovery key, let in by one that is there (rule ID-6). A new
    /// recovery key comes of it only where a registration on this home was never answered.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn login(&self, login: Login<'_>) -> Result<Registered, ClientError> {
        account::login(&self.home, login, &*self.pins).await
    }

    /// Ends this device's access and forgets its keys.
    ///
    /// # Errors
    /// [`ClientError`]; when the server cannot be reached nothing is forgotten.
    pub async fn logout(&self) -> Result<(), ClientError> {
        account::logout(&self.home).await
    }

    /// Who this device is.
    ///
    /// # Errors
    /// [`ClientError::NotLoggedIn`].
    pub fn whoami(&self) -> Result<Whoami, ClientError> {
        let device = self.home.device()?.ok_or(ClientError::NotLoggedIn)?;
        let server = self.home.server()?.ok_or(ClientError::NotLoggedIn)?;
        Ok(Whoami {
            key: device.key_place(),
            address: device.address,
            label: device.label,
            account: device.account.fingerprint(),
            server: server.address,
            server_key: server.identity.fingerprint(),
        })
    }

    /// The account's own devices, as the server has them and this device has checked them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn devices(&self) -> Result<DeviceList, ClientError> {
        let directory = self.directory().await?;
        directory.own_devices().await
    }

    /// Walks the history of this device's own account from the newest version checked before, and says what stands in it that
    /// nobody here has acknowledged (rule KT-11). Asks again for what the server owes (rule KT-13).
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Proof`] where the server's proof of it fails, [`ClientError::Diverged`] where a peer is shown
    /// another log.
    pub async fn self_audit(&self) -> Result<SelfAudit, ClientError> {
        let directory = self.directory().await?;
        let mut audit = self_audit::walk(&directory).await?;
        let mut asked = directory.ask_again().await?;
        if let Some((_, diverged)) = asked.diverged.pop() {
            return Err(diverged);
        }
        audit.owed = asked.owed;
        Ok(audit)
    }

    /// Acknowledges a device of this account that the history has shown, or that it was revoked: it is no alarm any more on this
    /// device.
    ///
    /// # Errors
    /// [`ClientError::UnknownDevice`] where no version that was checked has such a device.
    pub fn accept_device(&self, device: DeviceId) -> Result<(), ClientError> {
        self_audit::accept(&self.home, device)
    }

    /// Reads the log of this home's server, or of another, from where it was audited before or from its first leaf: every leaf in
    /// order, and every epoch shown to have only added. `progress` is told the leaves that are checked, and how many there
    /// are. Needs no account where a server is named.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Log`] where the log does not hold.
    pub async fn audit_log(
        &self,
        server: Option<&str>,
        from_start: bool,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<LogAudit, ClientError> {
        log_audit::audit(&self.home, server, from_start, progress).await
    }

    /// Lets a new device into this account, by the code that it shows (rule ID-6); its id.
    ///
    /// # Errors
    /// [`ClientError::Code`] where it is no code, and others.
    pub async fn let_in(&self, code: &str) -> Result<DeviceId, ClientError> {
        let device = pairing::parse(code).ok_or(ClientError::Code)?;
        let directory = self.directory().await?;
        account::give(&directory, device).await?;
        Ok(device)
    }

    /// Gives this device another name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rename(&self, label: &str, unlock: Unlock<'_>) -> Result<DeviceList, ClientError> {
        let directory = self.directory().await?;
        account::change(&directory, unlock, account::Change::Rename(label)).await
    }

    /// Revokes a device for good. One that revokes itself is forgotten by its home.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke(&self, device: DeviceId, unlock: Unlock<'_>) -> Result<DeviceList, ClientError> {
        let directory = self.directory().await?;
        account::change(&directory, unlock, account::Change::Revoke(device)).await
    }

    /// Sets another passphrase (rule ID-6).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_passphrase(&self, unlock: Unlock<'_>, new: &SecretBytes) -> Result<(), ClientError> {
        let directory = self.directory().await?;
        account::set_passphrase(&directory, unlock, new).await
    }

    /// Switches the way by a passphrase off: the recovery key alone opens the account from now on (rule ID-6).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn switch_passphrase_off(&self, key: &RecoveryKey) -> Result<(), ClientError> {
        let directory = self.directory().await?;
        account::switch_passphrase_off(&directory, key).await
    }

    /// Takes an announcement to begin the account anew back (rule ID-7).
    ///
    /// # Errors
    /// [`ClientError::NothingAnnounced`] where there is none, and others.
    pub async fn keep(&self, unlock: Unlock<'_>) -> Result<DeviceList, ClientError> {
        let directory = self.directory().await?;
        account::change(&directory, unlock, account::Change::Keep).await
    }

    /// A user by full or bare name; a bare name is one on this account's server.
    ///
    /// # Errors
    /// [`ClientError::Name`].
    pub fn user(&self, name: &str) -> Result<UserId, ClientError> {
        let device = self.home.device()?.ok_or(ClientError::NotLoggedIn)?;
        UserId::parse(name, device.address.user.domain()).map_err(ClientError::Name)
    }

    /// What this device knows of a peer after looking once more. A changed key is no error: it stands in what is
    /// returned. A list that went backwards or in two directions is one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn peer(&self, user: &UserId) -> Result<PeerTrust, ClientError> {
        let directory = self.directory().await?;
        match directory.resolve(user).await {
            Ok(_) | Err(ClientError::Trust(TrustError::Changed { .. } | TrustError::Refused { .. })) => {
                self.known_peer(user)?.ok_or(ClientError::UnknownPeer)
            }
            Err(error) => Err(error),
        }
    }

    /// The same, with the proof that was checked: everything of it, so that others can check it again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn peer_with_proof(&self, user: &UserId) -> Result<(PeerTrust, Proof), ClientError> {
        let directory = self.directory().await?;
        let (devices, evidence) = directory.proven(user).await?;
        let trust = self.known_peer(user)?.ok_or(ClientError::UnknownPeer)?;
        Ok((trust, Proof::new(&devices, evidence, directory.pin())?))
    }

    /// What this device knows of a peer without asking anybody.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn known_peer(&self, user: &UserId) -> Result<Option<PeerTrust>, ClientError> {
        Ok(self.home.peer(user)?)
    }

    /// Records a person's decision about a peer's changed key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn decide(&self, user: &UserId, fingerprint: &str, accept: bool) -> Result<PeerTrust, ClientError> {
        self.home.change_peer(user, |known| {
            let Some(mut trust) = known else { return (None, Err(ClientError::UnknownPeer)) };
            match trust.decide(fingerprint, accept, wall_time()) {
                Ok(()) => (Some(trust.clone()), Ok(trust)),
                Err(error) => (None, Err(error.into())),
            }
        })?
    }

    /// Records that two people compared the peer's fingerprint or a call's SAS.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn verified(&self, user: &UserId, fingerprint: &str) -> Result<PeerTrust, ClientError> {
        self.home.change_peer(user, |known| {
            let Some(mut trust) = known else { return (None, Err(ClientError::UnknownPeer)) };
            let key = trust.trusted().map(|(_, key)| key).filter(|key| key.fingerprint() == fingerprint);
            match key.map(|key| trust.verified(&key, wall_time())) {
                Some(Ok(())) => (Some(trust.clone()), Ok(trust)),
                Some(Err(error)) => (None, Err(error.into())),
                None => (None, Err(ClientError::WrongFingerprint)),
            }
        })?
    }

    /// Looks at everything a call needs, from the home folder to the sound card.
    pub async fn doctor(&self) -> Vec<Finding> {
        doctor::examine(&self.home).await
    }

    /// The rooms that this account may come into, and changes to who may come into them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rooms(&self) -> Result<RoomBook, ClientError> {
        let signer = self.signer()?;
        let directory = self.directory().await?;
        Ok(RoomBook::new(directory, signer))
    }

    fn signer(&self) -> Result<rooms::Signer, ClientError> {
        let device = self.home.device()?.ok_or(ClientError::NotLoggedIn)?;
        let identity = Arc::new(device.identity());
        Ok(rooms::Signer { address: device.address, identity, account: device.account })
    }

    /// Enrols this device in a swarm: `swarm` is its description, `keys` the texts that the operators' `coins create` has written. The nodes are
    /// asked whether they know the keys, and what they say is returned.
    ///
    /// # Errors
    /// [`ClientError::Swarm`]: nothing was kept.
    pub async fn enrol(&self, swarm: &str, keys: &[&str]) -> Result<(SwarmView, Vec<Looked>), ClientError> {
        swarm::enrol(&self.home, swarm, keys).await
    }

    /// This device's coins in the swarm that it is enrolled in.
    ///
    /// # Errors
    /// [`ClientError::Swarm`] where it is in none.
    pub fn coins(&self) -> Result<Coins, ClientError> {
        Coins::open(self.home.clone())
    }

    /// Connects to the server and stays connected until [`Online::stop`].
    ///
    /// # Errors
    /// [`ClientError`] when it cannot be reached at all; later interruptions are events.
    pub async fn connect(&self) -> Result<Online, ClientError> {
        let device = self.home.device()?.ok_or(ClientError::NotLoggedIn)?;
        let rooms::Signer { address, identity, account } = self.signer()?;
        let directory = self.directory().await?;
        let pins = self.pins.clone();
        // A person may take their time over a PIN, and a token over itself.
        let opened = tokio::task::spawn_blocking(move || device.key.open(&*pins)).await;
        let holder = opened.map_err(|_| ClientError::Stopped)??;
        let local = Local { address, identity, account, key: holder.public() };
        let online = Online::start(self.home.clone(), directory, local, holder).await?;
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(online.asker());
        Ok(online)
    }
}
