//! People for groups: each with a device that vouches for its leaves, and a list of them that lets all of them in.

use std::collections::HashMap;

use undertone_groups::{Roll, Standing};
use undertone_keys::device_list::DeviceList;
use undertone_keys::leaf::{FORMAT, LeafStatement};
use undertone_keys::sign::{Device, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{DeviceId, JoinId, UserId, cbor};

use crate::keys::invented::invent;
use crate::keys::people::{Person, rng, wall_time};

/// Everybody, in the order in which they come.
pub(super) struct Roster {
    pub(super) people: Vec<Person>,
    /// What the server keeps of each of them.
    pub(super) lists: Vec<DeviceList>,
    known: HashMap<DeviceId, (UserId, VerifyingKey<Device>)>,
}

impl Roster {
    pub(super) fn new(count: usize) -> anyhow::Result<Self> {
        let seed = &mut SeededRng::new(23);
        let (mut people, mut lists, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        for number in 0..count {
            let (person, list) = invent(number, "localhost", seed)?;
            known.insert(person.address.device, (person.address.user.clone(), *person.identity.public()));
            people.push(person);
            lists.push(list);
        }
        Ok(Self { people, lists, known })
    }

    pub(super) fn person(&self, place: usize) -> anyhow::Result<&Person> {
        self.people.get(place).ok_or_else(|| anyhow::anyhow!("there are not so many people"))
    }
}

impl Roll for Roster {
    fn standing(&self, user: &UserId, device: &DeviceId) -> Standing {
        match self.known.get(device) {
            Some((name, key)) if name == user => Standing::Listed(*key),
            _ => Standing::Refused,
        }
    }
}

/// The credential of a leaf of this person's, as our wall wants to see it (rule MLS-1).
pub(super) fn voucher(person: &Person, suite: undertone_groups::Suite, key: &[u8]) -> Vec<u8> {
    let said = LeafStatement {
        format: FORMAT,
        user: person.address.user.clone(),
        device: person.address.device,
        join: JoinId::random(&mut rng()),
        scheme: suite.leaf_scheme(),
        key: key.to_vec(),
        made: wall_time(),
    };
    cbor::encode(&said.sign(&person.identity))
}
