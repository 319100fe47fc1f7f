//! The sound of one call: capture and encode, buffer, decode, mix and play, 20 ms at a time.

use std::collections::{HashMap, VecDeque};

use undertone_keys::Time;
use undertone_media::packet::Codec;

use super::opus::{CODEC, Decoder, Encoder, MAX_PAYLOAD};
use super::{Pcm, Sound, SoundError};
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
}

pub(crate) struct SoundPath {
    sound: Sound,
    encoder: Encoder,
    streams: HashMap<u16, Stream>,
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
}

impl SoundPath {
    pub(crate) fn new(sound: Sound) -> Result<Self, SoundError> {
        Ok(Self {
            sound,
            encoder: Encoder::new()?,
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
        })
    }

    pub(crate) const fn run(&mut self) {
        self.running = true;
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) const fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Reads and encodes the next 20 ms. Silence is sent as such: a pause in the packets would tell that nobody speaks.
    pub(crate) fn capture(&mut self, muted: bool) -> Option<Captured<'_>> {
        let mut frame = [0; FRAME];
        if !self.sound.source.read(&mut frame) || muted {
            frame.fill(0);
        }
        self.meter_out.push(&frame);
        let captured_ms = self.captured_ms;
        self.captured_ms = self.captured_ms.wrapping_add(FRAME_MS);
        let length = self.encoder.encode(&frame, &mut self.payload).ok()?;
        Some(Captured { codec: CODEC, captured_ms, payload: self.payload.get(..length)? })
    }

    /// Takes an opened frame.
    pub(crate) fn heard(&mut self, now: Time, heard: &Heard<'_>) {
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
            }
            let Ok(decoder) = Decoder::new() else { return };
            self.streams
                .insert(heard.sender, Stream { buffer: JitterBuffer::default(), decoder, meter: Meter::default() });
        }
        if let Some(stream) = self.streams.get_mut(&heard.sender) {
            stream.buffer.push(now, heard.number, heard.payload.to_vec());
            self.heard_at = self.ticks;
        }
    }

    /// Plays 20 ms of everybody. A sink that fails is told about once and then left alone.
    pub(crate) fn play(&mut self) -> Result<(), SoundError> {
        self.ticks += 1;
        let mut mix = [0_i32; FRAME];
        let (mut due, mut missing) = (0, 0);
        for stream in self.streams.values_mut() {
            let mut frame: Pcm = [0; FRAME];
            match stream.buffer.pop() {
                Play::Silence => {
                    stream.meter.push(&frame);
                    continue;
                }
                Play::Frame(packet) => stream.decoder.decode(&packet, &mut frame),
                Play::Recover(next) => {
                    missing += 1;
                    stream.decoder.recover(&next, &mut frame);
                }
                Play::Conceal => {
                    missing += 1;
                    stream.decoder.conceal(&mut frame);
                }
            }
            due += 1;
            stream.meter.push(&frame);
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
        let depth = self.streams.values().map(|stream| stream.buffer.depth()).max().unwrap_or_default();
        Status {
            level_out: self.meter_out.level(),
            level_in: self.meter_in.level(),
            loss_percent: loss,
            quiet_ms: u32::try_from(self.ticks - self.heard_at).unwrap_or(u32::MAX).saturating_mul(FRAME_MS),
            buffer_ms: u32::try_from(depth).unwrap_or_default() * FRAME_MS,
            played: stats.played,
            recovered: stats.recovered,
            concealed: stats.concealed,
            ..Status::default()
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
