//! The basic operations of RFC 9420, computed with our table of libraries, come to what another implementation computes.
//!
//! openmls writes the labels itself, where nobody else can ask for them; so they are written here once more, from the RFC.

use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{HashType, HpkeCiphertext};
use serde_json::Value;

use super::Crypto;
use crate::suite::{Suite, signature_scheme};

/// Both suites, and what they are to come to: by ts-mls, and by the MLS working group.
fn vectors() -> Vec<(Suite, Value)> {
    let files = [
        include_str!("../../../vectors/crypto-basics.json"),
        include_str!("../../../vectors/working-group/crypto-basics.json"),
    ];
    let all = files.into_iter().flat_map(|file| serde_json::from_str::<Vec<Value>>(file).unwrap());
    let numbered = |vector: Value| match vector["cipher_suite"].as_u64() {
        Some(1) => Some((Suite::X25519, vector)),
        Some(2) => Some((Suite::P256, vector)),
        _ => None,
    };
    let known: Vec<_> = all.filter_map(numbered).collect();
    assert_eq!(known.len(), 4);
    known
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
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

/// A label before what it is for, as in `SignContent`, `EncryptContext` and (after a length) `KDFLabel`.
fn labelled(label: &Value, content: &[u8]) -> Vec<u8> {
    [vector(format!("MLS 1.0 {}", label.as_str().unwrap()).as_bytes()), vector(content)].concat()
}

/// RFC 9420, 8: ExpandWithLabel.
fn expanded(secret: &Value, label: &Value, context: &[u8], length: usize) -> Vec<u8> {
    let info = [u16::try_from(length).unwrap().to_be_bytes().to_vec(), labelled(label, context)].concat();
    Crypto::default().hkdf_expand(HashType::Sha2_256, &hex(secret), &info, length).unwrap().as_slice().to_vec()
}

#[test]
fn mls_1_the_basic_hash_and_derivations_are_those_of_another_implementation() {
    for (suite, vectors) in vectors() {
        let this = &vectors["ref_hash"];
        let input = [vector(this["label"].as_str().unwrap().as_bytes()), vector(&hex(&this["value"]))].concat();
        assert_eq!(Crypto::default().hash(HashType::Sha2_256, &input).unwrap(), hex(&this["out"]), "{suite:?}");
        let this = &vectors["expand_with_label"];
        let length = this["length"].as_u64().unwrap().try_into().unwrap();
        let out = expanded(&this["secret"], &this["label"], &hex(&this["context"]), length);
        assert_eq!(out, hex(&this["out"]), "{suite:?}");
        let this = &vectors["derive_secret"];
        assert_eq!(expanded(&this["secret"], &this["label"], &[], 32), hex(&this["out"]), "{suite:?}");
        let this = &vectors["derive_tree_secret"];
        let generation = u32::try_from(this["generation"].as_u64().unwrap()).unwrap().to_be_bytes();
        let length = this["length"].as_u64().unwrap().try_into().unwrap();
        assert_eq!(expanded(&this["secret"], &this["label"], &generation, length), hex(&this["out"]), "{suite:?}");
    }
}

#[test]
fn mls_1_signatures_are_those_of_another_implementation() {
    for (suite, vectors) in vectors() {
        let (this, crypto) = (&vectors["sign_with_label"], Crypto::default());
        let (scheme, public, signature) = (suite.leaf_scheme(), hex(&this["pub"]), hex(&this["signature"]));
        assert_eq!(public.len(), scheme.key_length());
        let scheme = signature_scheme(scheme);
        let content = labelled(&this["label"], &hex(&this["content"]));
        assert_eq!(crypto.verify_signature(scheme, &content, &public, &signature), Ok(()));
        let other = labelled(&"SignWithlabel".into(), &hex(&this["content"]));
        assert!(crypto.verify_signature(scheme, &other, &public, &signature).is_err());
        let own = crypto.sign(scheme, &content, &hex(&this["priv"])).unwrap();
        assert_eq!(crypto.verify_signature(scheme, &content, &public, &own), Ok(()));
        // Ed25519 has one signature for one message.
        assert!(own == signature || suite == Suite::P256);
    }
}

#[test]
fn mls_1_what_another_implementation_has_sealed_opens() {
    for (suite, vectors) in vectors() {
        let (this, crypto) = (&vectors["encrypt_with_label"], Crypto::default());
        let (private, info) = (hex(&this["priv"]), labelled(&this["label"], &hex(&this["context"])));
        let sealed = |ciphertext: &[u8]| HpkeCiphertext {
            kem_output: hex(&this["kem_output"]).into(),
            ciphertext: ciphertext.to_vec().into(),
        };
        let (config, ciphertext) = (|| suite.ciphersuite().hpke_config(), hex(&this["ciphertext"]));
        let open = |sealed: &HpkeCiphertext| crypto.hpke_open(config(), sealed, &private, &info, &[]);
        assert_eq!(open(&sealed(&ciphertext)).unwrap(), hex(&this["plaintext"]), "{suite:?}");
        let mut changed = ciphertext;
        changed[0] ^= 1;
        assert!(open(&sealed(&changed)).is_err());
        let own = crypto.hpke_seal(config(), &hex(&this["pub"]), &info, &[], b"from here").unwrap();
        assert_eq!(open(&own).unwrap(), b"from here");
    }
}
