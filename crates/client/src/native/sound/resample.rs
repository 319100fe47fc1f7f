//! From any rate to 48 kHz and back.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use super::SoundError;

/// Rates outside of this are refused: no ear hears them, and a hostile file would make us allocate.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

fn failed(error: impl std::fmt::Display) -> SoundError {
    SoundError::Rate(error.to_string())
}

fn size(rate: u32) -> Result<usize, SoundError> {
    if RATES.contains(&rate) {
        usize::try_from(rate).map_err(failed)
    } else {
        Err(SoundError::Rate(format!("{rate} Hz")))
    }
}

/// A whole clip of mono sound.
pub(super) fn clip(samples: Vec<f32>, from: u32, to: u32) -> Result<Vec<f32>, SoundError> {
    let (from, to) = (size(from)?, size(to)?);
    if from == to || samples.is_empty() {
        return Ok(samples);
    }
    let mut resampler = Fft::<f32>::new(from, to, 1024, 1, FixedSync::Both).map_err(failed)?;
    let input = InterleavedSlice::new(samples.as_slice(), 1, samples.len()).map_err(failed)?;
    Ok(resampler.process_all(&input, samples.len(), None).map_err(failed)?.take_data())
}

/// A stream of mono sound, in pieces of any length.
pub(super) struct Stream {
    resampler: Option<Fft<f32>>,
    waiting: Vec<f32>,
    out: Vec<f32>,
    rates: (usize, usize),
    taken: usize,
    made: usize,
}

impl Stream {
    pub(super) fn new(from: u32, to: u32) -> Result<Self, SoundError> {
        let (from, to) = (size(from)?, size(to)?);
        let resampler =
            if from == to { None } else { Some(Fft::new(from, to, from / 50, 1, FixedSync::Both).map_err(failed)?) };
        let out = vec![0.0; resampler.as_ref().map_or(0, rubato::Resampler::output_frames_max)];
        Ok(Self { resampler, waiting: Vec::new(), out, rates: (from, to), taken: 0, made: 0 })
    }

    /// Hands on what is still held: silence pushes it out, and none of that silence is handed on.
    pub(super) fn drain(&mut self, mut ready: impl FnMut(&[f32])) -> Result<(), SoundError> {
        let Some(resampler) = &self.resampler else { return Ok(()) };
        let delay = resampler.output_delay();
        let whole = self.taken / self.rates.0 * self.rates.1 + self.taken % self.rates.0 * self.rates.1 / self.rates.0;
        let mut left = (whole + delay).saturating_sub(self.made);
        while left > 0 {
            let need = self.resampler.as_ref().map_or(0, rubato::Resampler::input_frames_next);
            let silence = vec![0.0; need.saturating_sub(self.waiting.len()).max(1)];
            self.push(&silence, |out| {
                let out = out.get(..out.len().min(left)).unwrap_or_default();
                left -= out.len();
                ready(out);
            })?;
        }
        Ok(())
    }

    /// Takes samples and hands on what is ready.
    pub(super) fn push(&mut self, samples: &[f32], mut ready: impl FnMut(&[f32])) -> Result<(), SoundError> {
        let Some(resampler) = &mut self.resampler else {
            ready(samples);
            return Ok(());
        };
        self.waiting.extend_from_slice(samples);
        self.taken += samples.len();
        loop {
            let (need, give) = (resampler.input_frames_next(), resampler.output_frames_next());
            let Some(input) = self.waiting.get(..need) else { return Ok(()) };
            let input = InterleavedSlice::new(input, 1, need).map_err(failed)?;
            let mut output = InterleavedSlice::new_mut(self.out.as_mut_slice(), 1, give).map_err(failed)?;
            let (used, made) = resampler.process_into_buffer(&input, &mut output, None).map_err(failed)?;
            self.made += made;
            ready(self.out.get(..made).unwrap_or_default());
            self.waiting.drain(..used);
        }
    }
}

/// From -1..1 to 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "clamped before")]
pub(super) fn to_i16(sample: f32) -> i16 {
    (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16
}

/// From 16 bits to -1..1.
pub(super) fn to_f32(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "a test tone")]
    fn tone(rate: u32, seconds: usize) -> Vec<f32> {
        (0..rate as usize * seconds)
            .map(|n| (n as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin() * 0.5)
            .collect()
    }

    #[test]
    fn any_rate_keeps_length_and_loudness() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            let out = clip(tone(rate, 1), rate, 48_000).unwrap();
            assert!((47_900..48_100).contains(&out.len()), "{rate}: {}", out.len());
            let loudness = out.iter().map(|s| s * s).sum::<f32>() / out.len() as f32;
            assert!((0.10..0.15).contains(&loudness), "{rate}: {loudness}");
            let mut stream = Stream::new(48_000, rate).unwrap();
            let mut made = 0;
            for piece in tone(48_000, 1).chunks(960) {
                stream.push(piece, |ready| made += ready.len()).unwrap();
            }
            let rate = rate as usize;
            assert!(made > rate * 9 / 10 && made <= rate + 2_000, "{rate}: {made}");
            stream.drain(|ready| made += ready.len()).unwrap();
            assert!((rate..rate + 2_000).contains(&made), "{rate}: {made} with what was held");
        }
        assert!(clip(vec![0.0; 10], 0, 48_000).is_err());
        assert!(clip(vec![0.0; 10], 4_000_000_000, 48_000).is_err());
    }
}
