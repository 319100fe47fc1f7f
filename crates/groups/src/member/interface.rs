//! What a membership is told and what it says.

use core::time::Duration;

use undertone_keys::call_agreement::MediaKey;
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::sign::{Device, SigningKey};
use undertone_keys::{Time, WallTime};

use crate::failure::Broken;
use crate::group::{Attest, Authenticator};
use crate::key_package::KeyPackageError;
use crate::refused::Refused;
use crate::roll::{DeviceRef, Member, Roll};
use crate::step::Upload;
use crate::store::{Store, WriteSet};
use crate::suite::Suite;

/// What the caller has and a membership uses.
pub struct Means<'a> {
    /// Where the device's groups live. It is changed at once; the same change comes out as [`Output::Store`].
    pub store: &'a mut Store,
    /// The device's identity key: it vouches for the key of each leaf.
    pub identity: &'a SigningKey<Device>,
    /// Who is let in.
    pub roll: &'a dyn Roll,
    /// Now, for what outlives a process.
    pub wall: WallTime,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The delivery service is reachable (again): what was asked of it before may be lost.
    Reachable,
    /// It is not.
    Unreachable,
    /// A device is in the call, by the relay's word, and is proven and on the list.
    Present(DeviceRef),
    /// It is not any more.
    Absent(DeviceRef),
    /// Whether the relay has shown everybody who is in. Until then nobody is removed for not having been shown.
    Complete(bool),
    /// So many others the relay shows, be they proven or not. Where that is nobody, no Welcome is waited for.
    Shown(usize),
    /// The roll says something else than before of somebody: the list changed, or a device was revoked.
    RollChanged,
    /// A member gave this device what is to be the group's quorum secret, where the terms say that there is one: without it nothing is
    /// joined. A wrong one does no harm; [`Membership::lacks_quorum`](super::Membership::lacks_quorum) tells.
    Quorum(QuorumSecret),
    /// Whether nobody gives this device the quorum secret: those who have it are gone, or keep it to themselves. If the group cannot be
    /// joined for want of it, it is better gone then.
    NoQuorum(bool),
    /// Devices of [`Output::Resolve`] have been looked up.
    Resolved,
    /// Where the group is, by the delivery service: the first answer to [`Output::Follow`].
    State {
        /// Its epoch, if there is such a group.
        epoch: Option<u64>,
        /// The oldest epoch whose end is still known.
        oldest: u64,
        /// The newest epoch that the service has seen this device in, if it knows (rule STO-3).
        seen: Option<u64>,
        /// SHA-256 of the group info that the group was begun with, if it says so.
        born: Option<[u8; 32]>,
    },
    /// The commit that ended an epoch.
    Commit {
        /// Which.
        epoch: u64,
        /// The commit.
        bytes: Vec<u8>,
    },
    /// Somebody has let this device in.
    Welcome {
        /// The epoch that it comes into.
        epoch: u64,
        /// The Welcome.
        bytes: Vec<u8>,
    },
    /// The answer to [`Output::Create`] or [`Output::Upload`]: it is taken.
    Accepted {
        /// The epoch that it opens.
        epoch: u64,
    },
    /// The answer to [`Output::Create`] or [`Output::Upload`]: it is not taken.
    Refused {
        /// The epoch that it would have opened.
        epoch: u64,
        /// Why.
        why: Denied,
    },
    /// The answer to [`Output::AskInfo`].
    Info {
        /// Of which epoch.
        epoch: u64,
        /// The group info.
        info: Vec<u8>,
    },
    /// The same: there is none to be had now.
    NoInfo,
    /// The answer to [`Output::FetchTree`].
    Tree {
        /// Of which epoch.
        epoch: u64,
        /// The tree; none if it is not to be had.
        bytes: Option<Vec<u8>>,
    },
    /// The answer to [`Output::Claim`] for one device.
    Claimed {
        /// The device that was asked for.
        device: DeviceRef,
        /// A key package of it, as the server says; none if there is none.
        package: Option<Vec<u8>>,
    },
    /// What a member says of an epoch, in a sealed control frame or a letter (rule MLS-3).
    Told {
        /// Who.
        device: DeviceRef,
        /// Of which epoch.
        epoch: u64,
        /// Its authenticator.
        authenticator: Authenticator,
    },
    /// Frames of a member do not open (rule EKR-7).
    CannotOpen {
        /// Whose.
        device: DeviceRef,
        /// The epoch that they name.
        epoch: u64,
    },
    /// The ring has lost the key of the present epoch.
    KeyLost,
    /// So many frames are sealed under the present epoch by now.
    Sealed {
        /// How many.
        frames: u64,
    },
    /// Keys are to change, though the tree does not: somebody has come or gone who is given them without being in the group.
    Renew {
        /// When, if there is no new epoch before.
        at: Time,
        /// Somebody has gone, who is to open nothing more.
        removed: bool,
    },
    /// Somebody has begun a group.
    Opened,
    /// There is no group any more: too many could not come into it, and nobody but whoever began it was in it, or nobody was any more.
    Withdrawn,
    /// A person leaves the call.
    Leave,
    /// This device is revoked.
    Revoked,
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// Why the delivery service does not take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// Another commit ended that epoch, or another device began the group.
    Lost,
    /// The group has not come to that epoch.
    Ahead,
    /// There is no such group.
    NoGroup,
    /// This device may not.
    NotAllowed,
    /// It is not what it should be.
    Malformed,
    /// Its tree does not follow from the tree that the delivery service has.
    Mismatch,
    /// It is too large, or adds too many.
    TooLarge,
    /// Not now.
    Later(Duration),
}

