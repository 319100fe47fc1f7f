//! What a membership waits for.

use std::collections::BTreeMap;

use undertone_keys::Time;

/// One thing that is waited for. Each is set at most once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The delivery service should have answered: ask again.
    Answer,
    /// The same, about where the group is.
    State,
    /// Nobody has welcomed this device: join by oneself.
    Welcome,
    /// The next try to join by oneself.
    BySelf,
    /// Commits that exist have not come: ask for them.
    Behind,
    /// A commit that was refused is given up, and with it the epoch.
    Reconsider,
    /// Seal under the epoch that came last.
    Promote,
    /// A commit of one's own is due, or a leaf becomes one to be removed.
    Work,
    /// The key packages that have not come are not waited for any more.
    Claim,
    /// Devices that were not looked up are asked about again.
    Resolve,
    /// Say the authenticator.
    Say,
    /// Nothing opens although the epoch is here: decide whether that is a fork.
    Doubt,
    /// Somebody who is gone is still in the tree: show it.
    Listening,
}

/// Which are set.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeMap<Timer, Time>);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.0.insert(timer, at);
    }

    /// Sets one that is not set.
    pub(super) fn start(&mut self, timer: Timer, at: Time) {
        self.0.entry(timer).or_insert(at);
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.0.contains_key(&timer)
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    pub(super) fn clear_all(&mut self) {
        self.0.clear();
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.0.values().min().copied()
    }

    /// Takes one whose time has come.
    pub(super) fn due(&mut self, now: Time) -> Option<Timer> {
        let timer = self.0.iter().find(|(_, at)| **at <= now).map(|(timer, _)| *timer)?;
        self.0.remove(&timer);
        Some(timer)
    }
}
