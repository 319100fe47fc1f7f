//! Changes that wait for an epoch.
//!
//! An epoch has at most one new version of a label, and versions come without gaps. So of several versions of one label
//! that wait, the next one goes and the others stay for later epochs, in whatever order they came. What was published
//! before is answered again with its epoch: whoever was cut off may ask twice.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;
use undertone_transparency::log::Hash;

use super::error::DirectoryError;
use super::handle::Published;
use super::storage::{StorageError, Version, View};

/// Where the outcome of a change goes.
pub(super) type Reply = oneshot::Sender<Result<Published, DirectoryError>>;

/// A version that somebody wants published.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) label: Vec<u8>,
    pub(super) version: u32,
    pub(super) value: Hash,
    pub(super) reply: Reply,
}

/// A version that goes into the next epoch, with everybody who wants it.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) label: Vec<u8>,
    pub(super) version: u32,
    pub(super) value: Hash,
    /// The newest published version, which this one supersedes, with its VRF proofs.
    pub(super) before: Option<Version>,
    pub(super) replies: Vec<Reply>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Change>,
}

impl Queue {
    pub(super) fn push(&mut self, change: Change) {
        self.waiting.push_back(change);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The first `most` labels and versions that wait.
    pub(super) fn waiting(&self, most: usize) -> Vec<(Vec<u8>, u32)> {
        self.waiting.iter().take(most).map(|change| (change.label.clone(), change.version)).collect()
    }

    /// Everything that waits is told that it waits in vain.
    pub(super) fn fail(&mut self, error: DirectoryError) {
        self.waiting.drain(..).for_each(|change| answer(change.reply, Err(error)));
    }

    /// Takes the next epoch out of the queue: `most` labels at most, those first that came first. Answers what needs no
    /// epoch and what can never be in one.
    pub(super) fn take<V: View>(&mut self, most: usize, stored: &V) -> Vec<Due> {
        let mut labels: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut groups: Vec<Vec<Change>> = Vec::new();
        for change in std::mem::take(&mut self.waiting) {
            let known = labels.get(&change.label).copied();
            let full = groups.len() >= most;
            match known.and_then(|group| groups.get_mut(group)) {
                Some(group) => group.push(change),
                None if full => self.waiting.push_back(change),
                None => {
                    labels.insert(change.label.clone(), groups.len());
                    groups.push(vec![change]);
                }
            }
        }
        groups.into_iter().filter_map(|group| self.sort(group, stored)).collect()
    }

    /// Sorts the changes of one label.
    fn sort<V: View>(&mut self, group: Vec<Change>, stored: &V) -> Option<Due> {
        let newest = group.first().map(|change| stored.newest(&change.label, u64::MAX >> 1));
        let newest = match newest.transpose() {
            Ok(newest) => newest.flatten(),
            Err(error) => {
                group.into_iter().for_each(|change| answer(change.reply, Err(error.into())));
                return None;
            }
        };
        let number = newest.map_or(0, |newest| newest.version);
        let mut due: Option<Due> = None;
        let mut later = Vec::new();
        for change in group {
            let next = number.checked_add(1) == Some(change.version);
            match &mut due {
                _ if change.version <= number => {
                    let outcome = published(stored, &change);
                    answer(change.reply, outcome);
                }
                // The tree takes no version that changes nothing.
                _ if next && newest.is_some_and(|newest| newest.value == change.value) => {
                    answer(change.reply, Err(DirectoryError::Conflict));
                }
                None if next => {
                    let Change { label, version, value, reply } = change;
                    due = Some(Due { label, version, value, before: newest, replies: vec![reply] });
                }
                Some(due) if next && due.value == change.value => due.replies.push(change.reply),
                Some(_) if next => answer(change.reply, Err(DirectoryError::Conflict)),
                _ => later.push(change),
            }
        }
        // Those stay that the epochs before them will reach.
        later.sort_by_key(|change| change.version);
        let mut reached = due.as_ref().map_or(number, |due| due.version);
        for change in later {
            if change.version.checked_sub(reached).is_some_and(|ahead| ahead <= 1) && due.is_some() {
                reached = change.version;
                self.waiting.push_back(change);
            } else {
                answer(change.reply, Err(DirectoryError::Gap { newest: number }));
            }
        }
        due
    }
}

/// What was published under this version before.
fn published<V: View>(stored: &V, change: &Change) -> Result<Published, DirectoryError> {
    if change.version == 0 {
        return Err(DirectoryError::Conflict);
    }
    let version = stored.versions(&change.label, change.version, change.version)?.pop();
    let Version { value, epoch, .. } = version.ok_or(StorageError::Damaged)?;
    if value == change.value { Ok(Published { epoch }) } else { Err(DirectoryError::Conflict) }
}

/// Whoever asked may have gone.
pub(super) fn answer(reply: Reply, outcome: Result<Published, DirectoryError>) {
    let _ = reply.send(outcome);
}
