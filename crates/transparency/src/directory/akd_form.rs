//! From `akd`'s own structures to the wire forms and back.
//!
//! The server makes wire forms from what `akd` proves; tests and second opinions go the other way and ask `akd_core`'s
//! verifiers. Both ways keep everything: what the wire leaves out must be what it follows from, or the conversion
//! fails. Whether a proof *holds* is not asked here.

use akd_core::configuration::Configuration;
use akd_core::{
    AkdValue, AzksElement, AzksValue, Direction, MembershipProof, NodeLabel, NonMembershipProof, SiblingProof,
    SingleAppendOnlyProof, UpdateProof, WhatsAppV1Configuration as Config,
};

use super::claim::{fresh_value, stale_value};
use super::guard;
use super::lookup::marker_versions;
use super::node::{Digest, Node, Path, bit, common_bits, parent_value};
use super::vrf::{PROOF_LEN, unverified_place};
use super::wire::{AbsenceProof, AppendOnlyProof, Children, HistoryProof, LookupProof, Marker, Nodes, Present, Update};

/// A proof in `akd`'s form that contradicts itself, or one on the wire whose VRF proofs are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof contradicts itself")]
pub struct Irregular;

impl LookupProof {
    /// The wire form of a look-up. `further` are VRF and membership proofs of the leaves "fresh v" for those
    /// [`marker_versions`] that `akd`'s proof has not: all but the largest power of two, in their order.
    ///
    /// # Errors
    /// [`Irregular`].
    pub fn from_akd(proof: &akd_core::LookupProof, further: &[(Vec<u8>, MembershipProof)]) -> Result<Self, Irregular> {
        let version = u32::try_from(proof.version).map_err(|_| Irregular)?;
        let (value, nonce) = (array(&proof.value)?, array(&proof.commitment_nonce)?);
        let own = (&proof.marker_vrf_proof, &proof.marker_proof);
        let mut further = further.iter().map(|(vrf, leaf)| (vrf, leaf));
        let mut markers = Vec::new();
        for due in marker_versions(version) {
            let (vrf, leaf) = if due == power_of_two(version) { own } else { further.next().ok_or(Irregular)? };
            markers.push(marker(vrf, leaf)?);
        }
        let repeats = own == (&proof.existence_vrf_proof, &proof.existence_proof);
        if version.is_power_of_two() != repeats || further.next().is_some() {
            return Err(Irregular);
        }
        let leaf = fresh_value(&value, &nonce, proof.epoch);
        Ok(Self {
            epoch: proof.epoch,
            version,
            value,
            nonce,
            existence: present(&proof.existence_vrf_proof, &proof.existence_proof, leaf)?,
            freshness: AbsenceProof::from_akd(&proof.freshness_vrf_proof, &proof.freshness_proof)?,
            markers,
        })
    }

    /// `akd`'s form of this proof, for its own verifier. It has no room for further markers: they are left out.
    ///
    /// # Errors
    /// [`Irregular`].
    pub fn to_akd(&self) -> Result<akd_core::LookupProof, Irregular> {
        let leaf = fresh_value(&self.value, &self.nonce, self.epoch);
        let (existence_vrf_proof, existence_proof) = membership(&self.existence, leaf)?;
        let own = power_of_two(self.version);
        let marker = marker_versions(self.version).into_iter().zip(&self.markers).find(|(due, _)| *due == own);
        let (marker_vrf_proof, marker_proof) = match marker {
            Some((_, marker)) => membership(&marker.leaf, marker.value)?,
            None if self.version.is_power_of_two() => (existence_vrf_proof.clone(), existence_proof.clone()),
            None => return Err(Irregular),
        };
        let (freshness_vrf_proof, freshness_proof) = self.freshness.to_akd()?;
        Ok(akd_core::LookupProof {
            epoch: self.epoch,
            value: AkdValue(self.value.to_vec()),
            version: self.version.into(),
            existence_vrf_proof,
            existence_proof,
            marker_vrf_proof,
            marker_proof,
            freshness_vrf_proof,
            freshness_proof,
            commitment_nonce: self.nonce.to_vec(),
        })
    }
}

impl AbsenceProof {
    /// The wire form of a proof of non-membership and the VRF proof of its label.
    ///
    /// # Errors
    /// [`Irregular`].
    pub fn from_akd(vrf: &[u8], proof: &NonMembershipProof) -> Result<Self, Irregular> {
        let vrf = array(vrf)?;
        let (children, path) = children_and_path(proof)?;
        let at = guard::fork(&children).map_err(|_| Irregular)?;
        let place = unverified_place(&vrf).ok_or(Irregular)?;
        let whole = proof.label == place && proof.longest_prefix == place.get_prefix(at);
        if whole { Ok(Self { vrf, children, path }) } else { Err(Irregular) }
    }

