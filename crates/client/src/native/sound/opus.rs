//! Opus, with in-band forward error correction and at a rate that is constant between two changes of the path: the size
//! of a packet says nothing about what is said (rule META-1).

use opus::{Application, Bitrate, Channels, Signal};
use undertone_media::packet::Codec;

use super::{Pcm, SoundError};
use crate::audio::adapt::Setting;
use crate::audio::{FRAME, RATE};

/// What the packets are called on the wire, by the encoder's rate.
const fn codec(bitrate: u32) -> Codec {
    match bitrate {
        0..20_000 => Codec::OPUS_16K,
        20_000..28_000 => Codec::OPUS_24K,
        _ => Codec::OPUS_32K,
    }
}

/// Bytes of a packet at most.
pub(super) const MAX_PAYLOAD: usize = 400;

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn failed(error: opus::Error) -> SoundError {
    SoundError::Codec(error.to_string())
}

#[derive(Debug)]
pub(super) struct Encoder {
    encoder: opus::Encoder,
    setting: Setting,
}

impl Encoder {
    /// An encoder with this setting. With `dtx` pauses become packets of one byte, which tell whoever counts bytes that
    /// nobody speaks.
    pub(super) fn new(setting: Setting, fec: bool, dtx: bool) -> Result<Self, SoundError> {
        let mut encoder = opus::Encoder::new(RATE, Channels::Mono, Application::Voip).map_err(failed)?;
        encoder.set_vbr(false).map_err(failed)?;
        encoder.set_inband_fec(fec).map_err(failed)?;
        encoder.set_dtx(dtx).map_err(failed)?;
        encoder.set_signal(Signal::Voice).map_err(failed)?;
        let mut encoder = Self { encoder, setting };
        encoder.apply(setting)?;
        Ok(encoder)
    }

    fn apply(&mut self, setting: Setting) -> Result<(), SoundError> {
        let signed = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        self.encoder.set_bitrate(Bitrate::Bits(signed(setting.bitrate))).map_err(failed)?;
        self.encoder.set_packet_loss_perc(signed(setting.expected_loss)).map_err(failed)?;
        self.setting = setting;
        Ok(())
    }

    /// Goes on with another setting.
    pub(super) fn set(&mut self, setting: Setting) -> Result<(), SoundError> {
        if setting == self.setting { Ok(()) } else { self.apply(setting) }
    }

    /// What the packets are called on the wire now.
    pub(super) const fn codec(&self) -> Codec {
        codec(self.setting.bitrate)
    }

    pub(super) fn encode(&mut self, frame: &Pcm, out: &mut [u8; MAX_PAYLOAD]) -> Result<usize, SoundError> {
        self.encoder.encode(frame, out).map_err(failed)
    }
}

/// Whether a packet carries its forerunner: the flag for it behind the table of contents, in the speech part of a frame
/// of 20 ms (RFC 6716, 4.2.4). In pauses there is none, and nothing is lost by that.
pub(super) fn has_fec(packet: &[u8]) -> bool {
    let parsed = opus::packet::parse(packet).ok();
    let first = parsed.and_then(|packet| packet.frames.first().and_then(|frame| frame.first().copied()));
    let speech = packet.first().is_some_and(|toc| toc >> 3 < 16);
    speech && first.is_some_and(|byte| byte & 0x40 != 0)
}

#[derive(Debug)]
pub(super) struct Decoder(opus::Decoder);

impl Decoder {
    pub(super) fn new() -> Result<Self, SoundError> {
        opus::Decoder::new(RATE, Channels::Mono).map(Self).map_err(failed)
    }

    /// A frame from its packet. A packet of another length than 20 ms is taken as lost.
    pub(super) fn decode(&mut self, packet: &[u8], out: &mut Pcm) {
        let right = opus::packet::get_nb_samples(packet, RATE).is_ok_and(|samples| samples == FRAME);
        if !right || self.0.decode(packet, out, false).is_err() {
            self.conceal(out);
        }
    }

    /// The frame before `next`, from what `next` carries of it.
    pub(super) fn recover(&mut self, next: &[u8], out: &mut Pcm) {
        if self.0.decode(next, out, true).is_err() {
            self.conceal(out);
        }
    }

    /// Something that goes on as before and fades.
    pub(super) fn conceal(&mut self, out: &mut Pcm) {
        if self.0.decode(&[], out, false).is_err() {
            out.fill(0);
        }
    }
}
