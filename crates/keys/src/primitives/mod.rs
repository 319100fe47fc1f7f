//! The primitives, twice: `aws-lc-rs` where there is a C compiler, RustCrypto on WebAssembly. Both offer the same
//! names with the same meaning, and both run every vector of `tests.rs`; nothing else in this crate knows which of
//! them it stands on.
//!
//! * `Gcm`: AES-256-GCM, 96-bit nonces, 128-bit tags, in place, without allocation per call.
//! * `sha256`, `hmac_sha256`, `hmac_sha512`: over the concatenation of slices; a MAC fills the front of `out`.
//! * `Ed25519Pair`, `ed25519_verify`.
//! * `P256Scalar`, `p256_on_curve`: uncompressed SEC1 points only, the result of an agreement is the x coordinate.

#[cfg(not(target_family = "wasm"))]
mod aws_lc;
#[cfg(any(target_family = "wasm", test))]
mod rustcrypto;

#[cfg(not(target_family = "wasm"))]
pub(crate) use aws_lc::{
    Ed25519Pair, Gcm, P256Scalar, ed25519_verify, hmac_sha256, hmac_sha512, p256_on_curve, sha256,
};
#[cfg(target_family = "wasm")]
pub(crate) use rustcrypto::{
    Ed25519Pair, Gcm, P256Scalar, ed25519_verify, hmac_sha256, hmac_sha512, p256_on_curve, sha256,
};

#[cfg(test)]
mod tests;
