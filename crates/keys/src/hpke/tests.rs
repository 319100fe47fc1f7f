use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};

use super::*;
use crate::agreement::{DeviceKey, SoftwareKey};
use crate::testing::SeededRng;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn key(text: &str) -> SoftwareKey {
    SoftwareKey::from_scalar(Secret::from_slice(&unhex(text)).unwrap()).unwrap()
}

/// RFC 9180's published vectors (`test-vectors.json` of the document), mode 0, KEM 16, KDF 1, AEAD 2.
#[test]
fn id_4_hpke_gives_the_rfc_9180_vector() {
    let recipient = key("317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2");
    let ephemeral = EphemeralKey::for_vector(key("90345e3a1d116c1dd39ae76d95ab858c142223a63e44f8f85318cfa91a84858e"));
    let info = unhex("4f6465206f6e2061204772656369616e2055726e");
    let shared = ephemeral.agree(recipient.public()).unwrap();
    let secret = kem_secret(&shared, ephemeral.public(), recipient.public());
    assert_eq!(secret.expose().as_slice(), unhex("48893fecd82f7c3456af6a42d8f56325d21e08c10fa81299986aaff54cde7b49"));
    let (_, nonce) = schedule(&secret, &info);
    assert_eq!(nonce.as_slice(), unhex("9bc50980832a7b4b58c40161"));
    let text = unhex("4265617574792069732074727574682c20747275746820626561757479");
    let associated = unhex("436f756e742d30");
    let sealed = seal_with(&ephemeral, recipient.public(), &info, &associated, &text).unwrap();
    assert_eq!(
        sealed.encapsulated.as_bytes().as_slice(),
        unhex(
            "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0"
        )
    );
    assert_eq!(
        sealed.ciphertext,
        unhex("58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d291742465e902cd216f8908da49f8f96f")
    );
    let shared = recipient.agree(&sealed.encapsulated).unwrap();
    assert_eq!(open(&sealed, recipient.public(), &shared, &info, &associated).unwrap().as_slice(), text);
}

/// Another implementation opens what ours seals, and the other way round.
#[test]
fn id_4_hpke_agrees_with_another_implementation() {
    type Other = DhP256HkdfSha256;
    let rng = &mut SeededRng::new(9180);
    for length in [0, 1, 32, 255, 4096] {
        let ours = SoftwareKey::generate(rng);
        let theirs = <Other as Kem>::PrivateKey::from_bytes(ours.scalar().expose()).unwrap();
        let text = vec![7; length];

        let sealed = seal(rng, ours.public(), b"info", b"aad", &text).unwrap();
        let enc = <Other as Kem>::EncappedKey::from_bytes(sealed.encapsulated.as_bytes()).unwrap();
        let mut receiver =
            hpke::setup_receiver::<AesGcm256, HkdfSha256, Other>(&OpModeR::Base, &theirs, &enc, b"info").unwrap();
        assert_eq!(receiver.open(&sealed.ciphertext, b"aad").unwrap(), text);

        let (enc, mut sender) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, Other>(
            &OpModeS::Base,
            &Other::sk_to_pk(&theirs),
            b"info",
            rng,
        )
        .unwrap();
        let sealed = Sealed {
            encapsulated: AgreementPublicKey::from_sec1(&enc.to_bytes()).unwrap(),
            ciphertext: sender.seal(&text, b"aad").unwrap(),
        };
        let shared = ours.agree(&sealed.encapsulated).unwrap();
        assert_eq!(open(&sealed, ours.public(), &shared, b"info", b"aad").unwrap().as_slice(), text);
        assert_eq!(open(&sealed, ours.public(), &shared, b"Info", b"aad").unwrap_err(), OpenError);
        assert_eq!(open(&sealed, ours.public(), &shared, b"info", b"Aad").unwrap_err(), OpenError);
    }
}
