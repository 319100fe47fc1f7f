//! The writer: the one thread that changes the directory.
//!
//! | timer | what it does |
//! |---|---|
//! | epoch | [`Settings::epoch_interval`] after the last epoch, if something waits; at once after a pause |
//! | heartbeat | [`Settings::heartbeat`] after the last leaf, whatever waits |
//! | tidying | [`TIDY`] after the last leaf, the storage does what could wait |
//! | retry | a heartbeat that failed, as on a full disk, is tried again after [`RETRY`] |
//!
//! With nothing else to do it makes the VRF proofs of versions that have none yet, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::ahead::Ahead;
use super::clock::Clock;
use super::epoch::Steps;
use super::error::DirectoryError;
use super::handle::Published;
use super::queue::{Change, Due, Queue, answer};
use super::settings::Settings;
use super::shown::Shown;
use super::storage::{Storage, StorageError, View};
use super::vrf::Vrf;

/// After a heartbeat failed.
const RETRY: Duration = Duration::from_secs(5);
/// Between one epoch and the next there is more time than this, but for a bulk load.
const TIDY: Duration = Duration::from_millis(100);
/// How long it is waited for those who come behind others, and how often at most.
const GATHERING: Duration = Duration::from_micros(50);
/// See [`GATHERING`].
const GATHERINGS: usize = 64;
/// Versions whose VRF proofs are made in one go: about 5 ms, which a change may have to wait.
const PROOFS: usize = 32;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Order {
    /// A version is to be published.
    Publish(Change),
    /// To finish what waits, and end.
    Stop,
}

/// The writer's state.
pub(super) struct Writer<S: Storage> {
    storage: Arc<S>,
    steps: Steps<S>,
    vrf: Vrf,
    settings: Settings,
    clock: Clock,
    shown: watch::Sender<Arc<Shown>>,
    queue: Queue,
    /// No epoch before this.
    next_epoch: Instant,
    /// A leaf at the latest then.
    next_leaf: Instant,
    /// The storage is tidied then.
    next_tidying: Option<Instant>,
    /// Places of what waits for the epoch after the one that is made.
    ahead: Option<Ahead>,
    /// Whether there may be versions without VRF proofs.
    unproven: bool,
}

impl<S: Storage> Writer<S> {
    /// Brings the directory to a state that can be shown: what is durable, or a first epoch with the sentinel.
    pub(super) async fn start(
        storage: Arc<S>,
        steps: Steps<S>,
        vrf: Vrf,
        settings: Settings,
        sentinel: Due,
    ) -> Result<(Self, watch::Receiver<Arc<Shown>>), DirectoryError> {
        let mut clock = Clock::new(settings.clock, Instant::now());
        let shown = match steps.resume()? {
            Some(shown) => shown,
            None => steps.epoch(&[sentinel], None, clock.time(Instant::now())).await?,
        };
        let age = clock.time(Instant::now()).as_unix().saturating_sub(shown.time().as_unix());
        let (now, unproven) = (Instant::now(), settings.prove_ahead);
        let next_leaf = now + settings.heartbeat().saturating_sub(Duration::from_secs(age));
        let (sender, receiver) = watch::channel(Arc::new(shown));
        let writer = Self {
            storage,
            steps,
            vrf,
            settings,
            clock,
            shown: sender,
            queue: Queue::default(),
            next_epoch: now,
            next_leaf,
            next_tidying: None,
            ahead: None,
            unproven,
        };
        Ok((writer, receiver))
    }

