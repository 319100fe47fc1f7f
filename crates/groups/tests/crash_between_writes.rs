//! `crash_between_writes`: a device is killed at every point at which it can be, once in each run: before a write set is durable,
//! after that and before anything is sent, and after it is sent. It goes on from its disk, and everybody ends with the same keys. No two
//! different messages ever leave under one generation of a ratchet, and no two different commits of one device in one epoch
//! (rule STO-2).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use std::collections::BTreeMap;

use undertone_groups::{
    Change, ExternalJoin, Group, Joiner, KeyPackage, Outgoing, Received, Step, Suite, Upload, acknowledge, waiting,
};
use undertone_keys::JoinId;
use world::{ID, List, NOW, Person, agree, terms, three};

const SUITE: Suite = Suite::X25519;

/// A delivery service: one commit for each epoch, the same one again being no other; and everything that was ever sent.
#[derive(Default)]
struct Service {
    taken: BTreeMap<u64, Upload>,
    commits: Vec<Upload>,
    messages: Vec<Vec<u8>>,
    packages: Vec<Vec<u8>>,
}

impl Service {
    fn send(&mut self, what: &Outgoing) {
        match what {
            Outgoing::Commit(upload) => {
                if !self.commits.contains(upload) {
                    self.commits.push(upload.clone());
                }
                self.taken.entry(upload.epoch).or_insert_with(|| upload.clone());
            }
            Outgoing::Message { bytes, .. } if !self.messages.contains(bytes) => self.messages.push(bytes.clone()),
            Outgoing::KeyPackage { bytes } if !self.packages.contains(bytes) => self.packages.push(bytes.clone()),
            Outgoing::Message { .. } | Outgoing::KeyPackage { .. } => {}
        }
    }

    fn newest(&self) -> Option<&Upload> {
        self.taken.values().next_back()
    }
}

struct Killed;

/// A device that may be killed.
struct Mortal {
    person: Person,
    left: usize,
}

impl Mortal {
    fn point(&mut self) -> Result<(), Killed> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Killed),
        }
    }

    fn take(&mut self, step: Step, service: &mut Service) -> Result<(), Killed> {
        self.point()?;
        let sent = self.person.keep(step);
        for sent in &sent {
            self.point()?;
            service.send(&sent.what);
        }
        self.point()
    }

    /// What the device does next, from what it has stored and what the service says. `None` when there is nothing left.
    fn next(&mut self, role: Role, service: &mut Service, list: &List) -> Result<Option<Step>, Killed> {
        let Person { user, identity, store, rng, .. } = &mut self.person;
        let (store, roll) = (&*store, list.roll());
        let drawn = JoinId::random(rng);
        let joiner = Joiner { user, identity, join: drawn, now: NOW };
        if ExternalJoin::is_pending(store, ID) {
            let sent = waiting(store).unwrap();
            let Outgoing::Commit(mine) = &sent[0].what else { panic!("a join without its commit") };
            let won = service.taken[&mine.epoch] == *mine;
            let settled = if won { ExternalJoin::accepted(store, ID) } else { ExternalJoin::lost(store, ID) };
            return Ok(Some(settled.unwrap()));
        }
        let Ok(group) = Group::open(store, ID) else {
            let step = match role {
                Role::Creator => Group::create(store, rng, ID, &terms(SUITE), &joiner).unwrap(),
                Role::Joiner => {
                    let Some(upload) = service.taken.values().find(|upload| upload.welcome.is_some()) else {
                        if waiting(store).unwrap().is_empty() && service.packages.is_empty() {
                            return Ok(Some(KeyPackage::generate(store, rng, SUITE, &joiner).unwrap()));
                        }
                        return Ok(None);
                    };
                    let welcome = upload.welcome.as_deref().unwrap();
                    Group::join(store, rng, ID, &terms(SUITE), welcome, &upload.tree, &roll).unwrap()
                }
                Role::External => {
                    let newest = service.newest().unwrap();
                    ExternalJoin {
                        id: ID,
                        terms: &terms(SUITE),
                        group_info: &newest.group_info,
                        tree: &newest.tree,
                        psks: &[],
                        join: undertone_groups::Rejoin::New(joiner),
                    }
                    .start(store, rng, &roll)
                    .unwrap()
                }
                Role::Committer => panic!("a committer is a member"),
            };
            return Ok(Some(step));
        };
        let (epoch, pending) = (group.epoch(), group.pending().unwrap());
        if let Some(taken) = service.taken.get(&epoch) {
            return Ok(Some(match group.receive(rng, &taken.commit).unwrap() {
                Received::OwnCommit(group) => {
                    drop(group);
                    Group::open(store, ID).unwrap().accepted(&mut undertone_keys::testing::SeededRng::new(5)).unwrap()
                }
                Received::Commit(staged) => {
                    let verdict = staged.judge(&roll).unwrap();
                    staged.merge(verdict).unwrap()
                }
                other => panic!("{other:?}"),
            }));
        }
        assert!(pending.is_none(), "what was sent is taken or lost");
        if matches!(role, Role::Creator | Role::Committer)
            && group.members().len() < 2 + usize::from(role == Role::Committer) * 2
        {
            let package = KeyPackage::parse(&service.packages[0], SUITE, NOW).unwrap();
            return Ok(Some(group.commit(rng, Change { add: vec![package], ..Change::default() }, &roll).unwrap()));
        }
        if service.messages.len() < 2 {
            return Ok(Some(group.seal(rng, format!("message {}", service.messages.len()).as_bytes()).unwrap()));
        }
        Ok(None)
    }

    fn run(&mut self, role: Role, service: &mut Service, list: &List) -> Result<(), Killed> {
        // After a start, and whenever the service asks: the same bytes again.
        for sent in waiting(&self.person.store).unwrap() {
            service.send(&sent.what);
            self.point()?;
        }
        while let Some(step) = self.next(role, service, list)? {
            self.take(step, service)?;
        }
        for sent in waiting(&self.person.store).unwrap() {
            let writes = acknowledge(&self.person.store, sent.id).unwrap();
            self.person.write(writes);
        }
        Ok(())
    }

    /// Runs to the end, killed once at most. Whether it was.
    fn survive(&mut self, role: Role, service: &mut Service, list: &List) -> bool {
        if self.run(role, service, list).is_ok() {
            return false;
        }
        self.person.restart();
        self.left = usize::MAX;
        assert!(self.run(role, service, list).is_ok());
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Creator,
    Committer,
    Joiner,
    External,
}

