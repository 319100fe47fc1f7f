//! Tones: who hears whom, told by pitch.

use std::sync::{Arc, Mutex, PoisonError};

use undertone_client::native::sound::{Pcm, Sink, SoundError, Source};

const RATE: f64 = 48_000.0;

/// The pitch of the voice with this number, in hertz: far enough apart to be told from each other's overtones.
#[must_use]
pub fn pitch(voice: usize) -> f64 {
    [420.0, 610.0, 790.0, 970.0, 1_130.0, 1_310.0].get(voice % 6).copied().unwrap_or(420.0)
}

/// Somebody who hums one tone.
#[derive(Debug)]
pub struct Hum {
    pitch: f64,
    phase: f64,
}

impl Hum {
    /// The voice with this number.
    #[must_use]
    pub fn new(voice: usize) -> Self {
        Self { pitch: pitch(voice), phase: 0.0 }
    }
}

impl Source for Hum {
    fn read(&mut self, frame: &mut Pcm) -> bool {
        for sample in frame {
            self.phase = (self.phase + self.pitch / RATE).fract();
            #[expect(clippy::cast_possible_truncation, reason = "a tenth of full scale")]
            let value = (3_000.0 * (self.phase * std::f64::consts::TAU).sin()) as i16;
            *sample = value;
        }
        true
    }
}

/// Somebody who listens, and remembers the last two seconds.
#[derive(Clone, Debug, Default)]
pub struct Listener(Arc<Mutex<Vec<i16>>>);

/// Samples remembered.
const REMEMBERED: usize = 96_000;

impl Listener {
    /// How loud the voice with this number was in what is remembered: 1 for one that hummed all the time.
    #[must_use]
    pub fn heard(&self, voice: usize) -> f64 {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Goertzel in pieces of a tenth of a second: the tone's phase may jump between packets, and it is stretched a little
        // while buffers fill.
        let pieces = samples.chunks_exact(4_800);
        #[expect(clippy::cast_precision_loss, reason = "a handful of pieces")]
        let count = pieces.len().max(1) as f64;
        pieces.map(|piece| amplitude(piece, pitch(voice))).sum::<f64>() / count / 3_000.0
    }
}

fn amplitude(samples: &[i16], pitch: f64) -> f64 {
    let turn = std::f64::consts::TAU * pitch / RATE;
    let (mut re, mut im, mut angle) = (0.0, 0.0, 0.0_f64);
    for sample in samples {
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
        angle += turn;
    }
    #[expect(clippy::cast_precision_loss, reason = "a second has few samples")]
    let length = samples.len() as f64;
    2.0 * re.hypot(im) / length
}

impl Sink for Listener {
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.extend_from_slice(frame);
        let extra = samples.len().saturating_sub(REMEMBERED);
        samples.drain(..extra);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_told_from_the_others() {
        let (mut hum, mut ear) = (Hum::new(2), Listener::default());
        for _ in 0..60 {
            let mut frame: Pcm = [0; 960];
            assert!(hum.read(&mut frame));
            ear.write(&frame).unwrap();
        }
        assert!((0.95..1.05).contains(&ear.heard(2)), "{}", ear.heard(2));
        for other in [0, 1, 3, 4, 5] {
            assert!(ear.heard(other) < 0.05, "{other}: {}", ear.heard(other));
        }
    }
}
