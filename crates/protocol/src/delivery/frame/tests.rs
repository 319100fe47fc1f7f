use proptest::prelude::*;
use undertone_keys::CallId;

use super::super::testing;
use super::*;

const CALL: CallId = CallId::from_bytes([7; 16]);

#[test]
fn rly_6_a_private_commit_shows_its_group_and_epoch() {
    // PrivateMessage, written out: version, wire format, group id, epoch, content type, authenticated data, sender data, ciphertext.
    let bytes =
        [&[0, 1, 0, 2, 3, b'a', b'b', b'c', 0, 0, 0, 0, 0, 0, 1, 2, 3][..], &[2, 9, 9, 1, 8, 0x40, 0x41], &[5; 65]]
            .concat();
    assert_eq!(CommitFrame::read(&bytes), Ok(CommitFrame { group: b"abc", epoch: 258, external: false }));
    assert_eq!(
        CommitFrame::read(&[bytes.as_slice(), &[0]].concat()),
        Err(FrameError::Malformed),
        "something behind it"
    );
    for cut in 0..bytes.len() {
        assert_eq!(CommitFrame::read(&bytes[..cut]), Err(FrameError::Malformed), "{cut}");
    }
    assert_eq!(testing::private(b"abc", 258, 3, &[5; 65]).len(), bytes.len() + 28 - 1 - 2);
}

#[test]
fn rly_6_nothing_but_a_commit_is_a_commit() {
    let group = CALL.as_bytes();
    let read = |bytes: &[u8]| CommitFrame::read(bytes).map(|frame| frame.external);
    assert_eq!(read(&testing::private(group, 1, 3, &[1])), Ok(false));
    assert_eq!(read(&testing::public(group, 1, 4, 3, &[1])), Ok(true));
    for other in [
        testing::private(group, 1, 1, &[1]),
        testing::private(group, 1, 2, &[1]),
        testing::private(group, 1, 9, &[1]),
        testing::public(group, 1, 1, 1, &[1]),
        testing::public(group, 1, 3, 2, &[1]),
        testing::public(group, 1, 2, 2, &[1]),
        testing::welcome(&[1]),
        testing::key_package(1),
        testing::group_info(&CALL, 1, &testing::tree(1, 1), &[]),
    ] {
        assert_eq!(read(&other), Err(FrameError::Kind), "{other:?}");
    }
    // "Handshake messages are private messages wherever the protocol allows": who is in could have sealed it.
    for sender in [1, 2, 3] {
        assert_eq!(read(&testing::public(group, 1, sender, 3, &[1])), Err(FrameError::NotPrivate));
    }
    assert_eq!(read(&testing::public(group, 1, 5, 3, &[1])), Err(FrameError::Malformed));
    let mut other = testing::commit(&CALL, 1, &[1]);
    other[1] = 2;
    assert_eq!(read(&other), Err(FrameError::Version));
}

#[test]
fn mls_3_the_digest_is_of_context_and_confirmation_tag_and_nothing_else() {
    let tree = testing::tree(3, 1);
    let bytes = testing::group_info(&CALL, 5, &tree, &[1]);
    let info = InfoFrame::read(&bytes).unwrap();
    assert_eq!((info.group, info.epoch, info.suite), (&CALL.as_bytes()[..], 5, testing::SUITE));
    assert_eq!(info.tree_hash, super::super::TreeHashes::of(&tree).root());
    let context = testing::context(CALL.as_bytes(), 5, info.tree_hash, &[1]);
    assert_eq!(info.context, context);
    assert_eq!(info.digest(), epoch_digest(&context, &[9; 32]), "a member computes it without a GroupInfo");
    // Signer and signature are of whoever made it.
    let mut signed = bytes.clone();
    *signed.last_mut().unwrap() ^= 1;
    assert_eq!(InfoFrame::read(&signed).unwrap().digest(), info.digest());
    let other = testing::group_info(&CALL, 5, &tree, &[2]);
    assert_ne!(InfoFrame::read(&other).unwrap().digest(), info.digest());
    assert_ne!(epoch_digest(&context, &[8; 32]), info.digest());
    assert_eq!(InfoFrame::read(&testing::welcome(&[1])), Err(FrameError::Kind));
    for cut in 0..bytes.len() {
        assert_eq!(InfoFrame::read(&bytes[..cut]), Err(FrameError::Malformed));
    }
}

#[test]
fn mls_1_welcomes_and_key_packages_name_their_suite() {
    assert_eq!(welcome_suite(&testing::welcome(&[1; 300])), Ok(testing::SUITE));
    assert_eq!(key_package_suite(&testing::key_package(1)), Ok(testing::SUITE));
    assert_eq!(welcome_suite(&testing::key_package(1)), Err(FrameError::Kind));
    assert_eq!(key_package_suite(&testing::welcome(&[1])), Err(FrameError::Kind));
    for bytes in [testing::welcome(&[1]), testing::key_package(1)] {
        for cut in 0..bytes.len() {
            let cut = &bytes[..cut];
            assert_eq!((welcome_suite(cut).is_ok(), key_package_suite(cut).is_ok()), (false, false));
        }
    }
}

proptest! {
    #[test]
    fn rly_6_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 1_u8..6) {
        let bytes = [&[0, 1, 0, kind], bytes.as_slice()].concat();
        let _ = CommitFrame::read(&bytes);
        let _ = InfoFrame::read(&bytes);
        let _ = welcome_suite(&bytes);
        let _ = key_package_suite(&bytes);
    }

    #[test]
    fn rly_6_what_is_written_is_read(group in proptest::collection::vec(any::<u8>(), 0..100), epoch: u64, inside in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        for (bytes, external) in [
            (testing::private(&group, epoch, 3, &inside), false),
            (testing::public(&group, epoch, 4, 3, &inside), true),
        ] {
            prop_assert_eq!(CommitFrame::read(&bytes), Ok(CommitFrame { group: &group, epoch, external }));
        }
    }
}
