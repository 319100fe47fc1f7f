//! What is right by RFC 9420, comes from an implementation that is right, and is refused: what groups of ours do not have.

use serde_json::{Value, json};
use undertone_groups::{
    Change, DeviceRef, Group, GroupId, JoinError, JudgeError, KeyPackage, KeyPackageError, ReceiveError, Received,
    Refused, Suite,
};
use undertone_keys::{JoinId, cbor};

use crate::peer::{Peer, TERMS, agree, bytes, envelope, hex, list, number, voucher};
use crate::world::{ID, List, NOW, Person, terms};
use crate::{SUITES, ada_and_tim, plain};

/// What our parser says of a key package with this credential.
fn parsed(tim: &mut Peer, credential: &[u8], suite: Suite) -> Option<KeyPackageError> {
    let made = tim.get("package", json!({"credential": hex(credential)}));
    KeyPackage::parse(&envelope(suite, &bytes(&made["message"])), suite, NOW).err()
}

#[test]
fn mls_1_independent_mls_peer_needs_a_device_that_vouches_for_its_leaf() {
    for suite in SUITES {
        let mut tim = Peer::new("tim", 11, suite);
        let good = tim.credential();
        assert_eq!(parsed(&mut tim, &good, suite), None);
        // A name, as others have it; and a statement about the key before.
        assert_eq!(parsed(&mut tim, b"tim", suite), Some(KeyPackageError::Credential));
        tim.draw(number(suite), false).unwrap();
        assert_eq!(parsed(&mut tim, &good, suite), Some(KeyPackageError::Credential));

        // Whose word it is shows where the directory is asked: by itself into the group, as in an Add.
        let (mut ada, _, _) = ada_and_tim(suite);
        let (eve, mut tom) = (Person::new("eve", 5), Peer::new("tom", 12, suite));
        let join = JoinId::from_bytes([9; 16]);
        let forged = voucher(&tom.person, &eve.identity, suite, &tom.key, join);
        let public = ada.public();
        let (all, without) = (list(&[&ada], &[&tom]), List::of(&[&ada]));
        let commit = tom.start_external(&public, &forged, false);
        assert_eq!(judged(&mut ada, &commit, &all), JudgeError::Refused(Refused::Unsigned(2)));
        let (stranger, tom_is) = (tom.credential(), tom.person.user.clone());
        let commit = tom.start_external(&public, &stranger, false);
        let nobody = DeviceRef { user: tom_is, device: tom.person.device() };
        assert_eq!(judged(&mut ada, &commit, &without), JudgeError::Refused(Refused::NotListed(nobody)));
        let commit = tom.start_external(&public, b"tom", false);
        assert_eq!(ada.receive_error(&commit), ReceiveError::Refused(Refused::Credential(2)));
    }
}

/// Why a commit is not merged that is sound in itself.
fn judged(person: &mut Person, commit: &[u8], list: &List) -> JudgeError {
    let group = Group::open(&person.store, ID).unwrap();
    let Received::Commit(staged) = group.receive(&mut person.rng, commit).unwrap() else { panic!("no commit") };
    staged.judge(&list.roll()).unwrap_err()
}

#[test]
fn mls_1_independent_mls_peer_may_not_propose_what_groups_of_ours_do_not_have() {
    for suite in SUITES {
        let (mut ada, mut tim, all) = ada_and_tim(suite);
        let refused = |ada: &mut Person, bytes: &[u8]| match ada.receive_error(bytes) {
            ReceiveError::Refused(refused) => refused,
            other => panic!("{other}"),
        };
        // A commit that everybody can read.
        let open = tim.commit(json!({"open": true}));
        assert_eq!(refused(&mut ada, &open.commit), Refused::Invalid);
        let mut bob = Person::new("bob", 2);
        let all_three = list(&[&ada, &bob], &[&tim]);
        let package = plain(&bob.package_bytes(suite), suite);
        let added = tim.commit(json!({"add": [hex(&package)]}));
        ada.follow(&added.commit, &all_three);
        tim.accepted();
        bob.join(&terms(suite), &added, &all_three);
        let index = bob.group().own_index();
        // Extensions of the group, be they the same: openmls refuses them already, as it wants them in required capabilities.
        let same = extension(TERMS, &cbor::encode(&terms(suite)));
        let changed = tim.commit(json!({"extensions": same, "remove": [index]}));
        assert_eq!(refused(&mut ada, &changed.commit), Refused::Invalid);
        // A proposal that stands alone; then a commit that refers to it.
        let alone = bytes(&tim.get("propose", json!({"removed": index}))["message"]);
        assert_eq!(refused(&mut ada, &alone), Refused::Proposal);
        let by_reference = tim.commit(json!({}));
        assert_eq!(refused(&mut ada, &by_reference.commit), Refused::Invalid);
        // None of it has changed anything.
        let update = ada.commit(Change::update(), &all);
        bob.follow(&update.commit, &all);
        assert!(tim.follow(&update.commit));
        ada.accepted();
        agree(&[&ada, &bob], &mut [&mut tim]);
    }
}

