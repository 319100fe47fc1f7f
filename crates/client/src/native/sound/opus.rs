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

    /// What it is set to.
    pub(super) const fn setting(&self) -> Setting {
        self.setting
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::sound::{Source as _, WavSource};

    /// The sizes of the packets of a sentence and of two seconds of silence behind it.
    fn sizes(bitrate: u32, dtx: bool) -> (Vec<usize>, Vec<usize>) {
        let mut encoder = Encoder::new(Setting { bitrate, expected_loss: 10 }, true, dtx).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/testkit/speech/ada.wav");
        let (mut source, mut frame, mut out) = (WavSource::open(path.as_ref()).unwrap(), [0; FRAME], [0; MAX_PAYLOAD]);
        let mut spoken = Vec::new();
        while source.read(&mut frame) {
            spoken.push(encoder.encode(&frame, &mut out).unwrap());
        }
        let silent = (0..100).map(|_| encoder.encode(&[0; FRAME], &mut out).unwrap()).collect();
        (spoken, silent)
    }

    /// Whatever is said, and when nothing is, a packet's size tells the step of the rate and nothing else.
    #[test]
    fn meta_1_a_packet_has_the_size_of_its_rate() {
        for (bitrate, bytes) in [(32_000, 80), (24_000, 60), (16_000, 40)] {
            let (spoken, silent) = sizes(bitrate, false);
            assert!(spoken.iter().chain(&silent).all(|size| *size == bytes), "{bitrate}: {spoken:?} {silent:?}");
        }
    }

    /// With DTX most of a pause is next to nothing, and speech is as it was.
    #[test]
    fn dtx_sends_pauses_as_next_to_nothing() {
        let (spoken, silent) = sizes(32_000, true);
        let small = |sizes: &[usize]| sizes.iter().filter(|size| **size <= 2).count();
        assert!(small(&silent) >= 80, "{silent:?}");
        assert!(small(&spoken) < spoken.len() / 2, "{} of {}", small(&spoken), spoken.len());
        assert!(spoken.iter().all(|size| *size <= 2 || *size == 80), "{spoken:?}");
    }
}
