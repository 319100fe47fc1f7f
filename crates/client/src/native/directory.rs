//! Looking users up: what the server says, as far as this device believes it.

mod gossip;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, RwLock, Semaphore};
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{AccessToken, CallId, RoomId, UserId, WallTime};
use undertone_protocol::Access;
use undertone_protocol::limits::MAX_CLAIMED;
use undertone_protocol::rest::{
    AccessVersions, Bytes, ClaimKeyPackages, ClaimedKeyPackages, DeviceNamed, Entered, Name, NewAccess, Rooms,
    TurnAway, UploadKeyPackages, code,
};
use undertone_transparency::evidence::Evidence;
use undertone_transparency::history::History;
use undertone_transparency::known::KnownList;
use undertone_transparency::seen::Seen;
use undertone_transparency::trust::TrustError;
use undertone_transparency::verify::{Purpose, VerifiedDevices};
use undertone_transparency::{PeerTrust, TrustedPeer};

use super::connector::Connector;
use super::error::ClientError;
use super::home::{Home, ServerPin};
use super::lookup::{Asked, Lookup, there};
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
    /// What was seen last of the log. One answer is checked at a time: each has to follow the one before.
    seen: AsyncMutex<Option<Seen>>,
    /// Look-ups under way.
    lookups: Semaphore,
}

/// What was seen last of the log, while nobody else checks an answer.
type Turn<'a> = MutexGuard<'a, Option<Seen>>;

/// Users who are asked about at the same time, at most: everybody on a room's list is looked up when it is entered.
const LOOKUPS_AT_ONCE: usize = 8;

