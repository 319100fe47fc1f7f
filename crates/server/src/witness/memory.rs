//! What a witness knows of one log, and the only place where it cosigns.

use minicbor::{Decode, Encode};
use undertone_keys::WallTime;
use undertone_keys::cbor;
use undertone_keys::sign::{SigningKey, Witness};
use undertone_transparency::checkpoint::VerifiedCheckpoint;
use undertone_transparency::cosignature::Cosignature;
use undertone_transparency::follow::Progress;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::note::{LogKey, NoteSignature, WitnessKey};

/// What a witness knows of one log.
///
/// The largest checkpoint seen can be ahead of the leaves that were checked, and these of what was cosigned: each is
/// kept when it is known, and after a stop the work goes on there. Its stored form is a CBOR map:
///
/// | key | what |
/// |-----|------|
/// | 0   | format: 1 |
/// | 1   | the log's verifier key, text |
/// | 2   | the witness's verifier key, text |
/// | 3   | the largest checkpoint seen, the note as it came; none before the first |
/// | 4   | number of its leaves that are checked, from the first on |
/// | 5   | the last of these, [103 bytes](undertone_transparency::leaf); none before the first |
/// | 6   | `[leaves, note line]` of the last cosignature; none before the first |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    progress: Progress,
    witness: WitnessKey,
    cosigned: Option<Cosigned>,
}

/// The last cosignature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cosigned {
    pub(super) size: u64,
    pub(super) time: WallTime,
    pub(super) line: NoteSignature,
}

/// Why a stored memory is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMemory {
    /// Not a memory, or one that contradicts itself.
    #[error("what the witness remembers is damaged")]
    Damaged,
    /// It is about another log, or one with another key.
    #[error("what the witness remembers is of another log")]
    OtherLog,
    /// It is another witness's.
    #[error("what the witness remembers is of another witness: its key or name is not this one")]
    OtherWitness,
    /// It does not follow what is kept already.
    #[error("the witness would forget what it has seen or cosigned")]
    Back,
}

/// Why nothing is cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotCosign {
    /// KT-12: not all leaves of the checkpoint are checked, or there are none.
    #[error("{checked} of the log's {seen} leaves are checked")]
    Unchecked {
        /// Leaves that are checked.
        checked: u64,
        /// Leaves of the checkpoint.
        seen: u64,
    },
    /// KT-2: a cosignature with an earlier time than the last one would say that a larger tree was known before.
    #[error("the clock is at {now} and was at {last} when the last checkpoint was cosigned: set it")]
    Clock {
        /// The time of the last cosignature.
        last: WallTime,
        /// The clock.
        now: WallTime,
    },
    /// The key is not the one of this memory.
    #[error("this is not the witness's key")]
    Key,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    format: u8,
    #[n(1)]
    log: String,
    #[n(2)]
    witness: String,
    #[cbor(n(3), with = "minicbor::bytes")]
    seen: Option<Vec<u8>>,
    #[n(4)]
    checked: u64,
    #[cbor(n(5), with = "minicbor::bytes")]
    leaf: Option<Vec<u8>>,
    #[n(6)]
    cosigned: Option<StoredLine>,
}

#[derive(Encode, Decode)]
struct StoredLine {
    #[n(0)]
    size: u64,
    #[n(1)]
    line: String,
}

impl Memory {
    /// Of a log that was never looked at.
    #[must_use]
    pub const fn new(log: LogKey, witness: WitnessKey) -> Self {
        Self { progress: Progress::new(log), witness, cosigned: None }
    }

    /// The log's key.
    #[must_use]
    pub const fn log(&self) -> &LogKey {
        self.progress.log()
    }

    /// The witness's own key.
    #[must_use]
    pub const fn witness(&self) -> &WitnessKey {
        &self.witness
    }

    /// The largest checkpoint seen.
    #[must_use]
    pub const fn seen(&self) -> Option<&VerifiedCheckpoint> {
        self.progress.seen()
    }

