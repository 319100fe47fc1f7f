//! How calls end, by whoever's doing, and how the other side is told (rule CALL-3).

use undertone_keys::envelope::Address;
use undertone_keys::static_key::StaticKey;
use undertone_keys::{CallId, DeviceId, Time};

use super::{Event, LastWord, MAX_LAST_WORDS, Output, Phone, State};
use crate::incoming::IncomingState;
use crate::outcome::Outcome;
use crate::outgoing::LegState;
use crate::signal::Signal;

/// How often a goodbye that could not be handed over is tried again: three seconds in all.
const RETRIES: u32 = 6;

impl Phone {
    /// The media path has waited for the peer for long enough.
    pub(super) fn peer_gone(&mut self) {
        if let State::Active(active) = &self.state {
            let call = active.call;
            self.over(call, Outcome::PeerVanished);
        }
    }

    /// The peer says that it is over.
    pub(super) fn told_over(
        &mut self,
        call: CallId,
        sender: DeviceId,
        outcome: Outcome,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        match &mut self.state {
            State::Outgoing(outgoing) if outgoing.call == call => {
                let Some(leg) = outgoing.leg(sender) else { return };
                match outcome {
                    // One no is a no: the other devices stop ringing.
                    Outcome::Declined => {
                        leg.state = LegState::Gone(Outcome::Declined);
                        self.end_legs(Outcome::Cancelled, rng);
                        self.over(call, Outcome::Declined);
                    }
                    Outcome::Busy | Outcome::RefusedByProof | Outcome::RefusedByPolicy | Outcome::NoQuorum => {
                        leg.state = LegState::Gone(outcome);
                        self.settle();
                    }
                    _ => {
                        leg.state = LegState::Gone(Outcome::Offline);
                        self.settle();
                    }
                }
            }
            State::Incoming(incoming) if incoming.call() == call && incoming.caller.device == sender => {
                let outcome = match outcome {
                    Outcome::Taken
                    | Outcome::RefusedByProof
                    | Outcome::RefusedByPolicy
                    | Outcome::NoQuorum
                    | Outcome::NoAnswer => outcome,
                    _ => Outcome::Cancelled,
                };
                self.over(call, outcome);
            }
            State::Active(active) if active.call == call && active.peer.device == sender => {
                let outcome = match outcome {
                    Outcome::RefusedByProof | Outcome::RefusedByPolicy => outcome,
                    _ => Outcome::Ended,
                };
                self.over(call, outcome);
            }
            State::Idle | State::Outgoing(_) | State::Incoming(_) | State::Active(_) => {}
        }
    }

    pub(super) fn decline(&mut self, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        let State::Incoming(incoming) = &self.state else { return };
        let (call, caller, key) = (incoming.call(), incoming.caller.clone(), incoming.checked.caller_key.clone());
        self.tell(&caller, &key, call, &Signal::Over(outcome), rng);
        self.over(call, outcome);
    }

    pub(super) fn hang_up(&mut self, rng: &mut impl rand_core::CryptoRng) {
        match &self.state {
            State::Idle => {}
            State::Outgoing(outgoing) => {
                let call = outgoing.call;
                self.end_legs(Outcome::Cancelled, rng);
                self.over(call, Outcome::Cancelled);
            }
            State::Incoming(_) => self.decline(Outcome::Declined, rng),
            State::Active(_) => self.end(Outcome::Ended, rng),
        }
    }

    pub(super) fn end(&mut self, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        let State::Active(active) = &self.state else { return };
        let (call, peer, key) = (active.call, active.peer.clone(), active.key.clone());
        self.tell(&peer, &key, call, &Signal::Over(outcome), rng);
        self.over(call, outcome);
    }

