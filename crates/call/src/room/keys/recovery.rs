//! Asking for keys when something does not open (rules EKR-1 to EKR-3, EKR-6): when to ask, and whom.
//!
//! A wish to ask stays until it is met; whether it may be followed now is one table, [`Recovery::may_ask`].

use std::collections::HashSet;

use undertone_keys::{JoinId, RequestId, Time};
use undertone_media::faults::{Fault, is_planted};

use crate::room::policy::GroupPolicy;

/// What does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::room) enum Failure {
    /// This join has no key at all.
    NoKey,
    /// Frames came under an epoch, by its last eight bits, that is not in the ring, and its key did not come.
    Epoch(u8),
    /// The host speaks of a statement that is not here, or one of whom it is for is not known.
    Statement,
    /// The ring could not take what was sent.
    Stuck,
    /// Nothing of the host comes, though it is in the room.
    Silence,
}

impl Failure {
    /// Whether the cooldown is for it.
    const fn waits(self) -> bool {
        !matches!(self, Self::Silence | Self::Stuck)
    }
}

/// Why nothing is asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::room) enum NotNow {
    /// This device is the host.
    Host,
    /// There is none that could be asked.
    NoHost,
    /// One request is on its way.
    InFlight,
    /// The last one is less than the cooldown ago.
    Cooldown,
    /// The same failure was asked about a moment ago.
    SameFailure,
    /// It was asked about since the last statement, and the answer did not explain it.
    Unexplained,
}

/// A request without an answer so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) request: RequestId,
    pub(super) to: JoinId,
    pub(super) failure: Failure,
    since: Time,
    /// How often it has gone out once more.
    again: u32,
}

impl InFlight {
    fn next(&self, policy: &GroupPolicy) -> Time {
        self.since + policy.request_resend.saturating_mul(self.again + 1)
    }
}

/// What may be asked, of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_host: bool,
    pub(super) host: Option<JoinId>,
}

/// The asking side.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    in_flight: Option<InFlight>,
    sent: Option<Time>,
    noted: Option<(Failure, Time)>,
    wish: Option<(Failure, Time)>,
    unexplained: HashSet<Failure>,
    /// The request in flight goes out again, under its id.
    again: bool,
    /// Requests that ran out of time in a row.
    unanswered: u32,
    pub(super) requests: super::Requests,
}

impl Recovery {
    /// Something fails; it is asked about at `at`, if it still does.
    pub(super) fn wish(&mut self, failure: Failure, at: Time) {
        if is_planted(Fault::AsksForNothing) {
            return;
        }
        // What an answer did not explain hides nothing else; and what need not wait does not wait behind what must.
        if self.unexplained.contains(&failure) {
            return;
        }
        match self.wish {
            Some((known, before)) if before <= at && (failure.waits() || !known.waits()) => {}
            _ => self.wish = Some((failure, at)),
        }
    }

    /// What failed works again: there is a newer key, or the host spoke.
    pub(super) fn met(&mut self) {
        (self.wish, self.in_flight, self.unanswered) = (None, None, 0);
        self.unexplained.clear();
    }

    /// The host has handed its newest epoch to everybody: that answers whoever has asked it.
    pub(super) fn answered_to_all(&mut self, host: JoinId) {
        if self.in_flight.is_some_and(|in_flight| in_flight.to == host) {
            self.answered();
        }
    }

    /// A host that was only silent has spoken.
    pub(super) fn heard(&mut self) {
        self.wish.take_if(|(failure, _)| *failure == Failure::Silence);
        self.in_flight.take_if(|in_flight| in_flight.failure == Failure::Silence);
    }

