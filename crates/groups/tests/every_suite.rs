//! Every suite does all that a call needs of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_groups::{Change, Group, OpenError, Suite};
use world::{ID, List, Person, agree, key_of, terms, three};

fn all(suite: Suite) {
    let (mut ada, mut bob, mut cai, mut list) = three(suite);
    agree(&[&ada, &bob, &cai]);
    assert_eq!(ada.group().members().len(), 3);
    assert_eq!((ada.group().own_index(), bob.group().own_index(), cai.group().own_index()), (0, 1, 2));

    // Messages, both ways, and after a restart.
    let sealed = ada.seal(b"hello");
    assert_eq!(bob.open(&sealed), (0, b"hello".to_vec()));
    bob.restart();
    assert_eq!(cai.open(&sealed), (0, b"hello".to_vec()));
    let sealed = bob.seal(b"hello, ada");
    assert_eq!(ada.open(&sealed), (1, b"hello, ada".to_vec()));

    // An update.
    let before = key_of(&ada);
    let upload = bob.commit(Change::update(), &list);
    ada.follow(&upload.commit, &list);
    cai.follow(&upload.commit, &list);
    bob.restart();
    bob.accepted();
    agree(&[&ada, &bob, &cai]);
    assert_ne!(key_of(&ada), before);

    // Somebody joins by themselves.
    let mut dan = Person::new("dan", 4);
    list = List::of(&[&ada, &bob, &cai, &dan]);
    let (info, tree) = ada.public();
    let upload = dan.start_external(&terms(suite), &info, &tree, false, &list);
    for member in [&mut ada, &mut bob, &mut cai] {
        member.follow(&upload.commit, &list);
    }
    dan.restart();
    dan.external_accepted();
    dan.restart();
    agree(&[&ada, &bob, &cai, &dan]);
    let sealed = dan.seal(b"here");
    assert_eq!(ada.open(&sealed), (3, b"here".to_vec()));

    // Somebody is removed: it hears so, and the group is gone for it.
    let upload = ada.commit(Change { remove: vec![1], ..Change::default() }, &list);
    bob.follow(&upload.commit, &list);
    assert_eq!(Group::open(&bob.store, ID).unwrap_err(), OpenError::Unknown);
    cai.follow(&upload.commit, &list);
    dan.follow(&upload.commit, &list);
    ada.accepted();
    agree(&[&ada, &cai, &dan]);
    assert_eq!(ada.group().members().len(), 3);

    // And comes back, to the place that is free.
    let upload = dan.commit(Change { add: vec![bob.package(suite)], ..Change::default() }, &list);
    ada.follow(&upload.commit, &list);
    cai.follow(&upload.commit, &list);
    dan.accepted();
    bob.join(&terms(suite), &upload, &list);
    agree(&[&ada, &bob, &cai, &dan]);
    assert_eq!(bob.group().own_index(), 1);
}

#[test]
fn grp_6_p256() {
    all(Suite::P256);
}

#[test]
fn grp_6_x25519() {
    all(Suite::X25519);
}

#[test]
fn grp_6_x_wing() {
    all(Suite::XWing);
}
