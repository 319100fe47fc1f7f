//! What a device knows of a user from an earlier proof, and what that says about everything that comes later (rules KT-6, ID-7).
//!
//! A look-up proves of a list that no later one was in the directory. So whatever is shown later was published later, and says so:
//! in which epoch a list was published stands inside the directory, and only the device that has looked before can tell that an
//! earlier epoch was put there.

use minicbor::{Decode, Encode};
use undertone_keys::WallTime;
use undertone_keys::device_list::DeviceList;

use crate::accusation::Accusation;
use crate::leaf::{Leaf, LeafOrder};

/// Up to when a list was its user's newest, as the directory proved it last. CBOR map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NewestAt {
    /// The epoch of the directory: every later list was published in a later one.
    #[n(0)]
    pub epoch: u64,
    /// The time of the log: no leaf of a later epoch has an earlier one.
    #[n(1)]
    pub time: WallTime,
}

/// A list that a device has checked before, for a look-up to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownList {
    /// The list.
    pub list: DeviceList,
    /// Up to when it was the newest. None where it was signed here and not looked up yet, or by an older version of this
    /// software.
    pub newest: Option<NewestAt>,
}

impl NewestAt {
    /// Of two proofs about one user's lists, or about one and a later one, the one that says more.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        Self { epoch: self.epoch.max(other.epoch), time: self.time.max(other.time) }
    }
}

impl KnownList {
    /// A list of which nothing is known but that it holds.
    #[must_use]
    pub const fn new(list: DeviceList) -> Self {
        Self { list, newest: None }
    }

    /// Rule KT-6: a later version was published after the epoch in which this one was the newest.
    pub(crate) fn comes_before(&self, version: u32, published: u64) -> Result<(), Accusation> {
        later(self.list.version(), self.newest.map(|newest| newest.epoch), version, published)
    }

    /// The same of the leaf that shows when this was: the log's time has not gone back since.
    pub(crate) fn comes_before_leaf(&self, version: u32, leaf: &Leaf) -> Result<(), Accusation> {
        self.comes_before(version, leaf.epoch)?;
        match self.newest.filter(|newest| version > self.list.version() && leaf.time < newest.time) {
            Some(newest) => Err(LeafOrder::Time { before: newest.time, after: leaf.time }.into()),
            None => Ok(()),
        }
    }
}

/// Rule KT-6: whether a version stands in the right order behind one that was the newest in an epoch, if that is known.
pub(crate) fn later(known: u32, newest: Option<u64>, version: u32, published: u64) -> Result<(), Accusation> {
    match newest.filter(|newest| version > known && published <= *newest) {
        Some(newest) => Err(Accusation::Backdated { version, published, known, newest }),
        None => Ok(()),
    }
}
