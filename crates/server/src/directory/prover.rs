//! Proofs in their wire forms, from a tree, the versions stored and the VRF (rules KT-5 and KT-6).
//!
//! The tree is of one epoch. Versions are only ever added, so those of an epoch are found in any later state of the
//! storage, and VRF proofs depend on no epoch.

use akd::VersionFreshness;
use akd_core::utils::get_marker_versions;
use undertone_transparency::directory::wire::{
    AbsenceProof, HistoryProof, LookupProof, MAX_UPDATES, Marker, Present, Update,
};
use undertone_transparency::directory::{Digest, marker_versions};

use super::storage::{StorageError, Version, View, VrfPair, VrfProof};
use super::tree::{Tree, Way, walk};
use super::vrf::Vrf;

/// Makes proofs about one epoch.
#[derive(Debug)]
pub(super) struct Prover<'a, T, V> {
    pub(super) tree: &'a T,
    pub(super) view: &'a V,
    pub(super) vrf: &'a Vrf,
    pub(super) epoch: u64,
}

/// What there is about a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof<P> {
    /// The label has versions.
    Present(P),
    /// It never had any.
    Absent(Box<AbsenceProof>),
}

impl<T: Tree, V: View> Prover<'_, T, V> {
    /// The newest version of a label, or that it has none.
    pub(super) fn lookup(&self, label: &[u8]) -> Result<Proof<LookupProof>, StorageError> {
        let Some(newest) = self.view.newest(label, self.epoch)? else { return self.absence(label) };
        let Version { version, epoch, value, vrf } = newest;
        let pair = vrf.unwrap_or_else(|| self.missing(label, version));
        let (existence, _, place) = self.present(&pair.fresh)?;
        let mut markers = Vec::new();
        for due in marker_versions(version) {
            markers.push(self.marker(label, due)?);
        }
        Ok(Proof::Present(LookupProof {
            epoch,
            version,
            value,
            nonce: self.vrf.nonce(&place, version, &value),
            existence,
            freshness: self.absent(&pair.stale)?,
            markers,
        }))
    }

    /// The versions of a label from `from` to the newest, [`MAX_UPDATES`] at most, or that it has none.
    pub(super) fn history(&self, label: &[u8], from: u32) -> Result<Proof<HistoryProof>, StorageError> {
        let Some(newest) = self.view.newest(label, self.epoch)? else { return self.absence(label) };
        let latest = newest.version;
        let most = u32::try_from(MAX_UPDATES).unwrap_or(u32::MAX);
        let oldest = from.clamp(1, latest).max(latest.saturating_sub(most - 1));
        if u64::from(latest) > self.epoch {
            return Err(StorageError::Damaged);
        }
        // The one before is asked for its second leaf.
        let versions = self.view.versions(label, oldest.saturating_sub(1), latest)?;
        let mut updates = Vec::with_capacity(versions.len());
        let mut before: Option<VrfProof> = None;
        for Version { version, epoch, value, vrf } in versions {
            let pair = vrf.unwrap_or_else(|| self.missing(label, version));
            if version >= oldest {
                let (existence, _, place) = self.present(&pair.fresh)?;
                updates.push(Update {
                    epoch,
                    value,
                    nonce: self.vrf.nonce(&place, version, &value),
                    existence,
                    superseded: before.map(|stale| self.present(&stale)).transpose()?.map(|(stale, ..)| stale),
                });
            }
            before = Some(pair.stale);
        }
        updates.reverse();
        let (past, future) = get_marker_versions(oldest.into(), latest.into(), self.epoch);
        let future = future.into_iter().map(|version| self.absent(&self.unpublished(label, version)));
        Ok(Proof::Present(HistoryProof {
            latest,
            updates,
            past: past.into_iter().map(|version| self.marker(label, version)).collect::<Result<_, _>>()?,
            future: future.collect::<Result<_, _>>()?,
        }))
    }

    fn absence<P>(&self, label: &[u8]) -> Result<Proof<P>, StorageError> {
        Ok(Proof::Absent(Box::new(self.absent(&self.unpublished(label, 1))?)))
    }

    fn marker(&self, label: &[u8], version: u64) -> Result<Marker, StorageError> {
        let version = u32::try_from(version).map_err(|_| StorageError::Damaged)?;
        let stored = self.view.versions(label, version, version)?.pop().ok_or(StorageError::Damaged)?;
        let pair = stored.vrf.unwrap_or_else(|| self.missing(label, version));
        let (leaf, value, _) = self.present(&pair.fresh)?;
        Ok(Marker { value, leaf })
    }

    /// That a leaf is there, its value and its place.
    fn present(&self, leaf: &VrfProof) -> Result<(Present, Digest, [u8; 32]), StorageError> {
        match walk(self.tree, &leaf.place)? {
            Way::Present(place, path, value) => Ok((Present { vrf: leaf.proof, path }, value, place)),
            Way::Absent(..) => Err(StorageError::Damaged),
        }
    }

    fn absent(&self, leaf: &VrfProof) -> Result<AbsenceProof, StorageError> {
        match walk(self.tree, &leaf.place)? {
            Way::Absent(path, children) => Ok(AbsenceProof { vrf: leaf.proof, children, path }),
            Way::Present(..) => Err(StorageError::Damaged),
        }
    }

    /// The proofs of a version that the writer did not get to yet.
    fn missing(&self, label: &[u8], version: u32) -> VrfPair {
        let proof = |freshness| self.vrf.proof(label, freshness, version.into());
        VrfPair { fresh: proof(VersionFreshness::Fresh), stale: proof(VersionFreshness::Stale) }
    }

    fn unpublished(&self, label: &[u8], version: u64) -> VrfProof {
        self.vrf.proof(label, VersionFreshness::Fresh, version)
    }
}
