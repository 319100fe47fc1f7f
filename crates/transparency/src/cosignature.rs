//! Cosignatures (C2SP tlog-cosignature, version 1 over Ed25519): a witness says what it saw and when (rule KT-2).
//!
//! What is signed is the text
//!
//! ```text
//! cosignature/v1
//! time 1679315147
//! <the checkpoint's text, three lines>
//! ```
//! and it means: at this time, the largest tree of this log that the witness had seen was this one, and it was
//! consistent with all that it had seen before. A witness of ours says more by it: that it checked the directory's
//! append-only proofs for every epoch up to there (rule KT-12).
//!
//! The text does not name the witness, so no two witnesses may have one key.

use undertone_keys::WallTime;
use undertone_keys::sign::{Signature, SigningKey, VerifyingKey, Witness};

use crate::checkpoint::VerifiedCheckpoint;
use crate::note::{NoteSignature, WitnessKey};

/// Bytes of a cosignature behind the key id.
pub const LENGTH: usize = 72;
/// The largest time that the format allows, in unix seconds.
const MAX_TIME: u64 = u64::MAX >> 1;

/// A time and a signature.
///
/// | bytes | what |
/// |-------|------|
/// | 8     | unix seconds, big-endian; from 1 to 2^63 - 1 |
/// | 64    | Ed25519 signature |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosignature {
    time: WallTime,
    signature: Signature,
}

/// Why bytes are no cosignature of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCosignature {
    /// Not 72 bytes.
    #[error("the cosignature is malformed")]
    Malformed,
    /// A time that the format does not allow.
    #[error("the cosignature has an impossible time")]
    Time,
    /// The witness's key did not make it for this checkpoint and time.
    #[error("the cosignature does not verify")]
    Signature,
}

impl Cosignature {
    /// Cosigns a checkpoint at the time `at`. The caller has checked rule KT-12 and has stored the checkpoint as the
    /// last one cosigned, in that order.
    ///
    /// # Errors
    /// [`BadCosignature::Time`] when the clock is at zero or beyond 2^63 - 1.
    pub fn sign(
        checkpoint: &VerifiedCheckpoint,
        key: &SigningKey<Witness>,
        at: WallTime,
    ) -> Result<Self, BadCosignature> {
        check(at)?;
        Ok(Self { time: at, signature: key.sign_note(&message(checkpoint, at)) })
    }

    /// When the witness saw the checkpoint, by its own clock.
    #[must_use]
    pub const fn time(&self) -> WallTime {
        self.time
    }

    /// Verifies that the witness with this key cosigned this checkpoint at the time that the cosignature says.
    ///
    /// # Errors
    /// [`BadCosignature::Signature`].
    pub fn verify(&self, checkpoint: &VerifiedCheckpoint, key: &VerifyingKey<Witness>) -> Result<(), BadCosignature> {
        let message = message(checkpoint, self.time);
        key.verify_note(&message, &self.signature).map_err(|_| BadCosignature::Signature)
    }

    /// The note line of this cosignature by `key`.
    #[must_use]
    pub fn line(&self, key: &WitnessKey) -> NoteSignature {
        key.line(&self.to_bytes())
    }

    /// The 72 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.time.as_unix().to_be_bytes(), self.signature.as_bytes().as_slice()].concat()
    }

    /// Reads the bytes of a note line.
    ///
    /// # Errors
    /// [`BadCosignature::Malformed`] or [`BadCosignature::Time`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadCosignature> {
        let (time, signature) = bytes.split_first_chunk().ok_or(BadCosignature::Malformed)?;
        let signature = signature.try_into().map_err(|_| BadCosignature::Malformed)?;
        let time = WallTime::from_unix(u64::from_be_bytes(*time));
        check(time)?;
        Ok(Self { time, signature: Signature::from_bytes(signature) })
    }
}

/// Zero would mean that the witness says nothing about time, which it may not.
fn check(time: WallTime) -> Result<(), BadCosignature> {
    if (1..=MAX_TIME).contains(&time.as_unix()) { Ok(()) } else { Err(BadCosignature::Time) }
}

fn message(checkpoint: &VerifiedCheckpoint, time: WallTime) -> Vec<u8> {
    format!("cosignature/v1\ntime {}\n{}", time.as_unix(), checkpoint.text()).into_bytes()
}

#[cfg(test)]
mod tests;
