//! What each account may still ask for (rule DOS-1). Budgets outlive connections: coming back refills nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use undertone_keys::{DeviceId, UserId};

use crate::config::Limits;
use crate::rate::Bucket;

/// Devices whose buckets are kept for one account; beyond, those that are full again go. Whoever holds the keys of a room of a
/// thousand writes to all of it.
const TARGETS: usize = 2_048;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spending {
    /// A message on the WebSocket.
    Signal,
    /// A room and a grant.
    Call,
    /// Somebody's device list.
    Lookup,
    /// Something about a room.
    Room,
    /// A WebSocket.
    Connection,
    /// An envelope to this device, by itself or as a letter of a spread.
    Envelope(DeviceId),
    /// A letter of a spread, whomever it is for.
    Letter,
    /// A commit for a group, or its beginning.
    Commit,
    /// A group's history, its group info or its tree.
    Group,
}

#[derive(Debug)]
struct Budget {
    signals: Bucket,
    calls: Bucket,
    lookups: Bucket,
    rooms: Bucket,
    connections: Bucket,
    letters: Bucket,
    commits: Bucket,
    groups: Bucket,
    targets: HashMap<DeviceId, Bucket>,
}

impl Budget {
    /// Forgets the devices whose buckets are full, and says whether nothing is left to be remembered.
    fn is_over(&mut self, now: Instant) -> bool {
        self.targets.retain(|_, bucket| !bucket.is_full(now));
        let buckets = [
            &self.signals,
            &self.calls,
            &self.lookups,
            &self.rooms,
            &self.connections,
            &self.letters,
            &self.commits,
            &self.groups,
        ];
        self.targets.is_empty() && buckets.iter().all(|bucket| bucket.is_full(now))
    }
}

/// What each account may spend: at once, and per second after that.
#[derive(Debug)]
struct Allowed {
    signals: (u32, u32),
    calls: (u32, u32),
    lookups: (u32, u32),
    rooms: (u32, u32),
    connections: (u32, u32),
    letters: (u32, u32),
    commits: (u32, u32),
    groups: (u32, u32),
    to_one_device: (u32, u32),
    to_one_callee: (u32, u32),
}

/// The budgets of all accounts that were active a short while ago.
#[derive(Debug)]
pub(crate) struct Budgets {
    accounts: HashMap<UserId, Budget>,
    /// How often each was called a short while ago, by whomever.
    called: HashMap<UserId, Bucket>,
    allowed: Allowed,
}

impl Budgets {
    pub(crate) fn new(limits: &Limits) -> Self {
        let allowed = Allowed {
            signals: (limits.signal_burst, limits.signal_rate),
            calls: (limits.call_burst, limits.call_rate),
            lookups: (limits.lookup_burst, limits.lookup_rate),
            rooms: (limits.room_burst, limits.room_rate),
            connections: (limits.socket_burst, limits.socket_rate),
            letters: (limits.spread_burst, limits.spread_rate),
            commits: (limits.commit_burst, limits.commit_rate),
            groups: (limits.group_burst, limits.group_rate),
            to_one_device: (limits.envelope_burst, limits.envelope_rate),
            to_one_callee: (limits.callee_burst, limits.callee_rate),
        };
        Self { accounts: HashMap::new(), called: HashMap::new(), allowed }
    }

    /// Spends one of it; `false` when nothing is left.
    pub(crate) fn allow(&mut self, user: &UserId, spending: Spending, now: Instant) -> bool {
        let bucket = |(burst, rate)| Bucket::new(burst, rate, now);
        // Few accounts are new: a clone of the name for each would be for nothing.
        if !self.accounts.contains_key(user) {
            let budget = Budget {
                signals: bucket(self.allowed.signals),
                calls: bucket(self.allowed.calls),
                lookups: bucket(self.allowed.lookups),
                rooms: bucket(self.allowed.rooms),
                connections: bucket(self.allowed.connections),
                letters: bucket(self.allowed.letters),
                commits: bucket(self.allowed.commits),
                groups: bucket(self.allowed.groups),
                targets: HashMap::new(),
            };
            self.accounts.insert(user.clone(), budget);
        }
        let to_one_device = self.allowed.to_one_device;
        let Some(budget) = self.accounts.get_mut(user) else { return false };
        match spending {
            Spending::Signal => budget.signals.take(now),
            Spending::Call => budget.calls.take(now),
            Spending::Lookup => budget.lookups.take(now),
            Spending::Room => budget.rooms.take(now),
            Spending::Connection => budget.connections.take(now),
            Spending::Letter => budget.letters.take(now),
            Spending::Commit => budget.commits.take(now),
            Spending::Group => budget.groups.take(now),
            Spending::Envelope(device) => {
                if budget.targets.len() >= TARGETS && !budget.targets.contains_key(&device) {
                    budget.targets.retain(|_, bucket| !bucket.is_full(now));
                }
                if budget.targets.len() >= TARGETS && !budget.targets.contains_key(&device) {
                    return false;
                }
                budget.targets.entry(device).or_insert_with(|| bucket(to_one_device)).take(now)
            }
        }
    }

