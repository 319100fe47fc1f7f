//! Who has the secret of an epoch, and who has not: leavers, joiners, those without a pre-shared key, and those in a fork.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_groups::{
    Change, CommitError, Group, GroupId, JoinError, MergeError, OpenError, PskId, ReceiveError, Received, Refused,
    Suite, psk,
};
use undertone_keys::Secret;
use world::{ID, List, Person, agree, key_of, terms, three, upload};

fn register(person: &mut Person, id: &PskId, byte: u8) {
    let secret = Secret::filled_by(|out| out.fill(byte));
    let writes = psk::register(&person.store, &mut person.rng, id, &secret).unwrap();
    person.write(writes);
}

#[test]
fn grp_5_a_leaver_cannot_compute_the_next_key() {
    let (mut ada, mut bob, mut cai, list) = three(Suite::X25519);
    let upload = ada.commit(Change { remove: vec![2], ..Change::default() }, &list);
    ada.accepted();
    bob.follow(&upload.commit, &list);
    let sealed = ada.seal(b"without cai");
    // She can read that she is out, and nothing else, whether she says so to her store or not.
    assert_eq!(cai.receive_error(&sealed), ReceiveError::Ahead { theirs: upload.epoch + 1, ours: upload.epoch });
    {
        let group = Group::open(&cai.store, ID).unwrap();
        let Received::Commit(staged) = group.receive(&mut cai.rng, &upload.commit).unwrap() else { panic!() };
        assert!(staged.removes_this_device());
        assert_eq!(staged.removed()[0].user, cai.user);
    }
    assert_ne!(key_of(&cai), key_of(&ada));
    cai.follow(&upload.commit, &list);
    assert_eq!(Group::open(&cai.store, ID).unwrap_err(), OpenError::Unknown);
    assert!(cai.disk.keys().all(|key| !key.starts_with(b"mls")), "nothing of the group is left");
    assert!(cai.disk.keys().all(|key| !key.starts_with(b"own")), "nor the leaf's key");
}

#[test]
fn grp_5_a_joiner_cannot_compute_the_key_before() {
    let (mut ada, mut bob, _, _) = three(Suite::X25519);
    let mut dan = Person::new("dan", 4);
    let list = List::of(&[&ada, &bob, &dan, &Person::new("cai", 3)]);
    let (before, sealed) = (key_of(&ada), bob.seal(b"before dan"));
    let upload = ada.commit(Change { add: vec![dan.package(Suite::X25519)], ..Change::default() }, &list);
    ada.accepted();
    dan.join(&terms(Suite::X25519), &upload, &list);
    assert_ne!(key_of(&dan), before);
    assert_eq!(dan.group().epoch(), upload.epoch + 1);
    // It is of the epoch before, whose secrets were never his.
    let ours = upload.epoch + 1;
    assert_eq!(dan.receive_error(&sealed), ReceiveError::Stale { theirs: upload.epoch, ours });
}

#[test]
fn rkx_5_a_pre_shared_key_is_needed_and_has_to_be_the_right_one() {
    let (mut ada, mut bob, mut cai, list) = three(Suite::X25519);
    let id = PskId::new(b"quorum 1").unwrap();
    let change = Change { psks: vec![id.clone()], ..Change::default() };
    let error = Group::open(&ada.store, ID).unwrap().commit(&mut ada.rng, change.clone(), &list.roll()).unwrap_err();
    assert_eq!(error, CommitError::Psk);
    register(&mut ada, &id, 7);
    let commit = ada.commit(change, &list);
    ada.accepted();
    // Without it, with the wrong one, with the right one.
    assert_eq!(bob.receive_error(&commit.commit), ReceiveError::Psk);
    register(&mut bob, &id, 8);
    assert_eq!(bob.receive_error(&commit.commit), ReceiveError::Refused(Refused::Invalid));
    register(&mut bob, &id, 7);
    {
        let group = Group::open(&bob.store, ID).unwrap();
        let Received::Commit(staged) = group.receive(&mut bob.rng, &commit.commit).unwrap() else { panic!() };
        assert_eq!(staged.psks(), core::slice::from_ref(&id));
    }
    bob.follow(&commit.commit, &list);
    agree(&[&ada, &bob]);
    assert_eq!(cai.receive_error(&commit.commit), ReceiveError::Psk);
    register(&mut cai, &id, 7);
    let writes = psk::forget(&cai.store, &id).unwrap();
    cai.write(writes);
    assert_eq!(cai.receive_error(&commit.commit), ReceiveError::Psk);

    // By a Welcome, and by oneself.
    let (mut dan, mut eve) = (Person::new("dan", 4), Person::new("eve", 5));
    let list = List::of(&[&ada, &bob, &cai, &dan, &eve]);
    let package = dan.package(Suite::X25519);
    let change = Change { add: vec![package], psks: vec![id.clone()], ..Change::default() };
    let added = ada.commit(change, &list);
    ada.accepted();
    let welcome = added.welcome.as_deref().unwrap();
    let suite = terms(Suite::X25519);
    let join = |dan: &mut Person| {
        Group::join(&dan.store, &mut dan.rng, ID, &suite, welcome, &added.tree, &list.roll()).map(|_| ())
    };
    assert_eq!(join(&mut dan), Err(JoinError::Psk));
    register(&mut dan, &id, 8);
    assert_eq!(join(&mut dan), Err(JoinError::Refused(Refused::Invalid)));
    register(&mut dan, &id, 7);
    dan.join(&suite, &added, &list);
    agree(&[&ada, &dan]);
    let (info, tree) = ada.public();
    let psks = core::slice::from_ref(&id);
    let error = eve.try_external(&suite, &info, &tree, false, psks, &list).unwrap_err();
    assert_eq!(error, JoinError::Psk);
    register(&mut eve, &id, 7);
    let step = eve.try_external(&suite, &info, &tree, false, psks, &list).unwrap();
    let joined = upload(eve.keep(step));
    eve.external_accepted();
    ada.follow(&joined.commit, &list);
    dan.follow(&joined.commit, &list);
    agree(&[&ada, &dan, &eve]);
}

