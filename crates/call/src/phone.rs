//! The machine that owns a device's calls: at most one at a time, in one of four states.
//!
//! Here: what comes in and where it goes. [`calling`] and [`answering`] are the two sides of a call, [`ending`] is how
//! calls end on both.

mod answering;
mod calling;
mod ending;
mod interface;

use std::collections::VecDeque;

use undertone_keys::agreement::{AgreementPublicKey, Refused};
use undertone_keys::choice::LegacyPolicy;
use undertone_keys::envelope::{Address, EnvelopeError};
use undertone_keys::sign::Signed;
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::{CallId, DeviceId, Time, WallTime};
use undertone_transparency::TrustedPeer;

use crate::incoming::{CalleeShare, Incoming, IncomingState};
use crate::local::Local;
use crate::mailbox::{Mailbox, Opening, Receipt};
use crate::outcome::Outcome;
use crate::outgoing::{CallerShare, LegState, Outgoing};
use crate::policy::Policy;
use crate::quorum::{Exchange, Exchanged, NoQuorum};
use crate::signal::Signal;
pub use interface::{DialError, Established, Event, Input, Output, Ringing, Role};

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
    key: StaticKey,
    /// The caller's confirmation, sent again when the callee asks by repeating its answer.
    confirm: Option<(Vec<u8>, Time)>,
}

/// What an outstanding agreement is for.
#[derive(Debug)]
enum Purpose {
    Caller(CallId, DeviceId, CallerShare),
    Callee(CallId, CalleeShare),
    CallerQuorum(CallId, DeviceId),
    CalleeQuorum(CallId),
}

#[derive(Debug)]
struct BeingOpened {
    request: u64,
    opening: Box<Opening>,
    wall: WallTime,
    answer: Option<Result<Answer, Refused>>,
}

