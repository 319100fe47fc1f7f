//! One group in memory, behind the lock that puts what happens in it into an order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, RoomId, UserId};
use undertone_protocol::delivery::{InfoFrame, Opaque, Tree, TreeHashes};
use undertone_protocol::limits::{DESERTED_AFTER, EXTERNAL_COMMIT_EVERY, FOLLOWER_MEMORY, GROUP_TREES, MAX_FOLLOWERS};

use super::followers::Followers;
use super::given_back::{Opening, Returned};
use super::votes::Votes;
use super::withdrawn::Alone;
use crate::config::Limits;
use crate::rate::Bucket;
use crate::store::{Groups, StoreError, StoredGroup};

/// A call's group, be there one yet or not.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) room: RoomId,
    /// Held from before an epoch's transaction until everybody was told of it, so that all are told in one order, and whoever
    /// begins to follow misses nothing.
    pub(super) state: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) followers: Followers,
    /// What is known of the database, if anything is: after an error it is read again.
    pub(super) known: Known,
    /// Commits that may be brought, by whomever.
    pub(super) commits: Bucket,
    /// When each device last came in by a commit of its own.
    external: HashMap<DeviceId, Instant>,
    pub(super) used: Instant,
    /// The newest epoch in which each device has shown to be (rule STO-3).
    pub(super) seen: HashMap<DeviceId, u64>,
    /// Commits that were given back, the last ones.
    pub(super) returned: VecDeque<Returned>,
    /// Whose groups were withdrawn lately, and until when they begin none.
    pub(super) withdrawn: VecDeque<(UserId, Instant)>,
}

#[derive(Debug)]
pub(super) enum Known {
    /// It has to be read.
    Nothing,
    /// There is no group.
    None,
    /// There is.
    Group(Box<Current>),
}

impl Group {
    pub(super) fn new(room: RoomId, limits: &Limits, now: Instant) -> Self {
        let commits = Bucket::new(limits.group_commit_burst, limits.group_commit_rate, now);
        let (followers, external) = (Followers::default(), HashMap::new());
        let (seen, returned, withdrawn) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        let state = State { followers, known: Known::Nothing, commits, external, used: now, seen, returned, withdrawn };
        Self { room, state: tokio::sync::Mutex::new(state) }
    }
}

impl State {
    /// The group as it is, read from the store where it is not known.
    pub(super) async fn current(
        &mut self,
        store: &impl Groups,
        call: CallId,
        now: Instant,
    ) -> Result<Option<&mut Current>, StoreError> {
        if matches!(self.known, Known::Nothing) {
            self.known = match store.group(call).await? {
                Some(stored) => {
                    for ended in stored.history.iter().filter(|ended| !ended.external) {
                        self.saw(ended.by, ended.epoch);
                    }
                    Known::Group(Box::new(Current::from_stored(stored, now)?))
                }
                None => Known::None,
            };
        }
        Ok(match &mut self.known {
            Known::Group(current) => Some(current),
            Known::None | Known::Nothing => None,
        })
    }

    /// After how long a device may come in by a commit of its own again, if not now (rule MLS-2).
    pub(super) fn external_wait(&self, device: DeviceId, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(*self.external.get(&device)?);
        EXTERNAL_COMMIT_EVERY.checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// A device has shown to be in this epoch. Of how many that is known is bounded.
    pub(super) fn saw(&mut self, device: DeviceId, epoch: u64) {
        if self.seen.len() < MAX_FOLLOWERS || self.seen.contains_key(&device) {
            let seen = self.seen.entry(device).or_default();
            *seen = epoch.max(*seen);
        }
    }

    /// What devices have shown was in a group that is gone.
    pub(super) fn forget_members(&mut self) {
        self.seen.clear();
        self.returned.clear();
    }

    /// A device came in by a commit of its own.
    pub(super) fn came_in(&mut self, device: DeviceId, now: Instant) {
        self.external.retain(|_, at| now.saturating_duration_since(*at) < EXTERNAL_COMMIT_EVERY);
        self.external.insert(device, now);
    }
}

/// A group at its newest epoch.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) suite: u16,
    pub(super) epoch: u64,
    /// The oldest epoch whose commit is kept.
    pub(super) oldest: u64,
    pub(super) creator: DeviceId,
    /// Nobody but this person has shown to be in it.
    pub(super) alone: Option<Alone>,
    /// The devices that follow and cannot come in.
    pub(super) shut_out: HashMap<DeviceId, UserId>,
    /// SHA-256 of the group info that it was begun with.
    pub(super) hash: [u8; 32],
    pub(super) info: Opaque,
    pub(super) votes: Votes,
    /// How the newest epoch was opened, while the one before it can be given back.
    pub(super) opening: Option<Opening>,
    /// Of the newest epoch and some before it, in this order.
    trees: VecDeque<(u64, Arc<Tree>)>,
    hashes: TreeHashes,
    /// The epochs whose commits are kept, and how many bytes each has.
    history: VecDeque<(u64, usize)>,
    /// When it was read from the store, if it was begun before this start: whoever was there has had that long to come back.
    read: Option<Instant>,
}

