//! WAV files of any rate, width and channel count, in and out.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::resample::{self, RATES, Stream, to_f32, to_i16};
use super::{Pcm, Sink, SoundError, Source};
use crate::audio::{FRAME, RATE};

/// Samples of a file at most, all channels together: an hour and a half of stereo at 48 kHz.
const MAX_SAMPLES: usize = 1 << 29;

fn fault(path: &Path, reason: impl std::fmt::Display) -> SoundError {
    SoundError::Wav { path: path.display().to_string(), reason: reason.to_string() }
}

/// A file that is read once, mixed to mono.
#[derive(Debug)]
pub struct WavSource {
    samples: VecDeque<i16>,
}

impl WavSource {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`SoundError::Wav`] says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, SoundError> {
        let reader = WavReader::open(path).map_err(|error| fault(path, error))?;
        let spec = reader.spec();
        if !RATES.contains(&spec.sample_rate) {
            return Err(fault(path, format!("a rate of {} Hz", spec.sample_rate)));
        }
        let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
            SampleFormat::Float => reader.into_samples::<f32>().take(MAX_SAMPLES).collect(),
            SampleFormat::Int => {
                let full = 2_f32.powi(i32::from(spec.bits_per_sample) - 1);
                #[expect(clippy::cast_precision_loss, reason = "24 bits of sound are enough")]
                let scale = |sample: i32| sample as f32 / full;
                reader.into_samples::<i32>().take(MAX_SAMPLES).map(|sample| sample.map(scale)).collect()
            }
        };
        let samples = samples.map_err(|error| fault(path, error))?;
        let channels = usize::from(spec.channels).max(1);
        let share = 1.0 / f32::from(spec.channels.max(1));
        let mono = samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * share);
        let mono = mono.map(|sample| if sample.is_finite() { sample } else { 0.0 }).collect();
        let samples = resample::clip(mono, spec.sample_rate, RATE)?;
        Ok(Self { samples: samples.into_iter().map(to_i16).collect() })
    }
}

impl Source for WavSource {
    fn read(&mut self, frame: &mut Pcm) -> bool {
        let length = self.samples.len().min(FRAME);
        if length == 0 {
            return false;
        }
        frame.fill(0);
        frame.iter_mut().zip(self.samples.drain(..length)).for_each(|(to, from)| *to = from);
        true
    }
}

/// The shape of a file to be written: 16-bit samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavFormat {
    /// Samples per second.
    pub rate: u32,
    /// Channels, all the same.
    pub channels: u16,
}

impl Default for WavFormat {
    fn default() -> Self {
        Self { rate: RATE, channels: 1 }
    }
}

/// A file that is written as sound comes.
pub struct WavSink {
    writer: Option<WavWriter<BufWriter<File>>>,
    spec: WavSpec,
    /// The file was not there before.
    made: bool,
    stream: Stream,
    channels: u16,
    path: PathBuf,
    frames: u64,
    bytes: u64,
}

/// Bytes of sound in a file at most: its length is a 32-bit number.
const MAX_BYTES: u64 = 4_000_000_000;
/// Frames between two writes of the file's header: a process that is killed leaves all but the last second.
const FRAMES_PER_FLUSH: u64 = 50;

impl WavSink {
    /// Makes sure that the file can be written; it is made anew with the first sound, so that a call that comes to nothing
    /// overwrites nothing.
    ///
    /// # Errors
    /// [`SoundError`].
    pub fn create(path: &Path, format: WavFormat) -> Result<Self, SoundError> {
        if format.channels == 0 || format.channels > 64 {
            return Err(fault(path, "it would have no channel, or too many"));
        }
        let stream = Stream::new(RATE, format.rate)?;
        let spec = WavSpec {
            channels: format.channels,
            sample_rate: format.rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let made = !path.exists();
        OpenOptions::new().append(true).create(true).open(path).map_err(|error| fault(path, error))?;
        Ok(Self {
            writer: None,
            spec,
            made,
            stream,
            channels: format.channels,
            path: path.to_owned(),
            frames: 0,
            bytes: 0,
        })
    }
}

impl Sink for WavSink {
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
        if self.frames == 0 && self.writer.is_none() {
            let writer = WavWriter::create(&self.path, self.spec).map_err(|error| fault(&self.path, error))?;
            self.writer = Some(writer);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let (channels, mut result, bytes) = (self.channels, Ok(()), &mut self.bytes);
        let samples: Vec<f32> = frame.iter().copied().map(to_f32).collect();
        self.stream.push(&samples, |ready| {
            for sample in ready {
                for _ in 0..channels {
                    if result.is_ok() {
                        result = writer.write_sample(to_i16(*sample));
                        *bytes += 2;
                    }
                }
            }
        })?;
        if self.bytes >= MAX_BYTES {
            self.finish()?;
            return Err(fault(&self.path, "it is full: a WAV file holds 4 GB at most"));
        }
        self.frames += 1;
        if self.frames.is_multiple_of(FRAMES_PER_FLUSH) {
            result = result.and_then(|()| writer.flush());
        }
        result.map_err(|error| fault(&self.path, error))
    }

    fn finish(&mut self) -> Result<(), SoundError> {
        let (channels, mut tail) = (self.channels, Vec::new());
        if self.writer.is_some() && self.frames > 0 {
            // What the resampler still holds comes out behind silence.
            self.stream.drain(|ready| tail.extend_from_slice(ready))?;
        }
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        for sample in tail {
            for _ in 0..channels {
                writer.write_sample(to_i16(sample)).map_err(|error| fault(&self.path, error))?;
            }
        }
        writer.finalize().map_err(|error| fault(&self.path, error))
    }
}

impl Drop for WavSink {
    fn drop(&mut self) {
        let _ = self.finish();
        if self.made && self.frames == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl std::fmt::Debug for WavSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WavSink({})", self.path.display())
    }
}
