//! Proofs that the server owes, asked for again (rule KT-13): when the device connects, and every hour while it is connected.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::directory::Directory;
use super::self_audit::{EVERY, PAUSE};
use crate::engine::{Event, Owed};

/// Asks again when it is time, beside everything else that a connected device does: a server that is silent about this holds
/// up nothing else.
pub(super) struct OpenQuestions {
    directory: Arc<Directory>,
    rounds: JoinSet<Vec<Event>>,
    due: Instant,
    ended: Option<Instant>,
    /// What a person was told of in this run.
    told: Vec<Owed>,
}

impl OpenQuestions {
    /// Nothing is asked before [`Self::connected`].
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Self { directory, rounds: JoinSet::new(), due: Instant::now() + EVERY, ended: None, told: Vec::new() }
    }

    /// The device is connected, perhaps again: whoever was silent may answer now.
    pub(super) fn connected(&mut self) {
        let earliest = self.ended.map_or_else(Instant::now, |ended| ended + PAUSE);
        self.due = self.due.min(earliest);
    }

    /// Waits until all were asked once, and says what came of it. May be dropped at any point, and goes on when it is called
    /// again.
    pub(super) async fn next(&mut self) -> Vec<Event> {
        loop {
            tokio::select! {
                Some(done) = self.rounds.join_next(), if !self.rounds.is_empty() => {
                    self.ended = Some(Instant::now());
                    let mut events = done.unwrap_or_default();
                    events.retain(|event| match event {
                        Event::Owed(owed) if self.told.contains(owed) => false,
                        Event::Owed(owed) => { self.told.push(owed.clone()); true }
                        _ => true,
                    });
                    return events;
                }
                () = tokio::time::sleep_until(self.due), if self.rounds.is_empty() => {
                    self.due = Instant::now() + EVERY;
                    let directory = self.directory.clone();
                    self.rounds.spawn(async move { round(&directory).await });
                }
            }
        }
    }
}

async fn round(directory: &Directory) -> Vec<Event> {
    let asked = match directory.ask_again().await {
        Ok(asked) => asked,
        Err(error) => {
            warn!(%error, "what the server owes was not asked for");
            return Vec::new();
        }
    };
    let diverged = asked.diverged.into_iter();
    let mut events: Vec<Event> =
        diverged.map(|(peer, error)| Event::Disproved { call: None, peer, reason: error.to_string() }).collect();
    let overdue: Vec<Owed> = asked.owed.into_iter().filter(|owed| owed.overdue).collect();
    // A server that is away owes nobody anything in particular.
    if !overdue.is_empty() && directory.answers().await {
        events.extend(overdue.into_iter().map(Event::Owed));
    }
    events
}
