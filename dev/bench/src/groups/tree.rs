//! A group in a populated tree: everybody has come by a commit of their own, so that every node above a leaf is filled, and none of them
//! names a leaf that it does not speak for.
//!
//! ```text
//! leaf      0      1      2 ..         n-2    n-1
//!         ours    raw    the crowd     raw    ours
//! ```
//! The two at the left follow all that happens, as those of a call do; of the two at the right comes what is measured. So two of the three
//! who follow a commit share the root with its sender and nothing below, where there is the least to decrypt and what a wall adds weighs
//! the most; the third, the other at the right, stands beside the sender. That is alike for ours and for openmls alone.

use openmls_traits::OpenMlsProvider;
use undertone_groups::{GroupId, Protection, Suite, Terms};

use super::hasty::Hasty;
use super::ours::Ours;
use super::raw::Raw;
use super::roster::Roster;

/// What those need who come by themselves.
#[derive(Clone, Debug)]
pub(super) struct Public {
    pub(super) info: Vec<u8>,
    pub(super) tree: Vec<u8>,
}

/// A commit, and what goes to the delivery service with it.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) commit: Vec<u8>,
    pub(super) welcome: Option<Vec<u8>>,
    pub(super) public: Public,
}

/// Somebody who is measured.
pub(super) enum Member<P> {
    Ours(Ours),
    Raw(Box<Raw<P>>),
}

/// A group, and those of it who go on.
pub(super) struct Populated<P> {
    pub(super) suite: Suite,
    pub(super) size: usize,
    pub(super) id: GroupId,
    pub(super) terms: Terms,
    /// By their place in the roster, which is their leaf.
    pub(super) members: Vec<(usize, Member<P>)>,
    pub(super) public: Public,
}

/// The terms of a group that is measured.
pub(super) const fn terms(suite: Suite) -> Terms {
    Terms::new(Protection::Blind, suite, false)
}

impl<P: OpenMlsProvider + Send + Sync> Populated<P> {
    /// A group of so many, two at least. `new` makes a backend with empty storage.
    pub(super) fn new(
        roster: &Roster,
        (suite, id): (Suite, GroupId),
        size: usize,
        new: &impl Fn() -> anyhow::Result<P>,
    ) -> anyhow::Result<Self> {
        let terms = terms(suite);
        let (first, public) = Ours::create(id, terms, roster.person(0)?)?;
        let members = vec![(0, Member::Ours(first))];
        let mut group = Self { suite, size, id, terms, members, public };
        for place in 1..size {
            let person = roster.person(place)?;
            let joins_raw = place == 1 || place + 2 == size;
            let (member, made) = if joins_raw {
                let (raw, made, _) = Raw::join(new()?, suite, person, &group.public)?;
                (Some(Member::Raw(Box::new(raw))), made)
            } else if place + 1 == size {
                let mut ours = Ours::outside(id, terms);
                let (made, _) = ours.join(roster, person, &group.public)?;
                ours.joined()?;
                (Some(Member::Ours(ours)), made)
            } else {
                // Whoever is not measured is in no state to go on, and goes.
                let (_, made, _) = Raw::join(Hasty(new()?), suite, person, &group.public)?;
                (None, made)
            };
            for (_, other) in &mut group.members {
                other.follow(roster, &made.commit)?;
            }
            group.members.extend(member.map(|member| (place, member)));
            group.public = made.public;
        }
        Ok(group)
    }
}

impl<P: OpenMlsProvider> Member<P> {
    /// Somebody else's commit.
    pub(super) fn follow(&mut self, roster: &Roster, commit: &[u8]) -> anyhow::Result<std::time::Duration> {
        match self {
            Self::Ours(ours) => ours.follow(roster, commit),
            Self::Raw(raw) => raw.follow(commit),
        }
    }

    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }
}
