//! The sound of one call: capture and encode, buffer, decode, mix and play, 20 ms at a time.

use std::collections::{HashMap, VecDeque};

use undertone_keys::Time;
use undertone_media::packet::Codec;

use super::denoise::Denoise;
use super::elastic::Elastic;
use super::opus::{Decoder, Encoder, MAX_PAYLOAD, has_fec};
use super::resample::{to_f32, to_i16};
use super::{Pcm, Sound, SoundError};
use crate::audio::adapt::{Adapter, Link};
use crate::audio::jitter::{JitterBuffer, JitterStats, Play};
use crate::audio::level::Meter;
use crate::audio::{FRAME, FRAME_MS};
use crate::engine::Heard;
use crate::native::online::{Loudness, Status};

/// Senders whose sound is kept at the same time.
const MAX_STREAMS: usize = 64;
/// Ticks over which loss is counted: five seconds.
const LOSS_WINDOW: usize = 250;

/// One encoded frame.
#[derive(Debug)]
pub(crate) struct Captured<'a> {
    pub(crate) codec: Codec,
    pub(crate) captured_ms: u32,
    pub(crate) payload: &'a [u8],
}

struct Stream {
    buffer: JitterBuffer,
    decoder: Decoder,
    meter: Meter,
    /// Between the sender's clock and this machine's.
    elastic: Elastic,
    /// The newest capture time, and how often such times have begun anew from zero.
    newest_ms: u32,
    wraps: u64,
    /// The tick in which it was heard last.
    heard_at: u64,
    /// Frames rebuilt from their successor.
    rebuilt: u64,
    /// In the second that goes: frames due and frames that did not come.
    lately: (u32, u32),
}

impl Stream {
    fn new() -> Result<Self, SoundError> {
        Ok(Self {
            buffer: JitterBuffer::default(),
            decoder: Decoder::new()?,
            meter: Meter::default(),
            elastic: Elastic::new()?,
            newest_ms: 0,
            wraps: 0,
            heard_at: 0,
            rebuilt: 0,
            lately: (0, 0),
        })
    }

    /// The number of the frame that was captured then: consecutive, whatever epochs and connections come between.
    fn number(&mut self, captured_ms: u32) -> u64 {
        let ahead = captured_ms.wrapping_sub(self.newest_ms);
        let mut wraps = self.wraps;
        if ahead < u32::MAX / 2 {
            wraps += u64::from(captured_ms < self.newest_ms);
            (self.newest_ms, self.wraps) = (captured_ms, wraps);
        } else if captured_ms > self.newest_ms {
            wraps = wraps.saturating_sub(1);
        }
        ((wraps << 32) | u64::from(captured_ms)) / u64::from(FRAME_MS)
    }

    /// One frame out of the buffer into what is played. `false` where there is nothing, not even something to go on from.
    fn decode(&mut self, quiet: bool) -> bool {
        let mut frame: Pcm = [0; FRAME];
        match self.buffer.pop() {
            Play::Silence => {
                // Lost as well, if it was heard a moment ago.
                let lost = u32::from(!quiet);
                self.lately = (self.lately.0 + lost, self.lately.1 + lost);
                self.elastic.push(core::iter::repeat_n(0.0, FRAME));
                return false;
            }
            Play::Frame(packet) => self.decoder.decode(&packet, &mut frame),
            Play::Recover(next) => {
                self.lately.1 += 1;
                self.rebuilt += u64::from(has_fec(&next));
                self.decoder.recover(&next, &mut frame);
            }
            Play::Conceal => {
                self.lately.1 += 1;
                self.decoder.conceal(&mut frame);
            }
        }
        self.lately.0 += 1;
        self.elastic.push(frame.iter().copied().map(to_f32));
        true
    }
}

pub(crate) struct SoundPath {
    sound: Sound,
    encoder: Encoder,
    streams: HashMap<u16, Stream>,
    denoise: Option<Denoise>,
    adapter: Option<Adapter>,
    running: bool,
    /// The sink failed, and that was said.
    deaf: bool,
    /// The tick in which a frame of the peer's came last.
    heard_at: u64,
    ticks: u64,
    captured_ms: u32,
    payload: [u8; MAX_PAYLOAD],
    meter_out: Meter,
    meter_in: Meter,
    /// For each tick of the window: frames due and frames missing.
    window: VecDeque<(u32, u32)>,
    /// Of streams that are gone.
    past: JitterStats,
    past_rebuilt: u64,
}

