//! Microphones and loudspeakers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{FromSample, Sample, SampleFormat, SizedSample, StreamConfig};

use super::elastic::Elastic;
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

/// The microphones and the loudspeakers of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Their ids and names; the first word of [`Microphone::open`] takes either.
    pub microphones: Vec<(String, String)>,
    /// The same for [`Speaker::open`].
    pub speakers: Vec<(String, String)>,
}

fn named(device: &cpal::Device) -> Option<(String, String)> {
    let name = device.description().map(|description| description.name().to_owned()).ok()?;
    Some((device.id().map_or_else(|_| name.clone(), |id| id.to_string()), name))
}

/// Looks what there is.
#[must_use]
pub fn devices() -> Devices {
    if is_mute() {
        return Devices::default();
    }
    let host = cpal::default_host();
    let all = |devices: Result<Vec<cpal::Device>, cpal::Error>| {
        devices.unwrap_or_default().iter().filter_map(named).collect::<Vec<_>>()
    };
    Devices {
        microphones: all(host.input_devices().map(Iterator::collect)),
        speakers: all(host.output_devices().map(Iterator::collect)),
    }
}

/// Which of them is meant: by its whole id or name, or by a part of the name that only one of them has.
fn choose(found: &[(String, String)], wanted: &str) -> Result<usize, String> {
    let place = |matches: &dyn Fn(&(String, String)) -> bool| {
        let places: Vec<usize> = (0..found.len()).filter(|place| found.get(*place).is_some_and(matches)).collect();
        places
    };
    let part = wanted.to_lowercase();
    for places in [
        place(&|(id, _)| id == wanted),
        place(&|(_, name)| name == wanted),
        place(&|(_, name)| name.to_lowercase().contains(&part)),
    ] {
        match places.as_slice() {
            [] => {}
            // One card may be listed more than once under one name: the first is as good as any.
            [one, rest @ ..]
                if rest.iter().all(|place| found.get(*place).map(|f| &f.1) == found.get(*one).map(|f| &f.1)) =>
            {
                return Ok(*one);
            }
            _ => break,
        }
    }
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    Err(format!("none, or more than one, is called {wanted:?}; there are: {}", names.join(", ")))
}

fn pick(devices: Result<Vec<cpal::Device>, cpal::Error>, wanted: &str) -> Result<cpal::Device, String> {
    let devices: Vec<cpal::Device> = devices.map_err(|error| error.to_string())?;
    let found: Vec<(String, String)> = devices.iter().map(|device| named(device).unwrap_or_default()).collect();
    let place = choose(&found, wanted)?;
    devices.into_iter().nth(place).ok_or_else(|| "it is gone".to_owned())
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

/// A microphone.
pub struct Microphone {
    _stream: cpal::Stream,
    queue: Queue,
    rate: Stream,
    /// Between the card's clock and this machine's.
    elastic: Elastic,
    /// Enough has come to begin with.
    filled: bool,
}

/// What waits between a card and this program, for the jitter of both: two frames.
const CUSHION_MS: f64 = 40.0;
/// From so much on it is of no use to go faster: the card, or this machine, stood still.
const TOO_MUCH: usize = 10 * FRAME;

impl Microphone {
    /// Opens the one of this id or name, or the system's own choice.
    ///
    /// # Errors
    /// [`SoundError::Device`] when there is none that works.
    pub fn open(wanted: Option<&str>) -> Result<Self, SoundError> {
        let fault = |error: cpal::Error| SoundError::Device("microphone", error.to_string());
        let none = || SoundError::Device("microphone", "this machine has no sound card".into());
        if is_mute() {
            return Err(none());
        }
        let host = cpal::default_host();
        let device = match wanted {
            Some(wanted) => pick(host.input_devices().map(Iterator::collect), wanted)
                .map_err(|why| SoundError::Device("microphone", why))?,
            None => host.default_input_device().ok_or_else(none)?,
        };
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
        Ok(Self { _stream: stream, queue, rate, elastic: Elastic::new()?, filled: false })
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
        let elastic = &mut self.elastic;
        if self.rate.push(&samples, |samples| elastic.push(samples.iter().copied())).is_err() {
            return false;
        }
        read_elastic(elastic, &mut self.filled, frame)
    }
}

/// A frame out of what a card has brought, by this machine's clock. `false` where there is nothing yet.
fn read_elastic(elastic: &mut Elastic, filled: &mut bool, frame: &mut Pcm) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a second")]
    let level = elastic.waiting() as f64 / 48.0;
    if elastic.waiting() > TOO_MUCH {
        elastic.drop_all_but(2 * FRAME);
        elastic.forget();
    }
    // A card that brings nothing is waited for until there is a cushion again: a hole once, and not one after the other.
    *filled = (*filled && elastic.has_frame()) || level >= CUSHION_MS;
    if !*filled {
        return false;
    }
    elastic.steer(level, CUSHION_MS);
    let mut samples = [0.0; FRAME];
    let whole = elastic.frame(&mut samples);
    frame.iter_mut().zip(samples).for_each(|(to, from)| *to = to_i16(from));
    whole
}

