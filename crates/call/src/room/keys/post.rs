//! Letters about keys: sealed to a join's own key, paced, and opened (rules GRP-7, ID-4).

use std::collections::VecDeque;

use undertone_keys::choice::{Agreement, LegacyPolicy, choose};
use undertone_keys::envelope::{self, Address, Envelope, Header, Purpose};
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::{DeviceId, RequestId, Time};
use undertone_media::key_id::SenderIndex;

use crate::room::policy::GroupPolicy;
use crate::room::roster::Seat;
use crate::room::{KeySignal, Output, RoomCall};

/// Letters that came before their sender was proven, or before their list.
const MAX_EARLY: usize = 64;
/// Letters about which the device's own key is being asked.
const MAX_ASKED: usize = 16;
/// Letters remembered as seen (rule ID-4).
const MAX_SEEN: usize = 4096;

/// What a letter is about: the header's term and epoch, and its request.
#[derive(Clone, Copy, Debug)]
pub(in crate::room) struct About {
    pub(in crate::room) term: u32,
    pub(in crate::room) epoch: u32,
    pub(in crate::room) request: RequestId,
}

/// A letter that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) about: About,
    pub(super) signal: KeySignal,
}

/// Letters per time (rule DOS-1): a burst, and then one after the other.
#[derive(Debug)]
pub(in crate::room) struct Pace {
    budget: u32,
    refilled: Time,
}

impl Pace {
    pub(in crate::room) const fn new(now: Time, policy: &GroupPolicy) -> Self {
        Self { budget: policy.letters_burst, refilled: now }
    }

    /// Whether one more may go out now.
    pub(in crate::room) fn take(&mut self, now: Time, policy: &GroupPolicy) -> bool {
        let pace = policy.letter_pace.as_micros().max(1);
        let refill = u32::try_from(now.since(self.refilled).as_micros() / pace).unwrap_or(u32::MAX);
        if refill > 0 {
            self.budget = self.budget.saturating_add(refill).min(policy.letters_burst);
            self.refilled = now;
        }
        let may = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        may
    }

    pub(in crate::room) fn next(&self, policy: &GroupPolicy) -> Time {
        self.refilled + policy.letter_pace
    }
}

/// What came in and what was seen.
#[derive(Debug, Default)]
pub(super) struct Letters {
    early: VecDeque<(Address, Vec<u8>)>,
    seen: VecDeque<(DeviceId, RequestId, u32)>,
    /// Sealed to the device's own key, which is being asked, by the question's number.
    asked: VecDeque<(u64, Address, Vec<u8>)>,
    next_question: u64,
    /// How many letters went out, and their bytes.
    pub(super) sent: (u64, u64),
}

impl Letters {
    pub(super) fn keep_early(&mut self, from: Address, envelope: Vec<u8>) {
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back((from, envelope));
    }

    pub(super) fn take_early(&mut self) -> VecDeque<(Address, Vec<u8>)> {
        core::mem::take(&mut self.early)
    }

    /// Makes a letter new again that is to be looked at once more.
    pub(super) fn unsee(&mut self, from: DeviceId, about: About) {
        self.seen.retain(|seen| *seen != (from, about.request, about.epoch));
    }

    /// Keeps a letter until the device's own key has answered; the question's number.
    fn ask(&mut self, from: Address, envelope: Vec<u8>) -> u64 {
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
        }
        let number = self.next_question;
        self.next_question += 1;
        self.asked.push_back((number, from, envelope));
        number
    }

    /// The letter that this question was about.
    pub(super) fn asked_about(&mut self, number: u64) -> Option<(Address, Vec<u8>)> {
        let place = self.asked.iter().position(|(asked, ..)| *asked == number)?;
        self.asked.remove(place).map(|(_, from, envelope)| (from, envelope))
    }

    pub(super) fn ask_no_more(&mut self) {
        self.asked.clear();
    }

    fn see(&mut self, seen: (DeviceId, RequestId, u32)) {
        if self.seen.len() >= MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }
}

