//! What happens in a schedule, drawn from its seed.

use undertone_keys::testing::SeededRng;
use undertone_protocol::terms::GroupSuite;
use undertone_protocol::{Protection, Terms};

use super::grouped::GroupCounts;
use super::link::{below, chance};

/// What counts in rooms with a host alone.
pub(crate) const OF_HOSTS: [&str; 4] = ["handovers", "takeovers", "requests", "letters"];

/// Something that is done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Comes into the room.
    Enter(usize),
    /// Leaves it.
    Leave(usize),
    /// Its process ends without a word.
    Crash(usize),
    /// A process that ended begins anew, with its keys alone.
    Restart(usize),
    /// Its way to the server is cut for so long, in ms.
    CutServer(usize, u64),
    /// Its way to the relay.
    CutRelay(usize, u64),
    /// Both.
    CutOff(usize, u64),
    /// It is taken off the room's list, or put on it again.
    Relist(usize),
    /// It is taken off the list, and the server goes on as if it were on it: grants, its list as it was, no word to it. With
    /// `true` the relay does too, and puts nobody out.
    Ghost(usize, bool),
    /// The host is crashed, whoever it is.
    CrashHost,
    /// The host is cut off for so long, in ms.
    CutHost(u64),
    /// The relay begins anew and knows nobody. Where keys come from a group, the server beside it does too, over the same database.
    RestartRelay,
    /// The links of a device change.
    Weather(usize),
    /// A device loses the key that it opens with.
    LoseKey(usize),
}

/// How often what happened, over one or many schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Schedules.
    pub(crate) schedules: u64,
    /// Frames that were looked at by the invariants.
    pub(crate) probes: u64,
    /// Datagrams that were lost.
    pub(crate) lost: u64,
    /// Datagrams that came twice.
    pub(crate) twice: u64,
    /// Processes that ended without a word.
    pub(crate) crashes: u64,
    /// Processes that began anew.
    pub(crate) restarts: u64,
    /// Devices that were cut off from the server, the relay or both.
    pub(crate) cuts: u64,
    /// Members that left.
    pub(crate) leaves: u64,
    /// Changes of the list.
    pub(crate) relists: u64,
    /// Devices that the server kept in a room against its list.
    pub(crate) ghosts: u64,
    /// Relays that began anew.
    pub(crate) relay_restarts: u64,
    /// Keys that were lost on purpose.
    pub(crate) lost_keys: u64,
    /// Hosts that named who follows them.
    pub(crate) handovers: u64,
    /// Hosts that were followed without a word of theirs.
    pub(crate) takeovers: u64,
    /// Requests for keys.
    pub(crate) requests: u64,
    /// Epochs that were sealed under.
    pub(crate) epochs: u64,
    /// Letters about keys.
    pub(crate) letters: u64,
    /// How groups went.
    pub(crate) groups: GroupCounts,
}

impl Counts {
    /// Adds another schedule's.
    pub(crate) fn add(&mut self, other: &Self) {
        for ((_, mine), (_, theirs)) in self.named_mut().into_iter().zip(other.named()) {
            *mine += theirs;
        }
        self.groups.add(&other.groups);
    }

    /// Each with its name.
    #[must_use]
    pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
        let mut copy = *self;
        copy.named_mut().into_iter().map(|(name, count)| (name, *count)).collect()
    }

    fn named_mut(&mut self) -> [(&'static str, &mut u64); 17] {
        [
            ("schedules", &mut self.schedules),
            ("probes", &mut self.probes),
            ("datagrams lost", &mut self.lost),
            ("datagrams twice", &mut self.twice),
            ("crashes", &mut self.crashes),
            ("restarts", &mut self.restarts),
            ("cuts", &mut self.cuts),
            ("leaves", &mut self.leaves),
            ("list changes", &mut self.relists),
            ("ghosts", &mut self.ghosts),
            ("relay restarts", &mut self.relay_restarts),
            ("keys lost", &mut self.lost_keys),
            ("handovers", &mut self.handovers),
            ("takeovers", &mut self.takeovers),
            ("requests", &mut self.requests),
            ("epochs", &mut self.epochs),
            ("letters", &mut self.letters),
        ]
    }
}

