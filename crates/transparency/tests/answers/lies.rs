use undertone_keys::UserId;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_transparency::answer::{Answer, Found};
use undertone_transparency::checkpoint::NotFollowing;
use undertone_transparency::directory::{AbsenceProof, LookupProof};
use undertone_transparency::evidence::Evidence;
use undertone_transparency::known::KnownList;
use undertone_transparency::leaf::LeafOrder;
use undertone_transparency::verify::Accusation;

use crate::server::{Asker, Person, Server};
use crate::world::{Fresh, Stale};

/// A server on which Bob has one device, and somebody who has asked about him and ten others since.
fn met() -> (Server, Person, Asker) {
    let (mut server, bob) = (Server::new(), Person::new("bob", 1));
    server.publish(&[&bob]);
    let mut asker = server.asker();
    asker.learn(&bob, &server.answer(&bob, &asker));
    (server, bob, asker)
}

fn accused(asker: &Asker, person: &Person, answer: &Answer) -> Accusation {
    let accusation = asker.ask(person, answer).unwrap_err();
    // Whatever it is, a third party comes to the same.
    let evidence = Evidence::new(&asker.question(&person.user), &answer.to_bytes());
    assert_eq!(Evidence::from_bytes(&evidence.to_bytes()).unwrap().check(), Ok(Err(accusation.clone())));
    accusation
}

#[test]
fn kt_1_a_checkpoint_of_another_key_or_log() {
    let (mut server, bob, asker) = met();
    let honest = server.answer(&bob, &asker);
    server.key = SigningKey::generate(&mut SeededRng::new(7));
    let other = server.answer(&bob, &asker);
    assert!(matches!(accused(&asker, &bob, &other), Accusation::Checkpoint(_)));
    let mut elsewhere = asker.clone();
    elsewhere.pins.domain = "example.net".into();
    elsewhere.seen = None;
    assert!(matches!(elsewhere.ask(&bob, &honest), Err(Accusation::Checkpoint(_))));
}

#[test]
fn kt_3_a_leaf_that_is_not_the_last_shows_an_old_directory() {
    let (mut server, mut bob, asker) = met();
    let old = server.answer(&bob, &asker);
    bob.add_device();
    server.publish(&[&bob]);
    // The old directory's proofs and leaf under the new checkpoint: it is in the log, and not its end.
    let mut answer = server.answer(&bob, &asker);
    (answer.head.leaf, answer.found) = (old.head.leaf, old.found);
    let log = &server.log;
    let Ok(inclusion) = undertone_transparency::log::prove_inclusion(log.size() - 2, log.size(), log);
    answer.head.inclusion.0 = inclusion;
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::Inclusion(_)));
    answer.head.leaf = b"no leaf".to_vec();
    assert_eq!(accused(&asker, &bob, &answer), Accusation::Leaf);
}

#[test]
fn kt_4_rollback_to_an_older_log() {
    let (mut server, bob, mut asker) = met();
    let mut older = server.log.clone();
    server.publish(&[&Person::new("carol", 2)]);
    let newer = server.answer(&bob, &asker);
    asker.learn(&bob, &newer);
    let answer = server.answer_with(&older, None, server.present(&bob, 1));
    let (known, shown) = (server.log.size(), older.size());
    assert_eq!(accused(&asker, &bob, &answer), Accusation::Log(NotFollowing::SmallerSize { known, shown }));
    // It grows again, otherwise: as large as before, and not the same.
    older.0.push(undertone_transparency::leaf::Leaf { root: [7; 32], ..server.leaf() });
    let answer = server.answer_with(&older, None, server.present(&bob, 1));
    let accusation = accused(&asker, &bob, &answer);
    assert_eq!(accusation, Accusation::Log(NotFollowing::SameSizeOtherRoot { size: known }));
    let kept = Evidence::new(&asker.question(&bob.user), &answer.to_bytes());
    assert!(kept.convicts(), "two signatures of the log's key say it");
    // Whatever else is wrong with the answer.
    let mut worse = answer;
    worse.head.leaf = Vec::new();
    assert_eq!(accused(&asker, &bob, &worse), Accusation::Leaf);
    assert!(Evidence::new(&asker.question(&bob.user), &worse.to_bytes()).convicts());
}

#[test]
fn kt_4_forked_log_of_which_one_branch_was_seen() {
    let (mut server, bob, asker) = met();
    let mut fork = server.log.clone();
    // The other branch has another history, and more of it.
    fork.0.last_mut().unwrap().root = [9; 32];
    server.publish(&[&Person::new("carol", 2)]);
    fork.0.push(server.leaf());
    let answer = server.answer_with(&fork, asker.seen.as_ref(), server.present(&bob, 1));
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::Log(NotFollowing::NotConsistent { .. })));
}