/// Every message that ever left opens once: had two left under one generation, the second would not.
fn all_open(member: &mut Person, service: &Service) {
    for message in &service.messages {
        member.open(message);
    }
}

/// Runs `role` until no kill happens any more, a point later each time. How many points there were.
fn at_every_point(mut once: impl FnMut(usize) -> bool) -> usize {
    (0..).find(|left| !once(*left)).unwrap()
}

#[test]
fn sto_2_crash_between_writes_of_a_creator() {
    let points = at_every_point(|left| {
        let (ada, mut bob) = (Person::new("ada", 1), Person::new("bob", 2));
        let list = List::of(&[&ada, &bob]);
        let mut service = Service { packages: vec![bob.package_bytes(SUITE)], ..Service::default() };
        let mut mortal = Mortal { person: ada, left };
        let killed = mortal.survive(Role::Creator, &mut service, &list);
        assert_eq!(service.commits.len(), 1);
        bob.join(&terms(SUITE), &service.commits[0], &list);
        agree(&[&mortal.person, &bob]);
        all_open(&mut bob, &service);
        killed
    });
    assert!(points > 8, "{points}");
}

#[test]
fn sto_2_crash_between_writes_of_a_committer() {
    for loses in [false, true] {
        let points = at_every_point(|left| {
            let (ada, mut bob, mut cai, _) = three(SUITE);
            let mut dan = Person::new("dan", 4);
            let list = List::of(&[&ada, &bob, &cai, &dan]);
            let mut service = Service { packages: vec![dan.package_bytes(SUITE)], ..Service::default() };
            if loses {
                // Bob's commit is there first; Ada does not know yet.
                let upload = bob.commit(Change::update(), &list);
                bob.accepted();
                service.send(&Outgoing::Commit(upload));
            }
            let mut mortal = Mortal { person: ada, left };
            if loses {
                let Person { store, rng, .. } = &mut mortal.person;
                let package = KeyPackage::parse(&service.packages[0], SUITE, NOW).unwrap();
                let change = Change { add: vec![package], ..Change::default() };
                let step = Group::open(store, ID).unwrap().commit(rng, change, &list.roll()).unwrap();
                if mortal.take(step, &mut service).is_err() {
                    mortal.person.restart();
                    mortal.left = usize::MAX;
                    mortal.run(Role::Committer, &mut service, &list).ok().unwrap();
                    check_committer(&mortal.person, &mut bob, &mut cai, &mut dan, &service, &list, loses);
                    return true;
                }
            }
            let killed = mortal.survive(Role::Committer, &mut service, &list);
            check_committer(&mortal.person, &mut bob, &mut cai, &mut dan, &service, &list, loses);
            killed
        });
        assert!(points > 6, "{points}");
    }
}

