//! `foreign_leaf_is_refused`: what MLS allows and MLS-1, MLS-2 and NEG-1 do not. Mallory is the library without the wall.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod mallory;
mod world;

use mallory::{Key, Mallory, SUITE, capabilities};
use openmls::credentials::NewSignerBundle;
use openmls::extensions::{Extension, Extensions, UnknownExtension};
use openmls::framing::MlsMessageOut;
use openmls::key_packages::KeyPackage as MlsKeyPackage;
use openmls::messages::external_proposals::JoinProposal;
use openmls::prelude::{Capabilities, ExtensionType, LeafNodeIndex, LeafNodeParameters};
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::signatures::Signer as _;
use undertone_groups::{
    Blame, DeviceRef, Group, JudgeError, KeyPackage, KeyPackageError, Protection, PskId, ReceiveError, Received,
    Refused, Standing, Suite, Terms, psk,
};
use undertone_keys::{DeviceId, JoinId, UserId};
use world::{ID, List, NOW, Person, agree, three};

const JOIN: JoinId = JoinId::from_bytes([9; 16]);

/// What a member says to a commit before anybody is asked.
fn refusal(member: &mut Person, commit: &[u8]) -> Refused {
    match member.receive_error(commit) {
        ReceiveError::Refused(refused) => refused,
        other => panic!("{other:?}"),
    }
}

/// What a member says to a commit that can be taken apart.
fn judgement(member: &mut Person, commit: &[u8], roll: impl Fn(&UserId, &DeviceId) -> Standing) -> JudgeError {
    let group = Group::open(&member.store, ID).unwrap();
    let Received::Commit(staged) = group.receive(&mut member.rng, commit).unwrap() else { panic!("no commit") };
    staged.judge(&roll).unwrap_err()
}

/// Mallory inside, as a member who was let in by the rules.
fn inside() -> (Person, Person, Person, Mallory, List) {
    let (mut ada, mut bob, cai, _) = three(Suite::X25519);
    let eve = Person::new("eve", 66);
    let list = List::of(&[&ada, &bob, &cai, &eve]);
    let (info, tree) = ada.public();
    let key = Key::draw();
    let credential = key.credential(&eve, &eve.identity, JOIN);
    let (mallory, commit) = Mallory::join(&info, &tree, key, credential);
    ada.follow(&commit, &list);
    bob.follow(&commit, &list);
    (ada, bob, eve, mallory, list)
}

#[test]
fn mls_1_foreign_leaf_is_refused_without_a_credential_of_ours() {
    let (mut ada, ..) = three(Suite::X25519);
    let (info, tree) = ada.public();
    let key = Key::draw();
    let (_, commit) = Mallory::join(&info, &tree, key.clone(), key.with(b"ada@localhost".to_vec()));
    assert_eq!(refusal(&mut ada, &commit), Refused::Credential(3));
    // Ada's own statement, which is about another key.
    let other = Key::draw().credential(&ada, &ada.identity, JOIN);
    let stolen = key.with(other.credential.serialized_content().to_vec());
    let (_, commit) = Mallory::join(&info, &tree, key, stolen);
    assert_eq!(refusal(&mut ada, &commit), Refused::Credential(3));
    assert_eq!(Refused::Credential(3).to_string(), "MLS-1: the credential of leaf 3 does not vouch for its key");
}

#[test]
fn mls_1_foreign_leaf_is_refused_when_its_device_did_not_sign() {
    let (mut ada, _, _, list) = three(Suite::X25519);
    let (info, tree) = ada.public();
    let (key, eve) = (Key::draw(), Person::new("eve", 66));
    let (_, commit) = Mallory::join(&info, &tree, key.clone(), key.credential(&ada, &eve.identity, JOIN));
    let said = judgement(&mut ada, &commit, list.roll());
    assert_eq!(said, JudgeError::Refused(Refused::Unsigned(3)));
    assert_eq!(said.blame(), Blame::PeerMisbehaved);
}

