//! Where ts-mls 1.6.4 does other than RFC 9420 says, so that it is known which part of what passes needs a shim. Each of these fails when a
//! later version is right: then the shim goes (`dev/interop/mls/shims.mjs`), and this with it.

use serde_json::json;
use undertone_groups::{Change, JoinError, PskId, Suite, psk};
use undertone_keys::leaf::{LeafError, LeafStatement};
use undertone_keys::{JoinId, Secret, cbor};

use crate::peer::{Peer, agree, bytes, hex, list, number, voucher};
use crate::world::{Person, terms};
use crate::{SUITES, ada_and_tim};

/// RFC 9420, 12.4.3.2: `external_pub` holds a vector; ts-mls writes and reads the key without its length.
#[test]
fn mls_2_independent_mls_peer_writes_no_length_before_the_external_key() {
    for suite in SUITES {
        let (mut ada, mut tim, _) = ada_and_tim(suite);
        let mut tom = Peer::new("tom", 12, suite);
        let all = list(&[&ada], &[&tim, &tom]);
        let (info, tree) = ada.public();
        let credential = hex(&tom.credential());
        let asked = json!({"info": hex(&info), "tree": hex(&tree), "credential": credential, "shim": false});
        assert!(tom.ask("external", asked).is_err());
        let raw = tim.get("public", json!({"shim": false}));
        let (info, tree) = (bytes(&raw["info"]), bytes(&raw["tree"]));
        let mut bob = Person::new("bob", 2);
        let error = bob.try_external(&terms(suite), &info, &tree, false, &[], &all).unwrap_err();
        assert_eq!(error, JoinError::Malformed);
    }
}

/// RFC 9420, 5.1.1: a public key of ECDSA is an uncompressed point. ts-mls draws compressed ones, for which there is no statement.
#[test]
fn mls_1_independent_mls_peer_draws_compressed_keys() {
    let mut tim = Peer::without_a_key("tim", 11, Suite::P256);
    tim.draw(number(Suite::P256), true).unwrap();
    assert_eq!((tim.key.len(), tim.key[0] & 0xFE), (33, 2));
    let join = JoinId::from_bytes([9; 16]);
    let credential = voucher(&tim.person, &tim.person.identity, Suite::P256, &tim.key, join);
    let signed = cbor::decode(&credential).unwrap();
    assert_eq!(LeafStatement::claimed(&signed), Err(LeafError::Malformed));
}

/// RFC 9420, 12.4.3.1 asks that the nodes between a leaf and a parent that lists it as unmerged list it too. ts-mls 1.6.4 asks it of all nodes
/// above that parent as well, and refuses a tree as soon as a leaf is added below an inner node that whoever adds it is not below.
#[test]
fn mls_1_independent_mls_peer_refuses_a_leaf_below_an_old_inner_node() {
    let suite = Suite::X25519;
    let names = ["ada", "bob", "cai", "dan", "eve"];
    let mut people: Vec<Person> = names.iter().zip(1..).map(|(name, seed)| Person::new(name, seed)).collect();
    let (mut tim, mut tom) = (Peer::new("tim", 11, suite), Peer::new("tom", 12, suite));
    let ours: Vec<&Person> = people.iter().collect();
    let all = list(&ours, &[&tim, &tom]);
    people[0].create(&terms(suite));
    let add = people[1..].iter_mut().map(|person| person.package(suite)).collect();
    let added = people[0].commit(Change { add, ..Change::default() }, &all);
    people[0].accepted();
    for person in &mut people[1..] {
        person.join(&terms(suite), &added, &all);
    }
    let commit = |people: &mut Vec<Person>, who: usize, change: Change| {
        let made = people[who].commit(change, &all);
        people[who].accepted();
        for (_, person) in people.iter_mut().enumerate().filter(|(other, _)| *other != who) {
            person.follow(&made.commit, &all);
        }
        made
    };
    // Eve, on the other side of the tree, removes Bob; Cai then fills the node above leaves 0 to 3; and Eve, who does not renew that
    // node, puts Tim to where Bob was.
    let removed = people[4].commit(Change { remove: vec![1], ..Change::default() }, &all);
    people[4].accepted();
    people.remove(1);
    for person in &mut people[..3] {
        person.follow(&removed.commit, &all);
    }
    commit(&mut people, 1, Change::update());
    let added = commit(&mut people, 3, Change { add: vec![tim.package()], ..Change::default() });
    let refused = tim.try_join(&added).unwrap_err();
    assert!(refused.contains("unmerged_leaves"), "{refused}");
    // Nor can anybody else of theirs come in, before that node is filled anew by somebody below it.
    let (info, tree) = people[0].public();
    let credential = tom.credential();
    let asked = json!({"info": hex(&info), "tree": hex(&tree), "credential": hex(&credential)});
    let refused = tom.ask("external", asked).unwrap_err();
    assert!(refused.contains("unmerged_leaves"), "{refused}");
    commit(&mut people, 0, Change::update());
    let public = people[0].public();
    let joined = tom.start_external(&public, &credential, false);
    for person in &mut people {
        person.follow(&joined, &all);
    }
    tom.accepted();
    let ours: Vec<&Person> = people.iter().collect();
    agree(&ours, &mut [&mut tom]);
}

