//! Signed notes (C2SP signed-note): text with lines of signatures below it.
//!
//! ```text
//! text, one or more lines
//!                                                              an empty line
//! — <key name> <base64 of: key id, 4 bytes || signature>       one line or more
//! ```
//! A [`Note`] is what somebody sent: it is well formed and says nothing. Who signed it is for [`NoteKey::signed`]
//! and, on top of it, for [`checkpoint`](crate::checkpoint) and [`policy`](crate::policy) to say.

use core::fmt;
use core::fmt::Write as _;

mod base64;
mod key;

pub use key::{BadName, BadNoteSignature, BadVerifierKey, KeyId, KeyName, LogKey, MAX_NAME, NoteKey, WitnessKey};

pub(crate) use base64::{decode as decode_base64, encode as encode_base64};

#[cfg(test)]
mod tests;

/// Bytes of a note at most, signatures included.
pub const MAX_NOTE: usize = 64 * 1024;
/// Signature lines of a note at most. C2SP asks for 16 at least.
pub const MAX_SIGNATURES: usize = 64;

/// A note as somebody handed it over, well formed and not yet believed. Its bytes are those of its `Display` form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// Why bytes are no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNote {
    /// Over [`MAX_NOTE`] bytes.
    #[error("the note is longer than 64 KiB")]
    TooLong,
    /// Over [`MAX_SIGNATURES`] lines.
    #[error("the note has more than 64 signatures")]
    TooManySignatures,
    /// Not UTF-8, or with control characters other than the newline.
    #[error("the note is not plain text")]
    Text,
    /// Without the empty line, text before it or signatures behind it.
    #[error("the note has no signatures below its text")]
    Unsigned,
    /// A signature line that is none, or not in its one form.
    #[error("the note has a malformed signature line")]
    Line,
}

impl Note {
    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`BadNote`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadNote> {
        if bytes.len() > MAX_NOTE {
            return Err(BadNote::TooLong);
        }
        let whole = core::str::from_utf8(bytes).map_err(|_| BadNote::Text)?;
        if !is_plain(whole) {
            return Err(BadNote::Text);
        }
        // The text may have empty lines itself; the last one is the border, and the text keeps its final newline.
        let border = whole.rfind("\n\n").ok_or(BadNote::Unsigned)?;
        let (text, below) = whole.split_at_checked(border + 1).ok_or(BadNote::Unsigned)?;
        let lines = below.strip_prefix('\n').filter(|lines| !lines.is_empty()).ok_or(BadNote::Unsigned)?;
        let signatures = NoteSignature::parse_lines(lines)?;
        Ok(Self { text: text.into(), signatures })
    }

    /// A note of this text and signature. The text is one that [`Note::from_bytes`] would take.
    pub(crate) fn new(text: String, signature: NoteSignature) -> Self {
        Self { text, signatures: vec![signature] }
    }

    /// The text: what is signed, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures in the order of their lines, by known keys and unknown ones.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The same with the line of this key alone.
    pub(crate) fn of(&self, name: &KeyName, id: KeyId) -> Self {
        let is_its = |line: &&NoteSignature| line.name == *name && line.id == id;
        let signatures = self.signatures.iter().find(is_its).cloned().into_iter().collect();
        Self { text: self.text.clone(), signatures }
    }

    /// Adds a signature line below the others.
    ///
    /// # Errors
    /// [`BadNote::TooManySignatures`] or [`BadNote::TooLong`]; the note stays as it was.
    pub fn push(&mut self, signature: NoteSignature) -> Result<(), BadNote> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(BadNote::TooManySignatures);
        }
        self.signatures.push(signature);
        if self.to_string().len() > MAX_NOTE {
            self.signatures.pop();
            return Err(BadNote::TooLong);
        }
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_char('\n')?;
        self.signatures.iter().try_for_each(|signature| write!(f, "{signature}"))
    }
}

/// One signature line. Its `Display` form ends in a newline.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key that is said to have signed.
    pub name: KeyName,
    /// The id of that key.
    pub id: KeyId,
    /// The signature: 64 bytes for Ed25519, 72 for a cosignature, others for types that we do not know.
    pub bytes: Vec<u8>,
}

impl NoteSignature {
    /// Reads lines of signatures without a note, as a witness answers with them (C2SP tlog-witness, add-checkpoint).
    ///
    /// # Errors
    /// [`BadNote::TooLong`], [`BadNote::TooManySignatures`] or [`BadNote::Line`].
    pub fn parse_lines(lines: &str) -> Result<Vec<Self>, BadNote> {
        if lines.len() > MAX_NOTE {
            return Err(BadNote::TooLong);
        }
        let lines = lines.strip_suffix('\n').ok_or(BadNote::Line)?;
        if lines.split('\n').nth(MAX_SIGNATURES).is_some() {
            return Err(BadNote::TooManySignatures);
        }
        lines.split('\n').map(Self::parse).collect()
    }

    /// Reads a line without its newline.
    fn parse(line: &str) -> Result<Self, BadNote> {
        let (name, base64) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(BadNote::Line)?;
        let name = name.parse().map_err(|_| BadNote::Line)?;
        let bytes = decode_base64(base64).ok_or(BadNote::Line)?;
        match bytes.split_first_chunk() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(Self { name, id: KeyId(*id), bytes: signature.into() })
            }
            _ => Err(BadNote::Line),
        }
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "— {} {}", self.name, encode_base64(&[&self.id.0, self.bytes.as_slice()].concat()))
    }
}

impl fmt::Debug for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSignature({} {}, {} bytes)", self.name, self.id, self.bytes.len())
    }
}

/// Whether a text has no control characters but the newline, so that it shows all that was signed.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
}
