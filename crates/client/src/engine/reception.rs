//! What comes in and cannot be opened at once: frames before their key, and what people are told about each participant.

use undertone_call::room::reception::{Input as Observed, KeyState, Output as Told, Reception, Unopened};
use undertone_keys::{JoinId, Time};
use undertone_media::kept::{Counts, Taken};
use undertone_media::packet::MAX_PACKET;
use undertone_media::ring::OpenError;
use undertone_media::{Kept, KeyId, Ring, SenderIndex};
use undertone_protocol::Protection;

use super::counters::Counter;
use super::{Engine, Event, Heard, PathState};

/// What comes in, of a room's call. In a call of two the one key is there before the first frame can be.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    kept: Kept,
    reception: Reception,
    counter: Counter,
    /// Whom both know of.
    senders: Vec<(SenderIndex, JoinId)>,
    /// How many keys had come when frames were last looked at.
    looked: u64,
    /// This device is in the room.
    here: bool,
    opened_late: u64,
}

impl Arrivals {
    /// A frame that nothing here opens yet. `false` if it is not kept.
    pub(super) fn keep(&mut self, now: Time, id: KeyId, packet: &[u8]) -> bool {
        self.unopened(now, id, Unopened::NoKey);
        self.kept.keep(now, id, packet)
    }

    pub(super) fn opened(&mut self, now: Time, id: KeyId) {
        if id.is_track() {
            self.reception.handle_input(now, Observed::Opened(id));
        }
    }

    /// A frame that did not open. What was only sent twice, or is of nobody here, says nothing about anybody.
    pub(super) fn refused(&mut self, now: Time, id: KeyId, error: OpenError) {
        match error {
            OpenError::UnknownEpoch => self.unopened(now, id, Unopened::NoKey),
            OpenError::Forged => self.unopened(now, id, Unopened::Forged),
            OpenError::Malformed => self.unopened(now, id, Unopened::Malformed),
            _ => {}
        }
    }

    fn unopened(&mut self, now: Time, id: KeyId, why: Unopened) {
        if id.is_track() {
            self.counter.unopened(id, why);
            self.reception.handle_input(now, Observed::Unopened(id, why));
        }
    }

    /// The oldest kept frame whose key has come.
    fn take(&mut self, now: Time, ring: &Ring, out: &mut [u8]) -> Option<Taken> {
        if self.looked == ring.installs() {
            return None;
        }
        let taken = self.kept.take(now, |epoch| ring.holds(epoch), out);
        if taken.is_none() {
            self.looked = ring.installs();
        }
        taken
    }

    /// Follows who is in and may be heard.
    fn follow(&mut self, now: Time, ring: &Ring) {
        let senders = || ring.senders().iter().map(|sender| (sender.index, sender.join));
        if self.senders.iter().copied().eq(senders()) {
            return;
        }
        for (index, join) in self.senders.extract_if(.., |known| !senders().any(|sender| sender == *known)) {
            self.counter.went(now, join);
            self.kept.forget(index);
            self.reception.handle_input(now, Observed::Gone(index));
        }
        for sender in ring.senders().iter().filter(|sender| !self.senders.contains(&(sender.index, sender.join))) {
            self.counter.came(sender);
            self.reception.handle_input(now, Observed::Expected(sender.index));
        }
        self.senders = senders().collect();
    }

    /// Frames that were kept, those of them that were never opened, and those that were.
    pub(super) const fn counts(&self) -> (Counts, u64) {
        (self.kept.counts(), self.opened_late)
    }

    /// What was counted of each participant.
    pub(super) const fn counter(&self) -> &Counter {
        &self.counter
    }

    /// When [`Engine::tick_arrivals`] next has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let reception = self.reception.poll_timeout().filter(|_| self.here);
        self.kept.poll_timeout().into_iter().chain(reception).min()
    }
}

