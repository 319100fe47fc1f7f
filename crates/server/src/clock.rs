//! Where the switchboard and the desks of the delivery service read the time: from the machine's clocks, or from one that a simulation
//! sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use undertone_keys::{Time, WallTime};

use crate::signal::wall_time;

/// The time for delays, and that of the wall. The default is the machine's.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Hands>>);

#[derive(Debug)]
struct Hands {
    /// Stands for [`Time::ZERO`]; differences alone are looked at.
    start: Instant,
    /// The wall clock at [`Time::ZERO`].
    wall: WallTime,
    /// Microseconds since then.
    passed: AtomicU64,
}

impl Clock {
    /// A clock that stands at [`Time::ZERO`] until it is [`set`](Self::set), when it is `wall` on the wall; its clones are the same clock.
    #[must_use]
    pub fn by_hand(wall: WallTime) -> Self {
        Self(Some(Arc::new(Hands { start: Instant::now(), wall, passed: AtomicU64::new(0) })))
    }

    /// Sets it forward; it never goes back. Nobody sets the machine's.
    pub fn set(&self, to: Time) {
        if let Self(Some(hands)) = self {
            hands.passed.fetch_max(to.as_micros(), Ordering::Relaxed);
        }
    }

    /// The time for delays.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Some(hands) => hands.start + hands.passed(),
            None => Instant::now(),
        }
    }

    /// The time on the wall.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        match &self.0 {
            Some(hands) => hands.wall.plus(hands.passed().as_secs()),
            None => wall_time(),
        }
    }
}

impl Hands {
    fn passed(&self) -> Duration {
        Duration::from_micros(self.passed.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_by_hand_goes_when_it_is_set_and_never_back() {
        let clock = Clock::by_hand(WallTime::from_unix(1_000));
        let (start, other) = (clock.now(), clock.clone());
        assert_eq!(clock.now(), start);
        other.set(Time::from_millis(2_500));
        clock.set(Time::from_millis(100));
        assert_eq!((clock.now() - start, clock.wall()), (Duration::from_millis(2_500), WallTime::from_unix(1_002)));
        assert!(Clock::default().wall() > WallTime::from_unix(1_700_000_000));
    }
}
