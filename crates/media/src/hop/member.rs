//! A member's end of its hop: it follows the relay from epoch to epoch.

use undertone_keys::Time;

use super::openers::Openers;
use super::{HopChain, HopError, HopKeys, HopOpener, HopSealer, Opened, claimed_epoch};
use crate::frame::FrameInfo;
use crate::key_id::{Epoch, SenderIndex};
use crate::packet::MediaHeader;
use crate::sframe::SealError;

/// The relay named an epoch beyond the next one, though it tells each of them in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {named} was named while epoch {present} is in use")]
pub struct Skipped {
    /// The one in use.
    pub present: Epoch,
    /// The one that was named.
    pub named: Epoch,
}

/// What a member seals for its relay and opens the relay's packets with.
///
/// The next epoch's keys are there before they are needed: the relay's word about it and the first packets under it may come
/// in any order. Whichever comes first begins it, and nothing goes further than that one step.
#[derive(Debug)]
pub struct MemberHop {
    sealer: HopSealer,
    openers: Openers,
    epoch: Epoch,
    next: Next,
    /// It stands behind `next`.
    chain: HopChain,
}

#[derive(Debug)]
struct Next {
    epoch: Epoch,
    sealer: HopSealer,
    opener: HopOpener,
}

impl Next {
    fn new(keys: HopKeys) -> Self {
        Self { epoch: keys.epoch, sealer: keys.to_relay.sealer(), opener: keys.to_member.opener() }
    }
}

impl MemberHop {
    /// Begins with the chain's next epoch; of a new connection's that is epoch 0.
    #[must_use]
    pub fn new(mut chain: HopChain) -> Self {
        let Next { epoch, sealer, opener } = Next::new(chain.step());
        Self { sealer, openers: Openers::new(opener), epoch, next: Next::new(chain.step()), chain }
    }

    /// The epoch that seals.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Seals a frame of `sender` into the front of `out` and returns the packet's length.
    ///
    /// # Errors
    /// [`SealError`]; the counter then stays where it was.
    pub fn seal(
        &mut self,
        header: &MediaHeader,
        sender: SenderIndex,
        info: FrameInfo,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        self.sealer.seal(header, sender, info, payload, out)
    }

    /// Opens a packet of the relay's where it stands. The first of the next epoch begins it here, once it has opened.
    ///
    /// # Errors
    /// [`HopError`]; on any of them the bytes in `packet` are not text, and nothing has changed.
    pub fn open<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Result<Opened<'b>, HopError> {
        if claimed_epoch(packet) != Some(self.next.opener.epoch) {
            return self.openers.open(now, packet);
        }
        let opened = self.next.opener.open(packet)?;
        // Why the epoch changed, only the relay's word says.
        self.advance(now, false);
        Ok(opened)
    }

    /// Takes the relay's word that an epoch is in use; `removed` says that it began since somebody is gone. What was known
    /// already changes nothing but how long the epoch before still opens.
    ///
    /// # Errors
    /// [`Skipped`]; nothing has changed then.
    pub fn follow(&mut self, now: Time, epoch: Epoch, removed: bool) -> Result<(), Skipped> {
        if epoch == self.next.epoch {
            self.advance(now, removed);
        } else if epoch > self.next.epoch {
            return Err(Skipped { present: self.epoch, named: epoch });
        } else if epoch == self.epoch && removed {
            self.openers.hasten(now);
        }
        Ok(())
    }

    fn advance(&mut self, now: Time, removed: bool) {
        let keys = self.chain.step();
        let Next { epoch, sealer, opener } = core::mem::replace(&mut self.next, Next::new(keys));
        (self.epoch, self.sealer) = (epoch, sealer);
        self.openers.advance(now, opener, removed);
    }

    /// Wipes what has outlived its time.
    pub fn expire(&mut self, now: Time) {
        self.openers.expire(now);
    }

    /// When [`Self::expire`] next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.openers.poll_timeout()
    }
}
