//! The machine that owns a device's calls: at most one at a time, in one of four states.

use std::collections::VecDeque;

use undertone_keys::agreement::{AgreementPublicKey, Refused, SharedSecret};
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::choice::{ChoiceError, LegacyPolicy};
use undertone_keys::envelope::{Address, EnvelopeError};
use undertone_keys::sas::Sas;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, DeviceId, Time, UserId, WallTime};
use undertone_protocol::Terms;
use undertone_transparency::{Standing, TrustedPeer};

use crate::incoming::{self, CalleeShare, Incoming, IncomingState, InviteFault};
use crate::local::Local;
use crate::mailbox::{Mailbox, Opening, Receipt};
use crate::outcome::Outcome;
use crate::outgoing::{CallerShare, Confirmed, Leg, LegState, Outgoing};
use crate::policy::Policy;
use crate::signal::Signal;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A person wants to call somebody.
    Dial {
        /// Whom.
        peer: TrustedPeer,
        /// Drawn afresh; the grant names it.
        call: CallId,
        /// What the call is to be like.
        terms: Terms,
        /// The server's grant for this device.
        grant: Signed,
        /// The wall clock, corrected to the server's.
        wall: WallTime,
    },
    /// An envelope came in.
    Received {
        /// As received.
        envelope: Vec<u8>,
        /// The user it claims to come from, proven.
        peer: TrustedPeer,
        /// The grant that came with it.
        grant: Option<Signed>,
        /// The wall clock, corrected to the server's.
        wall: WallTime,
    },
    /// The server could not hand an envelope to a device: it is not connected.
    Undelivered {
        /// Which device.
        device: DeviceId,
        /// The call it belonged to.
        call: CallId,
    },
    /// The answer to [`Output::Agree`].
    Agreed {
        /// The request's number.
        request: u64,
        /// The agreement, or why there is none.
        secret: Result<SharedSecret, Refused>,
    },
    /// A person takes the call that rings.
    Accept,
    /// A person does not take it.
    Decline,
    /// A person ends whatever there is: a ringing call is cancelled, an established one ended.
    HangUp,
    /// The media path cannot go on: ends an established call with this outcome, which the peer is told.
    End(Outcome),
    /// The media path says that the peer is gone and did not come back.
    PeerGone,
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// Make durable, before anything after it is done, that this call id was accepted (rules CALL-5, STO-2).
    Store {
        /// Which call.
        call: CallId,
        /// May be forgotten after this.
        until: WallTime,
    },
    /// Hand these bytes to the server for that device.
    Send {
        /// For whom.
        to: Address,
        /// The call they belong to.
        call: CallId,
        /// Sealed.
        envelope: Vec<u8>,
    },
    /// Let this device's agreement key agree with `peer` and come back with [`Input::Agreed`] (rule ID-5).
    Agree {
        /// To be repeated.
        request: u64,
        /// With whose key.
        peer: AgreementPublicKey,
    },
    /// Tell whoever is interested.
    Event(Event),
}

/// What a person or the media path should know.
#[derive(Debug)]
pub enum Event {
    /// One of the callee's devices rings.
    Ringing {
        /// Which call.
        call: CallId,
    },
    /// Somebody calls.
    Incoming {
        /// Which call.
        call: CallId,
        /// Who.
        caller: Address,
        /// How well they are known.
        standing: Standing,
        /// What the call is to be like.
        terms: Terms,
    },
    /// Both called each other at the same moment: the lower call id survives (rule CALL-5). Theirs goes on in the place
    /// of ours and is accepted by itself.
    Yielded {
        /// The call that is given up.
        ours: CallId,
        /// The call that goes on.
        theirs: CallId,
    },
    /// Both sides confirmed the same keys.
    Established(Box<Established>),
    /// The call is over.
    Over {
        /// Which call.
        call: CallId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something was refused without a call coming of it.
    Rejected {
        /// Why, for the log.
        reason: &'static str,
    },
}

/// Which side of a call this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It called.
    Caller,
    /// It was called.
    Callee,
}

/// A call whose keys both sides have confirmed.
#[derive(Debug)]
pub struct Established {
    /// Which call.
    pub call: CallId,
    /// Which side this is.
    pub role: Role,
    /// Who is on the other side.
    pub peer: TrustedPeer,
    /// On which device.
    pub device: DeviceId,
    /// The media key of epoch 1.
    pub key: MediaKey,
    /// To be compared by the two people.
    pub sas: Sas,
    /// What was agreed.
    pub terms: Terms,
    /// This device's grant for the room.
    pub grant: Signed,
    /// The hash of the peer's grant, as the transcript has it.
    pub peer_grant: [u8; 32],
}