    /// `akd`'s form of this proof: the VRF proof and the proof of non-membership.
    ///
    /// # Errors
    /// [`Irregular`].
    pub fn to_akd(&self) -> Result<(Vec<u8>, NonMembershipProof), Irregular> {
        let label = unverified_place(&self.vrf).ok_or(Irregular)?;
        let (left, right) = (self.children.left(), self.children.right());
        let longest_prefix = label.get_prefix(guard::fork(&self.children).map_err(|_| Irregular)?);
        let proof = NonMembershipProof {
            label,
            longest_prefix,
            longest_prefix_children: [element(left), element(right)],
            longest_prefix_membership_proof: way(&self.path, longest_prefix, parent_value(left, right)),
        };
        Ok((self.vrf.to_vec(), proof))
    }
}

impl HistoryProof {
    /// The wire form of a history.
    ///
    /// # Errors
    /// [`Irregular`], also when its versions are not consecutive.
    pub fn from_akd(proof: &akd_core::HistoryProof) -> Result<Self, Irregular> {
        let latest = proof.update_proofs.first().ok_or(Irregular)?.version;
        let mut updates = Vec::with_capacity(proof.update_proofs.len());
        for (due, proof) in (0..=latest).rev().zip(&proof.update_proofs) {
            if proof.version != due {
                return Err(Irregular);
            }
            updates.push(update(proof)?);
        }
        let counts = (
            updates.len() == proof.update_proofs.len(),
            proof.past_marker_vrf_proofs.len() == proof.existence_of_past_marker_proofs.len(),
            proof.future_marker_vrf_proofs.len() == proof.non_existence_of_future_marker_proofs.len(),
        );
        if counts != (true, true, true) {
            return Err(Irregular);
        }
        let past = proof.past_marker_vrf_proofs.iter().zip(&proof.existence_of_past_marker_proofs);
        let future = proof.future_marker_vrf_proofs.iter().zip(&proof.non_existence_of_future_marker_proofs);
        Ok(Self {
            latest: latest.try_into().map_err(|_| Irregular)?,
            updates,
            past: past.map(|(vrf, leaf)| marker(vrf, leaf)).collect::<Result<_, _>>()?,
            future: future.map(|(vrf, leaf)| AbsenceProof::from_akd(vrf, leaf)).collect::<Result<_, _>>()?,
        })
    }

    /// `akd`'s form of this proof, for its own verifier.
    ///
    /// # Errors
    /// [`Irregular`], also when it has more updates than versions.
    pub fn to_akd(&self) -> Result<akd_core::HistoryProof, Irregular> {
        let mut update_proofs = Vec::with_capacity(self.updates.len());
        for (back, update) in self.updates.iter().enumerate() {
            let version = u64::from(self.latest).checked_sub(back as u64).ok_or(Irregular)?;
            let leaf = fresh_value(&update.value, &update.nonce, update.epoch);
            let (existence_vrf_proof, existence_proof) = membership(&update.existence, leaf)?;
            let stale = update.superseded.as_ref().map(|stale| membership(stale, stale_value(update.epoch)));
            let (previous_version_vrf_proof, previous_version_proof) = stale.transpose()?.unzip();
            update_proofs.push(UpdateProof {
                epoch: update.epoch,
                value: AkdValue(update.value.to_vec()),
                version,
                existence_vrf_proof,
                existence_proof,
                previous_version_vrf_proof,
                previous_version_proof,
                commitment_nonce: update.nonce.to_vec(),
            });
        }
        let past = self.past.iter().map(|marker| membership(&marker.leaf, marker.value));
        let (past_marker_vrf_proofs, existence_of_past_marker_proofs) =
            past.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let future = self.future.iter().map(AbsenceProof::to_akd);
        let (future_marker_vrf_proofs, non_existence_of_future_marker_proofs) =
            future.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(akd_core::HistoryProof {
            update_proofs,
            past_marker_vrf_proofs,
            existence_of_past_marker_proofs,
            future_marker_vrf_proofs,
            non_existence_of_future_marker_proofs,
        })
    }
}

impl AppendOnlyProof {
    /// The wire form of one epoch's proof.
    ///
    /// # Errors
    /// [`Irregular`], also when a node stands twice.
    pub fn from_akd(proof: &SingleAppendOnlyProof) -> Result<Self, Irregular> {
        let nodes = |elements: &[AzksElement]| {
            let nodes: Option<Vec<_>> =
                elements.iter().map(|element| Node::new(element.label, element.value.0)).collect();
            nodes.and_then(Nodes::new).ok_or(Irregular)
        };
        Ok(Self { unchanged: nodes(&proof.unchanged_nodes)?, inserted: nodes(&proof.inserted)? })
    }

