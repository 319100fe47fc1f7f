use undertone_keys::Secret;
use undertone_keys::sign::{Server, VerifyingKey};

use super::*;
use crate::checkpoint::{Checkpoint, SignedCheckpoint, origin};
use crate::log::Hash;
use crate::note::LogKey;

fn log_key() -> SigningKey<Server> {
    SigningKey::from_seed(Secret::take(&mut [1; 32]))
}

fn witness_key() -> SigningKey<Witness> {
    SigningKey::from_seed(Secret::take(&mut [2; 32]))
}

fn checkpoint(size: u64, root: Hash) -> VerifiedCheckpoint {
    let origin = origin("example.org").unwrap();
    let pinned = LogKey::new(origin.clone(), *log_key().public());
    Checkpoint { origin, size, root }.sign(&log_key()).verify(&pinned).unwrap()
}

fn at(time: u64) -> WallTime {
    WallTime::from_unix(time)
}

#[test]
fn kt_2_a_cosignature_by_another_implementation_verifies() {
    let signed = SignedCheckpoint::from_bytes(include_bytes!("../checkpoint/vector.txt")).unwrap();
    let pinned = LogKey::new(origin("example.org").unwrap(), *log_key().public());
    let checkpoint = signed.verify(&pinned).unwrap();
    let key: WitnessKey =
        "witness.example.com/w1+745fb5e8+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU".parse().unwrap();
    let line = &checkpoint.signed().note().signatures()[1];
    assert!(key.is_named(line));
    let cosignature = Cosignature::from_bytes(&line.bytes).unwrap();
    assert_eq!(cosignature.time(), at(1_679_315_147));
    assert_eq!(cosignature.verify(&checkpoint, key.key()), Ok(()));
    // And the same one comes of our own signing.
    let ours = Cosignature::sign(&checkpoint, &witness_key(), at(1_679_315_147)).unwrap();
    assert_eq!(ours.line(&key), *line);
}

#[test]
fn kt_2_the_message_is_that_of_the_specification() {
    let message = message(&checkpoint(20_852_163, [0; 32]), at(1_679_315_147));
    let expected = "cosignature/v1\ntime 1679315147\nexample.org/undertone/directory\n20852163\n\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    assert_eq!(message, expected.as_bytes());
}

#[test]
fn kt_2_a_cosignature_is_for_one_checkpoint_one_time_and_one_witness() {
    let (seen, other) = (checkpoint(5, [5; 32]), checkpoint(6, [5; 32]));
    let key = *witness_key().public();
    let cosignature = Cosignature::sign(&seen, &witness_key(), at(1_000)).unwrap();
    assert_eq!(cosignature.verify(&seen, &key), Ok(()));
    assert_eq!(cosignature.verify(&other, &key), Err(BadCosignature::Signature));
    let stranger =
        VerifyingKey::from_bytes(*SigningKey::<Witness>::from_seed(Secret::take(&mut [9; 32])).public().as_bytes());
    assert_eq!(cosignature.verify(&seen, &stranger), Err(BadCosignature::Signature));
    let bytes = cosignature.to_bytes();
    assert_eq!(bytes.len(), LENGTH);
    for place in 7..LENGTH {
        let mut bad = bytes.clone();
        bad[place] ^= 1;
        let verdict = Cosignature::from_bytes(&bad).and_then(|bad| bad.verify(&seen, &key));
        assert_eq!(verdict, Err(BadCosignature::Signature), "{place}");
    }
}

#[test]
fn kt_2_a_plain_signature_of_the_witness_is_no_cosignature() {
    let seen = checkpoint(5, [5; 32]);
    let plain = witness_key().sign_note(seen.text().as_bytes());
    let bytes = [&1_000_u64.to_be_bytes(), plain.as_bytes().as_slice()].concat();
    let cosignature = Cosignature::from_bytes(&bytes).unwrap();
    assert_eq!(cosignature.verify(&seen, witness_key().public()), Err(BadCosignature::Signature));
}

#[test]
fn kt_2_malformed_cosignatures_are_refused() {
    let bytes = Cosignature::sign(&checkpoint(5, [5; 32]), &witness_key(), at(1_000)).unwrap().to_bytes();
    for bad in [&bytes[..71], &bytes[..64], &bytes[..7], &[], &[bytes.as_slice(), &[0]].concat()] {
        assert_eq!(Cosignature::from_bytes(bad), Err(BadCosignature::Malformed));
    }
    for time in [0, 1 << 63, u64::MAX] {
        let mut bad = bytes.clone();
        bad[..8].copy_from_slice(&time.to_be_bytes());
        assert_eq!(Cosignature::from_bytes(&bad), Err(BadCosignature::Time));
        let signed = Cosignature::sign(&checkpoint(5, [5; 32]), &witness_key(), at(time));
        assert_eq!(signed, Err(BadCosignature::Time));
    }
    assert!(Cosignature::sign(&checkpoint(5, [5; 32]), &witness_key(), at(MAX_TIME)).is_ok());
}
