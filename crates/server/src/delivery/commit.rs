//! Ending an epoch: of all who try, one does (rule RLY-6).

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId};
use undertone_protocol::delivery::frame::welcome_suite;
use undertone_protocol::delivery::{
    CommitFrame, Denied, FrameError, GroupNews, InfoFrame, Node, Opaque, Tree, TreeError, TreeHashes, TreePatch,
    Welcoming, group_id,
};
use undertone_protocol::limits::{MAX_COMMIT, MAX_GROUP_INFO, MAX_WELCOMED, MAX_WELCOMES};
use undertone_protocol::signal::ToDevice;

use super::group::{Current, Group, Known, State};
use super::votes::Votes;
use super::{Asker, GroupDesk, Refusal};
use crate::memberships::Membership;
use crate::store::{EpochEnd, Groups, NewGroup, NodeChanges, Rooms, StoreError};

/// What comes with a commit.
pub(super) struct Upload {
    pub(super) epoch: u64,
    pub(super) commit: Vec<u8>,
    pub(super) welcomes: Vec<Welcoming>,
    pub(super) info: Vec<u8>,
    pub(super) tree: TreePatch,
}

impl From<FrameError> for Refusal {
    fn from(_: FrameError) -> Self {
        Denied::Malformed.into()
    }
}

impl From<TreeError> for Refusal {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::TooLarge => Denied::TooLarge.into(),
            _ => Denied::Malformed.into(),
        }
    }
}

fn ensure(holds: bool, otherwise: Denied) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// Reads a group info that must be of this call and this epoch.
fn info_of(info: &[u8], call: CallId, epoch: u64) -> Result<InfoFrame<'_>, Refusal> {
    ensure(info.len() <= MAX_GROUP_INFO, Denied::TooLarge)?;
    let frame = InfoFrame::read(info)?;
    ensure(frame.group == group_id(&call) && frame.epoch == epoch, Denied::Mismatch)?;
    Ok(frame)
}

/// What of an upload can be said without knowing the group: that each part is what it should be, and of this call and epoch.
fn check<'u>(upload: &'u Upload, call: CallId, room: &Membership) -> Result<(InfoFrame<'u>, bool), Refusal> {
    let welcomes: usize = upload.welcomes.iter().map(|welcoming| welcoming.welcome.len()).sum();
    let welcomed: usize = upload.welcomes.iter().map(|welcoming| welcoming.to.len()).sum();
    let fits = upload.commit.len() <= MAX_COMMIT && welcomes <= MAX_WELCOMES && welcomed <= MAX_WELCOMED;
    ensure(fits, Denied::TooLarge)?;
    let frame = CommitFrame::read(&upload.commit)?;
    ensure(frame.group == group_id(&call) && frame.epoch == upload.epoch, Denied::Mismatch)?;
    let next = upload.epoch.checked_add(1).ok_or(Denied::Mismatch)?;
    let info = info_of(&upload.info, call, next)?;
    let mut devices = HashSet::new();
    for Welcoming { to, welcome } in &upload.welcomes {
        ensure(welcome_suite(welcome)? == info.suite, Denied::Mismatch)?;
        ensure(!to.is_empty() && to.iter().all(|to| devices.insert(to.device)), Denied::Malformed)?;
        // Members refuse such a commit (rule MLS-1): it would end the group for all of them.
        ensure(to.iter().all(|to| room.may_be_member(&to.user)), Denied::NotYours)?;
    }
    // Who comes in lets nobody else in.
    ensure(!frame.external || upload.welcomes.is_empty(), Denied::Malformed)?;
    Ok((info, frame.external))
}

/// The tree that a patch leads to, which must have the hash that the group info names, its hashes, and what changes in the store.
fn next_tree(
    (before, hashes): (&Tree, &TreeHashes),
    patch: &TreePatch,
    info: &InfoFrame<'_>,
) -> Result<(Tree, TreeHashes, NodeChanges), Refusal> {
    let tree = patch.apply(before)?;
    let places = patch.nodes.iter().filter_map(|node| usize::try_from(node.index).ok());
    let hashes = hashes.after(before, &tree, places);
    ensure(info.tree_hash == hashes.root(), Denied::Mismatch)?;
    let stored = |index: u32| usize::try_from(index).ok().and_then(|index| tree.nodes().get(index)?.clone());
    let nodes: Vec<(u32, Option<Node>)> = patch.nodes.iter().map(|node| (node.index, stored(node.index))).collect();
    let changes = NodeChanges { length: patch.length, nodes };
    Ok((tree, hashes, changes))
}