/// How long the server hands out a key package of this device: it is left behind for the call that the device has just come into, and
/// whoever is handed an old one lets in nobody.
const KEY_PACKAGE_GOOD: Duration = Duration::from_secs(600);

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
        let (connector, lookups) = (RwLock::new(connector), Semaphore::new(LOOKUPS_AT_ONCE));
        Ok(Self { home, pin, token, connector, strangers: Mutex::default(), seen, lookups })
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
        let (devices, _, _turn) = self.fetch(user, Purpose::Begin).await?;
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
        rest::get_list(connector.tcp().await?, connector.address(), &path, &self.token).await
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

    /// Closes a room that this user made before they began anew.
    pub(crate) async fn close_room(&self, room: RoomId) -> Result<(), ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{room}/close");
        rest::post_empty(connector.tcp().await?, connector.address(), &path, &self.token).await
    }

    /// Asks to be let into a room, be there one or not.
    pub(crate) async fn knock(&self, room: RoomId) -> Result<(), ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{room}/knock");
        rest::post_empty(connector.tcp().await?, connector.address(), &path, &self.token).await
    }

    /// Does not let somebody in who asks.
    pub(crate) async fn turn_away(&self, room: RoomId, user: UserId) -> Result<(), ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{room}/turn-away");
        let body = TurnAway { user: Name(user) };
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

    /// The ratchet tree of an epoch of a call's MLS group.
    pub(crate) async fn tree(&self, room: RoomId, call: CallId, epoch: u64) -> Result<Vec<u8>, ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{room}/calls/{call}/tree?epoch={epoch}");
        rest::get_tree(connector.tcp().await?, connector.address(), &path, &self.token).await
    }

    /// Hands a key package of this device to the server, to be given to whoever lets it into a group.
    pub(crate) async fn publish_key_package(&self, suite: u16, message: Vec<u8>) -> Result<(), ClientError> {
        let connector = self.connector().await;
        let expires = super::wall_time().plus(KEY_PACKAGE_GOOD.as_secs()).as_unix();
        let body = UploadKeyPackages { suite, packages: vec![Bytes(message)], last_resort: None, expires };
        rest::post_for_nothing(connector.tcp().await?, connector.address(), "/v1/key-packages", &self.token, &body)
            .await
    }

    /// A key package of each of these devices, where there is one and the server answers.
    pub(crate) async fn claim_key_packages(
        &self,
        room: RoomId,
        suite: u16,
        devices: Vec<Address>,
    ) -> Vec<(Address, Option<Vec<u8>>)> {
        let mut claimed = Vec::with_capacity(devices.len());
        for devices in devices.chunks(MAX_CLAIMED) {
            let answer = self.claim(room, suite, devices).await;
            let answer = answer.inspect_err(|error| tracing::warn!(%error, "no key packages were had")).ok();
            // One for each device, in the order asked for; whether they are theirs is in them.
            let mut packages = answer.map(|answer| answer.packages).unwrap_or_default().into_iter();
            claimed.extend(devices.iter().map(|device| {
                let package = packages.next().and_then(|claimed| claimed.package);
                (device.clone(), package.map(|Bytes(message)| message))
            }));
        }
        claimed
    }

    async fn claim(&self, room: RoomId, suite: u16, devices: &[Address]) -> Result<ClaimedKeyPackages, ClientError> {
        let connector = self.connector().await;
        let path = format!("/v1/rooms/{room}/key-packages/claim");
        let named =
            |device: &Address| DeviceNamed { user: Name(device.user.clone()), device: device.device.to_string() };
        let body = ClaimKeyPackages { suite, devices: devices.iter().map(named).collect() };
        rest::post(connector.tcp().await?, connector.address(), &path, Some(&self.token), &body).await
    }

    pub(crate) const fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// What is proven of a user's devices, and everything that the check was made of. While the turn is held no other answer is
    /// checked: what follows from this one is remembered before what follows from a later one.
    async fn fetch(
        &self,
        user: &UserId,
        purpose: Purpose,
    ) -> Result<(VerifiedDevices, Evidence, Turn<'_>), ClientError> {
        let _place = self.lookups.acquire().await.map_err(|_| ClientError::Stopped)?;
        let (known, connector) = (self.known(user)?, self.connector().await);
        let (lookup, asked) = (self.lookup(&connector), Asked { user, known: known.as_ref(), purpose });
        let before = self.seen.lock().await.clone();
        let answer = lookup.ask(asked, before.as_ref()).await?;
        let mut turn = self.seen.lock().await;
        let (mut proven, mut evidence) = lookup.check(asked, before.as_ref(), &answer)?;
        let order = Order::of(proven.provenance().seen(), before.as_ref(), turn.as_ref());
        if order != Order::Holds {
            let again = order == Order::AskAgain;
            let answer = if again { lookup.ask(asked, turn.as_ref()).await? } else { answer };
            (proven, evidence) = lookup.check(asked, turn.as_ref(), &answer)?;
        }
        lookup.remember(&mut turn, proven.provenance().seen())?;
        Ok((there(user, proven)?, evidence, turn))
    }

    fn lookup<'a>(&'a self, connector: &'a Connector) -> Lookup<'a> {
        Lookup { home: &self.home, pin: &self.pin, token: &self.token, connector }
    }

    /// What a look-up of this user goes on from: what is pinned of them, or what a stranger has shown in this run. Each list of
    /// theirs has to follow the one before (rule KT-7), whether it was written down or not.
    fn known(&self, user: &UserId) -> Result<Option<KnownList>, ClientError> {
        if let Some(peer) = self.home.peer(user)? {
            return Ok(peer.known());
        }
        let strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(strangers.get(user).and_then(PeerTrust::known))
    }

    /// What is proven of a user's devices, and everything that the check was made of. What was seen of them is remembered,
    /// also where this device does not trust their key; who asks for a proof wants to see it then more than ever.
    pub(crate) async fn proven(&self, user: &UserId) -> Result<(VerifiedDevices, Evidence), ClientError> {
        let (devices, evidence, _turn) = self.fetch(user, Purpose::Begin).await?;
        match self.observe(user, &devices) {
            Ok(_) | Err(ClientError::Trust(TrustError::Changed { .. } | TrustError::Refused { .. })) => {
                Ok((devices, evidence))
            }
            Err(error) => Err(error),
        }
    }

    /// A user's devices, if this device trusts their account key. What was seen is remembered either way.
    pub(crate) async fn resolve(&self, user: &UserId) -> Result<TrustedPeer, ClientError> {
        let (devices, _, _turn) = self.fetch(user, Purpose::Begin).await?;
        self.observe(user, &devices)
    }

    /// The same of several users, at most [`LOOKUPS_AT_ONCE`] at the same time; in their order.
    pub(crate) async fn resolve_all(&self, users: &[UserId]) -> Vec<Result<TrustedPeer, ClientError>> {
        join_all(users.iter().map(|user| self.resolve(user))).await
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
        let from = self.home.audited(&user)?.ok_or(ClientError::NotLoggedIn)?;
        // What a look-up has shown until now must stand in the history too.
        let (known, connector) = (self.known(&user)?, self.connector().await);
        let lookup = self.lookup(&connector);
        let before = self.seen.lock().await.clone();
        let answer = lookup.ask_history(from.list.version(), before.as_ref()).await?;
        let mut turn = self.seen.lock().await;
        let mut history = lookup.check_history(&from, known.as_ref(), before.as_ref(), &answer)?;
        let order = Order::of(history.provenance().seen(), before.as_ref(), turn.as_ref());
        if order != Order::Holds {
            let again = order == Order::AskAgain;
            let answer = if again { lookup.ask_history(from.list.version(), turn.as_ref()).await? } else { answer };
            history = lookup.check_history(&from, known.as_ref(), turn.as_ref(), &answer)?;
        }
        lookup.remember(&mut turn, history.provenance().seen())?;
        Ok(history)
    }

    /// When the own account begins anew, where somebody has announced that and the server shows when (rule ID-7).
    pub(crate) async fn announced(&self) -> Option<WallTime> {
        let user = self.home.device().ok()??.address.user;
        let (devices, ..) = self.fetch(&user, Purpose::Show).await.ok()?;
        devices.announced().map(|announced| announced.effective)
    }

    /// The own account's devices: the very list that the account's pin, made when this device became one of them,
    /// has accepted.
    pub(crate) async fn own_devices(&self) -> Result<DeviceList, ClientError> {
        let device = self.home.device()?.ok_or(ClientError::NotLoggedIn)?;
        let (devices, _, _turn) = self.fetch(&device.address.user, Purpose::Begin).await?;
        self.observe(&device.address.user, &devices)?;
        Ok(devices.list().clone())
    }
}