impl Current {
    fn from_stored(stored: StoredGroup, now: Instant) -> Result<Self, StoreError> {
        let tree = Tree::new(stored.nodes).map_err(|_| StoreError::Damaged)?;
        let digest = InfoFrame::read(&stored.info).map_err(|_| StoreError::Damaged)?.digest();
        let opening = stored.opened.map(|opened| {
            let newcomers = opened.welcomed.into_iter().collect();
            Opening::new(opened.by, opened.hash, newcomers, None, now)
        });
        Ok(Self {
            opening,
            alone: stored.alone.map(|user| Alone { user, since: now }),
            shut_out: HashMap::new(),
            suite: stored.suite,
            epoch: stored.epoch,
            oldest: stored.oldest,
            creator: stored.creator,
            hash: stored.hash,
            info: stored.info.into(),
            votes: Votes::new(digest),
            hashes: TreeHashes::of(&tree),
            trees: VecDeque::from([(stored.epoch, Arc::new(tree))]),
            history: stored.history.iter().map(|ended| (ended.epoch, ended.bytes)).collect(),
            read: Some(now),
        })
    }

    /// A group that begins.
    pub(super) fn begin(
        (suite, creator, hash): (u16, &Address, [u8; 32]),
        now: Instant,
        (info, votes): (Opaque, Votes),
        (tree, hashes): (Tree, TreeHashes),
    ) -> Self {
        let (trees, history) = (VecDeque::from([(0, Arc::new(tree))]), VecDeque::new());
        let (epoch, oldest, opening, read) = (0, 0, None, None);
        let (alone, creator) = (Some(Alone { user: creator.user.clone(), since: now }), creator.device);
        let shut_out = HashMap::new();
        Self {
            suite,
            epoch,
            oldest,
            creator,
            alone,
            shut_out,
            hash,
            info,
            votes,
            opening,
            trees,
            hashes,
            history,
            read,
        }
    }

    /// The newest tree, and the hashes of its subtrees.
    pub(super) fn tree(&self) -> (Arc<Tree>, &TreeHashes) {
        let tree = self.trees.back().map(|(_, tree)| tree.clone());
        (tree.unwrap_or_default(), &self.hashes)
    }

    /// The tree of an epoch, where it is kept.
    pub(super) fn tree_of(&self, epoch: u64) -> Option<Arc<Tree>> {
        self.trees.iter().find(|(of, _)| *of == epoch).map(|(_, tree)| tree.clone())
    }

    /// The oldest epoch whose commit is kept when one of so many bytes ends the present epoch: no more than the limits say, and none
    /// that all have seen.
    pub(super) fn oldest_after(&self, bytes: usize, limits: &Limits, needed: Option<u64>, now: Instant) -> u64 {
        let (mut oldest, mut count, mut total) = (self.epoch, 0, 0_u64);
        for (epoch, bytes) in std::iter::once((self.epoch, bytes)).chain(self.history.iter().rev().copied()) {
            count += 1;
            total = total.saturating_add(bytes as u64);
            // The newest stays whatever it weighs: those who lost need it, and who did not get the answer asks for it.
            if count > 1 && (count > limits.group_history || total > limits.group_history_bytes) {
                break;
            }
            oldest = epoch;
        }
        let seen = needed.filter(|_| self.is_settled(now)).unwrap_or(0).min(self.epoch);
        oldest.max(seen).max(self.oldest)
    }

    /// Whether everybody of whom something could be known has had the time to come back since the server was started.
    fn is_settled(&self, now: Instant) -> bool {
        self.is_known_for(now, FOLLOWER_MEMORY)
    }

    /// Whether those whose connection ended when the server did would be there again.
    pub(super) fn are_back(&self, now: Instant) -> bool {
        self.is_known_for(now, DESERTED_AFTER)
    }

    fn is_known_for(&self, now: Instant, time: Duration) -> bool {
        self.read.is_none_or(|read| now.saturating_duration_since(read) >= time)
    }

    /// The present epoch ended with a commit of so many bytes, by this device, which lets these in.
    pub(super) fn advance(
        &mut self,
        (oldest, bytes): (u64, usize),
        (info, votes): (Opaque, Votes),
        (tree, hashes): (Tree, TreeHashes),
        (by, hash, newcomers): (Address, [u8; 32], HashSet<DeviceId>),
        now: Instant,
    ) {
        let before = (std::mem::replace(&mut self.info, info), std::mem::replace(&mut self.votes, votes));
        self.opening = Some(Opening::new(by, hash, newcomers, Some(before), now));
        self.history.push_back((self.epoch, bytes));
        self.history.retain(|(epoch, _)| *epoch >= oldest);
        self.oldest = oldest;
        self.epoch += 1;
        self.hashes = hashes;
        self.trees.push_back((self.epoch, Arc::new(tree)));
        if self.trees.len() > GROUP_TREES {
            self.trees.pop_front();
        }
    }

    /// The present epoch is given back, where what the one before was is still known; `false` where it has to be read.
    pub(super) fn step_back(&mut self, before: Option<(Opaque, Votes)>) -> bool {
        let (Some((info, votes)), true, Some(epoch)) = (before, self.trees.len() > 1, self.epoch.checked_sub(1)) else {
            return false;
        };
        self.trees.pop_back();
        self.history.pop_back();
        (self.epoch, self.info, self.votes) = (epoch, info, votes);
        self.hashes = TreeHashes::of(&self.tree().0);
        true
    }

    /// Another group info and tree take the place of those of the present epoch.
    pub(super) fn reinform(&mut self, info: Opaque, digest: [u8; 32], tree: Tree, hashes: TreeHashes) {
        (self.info, self.hashes) = (info, hashes);
        self.votes.turn_to(digest);
        self.trees.pop_back();
        self.trees.push_back((self.epoch, Arc::new(tree)));
    }
}
