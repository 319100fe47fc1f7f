//! What the members of a call agree on before it begins and cannot change inside it (rule NEG-1).

use minicbor::{Decode, Encode};

use crate::grant::Rights;
use crate::limits::{MAX_LISTED, MAX_LISTED_WITH_AUDIENCE, MAX_LISTED_X_WING};

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
    /// The exporter of the call's MLS group, which all members make together (rule GRP-6).
    #[n(3)]
    Mls,
}

/// What protects an MLS group, by ids of our own: MLS has no final number for all of them. Both required suites of RFC 9420,
/// and one that holds against quantum computers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum GroupSuite {
    /// DHKEM(P-256), AES-128-GCM, SHA-256, ECDSA over P-256.
    #[n(1)]
    P256,
    /// DHKEM(X25519), AES-128-GCM, SHA-256, Ed25519.
    #[n(2)]
    X25519,
    /// X-Wing (ML-KEM-768 and X25519), ChaCha20-Poly1305, SHA-256, Ed25519.
    #[n(3)]
    XWing,
}

impl GroupSuite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P256, Self::X25519, Self::XWing];

    /// The word for people, commands and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::X25519 => "x25519",
            Self::XWing => "x-wing",
        }
    }
}

/// How those who only listen come by the keys of a room's group, where they are no members of it (rule GRP-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Audience {
    /// A member seals the media key of each epoch to each of them.
    #[n(1)]
    Served,
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
    /// What protects the MLS group, where keys come from one.
    #[n(6)]
    pub group_suite: Option<GroupSuite>,
    /// What those who only listen are to the group: an audience, which may be far larger than it; without this they are members.
    #[n(7)]
    pub audience: Option<Audience>,
}

impl Terms {
    /// Whether two people may agree on these for a call, in this version.
    #[must_use]
    pub fn are_of_a_call(&self) -> bool {
        let terms = Self { quorum: self.quorum, ..Self::one_to_one(self.protection) };
        self.is_shared() && *self == terms
    }

    /// Whether a room may have these, in this version.
    #[must_use]
    pub fn are_of_a_room(&self) -> bool {
        let terms = match (self.group_suite, self.audience) {
            (None, _) => Self::room(self.protection),
            (Some(suite), None) => Self { quorum: self.quorum, ..Self::mls(suite) },
            // Its listeners are given keys by letter: what is mixed in would not protect those.
            (Some(suite), Some(Audience::Served)) => Self::mls(suite).with_audience(),
        };
        self.is_shared() && *self == terms
    }

    /// How many people the list of a room with these may name.
    #[must_use]
    pub const fn max_listed(&self) -> usize {
        match self.audience {
            Some(Audience::Served) => MAX_LISTED_WITH_AUDIENCE,
            None => self.max_members(),
        }
    }

    /// How many of them may be more than the audience.
    #[must_use]
    pub const fn max_members(&self) -> usize {
        match self.group_suite {
            Some(GroupSuite::XWing) => MAX_LISTED_X_WING,
            Some(GroupSuite::P256 | GroupSuite::X25519) | None => MAX_LISTED,
        }
    }

    /// Whether whoever has these rights is in the audience: hears, and is no member of the room's group (rule GRP-9).
    #[must_use]
    pub const fn is_audience(&self, rights: Rights) -> bool {
        self.audience.is_some() && rights.only_listen()
    }

    const fn is_shared(&self) -> bool {
        matches!(self.protection, Protection::Blind | Protection::Hop)
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
            group_suite: None,
            audience: None,
        }
    }

    /// The same where a quorum secret is mixed in (rule RKX-5).
    #[must_use]
    pub const fn with_quorum(self) -> Self {
        Self { quorum: true, ..self }
    }

    /// The terms of a room whose keys a member draws and hands out, or, in a hop room, each connection to the relay has.
    #[must_use]
    pub const fn room(protection: Protection) -> Self {
        Self { key_source: KeySource::Host, ..Self::one_to_one(protection) }
    }

    /// The terms of a room whose keys come from an MLS group of this suite: always blind.
    #[must_use]
    pub const fn mls(suite: GroupSuite) -> Self {
        Self { key_source: KeySource::Mls, group_suite: Some(suite), ..Self::one_to_one(Protection::Blind) }
    }

    /// The same where those who only listen are an audience.
    #[must_use]
    pub const fn with_audience(self) -> Self {
        Self { audience: Some(Audience::Served), ..self }
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::cbor;

    use super::*;

    #[test]
    fn neg_1_terms_of_a_room_are_whole() {
        for suite in GroupSuite::ALL {
            let terms = Terms::mls(suite);
            assert!(terms.are_of_a_room() && !terms.are_of_a_call());
            assert!(
                !Terms { protection: Protection::Hop, ..terms }.are_of_a_room(),
                "the relay has no part in a group"
            );
            assert!(!Terms { key_source: KeySource::Host, ..terms }.are_of_a_room());
            assert!(!Terms { group_suite: None, ..terms }.are_of_a_room());
            let (before, with) = (terms.with_audience(), terms.with_quorum());
            assert!(before.are_of_a_room() && before.max_listed() > before.max_members());
            assert!(with.are_of_a_room() && !with.are_of_a_call());
            assert!(!with.with_audience().are_of_a_room(), "what listeners are given goes by letter");
            for terms in [terms, before, with] {
                assert_eq!(cbor::decode::<Terms>(&cbor::encode(&terms)), Ok(terms));
            }
        }
        for protection in [Protection::Blind, Protection::Hop] {
            assert!(Terms::room(protection).are_of_a_room() && !Terms::room(protection).are_of_a_call());
            assert!(Terms::one_to_one(protection).are_of_a_call() && !Terms::one_to_one(protection).are_of_a_room());
            assert!(!Terms::room(protection).with_audience().are_of_a_room(), "a host knows everybody");
            assert!(!Terms::room(protection).with_quorum().are_of_a_room(), "what a host hands out goes by letter");
        }
        assert!(!Terms::room(Protection::Echo).are_of_a_room());
    }

    /// What was signed before there were groups reads as it did.
    #[test]
    fn neg_1_terms_without_a_group_have_the_bytes_that_they_had() {
        assert_eq!(cbor::encode(&Terms::room(Protection::Blind)), [0xa6, 0, 1, 1, 2, 2, 1, 3, 5, 4, 1, 5, 0xf4]);
    }
}
