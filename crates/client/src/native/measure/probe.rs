//! What became of the packets of an echo: each is known again by the time at which its sound was captured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A place where the driver notes what it sends and opens, and whoever measures looks.
#[derive(Clone, Debug, Default)]
pub(in crate::native) struct Probe(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    /// When the very first one came back.
    first: Option<Instant>,
    /// Whether what is sent now counts.
    counting: bool,
    /// What was sent and has not come back.
    out: HashMap<u32, Instant>,
    back: Vec<Duration>,
}

impl Probe {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet left.
    pub(in crate::native) fn said(&self, captured_ms: u32) {
        let mut notes = self.notes();
        if notes.counting {
            notes.out.insert(captured_ms, Instant::now());
        }
    }

    /// A packet opened.
    pub(in crate::native) fn heard(&self, captured_ms: u32) {
        let (mut notes, now) = (self.notes(), Instant::now());
        notes.first.get_or_insert(now);
        // What left before anything counted does not count when it comes back.
        if let Some(sent) = notes.out.remove(&captured_ms) {
            notes.back.push(now.duration_since(sent));
        }
    }

    /// When the first packet opened, if one did.
    pub(super) fn first(&self) -> Option<Instant> {
        self.notes().first
    }

    /// What leaves from now on counts.
    pub(super) fn begin(&self) {
        self.notes().counting = true;
    }

    /// What leaves from now on does not count; what is under way may still come back.
    pub(super) fn end(&self) {
        self.notes().counting = false;
    }

    /// How long those took that came back, and how many did not.
    pub(super) fn came_back(&self) -> (Vec<Duration>, usize) {
        let notes = self.notes();
        (notes.back.clone(), notes.out.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_left_while_it_counted_came_back_or_is_lost() {
        let probe = Probe::default();
        probe.said(0);
        assert!(probe.first().is_none());
        probe.heard(0);
        assert!(probe.first().is_some());
        probe.begin();
        (20..100).step_by(20).for_each(|captured_ms| probe.said(captured_ms));
        probe.end();
        probe.said(100);
        // One comes twice, one that was not counted comes, and one does not come at all.
        [20, 40, 40, 60, 100].into_iter().for_each(|captured_ms| probe.heard(captured_ms));
        let (back, lost) = probe.came_back();
        assert_eq!((back.len(), lost), (3, 1));
    }
}
