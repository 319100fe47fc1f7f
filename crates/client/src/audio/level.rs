//! How loud something is.

/// The loudness of samples as decibels below full scale: 0 is the loudest, -60 and less is silence.
#[must_use]
pub fn decibels(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return -96.0;
    }
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample) * f64::from(*sample)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a frame has a thousand samples, not 2^52")]
    let mean = (sum / samples.len() as f64).sqrt() / 32_768.0;
    #[expect(clippy::cast_possible_truncation, reason = "decibels")]
    let level = (20.0 * mean.max(1.6e-5).log10()) as f32;
    level
}

/// A meter for people: fast up, slow down.
#[derive(Clone, Copy, Debug)]
pub struct Meter(f32);

impl Default for Meter {
    fn default() -> Self {
        Self(-96.0)
    }
}

impl Meter {
    /// Takes one frame.
    pub fn push(&mut self, samples: &[i16]) {
        self.0 = decibels(samples).max(self.0 - 1.5);
    }

    /// The level now, in decibels below full scale.
    #[must_use]
    pub const fn level(&self) -> f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_decibels() {
        assert!(decibels(&[0; 960]) <= -95.0);
        assert!((decibels(&[i16::MAX; 960])).abs() < 0.01);
        assert!((decibels(&[3277; 960]) + 20.0).abs() < 0.1);
        let mut meter = Meter::default();
        meter.push(&[i16::MAX; 10]);
        meter.push(&[0; 10]);
        assert!(meter.level() > -2.0);
    }
}
