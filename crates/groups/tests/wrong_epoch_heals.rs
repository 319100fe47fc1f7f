//! `wrong_epoch_heals`, as far as one group can tell: what is of another epoch says so and changes nothing, and a lost commit is
//! dropped with the one that won.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_groups::{Blame, Change, Group, ReceiveError, Received, SettleError, Suite, waiting};
use world::{ID, agree, three};

#[test]
fn rly_6_a_lost_commit_goes_with_the_one_that_won() {
    let (mut ada, mut bob, mut cai, list) = three(Suite::X25519);
    let won = ada.commit(Change::update(), &list);
    let lost = bob.commit(Change { remove: vec![2], ..Change::default() }, &list);
    assert_eq!(bob.group().pending().unwrap().unwrap().what.group(), Some(ID));
    bob.restart();
    bob.follow(&won.commit, &list);
    assert_eq!(bob.group().pending().unwrap(), None);
    assert_eq!(waiting(&bob.store).unwrap().len(), 1, "only the key package of his is left");
    assert_eq!(Group::open(&bob.store, ID).unwrap().accepted(&mut bob.rng).unwrap_err(), SettleError::None);
    ada.accepted();
    cai.follow(&won.commit, &list);
    agree(&[&ada, &bob, &cai]);

    // The loser comes late: nobody takes it.
    let stale = ReceiveError::Stale { theirs: lost.epoch, ours: lost.epoch + 1 };
    assert_eq!(ada.receive_error(&lost.commit), stale);
    assert_eq!(cai.receive_error(&lost.commit), stale);
    assert_eq!(stale.blame(), Blame::Unavailable);
    // He makes it anew in the epoch that is.
    let anew = bob.commit(Change { remove: vec![2], ..Change::default() }, &list);
    ada.follow(&anew.commit, &list);
    bob.accepted();
    agree(&[&ada, &bob]);
}

#[test]
fn ekr_7_wrong_epoch_heals_when_what_is_missing_comes() {
    let (mut ada, mut bob, mut cai, list) = three(Suite::X25519);
    let mut missed = Vec::new();
    for _ in 0..3 {
        let upload = ada.commit(Change::update(), &list);
        ada.accepted();
        cai.follow(&upload.commit, &list);
        missed.push(upload);
    }
    let sealed = ada.seal(b"far ahead");
    let epoch = missed[0].epoch;
    assert_eq!(bob.receive_error(&sealed), ReceiveError::Ahead { theirs: epoch + 3, ours: epoch });
    assert_eq!(bob.receive_error(&missed[1].commit), ReceiveError::Ahead { theirs: epoch + 1, ours: epoch });
    for upload in &missed {
        bob.follow(&upload.commit, &list);
    }
    assert_eq!(bob.open(&sealed).1, b"far ahead");
    agree(&[&ada, &bob, &cai]);
}

#[test]
fn mls_1_messages_of_the_epoch_before_still_open_and_no_older_ones() {
    let (mut ada, mut bob, _, list) = three(Suite::X25519);
    let (first, second) = (bob.seal(b"one"), bob.seal(b"two"));
    let upload = ada.commit(Change::update(), &list);
    ada.accepted();
    assert_eq!(ada.open(&first).1, b"one");
    bob.follow(&upload.commit, &list);
    let upload = ada.commit(Change::update(), &list);
    ada.accepted();
    let ours = upload.epoch + 1;
    assert_eq!(ada.receive_error(&second), ReceiveError::Stale { theirs: ours - 2, ours });
}

#[test]
fn sto_2_the_own_commit_comes_back_as_such() {
    let (mut ada, mut bob, _, list) = three(Suite::X25519);
    let upload = ada.commit(Change::update(), &list);
    {
        let group = Group::open(&ada.store, ID).unwrap();
        let received = group.receive(&mut ada.rng, &upload.commit).unwrap();
        assert!(matches!(received, Received::OwnCommit(_)));
    }
    ada.accepted();
    bob.follow(&upload.commit, &list);
    // Once more: it is of an epoch that is over.
    let ours = upload.epoch + 1;
    assert_eq!(ada.receive_error(&upload.commit), ReceiveError::Stale { theirs: upload.epoch, ours });
    let sealed = ada.seal(b"mine");
    let group = Group::open(&ada.store, ID).unwrap();
    assert!(matches!(group.receive(&mut ada.rng, &sealed).unwrap(), Received::Echo));
}

#[test]
fn mls_1_a_message_of_the_epoch_before_is_its_senders_whoever_has_the_leaf_now() {
    let (mut ada, mut bob, mut cai, _) = three(Suite::X25519);
    let mut eve = world::Person::new("eve", 5);
    let list = world::List::of(&[&ada, &bob, &cai, &eve]);
    let sealed = bob.seal(b"last words");
    let change = Change { add: vec![eve.package(Suite::X25519)], remove: vec![1], ..Change::default() };
    let upload = ada.commit(change, &list);
    cai.follow(&upload.commit, &list);
    assert_eq!(cai.group().member(1).unwrap().user, eve.user);
    let group = Group::open(&cai.store, ID).unwrap();
    let Received::Message(opened) = group.receive(&mut cai.rng, &sealed).unwrap() else { panic!("no message") };
    assert_eq!((opened.sender.user, opened.sender.index, opened.epoch), (bob.user, 1, upload.epoch));
}
