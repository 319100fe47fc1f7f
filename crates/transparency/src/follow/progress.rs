//! How far a log was read.

use minicbor::{Decode, Encode};
use undertone_keys::cbor::{self, Malformed};

use crate::checkpoint::{SignedCheckpoint, VerifiedCheckpoint};
use crate::leaf::Leaf;
use crate::note::LogKey;
use crate::seen::Seen;

/// What somebody who reads a whole log knows of it.
///
/// The largest checkpoint seen can be ahead of the leaves that were checked: each is kept when it is known, and after a
/// stop the work goes on there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    log: LogKey,
    seen: Option<VerifiedCheckpoint>,
    checked: u64,
    leaf: Option<Leaf>,
}

/// The stored form. CBOR map.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    /// 1.
    #[n(0)]
    format: u8,
    /// The log's verifier key.
    #[n(1)]
    log: String,
    /// The largest checkpoint seen, the note as it came.
    #[cbor(n(2), with = "minicbor::bytes")]
    seen: Option<Vec<u8>>,
    /// Number of its leaves that are checked, from the first on.
    #[n(3)]
    checked: u64,
    /// The last of these.
    #[cbor(n(4), with = "minicbor::bytes")]
    leaf: Option<Vec<u8>>,
}

impl Progress {
    /// Of a log that was never looked at.
    #[must_use]
    pub const fn new(log: LogKey) -> Self {
        Self { log, seen: None, checked: 0, leaf: None }
    }

    /// From its parts, as they were stored: the log's signature is verified again.
    ///
    /// # Errors
    /// [`Malformed`], also when the parts contradict each other.
    pub fn restore(log: LogKey, seen: Option<&[u8]>, checked: u64, leaf: Option<&[u8]>) -> Result<Self, Malformed> {
        let read = |note: &[u8]| SignedCheckpoint::from_bytes(note).and_then(|claimed| claimed.verify(&log));
        let seen = seen.map(read).transpose().map_err(|_| Malformed)?;
        let leaf = leaf.map(Leaf::from_bytes).transpose().map_err(|_| Malformed)?;
        let size = seen.as_ref().map_or(0, VerifiedCheckpoint::size);
        let whole = checked <= size && leaf.is_some() == (checked > 0);
        if whole { Ok(Self { log, seen, checked, leaf }) } else { Err(Malformed) }
    }

    /// The log's key.
    #[must_use]
    pub const fn log(&self) -> &LogKey {
        &self.log
    }

    /// The largest checkpoint seen.
    #[must_use]
    pub const fn seen(&self) -> Option<&VerifiedCheckpoint> {
        self.seen.as_ref()
    }

    /// How many leaves of it are checked, from the first on.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.checked
    }

    /// The last leaf that is checked.
    #[must_use]
    pub const fn leaf(&self) -> Option<&Leaf> {
        self.leaf.as_ref()
    }

    /// The checkpoint with the leaf at its end, once all of it is checked: what a device goes on from.
    #[must_use]
    pub fn end(&self) -> Option<Seen> {
        let seen = self.seen.as_ref().filter(|seen| seen.size() == self.checked)?;
        Some(Seen::new(seen.clone(), self.leaf?))
    }

    /// Takes a checkpoint that follows the one seen (rule KT-4).
    pub(super) fn see(&mut self, checkpoint: VerifiedCheckpoint) {
        self.seen = Some(checkpoint);
    }

    /// Takes the next leaf of the checkpoint seen, for which rule KT-12 holds.
    pub(super) const fn check(&mut self, leaf: Leaf) {
        self.checked += 1;
        self.leaf = Some(leaf);
    }

    /// Whether nothing of `earlier` is forgotten: the last line of defence of the rule that nobody goes back.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        let seen = |progress: &Self| progress.seen.as_ref().map(|seen| (seen.size(), *seen.root()));
        let same_tree = match (seen(earlier), seen(self)) {
            (Some((before, root)), Some((after, other))) => before < after || (before == after && root == other),
            (None, _) => true,
            (Some(_), None) => false,
        };
        self.log == earlier.log && same_tree && earlier.checked <= self.checked
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(&Stored {
            format: 1,
            log: self.log.to_string(),
            seen: self.seen.as_ref().map(|seen| seen.signed().to_bytes()),
            checked: self.checked,
            leaf: self.leaf.as_ref().map(Leaf::to_bytes),
        })
    }

    /// Reads the stored form of how far this `log` was read.
    ///
    /// # Errors
    /// [`Malformed`], also when it is of another log or key.
    pub fn from_bytes(bytes: &[u8], log: &LogKey) -> Result<Self, Malformed> {
        let Stored { format, log: named, seen, checked, leaf } = cbor::decode(bytes)?;
        if format != 1 || named != log.to_string() {
            return Err(Malformed);
        }
        Self::restore(log.clone(), seen.as_deref(), checked, leaf.as_deref())
    }
}
