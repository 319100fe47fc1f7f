//! What the server keeps about the MLS group of a call: its epochs in order, its tree, and what those who were away lack.

use std::future::Future;

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, RoomId, UserId, WallTime};
use undertone_protocol::delivery::Node;

use super::StoreError;

/// What of a tree becomes different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChanges {
    /// How many nodes the tree has then.
    pub length: u32,
    /// Places and what is there then; `None` where it is blank.
    pub nodes: Vec<(u32, Option<Node>)>,
}

/// A group that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Of which call.
    pub call: CallId,
    /// Of which room: its present call must be this one.
    pub room: RoomId,
    /// The cipher suite.
    pub suite: u16,
    /// Who begins it.
    pub creator: Address,
    /// What tells this beginning from another.
    pub hash: [u8; 32],
    /// Its `GroupInfo`.
    pub info: Vec<u8>,
    /// Its tree, from nothing.
    pub tree: NodeChanges,
}

/// A group as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGroup {
    /// The cipher suite.
    pub suite: u16,
    /// The epoch that it is in.
    pub epoch: u64,
    /// The oldest epoch whose commit is kept; `epoch` where none is.
    pub oldest: u64,
    /// Who began it.
    pub creator: DeviceId,
    /// Who alone has shown to be in it, if nobody else has.
    pub alone: Option<UserId>,
    /// From [`NewGroup::hash`].
    pub hash: [u8; 32],
    /// The newest `GroupInfo`.
    pub info: Vec<u8>,
    /// The tree's nodes.
    pub nodes: Vec<Option<Node>>,
    /// The commits that are kept, ascending.
    pub history: Vec<Ended>,
    /// How the newest epoch was opened, where the one before it can be given back.
    pub opened: Option<Opened>,
}

/// What is known of a commit that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The epoch that it ended.
    pub epoch: u64,
    /// How many bytes it has.
    pub bytes: usize,
    /// Who brought it.
    pub by: DeviceId,
    /// Whether they came in by it.
    pub external: bool,
}

/// How the newest epoch was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// By whom.
    pub by: Address,
    /// SHA-256 of the commit.
    pub hash: [u8; 32],
    /// Whose `Welcome` still waits for them.
    pub welcomed: Vec<DeviceId>,
}

/// The end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// Of which group.
    pub call: CallId,
    /// The epoch that ends.
    pub epoch: u64,
    /// Who brought it.
    pub by: Address,
    /// SHA-256 of the commit.
    pub hash: [u8; 32],
    /// The commit.
    pub commit: Vec<u8>,
    /// The `GroupInfo` of the next.
    pub info: Vec<u8>,
    /// What changes in the tree.
    pub tree: NodeChanges,
    /// `Welcome`s, and whom each is for.
    pub welcomes: Vec<(Vec<Address>, Vec<u8>)>,
    /// Commits and `Welcome`s of epochs before this one are forgotten.
    pub oldest: u64,
    /// When.
    pub now: WallTime,
}

/// The commit that ended an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// Who brought it.
    pub device: DeviceId,
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// The commit.
    pub commit: Vec<u8>,
}

/// Groups. Each call is all or nothing, and durable when it returns: nothing of a commit leaves the server before.
pub trait Groups: Send + Sync + 'static {
    /// Begins a group. [`StoreError::Conflict`] when the call has one, or is not the room's present one.
    fn create_group(&self, group: NewGroup, now: WallTime) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How many groups there are.
    fn group_count(&self) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// The group of this call.
    fn group(&self, call: CallId) -> impl Future<Output = Result<Option<StoredGroup>, StoreError>> + Send;

    /// Ends an epoch, and opens the next. [`StoreError::Conflict`] when the group is not in that epoch, or gone: of all that try, one
    /// does it.
    fn end_epoch(&self, end: EpochEnd) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Somebody else than whoever began it has shown to be in the group of this call.
    fn not_alone(&self, call: CallId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets the group of this call, where nobody but whoever began it has shown to be in it; else [`StoreError::Conflict`].
    fn withdraw_group(&self, call: CallId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets the group of this call, whoever was in it.
    fn forget_group(&self, call: CallId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives an epoch back: the commit with this hash, which ended it, is gone with all that came with it, and what the group was in that
    /// epoch is the newest again. [`StoreError::Conflict`] when the group is not in the epoch that this commit opened, or came to it by
    /// being given back: it goes one step back and no more.
    fn give_back(
        &self,
        call: CallId,
        epoch: u64,
        hash: [u8; 32],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The commit that ended this epoch, where it is kept.
    fn winner(&self, call: CallId, epoch: u64) -> impl Future<Output = Result<Option<Winner>, StoreError>> + Send;

    /// The commits that ended this epoch and those behind it, ascending: `most` at most, and at least one but otherwise no more than
    /// fit into `room_for` bytes.
    fn commits_from(
        &self,
        call: CallId,
        epoch: u64,
        most: u32,
        room_for: usize,
    ) -> impl Future<Output = Result<Vec<(u64, Vec<u8>)>, StoreError>> + Send;

    /// The `Welcome` that waits for this device, and the epoch it leads into.
    fn welcome_for(
        &self,
        call: CallId,
        to: &Address,
    ) -> impl Future<Output = Result<Option<(u64, Vec<u8>)>, StoreError>> + Send;

    /// This device has its `Welcome`.
    fn welcomed(&self, call: CallId, device: DeviceId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts another `GroupInfo`, and what differs in its tree, in the place of those of this epoch. [`StoreError::Conflict`] when the
    /// group is not in it.
    fn reinform(
        &self,
        call: CallId,
        epoch: u64,
        info: Vec<u8>,
        tree: NodeChanges,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Somebody has to do with these groups.
    fn groups_used(&self, calls: &[CallId], now: WallTime) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets groups that nobody had to do with since then, and says how many.
    fn forget_groups(&self, since: WallTime) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
