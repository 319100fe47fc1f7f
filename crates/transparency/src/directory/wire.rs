//! The wire forms of the directory's proofs: deterministic CBOR.
//!
//! | what | CBOR |
//! |---|---|
//! | [`LookupProof`] | `{0: epoch, 1: version, 2: value, 3: nonce, 4: present, 5: absence, 6: [marker]}` |
//! | [`HistoryProof`] | `{0: latest version, 1: [update], 2: [marker], 3: [absence]}` |
//! | [`AppendOnlyProof`] | `{0: nodes, 1: nodes}` |
//! | [`AbsenceProof`] | `[vrf, children, path]` |
//! | [`Present`] | `[vrf, path]` |
//! | [`Marker`] | `[value, present]` |
//! | [`Update`] | `[epoch, value, nonce, present, present of the version before's "stale" leaf]` |
//! | vrf | 80 bytes: gamma 32, c 16, s 32 (RFC 9381) |
//! | children, path, nodes | one byte string of packed nodes (`node.rs` has the table) |
//!
//! Against `akd`'s own form there is left out: every leaf's label (it comes out of the VRF), the labels of inner nodes
//! and the sides on which the way goes (they follow from the labels beside it), the values of leaves whose contents
//! are shown, the longest prefix of an absence with its value, and a look-up's marker where it is the version itself.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use undertone_keys::cbor::{self, Malformed};

use super::node::{self, Digest, Node, Path};
use super::vrf::PROOF_LEN;

/// Updates in a history proof at most: more than a device list should ever have versions.
pub const MAX_UPDATES: usize = 1024;
/// Marker proofs of one kind in a proof at most; versions and epochs have fewer bits than that.
pub const MAX_MARKERS: usize = 80;

/// Proof that a leaf is in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Present {
    /// The VRF proof that leads to its place.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub vrf: [u8; PROOF_LEN],
    /// The way there.
    #[n(1)]
    pub path: Path,
}

/// Proof that the leaf of an earlier version is in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Marker {
    /// The leaf's value. What it commits to is not shown.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub value: Digest,
    /// The leaf.
    #[n(1)]
    pub leaf: Present,
}

/// Proof that a leaf is not in the tree; by itself, that a user is not.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AbsenceProof {
    /// The VRF proof that leads to the place where it would stand.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub vrf: [u8; PROOF_LEN],
    /// The children of the deepest node on the way there.
    #[n(1)]
    pub children: Children,
    /// The way to that node.
    #[n(2)]
    pub path: Path,
}

/// The two children of a node. CBOR: one byte string of two packed nodes, left first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Children([Option<Node>; 2]);

/// Proof of a user's newest version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LookupProof {
    /// When the version was published.
    #[n(0)]
    pub epoch: u64,
    /// Counts from 1.
    #[n(1)]
    pub version: u32,
    /// What was published: the hash of a signed device list.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub value: [u8; 32],
    /// Opens the leaf's commitment to the value.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// The leaf "fresh version".
    #[n(4)]
    pub existence: Present,
    /// The leaf "stale version" is not there.
    #[n(5)]
    pub freshness: AbsenceProof,
    /// One for each of [`marker_versions`](super::marker_versions).
    #[n(6)]
    pub markers: Vec<Marker>,
}

/// One version in a history.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Update {
    /// When it was published.
    #[n(0)]
    pub epoch: u64,
    /// What was published.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: [u8; 32],
    /// Opens the leaf's commitment to the value.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// The leaf "fresh version".
    #[n(3)]
    pub existence: Present,
    /// The leaf "stale" of the version before, of the same epoch; none before version 1.
    #[n(4)]
    pub superseded: Option<Present>,
}

/// Proof of a user's versions from one on up to the newest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HistoryProof {
    /// The newest version.
    #[n(0)]
    pub latest: u32,
    /// The newest first, without gaps.
    #[n(1)]
    pub updates: Vec<Update>,
    /// Earlier versions that exist: the first list of `akd_core::utils::get_marker_versions`.
    #[n(2)]
    pub past: Vec<Marker>,
    /// Later versions that do not exist: the second list.
    #[n(3)]
    pub future: Vec<AbsenceProof>,
}

