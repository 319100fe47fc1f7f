//! Looking users up: what the server says, as far as this device believes it.

mod gossip;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, RwLock};
use undertone_keys::device_list::DeviceList;
use undertone_keys::sign::Signed;
use undertone_keys::{AccessToken, RoomId, UserId, WallTime};
use undertone_protocol::Access;
use undertone_protocol::rest::{AccessVersions, Bytes, Entered, NewAccess, Rooms, code};
use undertone_transparency::evidence::Evidence;
use undertone_transparency::history::History;
use undertone_transparency::seen::Seen;
use undertone_transparency::trust::TrustError;
use undertone_transparency::verify::{Purpose, Question, VerifiedDevices};
use undertone_transparency::{PeerTrust, TrustedPeer};

use super::connector::Connector;
use super::error::ClientError;
use super::home::{Home, ServerPin};
use super::lookup::Lookup;
use super::rest;
use crate::engine::NotEntered;

/// The way from names to proven devices.
#[derive(Debug)]
pub(crate) struct Directory {
    home: Arc<Home>,
    pin: ServerPin,
    token: AccessToken,
    connector: RwLock<Connector>,
    /// Who wrote and is not pinned yet.
    strangers: Mutex<HashMap<UserId, PeerTrust>>,
    /// What was seen last of the log. One look-up at a time: of two answers at once, each would have to follow the other.
    seen: AsyncMutex<Option<Seen>>,
}

/// Strangers kept in mind at the same time.
const MAX_STRANGERS: usize = 1024;

impl Directory {
    /// Finds the pinned server.
    pub(crate) async fn open(home: Arc<Home>) -> Result<Self, ClientError> {
        let (Some(pin), Some(token)) = (home.server()?, home.token()?) else {
            return Err(ClientError::NotLoggedIn);
        };
        let (pin, connector) = meet_again(&home, pin).await?;
        let seen = AsyncMutex::new(home.seen(&pin)?);
        Ok(Self { home, pin, token, connector: RwLock::new(connector), strangers: Mutex::default(), seen })
    }

    /// The present way to the server.
    pub(crate) async fn connector(&self) -> Connector {
        self.connector.read().await.clone()
    }

    /// Finds the server again: its TLS key may be a new one.
    pub(crate) async fn reconnect(&self) -> Result<Connector, ClientError> {
        // What was seen since may be newer than what this began with.
        let pin = self.home.server()?.unwrap_or_else(|| self.pin.clone());
        let (_, connector) = meet_again(&self.home, pin).await?;
        *self.connector.write().await = connector.clone();
        Ok(connector)
    }

    pub(crate) const fn pin(&self) -> &ServerPin {
        &self.pin
    }

    pub(crate) const fn token(&self) -> &AccessToken {
        &self.token
    }

    /// Somebody who wrote to this device. A first contact is pinned in memory alone: until an invite has held, an envelope
    /// is no reason to write what a server says of somebody to the disk.
    pub(crate) async fn resolve_sender(&self, user: &UserId) -> Result<TrustedPeer, ClientError> {
        let devices = self.fetch(user, Purpose::Begin).await?;
        if self.home.peer(user)?.is_some() {
            return self.observe(user, &devices);
        }
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() >= MAX_STRANGERS && !strangers.contains_key(user) {
            strangers.clear();
        }
        let trust = strangers.entry(user.clone()).or_insert_with(|| PeerTrust::pin(&devices));
        trust.observe(&devices).map_err(ClientError::Trust)
    }

    /// Writes a stranger's pin down: an invite of theirs held.
    pub(crate) fn keep(&self, user: &UserId) {
        let Some(stranger) = self.strangers.lock().unwrap_or_else(PoisonError::into_inner).remove(user) else { return };
        let kept = self.home.change_peer(user, |known| (known.or(Some(stranger)), ()));
        if let Err(error) = kept {
            tracing::warn!(%error, "a first contact was not pinned");
        }
    }

