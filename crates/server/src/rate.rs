//! A token bucket.

use std::time::Instant;

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
    use std::time::Duration;

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
}
