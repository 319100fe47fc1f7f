//! Clients that join by a Welcome and follow what others do, without saying anything.
//!
//! Every case of the files is run: none asks for what openmls has not. Its queue of proposals is the one thing that is not in our store,
//! which refuses to keep one; openmls's own store in memory stands in.

use openmls::framing::{MlsMessageIn, ProcessedMessageContent};
use openmls::group::{MlsGroup, StagedWelcome};
use openmls::key_packages::errors::KeyPackageVerifyError;
use openmls::schedule::PreSharedKeyId;
use openmls::treesync::RatchetTreeIn;
use openmls::treesync::errors::LifetimeError;
use openmls::versions::ProtocolVersion;
use openmls_rust_crypto::MemoryStorage;
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use serde_json::Value;
use tls_codec::Deserialize;

use super::{bytes, cases, config, expect, key_package, welcome, with_provider};
use crate::provider::Provider;
use crate::suite::Suite;

/// What the cases of a file had in them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Clients that joined.
    joined: usize,
    /// Those whose key package had expired by now. The others have one for ever.
    expired: usize,
    /// Those who got the tree beside the Welcome, not in it.
    trees_beside: usize,
    /// Pre-shared keys from elsewhere.
    pre_shared_keys: usize,
    /// Proposals that stood alone.
    proposals: usize,
    /// Commits.
    commits: usize,
}

fn join(provider: &Provider<'_>, suite: Suite, case: &Value, seen: &mut Seen) -> MlsGroup {
    let package = key_package(&case["key_package"]);
    // Its signatures are looked at before its lifetime.
    match package.clone().validate(provider.crypto(), ProtocolVersion::Mls10) {
        Ok(_) => (),
        Err(KeyPackageVerifyError::LifetimeError(LifetimeError::Expired { .. })) => seen.expired += 1,
        Err(other) => panic!("{other:?}"),
    }
    // The signature key is the one that belongs to the package, though nothing is signed with it here.
    let (scheme, known) = (suite.ciphersuite().signature_algorithm(), package.unverified_credential().signature_key);
    let signed = provider.crypto().sign(scheme, b"anything", &bytes(&case["signature_priv"])).unwrap();
    assert_eq!(provider.crypto().verify_signature(scheme, b"anything", known.as_slice(), &signed), Ok(()));

    for key in case["external_psks"].as_array().unwrap() {
        let id = PreSharedKeyId::external(bytes(&key["psk_id"]), Vec::new());
        id.store(provider, &bytes(&key["psk"])).unwrap();
        seen.pre_shared_keys += 1;
    }
    let welcome = welcome(&case["welcome"]);
    let keys = (bytes(&case["init_priv"]), bytes(&case["encryption_priv"]));
    expect(provider, suite, &package, keys, &welcome);
    let mut joining = StagedWelcome::build_from_welcome(provider, &config(), welcome).unwrap();
    if !case["ratchet_tree"].is_null() {
        let tree = RatchetTreeIn::tls_deserialize_exact(bytes(&case["ratchet_tree"])).unwrap();
        joining = joining.with_ratchet_tree(tree);
        seen.trees_beside += 1;
    }
    seen.joined += 1;
    joining.skip_lifetime_validation().build().unwrap().into_group(provider).unwrap()
}

fn receive(provider: &Provider<'_>, group: &mut MlsGroup, message: &Value, seen: &mut Seen) {
    let message = MlsMessageIn::tls_deserialize_exact(bytes(message)).unwrap();
    let message = message.try_into_protocol_message().unwrap();
    match group.process_message(provider, message).unwrap().into_content() {
        ProcessedMessageContent::ProposalMessage(proposal) => {
            group.store_pending_proposal(&MemoryStorage::default(), *proposal).unwrap();
            seen.proposals += 1;
        }
        ProcessedMessageContent::StagedCommitMessage(commit) => {
            group.merge_staged_commit(provider, *commit).unwrap();
            seen.commits += 1;
        }
        other => panic!("neither a proposal nor a commit: {other:?}"),
    }
}

fn run(json: &str, seen: &mut Seen) {
    for (suite, case) in cases(json) {
        with_provider(|provider| {
            let mut group = join(provider, suite, &case, seen);
            let authenticator = |group: &MlsGroup| group.epoch_authenticator().as_slice().to_vec();
            assert_eq!(authenticator(&group), bytes(&case["initial_epoch_authenticator"]), "{suite:?}");
            for epoch in case["epochs"].as_array().unwrap() {
                // What follows is done by the group as the store has it.
                group = MlsGroup::load(provider.storage(), group.group_id()).unwrap().unwrap();
                for proposal in epoch["proposals"].as_array().unwrap() {
                    receive(provider, &mut group, proposal, seen);
                }
                receive(provider, &mut group, &epoch["commit"], seen);
                assert_eq!(authenticator(&group), bytes(&epoch["epoch_authenticator"]), "{suite:?}");
            }
        });
    }
}

/// Half of them with a pre-shared key, half of them with the tree beside the Welcome.
#[test]
fn rfc_9420_12_4_3_1_a_passive_client_joins_by_every_kind_of_welcome() {
    let mut seen = Seen::default();
    run(include_str!("../../../vectors/working-group/passive-client-welcome.json"), &mut seen);
    let expected = Seen { joined: 16, expired: 16, trees_beside: 8, pre_shared_keys: 8, ..Seen::default() };
    assert_eq!(seen, expected);
}

/// Two commits each, an empty one first: then Add, Update, Remove, a key from elsewhere, one of an earlier epoch, and extensions of the
/// group context, each in the commit and by reference, as far as it may be, and all of them together; with and without a path.
#[test]
fn rfc_9420_12_4_2_a_passive_client_follows_every_kind_of_commit() {
    let mut seen = Seen::default();
    run(include_str!("../../../vectors/working-group/passive-client-handling-commit-x25519.json"), &mut seen);
    run(include_str!("../../../vectors/working-group/passive-client-handling-commit-p256.json"), &mut seen);
    let expected = Seen { joined: 26, pre_shared_keys: 26, proposals: 24, commits: 52, ..Seen::default() };
    assert_eq!(seen, expected);
}

/// Dozens of members come and go.
#[test]
fn rfc_9420_12_4_2_a_passive_client_follows_random_commits() {
    let mut seen = Seen::default();
    run(include_str!("../../../vectors/working-group/passive-client-random.json"), &mut seen);
    assert_eq!(seen, Seen { joined: 1, proposals: 141, commits: 20, ..Seen::default() });
}
