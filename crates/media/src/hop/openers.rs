//! What opens at one end of a hop: the present epoch, and for a while the one before (rule GRP-4).

use core::time::Duration;

use undertone_keys::Time;

use super::{HopError, HopOpener, Opened, claimed_epoch};
use crate::packet::{Kind, MediaHeader};
use crate::ring::{PREVIOUS_AFTER_REMOVAL, PREVIOUS_AUDIO, PREVIOUS_VIDEO};

/// The openers of one direction.
#[derive(Debug)]
pub(super) struct Openers {
    current: HopOpener,
    /// Apart: nearly every packet is of the present epoch.
    previous: Option<Box<Previous>>,
}

/// The epoch before the present one.
#[derive(Debug)]
struct Previous {
    opener: HopOpener,
    audio_until: Time,
    until: Time,
}

/// How long the epoch before opens audio, and everything else, when one that follows somebody's removal or not begins.
const fn lasts(removed: bool) -> (Duration, Duration) {
    if removed { (PREVIOUS_AFTER_REMOVAL, PREVIOUS_AFTER_REMOVAL) } else { (PREVIOUS_AUDIO, PREVIOUS_VIDEO) }
}

impl Openers {
    pub(super) const fn new(current: HopOpener) -> Self {
        Self { current, previous: None }
    }

    /// Opens with `next` from now on, and for a while with what was current. What was before that is wiped.
    pub(super) fn advance(&mut self, now: Time, next: HopOpener, removed: bool) {
        let opener = core::mem::replace(&mut self.current, next);
        let (audio, other) = lasts(removed);
        self.previous = Some(Box::new(Previous { opener, audio_until: now + audio, until: now + other }));
    }

    /// The present epoch began since somebody is gone: the one before has less time than it was given.
    pub(super) fn hasten(&mut self, now: Time) {
        if let Some(previous) = &mut self.previous {
            let (audio, other) = lasts(true);
            previous.audio_until = previous.audio_until.min(now + audio);
            previous.until = previous.until.min(now + other);
        }
    }

    pub(super) fn open<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Result<Opened<'b>, HopError> {
        let epoch = claimed_epoch(packet).ok_or(HopError::Malformed)?;
        if epoch == self.current.epoch {
            return self.current.open(packet);
        }
        let previous = self.previous.as_mut().filter(|previous| previous.opener.epoch == epoch);
        let previous = previous.ok_or(HopError::UnknownEpoch)?;
        let (header, _) = MediaHeader::decode(packet).map_err(|_| HopError::Malformed)?;
        let until = if header.kind == Kind::Audio { previous.audio_until } else { previous.until };
        if until <= now {
            return Err(HopError::UnknownEpoch);
        }
        previous.opener.open(packet)
    }

    /// Wipes what has outlived its time.
    pub(super) fn expire(&mut self, now: Time) {
        self.previous.take_if(|previous| previous.until <= now);
    }

    /// When [`Self::expire`] next has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.previous.as_ref().map(|previous| previous.until)
    }
}
