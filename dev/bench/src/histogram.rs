//! How long things took, in steps of ten microseconds.

use std::time::Duration;

const STEP_US: u64 = 10;
/// Up to 100 ms; what took longer counts as that.
const STEPS: usize = 10_000;

/// Counts durations by length, with nothing to allocate and nothing to sort while packets come in.
#[derive(Debug)]
pub(crate) struct Histogram {
    steps: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { steps: vec![0; STEPS], count: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, duration: Duration) {
        let step = usize::try_from(duration.as_micros() / u128::from(STEP_US)).unwrap_or(usize::MAX);
        if let Some(step) = self.steps.get_mut(step.min(STEPS - 1)) {
            *step += 1;
        }
        self.count += 1;
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Counts what another has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.steps.iter_mut().zip(&other.steps).for_each(|(step, more)| *step += more);
        self.count += other.count;
    }

    /// Microseconds that `permille` of the durations did not exceed; 0 if there were none.
    pub(crate) fn quantile_us(&self, permille: u64) -> u64 {
        let (rank, mut seen, mut edge) = ((self.count * permille).div_ceil(1000), 0, 0);
        for step in &self.steps {
            if seen >= rank {
                break;
            }
            seen += step;
            edge += STEP_US;
        }
        edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_upper_edges_of_steps() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(500), 0);
        for micros in 0..1000 {
            histogram.add(Duration::from_micros(micros));
        }
        assert_eq!((histogram.quantile_us(500), histogram.quantile_us(990)), (500, 990));
        let mut slow = Histogram::default();
        slow.add(Duration::from_secs(9));
        histogram.merge(&slow);
        assert_eq!((histogram.count(), histogram.quantile_us(1000)), (1_001, 100_000));
    }
}
