//! What cannot change while a group exists (rule NEG-1): it stands in the group context, so that nobody joins, and no epoch begins,
//! with anything else.

use minicbor::data::Type;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use openmls::extensions::{Extension, ExtensionType, Extensions, UnknownExtension};
use openmls::group::GroupContext;
use undertone_keys::cbor;

use crate::quorum::QuorumId;
use crate::suite::Suite;

/// The type of our extension of the group context, out of MLS's private range.
pub(crate) const EXTENSION: u16 = 0xF5A7;
/// The only format so far.
pub(crate) const FORMAT: u8 = 1;

/// Who can open the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Protection {
    /// The members alone.
    #[n(1)]
    Blind,
    /// The members and the relay.
    #[n(2)]
    Hop,
}

/// Where media keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum KeySource {
    /// The exporter of an MLS group (rule GRP-6). The numbers before it are those of calls without one.
    #[n(3)]
    Mls,
}

/// The layout of key ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum KeyIdLayout {
    /// RFC 9605, 5.2, with context, leaf index and epoch in the widths of rule MED-2.
    #[n(2)]
    Rfc9605,
}

/// Whether a quorum secret is mixed into every commit, as an external pre-shared key. CBOR: `false`, `true`, or the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quorum {
    /// None is.
    None,
    /// One is, which whoever makes the group draws: so people agree on it. No group says this of itself.
    Awaited,
    /// This one is: so a group's context says it.
    Known(QuorumId),
}

impl<C> Encode<C> for Quorum {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::None => e.bool(false)?.ok(),
            Self::Awaited => e.bool(true)?.ok(),
            Self::Known(id) => id.encode(e, ctx),
        }
    }
}

impl<'b, C> Decode<'b, C> for Quorum {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        match d.datatype()? {
            Type::Bytes => QuorumId::decode(d, ctx).map(Self::Known),
            _ => Ok(if d.bool()? { Self::Awaited } else { Self::None }),
        }
    }
}

/// The terms of a group. CBOR map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Terms {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// Who can open the media.
    #[n(1)]
    pub protection: Protection,
    /// Where keys come from.
    #[n(2)]
    pub key_source: KeySource,
    /// What protects the group.
    #[n(3)]
    pub suite: Suite,
    /// How key ids are laid out.
    #[n(4)]
    pub key_ids: KeyIdLayout,
    /// Format of sealed frames.
    #[n(5)]
    pub frame_format: u8,
    /// Whether a quorum secret is mixed in, and which.
    #[n(6)]
    pub quorum: Quorum,
}

impl Terms {
    /// The terms of a group of this version. `quorum`: one is to be mixed in.
    #[must_use]
    pub const fn new(protection: Protection, suite: Suite, quorum: bool) -> Self {
        Self {
            format: FORMAT,
            protection,
            key_source: KeySource::Mls,
            suite,
            key_ids: KeyIdLayout::Rfc9605,
            frame_format: 1,
            quorum: if quorum { Quorum::Awaited } else { Quorum::None },
        }
    }

    /// Whether a group that says these of itself is one that people agreed on with `self`: which quorum secret there is, where there
    /// is to be one, they do not say.
    #[must_use]
    pub fn are_met_by(&self, group: &Self) -> bool {
        let quorum = match (self.quorum, group.quorum) {
            (Quorum::Awaited, Quorum::Known(id)) => Quorum::Known(id),
            (quorum, _) => quorum,
        };
        Self { quorum, ..*self } == *group && group.quorum != Quorum::Awaited
    }

    /// Which quorum secret every commit mixes in.
    pub(crate) const fn quorum_id(&self) -> Option<&QuorumId> {
        match &self.quorum {
            Quorum::Known(id) => Some(id),
            Quorum::None | Quorum::Awaited => None,
        }
    }

    pub(crate) fn extension(&self) -> Extension {
        Extension::Unknown(EXTENSION, UnknownExtension(cbor::encode(self)))
    }

    /// Reads the terms out of a group context that holds them and nothing else. So there are no external senders in a group of
    /// ours, and no extension whose meaning we do not know.
    pub(crate) fn read(context: &GroupContext) -> Option<Self> {
        Self::read_extensions(context.extensions())
    }

    pub(crate) fn read_extensions(extensions: &Extensions<GroupContext>) -> Option<Self> {
        let mut all = extensions.iter();
        let (Some(Extension::Unknown(EXTENSION, UnknownExtension(bytes))), None) = (all.next(), all.next()) else {
            return None;
        };
        cbor::decode(bytes).ok().filter(|terms: &Self| terms.format == FORMAT && terms.quorum != Quorum::Awaited)
    }
}

pub(crate) const fn extension_type() -> ExtensionType {
    ExtensionType::Unknown(EXTENSION)
}
