//! The delivery service: keeps the epochs of each call's MLS group in one order, hands commits and `Welcome`s to those who follow,
//! and keeps what somebody needs who was away or comes in (rules RLY-6, MLS-1 to MLS-4, EKR-7).
//!
//! It sees what [`undertone_protocol::delivery`] says and believes none of it. What it promises: of all commits to one epoch one is
//! taken, it is on the disk before anybody hears of it, and everybody hears of the same one. What it checks besides: that the
//! parts of an upload are of one group, one epoch and one suite, and that the tree it will hand to newcomers has the hash that
//! the group info names. Whether the group info comes of the commit it cannot check: members attest that ([`votes`]).
//!
//! A group is in memory while somebody follows it ([`group`]); the database is the authority, and what is in memory is read from
//! it again after a start or an error.

mod commit;
mod follow;
mod followers;
mod given_back;
mod group;
mod key_packages;
mod votes;
mod withdrawn;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, RoomId, UserId, WallTime};
use undertone_protocol::delivery::{Denied, GroupNews, GroupRequest};
use undertone_protocol::limits::GROUP_IDLE;
use undertone_protocol::signal::ToDevice;

use self::group::{Group, Known};
pub use self::key_packages::{PackageDesk, PackageError};
use crate::budget::Spending;
use crate::config::Limits;
use crate::memberships::Membership;
use crate::rooms::RoomDesk;
use crate::spread::NotNow;
use crate::store::{Groups, Rooms, StoreError};
use crate::switchboard::Switchboard;

/// When what was too much can be asked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a group that nobody follows stays in memory.
const KEPT: Duration = Duration::from_secs(60);
/// How often [`GroupDesk::settle`] is to be called.
pub const SETTLE_EVERY: Duration = Duration::from_millis(250);
/// How often it is noted in the database that groups are followed, and looked for those that are not.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct DeliveryCounts {
    commits: AtomicU64,
    lost: AtomicU64,
    welcomes: AtomicU64,
    disputes: AtomicU64,
    given_back: AtomicU64,
    withdrawn: AtomicU64,
}

/// The same, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Commits that were taken, and groups that were begun.
    pub commits: u64,
    /// Commits that came second.
    pub lost: u64,
    /// Devices that commits let in.
    pub welcomes: u64,
    /// Attests that said otherwise than the group info at hand.
    pub disputes: u64,
    /// Epochs that were given back.
    pub given_back: u64,
    /// Groups that nobody could come into, and that were withdrawn.
    pub withdrawn: u64,
    /// Groups in memory.
    pub groups: u64,
}

/// Why a request is refused, and after how long it may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal(Denied, Duration);

impl From<Denied> for Refusal {
    fn from(why: Denied) -> Self {
        Self(why, Duration::ZERO)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a group's store failed");
        Denied::Unavailable.into()
    }
}

impl From<NotNow> for Refusal {
    fn from(NotNow: NotNow) -> Self {
        Self(Denied::Later, PAUSE)
    }
}

/// Why no tree is handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeRefused {
    /// There is no such room for this user, or it is in another call.
    #[error("there is no such room, you are not on its list, or it is in another call")]
    Unknown,
    /// Too many requests.
    #[error("too many requests of this account: slow down")]
    TooMany,
    /// No group, or a tree that is not kept.
    #[error("there is no tree of that epoch, or none any more: ask for the newest group info")]
    NoTree,
    /// The store failed.
    #[error("the server cannot do this now")]
    Store(#[from] StoreError),
}

/// Whom a request is of.
#[derive(Clone, Copy, Debug)]
struct Asker<'a> {
    you: &'a Address,
    /// The number of the connection.
    line: u64,
    /// Who is on the room's list.
    membership: &'a Membership,
}

/// The desk for groups.
#[derive(Debug)]
pub struct GroupDesk<S> {
    store: S,
    rooms: Arc<RoomDesk<S>>,
    board: Arc<Switchboard>,
    limits: Limits,
    groups: Mutex<HashMap<CallId, Arc<Group>>>,
    counts: DeliveryCounts,
    swept: Mutex<Option<Instant>>,
    /// Calls of which somebody cannot take the newest commit, and one who says so.
    contested: Mutex<HashMap<CallId, UserId>>,
}

