//! `independent_mls_peer`: an implementation of RFC 9420 that shares no line with openmls (ts-mls, in `dev/interop/mls`) is in groups with
//! ours, in the RFC's suites 1 and 2, and comes to the same epochs and keys step by step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod faults;
#[path = "../../../../dev/interop/node.rs"]
mod node;
mod peer;
mod random;
mod wall;
#[path = "../world/mod.rs"]
mod world;

use peer::{Peer, agree, bytes, hex, list};
use serde_json::json;
use undertone_groups::{Change, Group, OpenError, PskId, ReceiveError, Received, Refused, Suite, psk};
use undertone_keys::Secret;
use world::{ID, List, Person, terms};

/// The suites that have a number in RFC 9420.
const SUITES: [Suite; 2] = [Suite::X25519, Suite::P256];

/// A message of each to all others.
fn talk(ours: &mut [&mut Person], theirs: &mut [&mut Peer]) {
    for speaker in 0..ours.len() {
        let sealed = ours[speaker].seal(b"from ours");
        let index = ours[speaker].group().own_index();
        for (listener, person) in ours.iter_mut().enumerate().filter(|(listener, _)| *listener != speaker) {
            assert_eq!(person.open(&sealed), (index, b"from ours".to_vec()), "{listener}");
        }
        for peer in theirs.iter_mut() {
            assert_eq!(peer.open(&sealed), b"from ours");
        }
    }
    for speaker in 0..theirs.len() {
        let (sealed, index) = (theirs[speaker].seal(b"from theirs"), theirs[speaker].index());
        for person in ours.iter_mut() {
            assert_eq!(person.open(&sealed), (index, b"from theirs".to_vec()));
        }
        for (_, peer) in theirs.iter_mut().enumerate().filter(|(listener, _)| *listener != speaker) {
            assert_eq!(peer.open(&sealed), b"from theirs");
        }
    }
}

/// Two of each kind: everybody updates, adds and removes, and the others follow. Bob and Tim are in; Cai and Tom are not yet.
fn everybody_commits(mut ada: Person, mut tim: Peer, suite: Suite) {
    let (mut cai, mut tom) = (Person::new("cai", 3), Peer::new("tom", 12, suite));
    let all = list(&[&ada, &cai], &[&tim, &tom]);
    let (ours, theirs) = (ada.group().own_index(), tim.index());
    agree(&[&ada], &mut [&mut tim]);
    talk(&mut [&mut ada], &mut [&mut tim]);

    // Each updates.
    let update = ada.commit(Change::update(), &all);
    assert!(tim.follow(&update.commit));
    ada.accepted();
    agree(&[&ada], &mut [&mut tim]);
    let update = tim.commit(json!({}));
    ada.follow(&update.commit, &all);
    tim.accepted();
    agree(&[&ada], &mut [&mut tim]);

    // Each adds one of the other kind: ours after a restart from what is on its disk.
    ada.restart();
    let added = ada.commit(Change { add: vec![tom.package()], ..Change::default() }, &all);
    assert!(tim.follow(&added.commit));
    ada.accepted();
    tom.join(&added);
    agree(&[&ada], &mut [&mut tim, &mut tom]);
    let package = plain(&cai.package_bytes(suite), suite);
    let added = tim.commit(json!({"add": [hex(&package)]}));
    ada.follow(&added.commit, &all);
    assert!(tom.follow(&added.commit));
    tim.accepted();
    cai.join(&terms(suite), &added, &all);
    agree(&[&ada, &cai], &mut [&mut tim, &mut tom]);
    talk(&mut [&mut ada, &mut cai], &mut [&mut tim, &mut tom]);

    // Whoever came later updates too, so that no inner node is blank.
    let update = cai.commit(Change::update(), &all);
    ada.follow(&update.commit, &all);
    assert!(tim.follow(&update.commit) && tom.follow(&update.commit));
    cai.accepted();
    agree(&[&ada, &cai], &mut [&mut tim, &mut tom]);
    let update = tom.commit(json!({}));
    ada.follow(&update.commit, &all);
    cai.follow(&update.commit, &all);
    assert!(tim.follow(&update.commit));
    tom.accepted();
    agree(&[&ada, &cai], &mut [&mut tim, &mut tom]);

    // Each removes one of the other kind, who hears of it.
    let removed = tim.commit(json!({"remove": [cai.group().own_index()]}));
    ada.follow(&removed.commit, &all);
    cai.follow(&removed.commit, &all);
    assert!(tom.follow(&removed.commit));
    tim.accepted();
    assert_eq!(Group::open(&cai.store, ID).unwrap_err(), OpenError::Unknown);
    agree(&[&ada], &mut [&mut tim, &mut tom]);
    let removed = ada.commit(Change { remove: vec![tom.index()], ..Change::default() }, &all);
    assert!(tim.follow(&removed.commit) && !tom.follow(&removed.commit));
    ada.accepted();
    agree(&[&ada], &mut [&mut tim]);
    talk(&mut [&mut ada], &mut [&mut tim]);

    // A place that is free is taken again, with another leaf key, while somebody goes.
    let package = plain(&cai.package_bytes(suite), suite);
    let swapped = tim.commit(json!({"add": [hex(&package)]}));
    ada.follow(&swapped.commit, &all);
    tim.accepted();
    cai.join(&terms(suite), &swapped, &all);
    tom.draw(peer::number(suite), false).unwrap();
    let change = Change { add: vec![tom.package()], remove: vec![ours], ..Change::default() };
    let swapped = cai.commit(change, &all);
    ada.follow(&swapped.commit, &all);
    assert!(tim.follow(&swapped.commit));
    cai.accepted();
    tom.join(&swapped);
    assert_eq!((tom.index(), tim.index()), (ours, theirs));
    agree(&[&cai], &mut [&mut tim, &mut tom]);
    talk(&mut [&mut cai], &mut [&mut tim, &mut tom]);
}

