//! Groups in memory.

use std::collections::{BTreeMap, HashMap};

use undertone_keys::envelope::Address;
use undertone_keys::{CallId, DeviceId, RoomId, UserId, WallTime};
use undertone_protocol::delivery::Node;

use super::StoreError;
use super::groups::{Ended, EpochEnd, Groups, NewGroup, NodeChanges, Opened, StoredGroup, Winner};
use super::memory::Memory;

#[derive(Debug)]
pub(super) struct KeptGroup {
    pub(super) room: RoomId,
    suite: u16,
    epoch: u64,
    oldest: u64,
    creator: DeviceId,
    alone: Option<UserId>,
    hash: [u8; 32],
    info: Vec<u8>,
    nodes: Vec<Option<Node>>,
    commits: BTreeMap<u64, Winner>,
    welcomed: HashMap<DeviceId, (UserId, u64, Vec<u8>)>,
    used: WallTime,
    /// What it was in the epoch before, and who ended that one.
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    info: Vec<u8>,
    nodes: Vec<Option<Node>>,
    by: UserId,
}

fn ended(epoch: u64, winner: &Winner) -> Ended {
    // The wire format of a public message, behind the version.
    let external = winner.commit.get(2..4) == Some(&[0, 1]);
    Ended { epoch, bytes: winner.commit.len(), by: winner.device, external }
}

impl KeptGroup {
    fn opened(&self) -> Option<Opened> {
        let winner = self.commits.get(&self.epoch.checked_sub(1)?)?;
        let by = Address { user: self.before.as_ref()?.by.clone(), device: winner.device };
        let into = self.welcomed.iter().filter(|(_, (_, epoch, _))| *epoch == self.epoch);
        Some(Opened { by, hash: winner.hash, welcomed: into.map(|(device, _)| *device).collect() })
    }
}

fn change(nodes: &mut Vec<Option<Node>>, NodeChanges { length, nodes: changed }: NodeChanges) {
    nodes.resize(usize::try_from(length).unwrap_or(usize::MAX), None);
    for (place, node) in changed {
        if let Some(there) = usize::try_from(place).ok().and_then(|place| nodes.get_mut(place)) {
            *there = node;
        }
    }
}