/// RFC 9420, 12.4.1: the commit secret follows on the last secret of the path. ts-mls goes on to the root first, also where the root is not on
/// the path because the other half of the tree is empty. So in a tree without leaves 0 and 1 it makes and follows no commit with a
/// path but its own kind's. It comes back by itself, to leaf 0.
#[test]
fn mls_3_independent_mls_peer_derives_one_secret_too_many_below_an_empty_half() {
    for suite in SUITES {
        let (mut ada, mut bob, mut cai) = (Person::new("ada", 1), Person::new("bob", 2), Person::new("cai", 3));
        let mut tim = Peer::new("tim", 11, suite);
        let all = list(&[&ada, &bob, &cai], &[&tim]);
        ada.create(&terms(suite));
        let add = vec![bob.package(suite), tim.package(), cai.package(suite)];
        let added = ada.commit(Change { add, ..Change::default() }, &all);
        ada.accepted();
        bob.join(&terms(suite), &added, &all);
        cai.join(&terms(suite), &added, &all);
        tim.join(&added);
        agree(&[&ada, &bob, &cai], &mut [&mut tim]);
        let removed = cai.commit(Change { remove: vec![0, 1], ..Change::default() }, &all);
        cai.accepted();
        let refused = tim.ask("receive", json!({"message": hex(&removed.commit)})).unwrap_err();
        assert!(refused.contains("Could not verify confirmation tag"), "{refused}");
        let credential = tim.credential();
        let again = tim.start_external(&(removed.group_info, removed.tree), &credential, true);
        cai.follow(&again, &all);
        tim.accepted();
        assert_eq!((tim.index(), cai.group().own_index()), (0, 3));
        agree(&[&cai], &mut [&mut tim]);
        let update = tim.commit(json!({}));
        cai.follow(&update.commit, &all);
        tim.accepted();
        agree(&[&cai], &mut [&mut tim]);
    }
}

/// Whoever is removed while somebody is added to the same place does not see it: ts-mls looks for its leaf, finds one, and takes it for its
/// own. It cannot follow all the same, and says that it does not know why.
#[test]
fn grp_5_independent_mls_peer_does_not_see_that_its_place_is_taken() {
    for suite in SUITES {
        let (mut ada, mut tim, _) = ada_and_tim(suite);
        let mut bob = Person::new("bob", 2);
        let all = list(&[&ada, &bob], &[&tim]);
        let change = Change { add: vec![bob.package(suite)], remove: vec![tim.index()], ..Change::default() };
        let swapped = ada.commit(change, &all);
        ada.accepted();
        let refused = tim.ask("receive", json!({"message": hex(&swapped.commit)})).unwrap_err();
        assert!(refused.contains("No overlap between provided private keys and update path"), "{refused}");
        bob.join(&terms(suite), &swapped, &all);
        agree(&[&ada, &bob], &mut []);
    }
}

/// `processMessage` of ts-mls looks up no pre-shared key for a private message, whatever it is given. The call for private messages does.
#[test]
fn mls_1_independent_mls_peer_forgets_pre_shared_keys_in_one_of_its_calls() {
    let (mut ada, mut tim, all) = ada_and_tim(Suite::X25519);
    let id = PskId::new(b"quorum 1").unwrap();
    let secret = Secret::filled_by(|out| out.fill(7));
    let writes = psk::register(&ada.store, &mut ada.rng, &id, &secret).unwrap();
    ada.write(writes);
    tim.get("psk", json!({"id": hex(id.as_bytes()), "secret": hex(&[7; 32])}));
    let mixed = ada.commit(Change { psks: vec![id], ..Change::default() }, &all);
    let refused = tim.ask("receive", json!({"message": hex(&mixed.commit), "whole": true})).unwrap_err();
    assert!(refused.contains("Could not find pskId"), "{refused}");
    assert!(tim.follow(&mixed.commit));
}
