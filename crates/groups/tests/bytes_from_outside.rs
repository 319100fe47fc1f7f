//! Whatever comes from outside is answered: replayed, forged, cut short, too large, or nothing at all. And it changes nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod world;

use proptest::prelude::*;
use undertone_groups::{
    Blame, Broken, Change, CommitError, Group, JoinError, KeyPackage, KeyPackageError, Protection, ReceiveError,
    Refused, Store, StoreError, Suite, Terms, limits,
};
use undertone_keys::WallTime;
use world::{ID, List, NOW, Person, agree, terms, three};
use zeroize::Zeroizing;

#[test]
fn mls_1_a_message_opens_once() {
    let (mut ada, mut bob, _, _) = three(Suite::X25519);
    let sealed = ada.seal(b"once");
    // Received and not committed, it opens again; committed, it does not.
    {
        let group = Group::open(&bob.store, ID).unwrap();
        group.receive(&mut bob.rng, &sealed).unwrap();
    }
    assert_eq!(bob.open(&sealed).1, b"once");
    assert_eq!(bob.receive_error(&sealed), ReceiveError::Replayed);
    // Out of order, and each once.
    let sealed: Vec<_> = (0..4).map(|i| ada.seal(&[i])).collect();
    for i in [3, 0, 2, 1] {
        assert_eq!(bob.open(&sealed[i]).1, [u8::try_from(i).unwrap()]);
        assert_eq!(bob.receive_error(&sealed[i]), ReceiveError::Replayed);
    }
}

#[test]
fn mls_1_what_is_forged_does_not_verify() {
    let (mut ada, mut bob, cai, list) = three(Suite::X25519);
    for bytes in [ada.seal(b"hello"), ada.commit(Change::update(), &list).commit] {
        let mut forged = bytes.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(bob.receive_error(&forged), ReceiveError::Refused(Refused::Invalid));
        assert_eq!(bob.receive_error(&bytes[..bytes.len() - 1]), ReceiveError::Malformed);
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(bob.receive_error(&longer), ReceiveError::Malformed);
    }
    agree(&[&bob, &cai]);
}

#[test]
fn dos_1_what_is_too_large_is_not_looked_at() {
    let (mut ada, mut bob, _, list) = three(Suite::X25519);
    assert_eq!(bob.receive_error(&vec![0; limits::COMMIT + 1]), ReceiveError::TooLarge);
    assert_eq!(ReceiveError::TooLarge.blame(), Blame::Malformed);
    let error = KeyPackage::parse(&vec![0; limits::KEY_PACKAGE + 1], Suite::X25519, NOW).unwrap_err();
    assert_eq!(error, KeyPackageError::TooLarge);
    let (info, tree) = ada.public();
    let mut dan = Person::new("dan", 4);
    let (suite, large) = (terms(Suite::X25519), vec![0; limits::TREE + 1]);
    assert_eq!(dan.try_external(&suite, &info, &large, false, &[], &list).unwrap_err(), JoinError::TooLarge);
    let large = vec![0; limits::GROUP_INFO + 1];
    assert_eq!(dan.try_external(&suite, &large, &tree, false, &[], &list).unwrap_err(), JoinError::TooLarge);
    let large = vec![0; limits::WELCOME + 1];
    let error = Group::join(&dan.store, &mut dan.rng, ID, &suite, &large, &tree, &list.roll()).unwrap_err();
    assert_eq!(error, JoinError::TooLarge);
    let error = Group::open(&ada.store, ID).unwrap().seal(&mut ada.rng, &vec![0; limits::MESSAGE + 1]).unwrap_err();
    assert_eq!(error, undertone_groups::SealError::TooLarge);
}

#[test]
fn mls_1_a_welcome_is_for_one_key_package_and_one_group() {
    let (mut ada, mut dan, mut eve) = (Person::new("ada", 1), Person::new("dan", 4), Person::new("eve", 5));
    let list = List::of(&[&ada, &dan, &eve]);
    let suite = terms(Suite::X25519);
    ada.create(&suite);
    let upload = ada.commit(Change { add: vec![dan.package(Suite::X25519)], ..Change::default() }, &list);
    ada.accepted();
    let welcome = upload.welcome.as_deref().unwrap();
    let join = |person: &mut Person, terms: &Terms, welcome: &[u8], tree: &[u8], list: &List| {
        Group::join(&person.store, &mut person.rng, ID, terms, welcome, tree, &list.roll()).unwrap_err()
    };
    assert_eq!(join(&mut eve, &suite, welcome, &upload.tree, &list), JoinError::NoKeyPackage);
    assert_eq!(join(&mut dan, &suite, welcome, &[], &list), JoinError::Malformed);
    assert_eq!(join(&mut dan, &suite, b"welcome", &upload.tree, &list), JoinError::Malformed);
    assert_eq!(join(&mut dan, &suite, &upload.commit, &upload.tree, &list), JoinError::Malformed);
    let others = Terms::new(Protection::Hop, Suite::X25519, false);
    assert_eq!(join(&mut dan, &others, welcome, &upload.tree, &list), JoinError::Refused(Refused::Terms));
    let others = terms(Suite::P256);
    assert_eq!(join(&mut dan, &others, welcome, &upload.tree, &list), JoinError::Refused(Refused::Suite));
    let without = List::of(&[&dan]);
    let device = undertone_groups::DeviceRef { user: ada.user.clone(), device: ada.device() };
    assert_eq!(join(&mut dan, &suite, welcome, &upload.tree, &without), JoinError::Refused(Refused::NotListed(device)));
    // After all of that, it is as good as it was.
    dan.join(&suite, &upload, &list);
    agree(&[&ada, &dan]);
}

