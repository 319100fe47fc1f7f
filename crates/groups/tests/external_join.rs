//! `external_join`: joining by oneself is kept apart until it is taken, survives a restart at once, and gives the same keys (rule
//! MLS-2).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use undertone_groups::{Change, ExternalJoin, Group, JoinError, Kind, OpenError, Received, Suite};
use world::{ID, List, Person, agree, key_of, terms, three, upload};

#[test]
fn mls_2_external_join_is_nothing_until_it_is_taken() {
    let (mut ada, mut bob, _, _) = three(Suite::X25519);
    let mut dan = Person::new("dan", 4);
    let list = List::of(&[&ada, &bob, &dan, &Person::new("cai", 3)]);
    let (info, tree) = ada.public();
    let lost = dan.start_external(&terms(Suite::X25519), &info, &tree, false, &list);
    dan.restart();
    assert_eq!(Group::open(&dan.store, ID).unwrap_err(), OpenError::Unknown);
    assert!(ExternalJoin::is_pending(&dan.store, ID));
    // A second one would be two commits of one device in one epoch.
    let again = dan.try_external(&terms(Suite::X25519), &info, &tree, false, &[], &list).unwrap_err();
    assert_eq!(again, JoinError::Exists);

    // Bob's commit wins. What Dan has kept goes, and he starts again.
    let winner = bob.commit(Change::update(), &list);
    bob.accepted();
    ada.follow(&winner.commit, &list);
    let keys = dan.disk.len();
    let step = ExternalJoin::lost(&dan.store, ID).unwrap();
    dan.keep(step);
    assert!(dan.disk.len() < keys);
    assert_eq!(undertone_groups::waiting(&dan.store).unwrap(), []);
    let (info, tree) = ada.public();
    let upload = dan.start_external(&terms(Suite::X25519), &info, &tree, false, &list);
    assert_ne!(upload.commit, lost.commit);
    dan.external_accepted();
    dan.restart();
    ada.follow(&upload.commit, &list);
    bob.follow(&upload.commit, &list);
    agree(&[&ada, &bob, &dan]);

    // Right after the join and the restart it can do what any member can.
    let update = dan.commit(Change::update(), &list);
    dan.accepted();
    ada.follow(&update.commit, &list);
    agree(&[&ada, &dan]);
}

#[test]
fn mls_2_external_join_of_the_same_join_takes_its_own_leaf_again() {
    for suite in Suite::ALL {
        let (mut ada, mut bob, mut cai, list) = three(suite);
        let (old, before) = (bob.group().member(1).unwrap(), key_of(&bob));
        // Ada goes on; Bob misses it, and cannot go on from where he is.
        let missed = ada.commit(Change::update(), &list);
        ada.accepted();
        cai.follow(&missed.commit, &list);

        let (info, tree) = ada.public();
        let upload = bob.start_external(&terms(suite), &info, &tree, true, &list);
        // Until it is taken, he is where he was.
        assert_eq!(key_of(&bob), before);
        {
            let group = Group::open(&ada.store, ID).unwrap();
            let Received::Commit(staged) = group.receive(&mut ada.rng, &upload.commit).unwrap() else { unreachable!() };
            assert_eq!(staged.removed(), core::slice::from_ref(&old));
            let leaves: Vec<_> = staged.leaves().collect();
            assert_eq!((leaves.len(), leaves[0].kind, &leaves[0].member), (1, Kind::Joined, &old));
        }
        ada.follow(&upload.commit, &list);
        cai.follow(&upload.commit, &list);
        bob.external_accepted();
        bob.restart();
        agree(&[&ada, &bob, &cai]);
        assert_eq!(bob.group().members().len(), 3);
        assert_eq!(bob.group().own_index(), 1);
    }
}

#[test]
fn mls_2_external_join_of_a_new_join_leaves_the_older_leaf_to_the_next_commit() {
    let suite = Suite::P256;
    let (mut ada, mut bob, mut cai, list) = three(suite);
    // Bob's device starts anew, without anything.
    let (info, tree) = ada.public();
    let mut anew = Person::new("bob", 2);
    anew.rng = undertone_keys::testing::SeededRng::new(99);
    let upload = anew.start_external(&terms(suite), &info, &tree, false, &list);
    anew.external_accepted();
    ada.follow(&upload.commit, &list);
    cai.follow(&upload.commit, &list);
    agree(&[&ada, &anew, &cai]);
    assert_eq!(anew.group().members().len(), 4);
    assert_eq!(anew.group().own_older_leaves(), [1]);
    // The older leaf follows, and is then put out by the one that took its place.
    bob.follow(&upload.commit, &list);
    let remove = anew.group().own_older_leaves();
    let upload = anew.commit(Change { remove, ..Change::default() }, &list);
    for member in [&mut ada, &mut bob, &mut cai] {
        member.follow(&upload.commit, &list);
    }
    anew.accepted();
    agree(&[&ada, &anew, &cai]);
    assert_eq!(Group::open(&bob.store, ID).unwrap_err(), OpenError::Unknown);
    assert!(anew.group().own_older_leaves().is_empty());
}

#[test]
fn mls_2_external_join_over_a_group_of_its_own_has_to_say_so() {
    let (mut ada, mut bob, _, list) = three(Suite::X25519);
    let (info, tree) = ada.public();
    let error = bob.try_external(&terms(Suite::X25519), &info, &tree, false, &[], &list).unwrap_err();
    assert_eq!(error, JoinError::Exists);
    let writes = Group::forget(&bob.store, ID).unwrap();
    bob.write(writes);
    let error = bob.try_external(&terms(Suite::X25519), &info, &tree, true, &[], &list).unwrap_err();
    assert_eq!(error, JoinError::NoEarlierJoin);
    let step = bob.try_external(&terms(Suite::X25519), &info, &tree, false, &[], &list).unwrap();
    let upload = upload(bob.keep(step));
    bob.external_accepted();
    ada.follow(&upload.commit, &list);
    agree(&[&ada, &bob]);
}
