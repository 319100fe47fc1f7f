//! Calls: what people want, what the call machine says, and what is made of it.

use undertone_call::{DialError, Established, Outcome};
use undertone_keys::choice::{Agreement, ChoiceError, LegacyPolicy};
use undertone_keys::envelope::Address;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, Time};
use undertone_media::{Epoch, Ring};
use undertone_protocol::control::ToRelay;
use undertone_protocol::signal::ToServer;
use undertone_protocol::{Protection, Terms};
use undertone_transparency::TrustedPeer;

use super::media::{Media, PeerSide, With};
use super::path::Path;
use super::{CallInfo, Dialling, Engine, Event, Output, Record};

/// The first epoch of a one-to-one call.
const FIRST_EPOCH: Epoch = Epoch(1);
/// How long the server may take to open a call.
const OPENING: core::time::Duration = core::time::Duration::from_secs(10);

impl Engine {
    pub(super) fn dial(
        &mut self,
        now: Time,
        peer: TrustedPeer,
        (protection, legacy, quorum): (Protection, LegacyPolicy, Option<Vec<u8>>),
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if !self.may_begin() {
            return;
        }
        let (number, call) = (self.next_number, CallId::random(rng));
        self.next_number += 1;
        let callee = peer.user().clone();
        self.peers.insert(callee.clone(), (peer.clone(), now));
        let standing = peer.standing();
        self.outputs.push_back(Output::Event(Event::Calling { call, peer: callee.clone(), standing }));
        self.outputs.push_back(Output::Signal(ToServer::OpenCall { number, call, callee, protection }));
        let deadline = now + OPENING;
        self.dialling = Some(Dialling { number, call, peer, protection, legacy, quorum, deadline });
    }

    /// Whether something can begin; says why not.
    pub(super) fn may_begin(&mut self) -> bool {
        if self.is_busy() {
            self.refuse("there is a call already".into(), Outcome::Busy);
        } else if !self.online {
            self.refuse("the server is not connected".into(), Outcome::Offline);
        } else {
            return true;
        }
        false
    }

    pub(super) fn place_call(
        &mut self,
        now: Time,
        dialling: Dialling,
        grant: Signed,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Dialling { call, peer, protection, legacy, quorum, .. } = dialling;
        let (terms, wall) = (Terms::one_to_one(protection), self.wall(now));
        let terms = if quorum.is_some() { terms.with_quorum() } else { terms };
        match self.phone.ringing().filter(|ringing| ringing.caller == peer.user()) {
            // They called us while the server opened our call: both want the same.
            Some(theirs)
                if theirs.terms == terms && (theirs.agreement == Agreement::P256 || legacy == LegacyPolicy::Allow) =>
            {
                let theirs = theirs.call;
                self.compare_no_more(theirs);
                return self.phone(now, undertone_call::Input::Accept, rng);
            }
            // Not quite the same (rule NEG-1): a person looks at what rings, and decides.
            Some(_) => {
                let reason = "they call you at this very moment, and not as you asked for".into();
                return self.refuse(reason, Outcome::Busy);
            }
            None => {}
        }
        let input = undertone_call::Input::Dial { peer, call, terms, grant, wall, legacy, quorum };
        if let Err(error) = self.phone.handle_input(now, input, rng) {
            // A person may say yes, and call again.
            if error == DialError::Choice(ChoiceError::Ask) {
                self.event(Event::LegacyAsked);
            }
            return self.refuse(error.to_string(), Outcome::RefusedByPolicy);
        }
        self.drain_phone(now, rng);
    }

    /// A person takes this very call, if it still rings: what they were asked about may have ended meanwhile.
    pub(super) fn accept_only(&mut self, now: Time, call: CallId, rng: &mut impl rand_core::CryptoRng) {
        if self.phone.ringing().is_some_and(|ringing| ringing.call == call) && !self.rings_unheard() {
            self.phone(now, undertone_call::Input::Accept, rng);
        }
    }

    /// That a call was accepted could not be made durable: nothing of it may leave (rule STO-2).
    pub(super) fn not_stored(&mut self, now: Time, call: CallId, rng: &mut impl rand_core::CryptoRng) {
        self.outputs.retain(|output| match output {
            Output::Signal(ToServer::Send { call: about, .. }) | Output::Exchange { call: about, .. } => *about != call,
            _ => true,
        });
        self.phone(now, undertone_call::Input::Decline, rng);
    }