impl RoomCall {
    /// Seals a letter to the present join of a member.
    pub(in crate::room) fn post(
        &mut self,
        index: SenderIndex,
        about: About,
        signal: &KeySignal,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted()) else { return };
        let to = seat.member().clone();
        let header = Header {
            format: envelope::FORMAT,
            algorithm: Agreement::P256,
            purpose: Purpose::RoomKey,
            context: *self.call.as_bytes(),
            term: about.term,
            epoch: about.epoch,
            not_before: self.wall,
            sender: self.local.address.clone(),
            recipient: to.clone(),
            request: about.request,
        };
        let Some(key) = self.key_of(seat) else { return };
        if let Ok(envelope) = envelope::seal(rng, &self.local.identity, &header, &key, &signal.encode()) {
            let (letters, bytes) = self.keys.letters.sent;
            let length = u64::try_from(envelope.len()).unwrap_or_default();
            self.keys.letters.sent = (letters + 1, bytes + length);
            let lasting =
                matches!(signal, KeySignal::Prepare { .. } | KeySignal::Told { .. } | KeySignal::Handover { .. });
            self.outputs.push_back(Output::Send { to, envelope, lasting });
        }
    }

    /// What letters to this join are sealed to: its own key, or else that of the device (rule GRP-7). A device that had
    /// P-256 before and shows RSA now has none (rule ID-3).
    fn key_of(&self, seat: &Seat) -> Option<StaticKey> {
        if let Some(ephemeral) = seat.entry().join.ephemeral {
            return Some(StaticKey::P256(ephemeral));
        }
        let peer = self.known.get(&seat.member().user)?.peer.as_ref()?;
        let record = peer.device(seat.member().device)?;
        choose(peer.offer(record), LegacyPolicy::Allow).ok()?;
        record.static_key()
    }

    /// Opens a letter of a proven device. `None` for whatever does not open, was sealed to an earlier join, or came
    /// before; and where the device's own key has to be asked, which is done here, and `answer` is what it says.
    pub(super) fn open_letter(&mut self, from: &Address, bytes: &[u8], answer: Option<Answer>) -> Option<Opened> {
        let me = self.me.as_ref()?;
        let own = me.ephemeral.as_ref().map_or_else(|| self.local.key.clone(), |key| StaticKey::P256(*key.public()));
        let envelope = Envelope::from_bytes(bytes).ok()?;
        let record = self.known.get(&from.user)?.peer.as_ref()?.device(from.device)?;
        let context = self.call.as_bytes();
        let envelope = envelope.verify(record, &self.local.address, own.kind(), Purpose::RoomKey, context).ok()?;
        let header = envelope.header();
        let about = About { term: header.term, epoch: header.epoch, request: header.request };
        let seen = (from.device, about.request, about.epoch);
        let again = self.keys.letters.seen.contains(&seen);
        let answer = match (&me.ephemeral, envelope.question(), answer) {
            (Some(key), Question::Agree(peer), _) => Answer::Agreed(key.agree(&peer).ok()?),
            (Some(_), Question::Unwrap(..), _) => return None,
            (None, _, Some(answer)) => answer,
            (None, question, None) => {
                let request = self.keys.letters.ask(from.clone(), bytes.to_vec());
                self.outputs.push_back(Output::Ask { request, question });
                return None;
            }
        };
        let text = envelope.open(&own, &answer).ok()?;
        let signal = KeySignal::decode(&text).ok()?;
        // A request is sent again under its id when its answer may be lost (rule EKR-2): it is answered again, and changes
        // nothing else. Everything else counts once.
        if again && !matches!(signal, KeySignal::Request { .. }) {
            return None;
        }
        if !again {
            self.keys.letters.see(seen);
        }
        Some(Opened { about, signal })
    }
}
