//! The VRF (RFC 9381, ECVRF-EDWARDS25519-SHA512-TAI) that turns a user's label and a version into a place in the tree.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use akd_core::configuration::Configuration;
use akd_core::ecvrf::{Proof, VRFKeyStorage, VRFPublicKey, VrfError};
use akd_core::{AkdLabel, NodeLabel, VersionFreshness, WhatsAppV1Configuration as Config};

use super::claim::{Claim, Freshness};

/// The length of a VRF proof in bytes.
pub(super) const PROOF_LEN: usize = 80;

/// The directory's public VRF key: 32 bytes, pinned (rule KT-14) and named by its hash in every leaf of the log.
#[derive(Clone)]
pub struct VrfKey(VRFPublicKey);

/// The bytes are no point of the curve, or one of small order (rule KT-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a VRF key")]
pub struct BadVrfKey;

impl VrfKey {
    /// Takes a key from outside.
    ///
    /// # Errors
    /// [`BadVrfKey`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadVrfKey> {
        VRFPublicKey::try_from(bytes.as_slice()).map(Self).map_err(|_| BadVrfKey)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The place that the proof assigns to a version of `user`, if it is this key's proof for exactly that.
    pub(super) fn place(&self, user: &AkdLabel, claim: Claim, proof: &[u8; PROOF_LEN]) -> Option<NodeLabel> {
        let freshness = match claim.freshness {
            Freshness::Fresh => VersionFreshness::Fresh,
            Freshness::Stale => VersionFreshness::Stale,
        };
        if !is_reduced(proof) {
            return None;
        }
        let proof = Proof::try_from(proof.as_slice()).ok()?;
        let input = Config::get_hash_from_label_input(user, freshness, claim.version);
        self.0.verify(&proof, &input).ok()?;
        output(proof)
    }
}

/// Whether the proof's scalar is in its one form, below the order of the group: `akd_core` takes it with the order added as
/// well, and a proof would have two encodings.
fn is_reduced(proof: &[u8; PROOF_LEN]) -> bool {
    /// 2^252 + 27742317777372353535851937790883648493 (RFC 8032, 5.1), little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let scalar = proof.last_chunk::<32>();
    scalar.is_some_and(|scalar| scalar.iter().rev().lt(ORDER.iter().rev()))
}

impl fmt::Debug for VrfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VrfKey")
    }
}

/// The place a proof leads to if it holds. Says nothing about whether it holds.
pub(super) fn unverified_place(proof: &[u8; PROOF_LEN]) -> Option<NodeLabel> {
    Proof::try_from(proof.as_slice()).ok().and_then(output)
}

/// `akd_core` shows a VRF output to nobody but the default methods of its key storage, which are async. This one needs
/// no key and waits for nothing: it is ready when first asked.
fn output(proof: Proof) -> Option<NodeLabel> {
    let storage = NoKey;
    let mut future = storage.get_node_label_from_vrf_proof(proof);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(label) => Some(label),
        Poll::Pending => None,
    }
}

#[derive(Clone)]
struct NoKey;

impl VRFKeyStorage for NoKey {
    fn retrieve<'a, 'b>(&'a self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, VrfError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(core::future::ready(Err(VrfError::SigningKey(String::new()))))
    }
}
