//! The host's answers to those who cannot open something (rules EKR-4, EKR-5).

use std::collections::{HashMap, HashSet};

use core::time::Duration;
use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::Cause;

use super::post::About;
use crate::room::policy::GroupPolicy;
use crate::room::signal::EpochKey;
use crate::room::{KeySignal, RoomCall};

/// The time in which requests are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    Answer,
    /// Too many ask at once: everybody is sent the newest epoch instead.
    Everybody,
    No,
}

/// How often who was answered.
#[derive(Debug, Default)]
pub(in crate::room) struct Answers {
    by: HashMap<SenderIndex, Time>,
    /// Since when a member's words about higher epochs are counted, and how many there were.
    steps: HashMap<SenderIndex, (Time, u32)>,
    window: Option<Time>,
    count: u32,
    askers: HashSet<SenderIndex>,
    told_everybody: bool,
}

impl Answers {
    pub(super) fn forget(&mut self, index: SenderIndex) {
        self.by.remove(&index);
        self.steps.remove(&index);
    }

    /// The limits of rule EKR-5.
    fn allow(&mut self, now: Time, index: SenderIndex, roster: usize, policy: &GroupPolicy) -> Allowed {
        if self.window.is_none_or(|since| now.since(since) >= WINDOW) {
            (self.window, self.count, self.told_everybody) = (Some(now), 0, false);
            self.askers.clear();
        }
        if self.by.get(&index).is_some_and(|at| now.since(*at) < policy.answer_device) {
            return Allowed::No;
        }
        self.askers.insert(index);
        if self.askers.len() > 2 && self.askers.len() * 4 > roster {
            let again = core::mem::replace(&mut self.told_everybody, true);
            return if again { Allowed::No } else { Allowed::Everybody };
        }
        if self.count >= policy.answers_per_second {
            return Allowed::No;
        }
        self.count += 1;
        self.by.insert(index, now);
        Allowed::Answer
    }

    /// Whether a member's word about epochs counts now.
    fn may_step(&mut self, now: Time, index: SenderIndex, policy: &GroupPolicy) -> bool {
        let (since, count) = self.steps.entry(index).or_insert((now, 0));
        if now.since(*since) >= policy.step_pause {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= policy.steps
    }
}

/// What a member says of itself when it asks.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) join: JoinId,
    pub(super) newest: u32,
    pub(super) stuck: bool,
    pub(super) term: u32,
}

impl RoomCall {
    /// A member asks for keys.
    pub(super) fn requested(
        &mut self,
        now: Time,
        index: SenderIndex,
        request: RequestId,
        asked: &Asked,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if self.seats.get(&index).is_none_or(|seat| seat.entry().join.join != asked.join) {
            return;
        }
        let policy = self.policy;
        let Some(hosting) = &mut self.keys.hosting else { return self.tell(now, index, rng) };
        // It has been further than this host, or cannot take what it was sent: the next epoch is for it. Each member's word
        // counts now and then, so that nobody keeps everybody busy.
        let newest = hosting.newest().map_or(0, |newest| newest.statement.epoch);
        let ahead = asked.newest > newest || (asked.stuck && asked.newest == newest) || asked.term > hosting.term;
        if ahead {
            let near = asked.newest.saturating_sub(newest) < policy.max_step
                && asked.term.saturating_sub(hosting.term) < policy.max_step;
            if near && hosting.answers.may_step(now, index, &policy) {
                hosting.floor = hosting.floor.max(asked.newest);
                if asked.term > hosting.term {
                    hosting.term = asked.term.saturating_add(1);
                }
                hosting.overtaken(now, &policy);
            }
            return;
        }
        let roster = hosting.newest().map_or(0, |newest| newest.roster.places().len());
        match hosting.answers.allow(now, index, roster, &policy) {
            Allowed::No => {}
            Allowed::Everybody => hosting.send_to_all(),
            Allowed::Answer => {
                let applied = hosting.applied;
                let good = hosting.keys.iter().filter(|drawn| drawn.statement.epoch >= applied);
                let mut good = good.filter(|drawn| drawn.roster.has(asked.join));
                let keys: Vec<EpochKey> = good.clone().map(super::host::Drawn::key).collect();
                let Some(newest) = good.next_back() else {
                    // It came after the newest epoch was opened: the next is for it too (rule GRP-2).
                    return hosting.due(now, Cause::Joined, false);
                };
                let (term, epoch) = (newest.statement.term, newest.statement.epoch);
                let signal = KeySignal::Answer { keys, roster: newest.roster.clone(), applied };
                self.post(index, About { term, epoch, request }, &signal, rng);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: GroupPolicy = GroupPolicy::DEFAULT;

    #[test]
    fn ekr_5_one_a_second_for_a_device_and_fifty_in_all() {
        let mut answers = Answers::default();
        assert_eq!(answers.allow(Time::ZERO, 1, 1_000, &POLICY), Allowed::Answer);
        assert_eq!(answers.allow(Time::from_millis(999), 1, 1_000, &POLICY), Allowed::No);
        assert_eq!(answers.allow(Time::from_millis(1_000), 1, 1_000, &POLICY), Allowed::Answer);
        let answered =
            (2..200).filter(|index| answers.allow(Time::from_millis(1_000), *index, 1_000, &POLICY) == Allowed::Answer);
        assert_eq!(answered.count(), 49);
    }

    #[test]
    fn ekr_5_above_a_quarter_everybody_is_told_once() {
        let mut answers = Answers::default();
        let found: Vec<Allowed> = (0..6).map(|index| answers.allow(Time::ZERO, index, 16, &POLICY)).collect();
        use Allowed::{Answer, Everybody, No};
        assert_eq!(found, [Answer, Answer, Answer, Answer, Everybody, No]);
    }
}
