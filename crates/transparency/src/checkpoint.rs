//! Checkpoints (C2SP tlog-checkpoint): what a log signs about itself.
//!
//! ```text
//! example.org/undertone/directory                   origin, the log's name
//! 20852163                                          size: leaves in the tree, decimal without leading zeroes
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=      root of that tree, base64
//! ```
//! Lines behind the third are refused. C2SP allows logs to add such extension lines, but nobody can audit them, and a
//! log of ours has nothing to say there: what belongs to the directory stands in the leaves.
//!
//! What a server hands out is a [`SignedCheckpoint`]. Only [`SignedCheckpoint::verify`] makes a
//! [`VerifiedCheckpoint`] of it (rule KT-1), and [`VerifiedCheckpoint::follows`] compares that with the last one this
//! device saw (rule KT-4).

use core::fmt;

use undertone_keys::sign::{Server, SigningKey};

use crate::log::{BadProof, EMPTY_ROOT, Hash, verify_consistency};
use crate::note::{
    BadName, BadNote, BadNoteSignature, KeyId, KeyName, LogKey, Note, NoteSignature, decode_base64, encode_base64,
};

#[cfg(test)]
mod tests;

/// The origin of the log behind the key directory of `domain`: `<domain>/undertone/directory`.
///
/// # Errors
/// [`BadName`] when no key can have that name.
pub fn origin(domain: &str) -> Result<KeyName, BadName> {
    format!("{domain}/undertone/directory").parse()
}

/// What a checkpoint says. Its `Display` form is the text that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log. A log's key has the same name.
    pub origin: KeyName,
    /// Leaves in the tree.
    pub size: u64,
    /// The root of the tree.
    pub root: Hash,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not a signed note.
    #[error("the checkpoint is malformed: {0}")]
    Note(#[from] BadNote),
    /// The note's text is no checkpoint, or not in its one form; extension lines are neither.
    #[error("the checkpoint's text is malformed")]
    Text,
    /// It says zero leaves and another root than that of the empty tree.
    #[error("the checkpoint is of an empty tree and has another root")]
    EmptyRoot,
    /// It is another log's.
    #[error("the checkpoint is of another log")]
    Origin,
    /// The log's pinned key did not sign it (rule KT-1).
    #[error("the checkpoint is not signed by the log's key: {0}")]
    Signature(#[from] BadNoteSignature),
}

impl Checkpoint {
    /// Reads the text of a checkpoint, with its final newline.
    ///
    /// # Errors
    /// [`CheckpointError::Text`] or [`CheckpointError::EmptyRoot`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let parts = (lines.next(), lines.next(), lines.next(), lines.next(), lines.next());
        let (Some(origin), Some(size), Some(root), Some(""), None) = parts else {
            return Err(CheckpointError::Text);
        };
        let checkpoint = Self {
            origin: origin.parse().map_err(|_| CheckpointError::Text)?,
            size: size.parse().map_err(|_| CheckpointError::Text)?,
            root: decode_base64(root).and_then(|root| root.try_into().ok()).ok_or(CheckpointError::Text)?,
        };
        if checkpoint.to_string() != text {
            return Err(CheckpointError::Text);
        }
        if checkpoint.size == 0 && checkpoint.root != EMPTY_ROOT {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(checkpoint)
    }

    /// Signs it as the log. The log must never have signed one that this one is not consistent with.
    #[must_use]
    pub fn sign(self, key: &SigningKey<Server>) -> SignedCheckpoint {
        let text = self.to_string();
        let signature = key.sign_note(text.as_bytes());
        let line = LogKey::new(self.origin.clone(), *key.public()).line(signature.as_bytes());
        SignedCheckpoint { note: Note::new(text, line), claimed: self }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, encode_base64(&self.root))
    }
}

/// A checkpoint as somebody handed it over, not yet believed. Its `Display` form is the note as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: Note,
    claimed: Checkpoint,
}

