use super::*;
use crate::WallTime;
use crate::agreement::{DeviceKey, SoftwareKey};
use crate::sign::Device;
use crate::testing::{SeededRng, let_in};

fn user(name: &str) -> UserId {
    UserId::parse(name, "localhost").unwrap()
}

fn record(rng: &mut SeededRng, name: &str) -> (SigningKey<Device>, DeviceRecord) {
    let (identity, agreement) = (SigningKey::generate(rng), SoftwareKey::generate(rng));
    let record =
        DeviceRecord::new(user(name), *identity.public(), *agreement.public(), WallTime::from_unix(1), "laptop".into());
    (identity, record)
}

#[test]
fn id_2_lists_grow_by_a_signed_chain() {
    let rng = &mut SeededRng::new(1);
    let account = SigningKey::generate(rng);
    let (key, laptop) = record(rng, "ada");
    let first = DeviceList::first(&account, &user("ada"), laptop.sign(&key)).unwrap();
    let (key2, phone) = record(rng, "ada");
    let phone = let_in(&key, phone);
    let second = first.with(&account, phone.sign(&key2)).unwrap();

    let read = ClaimedList::from_bytes(&second.to_bytes()).unwrap().verify(&user("ada")).unwrap();
    assert_eq!(read, second);
    assert_eq!(read.version(), 2);
    assert_eq!(read.active().count(), 2);
    assert_eq!(read.follows(&first), Ok(()));
    assert_eq!(first.follows(&second), Err(ListError::Chain));
    assert_eq!(read.follows(&read), Err(ListError::Chain));

    let other_account = SigningKey::generate(rng);
    let forged = first.with(&other_account, phone.sign(&key2)).unwrap();
    assert_eq!(forged.follows(&first), Err(ListError::Chain));
}

#[test]
fn id_6_the_account_key_alone_revokes_a_lost_device_for_good() {
    let rng = &mut SeededRng::new(2);
    let account = SigningKey::generate(rng);
    let (key, laptop) = record(rng, "ada");
    let (lost_key, lost) = record(rng, "ada");
    let lost = let_in(&key, lost);
    let first = DeviceList::first(&account, &user("ada"), laptop.sign(&key)).unwrap();
    let second = first.with(&account, lost.sign(&lost_key)).unwrap();
    let third = second.revoke(&account, lost.device).unwrap();
    assert_eq!(third.follows(&second), Ok(()));
    assert_eq!(third.records().len(), 2);
    assert!(third.device(lost.device).is_none() && third.is_revoked(lost.device));
    assert_eq!(third.revoke(&account, lost.device), Err(ListError::Records));

    // Neither the thief nor a later list brings it back.
    let mut renewed = lost;
    renewed.version = 2;
    let fourth = third.with(&account, renewed.sign(&lost_key)).unwrap();
    assert!(fourth.device(renewed.device).is_none());
    let undone = DeviceList::build(&account, &user("ada"), third.link(), third.body.records.clone(), Vec::new());
    assert_eq!(undone.unwrap().follows(&third), Err(ListError::Records));
    let dropped = DeviceList::build(&account, &user("ada"), second.link(), first.body.records.clone(), Vec::new());
    assert_eq!(dropped.unwrap().follows(&second), Err(ListError::Records));
}

#[test]
fn id_2_an_older_record_does_not_replace_a_newer_one() {
    let rng = &mut SeededRng::new(6);
    let account = SigningKey::generate(rng);
    let (key, mut laptop) = record(rng, "ada");
    let old = laptop.sign(&key);
    let first = DeviceList::first(&account, &user("ada"), old.clone()).unwrap();
    (laptop.version, laptop.label) = (2, "desk".into());
    let second = first.with(&account, laptop.sign(&key)).unwrap();
    assert_eq!(second.records()[0].label, "desk");
    assert_eq!(second.with(&account, old), Err(ListError::Records));
}