/// Why a call did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// There is a call already.
    #[error("there is a call already")]
    InCall,
    /// The server's grant is for something else than was asked for (rule NEG-1).
    #[error("the server's grant does not say what was asked for")]
    Grant,
    /// The peer has no device but this one.
    #[error("the peer has no device to call")]
    NoDevice,
    /// None of the peer's devices may be called.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
}

#[derive(Debug)]
enum State {
    Idle,
    Outgoing(Box<Outgoing>),
    Incoming(Box<Incoming>),
    Active(Active),
}

#[derive(Debug)]
struct Active {
    call: CallId,
    peer: Address,
    key: AgreementPublicKey,
    /// The caller's confirmation, sent again when the callee asks by repeating its answer.
    confirm: Option<(Vec<u8>, Time)>,
}

/// What an outstanding agreement is for.
#[derive(Debug)]
enum Purpose {
    Open(Box<Opening>, WallTime),
    Caller(CallId, DeviceId, CallerShare),
    Callee(CallId, CalleeShare),
}

/// One device's calls.
#[derive(Debug)]
pub struct Phone {
    mailbox: Mailbox,
    policy: Policy,
    legacy: LegacyPolicy,
    state: State,
    accepted: Vec<(CallId, WallTime)>,
    agreements: Vec<(u64, Purpose)>,
    next_request: u64,
    wall: WallTime,
    /// What was last said about calls that are over, for peers that have not heard it.
    last_words: VecDeque<LastWord>,
    outputs: VecDeque<Output>,
}

/// Calls whose end is repeated to a peer that goes on asking.
const MAX_LAST_WORDS: usize = 8;

#[derive(Debug)]
struct LastWord {
    call: CallId,
    to: Address,
    envelope: Vec<u8>,
    sent: Time,
}