fn check_committer(
    ada: &Person,
    bob: &mut Person,
    cai: &mut Person,
    dan: &mut Person,
    service: &Service,
    list: &List,
    loses: bool,
) {
    // One commit of hers in each epoch at most.
    let mut epochs: Vec<u64> = service.commits.iter().map(|upload| upload.epoch).collect();
    epochs.sort_unstable();
    let hers = epochs.len() - usize::from(loses);
    assert!((1..=2).contains(&hers), "{epochs:?}");
    for upload in service.taken.values() {
        for member in [&mut *bob, &mut *cai] {
            if member.group().epoch() == upload.epoch {
                member.follow(&upload.commit, list);
            }
        }
    }
    let added = service.taken.values().find(|upload| upload.welcome.is_some()).unwrap();
    dan.join(&terms(SUITE), added, list);
    agree(&[ada, bob, cai, dan]);
    all_open(cai, service);
}

#[test]
fn sto_2_crash_between_writes_of_a_joiner() {
    let points = at_every_point(|left| {
        let (mut ada, bob) = (Person::new("ada", 1), Person::new("bob", 2));
        let list = List::of(&[&ada, &bob]);
        ada.create(&terms(SUITE));
        let mut service = Service::default();
        let mut mortal = Mortal { person: bob, left };
        // First the key package, then the join.
        let mut killed = mortal.survive(Role::Joiner, &mut service, &list);
        assert_eq!(service.packages.len(), 1);
        let package = KeyPackage::parse(&service.packages[0], SUITE, NOW).unwrap();
        let upload = ada.commit(Change { add: vec![package], ..Change::default() }, &list);
        ada.accepted();
        service.send(&Outgoing::Commit(upload));
        killed |= mortal.survive(Role::Joiner, &mut service, &list);
        agree(&[&ada, &mortal.person]);
        all_open(&mut ada, &service);
        killed
    });
    assert!(points > 8, "{points}");
}

#[test]
fn sto_2_crash_between_writes_of_an_external_joiner() {
    for loses in [false, true] {
        let points = at_every_point(|left| {
            let (mut ada, mut bob, _, _) = three(SUITE);
            let dan = Person::new("dan", 4);
            let list = List::of(&[&ada, &bob, &dan, &Person::new("cai", 3)]);
            let mut service = Service::default();
            let upload = ada.commit(Change::update(), &list);
            ada.accepted();
            bob.follow(&upload.commit, &list);
            service.send(&Outgoing::Commit(upload.clone()));
            let mut mortal = Mortal { person: dan, left };
            if loses {
                // Dan has made his commit for an epoch which Bob's ends first.
                let step = mortal
                    .person
                    .try_external(&terms(SUITE), &upload.group_info, &upload.tree, false, &[], &list)
                    .unwrap();
                let winner = bob.commit(Change::update(), &list);
                bob.accepted();
                ada.follow(&winner.commit, &list);
                service.send(&Outgoing::Commit(winner));
                if mortal.take(step, &mut service).is_err() {
                    mortal.person.restart();
                    mortal.left = usize::MAX;
                    mortal.run(Role::External, &mut service, &list).ok().unwrap();
                    check_external(&mortal.person, &mut ada, &mut bob, &service, &list);
                    return true;
                }
            }
            let killed = mortal.survive(Role::External, &mut service, &list);
            check_external(&mortal.person, &mut ada, &mut bob, &service, &list);
            killed
        });
        assert!(points > 6, "{points}");
    }
}

fn check_external(dan: &Person, ada: &mut Person, bob: &mut Person, service: &Service, list: &List) {
    for upload in service.taken.values() {
        for member in [&mut *ada, &mut *bob] {
            if member.group().epoch() == upload.epoch {
                member.follow(&upload.commit, list);
            }
        }
    }
    agree(&[dan, ada, bob]);
    assert_eq!(dan.group().members().len(), 4);
    all_open(ada, service);
}