    /// Runs until it is stopped or nobody is left who could.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.load();
        loop {
            let due = if self.queue.is_empty() { self.next_leaf } else { self.next_leaf.min(self.next_epoch) };
            let due = self.next_tidying.map_or(due, |tidying| tidying.min(due));
            tokio::select! {
                biased;
                order = orders.recv(), if self.queue.len() < self.settings.queue.get() => match order {
                    Some(Order::Publish(change)) => {
                        self.queue.push(change);
                        if self.gather(&mut orders) {
                            return self.finish().await;
                        }
                    }
                    Some(Order::Stop) | None => return self.finish().await,
                },
                () = sleep_until(due) => {}
                () = std::future::ready(()), if self.unproven => self.prove(),
            }
            let now = Instant::now();
            if !self.queue.is_empty() && now >= self.next_epoch {
                self.epoch().await;
            }
            if Instant::now() >= self.next_leaf {
                self.heartbeat();
            }
            if self.next_tidying.is_some_and(|tidying| Instant::now() >= tidying) {
                self.tidy();
            }
        }
    }

    /// Whoever came at the same time goes into the same epoch. As long as more come it waits a little for those behind
    /// them, as two epochs cost more; one that is alone does not wait. Whether it is to stop.
    fn gather(&mut self, orders: &mut mpsc::Receiver<Order>) -> bool {
        for _ in 0..GATHERINGS {
            let before = self.queue.len();
            while self.queue.len() < self.settings.queue.get()
                && let Ok(order) = orders.try_recv()
            {
                match order {
                    Order::Publish(change) => self.queue.push(change),
                    Order::Stop => return true,
                }
            }
            if self.queue.len() == before {
                break;
            }
            std::thread::sleep(GATHERING);
        }
        false
    }

    /// What waits is published as ever, without a pause between the epochs.
    async fn finish(&mut self) {
        while !self.queue.is_empty() {
            self.epoch().await;
        }
    }

    async fn epoch(&mut self) {
        self.next_epoch = Instant::now() + self.settings.epoch_interval;
        // Where it fails, so do the reads, or they take longer.
        if let Err(error) = self.storage.begin_reading() {
            warn!(%error, "the key directory's database cannot be read in one go");
        }
        self.publish_due().await;
        self.storage.end_reading();
    }

    async fn publish_due(&mut self) {
        if let Err(error) = self.catch_up() {
            self.ahead = None;
            return self.queue.fail(error.into());
        }
        let due = match self.storage.own_view() {
            Ok(view) => self.queue.take(self.settings.epoch_changes.get(), &view),
            Err(error) => {
                self.ahead = None;
                return self.queue.fail(error.into());
            }
        };
        if due.is_empty() {
            return;
        }
        self.vrf.expect(self.ahead.take().map(Ahead::finish).unwrap_or_default());
        if !self.queue.is_empty() && self.settings.threads.get() > 1 {
            self.ahead = Ahead::start(&self.vrf, self.queue.waiting(self.settings.epoch_changes.get()));
        }
        let before = self.shown.borrow().clone();
        let now = self.clock.time(Instant::now());
        let made = self.steps.epoch(&due, Some(&before), now).await;
        let outcome = match made {
            Ok(shown) => {
                let epoch = shown.epoch();
                self.show(shown);
                self.unproven = self.settings.prove_ahead;
                Ok(Published { epoch })
            }
            Err(error) => {
                warn!(%error, changes = due.len(), "an epoch of the key directory failed");
                Err(error)
            }
        };
        let replies = due.into_iter().flat_map(|due| due.replies);
        replies.for_each(|reply| answer(reply, outcome));
    }

    fn heartbeat(&mut self) {
        let before = self.shown.borrow().clone();
        let now = self.clock.time(Instant::now());
        match self.catch_up().and_then(|()| self.steps.heartbeat(&before, now)) {
            Ok(shown) => self.show(shown),
            Err(error) => {
                error!(%error, "the key directory's log could not be kept fresh (rule KT-8)");
                self.next_leaf = Instant::now() + RETRY;
            }
        }
    }

    /// Shows what is durable and signed, from here on.
    fn show(&mut self, shown: Shown) {
        let now = Instant::now();
        (self.next_leaf, self.next_tidying) = (now + self.settings.heartbeat(), Some(now + TIDY));
        self.shown.send_replace(Arc::new(shown));
    }

    /// Where a commit failed and yet succeeded, what it did is shown first.
    fn catch_up(&mut self) -> Result<(), StorageError> {
        let shown = self.shown.borrow().clone();
        if self.steps.is_current(&shown)? {
            return Ok(());
        }
        warn!("the key directory's database had finished what it said it could not");
        let shown = self.steps.resume()?.ok_or(StorageError::Damaged)?;
        self.show(shown);
        self.load();
        Ok(())
    }

    /// Brings the tree of what is shown into memory.
    fn load(&mut self) {
        let started = Instant::now();
        match self.steps.load() {
            Ok(None) => {}
            Ok(Some(tree)) => {
                let shown = self.shown.borrow().clone();
                let Shown { leaf, inclusion, checkpoint, .. } = &*shown;
                let (leaf, inclusion, checkpoint) = (*leaf, inclusion.clone(), checkpoint.clone());
                self.shown.send_replace(Arc::new(Shown { leaf, inclusion, checkpoint, tree: Some(tree) }));
                info!(epoch = leaf.epoch, took = ?started.elapsed(), "the key directory's tree is in memory");
            }
            Err(error) => error!(%error, "the key directory's tree could not be brought into memory"),
        }
    }

    fn tidy(&mut self) {
        self.next_tidying = None;
        if let Err(error) = self.storage.tidy() {
            warn!(%error, "the key directory's database could not be tidied");
        }
    }

    /// Makes some of the VRF proofs that look-ups will ask for.
    fn prove(&mut self) {
        let done = self.storage.own_view().and_then(|view| view.unproven(PROOFS)).and_then(|unproven| {
            let pair = |(id, label, version): &(u64, Vec<u8>, u32)| (*id, self.vrf.pair(label, *version));
            let proofs: Vec<_> = unproven.iter().map(pair).collect();
            if !proofs.is_empty() {
                self.storage.keep_proofs(&proofs)?;
            }
            Ok(proofs.len() < PROOFS)
        });
        self.unproven = match done {
            Ok(done) => !done,
            Err(error) => {
                warn!(%error, "VRF proofs could not be kept: look-ups make them, until the next epoch");
                false
            }
        };
    }
}
