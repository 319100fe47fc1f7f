//! The directory's proofs: their wire forms and the strict verifiers (rules KT-5, KT-6 and KT-12).
//!
//! The directory is the Merkle Patricia tree of `akd` 0.13 in its configuration `WhatsAppV1`. A user's label and a
//! version number go through a VRF and give the place of a leaf, so whoever reads the tree does not learn the names in
//! it. Version n of a user is the leaf "fresh n"; when n + 1 is published, a leaf "stale n" comes with it. Leaves are
//! never changed or taken away.
//!
//! | proof | says | verified by |
//! |---|---|---|
//! | [`LookupProof`] | version n is in the tree and was not superseded | [`verify_lookup`] |
//! | [`AbsenceProof`] | the user was never in the tree | [`verify_absence`] |
//! | [`HistoryProof`] | these are all versions from one on | [`verify_history`] |
//! | [`AppendOnlyProof`] | one epoch added leaves and did nothing else | [`verify_append_only`] |
//!
//! ```text
//! VRF proof --vrf--> place of the leaf --path, guard--> root hash of the epoch (from the log: rule KT-3)
//! ```
//!
//! # Security goals
//! * What a proof does not have to say, it cannot say: places come out of the VRF, inner labels out of the two places
//!   that part below them, values out of what they commit to. Nothing stands twice, so nothing can disagree.
//! * A proof of absence is only believed when the tree cannot go on towards the place asked for ([`guard`]).
//! * A look-up shows every leaf that the owner's history would have to deny ([`marker_versions`]): a version that the
//!   owner does not know cannot be shown to others and stay out of the owner's sight.
//! * Decoding and verifying are total: no input panics, sizes and depths are bounded before work is done.
//!
//! # Not goals
//! Whether the root is the one that everybody sees is the log's business. A look-up alone cannot see that a newer
//! version is kept back from the tree; the owner's self-audit does (rule KT-11).
//!
//! # Relation to `akd_core`
//! From `akd_core` come the hashes (`Configuration`) and the labels. Its verifiers are not called: its check
//! of absence is incomplete, its errors are texts, and its VRF verifies at half the speed. The integration tests hold every verifier here against `akd`'s
//! own on honest and on altered proofs; [`LookupProof::to_akd`] and its likes are there for that.

pub mod guard;
pub mod wire;

mod absence;
mod akd_form;
mod append_only;
mod claim;
mod ecvrf;
mod history;
mod lookup;
mod node;
mod vrf;

pub use absence::{AbsenceError, verify_absence};
pub use akd_form::Irregular;
pub use append_only::{AppendOnlyError, empty_root, verify_append_only};
pub use claim::{Claim, ClaimError, Freshness};
pub use guard::GuardError;
pub use history::{HistoryError, verify_history, verify_version};
pub use lookup::{Lookup, LookupError, marker_versions, verify_lookup};
pub use node::{Digest, Node, Path};
pub use vrf::{BadVrfKey, VrfKey};
pub use wire::{AbsenceProof, AppendOnlyProof, HistoryProof, LookupProof};