/// A key package out of our envelope.
fn plain(envelope: &[u8], suite: Suite) -> Vec<u8> {
    let message = envelope[9..].to_vec();
    assert_eq!(peer::envelope(suite, &message), envelope);
    message
}

#[test]
fn mls_1_independent_mls_peer_joins_a_group_of_ours_by_a_welcome() {
    for suite in SUITES {
        let (mut ada, mut tim) = (Person::new("ada", 1), Peer::new("tim", 11, suite));
        let all = list(&[&ada], &[&tim]);
        ada.create(&terms(suite));
        let added = ada.commit(Change { add: vec![tim.package()], ..Change::default() }, &all);
        ada.accepted();
        tim.join(&added);
        everybody_commits(ada, tim, suite);
    }
}

#[test]
fn mls_1_independent_mls_peer_makes_a_group_and_ours_joins_by_a_welcome() {
    for suite in SUITES {
        let (mut ada, mut tim) = (Person::new("ada", 1), Peer::new("tim", 11, suite));
        let all = list(&[&ada], &[&tim]);
        tim.create(&terms(suite));
        let package = plain(&ada.package_bytes(suite), suite);
        let added = tim.commit(json!({"add": [hex(&package)]}));
        tim.accepted();
        ada.join(&terms(suite), &added, &all);
        everybody_commits(ada, tim, suite);
    }
}

/// Ada of ours has a group, and Tim of theirs is in it.
fn ada_and_tim(suite: Suite) -> (Person, Peer, List) {
    let (mut ada, mut tim) = (Person::new("ada", 1), Peer::new("tim", 11, suite));
    let all = list(&[&ada], &[&tim]);
    ada.create(&terms(suite));
    let added = ada.commit(Change { add: vec![tim.package()], ..Change::default() }, &all);
    ada.accepted();
    tim.join(&added);
    (ada, tim, all)
}

