//! The callee's side: an invite, a person's decision, an answer, a confirmation.

use undertone_keys::agreement::{Refused, SharedSecret};
use undertone_keys::choice::{Agreement, ChoiceError, LegacyPolicy, choose};
use undertone_keys::legacy::LegacyHalf;
use undertone_keys::{CallId, DeviceId, Time, WallTime};

use super::{Active, Established, Event, Output, Phone, Purpose, Role, State};
use crate::incoming::{self, Awaited, CalleeShare, Incoming, IncomingState, InviteFault, Made};
use crate::mailbox::Opening;
use crate::outcome::Outcome;
use crate::quorum::{Exchange, Exchanged, NoQuorum};
use crate::signal::Signal;

impl Phone {
    pub(super) fn invited(
        &mut self,
        now: Time,
        opening: Opening,
        (body, half): (Vec<u8>, Option<LegacyHalf>),
        wall: WallTime,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let (call, caller) = (opening.call(), opening.sender().clone());
        let Opening { peer, grant, .. } = opening;
        let Some(record) = peer.device(caller.device) else { return };
        let Some(key) = record.static_key() else { return };
        // Who has RSA itself has said yes to it; who has not may have said no, and is asked otherwise.
        let own = self.mailbox.local.key.p256().is_none();
        let policy = if own { LegacyPolicy::Allow } else { self.legacy };
        let chosen = choose(peer.offer(record), policy);
        let validity = self.policy.invite_validity;
        let local = &self.mailbox.local;
        let checked = match incoming::check(local, &peer, &caller, call, (body, half), grant, wall, validity) {
            Ok(checked) => checked,
            Err(fault) => {
                if let Some(outcome) = fault.outcome() {
                    self.tell(&caller, &key, call, &Signal::Over(outcome), rng);
                }
                self.reject(match fault {
                    InviteFault::Malformed => "a malformed invite",
                    InviteFault::Stale => "an invite that is too old: is the clock right?",
                    InviteFault::Keys => "an invite that names other keys or accounts than the proven ones",
                    InviteFault::Grant => "an invite whose grant says something else",
                    InviteFault::Terms => "an invite on terms this version does not speak",
                });
                return;
            }
        };
        if let Err(error @ (ChoiceError::Refused | ChoiceError::Downgrade | ChoiceError::NoKey)) = chosen {
            self.tell(&caller, &key, call, &Signal::Over(Outcome::RefusedByPolicy), rng);
            self.reject(match error {
                ChoiceError::Downgrade => "a call by RSA from a device that had a P-256 key before",
                _ => "a call from a device that has RSA alone, which is refused here",
            });
            return;
        }
        self.accepted.retain(|(_, until)| *until >= wall);
        if self.accepted.iter().any(|(id, _)| *id == call) {
            self.reject("an invite to a call that was accepted before");
            return;
        }
        let mut glare = false;
        match &self.state {
            State::Idle => {}
            State::Outgoing(outgoing) if *outgoing.peer.user() == caller.user => {
                // Both call each other: the lower call id survives, and nobody has to answer what both wanted.
                if outgoing.call < call {
                    return;
                }
                let known = checked.agreement() == Agreement::P256 || outgoing.legacy == LegacyPolicy::Allow;
                let (ours, same) = (outgoing.call, outgoing.terms == checked.invite.terms && known);
                self.end_legs(Outcome::Cancelled, rng);
                self.state = State::Idle;
                self.outputs.push_back(Output::Event(Event::Yielded { ours, theirs: call }));
                // What a person asked for is what they get without being asked again, and nothing less (rule NEG-1).
                glare = same;
            }
            State::Incoming(incoming) if incoming.call() == call => return,
            State::Active(active) if active.call == call => return,
            State::Outgoing(_) | State::Incoming(_) | State::Active(_) => {
                self.tell(&caller, &key, call, &Signal::Over(Outcome::Busy), rng);
                return;
            }
        }
        let envelope = self.tell(&caller, &key, call, &Signal::Ringing, rng);
        let (standing, terms, agreement) = (peer.standing(), checked.invite.terms, checked.agreement());
        let (told, quorum) = (checked.invite.checkpoint.clone(), checked.invite.quorum.clone());
        // The caller's clock decides; the margin is for its last word to arrive.
        let deadline = now + self.policy.ringing + self.policy.resend;
        let state = IncomingState::AwaitingDecision;
        let incoming = Incoming { peer, caller: caller.clone(), checked, state, envelope, resent_at: now, deadline };
        self.state = State::Incoming(Box::new(incoming));
        self.outputs.push_back(Output::Event(Event::Incoming {
            call,
            caller,
            standing,
            terms,
            agreement,
            told,
            quorum,
        }));
        if glare {
            self.accept(now, rng);
        }
    }