#[test]
fn id_2_a_list_of_another_user_or_with_a_foreign_record_is_refused() {
    let rng = &mut SeededRng::new(3);
    let account = SigningKey::generate(rng);
    let (key, laptop) = record(rng, "ada");
    let list = DeviceList::first(&account, &user("ada"), laptop.sign(&key)).unwrap();
    let claimed = ClaimedList::from_bytes(&list.to_bytes()).unwrap();
    assert_eq!(claimed.verify(&user("eve")), Err(ListError::User));
    assert_eq!(DeviceList::first(&account, &user("eve"), laptop.sign(&key)), Err(ListError::User));

    let (other_key, _) = record(rng, "ada");
    let stolen = laptop.sign(&other_key);
    assert_eq!(DeviceList::first(&account, &user("ada"), stolen), Err(ListError::Record(RecordError::Signature)));
    let mut renamed = laptop;
    renamed.device = DeviceId::from_bytes([1; 16]);
    assert_eq!(DeviceList::first(&account, &user("ada"), renamed.sign(&key)), Err(ListError::Record(RecordError::Id)));
}

#[test]
fn id_2_no_changed_byte_goes_unnoticed() {
    let rng = &mut SeededRng::new(4);
    let account = SigningKey::generate(rng);
    let (key, laptop) = record(rng, "ada");
    let bytes = DeviceList::first(&account, &user("ada"), laptop.sign(&key)).unwrap().to_bytes();
    let read = |bytes: &[u8]| ClaimedList::from_bytes(bytes).and_then(|claimed| claimed.verify(&user("ada")));
    assert!(read(&bytes).is_ok());
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        assert!(read(&changed).is_err(), "byte {i}");
        assert!(read(&bytes[..i]).is_err(), "cut at {i}");
    }
}

#[test]
fn id_2_possession_of_the_agreement_key_is_proven() {
    use crate::agreement::{EphemeralKey, possession_is_proven, prove_possession};
    let rng = &mut SeededRng::new(5);
    let (device, challenge) = (SoftwareKey::generate(rng), EphemeralKey::generate(rng));
    let mine = device.agree(challenge.public()).unwrap();
    let proof = prove_possession(&mine, challenge.public(), b"record");
    let theirs = challenge.agree(device.public()).unwrap();
    assert!(possession_is_proven(&theirs, challenge.public(), b"record", &proof));
    assert!(!possession_is_proven(&theirs, challenge.public(), b"Record", &proof));
    let stranger = challenge.agree(SoftwareKey::generate(rng).public()).unwrap();
    assert!(!possession_is_proven(&stranger, challenge.public(), b"record", &proof));
}

/// Whoever has the account key alone (a server that guessed the passphrase, a thief of it) cannot add a device that its
/// owner does not see: either one of theirs lets it in, or all of theirs are cut off.
#[test]
fn id_6_no_ghost_device_joins_by_the_account_key_alone() {
    let rng = &mut SeededRng::new(7);
    let account = SigningKey::generate(rng);
    let (key, laptop) = record(rng, "ada");
    let first = DeviceList::first(&account, &user("ada"), laptop.sign(&key)).unwrap();
    let (ghost_key, ghost) = record(rng, "ada");
    assert_eq!(first.with(&account, ghost.sign(&ghost_key)), Err(ListError::Consent));
    let unseen = || vec![laptop.sign(&key), ghost.sign(&ghost_key)];
    let forged = DeviceList::build(&account, &user("ada"), first.link(), unseen(), Vec::new()).unwrap();
    assert_eq!(forged.follows(&first), Err(ListError::Consent));

    // Its own word, a stranger's, and one about somebody else are no consent.
    let (stranger_key, stranger) = record(rng, "ada");
    let other = DeviceRecord { user: user("bob"), ..ghost.clone() };
    let forgeries = [
        let_in(&ghost_key, ghost.clone()),
        let_in(&stranger_key, ghost.clone()),
        DeviceRecord { consent: let_in(&key, stranger).consent, ..ghost.clone() },
        DeviceRecord { consent: let_in(&key, other).consent, ..ghost.clone() },
    ];
    for forged in forgeries {
        assert_eq!(first.with(&account, forged.sign(&ghost_key)), Err(ListError::Consent));
    }

    // Loudly it goes: the passphrase alone brings an account back whose devices are all lost.
    let alone = first.with_alone(&account, ghost.sign(&ghost_key)).unwrap();
    assert_eq!(alone.follows(&first), Ok(()));
    assert_eq!(alone.active().map(|record| record.device).collect::<Vec<_>>(), [ghost.device]);

    // A device that was revoked lets nobody in, whatever it signed before.
    let (late_key, late) = record(rng, "ada");
    assert_eq!(alone.with(&account, let_in(&key, late.clone()).sign(&late_key)), Err(ListError::Consent));
    let second = alone.with(&account, let_in(&ghost_key, late.clone()).sign(&late_key)).unwrap();
    assert_eq!(second.let_in_by(second.device(late.device).unwrap()), Some(ghost.device));
    let mut renewed = late;
    (renewed.version, renewed.label) = (2, "renamed".into());
    // Who let it in is not rewritten by a later record.
    assert_eq!(second.with(&account, renewed.sign(&late_key)), Err(ListError::Records));
    let renewed = let_in(&ghost_key, renewed);
    assert!(second.with(&account, renewed.sign(&late_key)).is_ok());
}