impl Groups for Memory {
    async fn create_group(&self, group: NewGroup, now: WallTime) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        let NewGroup { call, room, suite, creator, hash, info, tree } = group;
        let is_present = tables.rooms.get(&room).is_some_and(|room| room.is_in(call));
        if !is_present || tables.groups.contains_key(&call) {
            return Err(StoreError::Conflict);
        }
        let (commits, welcomed, mut nodes) = (BTreeMap::new(), HashMap::new(), Vec::new());
        change(&mut nodes, tree);
        let (epoch, oldest, used) = (0, 0, now);
        let (before, alone, creator) = (None, Some(creator.user), creator.device);
        let kept = KeptGroup {
            room,
            suite,
            epoch,
            oldest,
            creator,
            alone,
            hash,
            info,
            nodes,
            commits,
            welcomed,
            used,
            before,
        };
        tables.groups.insert(call, kept);
        Ok(())
    }

    async fn group_count(&self) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.tables().groups.len()).unwrap_or(u32::MAX))
    }

    async fn group(&self, call: CallId) -> Result<Option<StoredGroup>, StoreError> {
        let tables = self.tables();
        let stored = |group: &KeptGroup| StoredGroup {
            suite: group.suite,
            epoch: group.epoch,
            oldest: group.oldest,
            creator: group.creator,
            alone: group.alone.clone(),
            hash: group.hash,
            info: group.info.clone(),
            nodes: group.nodes.clone(),
            history: group.commits.iter().map(|(epoch, winner)| ended(*epoch, winner)).collect(),
            opened: group.opened(),
        };
        Ok(tables.groups.get(&call).map(stored))
    }

    async fn end_epoch(&self, end: EpochEnd) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        let group = tables.groups.get_mut(&end.call).filter(|group| group.epoch == end.epoch);
        let group = group.ok_or(StoreError::Conflict)?;
        let (nodes, info) = (group.nodes.clone(), std::mem::take(&mut group.info));
        group.alone.take_if(|alone| *alone != end.by.user);
        group.before = Some(Before { info, nodes, by: end.by.user });
        group.commits.insert(end.epoch, Winner { device: end.by.device, hash: end.hash, commit: end.commit });
        group.epoch += 1;
        (group.info, group.oldest, group.used) = (end.info, group.oldest.max(end.oldest), end.now);
        change(&mut group.nodes, end.tree);
        for (to, welcome) in end.welcomes {
            for Address { user, device } in to {
                group.welcomed.insert(device, (user, group.epoch, welcome.clone()));
            }
        }
        group.commits.retain(|epoch, _| *epoch >= end.oldest);
        group.welcomed.retain(|_, (_, epoch, _)| *epoch >= end.oldest);
        Ok(())
    }

    async fn not_alone(&self, call: CallId) -> Result<(), StoreError> {
        if let Some(group) = self.tables().groups.get_mut(&call) {
            group.alone = None;
        }
        Ok(())
    }

    async fn withdraw_group(&self, call: CallId) -> Result<(), StoreError> {
        let groups = &mut self.tables().groups;
        groups.get(&call).filter(|group| group.alone.is_some()).ok_or(StoreError::Conflict)?;
        groups.remove(&call);
        Ok(())
    }

    async fn forget_group(&self, call: CallId) -> Result<(), StoreError> {
        self.tables().groups.remove(&call);
        Ok(())
    }

    async fn give_back(&self, call: CallId, epoch: u64, hash: [u8; 32]) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        let group = tables.groups.get_mut(&call).ok_or(StoreError::Conflict)?;
        let is_newest = epoch.checked_add(1) == Some(group.epoch);
        if !is_newest || group.commits.get(&epoch).is_none_or(|winner| winner.hash != hash) {
            return Err(StoreError::Conflict);
        }
        let Before { info, nodes, .. } = group.before.take().ok_or(StoreError::Conflict)?;
        group.commits.remove(&epoch);
        group.welcomed.retain(|_, (_, into, _)| *into <= epoch);
        (group.epoch, group.info, group.nodes) = (epoch, info, nodes);
        Ok(())
    }

    async fn winner(&self, call: CallId, epoch: u64) -> Result<Option<Winner>, StoreError> {
        Ok(self.tables().groups.get(&call).and_then(|group| group.commits.get(&epoch)).cloned())
    }

    async fn commits_from(
        &self,
        call: CallId,
        epoch: u64,
        most: u32,
        room_for: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let (tables, mut commits, mut taken) = (self.tables(), Vec::new(), 0);
        for next in epoch..epoch.saturating_add(u64::from(most)) {
            let Some(winner) = tables.groups.get(&call).and_then(|group| group.commits.get(&next)) else { break };
            taken += winner.commit.len();
            if taken > room_for && !commits.is_empty() {
                break;
            }
            commits.push((next, winner.commit.clone()));
        }
        Ok(commits)
    }

    async fn welcome_for(&self, call: CallId, to: &Address) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let tables = self.tables();
        let waiting = tables.groups.get(&call).and_then(|group| group.welcomed.get(&to.device));
        let theirs = waiting.filter(|(user, _, _)| *user == to.user);
        Ok(theirs.map(|(_, epoch, welcome)| (*epoch, welcome.clone())))
    }

    async fn welcomed(&self, call: CallId, device: DeviceId) -> Result<(), StoreError> {
        if let Some(group) = self.tables().groups.get_mut(&call) {
            group.welcomed.remove(&device);
        }
        Ok(())
    }

    async fn reinform(&self, call: CallId, epoch: u64, info: Vec<u8>, tree: NodeChanges) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        let group = tables.groups.get_mut(&call).filter(|group| group.epoch == epoch).ok_or(StoreError::Conflict)?;
        group.info = info;
        change(&mut group.nodes, tree);
        Ok(())
    }

    async fn groups_used(&self, calls: &[CallId], now: WallTime) -> Result<(), StoreError> {
        let tables = &mut *self.tables();
        for call in calls {
            if let Some(group) = tables.groups.get_mut(call) {
                group.used = group.used.max(now);
            }
        }
        Ok(())
    }

    async fn forget_groups(&self, since: WallTime) -> Result<u64, StoreError> {
        let groups = &mut self.tables().groups;
        let before = groups.len();
        groups.retain(|_, group| group.used >= since);
        Ok((before - groups.len()) as u64)
    }
}
