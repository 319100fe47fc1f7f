//! Microphones and loudspeakers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{FromSample, Sample, SampleFormat, SizedSample, StreamConfig};

use super::resample::{Stream, to_f32, to_i16};
use super::{Pcm, Sink, SoundError, Source};
use crate::audio::{FRAME, RATE};

/// Sound waiting between the card's thread and ours: 200 ms. What does not fit is the oldest and goes.
const WAITING: usize = 10 * FRAME;

type Queue = Arc<Mutex<VecDeque<f32>>>;

fn push(queue: &Queue, samples: impl IntoIterator<Item = f32>, limit: usize) {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.extend(samples);
    let extra = queue.len().saturating_sub(limit);
    queue.drain(..extra);
}

/// The names of the microphones and the loudspeakers of this machine.
#[must_use]
pub fn devices() -> (Vec<String>, Vec<String>) {
    let host = cpal::default_host();
    let name = |device: cpal::Device| device.description().map(|description| description.name().to_owned()).ok();
    let inputs = host.input_devices().map(|devices| devices.filter_map(name).collect()).unwrap_or_default();
    let outputs = host.output_devices().map(|devices| devices.filter_map(name).collect()).unwrap_or_default();
    (inputs, outputs)
}

/// Whether this machine plainly has no sound. Asking ALSA would make it complain on stderr at length.
fn is_mute() -> bool {
    if !cfg!(target_os = "linux") || std::env::var_os("PULSE_SERVER").is_some() {
        return false;
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from).unwrap_or_default();
    let sockets = ["pulse/native", "pipewire-0"];
    let cards = std::fs::read_to_string("/proc/asound/cards").unwrap_or_default();
    let none = cards.trim().is_empty() || cards.contains("no soundcards");
    none && !sockets.iter().any(|socket| runtime.join(socket).exists())
}

/// The default microphone.
pub struct Microphone {
    _stream: cpal::Stream,
    queue: Queue,
    rate: Stream,
    ready: VecDeque<i16>,
}

impl Microphone {
    /// Opens it.
    ///
    /// # Errors
    /// [`SoundError::Device`] when there is none that works.
    pub fn open() -> Result<Self, SoundError> {
        let fault = |error: cpal::Error| SoundError::Device("microphone", error.to_string());
        let none = || SoundError::Device("microphone", "this machine has no sound card".into());
        if is_mute() {
            return Err(none());
        }
        let device = cpal::default_host().default_input_device().ok_or_else(none)?;
        let supported = device.default_input_config().map_err(fault)?;
        let (config, queue) = (supported.config(), Queue::default());
        let stream = match supported.sample_format() {
            SampleFormat::F32 => capture::<f32>(&device, config, queue.clone()),
            SampleFormat::I16 => capture::<i16>(&device, config, queue.clone()),
            SampleFormat::I32 => capture::<i32>(&device, config, queue.clone()),
            SampleFormat::U8 => capture::<u8>(&device, config, queue.clone()),
            other => return Err(SoundError::Device("microphone", format!("it speaks {other} only"))),
        }
        .map_err(fault)?;
        stream.play().map_err(fault)?;
        let rate = Stream::new(config.sample_rate, RATE)?;
        Ok(Self { _stream: stream, queue, rate, ready: VecDeque::new() })
    }
}

fn capture<T>(device: &cpal::Device, config: StreamConfig, queue: Queue) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let (channels, share) = (usize::from(config.channels).max(1), 1.0 / f32::from(config.channels.max(1)));
    let limit = usize::try_from(config.sample_rate / 5).unwrap_or(WAITING);
    let mono = move |data: &[T], _: &cpal::InputCallbackInfo| {
        let frames = data.chunks_exact(channels);
        let samples = frames.map(|frame| frame.iter().map(|s| f32::from_sample(*s)).sum::<f32>() * share);
        push(&queue, samples, limit);
    };
    device.build_input_stream(config, mono, |error| tracing::debug!(%error, "microphone"), None)
}

impl Source for Microphone {
    fn read(&mut self, frame: &mut Pcm) -> bool {
        let samples: Vec<f32> = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.drain(..).collect()
        };
        let ready = &mut self.ready;
        if self.rate.push(&samples, |samples| ready.extend(samples.iter().copied().map(to_i16))).is_err() {
            return false;
        }
        // More than 100 ms behind: the card's clock is ahead of ours.
        let extra = ready.len().saturating_sub(5 * FRAME);
        ready.drain(..extra);
        if ready.len() < FRAME {
            return false;
        }
        frame.iter_mut().zip(ready.drain(..FRAME)).for_each(|(to, from)| *to = from);
        true
    }
}

impl std::fmt::Debug for Microphone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Microphone")
    }
}

/// The default loudspeaker.
pub struct Speaker {
    _stream: cpal::Stream,
    queue: Queue,
    rate: Stream,
    limit: usize,
}

impl Speaker {
    /// Opens it.
    ///
    /// # Errors
    /// [`SoundError::Device`] when there is none that works.
    pub fn open() -> Result<Self, SoundError> {
        let fault = |error: cpal::Error| SoundError::Device("loudspeaker", error.to_string());
        let none = || SoundError::Device("loudspeaker", "this machine has no sound card".into());
        if is_mute() {
            return Err(none());
        }
        let device = cpal::default_host().default_output_device().ok_or_else(none)?;
        let supported = device.default_output_config().map_err(fault)?;
        let (config, queue) = (supported.config(), Queue::default());
        let stream = match supported.sample_format() {
            SampleFormat::F32 => render::<f32>(&device, config, queue.clone()),
            SampleFormat::I16 => render::<i16>(&device, config, queue.clone()),
            SampleFormat::I32 => render::<i32>(&device, config, queue.clone()),
            SampleFormat::U8 => render::<u8>(&device, config, queue.clone()),
            other => return Err(SoundError::Device("loudspeaker", format!("it speaks {other} only"))),
        }
        .map_err(fault)?;
        stream.play().map_err(fault)?;
        let rate = Stream::new(RATE, config.sample_rate)?;
        let limit = usize::try_from(config.sample_rate / 5).unwrap_or(WAITING);
        Ok(Self { _stream: stream, queue, rate, limit })
    }
}

fn render<T: SizedSample + FromSample<f32>>(
    device: &cpal::Device,
    config: StreamConfig,
    queue: Queue,
) -> Result<cpal::Stream, cpal::Error> {
    let channels = usize::from(config.channels).max(1);
    let fill = move |out: &mut [T], _: &cpal::OutputCallbackInfo| {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in out.chunks_mut(channels) {
            frame.fill(T::from_sample(queue.pop_front().unwrap_or_default()));
        }
    };
    device.build_output_stream(config, fill, |error| tracing::debug!(%error, "loudspeaker"), None)
}

impl Sink for Speaker {
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
        let samples: Vec<f32> = frame.iter().copied().map(to_f32).collect();
        let (queue, limit) = (&self.queue, self.limit);
        self.rate.push(&samples, |ready| push(queue, ready.iter().copied(), limit))
    }
}

impl std::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Speaker")
    }
}
