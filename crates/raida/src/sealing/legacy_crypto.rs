//! The ciphers of the original, in quarantine (rule RKX-6): nothing but frames and tickets can reach them, in this crate or outside of it.
//!
//! **What they do not give.**
//! * *Counter mode without a tag* ([`Keystream`], encryption types 1 and 2, and tickets): whoever is between two people flips any bit of
//!   the text without being noticed. The checksum in front is linear and covers twelve bytes, the check of a ticket is six known
//!   bytes. Two texts under one key and one initial value are as good as open; so is one of them when the other is known.
//! * *The exclusive or with a lasting key* ([`xor`], replies' hashes and the 23-byte form of command 44): whoever learns one text learns
//!   the key, for ever.
//! * *One block of the cipher* ([`encrypt_block`], strict tickets): a change shows in six known bytes of the text, and no further.
//! * Keys are the coins' authenticity numbers themselves: nothing is derived, nothing binds a text to its use.
//!
//! What Undertone keeps secret does not rest on them alone: a quorum secret is mixed into keys that were agreed otherwise, never used by
//! itself (rule RKX-5). Types 4 and 5 add an HMAC, which `frame` checks before anything is decrypted.

use aes::cipher::{BlockCipherDecrypt, KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;

use crate::coin::Authenticity;

/// AES in counter mode from a place in the stream on. The counter is all 16 bytes, most significant first.
pub(super) enum Keystream {
    /// Types 1 and 2, and tickets: AES-128 under a coin's authenticity number.
    Coin(Box<Ctr128BE<Aes128>>),
    /// Types 4 and 5: AES-256 under a hash of one or two.
    Hash(Box<Ctr128BE<Aes256>>),
}

impl Keystream {
    /// Under a coin's key.
    pub(super) fn of_coin(key: &Authenticity, iv: &[u8; 16]) -> Self {
        Self::Coin(Box::new(Ctr128BE::new(key.expose().into(), iv.into())))
    }

    /// Under a hash.
    pub(super) fn of_hash(key: &[u8; 32], iv: &[u8; 16]) -> Self {
        Self::Hash(Box::new(Ctr128BE::new(key.into(), iv.into())))
    }

    /// Goes to the beginning of a block of 16 bytes.
    pub(super) fn seek(&mut self, block: u32) {
        let place = u64::from(block) * 16;
        match self {
            Self::Coin(stream) => stream.seek(place),
            Self::Hash(stream) => stream.seek(place),
        }
    }

    /// Adds the stream to `bytes`: seals a text, and opens what it made of one.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Coin(stream) => stream.apply_keystream(bytes),
            Self::Hash(stream) => stream.apply_keystream(bytes),
        }
    }
}

/// One block of AES-128: the whole of a strict ticket.
#[cfg(any(feature = "node", feature = "legacy", test))]
pub(super) fn encrypt_block(key: &Authenticity, block: &mut [u8; 16]) {
    use aes::cipher::BlockCipherEncrypt;

    Aes128::new(key.expose().into()).encrypt_block(block.into());
}

/// The inverse.
pub(super) fn decrypt_block(key: &Authenticity, block: &mut [u8; 16]) {
    Aes128::new(key.expose().into()).decrypt_block(block.into());
}

/// The exclusive or of 16 bytes with a coin's key.
pub(super) fn xor(bytes: &[u8; 16], key: &Authenticity) -> [u8; 16] {
    let mut out = *bytes;
    out.iter_mut().zip(key.expose()).for_each(|(byte, key)| *byte ^= key);
    out
}