#[test]
fn mls_1_foreign_leaf_is_refused_when_it_is_not_on_the_list() {
    let (mut ada, _, _, list) = three(Suite::X25519);
    let (info, tree) = ada.public();
    let (key, eve) = (Key::draw(), Person::new("eve", 66));
    let (_, commit) = Mallory::join(&info, &tree, key.clone(), key.credential(&eve, &eve.identity, JOIN));
    let device = DeviceRef { user: eve.user.clone(), device: eve.device() };
    let said = judgement(&mut ada, &commit, list.roll());
    assert_eq!(said, JudgeError::Refused(Refused::NotListed(device.clone())));
    // Before she is looked up, it says whom to look up; then the same bytes are judged again.
    let said = judgement(&mut ada, &commit, |_, _| Standing::Unknown);
    assert_eq!(said, JudgeError::Needs(vec![device]));
    let known = *eve.identity.public();
    let group = Group::open(&ada.store, ID).unwrap();
    let Received::Commit(staged) = group.receive(&mut ada.rng, &commit).unwrap() else { panic!("no commit") };
    staged.judge(&move |_: &UserId, _: &DeviceId| Standing::Listed(known)).unwrap();
}

#[test]
fn mls_2_foreign_leaf_is_refused_over_somebody_elses() {
    // Bob hands the key of his leaf to Eve, whose device vouches for it: MLS takes that for Bob coming back.
    let (mut ada, mut bob, _, mallory, list) = inside();
    let fay = Person::new("fay", 67);
    let (info, tree) = ada.public();
    let credential = mallory.key.credential(&fay, &fay.identity, JoinId::from_bytes([8; 16]));
    let (_, commit) = Mallory::join(&info, &tree, mallory.key.clone(), credential);
    assert_eq!(refusal(&mut ada, &commit), Refused::RemovesOther(3));
    assert_eq!(refusal(&mut bob, &commit), Refused::RemovesOther(3));
    let _ = list;
}

#[test]
fn mls_1_foreign_leaf_is_refused_behind_the_same_credential() {
    let (mut ada, mut bob, _, mut mallory, list) = inside();
    let credential = mallory.group.credential().unwrap().clone();
    let other = Key::draw();
    let swapped = NewSignerBundle {
        signer: &other,
        credential_with_key: openmls::credentials::CredentialWithKey {
            credential,
            signature_key: other.public.clone().into(),
        },
    };
    let bundle = mallory
        .group
        .self_update_with_new_signer(&mallory.provider, &mallory.key, swapped, LeafNodeParameters::default())
        .unwrap();
    let commit = bundle.into_contents().0.to_bytes().unwrap();
    assert_eq!(refusal(&mut ada, &commit), Refused::Credential(3));
    // Nothing has come of it, and whoever refuses can be told the same again.
    assert_eq!(refusal(&mut ada, &commit), Refused::Credential(3));
    agree(&[&ada, &bob]);
    let upload = ada.commit(undertone_groups::Change { remove: vec![3], ..Default::default() }, &list);
    bob.follow(&upload.commit, &list);
}

#[test]
fn mls_1_foreign_leaf_is_refused_when_a_leaf_becomes_somebody_elses() {
    let (mut ada, _, eve, mut mallory, _) = inside();
    // The same device and key, another join.
    let other = mallory.key.credential(&eve, &eve.identity, JoinId::from_bytes([7; 16]));
    let leaf = LeafNodeParameters::builder().with_credential_with_key(other).build();
    let bundle = mallory.group.self_update(&mallory.provider, &mallory.key, leaf).unwrap();
    let commit = bundle.into_contents().0.to_bytes().unwrap();
    assert_eq!(refusal(&mut ada, &commit), Refused::Handover(3));
}

