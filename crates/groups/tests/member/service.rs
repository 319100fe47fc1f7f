//! A strict delivery service: one commit for each epoch, by compare-and-set; and what a bad one does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use undertone_groups::member::{Denied, Input};
use undertone_groups::{Attest, DeviceRef, Upload};
use undertone_keys::Time;

/// What a device asks of it.
#[derive(Debug)]
pub enum Request {
    Follow(Option<u64>),
    Create { info: Vec<u8>, tree: Vec<u8> },
    Upload { upload: Upload, before: Vec<u8>, welcomed: Vec<DeviceRef> },
    Attest(Attest),
    Reject(u64),
    Withdraw(u64, Option<[u8; 32]>),
    Info,
    Tree(u64),
    Publish(Vec<u8>),
    Claim(Vec<DeviceRef>),
}

/// How it misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// It hands these devices no commits.
    pub withhold: BTreeSet<usize>,
    /// It welcomes nobody.
    pub no_welcome: bool,
    /// It hands out this group info and tree in place of its own.
    pub foreign: Option<(Vec<u8>, Vec<u8>)>,
    /// It hands out this device's key packages for everybody's.
    pub swap: Option<DeviceRef>,
    /// It gives an epoch back that enough reject.
    pub withdraws: bool,
    /// It forgets to answer uploads so many times.
    pub forgetful: u32,
    /// Another tree comes with the next commit than the one that it leads to.
    pub other_tree: bool,
}

#[derive(Clone)]
pub struct Group {
    pub born: [u8; 32],
    pub epoch: u64,
    /// By the epoch that they end.
    pub history: BTreeMap<u64, (usize, Vec<u8>)>,
    pub info: Vec<u8>,
    pub infos: BTreeMap<u64, Vec<u8>>,
    pub trees: BTreeMap<u64, Vec<u8>>,
    pub attests: BTreeMap<u64, BTreeMap<usize, Attest>>,
    pub rejects: BTreeMap<u64, BTreeSet<usize>>,
}

#[derive(Default)]
pub struct Service {
    pub group: Option<Group>,
    pub devices: Vec<DeviceRef>,
    pub followers: BTreeSet<usize>,
    pub packages: BTreeMap<usize, VecDeque<Vec<u8>>>,
    pub welcomes: BTreeMap<usize, (u64, Vec<u8>)>,
    pub external: BTreeMap<usize, Time>,
    pub faults: Faults,
    /// Commits that it keeps.
    pub keeps: usize,
    /// Every accepted commit: the epoch that it ended, by whom, and when.
    pub accepted: Vec<(u64, usize, Time)>,
    pub uploads: usize,
    pub lost: usize,
    pub claims: usize,
    pub seen: BTreeMap<usize, u64>,
}

type Answers = Vec<(usize, Input)>;

impl Service {
    pub fn index(&self, device: &DeviceRef) -> usize {
        self.devices.iter().position(|known| known == device).unwrap()
    }

