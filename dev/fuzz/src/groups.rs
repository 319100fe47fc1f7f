//! The entries of groups: what a member reads of others, and what a delivery service is asked.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use undertone_groups::{
    Change, ExternalJoin, Group, GroupId, Joiner, KeyPackage, Outgoing, Protection, Received, Rejoin, Standing, Step,
    Store, Suite, Terms, Upload,
};
use undertone_keys::cbor;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, DeviceId, JoinId, RoomId, Time, UserId, WallTime};
use undertone_protocol::access::{self, Access, AccessList, Listed};
use undertone_protocol::delivery::{GroupNews, GroupRequest};
use undertone_protocol::signal::ToDevice;
use undertone_protocol::{Rights, Terms as RoomTerms};
use undertone_server::config::Limits;
use undertone_testkit::House;
use undertone_testkit::delivery_house::BEGUN;

/// The group of the tests, and its call.
pub(crate) const CALL: CallId = CallId::from_bytes([0xCA; 16]);
const ROOM: RoomId = RoomId::from_bytes([7; 16]);
const ID: GroupId = GroupId::from_bytes([0xCA; 16]);
const NOW: WallTime = WallTime::from_unix(1_800_000_000);
const NAMES: [&str; 3] = ["ada", "bob", "cai"];

/// A device with its groups.
struct Person {
    user: UserId,
    identity: SigningKey<Device>,
    store: Store,
    rng: SeededRng,
}

/// Whose devices are let in.
type List = BTreeMap<DeviceId, VerifyingKey<Device>>;

/// Ada and Bob in a group, and Cai, who was just added to it and has not joined.
struct Members {
    ada: Person,
    cai: Person,
    list: List,
    /// What adds Cai.
    upload: Upload,
    terms: Terms,
}

impl Person {
    fn new(name: &str, seed: u64) -> Option<Self> {
        let mut rng = SeededRng::new(seed);
        let identity = SigningKey::generate(&mut rng);
        Some(Self { user: UserId::parse(name, "x").ok()?, identity, store: Store::new(), rng })
    }

    fn device(&self) -> DeviceId {
        DeviceId::of(self.identity.public())
    }

    fn keep(&mut self, step: Step) -> Option<Outgoing> {
        self.store.apply(step.store);
        step.send.into_iter().next().map(|sent| sent.what)
    }

    fn joiner(&self, join: u8) -> Joiner<'_> {
        Joiner { user: &self.user, identity: &self.identity, join: JoinId::from_bytes([join; 16]), now: NOW }
    }

    fn package(&mut self, suite: Suite, join: u8) -> Option<KeyPackage> {
        let mut rng = SeededRng::new(u64::from(join));
        let step = KeyPackage::generate(&self.store, &mut rng, suite, &self.joiner(join)).ok()?;
        let Some(Outgoing::KeyPackage { bytes }) = self.keep(step) else { return None };
        KeyPackage::parse(&bytes, suite, NOW).ok()
    }

    fn commit(&mut self, change: Change, list: &List) -> Option<Upload> {
        let step = Group::open(&self.store, ID).ok()?.commit(&mut self.rng, change, &roll(list)).ok()?;
        let Some(Outgoing::Commit(upload)) = self.keep(step) else { return None };
        Some(upload)
    }

    fn accepted(&mut self) -> Option<()> {
        let step = Group::open(&self.store, ID).ok()?.accepted(&mut self.rng).ok()?;
        self.keep(step);
        Some(())
    }
}

fn roll(list: &List) -> impl Fn(&UserId, &DeviceId) -> Standing + '_ {
    |_, device| list.get(device).map_or(Standing::Refused, |key| Standing::Listed(*key))
}

impl Members {
    /// People whose keys come from these seeds.
    fn new(seeds: [u64; 3]) -> Option<Self> {
        let [ada, bob, cai] = seeds;
        let (mut ada, mut bob, mut cai) =
            (Person::new("ada", ada)?, Person::new("bob", bob)?, Person::new("cai", cai)?);
        let list = [&ada, &bob, &cai].iter().map(|person| (person.device(), *person.identity.public())).collect();
        let suite = Suite::X25519;
        let terms = Terms::new(Protection::Blind, suite, false);
        let mut rng = SeededRng::new(seeds.iter().sum());
        let step = Group::create(&ada.store, &mut rng, ID, &terms, &ada.joiner(1)).ok()?;
        ada.keep(step);
        let mut upload = None;
        for (person, join) in [(&mut bob, 2), (&mut cai, 3)] {
            let add = vec![person.package(suite, join)?];
            upload = ada.commit(Change { add, ..Change::default() }, &list);
            ada.accepted()?;
        }
        Some(Self { ada, cai, list, upload: upload?, terms })
    }
}

thread_local! {
    static MEMBERS: OnceCell<Option<Members>> = const { OnceCell::new() };
}