impl<S: Groups + Rooms> GroupDesk<S> {
    /// Begins the group, unless it is there.
    pub(super) async fn create(
        &self,
        Asker { you, membership, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        number: u32,
        info: Vec<u8>,
        patch: &TreePatch,
    ) -> Result<Vec<GroupNews>, Refusal> {
        let frame = info_of(&info, call, 0)?;
        let nothing = Tree::default();
        let (tree, hashes, changes) = next_tree((&nothing, &TreeHashes::of(&nothing)), patch, &frame)?;
        let (suite, digest, hash) = (frame.suite, frame.digest(), sha256(&[&info]));
        let (state, now) = (&mut *group.state.lock().await, self.board.clock().now());
        state.used = now;
        if !state.commits.take(now) {
            return Err(Refusal(Denied::Later, state.commits.wait(1, now)));
        }
        let begun = |current: &Current| {
            let is_mine = current.creator == you.device && current.hash == hash;
            if is_mine { Ok(vec![GroupNews::Accepted { number, epoch: 0 }]) } else { Err(Denied::Lost.into()) }
        };
        if let Some(current) = state.current(&self.store, call, now).await? {
            return begun(current);
        }
        state.refuse_withdrawn(&you.user, now)?;
        if self.store.group_count().await? >= self.limits.groups {
            tracing::warn!("no more groups: there are as many as the server keeps");
            return Err(Denied::Unavailable.into());
        }
        let new =
            NewGroup { call, room: group.room, suite, creator: you.clone(), hash, info: info.clone(), tree: changes };
        match self.store.create_group(new, self.board.clock().wall()).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => {
                state.known = Known::Nothing;
                let current = state.current(&self.store, call, now).await?;
                return current.map_or_else(|| Err(Denied::NotYours.into()), |current| begun(current));
            }
            Err(error) => {
                state.known = Known::Nothing;
                return Err(error.into());
            }
        }
        let mut votes = Votes::new(digest);
        votes.cast(you, digest);
        let current = Current::begin((suite, you, hash), now, (info.into(), votes), (tree, hashes));
        state.known = Known::Group(Box::new(current));
        state.forget_members();
        state.followers.saw(you.device, 0);
        state.saw(you.device, 0);
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.tell_followers(state, call, membership, Some(you.device), GroupNews::Opened, now);
        Ok(vec![GroupNews::Accepted { number, epoch: 0 }])
    }

