//! The key of a one-to-one call (rule CALL-1).
//!
//! An agreement of the shape of Noise KK over P-256: each side brings the static key that the other has proven, and
//! an ephemeral. With `e`, `s` for ephemeral and static and `A`, `B` for caller and callee:
//!
//! ```text
//! transcript = H(caller static, callee static, invite body, answer body)
//! PRK        = HKDF-Extract(salt = transcript, eA.sB || sA.sB || eA.eB || sA.eB)
//! media key, two confirmation keys, SAS key = HKDF-Expand(PRK, label)
//! ```
//!
//! Where one side has RSA alone the four agreements are two random halves in envelopes (rule CALL-2). Where the terms say that a quorum secret is
//! mixed in, it stands behind either (rules NEG-1, RKX-5): `... || label 0x00 || secret`.
//!
//! The bodies name users, devices, call id, grants and everything that NEG-1 fixes. Both sides confirm by a MAC
//! over the transcript before any frame is sealed.

use subtle::ConstantTimeEq;

use crate::agreement::SharedSecret;
use crate::digest::labelled_sha256;
use crate::hkdf::{Prk, Sha256};
use crate::labels::{self, Label};
use crate::legacy::LegacyHalf;
use crate::quorum::QuorumSecret;
use crate::secret::Secret;
use crate::static_key::StaticKey;

/// The four agreements, in the order in which they enter the derivation.
#[derive(Debug)]
pub struct Shares {
    /// Caller's ephemeral with callee's static key.
    pub ephemeral_static: SharedSecret,
    /// Both static keys.
    pub static_static: SharedSecret,
    /// Both ephemerals.
    pub ephemeral_ephemeral: SharedSecret,
    /// Caller's static key with callee's ephemeral.
    pub static_ephemeral: SharedSecret,
}

/// The hash of all that both sides said: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcript([u8; 32]);

impl Transcript {
    /// Hashes the static keys and the exact bytes of both bodies.
    #[must_use]
    pub fn new(caller: &StaticKey, callee: &StaticKey, invite: &[u8], answer: &[u8]) -> Self {
        Self(labelled_sha256(labels::CALL_TRANSCRIPT, &[caller.as_bytes(), callee.as_bytes(), invite, answer]))
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key of one epoch of a call's media. Sender keys are derived from it (rule MED-3); it seals nothing itself,
/// and it is not a [hop's key](https://docs.rs/undertone-media).
#[derive(Debug)]
pub struct MediaKey(Secret<32>);

impl MediaKey {
    /// The key with these bytes: from an envelope, an exporter, or a test.
    #[must_use]
    pub const fn new(bytes: Secret<32>) -> Self {
        Self(bytes)
    }

    /// Derives `N` bytes for one sender. `label` names the rule, `context` who and where.
    #[must_use]
    pub fn derive<const N: usize>(&self, label: Label, context: &[&[u8]]) -> Secret<N> {
        Prk::<Sha256>::extract(&[], &[self.0.expose()]).derive(label, context)
    }
}

impl ConstantTimeEq for MediaKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

/// The key of one side's confirmation.
#[derive(Debug)]
pub struct ConfirmKey(Secret<32>);

impl ConfirmKey {
    /// The MAC over the transcript.
    #[must_use]
    pub fn mac(&self, transcript: &Transcript) -> [u8; 32] {
        let mut mac = [0; 64];
        crate::primitives::hmac_sha256(self.0.expose(), &[&transcript.0], &mut mac);
        core::array::from_fn(|i| mac.get(i).copied().unwrap_or_default())
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, transcript: &Transcript, mac: &[u8; 32]) -> bool {
        self.mac(transcript).ct_eq(mac).into()
    }
}

/// The key of the short authentication string; see [`crate::sas`].
#[derive(Debug)]
pub struct SasKey(pub(crate) Secret<32>);

/// What an agreement yields.
#[derive(Debug)]
pub struct CallKeys {
    /// Proves to the callee that the caller has the keys.
    pub confirm_caller: ConfirmKey,
    /// Proves to the caller that the callee has the keys.
    pub confirm_callee: ConfirmKey,
    /// The media key of epoch 1.
    pub media: MediaKey,
    /// For the short authentication string.
    pub sas: SasKey,
}

impl CallKeys {
    /// Derives all keys of a call in which one side has RSA alone (rule CALL-2): from a half that each side drew, sealed to
    /// the other in an envelope. Everything else is as in any call; there is no forward secrecy.
    #[must_use]
    pub fn derive_legacy(
        transcript: &Transcript,
        caller: &LegacyHalf,
        callee: &LegacyHalf,
        quorum: Option<&QuorumSecret>,
    ) -> Self {
        let label = labels::CALL_LEGACY.as_bytes();
        Self::extract(transcript, &[label, &[0], caller.expose(), callee.expose()], quorum)
    }

    /// Derives all keys of a call, with the quorum secret where its terms say that one is mixed in.
    #[must_use]
    pub fn derive(transcript: &Transcript, shares: &Shares, quorum: Option<&QuorumSecret>) -> Self {
        let shares: [&[u8]; 4] = [
            shares.ephemeral_static.expose(),
            shares.static_static.expose(),
            shares.ephemeral_ephemeral.expose(),
            shares.static_ephemeral.expose(),
        ];
        Self::extract(transcript, &shares, quorum)
    }

    fn extract(transcript: &Transcript, agreed: &[&[u8]], quorum: Option<&QuorumSecret>) -> Self {
        let mut material = agreed.to_vec();
        if let Some(secret) = quorum {
            material.extend([labels::CALL_QUORUM.as_bytes(), &[0], secret.expose()]);
        }
        let prk = Prk::<Sha256>::extract(&transcript.0, &material);
        Self {
            confirm_caller: ConfirmKey(prk.derive(labels::CALL_CONFIRM_CALLER, &[])),
            confirm_callee: ConfirmKey(prk.derive(labels::CALL_CONFIRM_CALLEE, &[])),
            media: MediaKey(prk.derive(labels::CALL_MEDIA, &[])),
            sas: SasKey(prk.derive(labels::SAS_KEY, &[])),
        }
    }
}

#[cfg(test)]
mod tests;