#[test]
fn neg_1_a_key_package_is_for_one_suite_and_for_a_while() {
    let mut bob = Person::new("bob", 2);
    let bytes = bob.package_bytes(Suite::X25519);
    let parse = |bytes: &[u8], suite, now| KeyPackage::parse(bytes, suite, now).map(|package| package.device());
    let device = undertone_groups::DeviceRef { user: bob.user.clone(), device: bob.device() };
    assert_eq!(parse(&bytes, Suite::X25519, NOW), Ok(device.clone()));
    assert_eq!(parse(&bytes, Suite::XWing, NOW), Err(KeyPackageError::Suite));
    // Named X-Wing in the envelope alone.
    let mut renamed = bytes.clone();
    let at = renamed.iter().position(|byte| *byte == 2).unwrap();
    renamed[at] = 3;
    assert!(parse(&renamed, Suite::XWing, NOW).is_err());
    let later = NOW.plus(limits::KEY_PACKAGE_LIFE);
    assert_eq!(parse(&bytes, Suite::X25519, later), Ok(device));
    let later = later.plus(limits::CLOCK_SKEW + 1);
    assert_eq!(parse(&bytes, Suite::X25519, later), Err(KeyPackageError::Expired));
    let before = WallTime::from_unix(NOW.as_unix() - limits::CLOCK_SKEW - 1);
    assert_eq!(parse(&bytes, Suite::X25519, before), Err(KeyPackageError::Expired));
    let mut forged = bytes;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(parse(&forged, Suite::X25519, NOW), Err(KeyPackageError::Invalid));
}

#[test]
fn sto_2_a_store_of_another_format_is_not_opened() {
    let entry = |key: &[u8], value: &[u8]| (key.to_vec(), Zeroizing::new(value.to_vec()));
    assert!(Store::load([]).is_ok());
    assert_eq!(Store::load([entry(b"format", b"\x01openmls 0.8.0")]).unwrap_err(), StoreError::Format);
    assert_eq!(Store::load([entry(b"own\0", b"")]).unwrap_err(), StoreError::Format);
    let (ada, ..) = three(Suite::X25519);
    // Any value may be damaged: it says so, and does not panic.
    for key in ada.disk.keys().filter(|key| *key != b"format") {
        let mut disk = ada.disk.clone();
        disk.insert(key.clone(), vec![0xff; 3]);
        let store = world::load(&disk);
        match Group::open(&store, ID) {
            Ok(_) | Err(undertone_groups::OpenError::Broken(Broken::Store(StoreError::Damaged))) => {}
            Err(other) => panic!("{other:?}"),
        }
        let _ = undertone_groups::waiting(&store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn mls_1_garbage_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..512), at in any::<prop::sample::Index>()) {
        let (mut ada, mut bob, _, list) = three(Suite::X25519);
        let upload = ada.commit(Change::update(), &list);
        let (info, tree) = bob.public();
        let mut dan = Person::new("dan", 4);
        let package = dan.package_bytes(Suite::X25519);
        for good in [upload.commit.clone(), upload.group_info, tree.clone(), info.clone(), package] {
            // Spliced into something that is right.
            let cut = at.index(good.len());
            let mut bad = good.clone();
            for (byte, new) in bad[cut..].iter_mut().zip(&bytes) {
                *byte = *new;
            }
            for bytes in [&bytes, &bad] {
                let group = Group::open(&bob.store, ID).unwrap();
                if group.receive(&mut bob.rng, bytes).is_ok() {
                    prop_assert_eq!(bytes, &upload.commit);
                }
                let _ = KeyPackage::parse(bytes, Suite::X25519, NOW);
                let suite = terms(Suite::X25519);
                let _ = dan.try_external(&suite, bytes, &tree, false, &[], &list);
                let _ = dan.try_external(&suite, &info, bytes, false, &[], &list);
                let _ = Group::join(&dan.store, &mut dan.rng, ID, &suite, bytes, &tree, &list.roll());
            }
        }
        bob.follow(&upload.commit, &list);
        ada.accepted();
        agree(&[&ada, &bob]);
    }
}

/// Rule DOS-1: what the delivery service would refuse for its size is not made, and fewer at once are.
#[test]
fn dos_1_a_commit_that_is_too_large_for_the_service_is_not_made() {
    let suite = Suite::XWing;
    let mut ada = Person::new("ada", 1);
    let mut others: Vec<Person> = (0..104).map(|n| Person::new(&format!("p{n}"), 100 + n)).collect();
    let list = List::of(&core::iter::once(&ada).chain(&others).collect::<Vec<_>>());
    ada.create(&terms(suite));
    let mut packages: Vec<_> = others.iter_mut().map(|person| person.package(suite)).collect();
    let rest = packages.split_off(40);
    ada.commit(Change { add: packages, ..Change::default() }, &list);
    ada.accepted();
    let many = Change { add: rest.clone(), ..Change::default() };
    let error = Group::open(&ada.store, ID).unwrap().commit(&mut ada.rng, many, &list.roll()).unwrap_err();
    assert_eq!(error, CommitError::TooLarge);
    assert!(ada.group().pending().unwrap().is_none(), "nothing of it is kept");
    let few = Change { add: rest.into_iter().take(20).collect(), ..Change::default() };
    let upload = ada.commit(few, &list);
    assert!(upload.commit.len() <= limits::COMMIT && upload.welcome.unwrap().len() <= limits::WELCOME);
}