impl Phone {
    /// An idle phone. `accepted` are the call ids that were stored before and may not be accepted again.
    #[must_use]
    pub fn new(local: Local, policy: Policy, legacy: LegacyPolicy, accepted: Vec<(CallId, WallTime)>) -> Self {
        Self {
            mailbox: Mailbox::new(local, policy.max_seen),
            policy,
            legacy,
            state: State::Idle,
            accepted,
            agreements: Vec::new(),
            next_request: 0,
            wall: WallTime::default(),
            last_words: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Whatever comes of it waits in [`Self::poll_output`].
    ///
    /// # Errors
    /// [`DialError`], for [`Input::Dial`] only: nothing else a peer, server or person does is an error of the phone.
    pub fn handle_input(
        &mut self,
        now: Time,
        input: Input,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(), DialError> {
        match input {
            Input::Dial { peer, call, terms, grant, wall } => {
                self.wall = wall;
                return self.dial(now, peer, call, terms, grant, rng);
            }
            Input::Received { envelope, peer, grant, wall } => {
                self.wall = wall;
                self.receive(now, &envelope, peer, grant);
            }
            Input::Undelivered { device, call } => self.undelivered(device, call),
            Input::Agreed { request, secret } => self.agreed(now, request, secret, rng),
            Input::Accept => self.accept(now),
            Input::Decline => self.decline(rng),
            Input::HangUp => self.hang_up(rng),
            Input::End(outcome) => self.end(outcome, rng),
            Input::PeerGone => {
                if let State::Active(active) = &self.state {
                    let call = active.call;
                    self.over(call, Outcome::PeerVanished);
                }
            }
            Input::Tick => self.tick(now, rng),
        }
        Ok(())
    }

    /// The next thing to do. `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`]. Changes with every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Idle | State::Active(_) => None,
            State::Outgoing(outgoing) => {
                let resends = outgoing.legs.iter().filter(|leg| leg.is_open());
                resends.map(|leg| leg.resend_at).chain([outgoing.deadline]).min()
            }
            State::Incoming(incoming) => match incoming.state {
                IncomingState::AwaitingConfirm(_) => {
                    Some((incoming.resent_at + self.policy.resend).min(incoming.deadline))
                }
                IncomingState::AwaitingDecision | IncomingState::AwaitingAgreement { .. } => Some(incoming.deadline),
            },
        }
    }

    /// Who is calling, while a person's decision is awaited.
    #[must_use]
    pub fn ringing_from(&self) -> Option<&UserId> {
        match &self.state {
            State::Incoming(incoming) if matches!(incoming.state, IncomingState::AwaitingDecision) => {
                Some(&incoming.caller.user)
            }
            State::Idle | State::Outgoing(_) | State::Incoming(_) | State::Active(_) => None,
        }
    }

    /// Whether there is a call in whatever state.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    // ---- calling

    fn dial(
        &mut self,
        now: Time,
        peer: TrustedPeer,
        call: CallId,
        terms: Terms,
        grant: Signed,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(), DialError> {
        if self.is_busy() {
            return Err(DialError::InCall);
        }
        if !incoming::grant_fits(&grant, &self.mailbox.local, call, &terms) {
            return Err(DialError::Grant);
        }
        let (mut legs, mut refused) = (Vec::new(), None);
        let here = self.mailbox.local.address.device;
        for record in peer.devices().filter(|record| record.device != here) {
            match Leg::new(&self.mailbox.local, record, call, terms, &grant, self.wall, self.legacy, rng) {
                Ok(leg) => legs.push(leg),
                Err(error) => refused = Some(error),
            }
        }
        if legs.is_empty() {
            return Err(refused.map_or(DialError::NoDevice, DialError::Choice));
        }
        for leg in &mut legs {
            let invite = Signal::Invite(leg.invite.clone());
            leg.envelope = self.mailbox.seal(&leg.address, &leg.key, call, self.wall, &invite, rng).unwrap_or_default();
            leg.resend_at = now + self.policy.resend;
            self.outputs.push_back(Output::Send { to: leg.address.clone(), call, envelope: leg.envelope.clone() });
        }
        let deadline = now + self.policy.ringing;
        let outgoing = Outgoing { call, peer, terms, grant, legs, deadline, rang: false };
        self.state = State::Outgoing(Box::new(outgoing));
        Ok(())
    }

    fn undelivered(&mut self, device: DeviceId, call: CallId) {
        let State::Outgoing(outgoing) = &mut self.state else { return };
        if outgoing.call != call {
            return;
        }
        // The server's word: it may end an invite that nobody answered, never a leg that did.
        if let Some(leg) = outgoing.leg(device)
            && matches!(leg.state, LegState::AwaitingRing)
        {
            leg.state = LegState::Gone(Outcome::Offline);
        }
        self.settle();
    }

    /// Ends the call when no leg is left.
    fn settle(&mut self) {
        if let State::Outgoing(outgoing) = &self.state
            && let Some(outcome) = outgoing.verdict()
        {
            let call = outgoing.call;
            self.over(call, outcome);
        }
    }

    fn caller_agreed(
        &mut self,
        now: Time,
        (call, device, share): (CallId, DeviceId, CallerShare),
        secret: Result<SharedSecret, Refused>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Outgoing(outgoing) = &mut self.state else { return };
        if outgoing.call != call {
            return;
        }
        let local = &self.mailbox.local;
        let Some(leg) = outgoing.leg(device) else { return };
        let result = match secret {
            Ok(secret) => leg.agreed(local, share, secret),
            Err(_) => Err(Outcome::RefusedByPolicy),
        };
        match result {
            Ok(None) => {}
            Ok(Some(confirmed)) => self.establish_as_caller(now, device, *confirmed, rng),
            Err(outcome) => {
                leg.state = LegState::Gone(outcome);
                let (address, key) = (leg.address.clone(), leg.key);
                self.tell(&address, &key, call, &Signal::Over(outcome), rng);
                self.settle();
            }
        }
    }

    fn establish_as_caller(
        &mut self,
        now: Time,
        device: DeviceId,
        confirmed: Confirmed,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Outgoing(outgoing) = core::mem::replace(&mut self.state, State::Idle) else { return };
        let call = outgoing.call;
        let confirm = Signal::Confirm { half: *confirmed.half.as_bytes(), mac: confirmed.mac };
        for leg in &outgoing.legs {
            if leg.address.device == device {
                let envelope = self.tell(&leg.address, &leg.key, call, &confirm, rng);
                self.state = State::Active(Active {
                    call,
                    peer: leg.address.clone(),
                    key: leg.key,
                    confirm: Some((envelope, now)),
                });
            } else if !matches!(leg.state, LegState::Gone(_)) {
                self.tell(&leg.address, &leg.key, call, &Signal::Over(Outcome::Taken), rng);
            }
        }
        self.outputs.push_back(Output::Event(Event::Established(Box::new(Established {
            call,
            role: Role::Caller,
            peer: outgoing.peer,
            device,
            key: confirmed.keys.media,
            sas: confirmed.sas,
            terms: outgoing.terms,
            grant: outgoing.grant,
            peer_grant: confirmed.peer_grant,
        }))));
    }

    // ---- receiving

    fn receive(&mut self, now: Time, bytes: &[u8], peer: TrustedPeer, grant: Option<Signed>) {
        if self.agreements.len() >= self.policy.max_opening {
            self.reject("too many envelopes wait to be opened");
            return;
        }
        match self.mailbox.receive(bytes, peer, grant) {
            Receipt::Fresh(opening) => {
                let peer = *opening.agree_with();
                let wall = self.wall;
                self.ask(peer, Purpose::Open(opening, wall));
            }
            Receipt::Again { sender, call } => self.repeat(now, sender, call),
            Receipt::Rejected(EnvelopeError::Signature) => self.reject("an envelope was not signed by its sender"),
            Receipt::Rejected(_) => self.reject("an envelope was malformed or meant for another place"),
        }
    }

    /// A peer that repeats itself has not heard our answer: say it again, within reason.
    fn repeat(&mut self, now: Time, sender: DeviceId, call: CallId) {
        let resend = self.policy.resend / 2;
        let again = match &mut self.state {
            State::Incoming(incoming) if incoming.call() == call && incoming.caller.device == sender => {
                let due = now.since(incoming.resent_at) >= resend;
                due.then(|| {
                    incoming.resent_at = now;
                    (incoming.caller.clone(), incoming.envelope.clone())
                })
            }
            State::Active(active) if active.call == call && active.peer.device == sender => {
                active.confirm.as_mut().filter(|(_, sent)| now.since(*sent) >= resend).map(|(envelope, sent)| {
                    *sent = now;
                    (active.peer.clone(), envelope.clone())
                })
            }
            State::Idle | State::Outgoing(_) | State::Incoming(_) | State::Active(_) => {
                let mut words = self.last_words.iter_mut().rev();
                let word = words.find(|word| word.call == call && word.to.device == sender);
                word.filter(|word| now.since(word.sent) >= resend).map(|word| {
                    word.sent = now;
                    (word.to.clone(), word.envelope.clone())
                })
            }
        };
        if let Some((to, envelope)) = again
            && !envelope.is_empty()
        {
            self.outputs.push_back(Output::Send { to, call, envelope });
        }
    }

    fn ask(&mut self, peer: AgreementPublicKey, purpose: Purpose) {
        let request = self.next_request;
        self.next_request += 1;
        self.agreements.push((request, purpose));
        self.outputs.push_back(Output::Agree { request, peer });
    }

    fn agreed(
        &mut self,
        now: Time,
        request: u64,
        secret: Result<SharedSecret, Refused>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(place) = self.agreements.iter().position(|(number, _)| *number == request) else { return };
        match self.agreements.remove(place).1 {
            Purpose::Open(opening, wall) => match secret {
                Ok(secret) => match opening.open(&self.mailbox.local, &secret) {
                    Some(signal) => self.signal(now, *opening, signal, wall, rng),
                    None => self.reject("an envelope did not open"),
                },
                Err(_) => {
                    self.mailbox.unsee(&opening);
                    self.reject("the device key refused to open an envelope");
                }
            },
            Purpose::Caller(call, device, share) => self.caller_agreed(now, (call, device, share), secret, rng),
            Purpose::Callee(call, share) => self.callee_agreed(now, call, share, secret, rng),
        }
    }

    fn signal(
        &mut self,
        now: Time,
        opening: Opening,
        signal: Signal,
        wall: WallTime,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let (call, sender) = (opening.call(), opening.sender().clone());
        match signal {
            Signal::Invite(body) => self.invited(now, opening, body, wall, rng),
            Signal::Ringing => {
                let State::Outgoing(outgoing) = &mut self.state else { return };
                if outgoing.call != call {
                    return;
                }
                let Some(leg) = outgoing.leg(sender.device) else { return };
                if matches!(leg.state, LegState::AwaitingRing) {
                    leg.state = LegState::AwaitingAnswer;
                    if !core::mem::replace(&mut outgoing.rang, true) {
                        self.outputs.push_back(Output::Event(Event::Ringing { call }));
                    }
                }
            }
            Signal::Answer { body, mac } => {
                let State::Outgoing(outgoing) = &mut self.state else { return };
                if outgoing.call != call {
                    return;
                }
                let Some(leg) = outgoing.leg(sender.device) else { return };
                if let Some(ephemeral) = leg.answered(body, mac) {
                    let key = leg.key;
                    self.ask(key, Purpose::Caller(call, sender.device, CallerShare::StaticStatic));
                    self.ask(ephemeral, Purpose::Caller(call, sender.device, CallerShare::StaticEphemeral));
                }
            }
            Signal::Confirm { half, mac } => self.confirmed(call, sender.device, half, &mac, rng),
            Signal::Over(outcome) => self.told_over(call, sender.device, outcome, rng),
        }
    }

    fn told_over(&mut self, call: CallId, sender: DeviceId, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
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
                    Outcome::Busy | Outcome::RefusedByProof | Outcome::RefusedByPolicy => {
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
                    Outcome::Taken | Outcome::RefusedByProof | Outcome::RefusedByPolicy | Outcome::NoAnswer => outcome,
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

    // ---- being called

    fn invited(
        &mut self,
        now: Time,
        opening: Opening,
        body: Vec<u8>,
        wall: WallTime,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let (call, caller) = (opening.call(), opening.sender().clone());
        let Opening { peer, grant, .. } = opening;
        let Some(key) = peer.device(caller.device).and_then(|record| record.agreement) else { return };
        let validity = self.policy.invite_validity;
        let local = &self.mailbox.local;
        let checked = match incoming::check(local, &peer, &caller, call, body, grant, wall, validity) {
            Ok(checked) => checked,
            Err(fault) => {
                if let Some(outcome) = fault.outcome() {
                    self.tell(&caller, &key, call, &Signal::Over(outcome), rng);
                }
                self.reject(match fault {
                    InviteFault::Malformed => "a malformed invite",
                    InviteFault::Stale => "an invite that is too old: is the clock right?",
                    InviteFault::Keys => "an invite that names other keys than the proven ones",
                    InviteFault::Grant => "an invite whose grant says something else",
                    InviteFault::Terms => "an invite on terms this version does not speak",
                });
                return;
            }
        };
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
                let ours = outgoing.call;
                self.end_legs(Outcome::Cancelled, rng);
                self.state = State::Idle;
                self.outputs.push_back(Output::Event(Event::Yielded { ours, theirs: call }));
                glare = true;
            }
            State::Incoming(incoming) if incoming.call() == call => return,
            State::Active(active) if active.call == call => return,
            State::Outgoing(_) | State::Incoming(_) | State::Active(_) => {
                self.tell(&caller, &key, call, &Signal::Over(Outcome::Busy), rng);
                return;
            }
        }
        let envelope = self.tell(&caller, &key, call, &Signal::Ringing, rng);
        let (standing, terms) = (peer.standing(), checked.invite.terms);
        // The caller's clock decides; the margin is for its last word to arrive.
        let deadline = now + self.policy.ringing + self.policy.resend;
        let state = IncomingState::AwaitingDecision;
        let incoming = Incoming { peer, caller: caller.clone(), checked, state, envelope, resent_at: now, deadline };
        self.state = State::Incoming(Box::new(incoming));
        self.outputs.push_back(Output::Event(Event::Incoming { call, caller, standing, terms }));
        if glare {
            self.accept(now);
        }
    }

    fn accept(&mut self, now: Time) {
        let State::Incoming(incoming) = &mut self.state else { return };
        if !matches!(incoming.state, IncomingState::AwaitingDecision) {
            return;
        }
        let call = incoming.call();
        let until = self.wall.plus(2 * self.policy.invite_validity);
        incoming.state = IncomingState::AwaitingAgreement { ephemeral_static: None, static_static: None };
        incoming.deadline = now + self.policy.confirm;
        let (ephemeral, caller_key) = (incoming.checked.invite.ephemeral, incoming.checked.caller_key);
        self.accepted.push((call, until));
        self.outputs.push_back(Output::Store { call, until });
        self.ask(ephemeral, Purpose::Callee(call, CalleeShare::EphemeralStatic));
        self.ask(caller_key, Purpose::Callee(call, CalleeShare::StaticStatic));
    }

    fn callee_agreed(
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
        let (caller, key) = (incoming.caller.clone(), incoming.checked.caller_key);
        let Ok(secret) = secret else {
            self.tell(&caller, &key, call, &Signal::Over(Outcome::RefusedByPolicy), rng);
            self.over(call, Outcome::RefusedByPolicy);
            return;
        };
        let Some((body, mac)) = incoming.agreed(&self.mailbox.local, share, secret, rng) else { return };
        incoming.deadline = now + self.policy.confirm;
        incoming.resent_at = now;
        let envelope = self.tell(&caller, &key, call, &Signal::Answer { body, mac }, rng);
        if let State::Incoming(incoming) = &mut self.state {
            incoming.envelope = envelope;
        }
    }

    fn confirmed(
        &mut self,
        call: CallId,
        sender: DeviceId,
        half: [u8; 32],
        mac: &[u8; 32],
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Incoming(incoming) = core::mem::replace(&mut self.state, State::Idle) else { return };
        if incoming.call() != call || incoming.caller.device != sender {
            self.state = State::Incoming(incoming);
            return;
        }
        let caller_key = incoming.checked.caller_key;
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
                    grant: call_of.checked.grant,
                    peer_grant: call_of.checked.invite.grant,
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

    // ---- ending

    fn decline(&mut self, rng: &mut impl rand_core::CryptoRng) {
        let State::Incoming(incoming) = &self.state else { return };
        let (call, caller, key) = (incoming.call(), incoming.caller.clone(), incoming.checked.caller_key);
        self.tell(&caller, &key, call, &Signal::Over(Outcome::Declined), rng);
        self.over(call, Outcome::Declined);
    }

    fn hang_up(&mut self, rng: &mut impl rand_core::CryptoRng) {
        match &self.state {
            State::Idle => {}
            State::Outgoing(outgoing) => {
                let call = outgoing.call;
                self.end_legs(Outcome::Cancelled, rng);
                self.over(call, Outcome::Cancelled);
            }
            State::Incoming(_) => self.decline(rng),
            State::Active(_) => self.end(Outcome::Ended, rng),
        }
    }

    fn end(&mut self, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        let State::Active(active) = &self.state else { return };
        let (call, peer, key) = (active.call, active.peer.clone(), active.key);
        self.tell(&peer, &key, call, &Signal::Over(outcome), rng);
        self.over(call, outcome);
    }

    fn tick(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
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
                let outcome = match incoming.state {
                    IncomingState::AwaitingDecision => Outcome::NoAnswer,
                    IncomingState::AwaitingAgreement { .. } | IncomingState::AwaitingConfirm(_) => {
                        Outcome::PeerVanished
                    }
                };
                self.over(call, outcome);
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
    fn end_legs(&mut self, outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        let State::Outgoing(outgoing) = &self.state else { return };
        let call = outgoing.call;
        let legs = outgoing.legs.iter().filter(|leg| !matches!(leg.state, LegState::Gone(_)));
        let addresses: Vec<(Address, AgreementPublicKey)> = legs.map(|leg| (leg.address.clone(), leg.key)).collect();
        for (address, key) in addresses {
            self.tell(&address, &key, call, &Signal::Over(outcome), rng);
        }
    }

    fn over(&mut self, call: CallId, outcome: Outcome) {
        self.state = State::Idle;
        self.agreements.retain(|(_, purpose)| matches!(purpose, Purpose::Open(..)));
        self.outputs.push_back(Output::Event(Event::Over { call, outcome }));
    }

    /// Seals a signal and sends it; returns the envelope, for sending it again.
    fn tell(
        &mut self,
        to: &Address,
        key: &AgreementPublicKey,
        call: CallId,
        signal: &Signal,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Vec<u8> {
        let Some(envelope) = self.mailbox.seal(to, key, call, self.wall, signal, rng) else { return Vec::new() };
        if matches!(signal, Signal::Over(_)) {
            if self.last_words.len() >= MAX_LAST_WORDS {
                self.last_words.pop_front();
            }
            self.last_words.push_back(LastWord { call, to: to.clone(), envelope: envelope.clone(), sent: Time::ZERO });
        }
        self.outputs.push_back(Output::Send { to: to.clone(), call, envelope: envelope.clone() });
        envelope
    }

    fn reject(&mut self, reason: &'static str) {
        self.outputs.push_back(Output::Event(Event::Rejected { reason }));
    }
}
