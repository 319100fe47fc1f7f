//! Verifying ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381), the half of the VRF that devices need.
//!
//! `akd_core` verifies the same proofs by the arithmetic that provers need: in constant time, and each point brought
//! to bytes by itself. Here everything is public, so the multiplications are the quick ones, both in one run where a
//! point is the difference of two, and the points share their one division. It takes half as long.
//!
//! What holds here holds for `akd_core`; the reverse fails where RFC 9381 asks for more than it does: a scalar below
//! the group's order, and points in their one encoding. So no proof has two forms. A gamma of small order is refused
//! besides: the key's owner could not make one that verifies.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use undertone_keys::digest::sha512;

/// The length of a proof in bytes: gamma 32, c 16, s 32.
pub(super) const PROOF_LEN: usize = 80;

/// The suite's number, which begins every hash.
const SUITE: u8 = 0x03;
/// Behind the suite: a try for a point (5.4.1.1), the challenge (5.4.3), the output (5.2).
const TRY: u8 = 0x01;
const CHALLENGE: u8 = 0x02;
const OUTPUT: u8 = 0x03;
/// What ends every hash.
const END: u8 = 0x00;

/// The first half of the hash that is the VRF's output.
pub(super) type Output = [u8; 32];

/// A public key, ready for use.
#[derive(Clone)]
pub(super) struct PublicKey {
    bytes: [u8; 32],
    /// The point with its sign turned, as it is only ever subtracted.
    minus: EdwardsPoint,
}

/// A proof taken apart.
struct Parts<'a> {
    gamma_bytes: &'a [u8; 32],
    gamma: EdwardsPoint,
    c: &'a [u8; 16],
    s: Scalar,
}

impl PublicKey {
    /// Takes a key from outside; `None` where the bytes are not the encoding of a point, or of one of small order
    /// (5.4.5).
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        valid_point(bytes).map(|point| Self { bytes: *bytes, minus: -point })
    }

    pub(super) const fn to_bytes(&self) -> [u8; 32] {
        self.bytes
    }

    /// The output of the VRF for `alpha`, if the proof is this key's for exactly that (5.3).
    pub(super) fn verify(&self, alpha: &[u8], proof: &[u8; PROOF_LEN]) -> Option<Output> {
        let Parts { gamma_bytes, gamma, c, s } = Parts::of(proof)?;
        let h = self.hash_to_point(alpha)?;
        let mut wide = [0; 16];
        wide.copy_from_slice(c);
        let challenge = Scalar::from(u128::from_le_bytes(wide));
        let u = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, &self.minus, &s);
        let v = EdwardsPoint::vartime_multiscalar_mul([s, challenge], [h, -gamma]);
        let [h, u, v, eight_gamma] = EdwardsPoint::compress_batch(&[h, u, v, gamma.mul_by_cofactor()]);
        let [h, u, v] = [h, u, v].map(|point| point.to_bytes());
        let again = sha512(&[&[SUITE, CHALLENGE], &self.bytes, &h, gamma_bytes, &u, &v, &[END]]);
        again.starts_with(c).then(|| output(&eight_gamma))
    }

    /// A point that nobody knows the logarithm of, by trying until a hash is one (5.4.1.1).
    fn hash_to_point(&self, alpha: &[u8]) -> Option<EdwardsPoint> {
        (0..=u8::MAX).find_map(|attempt| {
            let hash = sha512(&[&[SUITE, TRY], &self.bytes, alpha, &[attempt, END]]);
            let point = point(hash.first_chunk()?)?.mul_by_cofactor();
            (!point.is_identity()).then_some(point)
        })
    }
}

impl<'a> Parts<'a> {
    fn of(proof: &'a [u8; PROOF_LEN]) -> Option<Self> {
        let (gamma_bytes, rest) = proof.split_first_chunk()?;
        let (c, s) = rest.split_first_chunk()?;
        let s = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
        Some(Self { gamma_bytes, gamma: valid_point(gamma_bytes)?, c, s })
    }
}

/// The output that a proof leads to if it holds. Says nothing about whether it holds.
pub(super) fn unverified_output(proof: &[u8; PROOF_LEN]) -> Option<Output> {
    let gamma = valid_point(proof.first_chunk()?)?;
    Some(output(&gamma.mul_by_cofactor().compress()))
}

/// The first 32 bytes of the hash of eight times gamma.
fn output(eight_gamma: &CompressedEdwardsY) -> Output {
    let hash = sha512(&[&[SUITE, OUTPUT], eight_gamma.as_bytes(), &[END]]);
    hash.first_chunk().copied().unwrap_or_default()
}

/// What a key and a gamma have to be: a point in its one encoding, and not of small order. With those go the two points
/// that have a second encoding, with the other sign.
fn valid_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    point(bytes).filter(|point| !point.is_small_order())
}

/// A point whose y is below the field's prime (RFC 8032, 5.1.3).
fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    is_reduced(bytes).then(|| CompressedEdwardsY(*bytes).decompress()).flatten()
}

