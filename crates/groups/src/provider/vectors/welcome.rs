//! A Welcome without a tree: what is sealed in it opens, and is signed by who is said to have signed it.
//!
//! Its confirmation tag is not checked, for which openmls wants the tree; `passive` has Welcomes with one.

use openmls::ciphersuite::signable::Verifiable;
use openmls::ciphersuite::signature::{OpenMlsSignaturePublicKey, SignaturePublicKey};
use openmls::group::{ProcessedWelcome, WelcomeError};
use openmls::versions::ProtocolVersion;
use openmls_traits::OpenMlsProvider;

use super::{bytes, cases, config, expect, key_package, welcome, with_provider};

#[test]
fn rfc_9420_12_4_3_1_a_welcome_opens_to_what_its_sender_signed() {
    let all = cases(include_str!("../../../vectors/working-group/welcome.json"));
    assert_eq!(all.len(), 2);
    for (suite, case) in all {
        with_provider(|provider| {
            let (package, welcome) = (key_package(&case["key_package"]), welcome(&case["welcome"]));
            assert!(package.clone().validate(provider.crypto(), ProtocolVersion::Mls10).is_ok());
            // The leaf's own key is not in the file, and not asked for before the tree is there.
            expect(provider, suite, &package, (bytes(&case["init_priv"]), vec![1; 32]), &welcome);
            let opened = ProcessedWelcome::new_from_welcome(provider, &config(), welcome.clone()).unwrap();
            let info = opened.unverified_group_info();
            assert_eq!(info.ciphersuite(), suite.ciphersuite());
            let by = |key: SignaturePublicKey| {
                let scheme = suite.ciphersuite().signature_algorithm();
                let key = OpenMlsSignaturePublicKey::from_signature_key(key, scheme);
                info.clone().verify(provider.crypto(), &key).is_ok()
            };
            assert!(by(bytes(&case["signer_pub"]).into()));
            assert!(!by(package.unverified_credential().signature_key));

            // With another key it stays shut.
            expect(provider, suite, &package, (vec![1; 32], vec![1; 32]), &welcome);
            let shut = ProcessedWelcome::new_from_welcome(provider, &config(), welcome).err();
            assert!(matches!(shut, Some(WelcomeError::GroupSecrets(_))), "{shut:?}");
        });
    }
}