    /// After how long an account may spread so many letters.
    pub(crate) fn letters_after(&self, user: &UserId, amount: u32, now: Instant) -> Duration {
        self.accounts.get(user).map_or(Duration::ZERO, |budget| budget.letters.wait(amount, now))
    }

    /// Whether one more new call may go to this user, whoever calls: each costs every device of theirs an agreement.
    pub(crate) fn may_be_called(&mut self, callee: &UserId, now: Instant) -> bool {
        let (burst, rate) = self.allowed.to_one_callee;
        if !self.called.contains_key(callee) {
            self.called.insert(callee.clone(), Bucket::new(burst, rate, now));
        }
        self.called.get_mut(callee).is_some_and(|bucket| bucket.take(now))
    }

    /// Forgets budgets that are full again: a new one would be the same.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.called.retain(|_, bucket| !bucket.is_full(now));
        self.accounts.retain(|_, budget| !budget.is_over(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_1_budgets_are_per_account_and_per_target_and_fill_again() {
        let (mut budgets, now) = (Budgets::new(&Limits::default()), Instant::now());
        let (ada, bob): (UserId, UserId) = ("ada@x".parse().unwrap(), "bob@x".parse().unwrap());
        let device = |n: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            DeviceId::from_bytes(bytes)
        };
        let spend = |budgets: &mut Budgets, user: &UserId, spending, now| {
            (0..1000).take_while(|_| budgets.allow(user, spending, now)).count()
        };
        assert_eq!(spend(&mut budgets, &ada, Spending::Call, now), 16);
        assert_eq!(spend(&mut budgets, &bob, Spending::Call, now), 16);
        assert_eq!(spend(&mut budgets, &ada, Spending::Envelope(device(0)), now), 40);
        assert_eq!(spend(&mut budgets, &ada, Spending::Envelope(device(1)), now), 40);
        // However many devices one writes to, what is remembered of it is bounded.
        for n in 2..5_000 {
            budgets.allow(&ada, Spending::Envelope(device(n)), now);
        }
        assert!(budgets.accounts[&ada].targets.len() <= TARGETS);
        // Sixteen calls come back at one a second: what is not full yet is not forgotten, and so not refilled.
        let soon = now + Duration::from_secs(15);
        budgets.expire(soon);
        assert_eq!(budgets.accounts.len(), 2);
        assert!(budgets.accounts[&ada].targets.is_empty(), "who was written to is forgotten earlier");
        assert_eq!(spend(&mut budgets, &ada, Spending::Call, soon), 15);
        let later = now + Duration::from_secs(60);
        budgets.expire(later);
        assert!(budgets.accounts.is_empty());
        assert_eq!(spend(&mut budgets, &ada, Spending::Call, later), 16);
    }

    /// However many accounts somebody has: those they call are called so often and no more.
    #[test]
    fn dos_1_nobody_is_called_by_everybody_at_once() {
        let limits = Limits { callee_burst: 10, callee_rate: 2, ..Limits::default() };
        let (mut budgets, now) = (Budgets::new(&limits), Instant::now());
        let (ada, bob): (UserId, UserId) = ("ada@x".parse().unwrap(), "bob@x".parse().unwrap());
        let called = |budgets: &mut Budgets, user: &UserId, now| {
            (0..100).take_while(|_| budgets.may_be_called(user, now)).count()
        };
        assert_eq!(called(&mut budgets, &ada, now), 10);
        assert_eq!(called(&mut budgets, &bob, now), 10, "it is nobody else's fault");
        let later = now + Duration::from_secs(3);
        budgets.expire(later);
        assert_eq!(called(&mut budgets, &ada, later), 6);
        budgets.expire(now + Duration::from_secs(60));
        assert!(budgets.called.is_empty());
    }

    /// An operator may set a rate at which a minute fills nothing.
    #[test]
    fn dos_1_a_slow_budget_is_not_refilled_by_being_forgotten() {
        let limits = Limits { signal_burst: 1000, signal_rate: 1, ..Limits::default() };
        let (mut budgets, now) = (Budgets::new(&limits), Instant::now());
        let ada: UserId = "ada@x".parse().unwrap();
        let spend =
            |budgets: &mut Budgets, now| (0..2000).take_while(|_| budgets.allow(&ada, Spending::Signal, now)).count();
        assert_eq!(spend(&mut budgets, now), 1000);
        let later = now + Duration::from_secs(100);
        budgets.expire(later);
        assert_eq!(spend(&mut budgets, later), 100);
    }
}
