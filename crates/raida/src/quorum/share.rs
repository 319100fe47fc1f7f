//! One share: 84 bytes.
//!
//! ```text
//! format 1 | set 16 | number 1 | k 1 | n 1 | share 32 | MAC 32
//! ```
//! The MAC is HMAC-SHA-256 over everything before it, under a key derived from the secret: whoever puts the secret together sees by it that
//! it is the right one.

use subtle::ConstantTimeEq;
use undertone_keys::digest;
use undertone_keys::hkdf::{Prk, Sha256};
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::secret::Secret;
use vsss_rs::Gf256;
use zeroize::{Zeroize, Zeroizing};

use crate::labels;

const FORMAT: u8 = 1;
const HEAD: usize = 20;
const VALUE: usize = 32;
const MAC: usize = 32;
/// Bytes of a share.
pub const SHARE: usize = HEAD + VALUE + MAC;

fn head(set: &[u8; 16], number: u8, k: u8, n: u8) -> [u8; HEAD] {
    let mut head = [FORMAT; HEAD];
    head.iter_mut().skip(1).zip(set.iter().chain(&[number, k, n])).for_each(|(to, from)| *to = *from);
    head
}

fn mac_key(secret: &QuorumSecret) -> Secret<32> {
    Prk::<Sha256>::extract(&[], &[secret.expose()]).derive(labels::SHARE_MAC, &[])
}

/// Splits: the share at place `i` has number `i + 1`, which is where its polynomials are looked at.
pub(super) fn split(
    set: &[u8; 16],
    k: u8,
    n: usize,
    secret: &QuorumSecret,
    rng: &mut impl rand_core::CryptoRng,
) -> Vec<Zeroizing<Vec<u8>>> {
    let key = mac_key(secret);
    // Bounds that a swarm has were checked when it was made; a library that splits otherwise has no shares for anybody.
    let split = Gf256::split_bytes(usize::from(k), n, secret.expose(), rng).unwrap_or_default();
    let of = u8::try_from(n).unwrap_or_default();
    let share = |(mut value, number): (Vec<u8>, u8)| {
        let mut share = Zeroizing::new(Vec::with_capacity(SHARE));
        share.extend_from_slice(&head(set, number, k, of));
        share.extend_from_slice(value.get(1..).unwrap_or_default());
        let mac = digest::hmac_sha256(key.expose(), &[&share]);
        share.extend_from_slice(&mac);
        value.zeroize();
        share
    };
    split.into_iter().zip(1..=of).map(share).collect()
}

/// A share that has its head.
pub(super) struct Share {
    bytes: Zeroizing<[u8; SHARE]>,
}

impl Share {
    /// `None` if its head does not say just this.
    pub(super) fn read(bytes: &[u8], set: &[u8; 16], number: u8, k: u8, n: u8) -> Option<Self> {
        let bytes: &[u8; SHARE] = bytes.try_into().ok()?;
        bytes.starts_with(&head(set, number, k, n)).then(|| Self { bytes: Zeroizing::new(*bytes) })
    }

    /// As the library has it: the number and the value.
    fn numbered(&self) -> Vec<u8> {
        let mut numbered = Vec::with_capacity(1 + VALUE);
        numbered.extend(self.bytes.get(HEAD - 3));
        numbered.extend_from_slice(self.bytes.get(HEAD..HEAD + VALUE).unwrap_or_default());
        numbered
    }

    fn holds_under(&self, key: &Secret<32>) -> bool {
        let (text, mac) = self.bytes.split_at(HEAD + VALUE);
        digest::hmac_sha256(key.expose(), &[text]).ct_eq(mac).into()
    }
}

/// The secret that these shares make, if each of their MACs holds under it.
pub(super) fn combine(shares: &[&Share]) -> Option<QuorumSecret> {
    let mut numbered: Vec<Vec<u8>> = shares.iter().map(|share| share.numbered()).collect();
    let combined = Gf256::combine_bytes(&numbered).ok().map(Zeroizing::new);
    numbered.iter_mut().for_each(Zeroize::zeroize);
    let secret = QuorumSecret::new(Secret::from_slice(&combined?)?);
    let key = mac_key(&secret);
    shares.iter().all(|share| share.holds_under(&key)).then_some(secret)
}
