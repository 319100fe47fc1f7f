//! The test vectors of the MLS working group, run through openmls's public interface with the provider of this crate.
//!
//! They are those of <https://github.com/mlswg/mls-implementations>, folder `test-vectors`, at commit
//! `cfd450286d1bfd9cd2519b95c80f9771f94a5b1a`; the folder itself last changed with `89134d5de0222bd99598ba5849003d2e85e63116`. Here they
//! are cut down, to suites 1 and 2 and to some size, by `reduce.py`; no value is changed. The wall is left out: these vectors
//! know nothing of our leaves, terms and wire formats, so they go to openmls as it is, with our [`Crypto`](super::Crypto) and our store below it.
//!
//! | file | what is run | what openmls keeps to itself |
//! | --- | --- | --- |
//! | `crypto-basics` | all, in `crypto::basics` | the labels, which are written once more there |
//! | `deserialization` | all | |
//! | `key-schedule` | all, over our table of libraries | `KeySchedule`; the labels are written once more |
//! | `message-protection` | every message is parsed and encoded | the secret tree and the keys, which a group has to be made of |
//! | `messages` | all but the group secrets | `GroupSecrets`; a bare `Commit`, which is put into a frame |
//! | `passive-client-welcome` | all | |
//! | `passive-client-handling-commit` | all | |
//! | `passive-client-random` | the first 20 of 200 epochs | |
//! | `tree-operations` | every tree and proposal is parsed and encoded | `TreeSyncDiff`, which applies a proposal; no key of a leaf is given |
//! | `tree-validation` | signatures and parent hashes | resolutions; the tree hashes of a tree whose members' keys are not given |
//! | `treekem` | tree hashes, and update paths as a delivery service follows them | path secrets and commit secrets |
//! | `welcome` | all but the confirmation tag | the confirmation key, without a tree |
//! | `psk_secret`, `secret-tree`, `transcript-hashes`, `tree-math` | | all that they are about |
//!
//! What is kept back is not for that untested: a passive client comes to the authenticator of an epoch only if transcript, tree
//! hash, path secrets, pre-shared keys and key schedule are right. What no vector of theirs reaches through a group is
//! the secret tree: all their handshakes are public messages.

use openmls::ciphersuite::hash_ref::make_key_package_ref;
use openmls::framing::{MlsMessageBodyIn, MlsMessageIn};
use openmls::group::{MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY, MlsGroupJoinConfig};
use openmls::key_packages::KeyPackageIn;
use openmls::messages::Welcome;
use openmls::prelude::SenderRatchetConfiguration;
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::{CURRENT_VERSION, Entity, StorageProvider, traits};
use openmls_traits::types::HpkePrivateKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tls_codec::{Deserialize as _, Serialize as _};
use undertone_keys::testing::SeededRng;

use super::Provider;
use crate::store::Store;
use crate::suite::Suite;

mod key_schedule;
mod messages;
mod passive;
mod tree;
mod welcome;

/// The cases of a file, each with its suite.
fn cases(json: &str) -> Vec<(Suite, Value)> {
    let cases: Vec<Value> = serde_json::from_str(json).unwrap();
    let with_suite = |case: Value| match case["cipher_suite"].as_u64() {
        Some(1) => (Suite::X25519, case),
        Some(2) => (Suite::P256, case),
        other => panic!("no suite of ours: {other:?}"),
    };
    cases.into_iter().map(with_suite).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    assert_eq!(text.len() % 2, 0);
    text.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// RFC 9420, 2.1.2: a vector.
fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    match length {
        0..64 => [&length.to_be_bytes()[1..], bytes].concat(),
        64..16_384 => [(0x4000 | length).to_be_bytes().as_slice(), bytes].concat(),
        _ => panic!("longer than any of these"),
    }
}

/// RFC 9420, 5.1.2 and 8: a label before what it is for.
fn labelled(label: &str, content: &[u8]) -> Vec<u8> {
    [vector(format!("MLS 1.0 {label}").as_bytes()), vector(content)].concat()
}

/// Runs something over an empty store.
fn with_provider<T>(run: impl FnOnce(&Provider<'_>) -> T) -> T {
    let (store, mut rng) = (Store::new(), SeededRng::new(1));
    let provider = Provider::new(&store, &mut rng);
    run(&provider)
}

/// Takes what a member of theirs sends, be it public or private.
fn config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .number_of_resumption_psks(16)
        .use_ratchet_tree_extension(true)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(16, 1_000))
        .build()
}

fn key_package(message: &Value) -> KeyPackageIn {
    match MlsMessageIn::tls_deserialize_exact(bytes(message)).unwrap().extract() {
        MlsMessageBodyIn::KeyPackage(package) => package,
        other => panic!("no key package: {other:?}"),
    }
}

fn welcome(message: &Value) -> Welcome {
    match MlsMessageIn::tls_deserialize_exact(bytes(message)).unwrap().extract() {
        MlsMessageBodyIn::Welcome(welcome) => welcome,
        other => panic!("no Welcome: {other:?}"),
    }
}

/// openmls's `KeyPackageBundle` as it is stored: out here there is no other way to one with keys that are given.
#[derive(Serialize, Deserialize)]
struct Bundle {
    key_package: KeyPackageIn,
    private_init_key: HpkePrivateKey,
    private_encryption_key: EncryptionPrivateKey,
}

#[derive(Serialize, Deserialize)]
struct EncryptionPrivateKey {
    key: HpkePrivateKey,
}

impl Entity<CURRENT_VERSION> for Bundle {}
impl traits::KeyPackage<CURRENT_VERSION> for Bundle {}

/// Puts a key package with its keys where a Welcome finds it, and sees that the Welcome names it.
fn expect(
    provider: &Provider<'_>,
    suite: Suite,
    package: &KeyPackageIn,
    (init, encryption): (Vec<u8>, Vec<u8>),
    welcome: &Welcome,
) {
    let encoded = package.tls_serialize_detached().unwrap();
    let reference = make_key_package_ref(&encoded, suite.ciphersuite(), provider.crypto()).unwrap();
    assert!(welcome.secrets().iter().any(|secrets| secrets.new_member() == reference));
    let bundle = Bundle {
        key_package: package.clone(),
        private_init_key: init.into(),
        private_encryption_key: EncryptionPrivateKey { key: encryption.into() },
    };
    provider.storage().write_key_package(&reference, &bundle).unwrap();
}