    /// `akd`'s form of this proof, in the order of the labels.
    #[must_use]
    pub fn to_akd(&self) -> SingleAppendOnlyProof {
        let elements = |nodes: &Nodes| nodes.as_slice().iter().map(|node| element(Some(node))).collect();
        SingleAppendOnlyProof { inserted: elements(&self.inserted), unchanged_nodes: elements(&self.unchanged) }
    }
}

/// What a proof of non-membership shows of the tree. Its path leads to a node that has just these children.
pub(super) fn children_and_path(proof: &NonMembershipProof) -> Result<(Children, Path), Irregular> {
    let [left, right] = &proof.longest_prefix_children;
    let children = Children::new(node(left)?, node(right)?);
    let parent = &proof.longest_prefix_membership_proof;
    let whole =
        parent.label == proof.longest_prefix && parent.hash_val.0 == parent_value(children.left(), children.right());
    if whole { Ok((children, path(parent)?)) } else { Err(Irregular) }
}

fn update(proof: &UpdateProof) -> Result<Update, Irregular> {
    let (value, nonce) = (array(&proof.value)?, array(&proof.commitment_nonce)?);
    let leaf = fresh_value(&value, &nonce, proof.epoch);
    let superseded = match (&proof.previous_version_vrf_proof, &proof.previous_version_proof) {
        (Some(vrf), Some(stale)) => Some(present(vrf, stale, stale_value(proof.epoch))?),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(Irregular),
    };
    let existence = present(&proof.existence_vrf_proof, &proof.existence_proof, leaf)?;
    Ok(Update { epoch: proof.epoch, value, nonce, existence, superseded })
}

fn marker(vrf: &[u8], leaf: &MembershipProof) -> Result<Marker, Irregular> {
    let value = leaf.hash_val.0;
    Ok(Marker { value, leaf: present(vrf, leaf, value)? })
}

fn present(vrf: &[u8], leaf: &MembershipProof, value: Digest) -> Result<Present, Irregular> {
    let vrf = array::<PROOF_LEN>(vrf)?;
    let whole = leaf.hash_val.0 == value && unverified_place(&vrf) == Some(leaf.label);
    if whole { Ok(Present { vrf, path: path(leaf)? }) } else { Err(Irregular) }
}

fn membership(leaf: &Present, value: Digest) -> Result<(Vec<u8>, MembershipProof), Irregular> {
    let place = unverified_place(&leaf.vrf).ok_or(Irregular)?;
    Ok((leaf.vrf.to_vec(), way(&leaf.path, place, value)))
}

fn path(proof: &MembershipProof) -> Result<Path, Irregular> {
    let mut beside = Vec::with_capacity(proof.sibling_proofs.len());
    for step in &proof.sibling_proofs {
        let [sibling] = &step.siblings;
        let node = node(sibling)?;
        let at = fork(&proof.label, node.as_ref());
        if step.label != proof.label.get_prefix(at) || step.direction != side(&proof.label, at) {
            return Err(Irregular);
        }
        beside.push(node);
    }
    Path::new(beside).ok_or(Irregular)
}

fn way(path: &Path, label: NodeLabel, value: Digest) -> MembershipProof {
    let step = |beside: &Option<Node>| {
        let at = fork(&label, beside.as_ref());
        SiblingProof { label: label.get_prefix(at), siblings: [element(beside.as_ref())], direction: side(&label, at) }
    };
    let sibling_proofs = path.beside().iter().map(step).collect();
    MembershipProof { label, hash_val: AzksValue(value), sibling_proofs }
}

/// Where the way to `label` leaves a node behind: only the root lacks children.
fn fork(label: &NodeLabel, beside: Option<&Node>) -> u32 {
    beside.map_or(0, |beside| common_bits(label, beside.label()))
}

/// The side on which the way to `label` goes on.
fn side(label: &NodeLabel, at: u32) -> Direction {
    if bit(label, at) { Direction::Right } else { Direction::Left }
}

/// `akd` has an element for a missing child: an empty label of its own, which is not the root's, and a fixed value.
fn node(element: &AzksElement) -> Result<Option<Node>, Irregular> {
    if element.label != Config::empty_label() {
        return Node::new(element.label, element.value.0).map(Some).ok_or(Irregular);
    }
    if element.value == Config::empty_node_hash() { Ok(None) } else { Err(Irregular) }
}

fn element(node: Option<&Node>) -> AzksElement {
    match node {
        Some(node) => AzksElement { label: *node.label(), value: AzksValue(*node.value()) },
        None => AzksElement { label: Config::empty_label(), value: Config::empty_node_hash() },
    }
}

/// The marker that `akd`'s look-up has.
fn power_of_two(version: u32) -> u64 {
    1 << version.checked_ilog2().unwrap_or(0)
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Irregular> {
    bytes.try_into().map_err(|_| Irregular)
}
