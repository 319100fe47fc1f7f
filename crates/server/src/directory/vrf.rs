//! The directory's VRF (RFC 9381, ECVRF-EDWARDS25519-SHA512-TAI) and what is remembered of it.
//!
//! A proof costs a core 80 to 90 microseconds and depends on nothing but the key, the label, the version and which of
//! its two leaves is meant: no epoch changes it. Those of published versions are kept by the storage for ever. Others,
//! asked for to prove that something is absent, are kept here, bounded in number, as strangers choose their labels.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use akd::ecvrf::{Proof, VRFExpandedPrivateKey, VRFKeyStorage, VRFPrivateKey, VRFPublicKey, VrfError};
use akd::{AkdLabel, AkdValue, Configuration, NodeLabel, VersionFreshness, WhatsAppV1Configuration};
use async_trait::async_trait;
use futures_util::FutureExt;
use undertone_keys::Secret;
use undertone_keys::digest::sha256;
use undertone_transparency::log::Hash;

use super::ahead::Places;
use super::storage::{VrfPair, VrfProof};

/// Labels for which it is worth while to start threads.
const SHARED_FROM: usize = 16;
/// Labels that a thread takes at once: some are known already, so equal shares would be unequal work.
const SHARE: usize = 16;

/// A leaf that has a place: label, whether it is the fresh one, version.
pub(super) type Leaf = (Vec<u8>, bool, u64);

/// A leaf as `akd` asks for its place, with the value that it passes through.
type Asked = (AkdLabel, VersionFreshness, u64, AkdValue);

/// The VRF with its key. Clones share one.
#[derive(Clone)]
pub(super) struct Vrf(Arc<Inner>);

struct Inner {
    seed: Secret<32>,
    expanded: VRFExpandedPrivateKey,
    public: VRFPublicKey,
    /// Hides what leaves commit to.
    commitment_key: Secret<32>,
    threads: NonZeroUsize,
    known: Mutex<Known>,
    /// Of the epoch that is made next.
    ahead: Mutex<Places>,
}

/// Two generations: what is used stays, what was not used for a whole generation goes.
struct Known {
    most: usize,
    young: HashMap<Leaf, VrfProof>,
    old: HashMap<Leaf, VrfProof>,
}

impl Vrf {
    /// The VRF with this seed (RFC 8032's private key), which remembers `most` proofs at most and evaluates many labels
    /// on `threads` threads. `None` where the seed is no key, which no 32 bytes are.
    pub(super) fn new(seed: Secret<32>, most: usize, threads: NonZeroUsize) -> Option<Self> {
        let private = VRFPrivateKey::try_from(seed.expose().as_slice()).ok()?;
        let mut commitment_key = WhatsAppV1Configuration::hash(seed.expose());
        Some(Self(Arc::new(Inner {
            expanded: VRFExpandedPrivateKey::from(&private),
            public: VRFPublicKey::from(&private),
            commitment_key: Secret::take(&mut commitment_key),
            seed,
            threads,
            known: Mutex::new(Known { most, young: HashMap::new(), old: HashMap::new() }),
            ahead: Mutex::default(),
        })))
    }

    /// The public key.
    pub(super) fn public(&self) -> [u8; 32] {
        self.0.public.to_bytes()
    }

    /// What stands for the public key in the leaves of the log.
    pub(super) fn key_hash(&self) -> Hash {
        sha256(&[&self.public()])
    }

    /// The proof for a leaf that was not published, remembered for a while.
    pub(super) fn proof(&self, label: &[u8], freshness: VersionFreshness, version: u64) -> VrfProof {
        let leaf = (label.to_vec(), freshness == VersionFreshness::Fresh, version);
        if let Some(proof) = self.known().get(&leaf) {
            return proof;
        }
        let proof = self.prove(label, freshness, version);
        self.known().put(leaf, proof);
        proof
    }

    /// Remembers a proof that the storage has, for the epoch that is about to ask for its place.
    pub(super) fn know(&self, label: &[u8], freshness: VersionFreshness, version: u64, proof: VrfProof) {
        self.known().put((label.to_vec(), freshness == VersionFreshness::Fresh, version), proof);
    }