#[test]
fn mls_1_foreign_leaf_is_refused_when_a_member_adds_it() {
    let (mut ada, _, eve, mut mallory, list) = inside();
    let add = |mallory: &mut Mallory, credential| {
        let (provider, key) = (OpenMlsRustCrypto::default(), mallory.key.clone());
        let _ = key;
        let (key, credential): (Key, openmls::credentials::CredentialWithKey) = credential;
        let package = MlsKeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .build(SUITE, &provider, &key, credential)
            .unwrap();
        let signer = mallory.key.clone();
        let (commit, ..) = mallory
            .group
            .add_members(&mallory.provider, &signer, core::slice::from_ref(package.key_package()))
            .unwrap();
        mallory.group.clear_pending_commit(mallory.provider.storage()).unwrap();
        commit.to_bytes().unwrap()
    };
    let key = Key::draw();
    let commit = add(&mut mallory, (key.clone(), key.with(b"anybody".to_vec())));
    assert_eq!(refusal(&mut ada, &commit), Refused::Credential(4));
    // A second leaf for one join.
    let commit = add(&mut mallory, (key.clone(), key.credential(&eve, &eve.identity, JOIN)));
    assert_eq!(refusal(&mut ada, &commit), Refused::Twice(4));
    let fay = Person::new("fay", 67);
    let commit = add(&mut mallory, (key.clone(), key.credential(&fay, &fay.identity, JoinId::from_bytes([6; 16]))));
    let device = DeviceRef { user: fay.user.clone(), device: fay.device() };
    assert_eq!(judgement(&mut ada, &commit, list.roll()), JudgeError::Refused(Refused::NotListed(device)));
}

#[test]
fn neg_1_a_change_of_terms_is_refused() {
    let (mut ada, _, _, mut mallory, _) = inside();
    let bytes = undertone_keys::cbor::encode(&Terms::new(Protection::Hop, Suite::X25519, false));
    let changed = Extension::Unknown(0xF5A7, UnknownExtension(bytes));
    let needs = Extension::RequiredCapabilities(openmls::extensions::RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(0xF5A7)],
        &[],
        &[],
    ));
    let extensions = Extensions::from_vec(vec![needs, changed]).unwrap();
    let (commit, ..) =
        mallory.group.update_group_context_extensions(&mallory.provider, extensions, &mallory.key).unwrap();
    assert_eq!(refusal(&mut ada, &commit.to_bytes().unwrap()), Refused::Terms);
}

#[test]
fn mls_2_proposals_that_stand_alone_are_refused() {
    let (mut ada, _, eve, mut mallory, _) = inside();
    let (proposal, _) =
        mallory.group.propose_remove_member(&mallory.provider, &mallory.key, LeafNodeIndex::new(0)).unwrap();
    assert_eq!(refusal(&mut ada, &proposal.to_bytes().unwrap()), Refused::Proposal);
    // From outside: somebody asks to be added.
    let key = Key::draw();
    let provider = OpenMlsRustCrypto::default();
    let package = MlsKeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .build(SUITE, &provider, &key, key.credential(&eve, &eve.identity, JoinId::from_bytes([5; 16])))
        .unwrap();
    let (id, epoch) = (mallory.group.group_id().clone(), mallory.group.epoch());
    let asked = JoinProposal::new::<<OpenMlsRustCrypto as OpenMlsProvider>::StorageProvider>(
        package.key_package().clone(),
        id,
        epoch,
        &key,
    );
    assert_eq!(refusal(&mut ada, &asked.unwrap().to_bytes().unwrap()), Refused::Proposal);
    // And a commit that counts on a proposal nobody took.
    let (commit, ..) = mallory.group.commit_to_pending_proposals(&mallory.provider, &mallory.key).unwrap();
    assert_eq!(refusal(&mut ada, &commit.to_bytes().unwrap()), Refused::Invalid);
}

/// Rule NEG-1: who is let in, and leaves out what the terms say is in.
#[test]
fn neg_1_a_commit_without_the_quorum_secret_is_refused() {
    let (mut ada, eve) = (Person::new("ada", 1), Person::new("eve", 66));
    ada.create(&Terms::new(Protection::Blind, Suite::X25519, true));
    let (info, tree) = ada.public();
    let key = Key::draw();
    let credential = key.credential(&eve, &eve.identity, JOIN);
    let (_, commit) = Mallory::join(&info, &tree, key.clone(), credential.clone());
    assert_eq!(refusal(&mut ada, &commit), Refused::Quorum);
    // Nor is any other key that both have the group's quorum secret.
    let id = PskId::new(b"another").unwrap();
    let writes =
        psk::register(&ada.store, &mut ada.rng, &id, &undertone_keys::Secret::from_slice(&[5; 32]).unwrap()).unwrap();
    ada.write(writes);
    let other = Some((id.as_bytes(), [5; 32]));
    let (_, commit) = Mallory::join_with(other, capabilities(), &info, &tree, key, credential);
    assert_eq!(refusal(&mut ada, &commit), Refused::Quorum);
}

