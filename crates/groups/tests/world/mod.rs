//! People with a device each, and what they send each other, by hand.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::BTreeMap;

use undertone_groups::{
    Change, ExternalJoin, Group, GroupId, Joiner, KeyPackage, Outgoing, Protection, PskId, ReceiveError, Received,
    Rejoin, Sent, Standing, Step, Store, Suite, Terms, Upload, WriteSet,
};
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::sign::{Device, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{DeviceId, JoinId, UserId, WallTime};
use zeroize::Zeroizing;

/// Every group of the tests.
pub(crate) const ID: GroupId = GroupId::from_bytes([0xCA; 16]);
/// Now.
pub(crate) const NOW: WallTime = WallTime::from_unix(1_800_000_000);

/// The terms of a test's group.
pub(crate) fn terms(suite: Suite) -> Terms {
    Terms::new(Protection::Blind, suite, false)
}

/// Who is let in.
#[derive(Clone, Default)]
pub(crate) struct List(pub(crate) BTreeMap<DeviceId, (UserId, VerifyingKey<Device>)>);

impl List {
    pub(crate) fn of(people: &[&Person]) -> Self {
        let entry = |person: &&Person| (person.device(), (person.user.clone(), *person.identity.public()));
        Self(people.iter().map(entry).collect())
    }

    pub(crate) fn roll(&self) -> impl Fn(&UserId, &DeviceId) -> Standing + '_ {
        |user, device| match self.0.get(device) {
            Some((name, key)) if name == user => Standing::Listed(*key),
            _ => Standing::Refused,
        }
    }
}

/// A device, its disk, and the log of what was written to it.
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) identity: SigningKey<Device>,
    pub(crate) store: Store,
    pub(crate) rng: SeededRng,
    /// What is durable.
    pub(crate) disk: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Person {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let identity = SigningKey::generate(&mut rng);
        let user = UserId::parse(name, "localhost").unwrap();
        Self { user, identity, store: Store::new(), rng, disk: BTreeMap::new() }
    }

    pub(crate) fn device(&self) -> DeviceId {
        DeviceId::of(self.identity.public())
    }

    /// Commits and applies.
    pub(crate) fn write(&mut self, writes: WriteSet) {
        write_to(&mut self.disk, &writes);
        self.store.apply(writes);
    }

    /// Keeps a step and returns what is to be sent.
    pub(crate) fn keep(&mut self, step: Step) -> Vec<Sent> {
        self.write(step.store);
        step.send
    }

    /// Killed and started again: what is durable is all there is.
    pub(crate) fn restart(&mut self) {
        self.store = load(&self.disk);
    }

    pub(crate) fn group(&self) -> Group<'_> {
        Group::open(&self.store, ID).unwrap()
    }

    pub(crate) fn create(&mut self, terms: &Terms) {
        let join = JoinId::random(&mut self.rng);
        let joiner = Joiner { user: &self.user, identity: &self.identity, join, now: NOW };
        let step = Group::create(&self.store, &mut self.rng, ID, terms, &joiner).unwrap();
        self.keep(step);
    }

    pub(crate) fn package_bytes(&mut self, suite: Suite) -> Vec<u8> {
        let join = JoinId::random(&mut self.rng);
        let joiner = Joiner { user: &self.user, identity: &self.identity, join, now: NOW };
        let step = KeyPackage::generate(&self.store, &mut self.rng, suite, &joiner).unwrap();
        match self.keep(step).remove(0).what {
            Outgoing::KeyPackage { bytes } => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn package(&mut self, suite: Suite) -> KeyPackage {
        KeyPackage::parse(&self.package_bytes(suite), suite, NOW).unwrap()
    }

    pub(crate) fn commit(&mut self, change: Change, list: &List) -> Upload {
        let step = Group::open(&self.store, ID).unwrap().commit(&mut self.rng, change, &list.roll()).unwrap();
        upload(self.keep(step))
    }

    pub(crate) fn accepted(&mut self) {
        let step = Group::open(&self.store, ID).unwrap().accepted(&mut self.rng).unwrap();
        self.keep(step);
    }

    pub(crate) fn join(&mut self, terms: &Terms, upload: &Upload, list: &List) {
        let welcome = upload.welcome.as_deref().unwrap();
        let step = Group::join(&self.store, &mut self.rng, ID, terms, welcome, &upload.tree, &list.roll()).unwrap();
        self.keep(step);
    }

    /// Follows somebody else's commit.
    pub(crate) fn follow(&mut self, commit: &[u8], list: &List) {
        let step = {
            let group = Group::open(&self.store, ID).unwrap();
            let Received::Commit(staged) = group.receive(&mut self.rng, commit).unwrap() else {
                panic!("not a commit of somebody else")
            };
            let verdict = staged.judge(&list.roll()).unwrap();
            staged.merge(verdict).unwrap()
        };
        self.keep(step);
    }

    pub(crate) fn receive_error(&mut self, bytes: &[u8]) -> ReceiveError {
        let group = Group::open(&self.store, ID).unwrap();
        group.receive(&mut self.rng, bytes).unwrap_err()
    }

    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let step = Group::open(&self.store, ID).unwrap().seal(&mut self.rng, message).unwrap();
        match self.keep(step).remove(0).what {
            Outgoing::Message { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open(&mut self, bytes: &[u8]) -> (u32, Vec<u8>) {
        let (step, sender, message) = {
            let group = Group::open(&self.store, ID).unwrap();
            let Received::Message(opened) = group.receive(&mut self.rng, bytes).unwrap() else {
                panic!("not a message")
            };
            (opened.step, opened.sender.index, opened.message)
        };
        self.keep(step);
        (sender, message)
    }

    /// Starts to join by oneself.
    pub(crate) fn start_external(
        &mut self,
        terms: &Terms,
        info: &[u8],
        tree: &[u8],
        again: bool,
        list: &List,
    ) -> Upload {
        let step = self.try_external(terms, info, tree, again, &[], list).unwrap();
        upload(self.keep(step))
    }

    pub(crate) fn try_external(
        &mut self,
        terms: &Terms,
        group_info: &[u8],
        tree: &[u8],
        again: bool,
        psks: &[PskId],
        list: &List,
    ) -> Result<Step, undertone_groups::JoinError> {
        let drawn = JoinId::random(&mut self.rng);
        let joiner = Joiner { user: &self.user, identity: &self.identity, join: drawn, now: NOW };
        let join = if again { Rejoin::Same } else { Rejoin::New(joiner) };
        let external = ExternalJoin { id: ID, terms, group_info, tree, psks, join };
        external.start(&self.store, &mut self.rng, &list.roll())
    }

    pub(crate) fn external_accepted(&mut self) {
        let step = ExternalJoin::accepted(&self.store, ID).unwrap();
        self.keep(step);
    }

    /// What the delivery service would hand to somebody who joins this device's epoch.
    pub(crate) fn public(&mut self) -> (Vec<u8>, Vec<u8>) {
        let group = Group::open(&self.store, ID).unwrap();
        (group.group_info(&mut self.rng).unwrap(), group.tree().unwrap())
    }
}

pub(crate) fn write_to(disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: &WriteSet) {
    for (key, value) in writes.changes() {
        match value {
            Some(value) => disk.insert(key.to_vec(), value.to_vec()),
            None => disk.remove(key),
        };
    }
}

pub(crate) fn load(disk: &BTreeMap<Vec<u8>, Vec<u8>>) -> Store {
    Store::load(disk.iter().map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())))).unwrap()
}