/// What is to be done, in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Commit this as one transaction before anything that comes after it (rule STO-2). It stands in memory already; whoever cannot
    /// write it stops.
    Store(WriteSet),
    /// Ask the delivery service where the group is, for what this device lacks, and to be told what comes.
    Follow {
        /// The epoch that this device is in.
        have: Option<u64>,
    },
    /// Begin the group at the delivery service, in epoch 0.
    Create {
        /// The group info.
        info: Vec<u8>,
        /// The tree.
        tree: Vec<u8>,
    },
    /// Bring a commit to the delivery service. The same one may come again; it is taken once.
    Upload {
        /// The commit and what belongs to it.
        upload: Upload,
        /// The tree of the epoch that it ends, for a service that is told only of changes.
        before: Vec<u8>,
        /// Who is let in by the Welcome in it.
        welcomed: Vec<DeviceRef>,
    },
    /// Say to the delivery service what this device sees of its epoch.
    Attest(Attest),
    /// Say to the delivery service that this device cannot take the commit that ended its epoch.
    Reject {
        /// Which epoch.
        epoch: u64,
    },
    /// Say to the delivery service that this device cannot come in: what the group is at this epoch is not what a group may be.
    Withdraw {
        /// Which epoch.
        epoch: u64,
        /// Which group: how it was begun, as the delivery service has said it.
        born: Option<[u8; 32]>,
    },
    /// Ask the delivery service for what is needed to join by oneself.
    AskInfo,
    /// Fetch the tree of an epoch.
    FetchTree {
        /// Of which.
        epoch: u64,
    },
    /// Hand a key package of this device to the server.
    Publish {
        /// Its envelope.
        package: Vec<u8>,
    },
    /// Ask the server for a key package of each of these.
    Claim(Vec<DeviceRef>),
    /// Look these up, so that the roll has an answer.
    Resolve(Vec<DeviceRef>),
    /// Take every epoch out of the ring: they are not of the group that this device is in now.
    Clear,
    /// Put a key into the ring: it opens at once.
    Install {
        /// Which epoch.
        epoch: u64,
        /// Its key.
        key: MediaKey,
    },
    /// Seal under this epoch from now on.
    Promote {
        /// Which.
        epoch: u64,
        /// Whether somebody who was in before is not any more.
        removed: bool,
    },
    /// Seal nothing, or seal again.
    Hold(bool),
    /// Who is in the tree now: what admits senders, by leaf.
    Roster {
        /// Of which epoch.
        epoch: u64,
        /// The leaf of this device: it seals under this index.
        own: u32,
        /// All of them.
        members: Vec<Member>,
    },
    /// Seal this for everybody, as a control frame (rule MLS-3).
    Say {
        /// Of which epoch.
        epoch: u64,
        /// Its authenticator.
        authenticator: Authenticator,
    },
    /// Send this to these devices outside of the group: what they seal does not open here.
    Tell {
        /// To whom.
        to: Vec<DeviceRef>,
        /// Of which epoch.
        epoch: u64,
        /// Its authenticator.
        authenticator: Authenticator,
    },
    /// Tell whoever is interested.
    Event(Event),
}

