use proptest::prelude::*;
use undertone_keys::Secret;

use super::*;
use crate::log::{leaf_hash, node_hash};

/// The example of C2SP tlog-cosignature.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeO\
    oRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWX\
    EhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn log_key() -> SigningKey<Server> {
    SigningKey::from_seed(Secret::take(&mut [1; 32]))
}

fn pinned() -> LogKey {
    LogKey::new(origin("example.org").unwrap(), *log_key().public())
}

fn signed(size: u64, root: Hash) -> SignedCheckpoint {
    Checkpoint { origin: origin("example.org").unwrap(), size, root }.sign(&log_key())
}

fn verified(size: u64, root: Hash) -> VerifiedCheckpoint {
    signed(size, root).verify(&pinned()).unwrap()
}

#[test]
fn kt_1_the_example_of_the_specification_is_read() {
    let signed = SignedCheckpoint::from_bytes(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(signed.claimed().origin.as_str(), "example.com/behind-the-sofa");
    assert_eq!(signed.claimed().size, 20_852_163);
    assert_eq!(signed.claimed().root[..4], [0x0a, 0xc5, 0x18, 0x6a]);
    assert_eq!(signed.note().signatures().len(), 2);
    assert_eq!(signed.to_bytes(), EXAMPLE.as_bytes());
    assert_eq!(signed.verify(&pinned()), Err(CheckpointError::Origin));
}

#[test]
fn kt_1_a_checkpoint_signed_by_another_implementation_verifies() {
    // Made with Python's `cryptography`: the log's seed is 32 bytes of 1, the witness's 32 bytes of 2.
    let bytes = include_bytes!("vector.txt");
    let key: LogKey =
        "example.org/undertone/directory+ed250455+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c".parse().unwrap();
    assert_eq!(key, pinned());
    let checkpoint = SignedCheckpoint::from_bytes(bytes).unwrap().verify(&key).unwrap();
    assert_eq!(checkpoint.size(), 20_852_163);
    // Ed25519 signs one text in one way.
    let mut ours = signed(checkpoint.size(), *checkpoint.root());
    ours.push(checkpoint.signed().note().signatures()[1].clone()).unwrap();
    assert_eq!(ours.to_bytes(), bytes);
}

#[test]
fn kt_1_only_the_pinned_key_of_this_log_signs_its_checkpoints() {
    let good = signed(5, [5; 32]);
    assert!(good.clone().verify(&pinned()).is_ok());
    let other_key =
        LogKey::new(origin("example.org").unwrap(), *SigningKey::from_seed(Secret::take(&mut [9; 32])).public());
    let missing = CheckpointError::Signature(BadNoteSignature::Missing);
    assert_eq!(good.clone().verify(&other_key), Err(missing));
    let other_log = LogKey::new(origin("example.net").unwrap(), *log_key().public());
    assert_eq!(good.clone().verify(&other_log), Err(CheckpointError::Origin));

    // Another text above the same signature line.
    let text = good.to_string();
    for (from, to) in [("\n5\n", "\n6\n"), ("BQUF", "BQUG")] {
        let bad = SignedCheckpoint::from_bytes(text.replacen(from, to, 1).as_bytes()).unwrap();
        assert_eq!(bad.verify(&pinned()), Err(CheckpointError::Signature(BadNoteSignature::Signature)));
    }
    let renamed = SignedCheckpoint::from_bytes(text.replace("example.org", "example.net").as_bytes()).unwrap();
    assert_eq!(renamed.verify(&other_log), Err(missing), "the key id depends on the name");
    // A line of the key's name and id whose signature is none.
    let mut spoiled = good;
    spoiled.push(pinned().line(&[0; 64])).unwrap();
    assert_eq!(spoiled.verify(&pinned()), Err(CheckpointError::Signature(BadNoteSignature::Signature)));
}

#[test]
fn kt_1_a_checkpoint_has_one_text() {
    let root = encode_base64(&[5; 32]);
    let text = format!("log.example/a\n5\n{root}\n");
    assert_eq!(Checkpoint::parse(&text).unwrap().to_string(), text);
    for bad in [
        String::new(),
        "\n".into(),
        "log.example/a\n5\n".into(),
        format!("log.example/a\n5\n{root}"),
        format!("log.example/a\n5\n{root}\n\n"),
        format!("log.example/a\n5\n{root}\nan extension line\n"),
        format!("\n5\n{root}\n"),
        format!("log example\n5\n{root}\n"),
        format!("log.example/a\n05\n{root}\n"),
        format!("log.example/a\n+5\n{root}\n"),
        format!("log.example/a\n-5\n{root}\n"),
        format!("log.example/a\n 5\n{root}\n"),
        format!("log.example/a\n\n{root}\n"),
        format!("log.example/a\n18446744073709551616\n{root}\n"),
        format!("log.example/a\n5\n{}\n", encode_base64(&[5; 31])),
        format!("log.example/a\n5\n{}\n", encode_base64(&[5; 33])),
        format!("log.example/a\n5\n{}\n", root.trim_end_matches('=')),
        format!("log.example/a\n5\n{root} \n"),
        format!("log.example/a\r\n5\r\n{root}\r\n"),
    ] {
        assert_eq!(Checkpoint::parse(&bad), Err(CheckpointError::Text), "{bad:?}");
    }
    assert!(Checkpoint::parse(&format!("log.example/a\n18446744073709551615\n{root}\n")).is_ok());
    assert_eq!(Checkpoint::parse(&format!("log.example/a\n0\n{root}\n")), Err(CheckpointError::EmptyRoot));
    assert!(Checkpoint::parse(&format!("log.example/a\n0\n{}\n", encode_base64(&EMPTY_ROOT))).is_ok());
    assert_eq!(SignedCheckpoint::from_bytes(b"x"), Err(CheckpointError::Note(BadNote::Unsigned)));
}

#[test]
fn kt_1_the_longest_domain_has_an_origin() {
    assert_eq!(origin("example.org").unwrap().as_str(), "example.org/undertone/directory");
    assert!(origin(&"d".repeat(253)).is_ok());
    assert_eq!(origin("two words"), Err(BadName));
}

#[test]
fn kt_4_a_larger_tree_with_a_proof_follows() {
    let leaves = [leaf_hash(b"0"), leaf_hash(b"1")];
    let (one, two) = (verified(1, leaves[0]), verified(2, node_hash(&leaves[0], &leaves[1])));
    assert_eq!(two.follows(&one, &[leaves[1]]), Ok(()));
    assert_eq!(two.follows(&two, &[]), Ok(()));
    assert_eq!(two.follows(&verified(0, EMPTY_ROOT), &[]), Ok(()));
}

#[test]
fn kt_4_a_smaller_size_is_refused() {
    let (one, two) = (verified(1, [1; 32]), verified(2, [2; 32]));
    assert_eq!(one.follows(&two, &[]), Err(NotFollowing::SmallerSize { known: 2, shown: 1 }));
    let nothing = verified(0, EMPTY_ROOT);
    assert_eq!(nothing.follows(&one, &[]), Err(NotFollowing::SmallerSize { known: 1, shown: 0 }));
}

#[test]
fn kt_4_the_same_size_with_another_root_is_refused() {
    let (one, other) = (verified(7, [1; 32]), verified(7, [2; 32]));
    for proof in [&[][..], &[[1; 32]]] {
        assert_eq!(one.follows(&other, proof), Err(NotFollowing::SameSizeOtherRoot { size: 7 }));
    }
}

#[test]
fn kt_4_a_larger_tree_without_a_proof_is_refused() {
    let leaves = [leaf_hash(b"0"), leaf_hash(b"1")];
    let (one, two) = (verified(1, leaves[0]), verified(2, node_hash(&leaves[0], &leaves[1])));
    let refused = |proof| Err(NotFollowing::NotConsistent { known: 1, shown: 2, proof });
    assert_eq!(two.follows(&one, &[]), refused(BadProof::Length));
    assert_eq!(two.follows(&one, &[leaves[0]]), refused(BadProof::Root));
    assert_eq!(two.follows(&one, &[leaves[1], leaves[1]]), refused(BadProof::Length));
    assert_eq!(two.follows(&verified(1, leaves[1]), &[leaves[1]]), refused(BadProof::Root));
    let same = Err(NotFollowing::NotConsistent { known: 2, shown: 2, proof: BadProof::Length });
    assert_eq!(two.follows(&two, &[leaves[1]]), same);
}

#[test]
fn kt_4_two_logs_are_not_compared() {
    let key = log_key();
    let name = origin("example.net").unwrap();
    let other = Checkpoint { origin: name.clone(), size: 1, root: [1; 32] }.sign(&key);
    let other = other.verify(&LogKey::new(name, *key.public())).unwrap();
    assert_eq!(verified(2, [2; 32]).follows(&other, &[]), Err(NotFollowing::OtherLog));
}

proptest! {
    #[test]
    fn kt_1_a_checkpoint_is_read_as_it_was_signed(size in 1_u64.., root: Hash) {
        let signed = signed(size, root);
        prop_assert_eq!(SignedCheckpoint::from_bytes(&signed.to_bytes()), Ok(signed.clone()));
        let verified = signed.verify(&pinned()).unwrap();
        prop_assert_eq!((verified.size(), *verified.root()), (size, root));
    }

    #[test]
    fn kt_1_no_byte_of_a_checkpoint_can_be_changed(place in 0_usize..1_000, bit in 0_u8..8) {
        let mut bytes = signed(12_345, [5; 32]).to_bytes();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        let verified = SignedCheckpoint::from_bytes(&bytes).and_then(|signed| signed.verify(&pinned()));
        prop_assert!(verified.is_err());
    }
}
