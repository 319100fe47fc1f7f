//! What must hold at every moment of every schedule.

use core::fmt;
use std::collections::{HashMap, HashSet};

use undertone_keys::{JoinId, Time};

use super::world::World;

/// Two who can reach everything open each other's frames within this (two seconds, and what a clock may be off).
const CONVERGE: u64 = 2_000_000 * 105 / 100;
/// After the host fell silent: what it takes to notice, two seconds, and a clock that is off.
const LIVENESS: u64 = (5_000_000 + 2_000_000) * 105 / 100;
/// For each one before in the order who cannot take over either.
const STEP: u64 = 1_000_000 * 105 / 100;
/// In a group: who is not welcomed in two seconds comes by itself, and may lose some races; who is lost notices within six, and by
/// then others may have to put out whoever is gone, of whom the relay says so after eight.
const REGROUP: u64 = 14_000_000 * 105 / 100;
/// Where a group has a quorum secret: whoever has it may be gone, which is known after eight seconds and thought about for three; twenty more
/// they are waited for before another group is begun.
const QUORUM: u64 = 26_000_000 * 105 / 100;
/// From one commit by which a device comes to its next.
const BY_ITSELF: u64 = 30_000_000 * 105 / 100;
/// Keys are asked for no more often than this.
const COOLDOWN: u64 = 3_000_000 * 105 / 100;
/// Letters per member and epoch at most: the epoch, three times again, and as many words that it is there.
const LETTERS_PER_EPOCH: u64 = 9;
/// Other letters per member and second at most.
const LETTERS_PER_SECOND: u64 = 3;

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The schedule.
    pub(crate) seed: u64,
    /// When, in ms.
    pub(crate) at_ms: u64,
    /// What, for people.
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: at {} ms {}", self.seed, self.at_ms, self.what)
    }
}

impl core::error::Error for Violation {}

/// What the invariants remember.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) probes: u64,
    pub(crate) letters: u64,
    /// Key id and counter of every frame, by join and group.
    sealed: HashSet<(JoinId, u64, u64, u64)>,
    /// The epochs that were sealed under, by their last bits: how many different ones.
    epochs: HashMap<u8, u64>,
    relay_wake: Option<Time>,
    /// Who was good when it was last looked at.
    good: HashSet<usize>,
    host: Option<usize>,
    /// When what should hold again does.
    calm_at: u64,
    /// Who came into a group by a commit of its own, and when: it does not do so again for half a minute.
    by_itself: HashMap<usize, Time>,
}

impl Watch {
    /// Whether the relay is to be woken then, or will be before.
    pub(crate) fn relay_wakes(&mut self, now: Time, at: Time) -> bool {
        let planned = self.relay_wake.is_some_and(|planned| planned > now && planned <= at);
        if !planned {
            self.relay_wake = Some(at);
        }
        !planned
    }

    /// A key was lost on purpose: it is asked for within the cooldown of the last request.
    pub(crate) fn upset(&mut self, now: Time) {
        self.calm_at = self.calm_at.max(now.as_micros() + CONVERGE + COOLDOWN);
    }

    /// Somebody came or went.
    pub(crate) fn roster_changed(&mut self, now: Time) {
        self.calm_at = self.calm_at.max(now.as_micros() + CONVERGE);
    }

    /// When whoever has come into a group by itself has had the time to do so again.
    pub(crate) fn settled(&self) -> Time {
        let last = self.by_itself.values().max().map_or(0, |at| at.as_micros() + BY_ITSELF + REGROUP + 1_000_000);
        Time::from_micros(last)
    }

    pub(crate) fn came_by_itself(&mut self, device: usize, now: Time) {
        self.by_itself.insert(device, now);
    }

    pub(crate) const fn relay_restarted(&mut self) {
        self.relay_wake = None;
    }
}

impl World {
    fn violation(&self, what: String) -> Violation {
        Violation { seed: self.seed(), at_ms: self.now.as_millis(), what }
    }

