//! Sound on its way: twenty milliseconds at a time, and what the others say of how they hear it.

use tracing::debug;
use undertone_media::packet::MAX_PACKET;

use super::{Driver, REPORT};
use crate::audio::adapt::Link;
use crate::engine::Event;
use crate::native::sound::SoundPath;

impl Driver {
    /// Twenty milliseconds of sound, out and in.
    pub(super) fn sound_tick(&mut self) {
        let can_send = self.engine.can_send();
        let Some(sound) = &mut self.sound else { return };
        if can_send && let Some(frame) = sound.capture(self.muted) {
            let mut packet = [0; MAX_PACKET];
            let captured_ms = frame.captured_ms;
            match self.engine.seal_audio(frame.codec, captured_ms, frame.payload, &mut packet) {
                Ok(length) => {
                    let connection = self.relay.as_ref().and_then(|relay| relay.connection.as_ref());
                    let bytes = packet.get(..length).map(bytes::Bytes::copy_from_slice);
                    if let (Some(connection), Some(bytes)) = (connection, bytes) {
                        match (connection.send_datagram(bytes), &self.probe) {
                            (Ok(()), Some(probe)) => probe.said(captured_ms),
                            (Ok(()), None) => {}
                            (Err(error), _) => debug!(%error, "a packet was not sent"),
                        }
                    }
                }
                Err(error) => debug!(%error, "a frame was not sealed"),
            }
        }
        let failed = sound.play();
        if sound.ticks().is_multiple_of(REPORT) {
            self.report_quality();
        }
        let Some(sound) = &mut self.sound else { return };
        if sound.ticks().is_multiple_of(5) {
            let rtt = self.relay.as_ref().and_then(|relay| relay.connection.as_ref()).map(|c| c.rtt());
            let media = self.engine.media_stats();
            let mut status = sound.status();
            status.rtt_ms = rtt.map_or(0.0, |rtt| rtt.as_secs_f32() * 1000.0);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a buffer")]
            let buffered = status.buffer_ms as f32;
            status.latency_ms = buffered + status.rtt_ms;
            (status.sealed, status.opened, status.refused) = (media.sealed, media.opened, media.refused);
            (status.kept, status.opened_late, status.dropped) = (media.kept, media.opened_late, media.dropped);
            self.shown.status.send_replace(status);
            self.shown.voices.send_replace(sound.voices());
        }
        if let Err(error) = failed {
            self.tell(Event::SoundFailed { reason: error.to_string() });
        }
    }

    /// Tells the others how they are heard, and fits what is sent to what they say.
    fn report_quality(&mut self) {
        let (now, can_send) = (self.now(), self.engine.can_send());
        let Some(sound) = &mut self.sound else { return };
        let connection = self.relay.as_ref().and_then(|relay| relay.connection.as_ref());
        let Some(connection) = connection else { return };
        let heard: Vec<(u16, f32)> = sound.hearing().into_iter().map(|heard| (heard.sender, heard.loss)).collect();
        let mut packet = [0; MAX_PACKET];
        if can_send
            && !heard.is_empty()
            && let Ok(length) = self.engine.seal_quality(sound.captured_ms(), &heard, &mut packet)
            && let Some(bytes) = packet.get(..length)
            && let Err(error) = connection.send_datagram(bytes::Bytes::copy_from_slice(bytes))
        {
            debug!(%error, "a report was not sent");
        }
        let rtt = connection.rtt();
        let least = self.least_rtt.map_or(rtt, |least| least.min(rtt));
        self.least_rtt = Some(least);
        sound.adapt(now, Link { loss: self.engine.worst_loss(now), rtt, least_rtt: least });
    }

    /// Ends the sound and completes files.
    pub(super) fn finish_sound(&mut self) {
        self.probe = None;
        if let Some(Err(error)) = self.sound.take().map(SoundPath::finish) {
            self.tell(Event::SoundFailed { reason: error.to_string() });
        }
    }
}
