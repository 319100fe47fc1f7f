//! The primitives, twice: `aws-lc-rs` where there is a C compiler, RustCrypto on WebAssembly. Both offer the same
//! names with the same meaning, and both run every vector of `tests.rs`; nothing else in this crate knows which of
//! them it stands on.
//!
//! * `Gcm`: AES-256-GCM, 96-bit nonces, 128-bit tags, in place, without allocation per call.
//! * `sha256`, `sha512`, `hmac_sha256`, `hmac_sha512`: over the concatenation of slices; a MAC fills the front of `out`.
//! * `Ed25519Pair`, `ed25519_verify`.
//! * `p256_verify`: ECDSA with SHA-256, keys as uncompressed SEC1 points, signatures as r and s of 32 bytes each.
//! * `P256Scalar`, `p256_on_curve`: uncompressed SEC1 points only, the result of an agreement is the x coordinate.
//! * `rsa_encrypt`: RSA-2048 OAEP with SHA-256 and a label. The private half, `RsaPrivate`, is there natively alone: on
//!   WebAssembly it is the browser's.

/// Public keys of small order verify signatures that say nothing, as encodings with the sign bit cleared. RustCrypto's
/// strict verification refuses them, `aws-lc-rs` does not; both must agree about the same list of devices.
#[cfg(not(target_family = "wasm"))]
fn is_of_small_order(key: &[u8; 32]) -> bool {
    const SMALL: [[u8; 32]; 7] = [
        // 0 and 1, and the same with the field's prime added
        repeated(0x00, 0x00, 0x00),
        repeated(0x01, 0x00, 0x00),
        repeated(0xed, 0xff, 0x7f),
        repeated(0xee, 0xff, 0x7f),
        // -1
        repeated(0xec, 0xff, 0x7f),
        // the two points of order 8
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut point = *key;
    point[31] &= 0x7f;
    SMALL.contains(&point)
}

/// `first`, thirty times `middle`, `last`.
#[cfg(not(target_family = "wasm"))]
const fn repeated(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Bytes of the one encoding of a public RSA key that is taken: SPKI of a modulus of 2048 bits and the exponent 65,537.
pub(crate) const RSA_SPKI: usize = 294;
/// What stands before the modulus in it ...
const RSA_HEAD: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
/// ... and behind it.
const RSA_TAIL: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// The modulus of a public key in that one encoding; `None` for any other key or encoding. Libraries read more: other
/// sizes and exponents, parameters, bytes behind the key.
pub(crate) fn rsa_modulus(spki: &[u8; RSA_SPKI]) -> Option<&[u8; 256]> {
    let modulus = spki.strip_prefix(&RSA_HEAD)?.strip_suffix(&RSA_TAIL)?;
    let (first, last) = (modulus.first()?, modulus.last()?);
    (first & 0x80 != 0 && last & 1 != 0).then_some(modulus)?.try_into().ok()
}

#[cfg(not(target_family = "wasm"))]
mod aws_lc;
#[cfg(any(target_family = "wasm", test))]
mod rustcrypto;

#[cfg(not(target_family = "wasm"))]
pub(crate) use aws_lc::{
    Ed25519Pair, Gcm, P256Scalar, RsaPrivate, ed25519_verify, hmac_sha256, hmac_sha512, p256_on_curve, p256_verify,
    rsa_encrypt, sha256, sha512,
};
#[cfg(target_family = "wasm")]
pub(crate) use rustcrypto::{
    Ed25519Pair, Gcm, P256Scalar, ed25519_verify, hmac_sha256, hmac_sha512, p256_on_curve, p256_verify, rsa_encrypt,
    sha256, sha512,
};

#[cfg(test)]
mod tests;