    pub(super) fn accept(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let State::Incoming(incoming) = &mut self.state else { return };
        if !matches!(incoming.state, IncomingState::AwaitingDecision) {
            return;
        }
        let call = incoming.call();
        let until = self.wall.plus(2 * self.policy.invite_validity);
        incoming.state = IncomingState::AwaitingAgreement(Awaited::default());
        incoming.deadline = now + self.policy.confirm;
        let keys = incoming.checked.invite.ephemeral.zip(incoming.checked.caller_key.p256().copied());
        let offer = incoming.checked.invite.quorum.clone();
        self.accepted.push((call, until));
        self.outputs.push_back(Output::Store { call, until });
        if let Some(offer) = offer {
            self.exchange(call, Exchange::Give { offer }, Purpose::CalleeQuorum(call));
        }
        if let Some((ephemeral, caller_key)) = keys {
            self.ask(ephemeral, Purpose::Callee(call, CalleeShare::EphemeralStatic));
            self.ask(caller_key, Purpose::Callee(call, CalleeShare::StaticStatic));
        }
        // Where nothing agrees, and no secret is waited for, the answer can be made at once.
        let State::Incoming(incoming) = &mut self.state else { return };
        let made = incoming.answer_if_complete(&self.mailbox.local, rng);
        self.send_answer(now, made, rng);
    }

    /// The answer leaves, if it is there.
    fn send_answer(&mut self, now: Time, made: Option<Made>, rng: &mut impl rand_core::CryptoRng) {
        let (Some(Made { body, mac, legacy }), State::Incoming(incoming)) = (made, &mut self.state) else { return };
        incoming.deadline = now + self.policy.confirm;
        incoming.resent_at = now;
        let (call, caller, key) = (incoming.call(), incoming.caller.clone(), incoming.checked.caller_key.clone());
        let signal = match legacy {
            Some(half) => Signal::LegacyAnswer { body, mac, half },
            None => Signal::Answer { body, mac },
        };
        let envelope = self.tell(&caller, &key, call, &signal, rng);
        if let State::Incoming(incoming) = &mut self.state {
            incoming.envelope = envelope;
        }
    }

    /// What was to be done for the answer was done, or was not.
    pub(super) fn callee_exchanged(
        &mut self,
        now: Time,
        call: CallId,
        exchanged: Result<Exchanged, NoQuorum>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Incoming(incoming) = &mut self.state else { return };
        if incoming.call() != call {
            return;
        }
        match exchanged {
            Ok(exchanged) => {
                let made = incoming.gave_quorum(&self.mailbox.local, exchanged, rng);
                self.send_answer(now, made, rng);
            }
            Err(NoQuorum) => self.decline(Outcome::NoQuorum, rng),
        }
    }

    pub(super) fn callee_agreed(
        &mut self,
        now: Time,
        call: CallId,
        share: CalleeShare,
        secret: Result<SharedSecret, Refused>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Incoming(incoming) = &mut self.state else { return };
        if incoming.call() != call {
            return;
        }
        let (caller, key) = (incoming.caller.clone(), incoming.checked.caller_key.clone());
        let Ok(secret) = secret else {
            self.tell(&caller, &key, call, &Signal::Over(Outcome::RefusedByPolicy), rng);
            self.over(call, Outcome::RefusedByPolicy);
            return;
        };
        let made = incoming.agreed(&self.mailbox.local, share, secret, rng);
        self.send_answer(now, made, rng);
    }

    pub(super) fn confirmed(
        &mut self,
        call: CallId,
        sender: DeviceId,
        half: [u8; 32],
        mac: &[u8; 32],
        rng: &mut impl rand_core::CryptoRng,
    ) {
        // Looked at before it is touched: a stray confirmation changes no call, whatever state that is in.
        let meant = |incoming: &Incoming| incoming.call() == call && incoming.caller.device == sender;
        if !matches!(&self.state, State::Incoming(incoming) if meant(incoming)) {
            return;
        }
        let State::Incoming(incoming) = core::mem::replace(&mut self.state, State::Idle) else { return };
        let caller_key = incoming.checked.caller_key.clone();
        match incoming.confirmed(half, mac) {
            Ok((keys, sas, call_of)) => {
                let peer = call_of.caller.clone();
                self.state = State::Active(Active { call, peer, key: caller_key, confirm: None });
                self.outputs.push_back(Output::Event(Event::Established(Box::new(Established {
                    call,
                    role: Role::Callee,
                    peer: call_of.peer,
                    device: sender,
                    key: keys.media,
                    sas,
                    terms: call_of.checked.invite.terms,
                    agreement: call_of.checked.agreement(),
                    grant: call_of.checked.grant,
                    peer_grant: call_of.checked.invite.grant,
                    told: call_of.checked.invite.checkpoint,
                    quorum: call_of.quorum,
                }))));
            }
            Err(incoming) => {
                let caller = incoming.caller.clone();
                self.state = State::Incoming(incoming);
                self.tell(&caller, &caller_key, call, &Signal::Over(Outcome::RefusedByProof), rng);
                self.over(call, Outcome::RefusedByProof);
            }
        }
    }
}
