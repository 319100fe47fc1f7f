//! Sound in and out: files, sound cards, Opus and the clock between.

mod delay;
mod denoise;
mod device;
mod elastic;
mod opus;
mod path;
mod resample;
mod wav;

use core::time::Duration;

use crate::audio::FRAME;

pub use device::{Devices, Microphone, Speaker, devices};
pub(super) use path::SoundPath;
pub use wav::{WavFormat, WavSink, WavSource};

/// Twenty milliseconds of mono at 48 kHz.
pub type Pcm = [i16; FRAME];

/// Where sound comes from, 20 ms at a time.
pub trait Source: Send {
    /// Fills `frame`; `false` when there is nothing now, or nothing any more: silence is sent instead.
    fn read(&mut self, frame: &mut Pcm) -> bool;
}

/// Where sound goes, 20 ms at a time.
pub trait Sink: Send {
    /// Takes one frame.
    ///
    /// # Errors
    /// [`SoundError`].
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError>;

    /// Completes what was begun.
    ///
    /// # Errors
    /// [`SoundError`].
    fn finish(&mut self) -> Result<(), SoundError> {
        Ok(())
    }
}

/// What is done to sound on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Each packet carries its forerunner once more, in less detail.
    pub fec: bool,
    /// Pauses are sent as one byte instead of as many as speech: half the bytes, and whoever counts them sees when
    /// somebody speaks (rule META-1).
    pub dtx: bool,
    /// Noise is taken out of what is said.
    pub denoise: bool,
    /// Rate and error correction follow the path.
    pub adaptive: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { fec: true, dtx: false, denoise: false, adaptive: true }
    }
}

/// Both ends of a call's sound.
pub struct Sound {
    /// What is said.
    pub source: Box<dyn Source>,
    /// What is heard.
    pub sink: Box<dyn Sink>,
    /// What is done to it on its way.
    pub tuning: Tuning,
}

impl Sound {
    /// Says this and plays there.
    #[must_use]
    pub fn new(source: impl Source + 'static, sink: impl Sink + 'static) -> Self {
        Self { source: Box::new(source), sink: Box::new(sink), tuning: Tuning::default() }
    }

    /// The same, tuned otherwise.
    #[must_use]
    pub fn tuned(self, tuning: Tuning) -> Self {
        Self { tuning, ..self }
    }

    /// The same, and what is heard is held back for so long.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self { sink: Box::new(delay::Delayed::new(self.sink, by)), ..self }
    }

    /// Says nothing and hears into nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Silence, Silence)
    }
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sound")
    }
}

/// Nothing, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Silence;

impl Source for Silence {
    fn read(&mut self, _: &mut Pcm) -> bool {
        false
    }
}

impl Sink for Silence {
    fn write(&mut self, _: &Pcm) -> Result<(), SoundError> {
        Ok(())
    }
}

/// What can be wrong with sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SoundError {
    /// A file that is no WAV, or of a kind that cannot be read.
    #[error("{path} cannot be used as a WAV file: {reason}")]
    Wav {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// No microphone or loudspeaker.
    #[error(
        "no {0} can be used ({1}): name WAV files with --wav-in and --wav-out, call in silence with --no-devices, or plug one in"
    )]
    Device(&'static str, String),
    /// The codec.
    #[error("the Opus codec failed: {0}")]
    Codec(String),
    /// The resampler.
    #[error("sound of this rate cannot be converted: {0}")]
    Rate(String),
}
