//! Opus, with in-band forward error correction and at a constant rate: the size of a packet says nothing about what
//! is said (rule META-1).

use opus::{Application, Bitrate, Channels, Signal};
use undertone_media::packet::Codec;

use super::{Pcm, SoundError};
use crate::audio::{FRAME, RATE};

/// Bits per second.
const BITRATE: i32 = 32_000;
/// Loss the encoder prepares for, in percent: enough that every packet carries its forerunner.
const EXPECTED_LOSS: i32 = 10;
/// What the packets are called on the wire.
pub(super) const CODEC: Codec = Codec::OPUS_32K;
/// Bytes of a packet at most.
pub(super) const MAX_PAYLOAD: usize = 400;

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn failed(error: opus::Error) -> SoundError {
    SoundError::Codec(error.to_string())
}

#[derive(Debug)]
pub(super) struct Encoder(opus::Encoder);

impl Encoder {
    pub(super) fn new() -> Result<Self, SoundError> {
        let mut encoder = opus::Encoder::new(RATE, Channels::Mono, Application::Voip).map_err(failed)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE)).map_err(failed)?;
        encoder.set_vbr(false).map_err(failed)?;
        encoder.set_inband_fec(true).map_err(failed)?;
        encoder.set_packet_loss_perc(EXPECTED_LOSS).map_err(failed)?;
        encoder.set_signal(Signal::Voice).map_err(failed)?;
        Ok(Self(encoder))
    }

    pub(super) fn encode(&mut self, frame: &Pcm, out: &mut [u8; MAX_PAYLOAD]) -> Result<usize, SoundError> {
        self.0.encode(frame, out).map_err(failed)
    }
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
