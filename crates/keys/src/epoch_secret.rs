//! The secret of one epoch of a group call, from which everything that belongs to the epoch is derived (rule GRP-3).
//!
//! ```text
//! secret --+--> commitment   in the host's statement: everybody can tell that they were given the same
//!          +--> ready key    a member shows the host that it has the secret
//!          +--> media key    into the ring; sender keys come from it (rule MED-3)
//! ```

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use subtle::ConstantTimeEq;

use crate::CallId;
use crate::call_agreement::MediaKey;
use crate::hkdf::{Prk, Sha256};
use crate::id::JoinId;
use crate::labels::{self, Label};
use crate::primitives::hmac_sha256;
use crate::secret::Secret;

/// Where an epoch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochPlace<'a> {
    /// Which call.
    pub call: &'a CallId,
    /// The host's term.
    pub term: u32,
    /// The epoch's number, in full.
    pub epoch: u32,
}

/// 32 random bytes that the host draws for an epoch. Nothing is sealed under them as they are.
#[derive(Debug)]
pub struct EpochSecret(Secret<32>);

impl EpochSecret {
    /// Draws one.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    /// The one with these bytes.
    #[must_use]
    pub const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// A second one with the same bytes, for one more letter.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Secret::filled_by(|out| out.copy_from_slice(self.0.expose())))
    }

    fn derive(&self, label: Label, place: EpochPlace<'_>) -> Secret<32> {
        let (term, epoch) = (place.term.to_be_bytes(), place.epoch.to_be_bytes());
        Prk::<Sha256>::extract(&[], &[self.0.expose()]).derive(label, &[place.call.as_bytes(), &term, &epoch])
    }

    /// What the host's statement says of it: 32 bytes that fit no other secret and tell nothing about this one.
    #[must_use]
    pub fn commitment(&self, place: EpochPlace<'_>) -> [u8; 32] {
        *self.derive(labels::EPOCH_COMMITMENT, place).expose()
    }

    /// Whether it is the one that was committed to.
    #[must_use]
    pub fn matches(&self, place: EpochPlace<'_>, commitment: &[u8; 32]) -> bool {
        self.derive(labels::EPOCH_COMMITMENT, place).expose().ct_eq(commitment).into()
    }

    /// What goes into the ring.
    #[must_use]
    pub fn media_key(&self, place: EpochPlace<'_>) -> MediaKey {
        MediaKey::new(self.derive(labels::EPOCH_MEDIA, place))
    }

    /// A member's proof that it has the secret: HMAC-SHA256 over the hash of the statement and the member's join.
    #[must_use]
    pub fn ready(&self, place: EpochPlace<'_>, statement: &[u8; 32], join: JoinId) -> [u8; 32] {
        let (key, mut mac) = (self.derive(labels::EPOCH_READY, place), [0; 64]);
        hmac_sha256(key.expose(), &[statement, join.as_bytes()], &mut mac);
        core::array::from_fn(|i| mac.get(i).copied().unwrap_or_default())
    }

    /// Whether a member's proof holds.
    #[must_use]
    pub fn is_ready(&self, place: EpochPlace<'_>, statement: &[u8; 32], join: JoinId, mac: &[u8; 32]) -> bool {
        self.ready(place, statement, join).ct_eq(mac).into()
    }
}

impl ConstantTimeEq for EpochSecret {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

impl<C> Encode<C> for EpochSecret {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EpochSecret {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Secret::from_slice(d.bytes()?).map(Self).ok_or_else(|| DecodeError::message("not a secret"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn grp_3_a_commitment_fits_one_secret_in_one_place() {
        let mut rng = SeededRng::new(1);
        let (secret, other) = (EpochSecret::random(&mut rng), EpochSecret::random(&mut rng));
        let (call, elsewhere) = (CallId::from_bytes([1; 16]), CallId::from_bytes([2; 16]));
        let place = EpochPlace { call: &call, term: 1, epoch: 7 };
        let commitment = secret.commitment(place);
        assert!(secret.duplicate().matches(place, &commitment));
        assert!(!other.matches(place, &commitment));
        for wrong in [
            EpochPlace { call: &elsewhere, ..place },
            EpochPlace { term: 2, ..place },
            EpochPlace { epoch: 8, ..place },
        ] {
            assert!(!secret.matches(wrong, &commitment), "{wrong:?}");
        }
    }

    #[test]
    fn grp_3_ready_is_shown_by_one_join_for_one_statement() {
        let mut rng = SeededRng::new(2);
        let (secret, join, call) =
            (EpochSecret::random(&mut rng), JoinId::random(&mut rng), CallId::from_bytes([1; 16]));
        let place = EpochPlace { call: &call, term: 1, epoch: 7 };
        let mac = secret.ready(place, &[3; 32], join);
        assert!(secret.is_ready(place, &[3; 32], join, &mac));
        assert!(!secret.is_ready(place, &[4; 32], join, &mac));
        assert!(!secret.is_ready(place, &[3; 32], JoinId::random(&mut rng), &mac));
        assert!(!EpochSecret::random(&mut rng).is_ready(place, &[3; 32], join, &mac));
    }
}