pub(crate) fn upload(mut sent: Vec<Sent>) -> Upload {
    match sent.remove(0).what {
        Outgoing::Commit(upload) => upload,
        other => panic!("{other:?}"),
    }
}

/// What can be compared of a device's media key.
pub(crate) fn key_of(person: &Person) -> [u8; 32] {
    shown(&person.group().media_key().unwrap())
}

/// What can be compared of a media key.
pub(crate) fn shown(key: &MediaKey) -> [u8; 32] {
    let probe = undertone_keys::labels::Label::declare("undertone/test/probe/v1");
    *key.derive::<32>(probe, &[]).expose()
}

/// All are in one epoch with one key, and see one roster.
pub(crate) fn agree(people: &[&Person]) {
    for person in people {
        assert_eq!(person.group().epoch(), people[0].group().epoch(), "{}", person.user);
        assert_eq!(person.group().authenticator(), people[0].group().authenticator(), "{}", person.user);
        assert_eq!(person.group().attest(), people[0].group().attest(), "{}", person.user);
        assert_eq!(person.group().members(), people[0].group().members(), "{}", person.user);
        assert_eq!(key_of(person), key_of(people[0]), "{}", person.user);
    }
}

/// Ada, Bob and Cai in a group, with the list of the three.
pub(crate) fn three(suite: Suite) -> (Person, Person, Person, List) {
    let (mut ada, mut bob, mut cai) = (Person::new("ada", 1), Person::new("bob", 2), Person::new("cai", 3));
    let list = List::of(&[&ada, &bob, &cai]);
    ada.create(&terms(suite));
    let add = vec![bob.package(suite), cai.package(suite)];
    let upload = ada.commit(Change { add, ..Change::default() }, &list);
    ada.accepted();
    bob.join(&terms(suite), &upload, &list);
    cai.join(&terms(suite), &upload, &list);
    (ada, bob, cai, list)
}