#[test]
fn mls_2_independent_mls_peer_joins_by_itself_and_so_do_we() {
    for suite in SUITES {
        let (mut ada, mut tim, _) = ada_and_tim(suite);
        let (mut bob, mut tom) = (Person::new("bob", 2), Peer::new("tom", 12, suite));
        let all = list(&[&ada, &bob], &[&tim, &tom]);

        // Theirs, from what ours gives out.
        let (public, credential) = (ada.public(), tom.credential());
        let joined = tom.start_external(&public, &credential, false);
        ada.follow(&joined, &all);
        assert!(tim.follow(&joined));
        tom.accepted();
        agree(&[&ada], &mut [&mut tim, &mut tom]);

        // Ours, from what theirs gives out.
        let (info, tree) = tim.public();
        let joined = bob.start_external(&terms(suite), &info, &tree, false, &all);
        ada.follow(&joined.commit, &all);
        assert!(tim.follow(&joined.commit) && tom.follow(&joined.commit));
        bob.external_accepted();
        agree(&[&ada, &bob], &mut [&mut tim, &mut tom]);
        talk(&mut [&mut ada, &mut bob], &mut [&mut tim, &mut tom]);

        // Both miss an epoch and come back over their own leaves: theirs from the group info that ours has uploaded.
        let missed = ada.commit(Change::update(), &all);
        ada.accepted();
        assert!(tim.follow(&missed.commit));
        let index = tom.index();
        let again = tom.start_external(&(missed.group_info, missed.tree), &credential, true);
        ada.follow(&again, &all);
        assert!(tim.follow(&again));
        tom.accepted();
        assert_eq!(tom.index(), index);
        agree(&[&ada], &mut [&mut tim, &mut tom]);
        let ((info, tree), index) = (tom.public(), bob.group().own_index());
        let again = bob.start_external(&terms(suite), &info, &tree, true, &all);
        ada.follow(&again.commit, &all);
        assert!(tim.follow(&again.commit) && tom.follow(&again.commit));
        bob.external_accepted();
        bob.restart();
        assert_eq!(bob.group().own_index(), index);
        agree(&[&ada, &bob], &mut [&mut tim, &mut tom]);
        talk(&mut [&mut ada, &mut bob], &mut [&mut tim, &mut tom]);

        // Whoever came so can do what any member can.
        let update = tom.commit(json!({}));
        ada.follow(&update.commit, &all);
        bob.follow(&update.commit, &all);
        assert!(tim.follow(&update.commit));
        tom.accepted();
        agree(&[&ada, &bob], &mut [&mut tim, &mut tom]);
    }
}

#[test]
fn mls_1_independent_mls_peer_loses_and_wins_an_epoch() {
    for suite in SUITES {
        let (mut ada, mut tim, all) = ada_and_tim(suite);
        for ours_wins in [true, false] {
            let (ours, theirs) = (ada.commit(Change::update(), &all), tim.commit(json!({})));
            assert_eq!(ours.epoch, theirs.epoch);
            if ours_wins {
                assert!(tim.follow(&ours.commit));
                ada.accepted();
            } else {
                ada.follow(&theirs.commit, &all);
                tim.accepted();
            }
            agree(&[&ada], &mut [&mut tim]);
            // What has lost is of an epoch that is over, for either.
            let stale = ReceiveError::Stale { theirs: theirs.epoch, ours: theirs.epoch + 1 };
            assert_eq!(ada.receive_error(&theirs.commit), stale);
            assert!(tim.ask("receive", json!({"message": hex(&ours.commit)})).is_err());
        }
    }
}

#[test]
fn mls_1_independent_mls_peer_mixes_in_a_pre_shared_key() {
    for suite in SUITES {
        let (mut ada, mut tim, _) = ada_and_tim(suite);
        let (mut bob, mut tom) = (Person::new("bob", 2), Peer::new("tom", 12, suite));
        let (mut eve, all) = (Person::new("eve", 5), list(&[&ada, &bob], &[&tim, &tom]));
        let id = PskId::new(b"quorum 1").unwrap();
        let know = |person: &mut Person| {
            let secret = Secret::filled_by(|out| out.fill(7));
            let writes = psk::register(&person.store, &mut person.rng, &id, &secret).unwrap();
            person.write(writes);
        };
        let key = json!({"id": hex(id.as_bytes()), "secret": hex(&[7; 32])});

        // Nobody follows without it.
        know(&mut ada);
        let mixed = ada.commit(Change { psks: vec![id.clone()], ..Change::default() }, &all);
        assert!(tim.ask("receive", json!({"message": hex(&mixed.commit)})).is_err());
        tim.get("psk", key.clone());
        assert!(tim.follow(&mixed.commit));
        ada.accepted();
        agree(&[&ada], &mut [&mut tim]);

        // Theirs mixes it in and adds ours: a commit without a path.
        let package = plain(&bob.package_bytes(suite), suite);
        let mixed = tim.commit(json!({"psks": [hex(id.as_bytes())], "add": [hex(&package)]}));
        {
            let group = Group::open(&ada.store, ID).unwrap();
            let Received::Commit(staged) = group.receive(&mut ada.rng, &mixed.commit).unwrap() else { unreachable!() };
            assert_eq!(staged.psks(), core::slice::from_ref(&id));
            assert_eq!(staged.leaves().count(), 1);
        }
        ada.follow(&mixed.commit, &all);
        tim.accepted();
        know(&mut bob);
        bob.join(&terms(suite), &mixed, &all);
        agree(&[&ada, &bob], &mut [&mut tim]);

        // Ours mixes it in and adds theirs.
        let change = Change { psks: vec![id.clone()], add: vec![tom.package()], ..Change::default() };
        let mixed = bob.commit(change, &all);
        ada.follow(&mixed.commit, &all);
        assert!(tim.follow(&mixed.commit));
        bob.accepted();
        assert!(tom.try_join(&mixed).is_err());
        tom.get("psk", key.clone());
        tom.join(&mixed);
        agree(&[&ada, &bob], &mut [&mut tim, &mut tom]);

        // Ours joins by itself with it.
        know(&mut eve);
        let all = list(&[&ada, &bob, &eve], &[&tim, &tom]);
        let ((info, tree), psks) = (tom.public(), [id.clone()]);
        let step = eve.try_external(&terms(suite), &info, &tree, false, &psks, &all).unwrap();
        let joined = world::upload(eve.keep(step));
        ada.follow(&joined.commit, &all);
        assert!(tim.follow(&joined.commit) && tom.follow(&joined.commit));
        eve.external_accepted();
        agree(&[&ada, &eve], &mut [&mut tim, &mut tom]);
    }
}

