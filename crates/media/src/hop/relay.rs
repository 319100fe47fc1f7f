//! A relay's end of one member's hop: it says when an epoch ends.

use undertone_keys::Time;

use super::openers::Openers;
use super::{HopChain, HopError, HopSealer, Opened};
use crate::key_id::Epoch;
use crate::sframe::SealError;

/// What a relay opens a member's packets with and seals those for it.
#[derive(Debug)]
pub struct RelayHop {
    sealer: HopSealer,
    openers: Openers,
    epoch: Epoch,
    chain: HopChain,
}

impl RelayHop {
    /// Begins with the chain's next epoch; of a new connection's that is epoch 0.
    #[must_use]
    pub fn new(mut chain: HopChain) -> Self {
        let keys = chain.step();
        let (sealer, openers) = (keys.to_member.sealer(), Openers::new(keys.to_relay.opener()));
        Self { sealer, openers, epoch: keys.epoch, chain }
    }

    /// The epoch that seals.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins the next epoch and returns it: this end seals under it from now on, and still opens what the member sealed
    /// under the one before it, for as long as a ring would (rule GRP-4); `removed` says that somebody is gone. The member
    /// is to be told.
    pub fn renew(&mut self, now: Time, removed: bool) -> Epoch {
        let keys = self.chain.step();
        self.sealer = keys.to_member.sealer();
        self.openers.advance(now, keys.to_relay.opener(), removed);
        self.epoch = keys.epoch;
        self.epoch
    }

    /// Opens a packet of the member's where it stands.
    ///
    /// # Errors
    /// [`HopError`]; on any of them the bytes in `packet` are not text.
    pub fn open<'b>(&mut self, now: Time, packet: &'b mut [u8]) -> Result<Opened<'b>, HopError> {
        self.openers.open(now, packet)
    }

    /// Seals for the member what another's hop brought to light, unchanged.
    ///
    /// # Errors
    /// [`SealError`]; the counter then stays where it was.
    pub fn forward(&mut self, opened: &Opened<'_>, out: &mut [u8]) -> Result<usize, SealError> {
        self.sealer.forward(opened, out)
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