#[test]
fn neg_1_independent_mls_peer_makes_no_group_without_the_terms() {
    for suite in SUITES {
        let other = Suite::ALL.into_iter().find(|other| *other != suite).unwrap();
        let wrong: [(Value, [u8; 16], JoinError); 4] = [
            (json!([]), *ID.as_bytes(), Refused::Terms.into()),
            (extension(TERMS, &cbor::encode(&terms(other))), *ID.as_bytes(), Refused::Terms.into()),
            (extension(TERMS + 1, &cbor::encode(&terms(suite))), *ID.as_bytes(), Refused::Terms.into()),
            (extension(TERMS, &cbor::encode(&terms(suite))), [1; 16], JoinError::OtherGroup),
        ];
        for (extensions, id, error) in wrong {
            let (mut ada, mut tim) = (Person::new("ada", 1), Peer::without_a_key("tim", 11, suite));
            let drawn = json!({"suite": number(suite), "extensions": [TERMS, TERMS + 1]});
            tim.key = bytes(&tim.get("key", drawn)["key"]);
            let all = list(&[&ada], &[&tim]);
            let credential = tim.credential();
            tim.get("create", json!({"group": hex(&id), "credential": hex(&credential), "extensions": extensions}));
            // The library that adds ours looks at what ours can read, and one that does not look would be no peer.
            let package = plain(&ada.package_bytes(suite), suite);
            let Ok(_) = tim.ask("commit", json!({"add": [hex(&package)]})) else {
                assert_eq!(extensions[0]["type"], TERMS + 1);
                continue;
            };
            let added = tim.commit(json!({"add": [hex(&package)]}));
            let join = Group::join(
                &ada.store,
                &mut ada.rng,
                GroupId::from_bytes(*ID.as_bytes()),
                &terms(suite),
                added.welcome.as_deref().unwrap(),
                &added.tree,
                &all.roll(),
            );
            assert_eq!(join.unwrap_err(), error);
            tim.accepted();
            // Nor by oneself.
            let (info, tree) = tim.public();
            assert_eq!(ada.try_external(&terms(suite), &info, &tree, false, &[], &all).unwrap_err(), error);
        }
    }
}

fn extension(kind: u16, bytes: &[u8]) -> Value {
    json!([{"type": kind, "bytes": hex(bytes)}])
}

#[test]
fn neg_1_independent_mls_peer_shares_no_x_wing_with_us() {
    // Our third suite has no number that is agreed on: under the number that openmls gives it, ts-mls has ML-KEM-512.
    let mut ada = Person::new("ada", 1);
    let package = {
        let envelope = ada.package_bytes(Suite::XWing);
        plain(&envelope, Suite::XWing)
    };
    let mut tim = Peer::new("tim", 11, Suite::X25519);
    tim.create(&terms(Suite::X25519));
    assert!(tim.ask("commit", json!({"add": [hex(&package)]})).is_err());
    // And a package for one suite is for no other, whatever its envelope says.
    let credential = tim.credential();
    let made = bytes(&tim.get("package", json!({"credential": hex(&credential)}))["message"]);
    for suite in [Suite::P256, Suite::XWing] {
        assert_eq!(KeyPackage::parse(&envelope(suite, &made), suite, NOW).unwrap_err(), KeyPackageError::Suite);
    }
}