    /// Takes over places that were worked out for the epoch which is made next.
    pub(super) fn expect(&self, places: Places) {
        *self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Both proofs of a published version, to be kept by the storage.
    pub(super) fn pair(&self, label: &[u8], version: u32) -> VrfPair {
        let prove = |freshness| self.prove(label, freshness, version.into());
        VrfPair { fresh: prove(VersionFreshness::Fresh), stale: prove(VersionFreshness::Stale) }
    }

    /// Opens a leaf's commitment to `value`.
    pub(super) fn nonce(&self, place: &[u8; 32], version: u32, value: &Hash) -> Hash {
        let place = NodeLabel::new(*place, 256);
        let (key, value) = (self.0.commitment_key.expose(), AkdValue(value.to_vec()));
        WhatsAppV1Configuration::get_commitment_nonce(key, &place, version.into(), &value)
    }

    fn prove(&self, label: &[u8], freshness: VersionFreshness, version: u64) -> VrfProof {
        let input = WhatsAppV1Configuration::get_hash_from_label_input(&AkdLabel(label.to_vec()), freshness, version);
        let proof = self.0.expanded.prove(&self.0.public, &input);
        let place = self.leads_to(proof);
        let place = place.unwrap_or_else(|| self.evaluate(&AkdLabel(label.to_vec()), freshness, version));
        VrfProof { place: beginning(&place), proof: proof.to_bytes() }
    }

    /// The place that a proof leads to. `akd` shows it in this way alone, which waits for nothing.
    fn leads_to(&self, proof: Proof) -> Option<NodeLabel> {
        self.get_node_label_from_vrf_proof(proof).now_or_never()
    }

    /// The whole place of a proof that was kept: a fifth of the work of evaluating the VRF.
    fn place(&self, kept: &VrfProof) -> Option<NodeLabel> {
        let place = Proof::try_from(kept.proof.as_slice()).ok().and_then(|proof| self.leads_to(proof))?;
        (beginning(&place) == kept.place).then_some(place)
    }

    pub(super) fn evaluate(&self, label: &AkdLabel, freshness: VersionFreshness, version: u64) -> NodeLabel {
        let Inner { expanded, public, .. } = &*self.0;
        Self::get_node_label_with_expanded_key::<WhatsAppV1Configuration>(expanded, public, label, freshness, version)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a leaf's place is kept.
fn beginning(place: &NodeLabel) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = place.label_val;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

impl Known {
    fn get(&mut self, leaf: &Leaf) -> Option<VrfProof> {
        if let Some(proof) = self.young.get(leaf) {
            return Some(*proof);
        }
        let (leaf, proof) = self.old.remove_entry(leaf)?;
        self.put(leaf, proof);
        Some(proof)
    }

    fn put(&mut self, leaf: Leaf, proof: VrfProof) {
        if self.young.len() >= self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if self.most > 1 {
            self.young.insert(leaf, proof);
        }
    }
}

#[async_trait]
impl VRFKeyStorage for Vrf {
    async fn retrieve(&self) -> Result<Vec<u8>, VrfError> {
        Ok(self.0.seed.expose().to_vec())
    }

    async fn get_vrf_public_key(&self) -> Result<VRFPublicKey, VrfError> {
        Ok(self.0.public.clone())
    }

    async fn get_node_label<TC: Configuration>(
        &self,
        label: &AkdLabel,
        freshness: VersionFreshness,
        version: u64,
    ) -> Result<NodeLabel, VrfError> {
        let Inner { expanded, public, .. } = &*self.0;
        Ok(Self::get_node_label_with_expanded_key::<TC>(expanded, public, label, freshness, version))
    }

    async fn get_label_proof<TC: Configuration>(
        &self,
        label: &AkdLabel,
        freshness: VersionFreshness,
        version: u64,
    ) -> Result<Proof, VrfError> {
        let input = TC::get_hash_from_label_input(label, freshness, version);
        Ok(self.0.expanded.prove(&self.0.public, &input))
    }

    /// Blocks: only the writer publishes, on its own thread.
    async fn get_node_labels<TC: Configuration>(&self, labels: &[Asked]) -> Result<Vec<(Asked, NodeLabel)>, VrfError> {
        let Inner { expanded, public, threads, .. } = &*self.0;
        let ahead = std::mem::take(&mut *self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner));
        let place = |asked: &Asked| {
            let (label, freshness, version, _) = asked;
            let leaf = (label.0.clone(), *freshness == VersionFreshness::Fresh, *version);
            let known = || {
                // Not in one expression, which would keep the lock for the work.
                let proof = self.known().get(&leaf);
                proof.and_then(|proof| self.place(&proof))
            };
            let place = ahead.get(&leaf).copied().or_else(known).unwrap_or_else(|| {
                Self::get_node_label_with_expanded_key::<TC>(expanded, public, label, *freshness, *version)
            });
            (asked.clone(), place)
        };
        if labels.len() < SHARED_FROM || threads.get() == 1 {
            return Ok(labels.iter().map(place).collect());
        }
        let taken = AtomicUsize::new(0);
        let work = || {
            let shares = std::iter::from_fn(|| {
                let from = taken.fetch_add(SHARE, Ordering::Relaxed);
                labels.get(from..).map(|rest| rest.get(..SHARE).unwrap_or(rest)).filter(|share| !share.is_empty())
            });
            shares.flatten().map(place).collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
            let mut places = work();
            for other in others {
                places.extend(other.join().map_err(|_| VrfError::SigningKey("a thread failed".into()))?);
            }
            Ok(places)
        })
    }
}

impl fmt::Debug for Vrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vrf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vrf(most: usize) -> Vrf {
        Vrf::new(Secret::filled_by(|seed| seed.fill(3)), most, NonZeroUsize::new(3).unwrap()).unwrap()
    }