/// Rule DOS-1: a leaf that the delivery service has no room for would keep it from ever having the group's tree.
#[test]
fn dos_1_foreign_leaf_is_refused_that_is_larger_than_the_service_takes() {
    let (mut ada, ..) = three(Suite::X25519);
    let eve = Person::new("eve", 66);
    let (info, tree) = ada.public();
    let many: Vec<ExtensionType> =
        (0..2_100).map(|n| ExtensionType::Unknown(0xE000 + n)).chain([ExtensionType::Unknown(0xF5A7)]).collect();
    let large = Capabilities::new(None, Some(&[SUITE]), Some(&many), None, None);
    let key = Key::draw();
    let credential = key.credential(&eve, &eve.identity, JOIN);
    let (_, commit) = Mallory::join_saying(large, &info, &tree, key, credential);
    assert_eq!(refusal(&mut ada, &commit), Refused::TooMany);
}

/// A leaf is let in whose key nothing can be sealed to: from then on nobody could commit. The library does not look.
#[test]
fn mls_1_foreign_leaf_is_refused_to_which_nothing_can_be_sealed() {
    let eve = Person::new("eve", 77);
    let key = Key::draw();
    let credential = key.credential(&eve, &eve.identity, JOIN);
    let provider = OpenMlsRustCrypto::default();
    let made = MlsKeyPackage::builder()
        .leaf_node_capabilities(capabilities())
        .build(SUITE, &provider, &key, credential)
        .unwrap();
    let good = MlsMessageOut::from(made.key_package().clone()).to_bytes().unwrap();
    let parse = |bytes| KeyPackage::parse(&KeyPackage::put_in(Suite::X25519, bytes), Suite::X25519, NOW).map(|_| ());
    assert_eq!(parse(forged(&good, &key, |_| {})), Ok(()), "signed anew it is as good as it was");
    for bad in [[0; 32], [255; 32]] {
        let is_bad = |leaf: &mut [u8]| leaf.copy_from_slice(&bad);
        // Of these the second is a point like another, once it is reduced.
        let expected = if bad == [0; 32] { Err(KeyPackageError::Invalid) } else { Ok(()) };
        assert_eq!(parse(forged(&good, &key, is_bad)), expected);
    }
}

/// A key package with another key in its leaf, signed anew (RFC 9420, 5.1.2, 7.2 and 10).
fn forged(bytes: &[u8], key: &Key, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    // Lengths here are of one byte, or of two that begin with the bits 01.
    let vector = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap();
        let head =
            if length < 64 { vec![u8::try_from(length).unwrap()] } else { (length | 0x4000).to_be_bytes().to_vec() };
        [head, bytes.to_vec()].concat()
    };
    let skip = |at: usize| match bytes[at] {
        short @ 0..64 => at + 1 + usize::from(short),
        _ => at + 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]) & 0x3fff),
    };
    let sign = |label: &str, content: &[u8]| {
        let signed = [vector(format!("MLS 1.0 {label}").as_bytes()), vector(content)].concat();
        vector(&key.sign(&signed).unwrap())
    };
    // Message and wire format; version and suite; the init key; then the leaf.
    let leaf = skip(8);
    let after_credential = skip(skip(skip(leaf)) + 2);
    let capabilities = (0..5).fold(after_credential, |at, _| skip(at));
    // What it is from, and how long it holds.
    let end = skip(capabilities + 1 + 16);
    let mut said = bytes[leaf..end].to_vec();
    change(&mut said[1..33]);
    let extensions = skip(end);
    let signature = skip(extensions);
    let package = [&bytes[4..leaf], &said, &sign("LeafNodeTBS", &said), &bytes[extensions..signature]].concat();
    [&bytes[..4], &package, &sign("KeyPackageTBS", &package)].concat()
}