/// What this device says about how it hears somebody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hearing {
    pub(crate) sender: u16,
    /// Percent of the last second's frames that did not come.
    pub(crate) loss: f32,
}

/// Ticks after which somebody who is not heard is not missed any more.
const MISSED: u64 = 250;

impl SoundPath {
    pub(crate) fn new(sound: Sound) -> Result<Self, SoundError> {
        let (tuning, adapter) = (sound.tuning, Adapter::default());
        Ok(Self {
            sound,
            encoder: Encoder::new(adapter.setting(), tuning.fec, tuning.dtx)?,
            denoise: tuning.denoise.then(Denoise::new),
            adapter: tuning.adaptive.then_some(adapter),
            streams: HashMap::new(),
            running: false,
            deaf: false,
            heard_at: 0,
            ticks: 0,
            captured_ms: 0,
            payload: [0; MAX_PAYLOAD],
            meter_out: Meter::default(),
            meter_in: Meter::default(),
            window: VecDeque::with_capacity(LOSS_WINDOW),
            past: JitterStats::default(),
            past_rebuilt: 0,
        })
    }

    pub(crate) const fn run(&mut self) {
        self.running = true;
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running
    }

    /// The time of the next frame that is captured.
    pub(crate) const fn captured_ms(&self) -> u32 {
        self.captured_ms
    }