#[test]
fn kt_5_a_proof_about_somebody_else() {
    let (mut server, bob, asker) = met();
    let carol = Person::new("carol", 2);
    server.publish(&[&carol]);
    let answer = server.answer_with(&server.log, asker.seen.as_ref(), server.present(&carol, 0));
    let accusation = accused(&asker, &bob, &answer);
    assert!(matches!(accusation, Accusation::Lookup(_)));
    assert_eq!(accusation.rule(), "KT-5");
}

#[test]
fn kt_14_a_changed_vrf_key() {
    let (mut server, bob, mut asker) = met();
    server.world.key_bytes[0] ^= 1;
    server.log_epoch();
    let answer = server.answer(&bob, &asker);
    assert_eq!(accused(&asker, &bob, &answer), Accusation::VrfKey);
    // Whoever pins what is no key at all is not told that everything is fine.
    asker.pins.vrf = [0xff; 32];
    asker.seen = None;
    assert!(asker.ask(&bob, &answer).is_err());
}

#[test]
fn kt_6_forged_freshness_of_an_old_version() {
    let (mut server, mut bob, asker) = met();
    let old: LookupProof = server.world.lookup(&bob.label());
    let (label, lists) = (bob.label(), bob.lists.len());
    bob.add_device();
    server.publish(&[&bob]);
    // The old version is still in the tree; that it was superseded is what has to be hidden.
    let place = server.world.place(&label, Stale, 1);
    let (existing, fresh) = (server.world.place(&label, Fresh, 1), server.world.akd_lookup(&label).0);
    let mut tried = 0;
    for prefix in server.world.above(place) {
        let mut forged = fresh.clone();
        forged.version = 1;
        forged.epoch = 2;
        forged.value = akd::AkdValue(bob.lists[0].hash().to_vec());
        forged.commitment_nonce = old.nonce.to_vec();
        forged.existence_vrf_proof = server.world.vrf(&label, Fresh, 1).to_vec();
        forged.existence_proof = server.world.membership(existing);
        forged.marker_vrf_proof = forged.existence_vrf_proof.clone();
        forged.marker_proof = forged.existence_proof.clone();
        forged.freshness_vrf_proof = server.world.vrf(&label, Stale, 1).to_vec();
        forged.freshness_proof = server.world.forged_non_membership(place, prefix);
        // Some of these lies have no form that could be sent at all.
        let Ok(proof) = LookupProof::from_akd(&forged, &[]) else { continue };
        tried += 1;
        let found = Found::Present { proof: Box::new(proof), lists: Vec::new() };
        let answer = server.answer_with(&server.log, asker.seen.as_ref(), found);
        assert_eq!(accused(&asker, &bob, &answer).rule(), "KT-6");
    }
    assert!(tried > 0 && lists == 1);
}

#[test]
fn kt_6_false_absence_of_somebody_who_is_there() {
    let (server, bob, asker) = met();
    let mut stranger = asker.clone();
    stranger.known = None;
    let (label, mut tried) = (bob.label(), 0);
    let place = server.world.place(&label, Fresh, 1);
    for prefix in server.world.above(place) {
        let forged = server.world.forged_non_membership(place, prefix);
        let Ok(proof) = AbsenceProof::from_akd(&server.world.vrf(&label, Fresh, 1), &forged) else { continue };
        tried += 1;
        let answer = server.answer_with(&server.log, asker.seen.as_ref(), Found::Absent(Box::new(proof)));
        assert!(matches!(accused(&stranger, &bob, &answer), Accusation::Absence(_)));
        assert!(matches!(accused(&asker, &bob, &answer), Accusation::Absence(_)));
    }
    assert!(tried > 0);
}

#[test]
fn kt_7_a_wrong_key_in_a_list_of_the_servers_own() {
    let (server, bob, mut asker) = met();
    // Under Bob's name, and everything in it signed: by somebody else.
    let ghost = Person::new("bob", 666);
    let proof = Box::new(server.world.lookup(&bob.label()));
    let found = Found::Present { proof, lists: vec![ghost.newest().to_bytes()] };
    let answer = server.answer_with(&server.log, asker.seen.as_ref(), found);
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::List(_)), "it follows nothing that was known");
    asker.known = None;
    assert_eq!(accused(&asker, &bob, &answer), Accusation::OtherList);
    // Nor is a list of somebody else's taken, though the directory names it.
    (asker.seen, asker.known) = (None, None);
    let mut server = Server::new();
    let carol = Person::new("carol", 2);
    server.world.publish_values(&[(&bob.label(), carol.newest().hash())]);
    server.log_epoch();
    let proof = Box::new(server.world.lookup(&bob.label()));
    let found = Found::Present { proof, lists: vec![carol.newest().to_bytes()] };
    let answer = server.answer_with(&server.log, None, found);
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::List(_)));
}

