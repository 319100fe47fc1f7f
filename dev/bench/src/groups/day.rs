//! A day in a call of fifty, in virtual time: shipped machines over the shipped delivery service. People come and go, keys are changed
//! when it is time, and who has come gives itself new keys a little later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use rand_core::Rng as _;
use undertone_groups::member::policy::MemberPolicy;
use undertone_groups::member::{Denied, Event, How, Input, Means, Membership, Output, Standpoint};
use undertone_groups::{DeviceRef, GroupId, KeyPackage, Store, Suite, Terms};
use undertone_keys::envelope::Address;
use undertone_keys::sign::SigningKey;
use undertone_keys::testing::SeededRng;
use undertone_keys::{CallId, RoomId, Time};
use undertone_protocol::delivery::{
    Denied as Refusal, GroupNews, GroupRequest, Tree, TreePatch, Welcoming, epoch_digest,
};
use undertone_protocol::signal::ToDevice;
use undertone_server::config::Limits;
use undertone_testkit::delivery_house::House;

use super::roster::Roster;
use super::shelf::access;

/// One way to the server.
const DELAY: Duration = Duration::from_millis(20);
/// A request and its answer.
const REQUEST: Duration = Duration::from_millis(60);
/// The rule of each machine, but for what it says beside the sound (MLS-3): nothing seals here, and nobody would hear it.
const POLICY: MemberPolicy = MemberPolicy { say: Duration::from_secs(3_600), ..MemberPolicy::DEFAULT };

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody came, or went.
    Change,
    /// It was time.
    Rotation,
    /// Who was welcomed a while ago, or has come in again, gives itself new keys.
    Early,
    /// Somebody came by themselves.
    BySelf,
}

/// A commit that was taken.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) at: Time,
    pub(super) why: Why,
    pub(super) by: usize,
    pub(super) bytes: usize,
    pub(super) added: Vec<usize>,
    pub(super) removed: Vec<usize>,
}

enum Coming {
    Up { from: usize, life: u64, number: u32, request: GroupRequest },
    Down { to: usize, life: u64, input: Input },
    Enter(usize),
    Leave(usize),
}

/// A device that is in, or has been.
struct Device {
    machine: Option<Membership>,
    store: Store,
    /// Counts its times in the call: what was on its way to an earlier one is not for this.
    life: u64,
    next: u32,
    /// The last upload: its number, the epoch that it is to open, and its commit's bytes.
    upload: Option<(u32, u64, usize)>,
}

/// All of it.
pub(super) struct Day<'r> {
    roster: &'r Roster,
    places: BTreeMap<DeviceRef, usize>,
    place: (RoomId, CallId),
    terms: Terms,
    house: House,
    devices: Vec<Device>,
    inside: BTreeSet<usize>,
    now: Time,
    queue: BTreeMap<(Time, u64), Coming>,
    number: u64,
    rng: SeededRng,
    last: Time,
    pub(super) log: Vec<Entry>,
}

fn address(device: &DeviceRef) -> Address {
    Address { user: device.user.clone(), device: device.device }
}

impl<'r> Day<'r> {
    /// Nobody is in; all of the roster may be.
    pub(super) fn new(roster: &'r Roster, suite: Suite) -> anyhow::Result<Self> {
        let seed = &mut SeededRng::new(3);
        let mut house = House::new(SigningKey::generate(seed), &Limits::default(), 3)?;
        let place = (RoomId::from_bytes([9; 16]), CallId::from_bytes([9; 16]));
        house.set_room(Time::ZERO, &access(roster, roster.people.len(), place.0, suite)?, place.1)?;
        let of = |(place, person): (usize, &crate::keys::people::Person)| {
            (DeviceRef { user: person.address.user.clone(), device: person.address.device }, place)
        };
        let device = |_| Device { machine: None, store: Store::new(), life: 0, next: 0, upload: None };
        Ok(Self {
            roster,
            places: roster.people.iter().enumerate().map(of).collect(),
            place,
            terms: super::tree::terms(suite),
            house,
            devices: (0..roster.people.len()).map(device).collect(),
            inside: BTreeSet::new(),
            now: Time::from_millis(1),
            queue: BTreeMap::new(),
            number: 0,
            rng: SeededRng::new(4),
            last: Time::ZERO,
            log: Vec::new(),
        })
    }