    /// A frame was sealed: its nonce is new, and its epoch is not older than the one before.
    pub(crate) fn sealed_under(&mut self, device: usize, key_id: u64, counter: u64) -> Result<(), Violation> {
        let Some((join, ..)) = self.device(device).joined else { return Ok(()) };
        let group = self.device(device).groups;
        if !self.watch.sealed.insert((join, group, key_id, counter)) {
            return Err(self.violation(format!("p{device:03} sealed twice under one nonce")));
        }
        let [.., epoch] = key_id.to_be_bytes();
        *self.watch.epochs.entry(epoch).or_default() += 1;
        let report = self.device(device).engine.keys_report();
        let Some(now) = report.and_then(|report| report.epoch) else { return Ok(()) };
        let sealed = &mut self.device_mut(device).sealed;
        if sealed.last() == Some(&now) {
            return Ok(());
        }
        if sealed.iter().any(|before| *before >= now) {
            return Err(self.violation(format!("p{device:03} seals under epoch {now}, which it had left behind")));
        }
        sealed.push(now);
        Ok(())
    }

    /// Whether a device is in and can reach everything, and since when.
    fn update_goodness(&mut self) {
        let (now, listed) = (self.now, self.listed());
        for place in 0..self.devices.len() {
            let device = self.device_mut(place);
            let reach = device.alive
                && device.wanted
                && listed.contains(&place)
                && device.session.is_some()
                && device.joined.is_some()
                && !device.server.is_cut(now)
                && !device.relay.is_cut(now);
            if reach {
                let since = [
                    device.joined.map(|(_, _, at)| at),
                    device.session.map(|(_, at)| at),
                    Some(device.server.cut_until.min(now)),
                    Some(device.relay.cut_until.min(now)),
                ];
                device.good_since = since.into_iter().flatten().max();
            } else if device.good_since.take().is_some() {
                device.bad_since = now;
            }
        }
    }

    /// Looks at everything.
    pub(crate) fn look(&mut self) -> Result<(), Violation> {
        self.update_goodness();
        let good: Vec<usize> = (0..self.devices.len()).filter(|d| self.device(*d).good_since.is_some()).collect();
        self.when_calm(&good);
        self.outsiders(&good)?;
        self.ghosts(&good)?;
        if self.now.as_micros() >= self.watch.calm_at {
            self.everybody_hears(&good)?;
        }
        self.few_letters()
    }

    /// When those who can reach everything must hear each other again.
    fn when_calm(&mut self, good: &[usize]) {
        if self.is_grouped() {
            return self.when_grouped(good);
        }
        let now = self.now.as_micros();
        let set: HashSet<usize> = good.iter().copied().collect();
        let gone = self.watch.good.difference(&set).count();
        let host = self.host();
        // The host, as most see it, cannot be reached: it must be followed first, by one who can.
        let bad = self.devices.iter().filter(|device| device.joined.is_some() && device.good_since.is_none()).count();
        let bad = u64::try_from(bad).unwrap_or_default();
        let host_bad = host.is_none_or(|host| !set.contains(&host));
        if host_bad || (gone > 0 && self.watch.host.is_none_or(|host| !set.contains(&host))) {
            let down = host.map_or(self.now, |host| self.device(host).bad_since).as_micros();
            let newest = good.iter().filter_map(|device| self.device(*device).good_since).max();
            let from = if host_bad && host.is_some() { down.max(newest.map_or(0, Time::as_micros)) } else { now };
            self.watch.calm_at = self.watch.calm_at.max(from + LIVENESS + STEP * bad);
        }
        for device in good {
            let since = self.device(*device).good_since.map_or(now, Time::as_micros);
            self.watch.calm_at = self.watch.calm_at.max(since + CONVERGE);
        }
        if set != self.watch.good {
            self.watch.calm_at = self.watch.calm_at.max(now + CONVERGE);
        }
        (self.watch.good, self.watch.host) = (set, host);
    }

    /// The same where nobody has to be followed: whoever came is welcomed, or comes by itself.
    fn when_grouped(&mut self, good: &[usize]) {
        let now = self.now.as_micros();
        let set: HashSet<usize> = good.iter().copied().collect();
        let newest = good.iter().filter_map(|device| self.device(*device).good_since).max().map_or(0, Time::as_micros);
        let changed = if set == self.watch.good { 0 } else { now };
        let mut from = newest.max(changed);
        for device in good {
            // It may have come by itself just before, and have to do so once more.
            let last = self.watch.by_itself.get(device).map_or(0, |at| at.as_micros());
            if last > 0 && last + BY_ITSELF > from {
                from = from.max(last.min(from) + BY_ITSELF);
            }
        }
        let quorum = if self.schedule.quorum { QUORUM } else { 0 };
        self.watch.calm_at = self.watch.calm_at.max(from + REGROUP + quorum);
        (self.watch.good, self.watch.host) = (set, None);
    }

