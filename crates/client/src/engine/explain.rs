//! What there is to show about the keys of the room that this device is in.

use core::time::Duration;

use undertone_call::room::{Explanation, GroupExplained};
use undertone_keys::Time;
use undertone_media::Epoch;
use undertone_protocol::terms::KeySource;
use undertone_protocol::{Protection, Terms};

use super::{Engine, KeyCounters, PathState, RoomInfo};

/// Where the keys come from that a room's sound is sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomKeySource {
    /// A member draws them and hands them out (rules GRP-1 to GRP-5).
    Host,
    /// All members make them together, in an MLS group (rule GRP-6).
    Mls,
    /// Each member's connection to the relay has its own, and the relay opens and seals everything (rule MED-8).
    Hop,
}

impl RoomKeySource {
    /// That of a room with these terms. `None` for terms of a call of two: no room has them.
    #[must_use]
    pub const fn of(terms: &Terms) -> Option<Self> {
        match (terms.protection, terms.key_source) {
            (Protection::Blind, KeySource::Host) => Some(Self::Host),
            (Protection::Hop, KeySource::Host) => Some(Self::Hop),
            (Protection::Blind, KeySource::Mls) => Some(Self::Mls),
            (_, KeySource::Agreement | KeySource::Mls) | (Protection::Echo, KeySource::Host) => None,
        }
    }

    /// The word for it in commands and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Mls => "mls",
            Self::Hop => "hop",
        }
    }
}

/// An epoch whose key this device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldEpoch {
    /// Which.
    pub epoch: Epoch,
    /// It is the one that this device seals under.
    pub seals: bool,
    /// How much longer it opens what comes late, or waits to be used; the one that seals has no end.
    pub left: Option<Duration>,
}

/// Everything there is to say about the keys of a room's call, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomExplained {
    /// The room, and what this device may do in it.
    pub info: RoomInfo,
    /// Where its keys come from.
    pub source: RoomKeySource,
    /// The relay has this device in the room now.
    pub joined: bool,
    /// Who gave the keys, and for whom.
    pub keys: Explanation,
    /// The MLS group that they come from, if they do.
    pub group: Option<GroupExplained>,
    /// What opens here, oldest first.
    pub ring: Vec<HeldEpoch>,
    /// What keys have cost, and who was not heard for how long.
    pub counters: KeyCounters,
}

impl Engine {
    /// What there is to say about the keys of the room that this device is in.
    #[must_use]
    pub fn explain_room(&self, now: Time) -> Option<RoomExplained> {
        let (room, media) = (self.room.as_ref()?, self.media.as_ref().filter(|media| media.is_room())?);
        let list = room.access().list();
        let source = RoomKeySource::of(&list.terms)?;
        let seals = media.ring.current_epoch();
        let held = |(epoch, until): (Epoch, Option<Time>)| HeldEpoch {
            epoch,
            seals: Some(epoch) == seals,
            left: until.map(|until| until.since(now)),
        };
        Some(RoomExplained {
            info: RoomInfo {
                room: list.room,
                call: media.call,
                name: list.name.clone(),
                creator: list.creator.clone(),
                protection: media.protection,
                keys: source,
                quorum: list.terms.quorum,
                rights: room.rights(),
                forward_secrecy: room.has_forward_secrecy() || (source != RoomKeySource::Host && !room.only_listens()),
            },
            source,
            joined: media.path.state() == PathState::Joined,
            keys: room.explain(now),
            group: room.explain_group(now),
            ring: media.ring.epochs().map(held).collect(),
            counters: self.key_counters(now)?,
        })
    }
}
