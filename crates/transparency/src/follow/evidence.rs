//! What whoever reads a log keeps of a fault, for others to judge.

use crate::answer::Hashes;
use crate::checkpoint::{SignedCheckpoint, VerifiedCheckpoint};
use crate::leaf::Leaf;
use crate::log::{Hash, leaf_hash, verify_consistency, verify_inclusion};
use crate::note::{LogKey, WitnessKey};
use minicbor::{Decode, Encode};
use undertone_keys::WallTime;
use undertone_keys::cbor::{self, Malformed};
use undertone_keys::digest::sha256;

use super::fault::Fault;

/// Bytes of a file of evidence at most: two notes, two entries, and what proves their places.
pub const MAX_EVIDENCE: usize = 512 << 10;

/// A fault, with both checkpoints and what was proven under them. CBOR map.
///
/// | key | what |
/// |-----|------|
/// | 0   | format: 1 |
/// | 1   | the log's verifier key, text |
/// | 2   | the witness's verifier key, text; absent where a device audited the log |
/// | 3   | the rule, such as `KT-4` |
/// | 4   | the fault in words |
/// | 5   | the finder's clock, unix seconds |
/// | 6   | the checkpoint seen before, a note; absent where there was none |
/// | 7   | the checkpoint shown now, as it came |
/// | 8   | `[root, proof]`: with which root the tree shown begins at the size seen before (RFC 6962, 2.1.2) |
/// | 9   | `[[place, entry, proof]]`: entries under the checkpoint shown (RFC 6962, 2.1.1) |
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Evidence {
    #[n(0)]
    pub(super) format: u8,
    #[n(1)]
    pub(super) log: String,
    #[n(2)]
    pub(super) witness: Option<String>,
    #[n(3)]
    pub(super) rule: String,
    #[n(4)]
    pub(super) says: String,
    #[n(5)]
    pub(super) at: WallTime,
    #[cbor(n(6), with = "minicbor::bytes")]
    pub(super) known: Option<Vec<u8>>,
    #[cbor(n(7), with = "minicbor::bytes")]
    pub(super) shown: Vec<u8>,
    #[n(8)]
    pub(super) beginning: Option<Beginning>,
    #[n(9)]
    pub(super) entries: Vec<Entry>,
}

/// The root of the first leaves of the tree shown, as many as the checkpoint seen before has.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Beginning {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) root: Hash,
    #[n(1)]
    pub(super) proof: Hashes,
}

/// An entry of the tree shown.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Entry {
    #[n(0)]
    pub(super) index: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) bytes: Vec<u8>,
    #[n(2)]
    pub(super) inclusion: Hashes,
}

/// Where and when a fault was found, and by whom.
pub(super) struct Place<'a> {
    pub(super) log: &'a LogKey,
    pub(super) by: Option<&'a WitnessKey>,
    pub(super) now: WallTime,
    pub(super) shown: &'a [u8],
}

impl Evidence {
    /// Of a fault.
    pub(super) fn new(place: &Place<'_>, fault: &Fault, known: Option<Vec<u8>>) -> Self {
        Self {
            format: 1,
            log: place.log.to_string(),
            witness: place.by.map(ToString::to_string),
            rule: fault.rule().into(),
            says: fault.to_string(),
            at: place.now,
            known,
            shown: place.shown.to_vec(),
            beginning: None,
            entries: Vec::new(),
        }
    }

    /// The file's contents.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(Malformed);
        }
        let evidence: Self = cbor::decode(bytes)?;
        if evidence.format == 1 { Ok(evidence) } else { Err(Malformed) }
    }

    /// The rule that is said to be broken.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The fault in words, by whoever found it.
    #[must_use]
    pub fn says(&self) -> &str {
        &self.says
    }

    /// The log's verifier key.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn log(&self) -> Result<LogKey, Malformed> {
        self.log.parse().map_err(|_| Malformed)
    }

    /// The witness that found it, by its verifier key; none where a device audited the log.
    #[must_use]
    pub fn witness(&self) -> Option<&str> {
        self.witness.as_deref()
    }

    /// What the same fault has in common, whenever it was found: SHA-256 of the file with the time left at zero.
    #[must_use]
    pub fn digest(&self) -> Hash {
        sha256(&[&Self { at: WallTime::default(), ..self.clone() }.to_bytes()])
    }

    /// When, by the clock of whoever found it.
    #[must_use]
    pub const fn at(&self) -> WallTime {
        self.at
    }

    /// Whether the evidence convicts the log by itself, checked from nothing but its signatures. What does not is what
    /// somebody says they were shown, and anybody on the way could have shown it.
    #[must_use]
    pub fn convicts(&self) -> bool {
        let shown = self.read(&self.shown);
        let known = self.known.as_deref().and_then(|known| self.read(known));
        shown.is_some_and(|shown| known.is_some_and(|known| self.forks(&known, &shown)) || self.breaks_order(&shown))
    }

    /// A checkpoint that the log signed.
    fn read(&self, note: &[u8]) -> Option<VerifiedCheckpoint> {
        let key = self.log().ok()?;
        SignedCheckpoint::from_bytes(note).and_then(|claimed| claimed.verify(&key)).ok()
    }

    /// Two trees of one size, or a tree that begins with another one than the log said.
    fn forks(&self, known: &VerifiedCheckpoint, shown: &VerifiedCheckpoint) -> bool {
        let (before, after) = (known.size(), shown.size());
        let other_beginning = |Beginning { root, proof }: &Beginning| {
            root != known.root() && verify_consistency(before, root, after, shown.root(), &proof.0).is_ok()
        };
        match before == after {
            true => known.root() != shown.root(),
            false => before > 0 && self.beginning.as_ref().is_some_and(other_beginning),
        }
    }

    /// Entries of one tree that no honest log has: one that is no leaf, or two neighbours that are not in order.
    fn breaks_order(&self, shown: &VerifiedCheckpoint) -> bool {
        let is_in = |entry: &Entry| {
            let (size, hash) = (shown.size(), leaf_hash(&entry.bytes));
            verify_inclusion(entry.index, size, &hash, &entry.inclusion.0, shown.root()).is_ok()
        };
        if !self.entries.iter().all(is_in) {
            return false;
        }
        let read = |entry: &Entry| Leaf::from_bytes(&entry.bytes);
        match self.entries.as_slice() {
            [entry] => read(entry).map_or(true, |leaf| entry.index == 0 && leaf.epoch != 1),
            [before, after] if before.index.checked_add(1) == Some(after.index) => match (read(before), read(after)) {
                (Ok(before), Ok(after)) => after.comes_after(&before).is_err(),
                _ => true,
            },
            _ => false,
        }
    }
}
