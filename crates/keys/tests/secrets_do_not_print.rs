//! Every type that holds a secret prints its name and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use undertone_keys::account::AccountWrap;
use undertone_keys::aead::AeadKey;
use undertone_keys::agreement::{DeviceKey, EphemeralKey, SoftwareKey};
use undertone_keys::call_agreement::{CallKeys, MediaKey, Shares, Transcript};
use undertone_keys::legacy::{LegacyHalf, SoftwareLegacyKey, Unwrapped};
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::sas::{Half, Sas};
use undertone_keys::secret::SecretBytes;
use undertone_keys::sign::{Account, SigningKey};
use undertone_keys::testing::SeededRng;
use undertone_keys::{AccessToken, Secret, UserId};

#[test]
fn every_debug() {
    let rng = &mut SeededRng::new(1);
    let (a, b) = (SoftwareKey::generate(rng), SoftwareKey::generate(rng));
    let shares = Shares {
        ephemeral_static: a.agree(b.public()).unwrap(),
        static_static: a.agree(b.public()).unwrap(),
        ephemeral_ephemeral: a.agree(b.public()).unwrap(),
        static_ephemeral: a.agree(b.public()).unwrap(),
    };
    let transcript = Transcript::new(&(*a.public()).into(), &(*b.public()).into(), b"", b"");
    let keys = CallKeys::derive(&transcript, &shares, None);
    let half = Half::from_bytes([0; 32]);
    let user = UserId::parse("ada", "x").unwrap();
    let lines = [
        format!("{:?}", Secret::<32>::random(rng)),
        format!("{:?}", SecretBytes::new(vec![1, 2])),
        format!("{a:?}"),
        format!("{:?}", EphemeralKey::generate(rng)),
        format!("{shares:?}"),
        format!("{keys:?}"),
        format!("{:?}", MediaKey::new(Secret::random(rng))),
        format!("{:?}", Sas::derive(&keys.sas, &transcript, &half, &half)),
        format!("{:?}", SigningKey::<Account>::generate(rng)),
        format!("{:?}", RecoveryKey::generate(rng)),
        format!("{:?}", AccountWrap::from_export_key(&[0; 64], &user)),
        format!("{:?}", AeadKey::new(&Secret::random(rng))),
        format!("{:?}", AccessToken::random(rng)),
        format!("{:?}", Half::random(rng)),
        format!("{:?}", SoftwareLegacyKey::generate().unwrap()),
        format!("{:?}", Unwrapped::from_slice(&[7; 32]).unwrap()),
        format!("{:?}", LegacyHalf::random(rng)),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Secret<32>
    SecretBytes
    SoftwareKey
    EphemeralKey
    Shares { ephemeral_static: SharedSecret(Secret<32>), static_static: SharedSecret(Secret<32>), ephemeral_ephemeral: SharedSecret(Secret<32>), static_ephemeral: SharedSecret(Secret<32>) }
    CallKeys { confirm_caller: ConfirmKey(Secret<32>), confirm_callee: ConfirmKey(Secret<32>), media: MediaKey(Secret<32>), sas: SasKey(Secret<32>) }
    MediaKey(Secret<32>)
    Sas
    SigningKey
    RecoveryKey
    AccountWrap { key: AeadKey, label: Label("undertone/ID-6/passphrase/v1") }
    AeadKey
    AccessToken(Secret<32>)
    Half
    SoftwareLegacyKey
    Unwrapped(Secret<32>)
    LegacyHalf
    "#);
}

#[test]
fn id_5_the_software_adapter_conforms() {
    let rng = &mut SeededRng::new(2);
    let key = SoftwareKey::generate(rng);
    assert_eq!(undertone_keys::agreement::conformance::run(&key, rng), Ok(()));
}
