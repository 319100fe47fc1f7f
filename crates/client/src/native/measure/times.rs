//! How long one thing took, done again and again.

use core::fmt;
use std::time::Duration;

/// How long one thing took, done again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<Duration>);

impl Times {
    /// All of them, in any order.
    #[must_use]
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// How often it was done.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// What so many percent of them took at most, by the nearest rank. `None` where it was never done.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent.min(100)).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// The same in milliseconds; no number where there is none.
    #[must_use]
    pub fn ms(&self, percent: usize) -> f64 {
        self.percentile(percent).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p95 {:.2} ms", self.ms(50), self.ms(95))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_those_that_were_measured() {
        let times = Times::new((1..=40).rev().map(Duration::from_millis).collect());
        assert_eq!((times.count(), times.percentile(50)), (40, Some(Duration::from_millis(20))));
        assert_eq!(times.percentile(95), Some(Duration::from_millis(38)));
        assert_eq!((times.percentile(0), times.percentile(100)), (times.percentile(1), times.percentile(200)));
        assert_eq!(times.to_string(), "p50 20.00 ms, p95 38.00 ms");
        assert!(Times::default().percentile(50).is_none() && Times::default().ms(50).is_nan());
    }
}