/// What people and operators see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This device is in the group.
    Joined {
        /// In which epoch.
        epoch: u64,
        /// How.
        how: How,
    },
    /// An epoch began.
    Epoch {
        /// Which.
        epoch: u64,
        /// Who committed. None where this device came into it from outside.
        by: Option<Member>,
        /// Whose leaves are new.
        added: Vec<Member>,
        /// Whose leaves went.
        removed: Vec<Member>,
        /// What protects it.
        suite: Suite,
    },
    /// Somebody is in another group under the same name (rule MLS-3): this device seals nothing until it has joined anew.
    Forked {
        /// Of which epoch there are two.
        epoch: u64,
        /// Who said so; none where nothing opened.
        by: Option<DeviceRef>,
    },
    /// Somebody says again that there are two groups, and others say that there are not.
    Accused {
        /// Who.
        by: DeviceRef,
    },
    /// This device has found its way back into the group.
    Rejoined {
        /// In which epoch.
        epoch: u64,
        /// After how long.
        after: Duration,
    },
    /// The group in which nobody was but devices of one person is gone, since the others could not come in; another is begun.
    Withdrawn,
    /// This device was removed from the group.
    Removed {
        /// By whom, if a commit says so.
        by: Option<Member>,
    },
    /// What is stored is older than what others have seen of this device: it joins as a new one (rule STO-3).
    OldStore,
    /// The group cannot be followed or joined for now; it is tried again.
    CannotBeServed(Reason),
    /// What came from the server is not what was asked for.
    ServerLied(Lie),
    /// A commit that this device does not take.
    CommitRefused {
        /// Which epoch it ended.
        epoch: u64,
        /// What is wrong.
        why: Refused,
    },
    /// Somebody is gone and still in the tree (rule MLS-4).
    StillListening(DeviceRef),
    /// The store or the library failed: this device joins anew.
    Broken(Broken),
}

/// How a device comes into a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It made it.
    Created,
    /// Somebody added it.
    Welcomed,
    /// By itself.
    BySelf,
    /// It was in it before it was started.
    Stored,
}

/// Why a group cannot be followed or joined for now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The delivery service does not answer.
    NoAnswer,
    /// Commits exist, and the delivery service does not hand them out.
    Withheld,
    /// The delivery service does not let this device.
    NotAllowed,
    /// The delivery service refuses what this device makes.
    Malformed,
    /// There is no group info to be had.
    NoInfo,
    /// Somebody is in the tree whom this device does not let in, or something in it does not hold.
    Refused(Refused),
    /// The group's quorum secret, or another pre-shared key, is missing.
    Psk,
    /// A commit that cannot be taken has won, and there is nothing else to be had.
    Junk,
    /// This device is in another group than others, again and again: the delivery service hands out nothing else.
    Forked,
}

/// What a server said that is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// A key package of another device than was asked for, or one that was used before.
    Swapped(DeviceRef),
    /// A key package that is none.
    Package(DeviceRef, KeyPackageError),
    /// A group info, a tree or a Welcome of another group, or none at all.
    Info,
    /// A commit that is not of the epoch that the server says, or none at all.
    Commit {
        /// Which epoch.
        epoch: u64,
    },
    /// Beside the last commit it keeps another tree than the group has: whoever brought that commit brought it.
    Tree,
    /// The group has gone back.
    Back {
        /// Where the server says that it is.
        to: u64,
        /// Where it was.
        from: u64,
    },
}

/// Why a device is out of the group, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutReason {
    /// A person left.
    Left,
    /// The device is revoked.
    Revoked,
    /// Its user is not on the list any more.
    Removed,
}

/// Where a membership stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standpoint {
    /// On the way in.
    Joining,
    /// In, in this epoch.
    Inside(u64),
    /// In, and on the way to where the others are.
    Rejoining,
    /// Out.
    Out(OutReason),
}

/// What keys have cost: bytes to and from the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Commits, Welcomes, group infos and trees that were sent.
    pub sent: u64,
    /// How often.
    pub uploads: u64,
    /// The same that were received, with key packages.
    pub received: u64,
    /// Commits that were taken in: others' and own.
    pub epochs: u64,
}

impl core::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Means")
    }
}