    #[test]
    fn kt_5_all_ways_to_a_place_lead_to_the_same_one() {
        let vrf = vrf(10);
        for (freshness, version) in [(VersionFreshness::Fresh, 1), (VersionFreshness::Stale, 7)] {
            let proof = vrf.proof(b"ada", freshness, version);
            let place = vrf.evaluate(&"ada".into(), freshness, version);
            assert_eq!(proof.place, place.label_val[..16]);
            assert_eq!(vrf.place(&proof), Some(place));
            assert_eq!(vrf.place(&VrfProof { place: [1; 16], ..proof }), None);
            let label = "ada".into();
            let akd = vrf.get_label_proof::<WhatsAppV1Configuration>(&label, freshness, version);
            assert_eq!(proof.proof, akd.now_or_never().unwrap().unwrap().to_bytes());
        }
        let labels: Vec<_> = (0..40_u64)
            .map(|n| (AkdLabel(n.to_be_bytes().to_vec()), VersionFreshness::Fresh, n, AkdValue(vec![])))
            .collect();
        let places = vrf.get_node_labels::<WhatsAppV1Configuration>(&labels).now_or_never().unwrap().unwrap();
        assert_eq!(places.len(), labels.len());
        for ((label, freshness, version, _), place) in &places {
            assert_eq!(*place, vrf.evaluate(label, *freshness, *version));
        }
        // What was worked out ahead is taken as it is, once.
        let marked = NodeLabel::new([9; 32], 256);
        vrf.expect(Places::from([((7_u64.to_be_bytes().to_vec(), true, 7), marked)]));
        for due in [1, 0] {
            let places = vrf.get_node_labels::<WhatsAppV1Configuration>(&labels).now_or_never().unwrap().unwrap();
            assert_eq!(places.iter().filter(|(_, place)| *place == marked).count(), due);
            assert_eq!(places.len(), labels.len());
        }
    }

    #[test]
    fn what_strangers_ask_for_is_bounded_and_what_is_used_stays() {
        let vrf = vrf(8);
        for n in 0..40 {
            vrf.proof(b"used", VersionFreshness::Fresh, 1);
            vrf.proof(b"ada", VersionFreshness::Fresh, n);
            let known = vrf.known();
            assert!(known.young.len() + known.old.len() <= 8);
        }
        let used = (b"used".to_vec(), true, 1);
        let known = vrf.known();
        assert!(known.young.contains_key(&used) || known.old.contains_key(&used));
    }
}
