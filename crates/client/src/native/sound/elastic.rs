//! Two clocks that are not quite the same: sound that is made by one and played by the other is stretched or squeezed by
//! a few thousandths, so that what waits in between neither runs dry nor grows.

use std::collections::VecDeque;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Adjustable as _, Async, FixedAsync, PolynomialDegree, Resampler as _};

use super::SoundError;
use crate::audio::FRAME;

/// The most by which sound is stretched or squeezed: nine hundredths of a semitone, which no ear hears.
const MOST: f64 = 0.005;
/// The most by which it is stretched while far too little waits: what waits is what forward error correction needs, and a
/// sixth of a semitone for a while is less than a hole.
const MOST_WHEN_SHORT: f64 = 0.01;
/// How much of it for each millisecond too many or too few.
const GAIN: f64 = 2e-4;
/// Too few by more than so many milliseconds is far too little, and each millisecond more counts for four.
const SHORT: f64 = 20.0;
/// The level is looked at over this many frames: a second and more, so that jitter moves nothing.
const SMOOTH: f64 = 64.0;

fn failed(error: impl std::fmt::Display) -> SoundError {
    SoundError::Rate(error.to_string())
}

/// Gives frames of 20 ms for whatever is put in, a little faster or slower than it came.
pub(super) struct Elastic {
    resampler: Async<f32>,
    waiting: VecDeque<f32>,
    input: Vec<f32>,
    /// What waits in all, smoothed, in milliseconds.
    level: Option<f64>,
}

impl Elastic {
    pub(super) fn new() -> Result<Self, SoundError> {
        let (bound, degree) = (1.0 + 2.0 * MOST_WHEN_SHORT, PolynomialDegree::Septic);
        let resampler = Async::new_poly(1.0, bound, degree, FRAME, 1, FixedAsync::Output).map_err(failed)?;
        Ok(Self { resampler, waiting: VecDeque::new(), input: Vec::new(), level: None })
    }

    /// Samples that wait here.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What waits in all, here and before, smoothed, in milliseconds.
    pub(super) fn level_ms(&self) -> f64 {
        self.level.unwrap_or_default()
    }

    /// Whether there is enough for a frame.
    pub(super) fn has_frame(&self) -> bool {
        self.waiting.len() >= self.resampler.input_frames_next()
    }

    pub(super) fn push(&mut self, samples: impl IntoIterator<Item = f32>) {
        self.waiting.extend(samples);
    }

    /// Goes faster where more waits than is wanted, and slower where less does. To be told with each frame.
    pub(super) fn steer(&mut self, level_ms: f64, wanted_ms: f64) {
        let level = self.level.get_or_insert(level_ms);
        *level += (level_ms - *level) / SMOOTH;
        let excess = *level - wanted_ms;
        let squeeze = (GAIN * (excess + 3.0 * (excess + SHORT).min(0.0))).clamp(-MOST_WHEN_SHORT, MOST);
        // Within the bounds of the constructor, so it is taken.
        let _ = self.resampler.set_resample_ratio_relative(1.0 - squeeze, true);
    }

    /// Drops the oldest.
    pub(super) fn drop_all_but(&mut self, samples: usize) {
        let extra = self.waiting.len().saturating_sub(samples);
        self.waiting.drain(..extra);
    }

    /// The level has nothing to do any more with what comes.
    pub(super) const fn forget(&mut self) {
        self.level = None;
    }

    /// The next frame. `false`, and silence, where there is not enough.
    pub(super) fn frame(&mut self, out: &mut [f32; FRAME]) -> bool {
        out.fill(0.0);
        let need = self.resampler.input_frames_next();
        if self.waiting.len() < need {
            return false;
        }
        self.input.clear();
        self.input.extend(self.waiting.drain(..need));
        let input = InterleavedSlice::new(self.input.as_slice(), 1, need);
        let output = InterleavedSlice::new_mut(out.as_mut_slice(), 1, FRAME);
        let (Ok(input), Ok(mut output)) = (input, output) else { return false };
        self.resampler.process_into_buffer(&input, &mut output, None).is_ok()
    }
}

impl std::fmt::Debug for Elastic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Elastic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames come every 20 ms of one clock and are played every 20 ms of another that differs by so many millionths:
    /// what waits stays where it should be, and the tone stays what it is.
    #[test]
    fn clocks_that_differ_are_made_up_for() {
        for drift in [-500.0, -100.0, 0.0, 100.0, 500.0] {
            let mut elastic = Elastic::new().unwrap();
            let (mut made, mut phase, mut worst, mut holes) = (0.0, 0.0_f64, 0.0_f64, 0);
            let (wanted, ticks) = (60.0, 50 * 600);
            for tick in 0..ticks {
                // So many frames of the sender's have come by now.
                while made <= f64::from(tick) * (1.0 + drift / 1e6) + 3.0 {
                    made += 1.0;
                    elastic.push((0..FRAME).map(|_| {
                        phase = (phase + 440.0 / 48_000.0).fract();
                        #[expect(clippy::cast_possible_truncation, reason = "a test tone")]
                        let sample = (phase * std::f64::consts::TAU).sin() as f32;
                        sample * 0.5
                    }));
                }
                #[expect(clippy::cast_precision_loss, reason = "a few thousand samples")]
                let level = elastic.waiting() as f64 / 48.0;
                elastic.steer(level, wanted);
                let mut frame = [0.0; FRAME];
                holes += u32::from(!elastic.frame(&mut frame));
                if tick > 50 * 60 {
                    worst = worst.max((level - wanted).abs());
                }
            }
            assert_eq!(holes, 0, "{drift} ppm");
            // A frame comes or does not; beyond that it is held to a few milliseconds.
            assert!(worst < 30.0, "{drift} ppm: {worst} ms off");
        }
    }

    #[test]
    fn the_sound_is_the_same_apart_from_its_speed() {
        let mut elastic = Elastic::new().unwrap();
        let mut phase = 0.0_f32;
        elastic.push((0..48_000).map(|_| {
            phase = (phase + 440.0 / 48_000.0).fract();
            (phase * std::f32::consts::TAU).sin() * 0.5
        }));
        let mut loud = Vec::new();
        for _ in 0..45 {
            elastic.steer(80.0, 40.0);
            let mut frame = [0.0; FRAME];
            assert!(elastic.frame(&mut frame));
            loud.push((frame.iter().map(|s| s * s).sum::<f32>() / 960.0).sqrt());
        }
        assert!(loud[1..].iter().all(|rms| (rms - 0.3536).abs() < 0.01), "{loud:?}");
    }
}