    pub(crate) const fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Reads and encodes the next 20 ms. Silence is sent as such: a pause in the packets would tell that nobody speaks.
    pub(crate) fn capture(&mut self, muted: bool) -> Option<Captured<'_>> {
        let mut frame = [0; FRAME];
        if !self.sound.source.read(&mut frame) || muted {
            frame.fill(0);
        } else if let Some(denoise) = &mut self.denoise {
            denoise.frame(&mut frame);
        }
        self.meter_out.push(&frame);
        let captured_ms = self.captured_ms;
        self.captured_ms = self.captured_ms.wrapping_add(FRAME_MS);
        let length = self.encoder.encode(&frame, &mut self.payload).ok()?;
        Some(Captured { codec: self.encoder.codec(), captured_ms, payload: self.payload.get(..length)? })
    }

    /// Takes an opened frame. By when it came, not by when its key did: the network's jitter is measured with it.
    pub(crate) fn heard(&mut self, heard: &Heard<'_>) {
        if !heard.codec.is_opus() || heard.payload.len() > MAX_PAYLOAD {
            return;
        }
        if !self.streams.contains_key(&heard.sender) {
            // Indices only grow, so the lowest is the one that is gone the longest.
            if self.streams.len() >= MAX_STREAMS
                && let Some(oldest) = self.streams.keys().min().copied()
                && let Some(stream) = self.streams.remove(&oldest)
            {
                self.past = sum(self.past, stream.buffer.stats());
                self.past_rebuilt += stream.rebuilt;
            }
            let Ok(stream) = Stream::new() else { return };
            self.streams.insert(heard.sender, stream);
        }
        if let Some(stream) = self.streams.get_mut(&heard.sender) {
            let number = stream.number(heard.captured_ms);
            stream.buffer.push(heard.at, number, heard.payload.to_vec());
            stream.heard_at = self.ticks;
            self.heard_at = self.ticks;
        }
    }

    /// Plays 20 ms of everybody. A sink that fails is told about once and then left alone.
    pub(crate) fn play(&mut self) -> Result<(), SoundError> {
        self.ticks += 1;
        let mut mix = [0_i32; FRAME];
        let (mut due, mut missing) = (0, 0);
        for stream in self.streams.values_mut() {
            let quiet = self.ticks.saturating_sub(stream.heard_at) > MISSED;
            let before = stream.lately;
            let mut sounds = false;
            // Mostly one; none or two where the sender's clock is not this machine's.
            while !stream.elastic.has_frame() {
                sounds |= stream.decode(quiet);
            }
            if sounds {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a buffer")]
                let held = |frames: usize, samples: usize| (frames * 20) as f64 + samples as f64 / 48.0;
                let level = held(stream.buffer.span(), stream.elastic.waiting());
                stream.elastic.steer(level, held(stream.buffer.target().saturating_sub(1), FRAME / 2));
            } else if quiet {
                stream.elastic.forget();
            }
            let mut played = [0.0; FRAME];
            stream.elastic.frame(&mut played);
            let frame: Pcm = played.map(to_i16);
            stream.meter.push(&frame);
            due += stream.lately.0.saturating_sub(before.0);
            missing += stream.lately.1.saturating_sub(before.1);
            mix.iter_mut().zip(frame).for_each(|(sum, sample)| *sum += i32::from(sample));
        }
        if self.window.len() >= LOSS_WINDOW {
            self.window.pop_front();
        }
        self.window.push_back((due, missing));
        let mut frame = [0; FRAME];
        for (to, sum) in frame.iter_mut().zip(mix) {
            *to = i16::try_from(sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX))).unwrap_or_default();
        }
        self.meter_in.push(&frame);
        if self.deaf {
            return Ok(());
        }
        let written = self.sound.sink.write(&frame);
        self.deaf = written.is_err();
        written
    }

    pub(crate) fn status(&self) -> Status {
        let (due, missing) = self.window.iter().fold((0, 0), |(d, m), (due, missing)| (d + due, m + missing));
        #[expect(clippy::cast_precision_loss, reason = "a few hundred ticks")]
        let loss = if due == 0 { 0.0 } else { 100.0 * missing as f32 / due as f32 };
        let stats = self.streams.values().map(|stream| stream.buffer.stats()).fold(self.past, sum);
        let rebuilt = self.streams.values().map(|stream| stream.rebuilt).sum::<u64>() + self.past_rebuilt;
        let waiting = self.streams.values().map(|stream| stream.elastic.level_ms()).fold(0.0, f64::max);
        Status {
            level_out: self.meter_out.level(),
            level_in: self.meter_in.level(),
            loss_percent: loss,
            quiet_ms: u32::try_from(self.ticks - self.heard_at).unwrap_or(u32::MAX).saturating_mul(FRAME_MS),
            buffer_ms: {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of a buffer")]
                let waiting = waiting.round() as u32;
                waiting
            },
            played: stats.played,
            recovered: rebuilt,
            concealed: stats.concealed + stats.recovered.saturating_sub(rebuilt),
            bitrate: self.encoder.setting().bitrate,
            expected_loss: self.encoder.setting().expected_loss,
            ..Status::default()
        }
    }

    /// How everybody was heard since this was last asked, by those who are heard at all. For telling them.
    pub(crate) fn hearing(&mut self) -> Vec<Hearing> {
        let ticks = self.ticks;
        let heard = self.streams.iter_mut().filter(|(_, stream)| ticks.saturating_sub(stream.heard_at) <= MISSED);
        heard
            .filter_map(|(sender, stream)| {
                let (due, missing) = core::mem::take(&mut stream.lately);
                #[expect(clippy::cast_precision_loss, reason = "a second has fifty frames")]
                let loss = (due > 0).then(|| 100.0 * missing as f32 / due as f32)?;
                Some(Hearing { sender: *sender, loss })
            })
            .collect()
    }

    /// Fits rate and error correction to the path.
    pub(crate) fn adapt(&mut self, now: Time, link: Link) {
        if let Some(adapter) = &mut self.adapter {
            let setting = adapter.update(now, link);
            if let Err(error) = self.encoder.set(setting) {
                tracing::debug!(%error, "the encoder stays as it is");
            }
        }
    }

    /// How loud everybody is who was heard lately, by index.
    pub(crate) fn voices(&self) -> Vec<Loudness> {
        let mut voices: Vec<Loudness> = self
            .streams
            .iter()
            .map(|(index, stream)| Loudness { index: *index, level: stream.meter.level() })
            .collect();
        voices.sort_unstable_by_key(|voice| voice.index);
        voices
    }

    /// Ends the sound and completes files.
    pub(crate) fn finish(mut self) -> Result<(), SoundError> {
        let finished = self.sound.sink.finish();
        if self.deaf { Ok(()) } else { finished }
    }
}

const fn sum(a: JitterStats, b: JitterStats) -> JitterStats {
    JitterStats {
        played: a.played + b.played,
        recovered: a.recovered + b.recovered,
        concealed: a.concealed + b.concealed,
        late: a.late + b.late,
        skipped: a.skipped + b.skipped,
    }
}