    /// So many come in the first minutes; then one goes and another comes, each of them once in `pause` on average, for so long.
    pub(super) fn live(&mut self, size: usize, pause: Duration, length: Duration) -> anyhow::Result<()> {
        for place in 0..size {
            self.at(Time::from_millis(1_000 + 4_000 * u64::try_from(place)?), Coming::Enter(place));
        }
        let end = Time::ZERO + length;
        let (mut next, mut inside): (Time, Vec<usize>) = (Time::from_millis(600_000), (0..size).collect());
        let mut outside: Vec<usize> = (size..self.devices.len()).collect();
        while next < end {
            let leaves = self.draw(inside.len());
            let comes = self.draw(outside.len());
            let (leaves, comes) = (inside.swap_remove(leaves), outside.swap_remove(comes));
            self.at(next, Coming::Leave(leaves));
            let later = next + pause.mul_f64(2.0 * self.share());
            self.at(later, Coming::Enter(comes));
            inside.push(comes);
            outside.push(leaves);
            next = later + pause.mul_f64(2.0 * self.share());
        }
        self.run(end)
    }

    fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.rng.next_u64() % 1_000).unwrap_or_default()) / 1_000.0
    }

    fn draw(&mut self, among: usize) -> usize {
        usize::try_from(self.rng.next_u64() % u64::try_from(among.max(1)).unwrap_or(1)).unwrap_or_default()
    }

    fn at(&mut self, at: Time, what: Coming) {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), what);
    }

    fn run(&mut self, end: Time) -> anyhow::Result<()> {
        loop {
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let machine = |(place, device): (usize, &Device)| Some((device.machine.as_ref()?.poll_timeout()?, place));
            let timeout = self.devices.iter().enumerate().filter_map(machine).min();
            let next = [queued, timeout.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { return Ok(()) };
            self.now = self.now.max(next);
            if queued == Some(next) {
                if let Some((_, coming)) = self.queue.pop_first() {
                    self.arrive(coming)?;
                }
            } else if let Some((_, place)) = timeout {
                self.tell(place, Input::Tick)?;
            }
        }
    }

    fn arrive(&mut self, coming: Coming) -> anyhow::Result<()> {
        match coming {
            Coming::Up { from, life, number, request } => {
                if self.devices.get(from).is_some_and(|device| device.life == life) {
                    let you = self.roster.person(from)?.address.clone();
                    self.house.request(self.now, &you, self.place, number, request);
                    self.pump()?;
                }
                Ok(())
            }
            Coming::Down { to, life, input } => {
                if self.devices.get(to).is_some_and(|device| device.life == life) {
                    self.tell(to, input)
                } else {
                    Ok(())
                }
            }
            Coming::Enter(place) => self.enter(place),
            Coming::Leave(place) => self.leave(place),
        }
    }

    fn me(&self, place: usize) -> anyhow::Result<DeviceRef> {
        let address = &self.roster.person(place)?.address;
        Ok(DeviceRef { user: address.user.clone(), device: address.device })
    }

    fn enter(&mut self, place: usize) -> anyhow::Result<()> {
        let (me, person) = (self.me(place)?, self.roster.person(place)?);
        let id = GroupId::from_bytes(*self.place.1.as_bytes());
        let device = self.devices.get_mut(place).context("no such device")?;
        device.machine = Some(Membership::new(id, self.terms, me.clone(), POLICY, &device.store));
        device.life += 1;
        self.house.connect(self.now, &person.address, *person.identity.public()).context("too many connections")?;
        for other in self.inside.clone() {
            self.tell(other, Input::Present(me.clone()))?;
            let other = self.me(other)?;
            self.tell(place, Input::Present(other))?;
        }
        self.tell(place, Input::Shown(self.inside.len()))?;
        self.tell(place, Input::Complete(true))?;
        self.inside.insert(place);
        self.tell(place, Input::Reachable)
    }

    fn leave(&mut self, place: usize) -> anyhow::Result<()> {
        self.tell(place, Input::Leave)?;
        let (me, address) = (self.me(place)?, &self.roster.person(place)?.address);
        self.house.disconnect(address);
        self.inside.remove(&place);
        if let Some(device) = self.devices.get_mut(place) {
            device.life += 1;
            if let Some(machine) = device.machine.take() {
                let _ = machine.end(&mut device.store);
            }
        }
        for other in self.inside.clone() {
            self.tell(other, Input::Absent(me.clone()))?;
        }
        Ok(())
    }

    fn tell(&mut self, place: usize, input: Input) -> anyhow::Result<()> {
        let person = self.roster.person(place)?;
        let device = self.devices.get_mut(place).context("no such device")?;
        let Some(machine) = &mut device.machine else { return Ok(()) };
        let wall = self.house.wall();
        let means = &mut Means { store: &mut device.store, identity: &person.identity, roll: self.roster, wall };
        machine.handle_input(self.now, input, means, &mut self.rng);
        let said: Vec<Output> = std::iter::from_fn(|| machine.poll_output()).collect();
        said.into_iter().try_for_each(|output| self.carry_out(place, output))
    }

    fn carry_out(&mut self, place: usize, output: Output) -> anyhow::Result<()> {
        let address_of_me = self.roster.person(place)?.address.clone();
        let suite = self.terms.suite;
        let request = match output {
            Output::Follow { have } => GroupRequest::Follow { have },
            Output::Create { info, tree } => {
                let tree = TreePatch::between(&Tree::default(), &Tree::decode(&tree)?);
                GroupRequest::Create { info, tree }
            }
            Output::Upload { upload, before, welcomed } => {
                let tree = TreePatch::between(&Tree::decode(&before)?, &Tree::decode(&upload.tree)?);
                let to = welcomed.iter().map(address).collect();
                let welcomes = upload.welcome.map(|welcome| Welcoming { to, welcome }).into_iter().collect();
                let (epoch, commit, info) = (upload.epoch, upload.commit, upload.group_info);
                GroupRequest::Commit { epoch, commit, welcomes, info, tree }
            }
            Output::Attest(attest) => {
                let digest = epoch_digest(&attest.context, &attest.confirmation_tag);
                GroupRequest::Attest { epoch: attest.epoch, digest }
            }
            Output::Reject { epoch } => GroupRequest::Reject { epoch },
            Output::Withdraw { epoch, born } => GroupRequest::Withdraw { epoch, born },
            Output::AskInfo => GroupRequest::Info,
            Output::FetchTree { epoch } => {
                let bytes = self.house.tree(self.now, &address_of_me.user, self.place, Some(epoch)).ok();
                return self.answer(place, Input::Tree { epoch, bytes });
            }
            Output::Publish { package } => {
                let (suite, message) = KeyPackage::take_out(&package)?;
                let _ = self.house.publish(self.now, &address_of_me, suite.mls_number(), message);
                return Ok(());
            }
            Output::Claim(devices) => {
                let named: Vec<Address> = devices.iter().map(address).collect();
                let claimed = self.house.claim(self.now, &address_of_me, self.place.0, suite.mls_number(), &named);
                let claimed = claimed.unwrap_or_else(|_| vec![None; devices.len()]);
                for (device, package) in devices.into_iter().zip(claimed) {
                    let package = package.map(|message| KeyPackage::put_in(suite, message));
                    self.answer(place, Input::Claimed { device, package })?;
                }
                return Ok(());
            }
            Output::Resolve(_) => return self.answer(place, Input::Resolved),
            Output::Event(event) => {
                self.note(place, event);
                return Ok(());
            }
            // Nobody seals anything here, and what is in the store is in memory.
            _ => return Ok(()),
        };
        let device = self.devices.get_mut(place).context("no such device")?;
        device.next += 1;
        match &request {
            GroupRequest::Commit { epoch, commit, .. } => device.upload = Some((device.next, epoch + 1, commit.len())),
            GroupRequest::Create { .. } => device.upload = Some((device.next, 0, 0)),
            _ => {}
        }
        let (life, number) = (device.life, device.next);
        self.at(self.now + DELAY, Coming::Up { from: place, life, number, request });
        Ok(())
    }

    fn answer(&mut self, to: usize, input: Input) -> anyhow::Result<()> {
        let life = self.devices.get(to).context("no such device")?.life;
        self.at(self.now + REQUEST, Coming::Down { to, life, input });
        Ok(())
    }

    /// What the server has for everybody goes on its way.
    fn pump(&mut self) -> anyhow::Result<()> {
        for to in self.inside.clone() {
            let you = self.roster.person(to)?.address.clone();
            for message in self.house.take(&you) {
                let ToDevice::Group { news, .. } = message else { continue };
                let device = self.devices.get(to).context("no such device")?;
                let Some(input) = read(news, device.upload) else { continue };
                let life = device.life;
                self.at(self.now + DELAY, Coming::Down { to, life, input });
            }
        }
        Ok(())
    }

    /// Each commit is noted by whoever made it.
    fn note(&mut self, place: usize, event: Event) {
        let bytes = self.devices.get(place).and_then(|device| device.upload).map_or(0, |(_, _, bytes)| bytes);
        let places = |members: &[undertone_groups::Member]| -> Vec<usize> {
            members.iter().filter_map(|member| self.places.get(&member.device_ref()).copied()).collect()
        };
        let entry = |why, added, removed| Entry { at: self.now, why, by: place, bytes, added, removed };
        let entry = match event {
            Event::Joined { how: How::BySelf, .. } => entry(Why::BySelf, vec![place], Vec::new()),
            Event::Epoch { by: Some(by), added, removed, .. } if self.places.get(&by.device_ref()) == Some(&place) => {
                let why = if !added.is_empty() || !removed.is_empty() {
                    Why::Change
                } else if self.now.since(self.last) + Duration::from_secs(1) >= POLICY.rotate {
                    Why::Rotation
                } else {
                    Why::Early
                };
                entry(why, places(&added), places(&removed))
            }
            _ => return,
        };
        self.last = self.now;
        self.log.push(entry);
    }

    /// How many of those who are there are in the group, and in one epoch.
    pub(super) fn together(&self) -> (usize, usize) {
        let standing = |place: &usize| self.devices.get(*place).and_then(|device| device.machine.as_ref());
        let epochs: Vec<u64> = self
            .inside
            .iter()
            .filter_map(standing)
            .filter_map(|machine| match machine.standpoint() {
                Standpoint::Inside(epoch) => Some(epoch),
                _ => None,
            })
            .collect();
        let newest = epochs.iter().max().copied();
        (self.inside.len(), epochs.iter().filter(|epoch| Some(**epoch) == newest).count())
    }
}