    pub fn handle(&mut self, now: Time, from: usize, request: Request) -> Answers {
        match request {
            Request::Follow(have) => self.follow(from, have),
            Request::Create { info, tree } => self.create(from, info, tree),
            Request::Upload { upload, before, welcomed } => self.upload(now, from, upload, &before, &welcomed),
            Request::Attest(attest) => {
                let Some(group) = &mut self.group else { return Vec::new() };
                let all = group.attests.entry(attest.epoch).or_default();
                for other in all.values() {
                    assert_eq!(*other, attest, "two who attest one epoch see two");
                }
                all.insert(from, attest);
                Vec::new()
            }
            Request::Reject(epoch) => self.reject(from, epoch),
            Request::Withdraw(epoch, born) => self.withdraw(from, epoch, born),
            Request::Info => match (&self.faults.foreign, &self.group) {
                (Some((info, _)), Some(group)) => vec![(from, Input::Info { epoch: group.epoch, info: info.clone() })],
                (None, Some(group)) if !self.faults.withhold.contains(&from) => {
                    vec![(from, Input::Info { epoch: group.epoch, info: group.info.clone() })]
                }
                _ => vec![(from, Input::NoInfo)],
            },
            Request::Tree(epoch) => {
                let own = self.group.as_ref().and_then(|group| group.trees.get(&epoch)).cloned();
                let bytes = self.faults.foreign.as_ref().map(|(_, tree)| tree.clone()).or(own);
                vec![(from, Input::Tree { epoch, bytes })]
            }
            Request::Publish(package) => {
                self.packages.entry(from).or_default().push_back(package);
                Vec::new()
            }
            Request::Claim(devices) => {
                self.claims += devices.len();
                let answer = |device: DeviceRef| {
                    let of = self.faults.swap.clone().unwrap_or_else(|| device.clone());
                    let index = self.devices.iter().position(|known| *known == of).unwrap();
                    let package = self.packages.get_mut(&index).and_then(VecDeque::pop_front);
                    (from, Input::Claimed { device, package })
                };
                devices.into_iter().map(answer).collect()
            }
        }
    }

    /// With two or three who follow one is enough.
    fn withdraw(&mut self, from: usize, epoch: u64, born: Option<[u8; 32]>) -> Answers {
        let of_another = |group: &Group| {
            group.epoch == epoch
                && born == Some(group.born)
                && group.history.is_empty()
                && !self.seen.contains_key(&from)
        };
        if self.group.as_ref().is_none_or(|group| !of_another(group)) {
            return Vec::new();
        }
        self.group = None;
        self.followers.iter().map(|follower| (*follower, Input::Withdrawn)).collect()
    }

    fn follow(&mut self, from: usize, have: Option<u64>) -> Answers {
        self.followers.insert(from);
        let Some(group) = &self.group else {
            return vec![(from, Input::State { epoch: None, oldest: 0, seen: None, born: None })];
        };
        let oldest = group.history.keys().next().copied().unwrap_or(group.epoch);
        let seen = self.seen.get(&from).copied();
        if let Some(have) = have {
            let seen = self.seen.entry(from).or_default();
            *seen = (*seen).max(have);
        }
        let epoch = if self.faults.withhold.contains(&from) { have.or(Some(group.epoch)) } else { Some(group.epoch) };
        let mut answers = vec![(from, Input::State { epoch, oldest, seen, born: Some(group.born) })];
        if self.faults.withhold.contains(&from) {
            return answers;
        }
        if let Some((epoch, bytes)) = self.welcomes.get(&from).filter(|_| !self.faults.no_welcome) {
            answers.push((from, Input::Welcome { epoch: *epoch, bytes: bytes.clone() }));
        }
        if let Some(have) = have {
            let commits = group.history.range(have..).take(64);
            answers.extend(
                commits.map(|(epoch, (_, bytes))| (from, Input::Commit { epoch: *epoch, bytes: bytes.clone() })),
            );
        }
        answers
    }

    fn create(&mut self, from: usize, info: Vec<u8>, tree: Vec<u8>) -> Answers {
        if let Some(group) = &self.group {
            if group.epoch == 0 && group.info == info {
                return vec![(from, Input::Accepted { epoch: 0 })];
            }
            self.lost += 1;
            return vec![(from, Input::Refused { epoch: 0, why: Denied::Lost })];
        }
        self.group = Some(Group {
            born: undertone_keys::digest::sha256(&[&info]),
            epoch: 0,
            history: BTreeMap::new(),
            infos: BTreeMap::from([(0, info.clone())]),
            info,
            trees: BTreeMap::from([(0, tree)]),
            attests: BTreeMap::new(),
            rejects: BTreeMap::new(),
        });
        vec![(from, Input::Accepted { epoch: 0 })]
    }

