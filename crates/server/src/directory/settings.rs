//! What an operator may set about the directory, and the keys it needs.

use std::num::NonZeroUsize;
use std::time::Duration;

use undertone_keys::sign::{Server, SigningKey};
use undertone_keys::{Secret, WallTime};
use undertone_transparency::note::WitnessKey;

/// The longest that the log may be silent (rule KT-8), less what a slow disk takes.
const MAX_HEARTBEAT: Duration = Duration::from_secs(290);

/// How the directory runs. Every field has a default that works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The least time between epochs. The first change after a pause does not wait for it.
    pub epoch_interval: Duration,
    /// After so long without a new leaf the log repeats the newest one with a newer time (rule KT-8).
    pub heartbeat: Duration,
    /// Changes that wait for an epoch. Whoever comes then waits to be let in.
    pub queue: NonZeroUsize,
    /// Labels in an epoch; the next one takes what is beyond. It bounds memory and the time an epoch takes, and has to
    /// bound its audit proof too, which ends at some 60,000 leaves: two for each label. Fewer and larger epochs write
    /// less in all.
    pub epoch_changes: NonZeroUsize,
    /// Requests that read at the same time, each with a database connection.
    pub readers: NonZeroUsize,
    /// Bytes that the tree may take in memory. A larger one is read from the database for every proof.
    pub snapshot_bytes: u64,
    /// VRF proofs of absent labels that are remembered.
    pub vrf_proofs: usize,
    /// Threads that evaluate the VRF and insert into the tree in a large epoch.
    pub threads: NonZeroUsize,
    /// Whether VRF proofs of new versions are made ahead, in the writer's idle time. Without it the first look-up of
    /// each makes them, and every later one again.
    pub prove_ahead: bool,
    /// The witnesses whose cosignatures are taken.
    pub witnesses: Vec<WitnessKey>,
    /// The wall clock.
    pub clock: fn() -> WallTime,
}

impl Settings {
    /// The defaults, with this wall clock.
    #[must_use]
    pub fn new(clock: fn() -> WallTime) -> Self {
        let several = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            epoch_interval: Duration::from_secs(1),
            heartbeat: Duration::from_secs(240),
            queue: several(4_096),
            epoch_changes: several(25_000),
            readers: several(8),
            snapshot_bytes: 1 << 30,
            vrf_proofs: 1 << 16,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            prove_ahead: true,
            witnesses: Vec::new(),
            clock,
        }
    }

    /// The heartbeat, which rule KT-8 bounds.
    pub(super) fn heartbeat(&self) -> Duration {
        self.heartbeat.min(MAX_HEARTBEAT)
    }
}

/// The directory's keys. They belong to its database for ever: with others it does not open.
#[derive(Debug)]
pub struct Keys {
    /// Signs checkpoints (rule KT-1).
    pub log: SigningKey<Server>,
    /// The VRF's private key (rule KT-5).
    pub vrf: Secret<32>,
}
