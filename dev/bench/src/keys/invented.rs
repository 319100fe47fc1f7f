//! People who have no account anywhere, for a room in virtual time. They stand in a key directory of their own, so that what is
//! believed of them was proven as for anybody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use futures_util::future::try_join_all;
use undertone_keys::agreement::{DeviceKey as _, SoftwareKey};
use undertone_keys::device_list::DeviceList;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{Secret, UserId, WallTime};
use undertone_server::directory::{Directory, Keys, Proof, Settings, Sqlite};
use undertone_testkit::Folder;
use undertone_transparency::answer::{Answer, Found, Hashes, Head};
use undertone_transparency::policy::Witnesses;
use undertone_transparency::verify::Pins;

use super::people::{Peers, Person, trusted, wall_time};

const DOMAIN: &str = "example.org";

/// So many people, and the server that they are on.
pub(super) struct Invented {
    pub(super) people: Vec<Person>,
    pub(super) peers: Peers,
    pub(super) server: SigningKey<Server>,
}

fn server() -> SigningKey<Server> {
    SigningKey::from_seed(Secret::filled_by(|seed| seed.fill(1)))
}

impl Invented {
    pub(super) async fn new(count: usize) -> anyhow::Result<Self> {
        let rng = &mut SeededRng::new(11);
        let (mut people, mut lists) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in 0..count {
            let (person, list) = invent(number, DOMAIN, rng)?;
            people.push(person);
            lists.push(list);
        }
        Ok(Self { people, peers: prove(&lists).await?, server: server() })
    }
}

/// Somebody with one device, and the list that names it.
pub(crate) fn invent(number: usize, domain: &str, rng: &mut SeededRng) -> anyhow::Result<(Person, DeviceList)> {
    let user = UserId::new(&format!("p{number:04}"), domain)?;
    let (account, identity) = (SigningKey::generate(rng), Arc::new(SigningKey::generate(rng)));
    let key = SoftwareKey::generate(rng);
    let made = WallTime::from_unix(1);
    let record = DeviceRecord::new(user.clone(), *identity.public(), *key.public(), made, "device".into());
    let address = Address { user: user.clone(), device: record.device };
    let list = DeviceList::first(&account, &user, record.sign(&identity))?;
    Ok((Person { address, identity, account: *account.public(), key: *key.public() }, list))
}

/// Publishes all of these, and checks what is answered about each.
async fn prove(lists: &[DeviceList]) -> anyhow::Result<Peers> {
    let folder = Folder::new("bench-invented")?;
    let vrf = Secret::filled_by(|seed: &mut [u8; 32]| seed.fill(2));
    let settings = Settings { epoch_interval: Duration::ZERO, prove_ahead: false, ..Settings::new(wall_time) };
    let storage = Sqlite::open(&folder.join("directory.db"))?;
    let directory = Directory::open(storage, DOMAIN, Keys { log: server(), vrf }, settings).await?;
    let publish = |list: &DeviceList| {
        let (user, version, hash) = (list.user().clone(), list.version(), sha256(&[&list.to_bytes()]));
        let directory = &directory;
        async move { directory.publish(&user, version, hash).await }
    };
    try_join_all(lists.iter().map(publish)).await?;
    let pins =
        Pins { domain: DOMAIN.into(), log: *server().public(), vrf: directory.vrf_key(), witnesses: Witnesses::none() };
    let mut peers = HashMap::with_capacity(lists.len());
    for list in lists {
        let found = directory.lookup(list.user()).await?;
        let Proof::Present(proof) = found.proof else { bail!("somebody who was published is not there") };
        let head = Head {
            checkpoint: found.shown.checkpoint.to_bytes(),
            consistency: Hashes::default(),
            leaf: found.shown.inclusion.entry.clone(),
            inclusion: Hashes(found.shown.inclusion.proof.clone()),
            witnessed: None,
        };
        let found = Found::Present { lists: vec![list.to_bytes()], proof: Box::new(proof) };
        let answer = Answer { head, found, announced: None };
        peers.insert(list.user().clone(), trusted(&pins, list.user(), &answer.to_bytes())?);
    }
    directory.stop().await;
    Ok(peers)
}