impl SignedCheckpoint {
    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`CheckpointError::Note`], [`CheckpointError::Text`] or [`CheckpointError::EmptyRoot`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::from_bytes(bytes)?;
        let claimed = Checkpoint::parse(note.text())?;
        Ok(Self { note, claimed })
    }

    /// What it says; good for finding out whose key to ask for, and for evidence.
    #[must_use]
    pub const fn claimed(&self) -> &Checkpoint {
        &self.claimed
    }

    /// The note, with every signature that came with it.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The bytes, exactly as they came or as they are to be served.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.note.to_string().into_bytes()
    }

    /// Adds a line, such as a witness's cosignature.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] when the note is full.
    pub fn push(&mut self, signature: NoteSignature) -> Result<(), CheckpointError> {
        Ok(self.note.push(signature)?)
    }

    /// Verifies rule KT-1: a checkpoint of the log with this key, signed by it.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] or [`CheckpointError::Signature`].
    pub fn verify(self, key: &LogKey) -> Result<VerifiedCheckpoint, CheckpointError> {
        if self.claimed.origin != *key.name() {
            return Err(CheckpointError::Origin);
        }
        key.signed(&self.note)?;
        Ok(VerifiedCheckpoint { shown: self, key: key.id() })
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// A checkpoint that the log's pinned key signed (rule KT-1). It is what the log says, which is not yet true: two
/// devices may be told different things until rules KT-2 and KT-13 are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    shown: SignedCheckpoint,
    /// Whose line was verified.
    key: KeyId,
}

/// Why a checkpoint does not follow the last one seen (rule KT-4). [`Self::SameSizeOtherRoot`] convicts the log by two
/// signatures of its own; [`Self::NotConsistent`] does so once no proof can be had, and a smaller one may have been sent again by
/// somebody on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFollowing {
    /// They are of two logs and say nothing about each other.
    #[error("the checkpoints are of different logs")]
    OtherLog,
    /// The log has fewer leaves than it had.
    #[error("the log went back: it has {shown} leaves and had {known}")]
    SmallerSize {
        /// Leaves seen before.
        known: u64,
        /// Leaves shown now.
        shown: u64,
    },
    /// The log has two roots for one size.
    #[error("the log shows two different trees of {size} leaves")]
    SameSizeOtherRoot {
        /// The size of both.
        size: u64,
    },
    /// The larger tree is not shown to begin with the smaller one.
    #[error("the log of {shown} leaves is not shown to begin with the one of {known} leaves: {proof}")]
    NotConsistent {
        /// Leaves seen before.
        known: u64,
        /// Leaves shown now.
        shown: u64,
        /// What is wrong with the proof.
        proof: BadProof,
    },
}

impl VerifiedCheckpoint {
    /// Which log.
    #[must_use]
    pub const fn origin(&self) -> &KeyName {
        &self.shown.claimed.origin
    }

    /// Leaves in the tree.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.shown.claimed.size
    }

    /// The root of the tree.
    #[must_use]
    pub const fn root(&self) -> &Hash {
        &self.shown.claimed.root
    }

    /// The text that the log signed and witnesses cosign.
    #[must_use]
    pub fn text(&self) -> &str {
        self.shown.note.text()
    }

    /// The checkpoint with all signatures as it came, to be stored, passed on or kept as evidence.
    #[must_use]
    pub const fn signed(&self) -> &SignedCheckpoint {
        &self.shown
    }

    /// The same with the one line that was verified and no other, whatever name the others bear: what one device passes on to
    /// another.
    #[must_use]
    pub fn by_log_alone(&self) -> SignedCheckpoint {
        let SignedCheckpoint { note, claimed } = &self.shown;
        SignedCheckpoint { note: note.of(&claimed.origin, self.key), claimed: claimed.clone() }
    }

    /// Compares with the `last` checkpoint seen of this log (rule KT-4); `proof` is the consistency proof between
    /// their sizes (RFC 6962, 2.1.2), empty for equal ones.
    ///
    /// # Errors
    /// [`NotFollowing`] says which.
    pub fn follows(&self, last: &Self, proof: &[Hash]) -> Result<(), NotFollowing> {
        let (known, shown) = (last.size(), self.size());
        if self.origin() != last.origin() {
            return Err(NotFollowing::OtherLog);
        }
        if shown < known {
            return Err(NotFollowing::SmallerSize { known, shown });
        }
        if shown == known && self.root() != last.root() {
            return Err(NotFollowing::SameSizeOtherRoot { size: shown });
        }
        verify_consistency(known, last.root(), shown, self.root(), proof).map_err(|proof| NotFollowing::NotConsistent {
            known,
            shown,
            proof,
        })
    }
}
