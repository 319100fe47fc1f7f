//! The keys that sign notes, by name.

use core::fmt;
use core::str::FromStr;

use undertone_keys::digest::sha256;
use undertone_keys::sign::{NoteRole, Server, Signature, VerifyingKey, Witness};

use super::{Note, NoteSignature, decode_base64, encode_base64};

/// Bytes of a key's name at most. The format sets no limit; this one leaves room for any domain and a path.
pub const MAX_NAME: usize = 512;

/// The key of a log. Its name is the origin of the log's checkpoints.
pub type LogKey = NoteKey<Server>;
/// The key of a witness.
pub type WitnessKey = NoteKey<Witness>;

/// The name of a key or origin of a log: 1 to [`MAX_NAME`] bytes without white space, control characters and `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// A text that is no key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's name has 1 to 512 bytes, without spaces and +")]
pub struct BadName;

impl KeyName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let fits = (1..=MAX_NAME).contains(&text.len());
        let bars = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if fits && !text.contains(bars) { Ok(Self(text.into())) } else { Err(BadName) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({})", self.0)
    }
}

/// Says with the name which key is meant. Four bytes that anybody can make another key for: never a proof of
/// anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A public key with the name under which it signs notes. Its text is C2SP's verifier key:
///
/// ```text
/// <name>+<key id, 8 hexadecimal digits>+<base64 of: signature type || public key, 32 bytes>
/// key id = first 4 bytes of SHA-256(name || 0x0A || signature type || public key)
/// ```
/// The signature type is that of the role (0x01 for a log, 0x04 for a witness), so a witness's text is no log's.
///
/// ```
/// use undertone_transparency::note::{LogKey, WitnessKey};
/// let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
/// let key: LogKey = text.parse()?;
/// assert_eq!(key.to_string(), text);
/// assert!(text.parse::<WitnessKey>().is_err());
/// # Ok::<(), undertone_transparency::note::BadVerifierKey>(())
/// ```
pub struct NoteKey<R> {
    name: KeyName,
    key: VerifyingKey<R>,
}

/// Why a text is no verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadVerifierKey {
    /// Not of the form name, id and key with `+` between them.
    #[error("not a verifier key of the form name+id+key")]
    Malformed,
    /// A key of another signature type than the one expected here.
    #[error("the verifier key is of another type")]
    Type,
    /// The id is not that of the name and key: one of the three was mistyped.
    #[error("the verifier key's id does not belong to its name and key")]
    Id,
}

/// Why a note is not taken as signed by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNoteSignature {
    /// No line names the key.
    #[error("the note is not signed by the expected key")]
    Missing,
    /// A line names the key and its signature does not verify.
    #[error("the note has a false signature of the expected key")]
    Signature,
}

impl<R: NoteRole> NoteKey<R> {
    /// The key with this name.
    #[must_use]
    pub const fn new(name: KeyName, key: VerifyingKey<R>) -> Self {
        Self { name, key }
    }

    /// The key's name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub const fn key(&self) -> &VerifyingKey<R> {
        &self.key
    }

    /// The key's id, which depends on its name and role too.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let typed = [&[b'\n', R::SIGNATURE_TYPE], self.key.as_bytes().as_slice()].concat();
        let [a, b, c, d, ..] = sha256(&[self.name.0.as_bytes(), &typed]);
        KeyId([a, b, c, d])
    }

    /// Whether a line says it is this key's.
    #[must_use]
    pub fn is_named(&self, signature: &NoteSignature) -> bool {
        self.name == signature.name && self.id() == signature.id
    }

    /// A line of this key's with these signature bytes.
    #[must_use]
    pub fn line(&self, bytes: &[u8]) -> NoteSignature {
        NoteSignature { name: self.name.clone(), id: self.id(), bytes: bytes.into() }
    }
}

impl LogKey {
    /// Verifies that the log signed the note: one line at least names this key, and every line that does verifies.
    /// Lines that differ in name or id are somebody else's and change nothing.
    ///
    /// # Errors
    /// [`BadNoteSignature`].
    pub fn signed(&self, note: &Note) -> Result<(), BadNoteSignature> {
        let mut result = Err(BadNoteSignature::Missing);
        for line in note.signatures().iter().filter(|line| self.is_named(line)) {
            let bytes = line.bytes.as_slice().try_into().map_err(|_| BadNoteSignature::Signature)?;
            let verified = self.key.verify_note(note.text().as_bytes(), &Signature::from_bytes(bytes));
            result = Ok(verified.map_err(|_| BadNoteSignature::Signature)?);
        }
        result
    }
}

impl<R: NoteRole> FromStr for NoteKey<R> {
    type Err = BadVerifierKey;

    fn from_str(text: &str) -> Result<Self, BadVerifierKey> {
        // Neither name nor id have a `+` in them; the base64 behind may.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(base64)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadVerifierKey::Malformed);
        };
        let name = name.parse().map_err(|_| BadVerifierKey::Malformed)?;
        let typed = decode_base64(base64).ok_or(BadVerifierKey::Malformed)?;
        let (kind, key) = typed.split_first().ok_or(BadVerifierKey::Malformed)?;
        if *kind != R::SIGNATURE_TYPE {
            return Err(BadVerifierKey::Type);
        }
        let key = key.try_into().map_err(|_| BadVerifierKey::Malformed)?;
        let key = Self::new(name, VerifyingKey::from_bytes(key));
        if key.id().to_string() == id { Ok(key) } else { Err(BadVerifierKey::Id) }
    }
}

impl<R: NoteRole> fmt::Display for NoteKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[R::SIGNATURE_TYPE], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, self.id(), encode_base64(&typed))
    }
}

impl<R: NoteRole> fmt::Debug for NoteKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({self})")
    }
}

impl<R> Clone for NoteKey<R> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), key: self.key }
    }
}
impl<R> PartialEq for NoteKey<R> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.key == other.key
    }
}
impl<R> Eq for NoteKey<R> {}