impl Engine {
    /// Hands out a frame that came before its key and opens now, the oldest first; `None` when there is none any more. To
    /// be asked after every input. `out` holds a whole packet.
    pub fn poll_kept<'b>(&mut self, now: Time, out: &'b mut [u8]) -> Option<Heard<'b>> {
        let heard = self.next_kept(now, out);
        self.tell_arrivals(now);
        let (heard, start) = heard?;
        let payload = out.get(start..start + heard.length)?;
        Some(Heard { sender: heard.sender, at: heard.at, captured_ms: heard.captured_ms, codec: heard.codec, payload })
    }

    /// What it is, and where its payload stands in `out`.
    fn next_kept(&mut self, now: Time, out: &mut [u8]) -> Option<(Late, usize)> {
        let out = out.get_mut(..MAX_PACKET)?;
        loop {
            let media = self.media.as_mut()?;
            let taken = media.arrivals.take(now, &media.ring, out)?;
            let opened = media.stats.opened;
            let packet = out.get_mut(..taken.length)?;
            let heard = self.hear(now, packet).map(|heard| Late::of(&heard, taken.at));
            let media = self.media.as_mut()?;
            media.arrivals.opened_late += media.stats.opened - opened;
            if let Some(heard) = heard {
                // It opened where it stood, in front of its tag.
                let end = taken.length.checked_sub(undertone_keys::aead::TAG_LENGTH)?;
                let start = end.checked_sub(heard.length)?;
                return Some((heard, start));
            }
        }
    }

    /// After any input: who is in, and what is known of the keys.
    pub(super) fn mind_arrivals(&mut self, now: Time) {
        let keys = self.key_state();
        let Some(media) = self.media.as_mut().filter(|media| media.is_room()) else { return };
        let arrivals = &mut media.arrivals;
        arrivals.follow(now, &media.ring);
        let here = media.path.state() == PathState::Joined;
        if here && !core::mem::replace(&mut arrivals.here, here) {
            arrivals.reception.handle_input(now, Observed::Here);
        }
        arrivals.here = here;
        arrivals.reception.handle_input(now, Observed::Keys(keys));
        self.tell_arrivals(now);
    }

    /// Time has passed: frames may have waited in vain (rule EKR-1), and participants may have fallen silent.
    pub(super) fn tick_arrivals(&mut self, now: Time) {
        let (Some(media), Some(room)) = (&mut self.media, &mut self.room) else { return };
        while let Some(overdue) = media.arrivals.kept.expire(now) {
            // Its key may have come in the very moment.
            if !media.ring.holds(overdue.epoch) {
                room.missed(now, overdue.sender, overdue.epoch);
            }
        }
        if media.arrivals.here {
            media.arrivals.reception.handle_input(now, Observed::Tick);
        }
        self.tell_arrivals(now);
    }

    /// Where this device stands with whoever gives the room's keys.
    fn key_state(&self) -> KeyState {
        let Some(room) = &self.room else { return KeyState::default() };
        let keys = room.keys_report();
        let needs_host = self.protection() == Some(Protection::Blind) && !room.has_group();
        let host_present = keys.host.is_some() || !needs_host;
        KeyState { host_present, asked: keys.asked, denied: keys.denied }
    }

    /// Makes events of what the reception says, and counts it.
    pub(super) fn tell_arrivals(&mut self, now: Time) {
        while let Some(media) = &mut self.media
            && let Some(told) = media.arrivals.reception.poll_output()
        {
            let call = media.call;
            match told {
                Told::Changed { index, context, reason } => {
                    media.arrivals.counter.changed(now, index, context, reason);
                    self.event(Event::Reception { call, index, context, reason });
                }
                Told::Recovered { index, context, ms } => {
                    media.arrivals.counter.recovered(index, context, ms);
                    self.event(Event::Recovered { call, index, context, ms });
                }
                Told::Doubt(index) => {
                    if let Some(room) = &mut self.room {
                        room.doubts_of(index);
                    }
                }
                Told::AskStatement => {
                    if let Some(room) = &mut self.room {
                        room.doubts();
                    }
                    self.reject(
                        "nothing that comes in opens: this device may have been given another key than the others",
                    );
                }
            }
        }
    }
}

/// A late frame, without its payload.
struct Late {
    sender: SenderIndex,
    at: Time,
    captured_ms: u32,
    codec: undertone_media::packet::Codec,
    length: usize,
}

impl Late {
    const fn of(heard: &Heard<'_>, at: Time) -> Self {
        let Heard { sender, captured_ms, codec, payload, .. } = heard;
        Self { sender: *sender, at, captured_ms: *captured_ms, codec: *codec, length: payload.len() }
    }
}