#[test]
fn kt_7_ghost_device_in_a_list_that_nobody_signed() {
    let (mut server, mut bob, asker) = met();
    bob.add_device();
    // One byte of the second record is another: a device that Bob has not added, and no signature of his over it.
    let mut bytes = bob.newest().to_bytes();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    let label = bob.label();
    server.world.publish_values(&[(&label, undertone_keys::digest::sha256(&[&bytes]))]);
    server.log_epoch();
    let proof = Box::new(server.world.lookup(&label));
    let answer = server.answer_with(&server.log, asker.seen.as_ref(), Found::Present { proof, lists: vec![bytes] });
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::List(_)));
}

#[test]
fn kt_7_old_list_replayed_as_a_newer_version() {
    let (mut server, mut bob, asker) = met();
    let first = bob.newest().clone();
    bob.add_device();
    server.publish(&[&bob]);
    // Validly signed, and in the directory: Bob's first list as his third.
    let label = bob.label();
    server.world.publish_values(&[(&label, first.hash())]);
    server.log_epoch();
    for known in [None, Some(first.clone()), Some(bob.newest().clone())] {
        let mut asker = asker.clone();
        asker.known = known.map(KnownList::new);
        for lists in [vec![], vec![first.to_bytes()], vec![bob.newest().to_bytes(), first.to_bytes()]] {
            let proof = Box::new(server.world.lookup(&label));
            let answer = server.answer_with(&server.log, asker.seen.as_ref(), Found::Present { proof, lists });
            assert_eq!(accused(&asker, &bob, &answer).rule(), "KT-7");
        }
    }
}

#[test]
fn kt_7_a_version_gap_and_a_broken_chain() {
    let (mut server, mut bob, asker) = met();
    for _ in 0..2 {
        bob.add_device();
        server.publish(&[&bob]);
    }
    let mut answer = server.answer(&bob, &asker);
    let Found::Present { lists, .. } = &mut answer.found else { panic!("absent") };
    assert_eq!(lists.len(), 2);
    let left_out = lists.remove(0);
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::List(_)));
    let Found::Present { lists, .. } = &mut answer.found else { panic!("absent") };
    lists.push(left_out);
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::List(_)), "in another order");
}

#[test]
fn kt_7_an_older_version_than_is_known_and_a_denied_user() {
    let (mut server, mut bob, mut asker) = met();
    bob.add_device();
    let old = server.answer(&bob, &asker);
    server.publish(&[&bob]);
    asker.learn(&bob, &server.answer(&bob, &asker));
    // With the log as it was: a device that forgot what it saw still knows the list.
    asker.seen = None;
    assert!(matches!(asker.ask(&bob, &old), Err(Accusation::OldList { known: 2, proven: 1 })));
    // A server that begins anew and says that he never was there.
    let anew = Server::new();
    let absent = Found::Absent(Box::new(anew.world.absence(&bob.label())));
    let answer = anew.answer_with(&anew.log, None, absent);
    assert_eq!(accused(&asker, &bob, &answer), Accusation::Denied(bob.user.clone()));
}

#[test]
fn kt_8_stale_checkpoint_kept_from_somebody() {
    let (server, bob, mut asker) = met();
    asker.clock += 3_600;
    let answer = server.answer(&bob, &asker);
    assert_eq!(accused(&asker, &bob, &answer), Accusation::Stale { age: 3_600 });
}

#[test]
fn kt_8_time_and_epochs_that_go_back() {
    let (mut server, bob, asker) = met();
    server.clock -= 1;
    server.log_epoch();
    let answer = server.answer(&bob, &asker);
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::Order(LeafOrder::Time { .. })));
    server.log.0.pop();
    server.clock += 1;
    let back = undertone_transparency::leaf::Leaf { epoch: 1, root: server.world.roots[1], ..server.leaf() };
    server.log.0.push(back);
    let answer = server.answer(&bob, &asker);
    assert!(matches!(accused(&asker, &bob, &answer), Accusation::Order(LeafOrder::Epoch { .. })));
}

/// A newer version that is kept from one asker alone shows in no look-up for as long as the old log is fresh; what the log
/// does not hold at all can only be missed by the owner, who signed it (rule KT-11).
#[test]
fn kt_11_hidden_version_is_not_seen_by_a_look_up() {
    let (mut server, mut bob, asker) = met();
    let (honest, user): (Answer, UserId) = (server.answer(&bob, &asker), bob.user.clone());
    bob.add_device();
    server.publish(&[&bob]);
    assert!(asker.question(&user).verify(&honest.to_bytes()).is_ok(), "ten minutes long the old log is good enough");
    let mut later = asker.clone();
    later.clock += 601;
    assert_eq!(accused(&later, &bob, &honest), Accusation::Stale { age: 601 });
}