    /// How many leaves of it are checked, from the first on.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.progress.checked()
    }

    /// The last leaf that is checked.
    #[must_use]
    pub const fn leaf(&self) -> Option<&Leaf> {
        self.progress.leaf()
    }

    /// Leaves of the last checkpoint that was cosigned; 0 before the first.
    #[must_use]
    pub fn cosigned(&self) -> u64 {
        self.cosigned.as_ref().map_or(0, |last| last.size)
    }

    /// The last cosignature. It leaves the process through [`Kept`](super::Kept) alone.
    pub(super) const fn last(&self) -> Option<&Cosigned> {
        self.cosigned.as_ref()
    }

    /// How far the log was read.
    pub(super) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The same cosignatures, and more of the log that was read.
    pub(super) fn with(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Cosigns the checkpoint seen, once all its leaves are checked. The memory returned has the cosignature in it; for
    /// a checkpoint that was cosigned already it is the one that was made then.
    ///
    /// # Errors
    /// [`CannotCosign`].
    pub fn cosign(&self, key: &SigningKey<Witness>, now: WallTime) -> Result<Self, CannotCosign> {
        let seen = self.seen().filter(|seen| seen.size() > 0 && seen.size() == self.checked());
        let unchecked = || CannotCosign::Unchecked {
            checked: self.checked(),
            seen: self.seen().map_or(0, VerifiedCheckpoint::size),
        };
        let seen = seen.ok_or_else(unchecked)?;
        if key.public() != self.witness.key() {
            return Err(CannotCosign::Key);
        }
        match &self.cosigned {
            Some(last) if last.size == seen.size() => return Ok(self.clone()),
            Some(last) if last.time > now => return Err(CannotCosign::Clock { last: last.time, now }),
            Some(_) | None => {}
        }
        // A clock at zero or beyond all bounds is the only other reason.
        let clock = |_| CannotCosign::Clock { last: WallTime::default(), now };
        let line = Cosignature::sign(seen, key, now).map_err(clock)?.line(&self.witness);
        Ok(Self { cosigned: Some(Cosigned { size: seen.size(), time: now, line }), ..self.clone() })
    }

    /// Whether nothing of `earlier` is forgotten: the last line of defence of the rule that a witness never goes back.
    pub(super) fn follows(&self, earlier: &Self) -> bool {
        let same_line = match (&earlier.cosigned, &self.cosigned) {
            (Some(before), Some(after)) => before.size < after.size || before == after,
            (None, _) => true,
            (Some(_), None) => false,
        };
        self.witness == earlier.witness && same_line && self.progress.follows(&earlier.progress)
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let line = |last: &Cosigned| StoredLine { size: last.size, line: last.line.to_string() };
        cbor::encode(&Stored {
            format: 1,
            log: self.log().to_string(),
            witness: self.witness.to_string(),
            seen: self.seen().map(|seen| seen.signed().to_bytes()),
            checked: self.checked(),
            leaf: self.leaf().map(Leaf::to_bytes),
            cosigned: self.cosigned.as_ref().map(line),
        })
    }

    /// Reads the stored form of what this `witness` knows of this `log`. The log's signature is verified again, and so
    /// is the last cosignature where the checkpoint that it is for is still the largest one seen.
    ///
    /// # Errors
    /// [`BadMemory`], never [`BadMemory::Back`].
    pub fn from_bytes(bytes: &[u8], log: &LogKey, witness: &WitnessKey) -> Result<Self, BadMemory> {
        let damaged = BadMemory::Damaged;
        let stored: Stored = cbor::decode(bytes).map_err(|_| damaged)?;
        if stored.format != 1 {
            return Err(damaged);
        }
        if stored.log != log.to_string() {
            return Err(BadMemory::OtherLog);
        }
        if stored.witness != witness.to_string() {
            return Err(BadMemory::OtherWitness);
        }
        let (seen, leaf) = (stored.seen.as_deref(), stored.leaf.as_deref());
        let progress = Progress::restore(log.clone(), seen, stored.checked, leaf).map_err(|_| damaged)?;
        let cosigned = stored.cosigned.map(|stored| Cosigned::read(&stored, witness).ok_or(damaged)).transpose()?;
        let memory = Self { progress, witness: witness.clone(), cosigned };
        if memory.is_whole() { Ok(memory) } else { Err(damaged) }
    }

    fn is_whole(&self) -> bool {
        let holds = self
            .cosigned
            .as_ref()
            .zip(self.seen())
            .is_none_or(|(last, seen)| last.size != seen.size() || is_cosignature(&last.line, seen, &self.witness));
        holds && self.cosigned() <= self.checked()
    }
}

impl Cosigned {
    fn read(stored: &StoredLine, witness: &WitnessKey) -> Option<Self> {
        let [line] = <[_; 1]>::try_from(NoteSignature::parse_lines(&stored.line).ok()?).ok()?;
        let cosignature = Cosignature::from_bytes(&line.bytes).ok()?;
        let own = witness.is_named(&line) && stored.size > 0;
        own.then(|| Self { size: stored.size, time: cosignature.time(), line })
    }
}

/// Whether a line is the witness's cosignature of this checkpoint.
pub(super) fn is_cosignature(line: &NoteSignature, checkpoint: &VerifiedCheckpoint, witness: &WitnessKey) -> bool {
    let verify = |cosignature: Cosignature| cosignature.verify(checkpoint, witness.key());
    witness.is_named(line) && Cosignature::from_bytes(&line.bytes).and_then(verify).is_ok()
}