    fn upload(&mut self, now: Time, from: usize, upload: Upload, before: &[u8], welcomed: &[DeviceRef]) -> Answers {
        self.uploads += 1;
        let opens = upload.epoch + 1;
        let refuse = |why| vec![(from, Input::Refused { epoch: opens, why })];
        let Some(group) = &mut self.group else { return refuse(Denied::NoGroup) };
        if upload.epoch > group.epoch {
            return refuse(Denied::Ahead);
        }
        if upload.epoch < group.epoch {
            let Some((by, bytes)) = group.history.get(&upload.epoch) else { return refuse(Denied::Lost) };
            if *by == from && *bytes == upload.commit {
                return vec![(from, Input::Accepted { epoch: opens })];
            }
            self.lost += 1;
            let bytes = bytes.clone();
            let mut answers = refuse(Denied::Lost);
            if !self.faults.withhold.contains(&from) {
                answers.push((from, Input::Commit { epoch: upload.epoch, bytes }));
            }
            return answers;
        }
        // RFC 9420, 6: version, then wire format; 1 is a PublicMessage, which an external commit alone may be.
        let external = upload.commit[3] == 1;
        if external {
            if let Some(last) = self.external.get(&from)
                && now.since(*last) < Duration::from_secs(30)
            {
                return refuse(Denied::Later(Duration::from_secs(30) - now.since(*last)));
            }
            self.external.insert(from, now);
        }
        if group.trees.get(&upload.epoch).map(Vec::as_slice) != Some(before) {
            return refuse(Denied::Mismatch);
        }
        assert_eq!(upload.welcome.is_some(), !welcomed.is_empty(), "whom it welcomes");
        assert!(
            group.history.insert(upload.epoch, (from, upload.commit.clone())).is_none(),
            "one commit for each epoch"
        );
        self.accepted.push((upload.epoch, from, now));
        group.epoch = opens;
        group.info = upload.group_info.clone();
        group.infos.insert(opens, upload.group_info);
        let mut tree = upload.tree;
        if core::mem::take(&mut self.faults.other_tree) {
            // The key of the first leaf, behind two lengths and its kind: one that nobody has.
            tree[40] ^= 1;
        }
        group.trees.insert(opens, tree);
        while group.history.len() > self.keeps {
            group.history.pop_first();
        }
        while group.trees.len() > 8 {
            group.trees.pop_first();
        }
        while group.infos.len() > 8 {
            group.infos.pop_first();
        }
        let mut answers = Vec::new();
        if self.faults.forgetful > 0 {
            self.faults.forgetful -= 1;
        } else {
            answers.push((from, Input::Accepted { epoch: opens }));
        }
        for device in welcomed {
            let to = self.devices.iter().position(|known| known == device).unwrap();
            let bytes = upload.welcome.clone().unwrap();
            self.welcomes.insert(to, (opens, bytes.clone()));
            if !self.faults.no_welcome && self.followers.contains(&to) {
                answers.push((to, Input::Welcome { epoch: opens, bytes }));
            }
        }
        for to in self.followers.iter().filter(|to| **to != from && !self.faults.withhold.contains(to)) {
            answers.push((*to, Input::Commit { epoch: upload.epoch, bytes: upload.commit.clone() }));
        }
        answers
    }

    /// Gives an epoch back that two reject, and that nobody has attested.
    fn reject(&mut self, from: usize, epoch: u64) -> Answers {
        let Some(group) = &mut self.group else { return Vec::new() };
        let rejects = group.rejects.entry(epoch).or_default();
        rejects.insert(from);
        let attested = group.attests.get(&(epoch + 1)).map_or(0, BTreeMap::len);
        if !self.faults.withdraws || rejects.len() < 2 || attested > 0 || group.epoch != epoch + 1 {
            return Vec::new();
        }
        group.history.remove(&epoch);
        group.epoch = epoch;
        group.info = group.infos[&epoch].clone();
        group.infos.remove(&(epoch + 1));
        group.trees.remove(&(epoch + 1));
        let oldest = group.history.keys().next().copied().unwrap_or(epoch);
        let state = |to: &usize| (*to, Input::State { epoch: Some(epoch), oldest, seen: None, born: None });
        self.followers.iter().map(state).collect()
    }
}