/// One device's calls.
#[derive(Debug)]
pub struct Phone {
    mailbox: Mailbox,
    policy: Policy,
    legacy: LegacyPolicy,
    state: State,
    accepted: Vec<(CallId, WallTime)>,
    /// Envelopes being opened, in the order in which they came. They are applied in that order, whichever agreement is
    /// done first: a cancelled call must not ring since its goodbye was quicker than its invite.
    opening: VecDeque<BeingOpened>,
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
    /// When it is said once more, since the server could not hand it over, and how often that is still done.
    retry: Option<Time>,
    retries: u32,
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
            opening: VecDeque::new(),
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
            Input::Dial { peer, call, terms, grant, wall, legacy, quorum } => {
                self.wall = wall;
                return self.dial(now, peer, call, (terms, legacy, quorum), grant, rng);
            }
            Input::Received { envelope, peer, grant, wall } => {
                self.wall = wall;
                self.receive(now, &envelope, peer, grant);
            }
            Input::Undelivered { device, call } => self.undelivered(now, device, call),
            Input::Answered { request, answer } => self.key_answered(now, request, answer, rng),
            Input::Exchanged { request, exchanged } => self.exchanged(now, request, exchanged, rng),
            Input::Accept => self.accept(now, rng),
            Input::Decline => self.decline(Outcome::Declined, rng),
            Input::Refuse => self.decline(Outcome::RefusedByPolicy, rng),
            Input::Disprove => self.decline(Outcome::RefusedByProof, rng),
            Input::Busy => self.decline(Outcome::Busy, rng),
            Input::NoQuorum(call) => {
                if self.ringing().is_some_and(|ringing| ringing.call == call) {
                    self.decline(Outcome::NoQuorum, rng);
                }
            }
            Input::HangUp => self.hang_up(rng),
            Input::End(outcome) => self.end(outcome, rng),
            Input::PeerGone => self.peer_gone(),
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
        let words = self.last_words.iter().filter_map(|word| word.retry).min();
        self.state_timeout().into_iter().chain(words).min()
    }

    /// Whether a goodbye has not been handed over yet and will be tried again.
    #[must_use]
    pub fn has_more_to_say(&self) -> bool {
        self.last_words.iter().any(|word| word.retry.is_some())
    }

    fn state_timeout(&self) -> Option<Time> {
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
                IncomingState::AwaitingDecision | IncomingState::AwaitingAgreement(_) => Some(incoming.deadline),
            },
        }
    }

    /// What rings, while a person's decision is awaited.
    #[must_use]
    pub fn ringing(&self) -> Option<Ringing<'_>> {
        match &self.state {
            State::Incoming(incoming) if matches!(incoming.state, IncomingState::AwaitingDecision) => Some(Ringing {
                call: incoming.call(),
                caller: &incoming.caller.user,
                terms: incoming.checked.invite.terms,
                agreement: incoming.checked.agreement(),
            }),
            State::Idle | State::Outgoing(_) | State::Incoming(_) | State::Active(_) => None,
        }
    }

    /// What is done from now on about calls from devices that have RSA alone.
    pub const fn set_legacy(&mut self, policy: LegacyPolicy) {
        self.legacy = policy;
    }

    /// Whether there is a call in whatever state.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    fn receive(&mut self, now: Time, bytes: &[u8], peer: TrustedPeer, grant: Option<Signed>) {
        if self.opening.len() >= self.policy.max_opening {
            self.reject("too many envelopes wait to be opened");
            return;
        }
        match self.mailbox.receive(bytes, peer, grant) {
            Receipt::Fresh(opening) => {
                let wall = self.wall;
                let request = self.ask_key(opening.question());
                self.opening.push_back(BeingOpened { request, opening, wall, answer: None });
            }
            Receipt::Again { sender, call } => self.repeat(now, sender, call),
            Receipt::Rejected(EnvelopeError::Signature) => self.reject("an envelope was not signed by its sender"),
            Receipt::Rejected(EnvelopeError::Format(_)) => {
                self.reject("an envelope of a format that this version does not speak: is the other side newer?");
            }
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
        let request = self.ask_key(Question::Agree(peer));
        self.agreements.push((request, purpose));
    }

    /// Has something done with the swarm.
    fn exchange(&mut self, call: CallId, exchange: Exchange, purpose: Purpose) {
        let request = self.next_request;
        self.next_request += 1;
        self.agreements.push((request, purpose));
        self.outputs.push_back(Output::Exchange { call, request, exchange });
    }

    fn exchanged(
        &mut self,
        now: Time,
        request: u64,
        exchanged: Result<Exchanged, NoQuorum>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(place) = self.agreements.iter().position(|(number, _)| *number == request) else { return };
        match self.agreements.remove(place).1 {
            Purpose::CallerQuorum(call, device) => self.caller_exchanged(now, (call, device), exchanged, rng),
            Purpose::CalleeQuorum(call) => self.callee_exchanged(now, call, exchanged, rng),
            // A key was asked there, and still is.
            purpose @ (Purpose::Caller(..) | Purpose::Callee(..)) => self.agreements.push((request, purpose)),
        }
    }

    fn ask_key(&mut self, question: Question) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.outputs.push_back(Output::Ask { request, question });
        request
    }

    fn key_answered(
        &mut self,
        now: Time,
        request: u64,
        answer: Result<Answer, Refused>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if let Some(waiting) = self.opening.iter_mut().find(|waiting| waiting.request == request) {
            waiting.answer = Some(answer);
            while let Some(ready) = self.opening.pop_front_if(|first| first.answer.is_some()) {
                self.open(now, ready, rng);
            }
            return;
        }
        let Some(place) = self.agreements.iter().position(|(number, _)| *number == request) else { return };
        let secret = answer.and_then(|answer| answer.agreed().ok_or(Refused::Denied));
        match self.agreements.remove(place).1 {
            Purpose::Caller(call, device, share) => self.caller_agreed(now, (call, device, share), secret, rng),
            Purpose::Callee(call, share) => self.callee_agreed(now, call, share, secret, rng),
            purpose @ (Purpose::CallerQuorum(..) | Purpose::CalleeQuorum(_)) => {
                self.agreements.push((request, purpose))
            }
        }
    }

    fn open(&mut self, now: Time, ready: BeingOpened, rng: &mut impl rand_core::CryptoRng) {
        let BeingOpened { opening, wall, answer, .. } = ready;
        match answer {
            Some(Ok(answer)) => match opening.open(&self.mailbox.local, &answer) {
                Some(signal) => self.signal(now, *opening, signal, wall, rng),
                None => self.reject("an envelope did not open"),
            },
            Some(Err(refused)) => {
                // One that cannot be reached may open it when it is sent again; one that says no has said so.
                if refused == Refused::Unavailable {
                    self.mailbox.unsee(&opening);
                }
                self.reject("the device key did not open an envelope");
            }
            None => {}
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
            Signal::Invite(body) => self.invited(now, opening, (body, None), wall, rng),
            Signal::LegacyInvite { body, half } => self.invited(now, opening, (body, Some(half)), wall, rng),
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
            Signal::Answer { body, mac } => self.answered(now, (call, sender.device), (body, mac, None), rng),
            Signal::LegacyAnswer { body, mac, half } => {
                self.answered(now, (call, sender.device), (body, mac, Some(half)), rng);
            }
            Signal::Confirm { half, mac } => self.confirmed(call, sender.device, half, &mac, rng),
            Signal::Over(outcome) => self.told_over(call, sender.device, outcome, rng),
        }
    }
}