impl<S: Groups + Rooms> GroupDesk<S> {
    /// A desk over `store`, for the calls of these rooms, by the clock of the switchboard.
    #[must_use]
    pub fn new(store: S, rooms: Arc<RoomDesk<S>>, board: Arc<Switchboard>, limits: &Limits) -> Self {
        let swept = Mutex::new(Some(board.clock().now()));
        let (groups, counts) = (Mutex::default(), DeliveryCounts::default());
        let contested = Mutex::default();
        Self { store, rooms, board, limits: *limits, groups, counts, swept, contested }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<CallId, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let DeliveryCounts { commits, lost, welcomes, disputes, given_back, withdrawn } = &self.counts;
        let groups = u64::try_from(self.groups().len()).unwrap_or(u64::MAX);
        let (welcomes, disputes) = (of(welcomes), of(disputes));
        let (given_back, withdrawn) = (of(given_back), of(withdrawn));
        Delivered { commits: of(commits), lost: of(lost), welcomes, disputes, given_back, withdrawn, groups }
    }

    /// Does what a device asks, on its connection of this number, about the group of a room's call; says what to answer.
    pub async fn request(
        &self,
        you: &Address,
        line: u64,
        (room, call): (RoomId, CallId),
        number: u32,
        request: GroupRequest,
    ) -> Vec<ToDevice> {
        let answered = match self.admit(&you.user, room, call).await {
            Ok(membership) => {
                let asker = Asker { you, line, membership: &membership };
                self.answer(asker, call, &self.group(room, call), number, request).await
            }
            Err(refusal) => Err(refusal),
        };
        let news = answered.unwrap_or_else(|Refusal(why, after)| {
            // Rounded up: whoever comes a moment too early is told once more.
            let after_ms = if why == Denied::Later { after.as_millis().saturating_add(1) } else { 0 };
            vec![GroupNews::Refused { number, why, after_ms: u32::try_from(after_ms).unwrap_or(u32::MAX) }]
        });
        news.into_iter().map(|news| ToDevice::Group { call, news }).collect()
    }

    /// The room's list, for somebody who is on it while this is its present call.
    async fn admit(&self, user: &UserId, room: RoomId, call: CallId) -> Result<Arc<Membership>, Refusal> {
        let membership = self.rooms.membership(&self.board, user, room).await?;
        let membership = membership.filter(|room| room.is_in(call) && room.may_be_member(user));
        membership.ok_or_else(|| Denied::NotYours.into())
    }

    fn group(&self, room: RoomId, call: CallId) -> Arc<Group> {
        let new = || Arc::new(Group::new(room, &self.limits, self.board.clock().now()));
        self.groups().entry(call).or_insert_with(new).clone()
    }

    async fn answer(
        &self,
        asker: Asker<'_>,
        call: CallId,
        group: &Group,
        number: u32,
        request: GroupRequest,
    ) -> Result<Vec<GroupNews>, Refusal> {
        let spending = match &request {
            GroupRequest::Follow { .. } | GroupRequest::Info | GroupRequest::Reinform { .. } => Some(Spending::Group),
            GroupRequest::Create { .. } | GroupRequest::Commit { .. } => Some(Spending::Commit),
            // Paid for as signals.
            GroupRequest::Unfollow
            | GroupRequest::Attest { .. }
            | GroupRequest::Reject { .. }
            | GroupRequest::Withdraw { .. } => None,
        };
        if spending.is_some_and(|spending| !self.board.allow(&asker.you.user, spending)) {
            return Err(Refusal(Denied::Later, PAUSE));
        }
        match request {
            GroupRequest::Follow { have } => self.follow(asker, call, group, number, have).await,
            GroupRequest::Unfollow => {
                self.unfollow(asker, call, group).await;
                Ok(Vec::new())
            }
            GroupRequest::Create { info, tree } => self.create(asker, call, group, number, info, &tree).await,
            GroupRequest::Commit { epoch, commit, welcomes, info, tree } => {
                let upload = commit::Upload { epoch, commit, welcomes, info, tree };
                self.commit(asker, call, group, number, upload).await
            }
            GroupRequest::Attest { epoch, digest } => {
                self.attest(asker, call, group, epoch, digest).await?;
                Ok(Vec::new())
            }
            GroupRequest::Reject { epoch } => {
                self.reject(asker, call, group, epoch).await?;
                Ok(Vec::new())
            }
            GroupRequest::Withdraw { epoch, born } => {
                self.withdraw(asker, call, group, (epoch, born)).await?;
                Ok(Vec::new())
            }
            GroupRequest::Info => self.info(call, group, number).await,
            GroupRequest::Reinform { epoch, info, tree } => {
                self.reinform(asker, call, group, number, (epoch, info, &tree)).await
            }
        }
    }