#[test]
fn id_7_an_account_begins_anew_by_a_list_of_its_own_kind_and_the_old_key_takes_it_back() {
    let rng = &mut SeededRng::new(8);
    let (old, new) = (SigningKey::generate(rng), SigningKey::generate(rng));
    let (key, laptop) = record(rng, "ada");
    let first = DeviceList::first(&old, &user("ada"), laptop.sign(&key)).unwrap();
    let (fresh_key, fresh) = record(rng, "ada");
    let announced = DeviceList::anew(&new, &first, fresh.sign(&fresh_key)).unwrap();
    assert_eq!((announced.version(), announced.begins_anew()), (2, Some(old.public())));
    assert_eq!(announced.follows(&first), Ok(()));
    let read = ClaimedList::from_bytes(&announced.to_bytes()).unwrap().verify(&user("ada"));
    assert_eq!(read.as_ref(), Ok(&announced));

    // The same under the old key, or with two devices, is none; nor does another key go on without saying so.
    assert_eq!(DeviceList::anew(&old, &first, fresh.sign(&fresh_key)), Err(ListError::Anew));
    let silent = DeviceList::build(&new, &user("ada"), first.link(), vec![fresh.sign(&fresh_key)], Vec::new()).unwrap();
    assert_eq!(silent.follows(&first), Err(ListError::Chain));
    let of_another = Link { anew: Some(*new.public()), ..first.link() };
    let (third_key, records) = (SigningKey::generate(rng), vec![fresh.sign(&fresh_key)]);
    let unrelated = DeviceList::build(&third_key, &user("ada"), of_another, records, Vec::new()).unwrap();
    assert_eq!(unrelated.follows(&first), Err(ListError::Chain));

    let kept = first.keep(&old, &announced).unwrap();
    assert_eq!((kept.keeps_on(&announced, &first), kept.version(), kept.begins_anew()), (Ok(()), 3, None));
    assert_eq!(kept.follows(&announced), Err(ListError::Chain));
    assert_eq!(first.keep(&new, &announced), Err(ListError::Chain));
    // A taking back changes nothing else.
    let (ghost_key, ghost) = record(rng, "ada");
    let records = vec![laptop.sign(&key), let_in(&key, ghost).sign(&ghost_key)];
    let more = DeviceList::build(&old, &user("ada"), announced.link(), records, Vec::new()).unwrap();
    assert_eq!(more.keeps_on(&announced, &first), Err(ListError::Chain));

    // Once it goes on under the new key, it is a chain like any other.
    let next = announced.revoke(&new, fresh.device).unwrap();
    assert_eq!(next.follows(&announced), Ok(()));
}
