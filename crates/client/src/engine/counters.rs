//! What a room's keys have cost and spared those who listen, in numbers (rule EKR-8). They stay on this device.

use core::time::Duration;
use std::collections::BTreeMap;

use undertone_call::room::reception::{MAX_TRACKS, Reason, Unopened};
use undertone_call::room::{LetterCount, Requests};
use undertone_keys::envelope::Address;
use undertone_keys::{JoinId, Time};
use undertone_media::{Context, KeyId, Sender};

use super::Engine;

/// Members whose numbers are kept apart at most, those who have gone among them; beyond, who has been gone for longest counts in the sums
/// alone.
const MAX_COUNTED: usize = 256;

/// How long it took to be heard again, in milliseconds: how often it was at most so much. What took longer stands in one more bucket.
pub const RECOVERY_BOUNDS: [u64; 8] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Recoveries by how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoveries {
    /// One for each of [`RECOVERY_BOUNDS`], and one for what took longer. Each recovery is in one bucket.
    pub buckets: [u64; RECOVERY_BOUNDS.len() + 1],
    /// The longest, in milliseconds.
    pub longest_ms: u64,
}

impl Recoveries {
    fn add(&mut self, ms: u64) {
        let place = RECOVERY_BOUNDS.iter().position(|bound| ms <= *bound).unwrap_or(RECOVERY_BOUNDS.len());
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.longest_ms = self.longest_ms.max(ms);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// How long each reason held. Nothing is counted before anything is known of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonTimes {
    /// It was heard.
    pub ok: Duration,
    /// A key was missing that might yet come.
    pub waiting: Duration,
    /// A key was missing that did not come.
    pub wrong_epoch: Duration,
    /// A key was missing, and nobody there to give it.
    pub host_gone: Duration,
    /// A key was missing, and was refused.
    pub denied: Duration,
    /// What came failed under the key that it named.
    pub forged: Duration,
    /// Nothing came.
    pub not_sending: Duration,
}

impl ReasonTimes {
    const fn of(&mut self, reason: Reason) -> &mut Duration {
        match reason {
            Reason::Ok => &mut self.ok,
            Reason::WaitingSince(_) => &mut self.waiting,
            Reason::WrongEpoch => &mut self.wrong_epoch,
            Reason::HostGone => &mut self.host_gone,
            Reason::Denied => &mut self.denied,
            Reason::Forged => &mut self.forged,
            Reason::NotSending => &mut self.not_sending,
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let all = [Reason::Ok, Reason::WaitingSince(Time::ZERO), Reason::WrongEpoch, Reason::HostGone];
        let all = all.into_iter().chain([Reason::Denied, Reason::Forged, Reason::NotSending]);
        let mut other = *other;
        for reason in all {
            *self.of(reason) += *other.of(reason);
        }
    }

    /// How long something came that did not open.
    #[must_use]
    pub fn unheard(&self) -> Duration {
        self.waiting + self.wrong_epoch + self.host_gone + self.denied + self.forged
    }
}

/// What was counted of one source, or of all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// How long each reason held.
    pub times: ReasonTimes,
    /// How often it was heard again.
    pub recovered: Recoveries,
    /// Frames that failed under the key that they named, or disagreed with themselves.
    pub forged: u64,
}

impl SourceCounters {
    fn add(&mut self, other: &Self) {
        self.times.add(&other.times);
        for (bucket, more) in self.recovered.buckets.iter_mut().zip(other.recovered.buckets) {
            *bucket += more;
        }
        self.recovered.longest_ms = self.recovered.longest_ms.max(other.recovered.longest_ms);
        self.forged += other.forged;
    }
}

/// The sources of one join of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCounters {
    /// Whose device.
    pub member: Address,
    /// Its sender index.
    pub index: u16,
    /// Whether it is in the room.
    pub present: bool,
    /// By source.
    pub sources: BTreeMap<Context, SourceCounters>,
}

/// What was counted since this device came into a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounters {
    /// Requests for keys that this device has sent.
    pub requests: Requests,
    /// Letters about keys that it has sent.
    pub sent: LetterCount,
    /// Those that came to it.
    pub received: LetterCount,
    /// All sources of everybody together.
    pub all: SourceCounters,
    /// Those who are in, and the newest of those who were, in the order in which they came.
    pub members: Vec<MemberCounters>,
}

