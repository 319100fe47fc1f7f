//! The time that leaves of the log bear. It can never be taken back: a clock that is a year ahead for a moment would leave a
//! log that every device refuses for a year.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use undertone_keys::WallTime;

/// A clock that runs away from time by more than this has been set.
const JUMP: u64 = 60;
/// A clock that was set forwards is believed after it has stayed so for this long.
const DOUBT: Duration = Duration::from_secs(600);

/// The wall clock, and what is known of it by the time that has passed.
#[derive(Debug)]
pub(super) struct Clock {
    wall: fn() -> WallTime,
    /// What it said when it was believed last.
    believed: (WallTime, Instant),
    /// Since when it has been somewhere ahead.
    ahead: Option<Instant>,
}

impl Clock {
    pub(super) fn new(wall: fn() -> WallTime, now: Instant) -> Self {
        Self { wall, believed: (wall(), now), ahead: None }
    }

    /// The wall clock's time; where it was set forwards a short while ago, the time that it would have been without that.
    pub(super) fn time(&mut self, now: Instant) -> WallTime {
        let (wall, expected) = ((self.wall)(), self.expected(now));
        if wall <= expected.plus(JUMP) {
            (self.believed, self.ahead) = ((wall, now), None);
            return wall;
        }
        if self.ahead.is_none() {
            warn!("the clock was set forwards: the key directory's log follows it in ten minutes, if it stays so");
        }
        if now.saturating_duration_since(*self.ahead.get_or_insert(now)) < DOUBT {
            return expected;
        }
        (self.believed, self.ahead) = ((wall, now), None);
        wall
    }

    fn expected(&self, now: Instant) -> WallTime {
        let (wall, at) = self.believed;
        wall.plus(now.saturating_duration_since(at).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static WALL: AtomicU64 = AtomicU64::new(1_000_000);

    fn wall() -> WallTime {
        WallTime::from_unix(WALL.load(Ordering::SeqCst))
    }

    #[test]
    fn kt_8_a_clock_that_jumps_ahead_for_a_moment_leaves_no_leaf_from_the_future() {
        let start = Instant::now();
        let mut clock = Clock::new(wall, start);
        let mut at = |seconds: u64, wall: u64| {
            WALL.store(wall, Ordering::SeqCst);
            clock.time(start + Duration::from_secs(seconds)).as_unix()
        };
        assert_eq!(at(100, 1_000_100), 1_000_100);
        assert_eq!(at(130, 1_000_150), 1_000_150, "slewed, or read a little late");
        // A year ahead for five minutes.
        assert_eq!(at(200, 32_000_000), 1_000_220);
        assert_eq!(at(500, 32_000_300), 1_000_520);
        assert_eq!(at(501, 1_000_501), 1_000_501, "back");
        // Set right for good: after ten minutes it is believed.
        assert_eq!(at(600, 2_000_000), 1_000_600);
        assert_eq!(at(1_199, 2_000_599), 1_001_199);
        assert_eq!(at(1_200, 2_000_600), 2_000_600);
        assert_eq!(at(1_300, 2_000_700), 2_000_700);
        // Backwards it is believed at once: that the log's time never falls is somebody else's business.
        assert_eq!(at(1_400, 1_000_000), 1_000_000);
    }
}