/// What happens in one world, and when.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Where everything comes from.
    pub(crate) seed: u64,
    /// How many devices there are.
    pub(crate) devices: usize,
    /// In ms, ascending.
    pub(crate) acts: Vec<(u64, Act)>,
    /// When it is over, in ms.
    pub(crate) end: u64,
    /// Everything that happens is printed.
    pub(crate) loud: bool,
    /// Keys come from an MLS group.
    pub(crate) grouped: bool,
    /// So many of the devices, the last ones, only listen, and are an audience.
    pub(crate) listeners: usize,
    /// A quorum secret is mixed into the group.
    pub(crate) quorum: bool,
}

impl Schedule {
    /// The schedule of this seed: 2 to 5 devices, one time in twenty up to 9.
    #[must_use]
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let devices = if chance(&mut rng, 5) { 6 + below(&mut rng, 4) } else { 2 + below(&mut rng, 4) };
        Self::with(seed, usize::try_from(devices).unwrap_or(2), &mut rng)
    }

    /// The same with keys from an MLS group.
    #[must_use]
    pub(crate) fn grouped(seed: u64) -> Self {
        let schedule = Self::of(seed);
        let listeners = if schedule.devices > 2 && seed.is_multiple_of(3) { 1 + schedule.devices / 5 } else { 0 };
        let quorum = listeners == 0 && seed.is_multiple_of(2);
        let end = schedule.end + if quorum { 30_000 } else { 4_000 };
        Self { grouped: true, listeners, quorum, end, ..schedule }
    }

    /// What the room is like.
    pub(crate) const fn terms(&self) -> Terms {
        match (self.grouped, self.listeners) {
            (false, _) => Terms::room(Protection::Blind),
            (true, 0) if self.quorum => Terms::mls(GroupSuite::X25519).with_quorum(),
            (true, 0) => Terms::mls(GroupSuite::X25519),
            (true, _) => Terms::mls(GroupSuite::X25519).with_audience(),
        }
    }

    /// A schedule of so many devices, who come within some seconds.
    #[must_use]
    pub(crate) fn crowd(seed: u64, devices: usize) -> Self {
        Self::with(seed, devices, &mut SeededRng::new(seed))
    }

    fn with(seed: u64, devices: usize, rng: &mut SeededRng) -> Self {
        let mut acts: Vec<(u64, Act)> = (0..devices).map(|device| (below(rng, 800), Act::Enter(device))).collect();
        let mut at = 800 + below(rng, 2_500);
        for _ in 0..2 + below(rng, 5) {
            acts.push((at, Self::act(devices, rng)));
            // Things happen on top of each other, or after everything has calmed down.
            at += if chance(rng, 50) { below(rng, 1_200) } else { 2_000 + below(rng, 12_000) };
        }
        acts.sort_by_key(|(at, _)| *at);
        Self { seed, devices, acts, end: at + 14_000, loud: false, grouped: false, listeners: 0, quorum: false }
    }

    fn act(devices: usize, rng: &mut SeededRng) -> Act {
        let device = usize::try_from(below(rng, u64::try_from(devices).unwrap_or(1))).unwrap_or_default();
        let long = if chance(rng, 50) { 200 + below(rng, 3_000) } else { 3_000 + below(rng, 15_000) };
        match below(rng, 15) {
            0 => Act::Leave(device),
            1 => Act::Crash(device),
            2 | 3 => Act::Restart(device),
            4 => Act::CutServer(device, long),
            5 => Act::CutRelay(device, long),
            6 => Act::CutOff(device, long),
            7 => Act::Relist(device),
            8 => Act::CrashHost,
            9 => Act::CutHost(long),
            10 => Act::RestartRelay,
            11 => Act::Weather(device),
            12 => Act::LoseKey(device),
            13 => Act::Ghost(device, chance(rng, 30)),
            _ => Act::Enter(device),
        }
    }
}