#[test]
fn grp_5_independent_mls_peer_cannot_go_on_when_it_is_removed() {
    for suite in SUITES {
        let (mut ada, mut tim, _) = ada_and_tim(suite);
        let mut bob = Person::new("bob", 2);
        let all = list(&[&ada, &bob], &[&tim]);
        let added = ada.commit(Change { add: vec![bob.package(suite)], ..Change::default() }, &all);
        ada.accepted();
        assert!(tim.follow(&added.commit));
        bob.join(&terms(suite), &added, &all);
        agree(&[&ada, &bob], &mut [&mut tim]);

        let removed = ada.commit(Change { remove: vec![tim.index()], ..Change::default() }, &all);
        let before = tim.export("SFrame 1.0 Base Key", b"");
        let (sealed, commit) = (tim.seal(b"just before"), tim.commit(json!({})));
        ada.accepted();
        bob.follow(&removed.commit, &all);
        let after = ada.seal(b"without tim");
        assert_eq!(bob.open(&after).1, b"without tim");

        // It does not say so to itself: what is sealed after it opens with nothing it has, and nobody follows it.
        assert!(tim.ask("receive", json!({"message": hex(&after)})).is_err());
        assert!(ada.group().members().iter().all(|member| member.user != tim.person.user));
        let (ours, theirs) = (removed.epoch + 1, removed.epoch);
        assert_eq!(bob.receive_error(&commit.commit), ReceiveError::Stale { theirs, ours });
        // What it said before it was out is still heard, and nothing that it says in an epoch further on.
        assert_eq!(bob.open(&sealed).1, b"just before");
        // It does: and then it makes nothing any more.
        assert!(!tim.follow(&removed.commit));
        for (what, asked) in [("seal", json!({"message": ""})), ("commit", json!({}))] {
            assert!(tim.ask(what, asked).unwrap_err().contains("removed"));
        }
        assert!(tim.ask("receive", json!({"message": hex(&after)})).is_err());
        assert_eq!(tim.export("SFrame 1.0 Base Key", b""), before);
        // It cannot come back by itself either: its device is on no list any more.
        let credential = tim.credential();
        let again = tim.start_external(&ada.public(), &credential, false);
        let without = List::of(&[&ada, &bob]);
        let group = Group::open(&bob.store, ID).unwrap();
        let Received::Commit(staged) = group.receive(&mut bob.rng, &again).unwrap() else { unreachable!() };
        let gone = undertone_groups::DeviceRef { user: tim.person.user.clone(), device: tim.person.device() };
        let refused = undertone_groups::JudgeError::Refused(Refused::NotListed(gone));
        assert_eq!(staged.judge(&without.roll()).unwrap_err(), refused);
    }
}

#[test]
fn mls_3_independent_mls_peer_shows_a_fork() {
    // A service that takes two commits for one epoch: each side goes its own way, and sees it.
    let (mut ada, mut tim, all) = ada_and_tim(Suite::X25519);
    let (_, _) = (ada.commit(Change::update(), &all), tim.commit(json!({})));
    ada.accepted();
    tim.accepted();
    let theirs = tim.epoch();
    assert_eq!(theirs["epoch"], ada.group().epoch());
    assert_ne!(bytes(&theirs["authenticator"]), ada.group().authenticator().unwrap().as_bytes());
    assert_eq!(ada.receive_error(&tim.seal(b"which one?")), ReceiveError::Refused(Refused::Invalid));
    let sealed = ada.seal(b"which one?");
    assert!(tim.ask("receive", json!({"message": hex(&sealed)})).is_err());
}
