//! A token bucket.

use std::time::{Duration, Instant};

/// So many at once, and so many per second after that.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: f64,
    rate: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(burst: u32, rate: u32, now: Instant) -> Self {
        Self { burst: f64::from(burst), rate: f64::from(rate), left: f64::from(burst), at: now }
    }

    /// Whether nothing is missing in it.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.left + now.saturating_duration_since(self.at).as_secs_f64() * self.rate >= self.burst
    }

    /// After how long there will be so many, or as many as it ever holds.
    pub(crate) fn wait(&self, amount: u32, now: Instant) -> Duration {
        let left = self.left + now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        let missing = (f64::from(amount).min(self.burst) - left).max(0.0);
        if missing == 0.0 {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(missing / self.rate).unwrap_or(Duration::MAX)
        }
    }

    /// Takes one; `false` when there is none left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        (self.left, self.at) = ((self.left + gained).min(self.burst), now);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_1_a_bucket_runs_dry_and_fills_again() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 2, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!((0..5).filter(|_| bucket.take(start + Duration::from_secs(1))).count(), 2);
        assert!(!bucket.is_full(start + Duration::from_secs(2)) && bucket.is_full(start + Duration::from_secs(3)));
        assert_eq!((0..9).filter(|_| bucket.take(start + Duration::from_secs(99))).count(), 3);
    }

    #[test]
    fn dos_1_a_bucket_says_when_there_is_more_in_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(4, 2, start);
        assert_eq!(bucket.wait(4, start), Duration::ZERO);
        (0..4).for_each(|_| assert!(bucket.take(start)));
        let wait = bucket.wait(3, start);
        assert_eq!(wait, Duration::from_millis(1_500));
        assert_eq!(bucket.wait(100, start), Duration::from_secs(2), "more than it holds never comes");
        assert_eq!((0..9).filter(|_| bucket.take(start + wait)).count(), 3);
        assert_eq!(Bucket::new(0, 0, start).wait(1, start), Duration::ZERO);
        let mut used_up = Bucket::new(1, 0, start);
        assert!(used_up.take(start));
        assert_eq!(used_up.wait(1, start), Duration::MAX, "what fills at no rate is not waited for");
    }
}