/// How an answer, which holds against what was seen when it was asked for, lies to what was seen since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// No other answer came first, or both are of one state of the log.
    Holds,
    /// Two trees of one size: that is for a check against the other to accuse (rule KT-4).
    Contradicts,
    /// They are of two states of the log, and only a new answer shows how these lie to each other.
    AskAgain,
}

impl Order {
    fn of(shown: &Seen, before: Option<&Seen>, now: Option<&Seen>) -> Self {
        let Some(now) = now.filter(|now| Some(*now) != before) else { return Self::Holds };
        if now.size() != shown.size() {
            Self::AskAgain
        } else if now.checkpoint().root() == shown.checkpoint().root() {
            Self::Holds
        } else {
            Self::Contradicts
        }
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

#[cfg(test)]
mod tests {
    use undertone_keys::agreement::{DeviceKey, SoftwareKey};
    use undertone_keys::record::DeviceRecord;
    use undertone_keys::sign::SigningKey;
    use undertone_keys::testing::SeededRng;
    use undertone_transparency::testing::proven_in;

    use super::*;

    /// Of several answers under way, each has to follow the one that was checked before it.
    #[test]
    fn kt_4_an_answer_that_another_has_overtaken_is_held_against_it() {
        let rng = &mut SeededRng::new(1);
        let (account, identity, user) =
            (SigningKey::generate(rng), SigningKey::generate(rng), UserId::parse("ada", "x").unwrap());
        let agreement = SoftwareKey::generate(rng);
        let now = WallTime::from_unix(1);
        let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), now, "phone".into());
        let list = DeviceList::first(&account, &user, record.sign(&identity)).unwrap();
        let seen = |branch| proven_in(&list, branch).provenance().seen().clone();
        let (one, same, fork) = (seen(1), seen(1), seen(2));
        assert_eq!(Order::of(&one, None, None), Order::Holds);
        assert_eq!(Order::of(&one, Some(&same), Some(&same)), Order::Holds);
        assert_eq!(Order::of(&one, None, Some(&same)), Order::Holds, "both are of one state");
        assert_eq!(Order::of(&fork, None, Some(&one)), Order::Contradicts);
        // What stood there when it was asked for was checked with it.
        assert_eq!(Order::of(&fork, Some(&one), Some(&one)), Order::Holds);
    }
}