/// Whether y, which is all but the highest bit, is below 2^255 - 19.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = bytes;
    *lowest < 0xed || *highest & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

#[cfg(test)]
mod tests {
    use akd_core::ecvrf::{Proof, VRFPrivateKey, VRFPublicKey};

    use super::*;

    /// 2^252 + 27742317777372353535851937790883648493 (RFC 8032, 5.1), little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    fn hex<const N: usize>(digits: &str) -> [u8; N] {
        let mut bytes = [0; N];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap();
        }
        assert_eq!(digits.len(), 2 * N);
        bytes
    }

    fn akd(key: &[u8; 32], alpha: &[u8], proof: &[u8; PROOF_LEN]) -> bool {
        let (Ok(key), Ok(proof)) = (VRFPublicKey::try_from(key.as_slice()), Proof::try_from(proof.as_slice())) else {
            return false;
        };
        key.verify(&proof, alpha).is_ok()
    }

    /// RFC 9381, appendix B.3, examples 16 to 18: key, alpha, pi, and beta's first half.
    #[test]
    fn kt_5_the_examples_of_rfc_9381_verify() {
        let examples = [
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                &[][..],
                "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9\
                 b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
                "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                &[0x72],
                "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf\
                 5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
                "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb",
            ),
            (
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                &[0xaf, 0x82],
                "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c\
                 691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
                "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c45",
            ),
        ];
        for (key, alpha, pi, beta) in examples {
            let (key, proof) = (PublicKey::from_bytes(&hex(key)).unwrap(), hex(pi));
            assert_eq!(key.verify(alpha, &proof), Some(hex(beta)));
            assert_eq!(unverified_output(&proof), Some(hex(beta)));
            assert_eq!(key.verify(&[alpha, &[0]].concat(), &proof), None);
        }
    }

    #[test]
    fn kt_5_akd_and_this_agree_about_every_proof_and_every_bit_of_it() {
        for n in 0_u8..40 {
            let private = VRFPrivateKey::try_from([n + 1; 32].as_slice()).unwrap();
            let bytes = VRFPublicKey::from(&private).to_bytes();
            let key = PublicKey::from_bytes(&bytes).unwrap();
            let alpha = vec![n; usize::from(n) * 5];
            let proof = private.prove(&alpha).to_bytes();
            let output = key.verify(&alpha, &proof);
            assert!(output.is_some());
            assert_eq!(output, unverified_output(&proof));
            let bits = if n == 0 { (0..8 * PROOF_LEN).collect() } else { vec![usize::from(n) * 16, 639] };
            for bit in bits {
                let mut changed = proof;
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.verify(&alpha, &changed), None, "{bit}");
                assert!(!akd(&bytes, &alpha, &changed), "{bit}");
            }
            let other = PublicKey::from_bytes(
                &VRFPublicKey::from(&VRFPrivateKey::try_from([n + 100; 32].as_slice()).unwrap()).to_bytes(),
            );
            assert_eq!(other.unwrap().verify(&alpha, &proof), None);
        }
    }

    #[test]
    fn kt_5_a_proof_has_one_form() {
        let private = VRFPrivateKey::try_from([7; 32].as_slice()).unwrap();
        let bytes = VRFPublicKey::from(&private).to_bytes();
        let mut proof = private.prove(b"ada").to_bytes();
        let mut carry = 0;
        for (digit, order) in proof[48..].iter_mut().zip(ORDER) {
            carry += u16::from(*digit) + u16::from(order);
            *digit = carry as u8;
            carry >>= 8;
        }
        assert!(akd(&bytes, b"ada", &proof), "the same number");
        assert_eq!(PublicKey::from_bytes(&bytes).unwrap().verify(b"ada", &proof), None);
    }

    #[test]
    fn kt_5_points_with_a_second_form_or_of_small_order_are_refused() {
        let of_order_eight = hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
        let mut one = [0; 32];
        one[0] = 1;
        for small in [of_order_eight, one, [0; 32]] {
            assert!(PublicKey::from_bytes(&small).is_none());
            assert!(VRFPublicKey::try_from(small.as_slice()).is_err());
            assert!(valid_point(&small).is_none());
        }
        // y = p + 3 is the point of y = 3, where that is one; y = p - 1 is the last of those below p.
        let mut second = [0xff; 32];
        (second[0], second[31]) = (0xed, 0x7f);
        for more in 0..19 {
            assert!(!is_reduced(&second));
            assert!(point(&second).is_none(), "{more}");
            second[31] |= 0x80;
            assert!(point(&second).is_none(), "{more}");
            second[31] &= 0x7f;
            second[0] = second[0].wrapping_add(1);
        }
        let mut last = [0xff; 32];
        (last[0], last[31]) = (0xec, 0x7f);
        assert!(point(&last).is_some());
        let mut below = [0xff; 32];
        below[31] = 0x7e;
        assert!(is_reduced(&below));
    }
}
