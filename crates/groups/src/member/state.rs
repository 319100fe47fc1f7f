//! Where a membership stands: states are named for what they await.

use undertone_keys::{JoinId, Time};

use super::interface::{How, OutReason};
use crate::group::Authenticator;
use crate::roll::{DeviceRef, Member};
use crate::step::Upload;

/// What is awaited.
#[derive(Debug)]
pub(super) enum State {
    /// The delivery service, to say where the group is.
    AwaitingNews,
    /// The delivery service, to take the group that this device has made. Its group info tells it from another's.
    Creating {
        info: Vec<u8>,
    },
    /// Somebody, to add this device; and the tree, where a Welcome has come.
    AwaitingWelcome {
        welcome: Option<Welcome>,
    },
    /// What is needed to join by oneself.
    AwaitingInfo,
    /// The tree to the group info, and then whoever is in it to be looked up.
    AwaitingTree {
        epoch: u64,
        info: Vec<u8>,
        tree: Option<Vec<u8>>,
    },
    /// The delivery service, to take an external commit. A Welcome that comes meanwhile counts if it does not.
    JoiningBySelf {
        flight: Flight,
        welcome: Option<Welcome>,
    },
    /// Nothing: this device is in.
    Inside,
    Out(OutReason),
}

/// A Welcome, and the tree that belongs to it.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) epoch: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) tree: Option<Vec<u8>>,
}

/// A commit that was uploaded.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) upload: Upload,
    pub(super) before: Vec<u8>,
    pub(super) welcomed: Vec<DeviceRef>,
    /// Another one has won: it is not sent again.
    pub(super) lost: bool,
    /// It was made by this process, and so begins an epoch in which nothing was sealed from this leaf.
    pub(super) fresh: bool,
    pub(super) told: Told,
}

/// From which tree the delivery service is told what a commit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// From the group's, which the service should have as well.
    Ours,
    /// From the one that it has, which it is asked for.
    Asking,
    /// From that one.
    Theirs,
}

/// The group as it is stored.
#[derive(Debug)]
pub(super) struct View {
    pub(super) epoch: u64,
    pub(super) own: u32,
    pub(super) join: JoinId,
    /// By leaf, and the own one's place among them.
    pub(super) members: Vec<Member>,
    pub(super) place: usize,
    pub(super) authenticator: Authenticator,
    pub(super) begun: Time,
}

/// Who began an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// This device, with its own commit.
    Me,
    /// Somebody else.
    Other(Member),
    /// This device came into it.
    Entry(How),
}

/// How a device joins by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// As a new join.
    New,
    /// Over its own leaf: it has lost its way, and not been restarted.
    Same,
}