fn read(news: GroupNews, upload: Option<(u32, u64, usize)>) -> Option<Input> {
    match news {
        GroupNews::State { oldest, epoch, seen, born, .. } => Some(Input::State { epoch, oldest, seen, born }),
        GroupNews::GivenBack { epoch, oldest, .. } => {
            Some(Input::State { epoch: Some(epoch), oldest, seen: None, born: None })
        }
        GroupNews::Commit { epoch, commit } => Some(Input::Commit { epoch, bytes: commit.as_bytes().to_vec() }),
        GroupNews::Welcome { epoch, welcome } => Some(Input::Welcome { epoch, bytes: welcome.as_bytes().to_vec() }),
        GroupNews::Accepted { epoch, .. } => Some(Input::Accepted { epoch }),
        GroupNews::Info { epoch, info, .. } => Some(Input::Info { epoch, info: info.as_bytes().to_vec() }),
        GroupNews::Refused { number, why, .. } => match upload {
            Some((of, epoch, _)) if of == number => {
                let why = match why {
                    Refusal::Lost | Refusal::Behind => Denied::Lost,
                    Refusal::Ahead => Denied::Ahead,
                    Refusal::NoGroup => Denied::NoGroup,
                    _ => Denied::Later(Duration::from_secs(1)),
                };
                Some(Input::Refused { epoch, why })
            }
            _ => Some(Input::NoInfo),
        },
        GroupNews::Withdrawn => Some(Input::Withdrawn),
        GroupNews::Opened => Some(Input::Opened),
    }
}
