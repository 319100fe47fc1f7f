//! What peers were shown of the key directory's log, compared before anybody is asked and before anything flows (rule KT-13).
//!
//! Mostly both were shown the same, and nothing has to be asked. Otherwise the call waits, for as long as a request takes.

pub use undertone_call::room::Compared;
use undertone_call::room::Input as RoomInput;
use undertone_call::{Established, Outcome};
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, Time, UserId};

use super::{Engine, Event, Output};

/// How long a comparison may take.
const COMPARING: core::time::Duration = core::time::Duration::from_secs(10);

/// A call that waits for a comparison.
#[derive(Debug)]
pub(super) struct Comparing {
    number: u64,
    call: CallId,
    peer: Address,
    then: Then,
    pub(super) deadline: Time,
}

/// What it goes on with.
#[derive(Debug)]
enum Then {
    /// A person is asked.
    Ring(Event),
    /// Sound flows.
    Talk(Box<Established>),
}

impl Engine {
    /// A call came in: a person is asked once it is known that both were shown one log.
    pub(super) fn rings(&mut self, now: Time, call: CallId, peer: Address, told: Vec<u8>, event: Event) {
        let mine = self.peers.get(&peer.user).map(|(known, _)| known.checkpoint());
        if mine == Some(told.as_slice()) {
            return self.event(event);
        }
        self.compare(now, call, peer, told, Then::Ring(event));
    }

    /// Both sides have confirmed the keys: the call begins once it is known that both were shown one log.
    pub(super) fn agreed(&mut self, now: Time, mut call: Box<Established>, rng: &mut impl rand_core::CryptoRng) {
        if call.told == call.peer.checkpoint() {
            return self.established(now, *call, rng);
        }
        let told = core::mem::take(&mut call.told);
        let peer = Address { user: call.peer.user().clone(), device: call.device };
        self.compare(now, call.call, peer, told, Then::Talk(call));
    }

    fn compare(&mut self, now: Time, call: CallId, peer: Address, told: Vec<u8>, then: Then) {
        let number = self.next_comparison;
        self.next_comparison += 1;
        let user = peer.user.clone();
        self.comparing = Some(Comparing { number, call, peer, then, deadline: now + COMPARING });
        self.outputs.push_back(Output::Compare { number, peer: user, told });
    }

    /// Something else has happened to the call meanwhile. Whether it was one that nobody has been asked about yet.
    pub(super) fn compare_no_more(&mut self, call: CallId) -> bool {
        let waited = self.comparing.take_if(|comparing| comparing.call == call);
        waited.is_some_and(|comparing| matches!(comparing.then, Then::Ring(_)))
    }

    /// Whether a call rings that nobody has been asked about yet.
    pub(super) fn rings_unheard(&self) -> bool {
        self.comparing.as_ref().is_some_and(|comparing| matches!(comparing.then, Then::Ring(_)))
    }

    pub(super) fn compared(&mut self, now: Time, number: u64, compared: Compared, rng: &mut impl rand_core::CryptoRng) {
        if let Some((_, host)) = self.comparing_in_room.take_if(|(asked, _)| *asked == number) {
            return self.compared_in_room(now, host, compared, rng);
        }
        let Some(comparing) = self.comparing.take_if(|comparing| comparing.number == number) else { return };
        // Both called each other, and what was to ring is taken already: it is compared once more before anything flows.
        let rings = self.phone.ringing().is_some_and(|ringing| ringing.call == comparing.call);
        if matches!(comparing.then, Then::Ring(_)) && !rings {
            return;
        }
        let outcome = match compared {
            Compared::Agrees => {
                return match comparing.then {
                    Then::Ring(event) => self.event(event),
                    Then::Talk(call) => self.established(now, *call, rng),
                };
            }
            Compared::Disagrees(reason) => {
                let (call, peer) = (Some(comparing.call), comparing.peer.user.clone());
                self.event(Event::Disproved { call, peer, reason });
                Outcome::RefusedByProof
            }
            Compared::Untrue => {
                self.reject("they say that they were shown a key directory which the server has not signed");
                Outcome::RefusedByPolicy
            }
            Compared::Unavailable => {
                self.reject("the server did not show that it shows both sides one key directory; it is asked again");
                Outcome::Offline
            }
        };
        let disproved = outcome == Outcome::RefusedByProof;
        let input = match comparing.then {
            Then::Ring(_) if disproved => undertone_call::Input::Disprove,
            Then::Ring(event) => {
                // Nobody has heard of it, and nobody hears that it is over.
                self.comparing = Some(Comparing { then: Then::Ring(event), ..comparing });
                return self.phone(now, undertone_call::Input::Refuse, rng);
            }
            Then::Talk(_) => undertone_call::Input::End(outcome),
        };
        self.phone(now, input, rng);
    }

    /// What a host was shown is compared while people talk.
    pub(super) fn compare_in_room(&mut self, peer: UserId, told: Vec<u8>) {
        let number = self.next_comparison;
        self.next_comparison += 1;
        self.comparing_in_room = Some((number, peer.clone()));
        self.outputs.push_back(Output::Compare { number, peer, told });
    }

    fn compared_in_room(&mut self, now: Time, peer: UserId, compared: Compared, rng: &mut impl rand_core::CryptoRng) {
        let call = self.media.as_ref().filter(|media| media.is_room()).map(|media| media.call);
        if let (Compared::Disagrees(reason), true) = (&compared, call.is_some()) {
            self.event(Event::Disproved { call, peer, reason: reason.clone() });
        }
        self.room(now, RoomInput::Compared(compared), rng);
    }

    pub(super) fn tick_comparing(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let late = self.comparing.as_ref().filter(|comparing| comparing.deadline <= now);
        if let Some(number) = late.map(|comparing| comparing.number) {
            self.compared(now, number, Compared::Unavailable, rng);
        }
    }
}