    /// The encoded tree of an epoch, of the newest where none is named.
    ///
    /// # Errors
    /// [`TreeRefused`].
    pub async fn tree(
        &self,
        user: &UserId,
        (room, call): (RoomId, CallId),
        epoch: Option<u64>,
    ) -> Result<Vec<u8>, TreeRefused> {
        match self.admit(user, room, call).await {
            Ok(_) => {}
            Err(Refusal(Denied::NotYours, _)) => return Err(TreeRefused::Unknown),
            Err(_) => return Err(TreeRefused::TooMany),
        }
        if !self.board.allow(user, Spending::Group) {
            return Err(TreeRefused::TooMany);
        }
        let group = self.group(room, call);
        let tree = {
            let (mut state, now) = (group.state.lock().await, self.board.clock().now());
            state.used = now;
            let current = state.current(&self.store, call, now).await?.ok_or(TreeRefused::NoTree)?;
            current.tree_of(epoch.unwrap_or(current.epoch)).ok_or(TreeRefused::NoTree)?
        };
        Ok(tree.encode())
    }

    /// Forgets what is over: connections that are gone, groups that nobody follows, and, now and then, those that nobody had to do
    /// with for long.
    ///
    /// # Errors
    /// [`StoreError`]; it is tried again.
    pub async fn expire(&self, now: Instant, wall: WallTime) -> Result<(), StoreError> {
        let groups: Vec<(CallId, Arc<Group>)> =
            self.groups().iter().map(|(call, group)| (*call, group.clone())).collect();
        let mut followed = Vec::new();
        for (call, group) in groups {
            // Whoever holds it does something in it.
            let Ok(mut state) = group.state.try_lock() else {
                followed.push(call);
                continue;
            };
            let gone = self.board.gone(state.followers.lines());
            state.followers.left(&gone, now);
            state.followers.forget(now);
            if !state.followers.is_empty() {
                followed.push(call);
            }
        }
        self.groups().retain(|_, group| {
            let is_used = || match group.state.try_lock() {
                Ok(state) => !state.followers.is_empty() || now.saturating_duration_since(state.used) < KEPT,
                Err(_) => true,
            };
            // Nobody who is about to ask holds it: there are never two of one call.
            Arc::strong_count(group) > 1 || is_used()
        });
        let is_due = {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY);
            if is_due {
                *swept = Some(now);
            }
            is_due
        };
        if is_due {
            self.sweep(&followed, wall).await?;
        }
        Ok(())
    }

    /// Groups that are followed are used; those that were not for long go, as do those whose room is in another call.
    async fn sweep(&self, followed: &[CallId], wall: WallTime) -> Result<(), StoreError> {
        self.store.groups_used(followed, wall).await?;
        let since = WallTime::from_unix(wall.as_unix().saturating_sub(GROUP_IDLE.as_secs()));
        let forgotten = self.store.forget_groups(since).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "groups that nobody had to do with any more were forgotten");
        }
        for call in followed {
            let Some(group) = self.groups().get(call).cloned() else { continue };
            let present = self.store.room(group.room).await?.is_some_and(|room| room.call == Some(*call));
            if !present {
                // Nothing comes in it any more.
                let mut state = group.state.lock().await;
                (state.followers, state.known) = (followers::Followers::default(), Known::Nothing);
                state.forget_members();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