impl std::fmt::Debug for Microphone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Microphone")
    }
}

/// A loudspeaker.
pub struct Speaker {
    _stream: cpal::Stream,
    queue: Queue,
    rate: Stream,
    /// Between this machine's clock and the card's.
    elastic: Elastic,
    /// Samples a millisecond of the card.
    per_ms: f64,
    limit: usize,
}

impl Speaker {
    /// Opens the one of this id or name, or the system's own choice.
    ///
    /// # Errors
    /// [`SoundError::Device`] when there is none that works.
    pub fn open(wanted: Option<&str>) -> Result<Self, SoundError> {
        let fault = |error: cpal::Error| SoundError::Device("loudspeaker", error.to_string());
        let none = || SoundError::Device("loudspeaker", "this machine has no sound card".into());
        if is_mute() {
            return Err(none());
        }
        let host = cpal::default_host();
        let device = match wanted {
            Some(wanted) => pick(host.output_devices().map(Iterator::collect), wanted)
                .map_err(|why| SoundError::Device("loudspeaker", why))?,
            None => host.default_output_device().ok_or_else(none)?,
        };
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
        let per_ms = f64::from(config.sample_rate) / 1000.0;
        Ok(Self { _stream: stream, queue, rate, elastic: Elastic::new()?, per_ms, limit })
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
        let waiting = self.queue.lock().unwrap_or_else(PoisonError::into_inner).len();
        #[expect(clippy::cast_precision_loss, reason = "a fraction of a second")]
        let level = waiting as f64 / self.per_ms;
        let (queue, limit) = (&self.queue, self.limit);
        if waiting == 0 {
            // It has run dry, or begins: a cushion first, so that the next frame may be late.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "40 ms of samples")]
            let cushion = (CUSHION_MS * self.per_ms) as usize;
            push(queue, core::iter::repeat_n(0.0, cushion), limit);
            self.elastic.forget();
        }
        self.elastic.push(frame.iter().copied().map(to_f32));
        while self.elastic.has_frame() {
            self.elastic.steer(level, CUSHION_MS);
            let mut samples = [0.0; FRAME];
            self.elastic.frame(&mut samples);
            self.rate.push(&samples, |ready| push(queue, ready.iter().copied(), limit))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Speaker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_chosen_by_id_name_or_a_part_of_it() {
        let found: Vec<(String, String)> = [
            ("alsa:hw:0", "Built-in Audio"),
            ("alsa:hw:1", "USB Headset"),
            ("alsa:plughw:1", "USB Headset"),
            ("alsa:hw:2", "USB Camera"),
        ]
        .map(|(id, name)| (id.to_owned(), name.to_owned()))
        .into();
        assert_eq!(choose(&found, "alsa:plughw:1"), Ok(2));
        assert_eq!(choose(&found, "USB Headset"), Ok(1));
        assert_eq!(choose(&found, "built-in"), Ok(0));
        let error = choose(&found, "usb").unwrap_err();
        assert!(error.contains("USB Headset, USB Headset, USB Camera"), "{error}");
        assert!(choose(&found, "nothing").is_err());
    }

    /// A microphone whose clock is slower than this machine's: no hole in what it brings.
    #[test]
    fn a_slow_card_leaves_no_holes() {
        for per_tick in [950.0, 959.5, 960.5, 964.0] {
            let (mut elastic, mut filled, mut brought, mut holes) = (Elastic::new().unwrap(), false, 0.0, 0);
            for tick in 0..5_000 {
                brought += per_tick;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
                let samples = brought as usize;
                brought -= f64::from(u32::try_from(samples).unwrap());
                elastic.push(core::iter::repeat_n(0.25, samples));
                let mut frame = [0; FRAME];
                let whole = read_elastic(&mut elastic, &mut filled, &mut frame);
                holes += u32::from(!whole && tick > 10);
            }
            // Half a hundredth is made up for; what is slower than any card cannot be.
            let made_up = (per_tick - 960.0_f64).abs() <= 4.8;
            assert_eq!(holes == 0, made_up, "{per_tick} samples a tick: {holes} holes");
        }
    }
}