/// A member, and somebody on the way in, read what a server hands out: commits, Welcomes, trees, group infos, key packages.
pub(crate) fn group_member(bytes: &[u8]) {
    MEMBERS.with(|members| {
        let members = members.get_or_init(|| Members::new([1, 2, 3])).as_ref();
        let Some(Members { ada, cai, list, upload, terms }) = members else { return };
        let roll = roll(list);
        let mut rng = SeededRng::new(5);
        let group = Group::open(&ada.store, ID);
        let received = group.ok().and_then(|group| group.receive(&mut rng, bytes).ok());
        assert!(matches!(received, None | Some(Received::Echo)), "something that no member made was taken");
        drop(received);

        let welcome = upload.welcome.as_deref().unwrap_or_default();
        let welcomed = |welcome: &[u8], tree: &[u8]| {
            Group::join(&cai.store, &mut SeededRng::new(6), ID, terms, welcome, tree, &roll).is_ok()
        };
        assert!(!welcomed(bytes, &upload.tree) || bytes == welcome, "a Welcome that nobody made");
        assert!(!welcomed(welcome, bytes) || bytes == upload.tree, "another tree than the group's");
        let external = |group_info: &[u8], tree: &[u8]| {
            let join = Rejoin::New(cai.joiner(9));
            let external = ExternalJoin { id: ID, terms, group_info, tree, psks: &[], join };
            external.start(&cai.store, &mut SeededRng::new(7), &roll).is_ok()
        };
        let info = &upload.group_info;
        assert!(!external(bytes, &upload.tree) || bytes == info.as_slice(), "a group info that nobody signed");
        assert!(!external(info, bytes) || bytes == upload.tree, "another tree than the group info's");
        for suite in Suite::ALL {
            if let Ok(package) = KeyPackage::parse(bytes, suite, NOW) {
                assert!(!list.contains_key(&package.device().device), "a key package that its device did not make");
            }
        }
    });
}

fn listed(people: &[Person]) -> Option<Access> {
    let rights = Rights { speak: true, moderate: true };
    let account = *SigningKey::generate(&mut SeededRng::new(1)).public();
    let first = people.first()?;
    let signer = Address { user: first.user.clone(), device: first.device() };
    let list = AccessList {
        format: access::FORMAT,
        room: ROOM,
        version: 1,
        previous: None,
        name: "team".into(),
        terms: RoomTerms::room(undertone_protocol::Protection::Blind),
        creator: first.user.clone(),
        members: people.iter().map(|person| Listed { user: person.user.clone(), account, rights }).collect(),
        signer,
        created: BEGUN,
    };
    Access::sign(list, &first.identity).ok()
}

/// What real members send and are sent, who are other people than those who read it: of the same people another line of the same group
/// would be as good. No two times the same: HPKE draws from the operating system.
#[cfg(test)]
pub(crate) fn samples() -> Option<Vec<(&'static str, Vec<u8>)>> {
    let Members { mut ada, mut cai, list, upload, .. } = Members::new([11, 12, 13])?;
    ada.package(Suite::X25519, 8)?;
    let again = ada.commit(Change::update(), &list)?;
    let step = KeyPackage::generate(&cai.store, &mut SeededRng::new(8), Suite::XWing, &cai.joiner(8)).ok()?;
    let Some(Outgoing::KeyPackage { bytes: package }) = cai.keep(step) else { return None };
    Some(vec![
        ("commit_with_an_add", upload.commit),
        ("commit", again.commit),
        ("real_welcome", upload.welcome?),
        ("real_group_info", upload.group_info),
        ("real_tree", upload.tree),
        ("real_key_package", package),
    ])
}

/// Writes requests as [`delivery_service`] reads them: who asks, how long it is, and the request.
#[cfg(test)]
pub(crate) fn requests(of: &[(u8, GroupRequest)]) -> Vec<u8> {
    of.iter().fold(Vec::new(), |mut all, (who, request)| {
        let request = cbor::encode(request);
        all.push(*who);
        all.extend_from_slice(&u16::try_from(request.len()).unwrap_or(u16::MAX).to_be_bytes());
        all.extend_from_slice(&request);
        all
    })
}

/// Three people who are in a room ask the delivery service anything at all, one after the other, 100 ms apart.
pub(crate) fn delivery_service(bytes: &[u8]) {
    let people: Vec<Person> = NAMES.iter().zip(1..).filter_map(|(name, seed)| Person::new(name, seed)).collect();
    let key = SigningKey::<Server>::generate(&mut SeededRng::new(1));
    let (Ok(mut house), Some(access)) = (House::new(key, &Limits::default(), 1), listed(&people)) else { return };
    if house.set_room(Time::ZERO, &access, CALL).is_err() {
        return;
    }
    let addresses: Vec<Address> =
        people.iter().map(|person| Address { user: person.user.clone(), device: person.device() }).collect();
    for (person, address) in people.iter().zip(&addresses) {
        let _ = house.connect(Time::ZERO, address, *person.identity.public());
    }
    let (mut rest, mut now, mut opened, mut undone) = (bytes, Time::ZERO, BTreeMap::new(), 0);
    while let Some((&[who, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (request, after) = after.split_at(length);
        rest = after;
        now = now + core::time::Duration::from_millis(100);
        let who = usize::from(who) % addresses.len();
        let Some(address) = addresses.get(who) else { return };
        if let Ok(request) = cbor::decode::<GroupRequest>(request) {
            house.request(now, address, (ROOM, CALL), 1, request);
        }
        let gone = house.delivered().given_back + house.delivered().withdrawn;
        if gone != core::mem::replace(&mut undone, gone) {
            opened.clear();
        }
        for message in house.take(address) {
            if let ToDevice::Group { news: GroupNews::Accepted { epoch, .. }, .. } = message {
                let before = opened.insert(epoch, who);
                assert!(before.is_none_or(|before| before == who), "RLY-6: an epoch was opened for two");
            }
        }
    }
    house.restart(now);
}
