//! Places of changes that still wait, worked out while the epoch before theirs is made.
//!
//! In a bulk load the VRF is two thirds of the work, and no epoch changes what it gives. An epoch keeps every thread busy
//! for a part of its time only: this takes what is left. What it did not get to when the next epoch begins is left to
//! that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use akd::{AkdLabel, NodeLabel, VersionFreshness};

use super::vrf::{Leaf, Vrf};

/// Places of leaves that are not published yet.
pub(super) type Places = HashMap<Leaf, NodeLabel>;

/// The work, on a thread of its own.
#[derive(Debug)]
pub(super) struct Ahead {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Places>>,
}

impl Ahead {
    /// Begins with these labels and versions, in their order; not at all where there is no thread to be had.
    pub(super) fn start(vrf: &Vrf, versions: Vec<(Vec<u8>, u32)>) -> Option<Self> {
        let (stop, vrf) = (Arc::new(AtomicBool::new(false)), vrf.clone());
        let stopped = stop.clone();
        let work = move || {
            let going_on = versions.into_iter().take_while(|_| !stopped.load(Ordering::Relaxed));
            let place = |(label, version): (Vec<u8>, u32)| {
                let (label, version) = (AkdLabel(label), version.into());
                let place = vrf.evaluate(&label, VersionFreshness::Fresh, version);
                ((label.0, true, version), place)
            };
            going_on.map(place).collect()
        };
        let thread = Builder::new().name("key-directory".into()).spawn(work).ok()?;
        Some(Self { stop, thread: Some(thread) })
    }

    /// Ends it; what it got to.
    pub(super) fn finish(mut self) -> Places {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Ahead {
    /// Nobody wants it any more.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use undertone_keys::Secret;

    use super::*;

    #[test]
    fn what_is_worked_out_ahead_is_what_the_epoch_would_have_found() {
        let vrf = Vrf::new(Secret::filled_by(|seed| seed.fill(3)), 10, NonZeroUsize::MIN).unwrap();
        let versions: Vec<_> = (0..5_u8).map(|n| (vec![n], u32::from(n) + 1)).collect();
        let ahead = Ahead::start(&vrf, versions.clone()).unwrap();
        while !ahead.thread.as_ref().unwrap().is_finished() {
            std::thread::yield_now();
        }
        let places = ahead.finish();
        assert_eq!(places.len(), versions.len());
        for (label, version) in versions {
            let version = u64::from(version);
            let place = vrf.evaluate(&AkdLabel(label.clone()), VersionFreshness::Fresh, version);
            assert_eq!(places.get(&(label, true, version)), Some(&place));
        }
        let many = (0..1_000_000_u32).map(|n| (n.to_be_bytes().to_vec(), 1)).collect();
        assert!(Ahead::start(&vrf, many).unwrap().finish().len() < 1_000_000, "it ends when it is told");
    }
}
