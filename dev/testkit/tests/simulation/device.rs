//! One device in the world: a shipped engine, its keys, its links and its clock.

use std::sync::Arc;

use undertone_call::{Local, Outcome};
use undertone_client::engine::{Engine, Memory};
use undertone_keys::Time;
use undertone_keys::WallTime;
use undertone_keys::agreement::{DeviceKey as _, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Device as DeviceRole, Server, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{JoinId, UserId};
use undertone_protocol::limits::MAX_SPEAKERS;
use undertone_protocol::{Access, Rights};
use undertone_relay::ConnectionId;
use undertone_transparency::testing::proven;
use undertone_transparency::{PeerTrust, TrustedPeer};

use super::grouped::Disk;
use super::link::{Link, below};

/// Why a device's keys cannot be made.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) address: Address,
    pub(crate) identity: Arc<SigningKey<DeviceRole>>,
    pub(crate) list: DeviceList,
    pub(crate) peer: TrustedPeer,
    key: SoftwareKey,
    /// Thousandths of its clock's speed.
    speed: u64,
    pub(crate) server: Link,
    pub(crate) relay: Link,
    /// Its process runs.
    pub(crate) alive: bool,
    /// A person wants it in the room.
    pub(crate) wanted: bool,
    /// Grows with each process, so that nothing reaches a later one.
    pub(crate) run: u64,
    /// Its signalling connection, and since when it stands.
    pub(crate) session: Option<(u64, Time)>,
    pub(crate) connection: Option<ConnectionId>,
    /// Since when it is in the room by its own knowledge.
    pub(crate) joined: Option<(JoinId, u16, Time)>,
    pub(crate) pending_join: Option<JoinId>,
    /// Since when it can reach relay and server and is in.
    pub(crate) good_since: Option<Time>,
    pub(crate) bad_since: Time,
    pub(crate) wake: Option<(Time, u64)>,
    pub(crate) rights: Rights,
    /// The list that the server shows it, which it is not on any more, and since when.
    pub(crate) ghost: Option<(Access, Time)>,
    /// The epochs that it has sealed under in its present join.
    pub(crate) sealed: Vec<u32>,
    /// Its groups, as it keeps them, and as they were at some time.
    pub(crate) disk: Disk,
    pub(crate) disk_before: Option<Disk>,
    /// How the last room was over for it.
    pub(crate) outcome: Option<Outcome>,
    /// Nothing more is written to it.
    pub(crate) disk_is_full: bool,
    /// How many groups of the call it was in that are gone: the next one counts its epochs from the beginning.
    pub(crate) groups: u64,
    /// How often it was given a quorum secret that is not the room's.
    pub(crate) misled: u64,
}

impl Device {
    pub(crate) fn new(number: usize, server: VerifyingKey<Server>, rng: &mut SeededRng) -> Option<Self> {
        let user = UserId::parse(&format!("p{number:03}"), "x").ok()?;
        let (account, identity) = (SigningKey::generate(rng), Arc::new(SigningKey::generate(rng)));
        let key = SoftwareKey::generate(rng);
        let made = WallTime::from_unix(1);
        let record = DeviceRecord::new(user.clone(), *identity.public(), *key.public(), made, "device".into());
        let list = DeviceList::first(&account, &user, record.sign(&identity)).ok()?;
        let address = Address { user, device: record.device };
        let devices = proven(&list);
        let peer = PeerTrust::pin(&devices).observe(&devices).ok()?;
        let engine = Self::engine(&address, &identity, &list, &key, server);
        Some(Self {
            engine,
            address,
            identity,
            list,
            peer,
            key,
            speed: 950 + below(rng, 101),
            server: Link::random(rng),
            relay: Link::random(rng),
            alive: true,
            wanted: false,
            run: 0,
            session: None,
            connection: None,
            joined: None,
            pending_join: None,
            good_since: None,
            bad_since: Time::ZERO,
            wake: None,
            rights: Rights { speak: number < MAX_SPEAKERS, moderate: number == 0 },
            ghost: None,
            sealed: Vec::new(),
            disk: Disk::default(),
            disk_before: None,
            outcome: None,
            disk_is_full: false,
            groups: 0,
            misled: 0,
        })
    }

    /// The same, who may not speak if `only_listens` says so.
    pub(crate) fn listening(mut self, only_listens: bool) -> Self {
        self.rights.speak &= !only_listens;
        self
    }

    fn engine(
        address: &Address,
        identity: &Arc<SigningKey<DeviceRole>>,
        list: &DeviceList,
        key: &SoftwareKey,
        server: VerifyingKey<Server>,
    ) -> Engine {
        let local = Local {
            address: address.clone(),
            identity: identity.clone(),
            account: *list.account(),
            key: (*key.public()).into(),
        };
        Engine::new(local, server, Memory::default())
    }

    /// Its process ends, and what it knew with it.
    pub(crate) fn end(&mut self, server: VerifyingKey<Server>) {
        self.engine = Self::engine(&self.address, &self.identity, &self.list, &self.key, server);
        self.run += 1;
        (self.alive, self.wanted) = (false, false);
        (self.session, self.connection, self.joined, self.pending_join) = (None, None, None, None);
        self.wake = None;
        self.sealed.clear();
    }

    /// A process begins with what is on the disk.
    pub(crate) fn begin(&mut self, server: VerifyingKey<Server>) {
        let engine = Self::engine(&self.address, &self.identity, &self.list, &self.key, server);
        self.engine = engine.with_groups(self.disk.load());
    }

    /// Its own clock.
    pub(crate) const fn local(&self, now: Time) -> Time {
        Time::from_micros(now.as_micros() / 1_000 * self.speed + now.as_micros() % 1_000)
    }

    /// When its clock shows this.
    pub(crate) const fn global(&self, local: Time) -> Time {
        Time::from_micros((local.as_micros() / self.speed + 1) * 1_000)
    }
}
