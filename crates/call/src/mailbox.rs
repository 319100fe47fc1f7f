//! Envelopes in and out: sealing, the two steps of opening, and the memory of what was seen (rule ID-4).

use std::collections::VecDeque;

use undertone_keys::envelope::{self, Address, Envelope, EnvelopeError, Header, Purpose, VerifiedEnvelope};
use undertone_keys::sign::Signed;
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::{CallId, DeviceId, RequestId, WallTime};
use undertone_transparency::TrustedPeer;

use crate::local::Local;
use crate::signal::Signal;

/// An envelope that waits for the agreement of this device's key.
#[derive(Debug)]
pub(crate) struct Opening {
    envelope: VerifiedEnvelope,
    /// Its sender, proven.
    pub(crate) peer: TrustedPeer,
    /// The grant that the server handed over beside it.
    pub(crate) grant: Option<Signed>,
}

impl Opening {
    pub(crate) const fn sender(&self) -> &Address {
        &self.envelope.header().sender
    }

    pub(crate) const fn call(&self) -> CallId {
        CallId::from_bytes(self.envelope.header().context)
    }

    pub(crate) fn question(&self) -> Question {
        self.envelope.question()
    }

    pub(crate) fn open(&self, local: &Local, answer: &Answer) -> Option<Signal> {
        let text = self.envelope.open(&local.key, answer).ok()?;
        Signal::decode(text.as_slice()).ok()
    }
}

/// What became of received bytes.
#[derive(Debug)]
pub(crate) enum Receipt {
    Fresh(Box<Opening>),
    /// Seen before: the sender has not got our answer.
    Again {
        sender: DeviceId,
        call: CallId,
    },
    Rejected(EnvelopeError),
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) local: Local,
    seen: VecDeque<(DeviceId, RequestId, u32)>,
    max_seen: usize,
}

impl Mailbox {
    pub(crate) const fn new(local: Local, max_seen: usize) -> Self {
        Self { local, seen: VecDeque::new(), max_seen }
    }

    /// Seals a signal. `None` when the recipient's key is refused, which a validated key is not.
    pub(crate) fn seal(
        &self,
        to: &Address,
        key: &StaticKey,
        call: CallId,
        wall: WallTime,
        signal: &Signal,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Option<Vec<u8>> {
        let header = Header {
            format: envelope::FORMAT,
            algorithm: key.kind(),
            purpose: Purpose::CallSignal,
            context: *call.as_bytes(),
            term: 0,
            epoch: 0,
            not_before: wall,
            sender: self.local.address.clone(),
            recipient: to.clone(),
            request: RequestId::random(rng),
        };
        envelope::seal(rng, &self.local.identity, &header, key, &signal.encode()).ok()
    }

    pub(crate) fn receive(&mut self, bytes: &[u8], peer: TrustedPeer, grant: Option<Signed>) -> Receipt {
        match self.verify(bytes, &peer) {
            Err(error) => Receipt::Rejected(error),
            Ok(envelope) => {
                let header = envelope.header();
                let (sender, request, epoch) = (header.sender.device, header.request, header.epoch);
                if self.seen.contains(&(sender, request, epoch)) {
                    return Receipt::Again { sender, call: CallId::from_bytes(envelope.header().context) };
                }
                if self.seen.len() >= self.max_seen {
                    self.seen.pop_front();
                }
                self.seen.push_back((sender, request, epoch));
                Receipt::Fresh(Box::new(Opening { envelope, peer, grant }))
            }
        }
    }

    /// Takes an envelope for unseen again: it could not be opened now, and its sender will repeat it.
    pub(crate) fn unsee(&mut self, opening: &Opening) {
        let header = opening.envelope.header();
        self.seen.retain(|seen| *seen != (header.sender.device, header.request, header.epoch));
    }

    fn verify(&self, bytes: &[u8], peer: &TrustedPeer) -> Result<VerifiedEnvelope, EnvelopeError> {
        let envelope = Envelope::from_bytes(bytes)?;
        let claimed = envelope.claimed();
        let device = peer.device(claimed.sender.device).ok_or(EnvelopeError::Signature)?;
        let context = claimed.context;
        envelope.verify(device, &self.local.address, self.local.key.kind(), Purpose::CallSignal, &context)
    }
}
