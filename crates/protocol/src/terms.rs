//! What the members of a call agree on before it begins and cannot change inside it (rule NEG-1).

use minicbor::{Decode, Encode};

/// Who can open the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Protection {
    /// The members alone. The default.
    #[n(1)]
    Blind,
    /// The members and the relay, which seals anew for each: to be asked for, and always shown.
    #[n(2)]
    Hop,
    /// The device alone: the relay hands each packet back to its sender, unopened. For testing oneself; no call and no room
    /// of many is of this kind.
    #[n(3)]
    Echo,
}

impl Protection {
    /// The word for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Hop => "hop",
            Self::Echo => "echo",
        }
    }
}

/// Where media keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum KeySource {
    /// The agreement of a one-to-one call (rule CALL-1).
    #[n(1)]
    Agreement,
    /// A device of the room's creator draws them and hands them to each admitted device (rules GRP-2, GRP-7).
    #[n(2)]
    Host,
}

/// The layout of key ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyIdLayout {
    /// context << 24 | sender << 8 | epoch mod 256 (rule MED-2).
    #[n(1)]
    Med2,
}

/// The terms of a call. They stand in the signed invite and so in the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Terms {
    /// Who can open the media.
    #[n(0)]
    pub protection: Protection,
    /// Where keys come from.
    #[n(1)]
    pub key_source: KeySource,
    /// How key ids are laid out.
    #[n(2)]
    pub key_ids: KeyIdLayout,
    /// SFrame cipher suite.
    #[n(3)]
    pub suite: u16,
    /// Format of sealed frames.
    #[n(4)]
    pub frame_format: u8,
    /// Whether a quorum secret is mixed in.
    #[n(5)]
    pub quorum: bool,
}

impl Terms {
    /// Whether people may agree on these: those of a call of two or of a room, in this version.
    #[must_use]
    pub fn are_of(&self, source: KeySource) -> bool {
        let shared = matches!(self.protection, Protection::Blind | Protection::Hop);
        let terms = match source {
            KeySource::Agreement => Self::one_to_one(self.protection),
            KeySource::Host => Self::room(self.protection),
        };
        shared && *self == terms
    }

    /// The terms of a one-to-one call of this version.
    #[must_use]
    pub const fn one_to_one(protection: Protection) -> Self {
        Self {
            protection,
            key_source: KeySource::Agreement,
            key_ids: KeyIdLayout::Med2,
            suite: 5,
            frame_format: 1,
            quorum: false,
        }
    }

    /// The terms of every call in a room of this version.
    #[must_use]
    pub const fn room(protection: Protection) -> Self {
        Self { key_source: KeySource::Host, ..Self::one_to_one(protection) }
    }
}