#[test]
fn mls_3_a_fork_shows_in_the_authenticator() {
    let (mut ada, mut bob, mut cai, list) = three(Suite::X25519);
    // A service that takes two commits for one epoch.
    let (one, other) = (ada.commit(Change::update(), &list), bob.commit(Change::update(), &list));
    ada.accepted();
    bob.accepted();
    cai.follow(&one.commit, &list);
    assert_eq!(ada.group().epoch(), bob.group().epoch());
    assert_ne!(ada.group().authenticator(), bob.group().authenticator());
    assert_ne!(ada.group().attest(), bob.group().attest());
    agree(&[&ada, &cai]);
    let sealed = ada.seal(b"which one?");
    assert_eq!(bob.receive_error(&sealed), ReceiveError::Refused(Refused::Invalid));
    let stale = ReceiveError::Stale { theirs: other.epoch, ours: other.epoch + 1 };
    assert_eq!(ada.receive_error(&other.commit), stale);
    // He joins again, over his own leaf.
    let (info, tree) = ada.public();
    let joined = bob.start_external(&terms(Suite::X25519), &info, &tree, true, &list);
    bob.external_accepted();
    ada.follow(&joined.commit, &list);
    cai.follow(&joined.commit, &list);
    agree(&[&ada, &bob, &cai]);
}

#[test]
fn mls_1_a_verdict_is_about_one_commit() {
    let (mut ada, mut bob, mut cai, list) = three(Suite::X25519);
    let (one, other) = (ada.commit(Change::update(), &list), bob.commit(Change::update(), &list));
    let verdict = {
        let group = Group::open(&cai.store, ID).unwrap();
        let Received::Commit(staged) = group.receive(&mut cai.rng, &one.commit).unwrap() else { panic!() };
        staged.judge(&list.roll()).unwrap()
    };
    let group = Group::open(&cai.store, ID).unwrap();
    let Received::Commit(staged) = group.receive(&mut cai.rng, &other.commit).unwrap() else { panic!() };
    assert_eq!(staged.merge(verdict).unwrap_err(), MergeError::OtherCommit);
}

#[test]
fn neg_1_another_suite_is_a_group_that_follows() {
    let (mut ada, mut bob, _, list) = three(Suite::X25519);
    let next = GroupId::from_bytes([0xCB; 16]);
    let (id, secret) = ada.group().migration(next).unwrap();
    let (same, his) = bob.group().migration(next).unwrap();
    assert_eq!((&id, secret.expose()), (&same, his.expose()));
    assert_ne!(ada.group().migration(ID).unwrap().1.expose(), secret.expose());
    for (person, secret) in [(&mut ada, &secret), (&mut bob, &his)] {
        let writes = psk::register(&person.store, &mut person.rng, &id, secret).unwrap();
        person.write(writes);
    }
    let suite = terms(Suite::XWing);
    let package = bob.package(Suite::XWing);
    let join = undertone_keys::JoinId::random(&mut ada.rng);
    let joiner = undertone_groups::Joiner { user: &ada.user, identity: &ada.identity, join, now: world::NOW };
    let step = Group::create(&ada.store, &mut ada.rng, next, &suite, &joiner).unwrap();
    ada.keep(step);
    let change = Change { add: vec![package], psks: vec![id], ..Change::default() };
    let step = Group::open(&ada.store, next).unwrap().commit(&mut ada.rng, change, &list.roll()).unwrap();
    let made = upload(ada.keep(step));
    let step = Group::open(&ada.store, next).unwrap().accepted(&mut ada.rng).unwrap();
    ada.keep(step);
    let welcome = made.welcome.as_deref().unwrap();
    let step = Group::join(&bob.store, &mut bob.rng, next, &suite, welcome, &made.tree, &list.roll()).unwrap();
    bob.keep(step);
    let authenticator = |person: &Person| Group::open(&person.store, next).unwrap().authenticator().unwrap();
    assert_eq!(authenticator(&ada), authenticator(&bob));
    // The one before is still there, until it is forgotten.
    agree(&[&ada, &bob]);
}
