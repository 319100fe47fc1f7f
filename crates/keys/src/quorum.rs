//! The secret that two people draw from a swarm of key servers (rule RKX-5).
//!
//! It is mixed into the key of a call, or into a group's epochs as a pre-shared key, and is never a key by itself: whoever has it and
//! nothing else opens nothing.

use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// 32 bytes that were split over a swarm's nodes.
#[derive(Debug)]
pub struct QuorumSecret(Secret<32>);

impl QuorumSecret {
    /// The secret with these bytes: as they were put together from shares.
    #[must_use]
    pub const fn new(bytes: Secret<32>) -> Self {
        Self(bytes)
    }

    /// Drawn anew, to be split.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// What is split, or mixed in.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl ConstantTimeEq for QuorumSecret {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}
