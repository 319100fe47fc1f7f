//! A member behind our wall, as the shipped client has it: loaded for each operation from its store, every leaf looked at, and what
//! changes written back. What is left out is the disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use undertone_groups::{
    Change, ExternalJoin, Group, GroupId, Joiner, KeyPackage, Outgoing, Received, Rejoin, Sent, Step, Store, Terms,
    Upload, WriteSet,
};
use undertone_keys::JoinId;
use zeroize::Zeroizing;

use super::roster::Roster;
use super::tree::{Made, Public};
use crate::keys::people::{Person, rng, wall_time};

/// A member.
pub(super) struct Ours {
    pub(super) id: GroupId,
    terms: Terms,
    /// The epoch that it is in, and the one that its own commit opens.
    epoch: u64,
    next: u64,
    store: Store,
    /// What is on its disk.
    disk: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
}

fn joiner(person: &Person) -> Joiner<'_> {
    let join = JoinId::random(&mut rng());
    Joiner { user: &person.address.user, identity: &person.identity, join, now: wall_time() }
}

fn upload(sent: Vec<Sent>) -> anyhow::Result<Upload> {
    match sent.into_iter().next().map(|sent| sent.what) {
        Some(Outgoing::Commit(upload)) => Ok(upload),
        _ => bail!("no commit to be sent"),
    }
}

impl From<Upload> for Made {
    fn from(upload: Upload) -> Self {
        let Upload { commit, welcome, group_info: info, tree, .. } = upload;
        Self { commit, welcome, public: Public { info, tree } }
    }
}

impl Ours {
    /// Nobody yet: a device that knows which group it is to be.
    pub(super) fn outside(id: GroupId, terms: Terms) -> Self {
        Self { id, terms, epoch: 0, next: 0, store: Store::new(), disk: BTreeMap::new() }
    }

    /// Keeps what a step changes; how long that takes in memory.
    fn keep(&mut self, writes: WriteSet) -> Duration {
        for (key, value) in writes.changes() {
            match value {
                Some(value) => self.disk.insert(key.to_vec(), Zeroizing::new(value.to_vec())),
                None => self.disk.remove(key),
            };
        }
        let start = Instant::now();
        self.store.apply(writes);
        start.elapsed()
    }

    /// The group's first member, and what the next one needs.
    pub(super) fn create(id: GroupId, terms: Terms, person: &Person) -> anyhow::Result<(Self, Public)> {
        let mut ours = Self::outside(id, terms);
        let step = Group::create(&ours.store, &mut rng(), id, &terms, &joiner(person))?;
        ours.keep(step.store);
        let group = Group::open(&ours.store, id)?;
        let public = Public { info: group.group_info(&mut rng())?, tree: group.tree()? };
        Ok((ours, public))
    }

    /// What a process has in memory that begins with what is on this member's disk.
    pub(super) fn begin(&self) -> anyhow::Result<Store> {
        Ok(Store::load(self.disk.iter().map(|(key, value)| (key.clone(), value.clone())))?)
    }

    /// Comes in by itself; what is timed ends where the commit can be sent.
    pub(super) fn join(
        &mut self,
        roster: &Roster,
        person: &Person,
        public: &Public,
    ) -> anyhow::Result<(Made, Duration)> {
        let Self { id, terms, store, .. } = self;
        let (join, start) = (Rejoin::New(joiner(person)), Instant::now());
        let external = ExternalJoin { id: *id, terms, group_info: &public.info, tree: &public.tree, psks: &[], join };
        let step = external.start(store, &mut rng(), roster)?;
        let taken = start.elapsed();
        let taken = taken + self.keep(step.store);
        let upload = upload(step.send)?;
        self.next = upload.epoch + 1;
        Ok((upload.into(), taken))
    }

    /// The commit by which it comes is taken.
    pub(super) fn joined(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let step = ExternalJoin::accepted(&self.store, self.id)?;
        let taken = start.elapsed();
        self.epoch = self.next;
        Ok(taken + self.keep(step.store))
    }

    /// Leaves a key package behind.
    pub(super) fn wait(&mut self, person: &Person) -> anyhow::Result<Vec<u8>> {
        let step = KeyPackage::generate(&self.store, &mut rng(), self.terms.suite, &joiner(person))?;
        let Step { store, send } = step;
        self.keep(store);
        match send.into_iter().next().map(|sent| sent.what) {
            Some(Outgoing::KeyPackage { bytes }) => Ok(bytes),
            _ => bail!("no key package"),
        }
    }

    /// Is let in.
    pub(super) fn welcomed(&mut self, roster: &Roster, welcome: &[u8], tree: &[u8]) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let step = Group::join(&self.store, &mut rng(), self.id, &self.terms, welcome, tree, roster)?;
        let taken = start.elapsed();
        Ok(taken + self.keep(step.store))
    }

    /// Somebody else's commit, until the epoch has begun.
    pub(super) fn follow(&mut self, roster: &Roster, commit: &[u8]) -> anyhow::Result<Duration> {
        let mut rng = rng();
        let start = Instant::now();
        let step = {
            let Received::Commit(staged) = Group::open(&self.store, self.id)?.receive(&mut rng, commit)? else {
                bail!("something else than a commit")
            };
            self.epoch = staged.epoch();
            let verdict = staged.judge(roster)?;
            staged.merge(verdict)?
        };
        let taken = start.elapsed();
        Ok(taken + self.keep(step.store))
    }

    /// A commit of its own, until it can be sent.
    pub(super) fn commit(&mut self, roster: &Roster, change: Change) -> anyhow::Result<(Made, Duration)> {
        let start = Instant::now();
        let step = Group::open(&self.store, self.id)?.commit(&mut rng(), change, roster)?;
        let taken = start.elapsed();
        let taken = taken + self.keep(step.store);
        let upload = upload(step.send)?;
        self.next = upload.epoch + 1;
        Ok((upload.into(), taken))
    }

    /// The own commit is taken.
    pub(super) fn accepted(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let step = Group::open(&self.store, self.id)?.accepted(&mut rng())?;
        let taken = start.elapsed();
        self.epoch = self.next;
        Ok(taken + self.keep(step.store))
    }

    /// How long it takes to load the group from its disk, as after a start.
    pub(super) fn load(&self) -> anyhow::Result<Duration> {
        let store = self.fork()?;
        let start = Instant::now();
        let group = Group::open(&store, self.id)?;
        let taken = start.elapsed();
        anyhow::ensure!(group.epoch() == self.epoch, "another epoch");
        Ok(taken)
    }

    pub(super) fn package(&self, bytes: &[u8]) -> anyhow::Result<KeyPackage> {
        Ok(KeyPackage::parse(bytes, self.terms.suite, wall_time())?)
    }

    /// The epoch that it is in. Nothing else is asked of the group: it stays in memory from one operation to the next.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What another process finds on its disk that begins now.
    pub(super) fn fork(&self) -> anyhow::Result<Store> {
        Ok(Store::load(self.disk.iter().map(|(key, value)| (key.clone(), value.clone())))?)
    }

    /// Bytes on its disk: keys and values.
    pub(super) fn stored(&self) -> usize {
        self.disk.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}