    pub(super) fn hang_up(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if let Some(dialling) = self.dialling.take() {
            let over = Event::Over { call: dialling.call, outcome: Outcome::Cancelled };
            self.outputs.push_back(Output::Event(over));
        }
        self.leave_if_in_room(now, rng);
        self.echo_over(Outcome::Ended);
        // A call that nobody has heard of yet is not the one that is ended.
        if !self.rings_unheard() {
            self.phone(now, undertone_call::Input::HangUp, rng);
        }
    }

    pub(super) fn phone(&mut self, now: Time, input: undertone_call::Input, rng: &mut impl rand_core::CryptoRng) {
        if let Err(error) = self.phone.handle_input(now, input, rng) {
            self.refuse(error.to_string(), Outcome::RefusedByPolicy);
        }
        self.drain_phone(now, rng);
    }

    pub(super) fn drain_phone(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        use undertone_call::{Event as CallEvent, Output as CallOutput};
        while let Some(output) = self.phone.poll_output() {
            match output {
                CallOutput::Store { call, until } => {
                    self.outputs.push_back(Output::Store(Record::Accepted { call, until }));
                }
                CallOutput::Send { to, call, envelope } => {
                    let message = ToServer::Send { to, call, envelope };
                    if self.online {
                        self.outputs.push_back(Output::Signal(message));
                    } else {
                        self.keep(now, message);
                    }
                }
                CallOutput::Ask { request, question } => self.outputs.push_back(Output::Ask { request, question }),
                CallOutput::Exchange { call, request, exchange } => {
                    self.outputs.push_back(Output::Exchange { call, request, exchange });
                }
                CallOutput::Event(CallEvent::Ringing { call }) => self.event(Event::Ringing { call }),
                // Whoever is in a room, or tests themselves, is busy.
                CallOutput::Event(CallEvent::Incoming { .. }) if self.is_elsewhere() => {
                    if let Err(error) = self.phone.handle_input(now, undertone_call::Input::Busy, rng) {
                        self.reject(error.to_string());
                    }
                }
                CallOutput::Event(CallEvent::Over { .. }) if self.is_elsewhere() => {}
                CallOutput::Event(CallEvent::Incoming { call, caller, standing, terms, agreement, told, quorum }) => {
                    let (protection, peer) = (terms.protection, caller.clone());
                    let event = Event::Incoming { call, peer: caller, standing, protection, agreement, quorum };
                    self.rings(now, call, peer, told, event);
                }
                CallOutput::Event(CallEvent::Established(call)) => self.agreed(now, call, rng),
                CallOutput::Event(CallEvent::Yielded { ours, theirs }) => self.event(Event::Yielded { ours, theirs }),
                CallOutput::Event(CallEvent::Over { call, outcome }) => self.call_over(call, outcome),
                CallOutput::Event(CallEvent::Rejected { reason }) => self.reject(reason),
            }
        }
    }

    pub(super) fn established(&mut self, now: Time, call: Established, rng: &mut impl rand_core::CryptoRng) {
        let peer_device = Address { user: call.peer.user().clone(), device: call.device };
        let mut ring = Ring::new(call.call);
        // A new ring takes its first key. In a hop room the call's own key has nothing to do: it is wiped here.
        let protection = call.terms.protection;
        if protection == Protection::Blind && ring.install(now, FIRST_EPOCH, call.key).is_err() {
            return self.phone(now, undertone_call::Input::HangUp, rng);
        }
        let info = CallInfo {
            call: call.call,
            role: call.role,
            peer: peer_device.clone(),
            account: *call.peer.account(),
            standing: call.peer.standing(),
            sas: call.sas,
            protection,
            agreement: call.agreement,
            epoch: (protection == Protection::Blind).then_some(FIRST_EPOCH.0),
            quorum: call.quorum,
        };
        let side = PeerSide { peer: call.peer, device: peer_device, grant: call.peer_grant };
        let side = With::Peer(Box::new(side));
        self.media = Some(Media::new(call.call, side, call.grant, ring, protection, Path::new(now)));
        self.event(Event::Established(Box::new(info)));
        self.outputs.push_back(Output::OpenRelay);
    }

    pub(super) fn call_over(&mut self, call: CallId, outcome: Outcome) {
        if self.compare_no_more(call) {
            return;
        }
        if self.media.take_if(|media| media.call == call).is_some() {
            self.outputs.push_back(Output::Relay(ToRelay::Leave));
            self.outputs.push_back(Output::CloseRelay);
        }
        self.event(Event::Over { call, outcome });
    }
}
