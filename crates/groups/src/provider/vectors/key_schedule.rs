//! The key schedule, over our table of libraries.
//!
//! openmls's own is out of reach, so it is written here once more, from RFC 9420, 8; what a group of openmls's comes to is in `passive`.

use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::HashType;

use super::{bytes, cases, labelled, vector};
use crate::provider::Crypto;

const NAMES: [(&str, &str); 9] = [
    ("sender data", "sender_data_secret"),
    ("encryption", "encryption_secret"),
    ("exporter", "exporter_secret"),
    ("external", "external_secret"),
    ("confirm", "confirmation_key"),
    ("membership", "membership_key"),
    ("resumption", "resumption_psk"),
    ("authentication", "epoch_authenticator"),
    ("init", "init_secret"),
];

fn extracted(salt: &[u8], key: &[u8]) -> Vec<u8> {
    Crypto::default().hkdf_extract(HashType::Sha2_256, salt, key).unwrap().as_slice().to_vec()
}

/// ExpandWithLabel.
fn expanded(secret: &[u8], label: &str, context: &[u8], length: u16) -> Vec<u8> {
    let info = [length.to_be_bytes().to_vec(), labelled(label, context)].concat();
    let out = Crypto::default().hkdf_expand(HashType::Sha2_256, secret, &info, usize::from(length)).unwrap();
    out.as_slice().to_vec()
}

/// DeriveSecret.
fn derived(secret: &[u8], label: &str) -> Vec<u8> {
    expanded(secret, label, &[], 32)
}

#[test]
fn rfc_9420_8_the_key_schedule_of_five_epochs() {
    let (all, crypto) = (cases(include_str!("../../../vectors/working-group/key-schedule.json")), Crypto::default());
    assert_eq!(all.len(), 2);
    for (suite, case) in all {
        let (mut init, epochs) = (bytes(&case["initial_init_secret"]), case["epochs"].as_array().unwrap());
        assert_eq!(epochs.len(), 5);
        for (number, epoch) in (0_u64..).zip(epochs) {
            let of = |name: &str| bytes(&epoch[name]);
            let context = [
                vec![0, 1],
                suite.mls_number().to_be_bytes().to_vec(),
                vector(&bytes(&case["group_id"])),
                number.to_be_bytes().to_vec(),
                vector(&of("tree_hash")),
                vector(&of("confirmed_transcript_hash")),
                vec![0],
            ];
            let context = context.concat();
            assert_eq!(context, of("group_context"));

            let joiner = expanded(&extracted(&init, &of("commit_secret")), "joiner", &context, 32);
            assert_eq!(joiner, of("joiner_secret"));
            let member = extracted(&joiner, &of("psk_secret"));
            assert_eq!(derived(&member, "welcome"), of("welcome_secret"));
            let secret = expanded(&member, "epoch", &context, 32);
            for (label, name) in NAMES {
                assert_eq!(derived(&secret, label), of(name), "{suite:?}, {name}");
            }

            let pair = crypto.derive_hpke_keypair(suite.ciphersuite().hpke_config(), &of("external_secret")).unwrap();
            assert_eq!(pair.public, of("external_pub"), "{suite:?}");

            let exporter = &epoch["exporter"];
            let hash = crypto.hash(HashType::Sha2_256, &bytes(&exporter["context"])).unwrap();
            let base = derived(&of("exporter_secret"), exporter["label"].as_str().unwrap());
            let length = u16::try_from(exporter["length"].as_u64().unwrap()).unwrap();
            assert_eq!(expanded(&base, "exported", &hash, length), bytes(&exporter["secret"]));
            init = of("init_secret");
        }
    }
}
