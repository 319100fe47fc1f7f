//! Noise suppression for microphones: a small recurrent network that tells speech from everything else.

use nnnoiseless::DenoiseState;

use super::Pcm;
use crate::audio::FRAME;

/// Samples that it takes at a time: ten milliseconds.
const PIECE: usize = DenoiseState::FRAME_SIZE;

/// One microphone's.
pub(super) struct Denoise(Box<DenoiseState<'static>>);

impl Denoise {
    pub(super) fn new() -> Self {
        const { assert!(FRAME.is_multiple_of(PIECE)) };
        Self(DenoiseState::new())
    }

    /// Takes the noise out of 20 ms, which come out ten milliseconds later.
    pub(super) fn frame(&mut self, frame: &mut Pcm) {
        let (mut input, mut output) = ([0.0; PIECE], [0.0; PIECE]);
        for piece in frame.chunks_exact_mut(PIECE) {
            input.iter_mut().zip(piece.iter()).for_each(|(to, from)| *to = f32::from(*from));
            self.0.process_frame(&mut output, &input);
            for (to, from) in piece.iter_mut().zip(&output) {
                #[expect(clippy::cast_possible_truncation, reason = "clamped")]
                let sample = from.round().clamp(-32_768.0, 32_767.0) as i16;
                *to = sample;
            }
        }
    }
}

impl std::fmt::Debug for Denoise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Denoise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level::decibels;

    /// White noise, the hardest there is, loses most of its power within two seconds.
    #[test]
    fn noise_goes() {
        let (mut denoise, mut seed) = (Denoise::new(), 1_u32);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for tick in 0..150 {
            let mut frame: Pcm = core::array::from_fn(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                i16::try_from(i32::try_from(seed >> 16).unwrap() - 32_768).unwrap() / 32
            });
            if tick >= 100 {
                before.extend_from_slice(&frame);
            }
            denoise.frame(&mut frame);
            if tick >= 100 {
                after.extend_from_slice(&frame);
            }
        }
        let (before, after) = (decibels(&before), decibels(&after));
        assert!(after < before - 8.0, "from {before} to {after} dB");
    }
}
