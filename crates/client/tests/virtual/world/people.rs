//! The devices of the world: their keys, their processes, and what the directory shows of them.

use std::collections::HashMap;
use std::sync::Arc;

use undertone_call::Local;
use undertone_client::engine::{Engine, Event, Input, Memory};
use undertone_keys::agreement::{DeviceKey as _, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::envelope::Address;
use undertone_keys::legacy::{LegacyKey as _, SoftwareLegacyKey};
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Server, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{DeviceId, Time, UserId, WallTime};
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Access, AccessList, VERSION};
use undertone_relay::ConnectionId;
use undertone_transparency::testing::proven_in;
use undertone_transparency::{PeerTrust, TrustedPeer};

use super::time::wall;
use super::{ADA, World};

pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) key: SoftwareKey,
    /// Its key, where it has RSA alone.
    pub(crate) rsa: Option<SoftwareLegacyKey>,
    pub(crate) address: Address,
    pub(crate) identity: Arc<SigningKey<undertone_keys::sign::Device>>,
    pub(crate) list: DeviceList,
    pub(crate) relay: Option<ConnectionId>,
    /// The network lets its packets to the relay through.
    pub(crate) reachable: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) heard: u32,
    /// By the sender's index.
    pub(crate) heard_from: HashMap<u16, u32>,
    /// Who sent the frames that came before their key and opened, and when they came.
    pub(crate) late: Vec<(u16, Time)>,
}

impl World {
    /// The server's wall clock.
    pub(crate) fn clock(&self) -> WallTime {
        WallTime::from_unix(wall(self.now).as_unix().saturating_add_signed(self.skew))
    }

    /// The server's clock is set, and everybody is told. With `agreed` their own machines' clocks say the same.
    pub(crate) fn set_clock(&mut self, by: i64, agreed: bool) {
        self.skew += by;
        for device in 0..self.devices.len() {
            if agreed {
                let wall = self.clock();
                self.input(device, Input::SignalUp { wall });
            }
            self.welcome(device);
        }
    }

    /// The server greets a device.
    pub(crate) fn welcome(&mut self, device: usize) {
        let (you, now) = (self.devices[device].address.clone(), self.clock());
        self.input(device, Input::Signal(ToDevice::Welcome { version: VERSION, now, you }));
    }

    pub(crate) fn device(rng: &mut SeededRng, name: &str, server: VerifyingKey<Server>) -> Device {
        let user = UserId::parse(name, "x").unwrap();
        let (account, identity, key) =
            (SigningKey::generate(rng), Arc::new(SigningKey::generate(rng)), SoftwareKey::generate(rng));
        let made = WallTime::from_unix(1);
        let record = DeviceRecord::new(user.clone(), *identity.public(), *key.public(), made, name.into());
        let list = DeviceList::first(&account, &user, record.sign(&identity)).unwrap();
        let address = Address { user, device: record.device };
        let local = Local {
            address: address.clone(),
            identity: identity.clone(),
            account: *account.public(),
            key: (*key.public()).into(),
        };
        let engine = Engine::new(local, server, Memory::default());
        Device {
            engine,
            key,
            rsa: None,
            address,
            identity,
            list,
            relay: None,
            reachable: true,
            events: Vec::new(),
            heard: 0,
            heard_from: HashMap::new(),
            late: Vec::new(),
        }
    }

    /// Makes this a device that has RSA alone.
    pub(crate) fn give_rsa(&mut self, device: usize) {
        let (account, server) = (SigningKey::generate(&mut self.rng), *self.server.public());
        let here = &mut self.devices[device];
        let (key, user) = (SoftwareLegacyKey::generate().unwrap(), here.address.user.clone());
        let made = WallTime::from_unix(1);
        let record =
            DeviceRecord { agreement: None, legacy: Some(key.public().clone()), ..here.list.records()[0].clone() };
        assert_eq!(record.created, made);
        here.list = DeviceList::first(&account, &user, record.sign(&here.identity)).unwrap();
        let local = Local {
            address: here.address.clone(),
            identity: here.identity.clone(),
            account: *account.public(),
            key: key.public().clone().into(),
        };
        (here.engine, here.rsa) = (Engine::new(local, server, Memory::default()), Some(key));
        let listed = self.listed(device, false);
        let mut members = self.access[0].list().members.clone();
        members.retain(|member| member.user != listed.user);
        members.push(listed);
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let list = AccessList { members, ..self.access[0].list().clone() };
        self.access = vec![Access::sign(list, &self.devices[ADA].identity).unwrap()];
        self.welcome(device);
    }

    /// A device's process ends without a word and begins anew, with nothing but its keys.
    pub(crate) fn restart(&mut self, device: usize) {
        self.devices[device].relay = None;
        let server = *self.server.public();
        let here = &mut self.devices[device];
        let local = Local {
            address: here.address.clone(),
            identity: here.identity.clone(),
            account: *here.list.account(),
            key: (*here.key.public()).into(),
        };
        here.engine = Engine::new(local, server, Memory::default());
        here.events.clear();
        self.welcome(device);
    }

    pub(crate) fn peer(&self, device: usize) -> TrustedPeer {
        self.peer_in(device, 1)
    }

    /// The same as a log shows it which the server keeps for some alone.
    pub(crate) fn peer_in(&self, device: usize, branch: u8) -> TrustedPeer {
        let devices = proven_in(&self.devices[device].list, branch);
        PeerTrust::pin(&devices).observe(&devices).unwrap()
    }

    pub(crate) fn place(&self, id: DeviceId) -> usize {
        self.devices.iter().position(|device| device.address.device == id).unwrap()
    }
}