    fn everybody_hears(&mut self, good: &[usize]) -> Result<(), Violation> {
        let speakers: Vec<usize> = good.iter().copied().filter(|device| self.device(*device).rights.speak).collect();
        for speaker in &speakers {
            let Some(packet) = self.seal(*speaker)? else {
                let reports = self.reports();
                return Err(self.violation(format!("p{speaker:03} may not speak: {reports}")));
            };
            for listener in good.iter().filter(|listener| *listener != speaker) {
                self.watch.probes += 1;
                if !self.device(*listener).engine.would_open(&packet) {
                    let reports = self.reports();
                    return Err(self.violation(format!("p{listener:03} does not open p{speaker:03}: {reports}")));
                }
            }
        }
        Ok(())
    }

    /// Whoever has been out for long opens nothing that is sealed now.
    fn outsiders(&mut self, good: &[usize]) -> Result<(), Violation> {
        if good.len() < 2 || self.now.as_micros() < self.watch.calm_at {
            return Ok(());
        }
        let Some(speaker) = good.iter().copied().find(|device| self.device(*device).rights.speak) else {
            return Ok(());
        };
        // The relay lets somebody silent go after 8 s, and looks every half second; the epoch changes within a second.
        let long = Time::from_micros(self.now.as_micros().saturating_sub(12_500_000));
        let out: Vec<usize> = (0..self.devices.len())
            .filter(|d| {
                let device = self.device(*d);
                let cut = device.relay.is_cut(self.now) && device.relay.cut_since < long;
                device.good_since.is_none() && device.bad_since < long && cut
            })
            .collect();
        if out.is_empty() {
            return Ok(());
        }
        let Some(packet) = self.seal(speaker)? else { return Ok(()) };
        for outsider in out {
            self.watch.probes += 1;
            if self.device(outsider).engine.would_open(&packet) {
                return Err(self.violation(format!("p{outsider:03} is out and opens p{speaker:03}")));
            }
        }
        Ok(())
    }

    /// Whoever was taken off the list opens nothing that members seal, whatever server and relay do for it (rule GRP-8).
    fn ghosts(&mut self, good: &[usize]) -> Result<(), Violation> {
        let long = self.now.as_micros().saturating_sub(CONVERGE);
        let ghosts = self.devices.iter().enumerate();
        let ghosts = ghosts.filter(|(_, device)| device.ghost.as_ref().is_some_and(|(_, at)| at.as_micros() < long));
        let ghosts: Vec<usize> = ghosts.map(|(place, _)| place).collect();
        let speaker = good.iter().copied().find(|device| self.device(*device).rights.speak);
        let Some(speaker) = speaker.filter(|_| !ghosts.is_empty()) else { return Ok(()) };
        if self.now.as_micros() < self.watch.calm_at {
            return Ok(());
        }
        let Some(packet) = self.seal(speaker)? else { return Ok(()) };
        for ghost in ghosts {
            self.watch.probes += 1;
            if self.device(ghost).engine.would_open(&packet) {
                return Err(self.violation(format!("p{ghost:03} is not on the list and opens p{speaker:03}")));
            }
        }
        Ok(())
    }

    fn few_letters(&self) -> Result<(), Violation> {
        let members = u64::try_from(self.devices.len()).unwrap_or_default();
        let seconds = self.now.as_millis() / 1000 + 2;
        let epochs = u64::try_from(self.watch.epochs.len()).unwrap_or_default() + 2;
        let bound = members * (LETTERS_PER_EPOCH * epochs + LETTERS_PER_SECOND * seconds);
        if self.watch.letters > bound {
            return Err(
                self.violation(format!("{} letters about {epochs} epochs, more than {bound}", self.watch.letters))
            );
        }
        Ok(())
    }

    /// What each device thinks, for whoever looks for a fault.
    fn reports(&self) -> String {
        let report = |place: usize| {
            let device = self.device(place);
            let report = device.engine.keys_report();
            let index = device.joined.map(|(_, index, _)| index);
            format!(
                "p{place:03}[{}{} index {index:?} {}]",
                if device.good_since.is_some() { "good" } else { "bad" },
                if device.alive { "" } else { " dead" },
                report.map_or_else(String::new, |report| format!(
                    "epoch {:?} term {} host {:?}{} asked {:?}",
                    report.epoch,
                    report.term,
                    report.host,
                    if report.me { " me" } else { "" },
                    report.asked
                )),
            )
        };
        (0..self.devices.len()).map(report).collect::<Vec<_>>().join(" ")
    }
}
