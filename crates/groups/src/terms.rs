//! What cannot change while a group exists (rule NEG-1): it stands in the group context, so that nobody joins, and no epoch begins,
//! with anything else.

use minicbor::{Decode, Encode};
use openmls::extensions::{Extension, ExtensionType, Extensions, UnknownExtension};
use openmls::group::GroupContext;
use undertone_keys::cbor;

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
    /// Whether a quorum secret is mixed in, as an external pre-shared key.
    #[n(6)]
    pub quorum: bool,
}

impl Terms {
    /// The terms of a group of this version.
    #[must_use]
    pub const fn new(protection: Protection, suite: Suite, quorum: bool) -> Self {
        Self {
            format: FORMAT,
            protection,
            key_source: KeySource::Mls,
            suite,
            key_ids: KeyIdLayout::Rfc9605,
            frame_format: 1,
            quorum,
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
        cbor::decode(bytes).ok().filter(|terms: &Self| terms.format == FORMAT)
    }
}

pub(crate) const fn extension_type() -> ExtensionType {
    ExtensionType::Unknown(EXTENSION)
}