/// One source while it is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    counters: SourceCounters,
    now: Option<(Reason, Time)>,
}

impl Counted {
    fn settle(&mut self, now: Time) {
        if let Some((reason, since)) = &mut self.now {
            *self.counters.times.of(*reason) += now.since(*since);
            *since = now;
        }
    }
}

#[derive(Clone, Debug)]
struct Member {
    address: Address,
    index: u16,
    join: JoinId,
    present: bool,
    sources: BTreeMap<Context, Counted>,
}

/// What counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    members: Vec<Member>,
    /// Of whom nothing is kept apart any more.
    forgotten: SourceCounters,
}

impl Counter {
    /// Somebody is in.
    pub(super) fn came(&mut self, sender: &Sender) {
        let Sender { user, device, join, index } = sender.clone();
        if self.members.len() >= MAX_COUNTED
            && let Some(gone) = self.members.iter().position(|member| !member.present)
        {
            let gone = self.members.remove(gone);
            gone.sources.values().for_each(|counted| self.forgotten.add(&counted.counters));
        }
        let address = Address { user, device };
        self.members.push(Member { address, index, join, present: true, sources: BTreeMap::new() });
    }

    /// Somebody is not any more.
    pub(super) fn went(&mut self, now: Time, join: JoinId) {
        for member in self.members.iter_mut().filter(|member| member.join == join) {
            member.present = false;
            for counted in member.sources.values_mut() {
                counted.settle(now);
                counted.now = None;
            }
        }
    }

    fn source(&mut self, index: u16, context: Context) -> Option<&mut Counted> {
        let member = self.members.iter_mut().rfind(|member| member.present && member.index == index)?;
        // Who names ever more sources is counted for all of them together.
        let room = member.sources.len() < MAX_TRACKS || member.sources.contains_key(&context);
        let context = if room { context } else { Context::MAIN_AUDIO };
        Some(member.sources.entry(context).or_default())
    }

    pub(super) fn changed(&mut self, now: Time, index: u16, context: Context, reason: Reason) {
        if let Some(counted) = self.source(index, context) {
            counted.settle(now);
            counted.now = Some((reason, now));
        }
    }

    pub(super) fn recovered(&mut self, index: u16, context: Context, ms: u64) {
        if let Some(counted) = self.source(index, context) {
            counted.counters.recovered.add(ms);
        }
    }

    /// A frame that did not open. One of a source that nothing is known of counts for the member's voice: anybody can name a source.
    pub(super) fn unopened(&mut self, id: KeyId, why: Unopened) {
        if !matches!(why, Unopened::Forged | Unopened::Malformed) {
            return;
        }
        let Some(member) = self.members.iter_mut().rfind(|member| member.present && member.index == id.sender) else {
            return;
        };
        let known = member.sources.contains_key(&id.context);
        let context = if known { id.context } else { Context::MAIN_AUDIO };
        member.sources.entry(context).or_default().counters.forged += 1;
    }

    fn count(&self, now: Time) -> (SourceCounters, Vec<MemberCounters>) {
        let mut all = self.forgotten;
        let members = self.members.iter().map(|member| {
            let sources = member.sources.iter().map(|(context, counted)| {
                let mut counted = *counted;
                counted.settle(now);
                all.add(&counted.counters);
                (*context, counted.counters)
            });
            MemberCounters {
                member: member.address.clone(),
                index: member.index,
                present: member.present,
                sources: sources.collect(),
            }
        });
        let members = members.collect();
        (all, members)
    }
}

impl Engine {
    /// What was counted since this device came into the room that it is in.
    #[must_use]
    pub fn key_counters(&self, now: Time) -> Option<KeyCounters> {
        let (room, media) = (self.room.as_ref()?, self.media.as_ref().filter(|media| media.is_room())?);
        let keys = room.explain(now);
        let (all, members) = media.arrivals.counter().count(now);
        Some(KeyCounters { requests: keys.requests, sent: keys.sent, received: keys.received, all, members })
    }
}

#[cfg(test)]
mod tests;