    pub(super) fn tick(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        for word in self.last_words.iter_mut().filter(|word| word.retry.is_some_and(|at| at <= now)) {
            word.retry = None;
            let (to, call, envelope) = (word.to.clone(), word.call, word.envelope.clone());
            self.outputs.push_back(Output::Send { to, call, envelope });
        }
        match &mut self.state {
            State::Idle | State::Active(_) => {}
            State::Outgoing(outgoing) if now >= outgoing.deadline => {
                let call = outgoing.call;
                self.end_legs(Outcome::NoAnswer, rng);
                self.over(call, Outcome::NoAnswer);
            }
            State::Outgoing(outgoing) => {
                let call = outgoing.call;
                for leg in &mut outgoing.legs {
                    if leg.is_open() && now >= leg.resend_at {
                        // A device that rings is asked less often: its last word may have been lost.
                        let rings = matches!(leg.state, LegState::AwaitingAnswer);
                        leg.resend_at = now + self.policy.resend * if rings { 4 } else { 1 };
                        let (to, envelope) = (leg.address.clone(), leg.envelope.clone());
                        self.outputs.push_back(Output::Send { to, call, envelope });
                    }
                }
            }
            State::Incoming(incoming) if now >= incoming.deadline => {
                let call = incoming.call();
                match incoming.state {
                    // The caller's own clock has ended it.
                    IncomingState::AwaitingDecision => self.over(call, Outcome::NoAnswer),
                    // A key that took too long, or a caller that went: if it is still there it stops waiting now.
                    IncomingState::AwaitingAgreement(_) | IncomingState::AwaitingConfirm(_) => {
                        let (caller, key) = (incoming.caller.clone(), incoming.checked.caller_key.clone());
                        self.tell(&caller, &key, call, &Signal::Over(Outcome::PeerVanished), rng);
                        self.over(call, Outcome::PeerVanished);
                    }
                }
            }
            State::Incoming(incoming) => {
                if matches!(incoming.state, IncomingState::AwaitingConfirm(_))
                    && now >= incoming.resent_at + self.policy.resend
                {
                    incoming.resent_at = now;
                    let (to, envelope) = (incoming.caller.clone(), incoming.envelope.clone());
                    let call = incoming.call();
                    self.outputs.push_back(Output::Send { to, call, envelope });
                }
            }
        }
    }

    /// Tells every device that is still in the game why it should stop.
    pub(super) fn end_legs(&mut self, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        let State::Outgoing(outgoing) = &self.state else { return };
        let call = outgoing.call;
        let legs = outgoing.legs.iter().filter(|leg| !matches!(leg.state, LegState::Gone(_)));
        let addresses: Vec<(Address, StaticKey)> = legs.map(|leg| (leg.address.clone(), leg.key.clone())).collect();
        for (address, key) in addresses {
            self.tell(&address, &key, call, &Signal::Over(outcome), rng);
        }
    }

    pub(super) fn over(&mut self, call: CallId, outcome: Outcome) {
        self.state = State::Idle;
        self.agreements.clear();
        self.outputs.push_back(Output::Event(Event::Over { call, outcome }));
    }

    /// Seals a signal and sends it; returns the envelope, for sending it again.
    pub(super) fn tell(
        &mut self,
        to: &Address,
        key: &StaticKey,
        call: CallId,
        signal: &Signal,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Vec<u8> {
        let Some(envelope) = self.mailbox.seal(to, key, call, self.wall, signal, rng) else { return Vec::new() };
        if matches!(signal, Signal::Over(_)) {
            if self.last_words.len() >= MAX_LAST_WORDS {
                self.last_words.pop_front();
            }
            let (to, envelope) = (to.clone(), envelope.clone());
            let word = LastWord { call, to, envelope, sent: Time::ZERO, retry: None, retries: RETRIES };
            self.last_words.push_back(word);
        }
        self.outputs.push_back(Output::Send { to: to.clone(), call, envelope: envelope.clone() });
        envelope
    }

    pub(super) fn reject(&mut self, reason: &'static str) {
        self.outputs.push_back(Output::Event(Event::Rejected { reason }));
    }
}
