//! SHA-256 and SHA-512 over several slices, and length-prefixed hashing for transcripts.

use crate::labels::Label;
use crate::primitives;

/// SHA-256 over the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    primitives::sha256(parts)
}

/// SHA-512 over the concatenation of `parts`.
#[must_use]
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    primitives::sha512(parts)
}

/// HMAC-SHA-256 over the concatenation of `parts`.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 64];
    primitives::hmac_sha256(key, parts, &mut out);
    out.first_chunk().copied().unwrap_or_default()
}

/// SHA-256 over `label || 0x00` and each part behind its length as a 64-bit big-endian number: no two lists of
/// parts meet.
#[must_use]
pub fn labelled_sha256(label: Label, parts: &[&[u8]]) -> [u8; 32] {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let mut all: Vec<&[u8]> = vec![label.as_bytes(), &[0]];
    for (length, part) in lengths.iter().zip(parts) {
        all.push(length);
        all.push(part);
    }
    primitives::sha256(&all)
}
