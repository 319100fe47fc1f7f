//! Deterministic CBOR (RFC 8949, 4.2.1): the only encoding of signed, sealed and signalled structures.
//!
//! Structures are maps with small integer keys in ascending order. A received structure is accepted only in the
//! one encoding we would have written ourselves, so bytes and meaning stand for each other.

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

/// Bytes that are not the deterministic encoding of the structure expected. Says nothing more on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes")]
pub struct Malformed;

/// Encodes `value`.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a vector cannot fail, and no Encode of ours returns an error of its own.
    let _ = minicbor::encode(value, &mut bytes);
    bytes
}

/// Encodes a `value` that holds secrets into a buffer that is wiped. `room` is its size at most: a buffer that grows
/// leaves copies of its contents behind.
pub fn encode_secret<T: Encode<()>>(value: &T, room: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let _ = minicbor::encode(value, &mut *bytes);
    bytes
}

/// Decodes all of `bytes` as one `T`.
///
/// # Errors
/// [`Malformed`] when the bytes are not a `T`, when something follows it, or when the encoding is not the
/// deterministic one (unknown keys included).
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, Malformed> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| Malformed)?;
    // What is decoded may hold secrets, and its second encoding does too.
    if decoder.position() != bytes.len() || *encode_secret(&value, bytes.len()) != bytes {
        return Err(Malformed);
    }
    Ok(value)
}