    /// Takes a commit if it is the first to its epoch: durable before anybody, its sender included, hears that it was.
    pub(super) async fn commit(
        &self,
        Asker { you, membership, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        number: u32,
        upload: Upload,
    ) -> Result<Vec<GroupNews>, Refusal> {
        let (frame, external) = check(&upload, call, membership)?;
        let (digest, hash, epoch) = (frame.digest(), sha256(&[&upload.commit]), upload.epoch);
        let (state, now) = (&mut *group.state.lock().await, self.board.clock().now());
        state.used = now;
        let current = state.current(&self.store, call, now).await?.ok_or(Denied::NoGroup)?;
        if epoch < current.epoch {
            return self.late(call, you.device, number, epoch, hash).await;
        }
        ensure(epoch == current.epoch, Denied::Ahead)?;
        ensure(frame.suite == current.suite, Denied::Mismatch)?;
        state.refuse_returned(epoch, &you.user, hash, now)?;
        if !state.commits.take(now) {
            return Err(Refusal(Denied::Later, state.commits.wait(1, now)));
        }
        if let Some(wait) = state.external_wait(you.device, now).filter(|_| external) {
            return Err(Refusal(Denied::Later, wait));
        }
        let needed = state.followers.oldest(now);
        let current = state.current(&self.store, call, now).await?.ok_or(Denied::NoGroup)?;
        let (before, hashes) = current.tree();
        let (tree, hashes, changes) = next_tree((&before, hashes), &upload.tree, &frame)?;
        let oldest = current.oldest_after(upload.commit.len(), &self.limits, needed, now);
        let welcomes: Vec<(Vec<Address>, Vec<u8>)> =
            upload.welcomes.into_iter().map(|welcoming| (welcoming.to, welcoming.welcome)).collect();
        let end = EpochEnd {
            call,
            epoch,
            by: you.clone(),
            hash,
            commit: upload.commit.clone(),
            info: upload.info.clone(),
            tree: changes,
            welcomes: welcomes.clone(),
            oldest,
            now: self.board.clock().wall(),
        };
        match self.store.end_epoch(end).await {
            Ok(()) => {}
            // Somebody else did it: the database is right, whatever is in memory.
            Err(StoreError::Conflict) => {
                state.known = Known::Nothing;
                let newest = state.current(&self.store, call, now).await?.ok_or(Denied::NoGroup)?.epoch;
                ensure(epoch < newest, Denied::Ahead)?;
                return self.late(call, you.device, number, epoch, hash).await;
            }
            Err(error) => {
                state.known = Known::Nothing;
                return Err(error.into());
            }
        }
        let mut votes = Votes::new(digest);
        votes.cast(you, digest);
        let newcomers = welcomes.iter().flat_map(|(to, _)| to).map(|to| to.device).collect();
        let (size, opened) = ((oldest, upload.commit.len()), (you.clone(), hash, newcomers));
        current.advance(size, (upload.info.into(), votes), (tree, hashes), opened, now);
        current.alone.take_if(|alone| alone.user != you.user);
        current.shut_out.remove(&you.device);
        state.followers.saw(you.device, epoch);
        if external {
            state.came_in(you.device, now);
        } else {
            state.saw(you.device, epoch);
        }
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        let news = GroupNews::Commit { epoch, commit: upload.commit.into() };
        self.tell_followers(state, call, membership, Some(you.device), news, now);
        self.welcome(state, call, you, epoch + 1, welcomes, now);
        Ok(vec![GroupNews::Accepted { number, epoch: epoch + 1 }])
    }

    /// What a commit to an epoch gets that has ended: its own acceptance again, or the one that was first.
    async fn late(
        &self,
        call: CallId,
        device: DeviceId,
        number: u32,
        epoch: u64,
        hash: [u8; 32],
    ) -> Result<Vec<GroupNews>, Refusal> {
        let Some(winner) = self.store.winner(call, epoch).await? else { return Err(Denied::Behind.into()) };
        if winner.device == device && winner.hash == hash {
            return Ok(vec![GroupNews::Accepted { number, epoch: epoch + 1 }]);
        }
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
        let refused = GroupNews::Refused { number, why: Denied::Lost, after_ms: 0 };
        Ok(vec![refused, GroupNews::Commit { epoch, commit: winner.commit.into() }])
    }

    /// Tells everybody who follows but whose doing it is. Nobody is waited for.
    pub(super) fn tell_followers(
        &self,
        state: &mut State,
        call: CallId,
        room: &Membership,
        except: Option<DeviceId>,
        news: GroupNews,
        now: Instant,
    ) {
        let lines = state.followers.told(room, except);
        let gone = self.board.tell_all(lines, &ToDevice::Group { call, news });
        state.followers.left(&gone, now);
    }

    /// Hands `Welcome`s to devices that are connected. They are stored: whoever does not get one finds it when it follows.
    fn welcome(
        &self,
        state: &mut State,
        call: CallId,
        by: &Address,
        epoch: u64,
        welcomes: Vec<(Vec<Address>, Vec<u8>)>,
        now: Instant,
    ) {
        for (to, welcome) in welcomes {
            let welcome = Opaque::from(welcome);
            for to in to {
                state.followers.expect(&to, epoch, now);
                self.counts.welcomes.fetch_add(1, Ordering::Relaxed);
                let news = GroupNews::Welcome { epoch, welcome: welcome.clone() };
                self.board.tell(&by.user, &to, ToDevice::Group { call, news });
            }
        }
    }

    /// Puts another group info in the place of one that more people dispute than attest, if more attest the other.
    pub(super) async fn reinform(
        &self,
        Asker { you, .. }: Asker<'_>,
        call: CallId,
        group: &Group,
        number: u32,
        (epoch, info, patch): (u64, Vec<u8>, &TreePatch),
    ) -> Result<Vec<GroupNews>, Refusal> {
        let frame = info_of(&info, call, epoch)?;
        let digest = frame.digest();
        let (state, now) = (&mut *group.state.lock().await, self.board.clock().now());
        state.used = now;
        let current = state.current(&self.store, call, now).await?.ok_or(Denied::NoGroup)?;
        ensure(epoch <= current.epoch, Denied::Ahead)?;
        ensure(epoch == current.epoch, Denied::Behind)?;
        ensure(frame.suite == current.suite, Denied::Mismatch)?;
        let (at_hand, other) = (current.votes.tally(), current.votes.on(digest));
        let may = at_hand.is_disputed() && current.votes.of(you.device) == Some(digest);
        ensure(may && other.attested > at_hand.attested, Denied::Disputed)?;
        let (before, hashes) = current.tree();
        let (tree, hashes, changes) = next_tree((&before, hashes), patch, &frame)?;
        if let Err(error) = self.store.reinform(call, epoch, info.clone(), changes).await {
            state.known = Known::Nothing;
            return match error {
                StoreError::Conflict => Err(Denied::Behind.into()),
                error => Err(error.into()),
            };
        }
        current.reinform(info.into(), digest, tree, hashes);
        Ok(vec![GroupNews::Accepted { number, epoch }])
    }
}