    /// A room's list above a version, one page of it.
    pub(crate) async fn access_above(&self, room: RoomId, above: u32) -> Result<AccessVersions, ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{room}/access?above={above}");
        rest::get(connector.tcp().await?, connector.address(), &path, Some(&self.token)).await
    }

    /// The rooms of this account, as far as the server knows.
    pub(crate) async fn rooms(&self) -> Result<Rooms, ClientError> {
        let connector = self.connector().await;
        rest::get(connector.tcp().await?, connector.address(), "/v1/rooms", Some(&self.token)).await
    }

    /// Hands a new version of a room's list to the server.
    pub(crate) async fn put_access(&self, access: &Access) -> Result<(), ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{}/access", access.list().room);
        let body = NewAccess { access: Bytes(access.to_bytes()) };
        rest::post_for_nothing(connector.tcp().await?, connector.address(), &path, &self.token, &body).await
    }

    /// A grant for a room.
    pub(crate) async fn enter(&self, room: RoomId) -> Result<Signed, NotEntered> {
        let entered: Result<Entered, ClientError> = async {
            let connector = self.connector().await;
            let path = format!("/v1/rooms/{room}/enter");
            rest::post(connector.tcp().await?, connector.address(), &path, Some(&self.token), &()).await
        }
        .await;
        match entered {
            Ok(entered) => undertone_keys::cbor::decode(&entered.grant.0)
                .map_err(|_| NotEntered::Refused("the server's grant cannot be read".into())),
            Err(ClientError::Refused { code, .. }) if code == code::UNKNOWN_ROOM => Err(NotEntered::NotListed),
            Err(ClientError::Refused { code, .. }) if code == code::UNAVAILABLE => Err(NotEntered::Unavailable),
            Err(ClientError::Refused { message, .. }) => Err(NotEntered::Refused(message)),
            Err(_) => Err(NotEntered::Unavailable),
        }
    }

    pub(crate) const fn home(&self) -> &Arc<Home> {
        &self.home
    }

    async fn fetch(&self, user: &UserId, purpose: Purpose) -> Result<VerifiedDevices, ClientError> {
        Ok(self.fetch_and(user, purpose, |_, _| ()).await?.0)
    }

    async fn fetch_and<T>(
        &self,
        user: &UserId,
        purpose: Purpose,
        keep: impl FnOnce(&Question<'_>, &[u8]) -> T + Send,
    ) -> Result<(VerifiedDevices, T), ClientError> {
        let mut seen = self.seen.lock().await;
        let known = self.home.peer(user)?.and_then(|peer| peer.list());
        let connector = self.connector().await;
        let lookup = Lookup { home: &self.home, pin: &self.pin, token: &self.token, connector: &connector };
        lookup.devices_and(user, purpose, known.as_ref(), &mut seen, keep).await
    }

    /// What is proven of a user's devices, and everything that the check was made of. What was seen of them is remembered,
    /// also where this device does not trust their key; who asks for a proof wants to see it then more than ever.
    pub(crate) async fn proven(&self, user: &UserId) -> Result<(VerifiedDevices, Evidence), ClientError> {
        let (devices, evidence) = self.fetch_and(user, Purpose::Begin, Evidence::new).await?;
        match self.observe(user, &devices) {
            Ok(_) | Err(ClientError::Trust(TrustError::Changed { .. } | TrustError::Refused { .. })) => {
                Ok((devices, evidence))
            }
            Err(error) => Err(error),
        }
    }

    /// A user's devices, if this device trusts their account key. What was seen is remembered either way.
    pub(crate) async fn resolve(&self, user: &UserId) -> Result<TrustedPeer, ClientError> {
        self.observe(user, &self.fetch(user, Purpose::Begin).await?)
    }

    fn observe(&self, user: &UserId, devices: &VerifiedDevices) -> Result<TrustedPeer, ClientError> {
        let observed = self.home.change_peer(user, |known| {
            let mut trust = known.unwrap_or_else(|| PeerTrust::pin(devices));
            let peer = trust.observe(devices);
            (Some(trust), peer)
        })?;
        observed.map_err(ClientError::Trust)
    }

    /// Every version of the own account's list from the newest that was checked on (rule KT-11).
    pub(crate) async fn own_history(&self) -> Result<History, ClientError> {
        let user = self.home.device()?.ok_or(ClientError::NotLoggedIn)?.address.user;
        let mut seen = self.seen.lock().await;
        let from = self.home.audited(&user)?.ok_or(ClientError::NotLoggedIn)?;
        // What a look-up has shown meanwhile must stand in the history too.
        let known = self.home.peer(&user)?.and_then(|own| own.list());
        let connector = self.connector().await;
        let lookup = Lookup { home: &self.home, pin: &self.pin, token: &self.token, connector: &connector };
        lookup.history(&from, known.as_ref(), &mut seen).await
    }

    /// When the own account begins anew, where somebody has announced that and the server shows when (rule ID-7).
    pub(crate) async fn announced(&self) -> Option<WallTime> {
        let user = self.home.device().ok()??.address.user;
        let devices = self.fetch(&user, Purpose::Show).await.ok()?;
        devices.announced().map(|announced| announced.effective)
    }

    /// The own account's devices: the very list that the account's pin, made when this device became one of them,
    /// has accepted.
    pub(crate) async fn own_devices(&self) -> Result<DeviceList, ClientError> {
        let device = self.home.device()?.ok_or(ClientError::NotLoggedIn)?;
        let devices = self.fetch(&device.address.user, Purpose::Begin).await?;
        self.observe(&device.address.user, &devices)?;
        Ok(devices.list().clone())
    }
}

/// Finds the pinned server and remembers the newest it says of its TLS key.
async fn meet_again(home: &Home, mut pin: ServerPin) -> Result<(ServerPin, Connector), ClientError> {
    let (statement, connector) = Connector::to_pinned(&pin).await?;
    let newer = statement.created > pin.newest;
    if newer {
        (pin.newest, pin.tls_key) = (statement.created, statement.tls_key);
    }
    // A home from before there was a directory pins its key now.
    if newer || pin.vrf.is_none() {
        pin.vrf = pin.vrf.or(Some(statement.vrf));
        home.put_server(&pin)?;
    }
    Ok((pin, connector))
}