    /// The answer came. What it did not explain is not asked about again before the next statement.
    pub(super) fn answered(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.requests.answered += 1;
            if matches!(in_flight.failure, Failure::Epoch(_)) {
                self.unexplained.insert(in_flight.failure);
            }
        }
        (self.wish, self.unanswered) = (None, 0);
    }

    /// The table of rule EKR-2.
    pub(super) fn may_ask(
        &self,
        now: Time,
        failure: Failure,
        target: Target,
        policy: &GroupPolicy,
    ) -> Result<JoinId, NotNow> {
        let within = |at: Option<Time>, pause| at.is_some_and(|at| now.since(at) < pause);
        let noted = self.noted.filter(|(noted, _)| *noted == failure).map(|(_, at)| at);
        match target {
            Target { is_host: true, .. } => Err(NotNow::Host),
            Target { host: None, .. } => Err(NotNow::NoHost),
            _ if self.in_flight.is_some() => Err(NotNow::InFlight),
            // Whether somebody is there may be asked at any time: it is no failure to open anything.
            // And a key that was sent and cannot be taken is no reason to wait either.
            _ if failure.waits() && within(self.sent, policy.request_cooldown) => Err(NotNow::Cooldown),
            _ if within(noted, policy.same_failure) => Err(NotNow::SameFailure),
            _ if self.unexplained.contains(&failure) => Err(NotNow::Unexplained),
            Target { host: Some(host), .. } => Ok(host),
        }
    }

    /// Whom to ask about what now, if anything. The caller draws an id and sends.
    pub(super) fn due(&mut self, now: Time, target: Target, policy: &GroupPolicy) -> Option<(JoinId, Failure)> {
        // EKR-3: out of time, or another host since.
        let late = |in_flight: &mut InFlight| now.since(in_flight.since) >= policy.request_timeout;
        if let Some(late) = self.in_flight.take_if(late) {
            self.unanswered += 1;
            self.requests.given_up += 1;
            self.wish(late.failure, now);
        } else if let Some(moved) = self.in_flight.take_if(|in_flight| Some(in_flight.to) != target.host) {
            (self.sent, self.noted) = (None, None);
            self.wish(moved.failure, now);
        }
        let lately = self.sent.is_some_and(|at| now.since(at).as_millis() < 100);
        if is_planted(Fault::AsksWithoutEnd) && !target.is_host && !lately {
            return target.host.map(|host| (host, Failure::NoKey));
        }
        let (failure, _) = self.wish.filter(|(_, at)| *at <= now)?;
        match self.may_ask(now, failure, target, policy) {
            Ok(host) => Some((host, failure)),
            Err(NotNow::Host | NotNow::Unexplained) => {
                self.wish = None;
                None
            }
            Err(_) => None,
        }
    }

    /// The server is reachable again: an answer may be lost (rule EKR-2).
    /// Its time begins anew, since nobody could have answered it.
    pub(super) const fn reachable(&mut self, now: Time) {
        if let Some(in_flight) = &mut self.in_flight {
            (in_flight.since, in_flight.again) = (now, 0);
        }
        self.again = self.in_flight.is_some();
    }

    /// What is to be sent again now, under its id: after a while, since a host may have had its limit, and its answer is
    /// lost if a connection breaks.
    pub(super) fn take_again(&mut self, now: Time, policy: &GroupPolicy) -> Option<InFlight> {
        if let Some(in_flight) = &mut self.in_flight
            && in_flight.again < policy.request_resends
            && now >= in_flight.next(policy)
        {
            in_flight.again += 1;
            self.again = true;
        }
        if core::mem::take(&mut self.again) { self.in_flight } else { None }
    }

    /// Whether frames do not open under an epoch that is not in the ring; it is not asked about any more.
    pub(super) fn take_lost(&mut self) -> bool {
        self.wish.take_if(|(failure, _)| matches!(failure, Failure::Epoch(_))).is_some()
    }

    /// A request has gone out.
    pub(super) fn asked(&mut self, now: Time, request: RequestId, to: JoinId, failure: Failure) {
        self.requests.sent += 1;
        self.in_flight = Some(InFlight { request, to, failure, since: now, again: 0 });
        (self.sent, self.noted) = (Some(now), Some((failure, now)));
        self.wish = None;
    }

    pub(super) const fn in_flight(&self) -> Option<&InFlight> {
        self.in_flight.as_ref()
    }

    /// Since when a request waits, for people.
    pub(super) fn waits_since(&self) -> Option<Time> {
        self.in_flight.map(|in_flight| in_flight.since)
    }

    /// The last request ran out of time without an answer.
    pub(super) const fn is_denied(&self) -> bool {
        self.unanswered > 0
    }

    pub(super) fn poll_timeout(&self, target: Target, policy: &GroupPolicy) -> Option<Time> {
        let timeout = self.in_flight.map(|in_flight| in_flight.since + policy.request_timeout);
        let again = self.in_flight.filter(|in_flight| in_flight.again < policy.request_resends);
        let again = again.map(|in_flight| in_flight.next(policy));
        let wish = self.wish.filter(|_| self.in_flight.is_none() && target.host.is_some() && !target.is_host);
        let wish = wish.map(|(failure, at)| {
            let sent = self.sent.filter(|_| failure.waits());
            let cooldown = sent.map_or(at, |sent| at.max(sent + policy.request_cooldown));
            let noted = self.noted.filter(|(noted, _)| *noted == failure);
            noted.map_or(cooldown, |(_, noted)| cooldown.max(noted + policy.same_failure))
        });
        timeout.into_iter().chain(wish).chain(again).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: GroupPolicy = GroupPolicy::DEFAULT;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn join(n: u8) -> JoinId {
        JoinId::from_bytes([n; 16])
    }

    fn request(n: u8) -> RequestId {
        RequestId::from_bytes([n; 16])
    }

    const MEMBER: Target = Target { is_host: false, host: Some(JoinId::from_bytes([1; 16])) };

    #[test]
    fn ekr_2_frames_that_no_answer_explains_hide_no_silent_host() {
        use Failure::{Epoch, Silence};
        let mut recovery = Recovery::default();
        recovery.asked(at(0), request(1), join(1), Epoch(7));
        recovery.answered();
        // It goes on for ever, and so does another one, which has to wait.
        recovery.wish(Epoch(7), at(100));
        assert_eq!(recovery.due(at(100), MEMBER, &POLICY), None);
        recovery.wish(Epoch(8), at(200));
        assert_eq!(recovery.due(at(200), MEMBER, &POLICY), None, "the cooldown");
        recovery.wish(Silence, at(2_500));
        assert_eq!(recovery.due(at(2_500), MEMBER, &POLICY), Some((join(1), Silence)));
    }

    /// The table of preconditions: what was asked when, who is there, what fails now, and what comes of it.
    #[test]
    fn ekr_2_the_table_of_preconditions() {
        use Failure::{Epoch, Statement};
        let nobody = Target { is_host: false, host: None };
        let host = Target { is_host: true, ..MEMBER };
        // (asked at, about, still in flight), now, failure, target, what comes of it
        type Row = (Option<(u64, Failure, bool)>, u64, Failure, Target, Result<(), NotNow>);
        let table: [Row; 11] = [
            (None, 0, Epoch(7), MEMBER, Ok(())),
            (None, 0, Epoch(7), host, Err(NotNow::Host)),
            (None, 0, Epoch(7), nobody, Err(NotNow::NoHost)),
            (Some((0, Epoch(7), true)), 9_999, Epoch(7), MEMBER, Err(NotNow::InFlight)),
            (Some((0, Epoch(7), true)), 9_999, Statement, MEMBER, Err(NotNow::InFlight)),
            (Some((0, Statement, false)), 500, Statement, MEMBER, Err(NotNow::Cooldown)),
            (Some((0, Statement, false)), 2_999, Statement, MEMBER, Err(NotNow::Cooldown)),
            (Some((0, Statement, false)), 3_000, Statement, MEMBER, Ok(())),
            (Some((0, Epoch(7), false)), 2_999, Epoch(8), MEMBER, Err(NotNow::Cooldown)),
            (Some((0, Epoch(7), false)), 3_000, Epoch(8), MEMBER, Ok(())),
            (Some((0, Epoch(7), false)), 3_000, Epoch(7), MEMBER, Err(NotNow::Unexplained)),
        ];
        for (row, (before, now, failure, target, expected)) in table.into_iter().enumerate() {
            let mut recovery = Recovery::default();
            if let Some((asked, about, in_flight)) = before {
                recovery.asked(at(asked), request(1), join(1), about);
                if !in_flight {
                    recovery.answered();
                }
            }
            let found = recovery.may_ask(at(now), failure, target, &POLICY).map(|_| ());
            assert_eq!(found, expected, "row {row}");
        }
        // With a cooldown that is over sooner, the same failure is still one.
        let quick = GroupPolicy { request_cooldown: core::time::Duration::ZERO, ..POLICY };
        let mut recovery = Recovery::default();
        recovery.asked(at(0), request(1), join(1), Statement);
        recovery.answered();
        assert_eq!(recovery.may_ask(at(999), Statement, MEMBER, &quick), Err(NotNow::SameFailure));
        assert_eq!(recovery.may_ask(at(999), Epoch(1), MEMBER, &quick), Ok(join(1)));
        assert_eq!(recovery.may_ask(at(1_000), Statement, MEMBER, &quick), Ok(join(1)));
    }

    #[test]
    fn ekr_3_a_request_is_given_up_after_ten_seconds_and_at_a_new_host() {
        let mut recovery = Recovery::default();
        recovery.asked(at(0), request(1), join(1), Failure::NoKey);
        assert_eq!(recovery.due(at(9_999), MEMBER, &POLICY), None);
        // Under its id it goes out again before that, and no more often than is good for anything.
        let again = (0..100).filter(|step| recovery.take_again(at(step * 100), &POLICY).is_some());
        assert_eq!(again.count(), 3);
        assert_eq!(recovery.poll_timeout(MEMBER, &POLICY), Some(at(10_000)));
        assert_eq!(recovery.due(at(10_000), MEMBER, &POLICY), Some((join(1), Failure::NoKey)));
        assert!(recovery.is_denied());
        recovery.asked(at(10_000), request(2), join(1), Failure::NoKey);
        assert_eq!((recovery.requests.sent, recovery.requests.answered, recovery.requests.given_up), (2, 0, 1));
        // The next host is asked at once.
        let next = Target { is_host: false, host: Some(join(2)) };
        assert_eq!(recovery.due(at(10_100), next, &POLICY), Some((join(2), Failure::NoKey)));
    }

    #[test]
    fn ekr_1_what_an_answer_did_not_explain_is_not_asked_again_before_the_next_statement() {
        let mut recovery = Recovery::default();
        recovery.wish(Failure::Epoch(9), at(0));
        let (to, failure) = recovery.due(at(0), MEMBER, &POLICY).unwrap();
        recovery.asked(at(0), request(1), to, failure);
        recovery.answered();
        assert_eq!((recovery.requests.sent, recovery.requests.answered), (1, 1));
        recovery.wish(Failure::Epoch(9), at(5_000));
        assert_eq!(recovery.due(at(5_000), MEMBER, &POLICY), None);
        recovery.met();
        recovery.wish(Failure::Epoch(9), at(5_000));
        assert!(recovery.due(at(5_000), MEMBER, &POLICY).is_some());
    }
}
