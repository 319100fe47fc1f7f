//! Whether something can be sealed to the key of a leaf.
//!
//! The library finds out only when it makes a commit, and then nobody can: a leaf that was let in with a key of zeros would end the
//! group. To seal to each new leaf for a trial costs as much as two agreements, so what a curve refuses is looked at instead.

use openmls::prelude::LeafNode;
use openmls_traits::crypto::OpenMlsCrypto;
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};
use undertone_keys::agreement::AgreementPublicKey;

use crate::provider::Crypto;
use crate::suite::Suite;

pub(crate) fn can_be_sealed_to(leaf: &LeafNode, suite: Suite) -> bool {
    let written = leaf.encryption_key().tls_serialize_detached().unwrap_or_default();
    VLBytes::tls_deserialize_exact_bytes(&written).is_ok_and(|key| sealable(key.as_slice(), suite))
}

fn sealable(key: &[u8], suite: Suite) -> bool {
    match suite {
        // The order of the curve is prime: every point on it will do.
        Suite::P256 => AgreementPublicKey::from_sec1(key).is_ok(),
        Suite::X25519 => key.try_into().is_ok_and(|key| !is_of_small_order(key)),
        // Half of such a key is a lattice's, and which of those are none only the library knows.
        Suite::XWing => Crypto::default().hpke_seal(suite.ciphersuite().hpke_config(), key, &[], &[], &[]).is_ok(),
    }
}

/// The u coordinates of Curve25519 with which everybody agrees on zero, as they can be written: of the points of order 1, 2, 4 and 8
/// on the curve and its twist, 0 and 1 also with the field's prime added. The highest bit does not count (RFC 7748, 5).
fn is_of_small_order(key: &[u8; 32]) -> bool {
    let mut point = *key;
    point[31] &= 0x7f;
    SMALL.contains(&point)
}

const SMALL: [[u8; 32]; 7] = [
    repeated(0x00, 0x00, 0x00),
    repeated(0x01, 0x00, 0x00),
    repeated(0xec, 0xff, 0x7f),
    repeated(0xed, 0xff, 0x7f),
    repeated(0xee, 0xff, 0x7f),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

/// `first`, thirty times `middle`, `last`.
const fn repeated(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the library seals to it.
    fn seals(key: &[u8], suite: Suite) -> bool {
        Crypto::default().hpke_seal(suite.ciphersuite().hpke_config(), key, &[], &[], &[]).is_ok()
    }

    fn pair(suite: Suite, seed: u8) -> Vec<u8> {
        Crypto::default().derive_hpke_keypair(suite.ciphersuite().hpke_config(), &[seed; 32]).unwrap().public
    }

    #[test]
    fn mls_1_what_is_looked_at_is_what_the_library_refuses() {
        for suite in Suite::ALL {
            for seed in 0..20 {
                let key = pair(suite, seed);
                assert!(sealable(&key, suite) && seals(&key, suite), "{suite:?}");
                for wrong in
                    [&key[1..], &[key.as_slice(), &[0]].concat(), &[], &vec![0; key.len()], &vec![0xff; key.len()]]
                {
                    // 2^255 - 1 is a number like others to X25519.
                    assert_eq!(sealable(wrong, suite), seals(wrong, suite), "{suite:?} {wrong:02x?}");
                }
            }
        }
        let mut off = pair(Suite::P256, 1);
        off[64] ^= 1;
        assert!(!sealable(&off, Suite::P256) && !seals(&off, Suite::P256));
    }

    #[test]
    fn mls_1_points_of_small_order_are_no_keys() {
        let mut refused = 0;
        // Every number that is near zero or the prime, with and without the highest bit, and the two of order 8.
        let near = (0..=255_u8)
            .flat_map(|low| [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)].map(|(m, h)| repeated(low, m, h)));
        for key in near.chain(SMALL) {
            assert_eq!(sealable(&key, Suite::X25519), seals(&key, Suite::X25519), "{key:02x?}");
            refused += u32::from(!sealable(&key, Suite::X25519));
        }
        assert_eq!(refused, 10 + 7);
    }

    #[test]
    fn mls_1_a_point_has_one_encoding() {
        let key = pair(Suite::P256, 1);
        let compressed = [&[2 | (key[64] & 1)], &key[1..33]].concat();
        assert!(seals(&compressed, Suite::P256) && !sealable(&compressed, Suite::P256));
    }
}