/// Proof that one epoch added leaves to the tree and did nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AppendOnlyProof {
    /// The roots of the subtrees (leaves among them) to which nothing was added.
    #[n(0)]
    pub unchanged: Nodes,
    /// The new leaves with their commitments, not yet hashed with the epoch.
    #[n(1)]
    pub inserted: Nodes,
}

/// Nodes in the order of their labels, none twice. CBOR: one byte string of packed nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes(Vec<Node>);

impl Children {
    /// Two children, of which the root may lack one.
    #[must_use]
    pub const fn new(left: Option<Node>, right: Option<Node>) -> Self {
        Self([left, right])
    }

    /// The child whose label goes on with 0.
    #[must_use]
    pub const fn left(&self) -> Option<&Node> {
        let [left, _] = &self.0;
        left.as_ref()
    }

    /// The child whose label goes on with 1.
    #[must_use]
    pub const fn right(&self) -> Option<&Node> {
        let [_, right] = &self.0;
        right.as_ref()
    }
}

impl Nodes {
    /// Sorts nodes, unless one stands twice.
    #[must_use]
    pub fn new(mut nodes: Vec<Node>) -> Option<Self> {
        nodes.sort_unstable_by_key(Self::place);
        Self::sorted(nodes)
    }

    /// The nodes in order: by the bits of their labels, a label before those that it begins.
    #[must_use]
    pub fn as_slice(&self) -> &[Node] {
        &self.0
    }

    fn sorted(nodes: Vec<Node>) -> Option<Self> {
        nodes.is_sorted_by(|a, b| Self::place(a) < Self::place(b)).then_some(Self(nodes))
    }

    /// What nodes are ordered by.
    pub(super) const fn place(node: &Node) -> ([u8; 32], u32) {
        (node.label().label_val, node.label().label_len)
    }
}

impl LookupProof {
    /// The longest encoding. One of a million users has 3 KB.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`Malformed`] when they are too many or not the deterministic encoding of a proof.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let proof: Self = bounded(bytes, Self::MAX_BYTES)?;
        if proof.markers.len() > MAX_MARKERS { Err(Malformed) } else { Ok(proof) }
    }

    /// The deterministic encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }
}

impl AbsenceProof {
    /// The longest encoding.
    pub const MAX_BYTES: usize = 20 << 10;

    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`Malformed`] when they are too many or not the deterministic encoding of a proof.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        bounded(bytes, Self::MAX_BYTES)
    }

    /// The deterministic encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }
}

impl HistoryProof {
    /// The longest encoding. A version takes 2 KB in a directory of a million users.
    pub const MAX_BYTES: usize = 4 << 20;

    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`Malformed`] when they are too many, not the deterministic encoding of a proof, or when the proof has more
    /// than [`MAX_UPDATES`] updates or [`MAX_MARKERS`] markers.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let proof: Self = bounded(bytes, Self::MAX_BYTES)?;
        let markers = proof.past.len().max(proof.future.len());
        if proof.updates.len() > MAX_UPDATES || markers > MAX_MARKERS { Err(Malformed) } else { Ok(proof) }
    }

    /// The deterministic encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }
}

impl AppendOnlyProof {
    /// The longest encoding: some 60,000 new leaves. An epoch with more is to be published in parts.
    pub const MAX_BYTES: usize = 32 << 20;

    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`Malformed`] when they are too many or not the deterministic encoding of a proof.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        bounded(bytes, Self::MAX_BYTES)
    }

    /// The deterministic encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }
}

/// Refuses what is too long before any work is done.
fn bounded<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8], most: usize) -> Result<T, Malformed> {
    if bytes.len() > most { Err(Malformed) } else { cbor::decode(bytes) }
}

impl<C> Encode<C> for Children {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&node::pack(self.0.iter().map(Option::as_ref)))?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Children {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let nodes = node::unpack(d.bytes()?, 2).ok().and_then(|nodes| nodes.try_into().ok());
        nodes.map(Self).ok_or_else(|| DecodeError::message("not two children"))
    }
}

impl<C> Encode<C> for Nodes {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&node::pack(self.0.iter().map(Some)))?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Nodes {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let nodes = node::unpack_all(d.bytes()?).ok();
        nodes.and_then(Self::sorted).ok_or_else(|| DecodeError::message("not nodes in order"))
    }
}
