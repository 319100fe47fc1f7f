//! The caller's side: one leg for each of the callee's devices.

use undertone_keys::agreement::{Refused, SharedSecret};
use undertone_keys::choice::{Agreement, LegacyPolicy};
use undertone_keys::legacy::LegacyHalf;
use undertone_keys::sign::Signed;
use undertone_keys::{CallId, DeviceId, Time};
use undertone_protocol::Terms;
use undertone_transparency::TrustedPeer;

use super::{Active, DialError, Established, Event, Output, Phone, Purpose, Role, State};
use crate::incoming;
use crate::local::Local;
use crate::outcome::Outcome;
use crate::outgoing::{CallerShare, Confirmed, Leg, LegState, Next, Outgoing};
use crate::quorum::{Exchange, Exchanged, LONGEST, NoQuorum};
use crate::signal::Signal;

impl Phone {
    pub(super) fn dial(
        &mut self,
        now: Time,
        peer: TrustedPeer,
        call: CallId,
        (terms, legacy, quorum): (Terms, LegacyPolicy, Option<Vec<u8>>),
        grant: Signed,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(), DialError> {
        if self.is_busy() {
            return Err(DialError::InCall);
        }
        if !incoming::grant_fits(&grant, &self.mailbox.local, call, &terms) {
            return Err(DialError::Grant);
        }
        if quorum.is_some() != terms.quorum || quorum.as_ref().is_some_and(|offer| offer.len() > LONGEST) {
            return Err(DialError::Quorum);
        }
        // Whoever has RSA alone has said yes to it.
        let legacy = if self.mailbox.local.key.p256().is_none() { LegacyPolicy::Allow } else { legacy };
        let (mut legs, mut refused) = (Vec::new(), None);
        let local = &self.mailbox.local;
        let here = local.address.device;
        for record in peer.devices().filter(|record| record.device != here) {
            match Leg::new(local, &peer, record, call, (terms, quorum.as_deref()), &grant, self.wall, legacy, rng) {
                Ok(leg) => legs.push(leg),
                Err(error) => refused = Some(error),
            }
        }
        if legs.is_empty() {
            return Err(refused.map_or(DialError::NoDevice, DialError::Choice));
        }
        for leg in &mut legs {
            let invite = leg.signal();
            leg.envelope = self.mailbox.seal(&leg.address, &leg.key, call, self.wall, &invite, rng).unwrap_or_default();
            leg.resend_at = now + self.policy.resend;
            self.outputs.push_back(Output::Send { to: leg.address.clone(), call, envelope: leg.envelope.clone() });
        }
        let deadline = now + self.policy.ringing;
        let outgoing = Outgoing { call, peer, terms, grant, legs, deadline, rang: false, legacy };
        self.state = State::Outgoing(Box::new(outgoing));
        Ok(())
    }

    pub(super) fn undelivered(&mut self, now: Time, device: DeviceId, call: CallId) {
        // A goodbye to somebody who is on their way back is worth a few tries.
        let mut words = self.last_words.iter_mut().rev();
        if let Some(word) = words.find(|word| word.call == call && word.to.device == device) {
            word.retry = (word.retries > 0).then(|| now + self.policy.resend / 2);
            word.retries = word.retries.saturating_sub(1);
        }
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
    pub(super) fn settle(&mut self) {
        if let State::Outgoing(outgoing) = &self.state
            && let Some(outcome) = outgoing.verdict()
        {
            let call = outgoing.call;
            self.over(call, outcome);
        }
    }

    pub(super) fn caller_agreed(
        &mut self,
        now: Time,
        (call, device, share): (CallId, DeviceId, CallerShare),
        secret: Result<SharedSecret, Refused>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        self.leg_has(now, (call, device), rng, |leg, local| match secret {
            Ok(secret) => leg.agreed(local, share, secret),
            Err(_) => Err(Outcome::RefusedByPolicy),
        });
    }

    pub(super) fn caller_exchanged(
        &mut self,
        now: Time,
        (call, device): (CallId, DeviceId),
        exchanged: Result<Exchanged, NoQuorum>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        self.leg_has(now, (call, device), rng, |leg, local| match exchanged {
            Ok(exchanged) => leg.took_quorum(local, (exchanged.secret, exchanged.nodes)),
            Err(NoQuorum) => Err(Outcome::NoQuorum),
        });
    }

    /// A leg that waits for what its key is made of has one thing more, or will not have it.
    fn leg_has(
        &mut self,
        now: Time,
        (call, device): (CallId, DeviceId),
        rng: &mut impl rand_core::CryptoRng,
        take: impl FnOnce(&mut Leg, &Local) -> Result<Option<Box<Confirmed>>, Outcome>,
    ) {
        let State::Outgoing(outgoing) = &mut self.state else { return };
        if outgoing.call != call {
            return;
        }
        let Some(leg) = outgoing.leg(device) else { return };
        if !matches!(leg.state, LegState::AwaitingAgreement(_)) {
            return;
        }
        match take(leg, &self.mailbox.local) {
            Ok(None) => {}
            Ok(Some(confirmed)) => self.establish_as_caller(now, device, *confirmed, rng),
            Err(outcome) => self.leg_gone((call, device), outcome, rng),
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Time,
        (call, device): (CallId, DeviceId),
        (body, mac, half): (Vec<u8>, [u8; 32], Option<LegacyHalf>),
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Outgoing(outgoing) = &mut self.state else { return };
        if outgoing.call != call {
            return;
        }
        let local = &self.mailbox.local;
        let Some(leg) = outgoing.leg(device) else { return };
        match leg.answered(local, body, mac, half) {
            Next::Nothing => {}
            Next::Obtain(ephemeral, set) => {
                let agreeing = ephemeral.zip(leg.key.p256().copied());
                if let Some((ephemeral, key)) = agreeing {
                    self.ask(key, Purpose::Caller(call, device, CallerShare::StaticStatic));
                    self.ask(ephemeral, Purpose::Caller(call, device, CallerShare::StaticEphemeral));
                }
                if let Some(set) = set {
                    self.exchange(call, Exchange::Take { set }, Purpose::CallerQuorum(call, device));
                }
            }
            Next::Confirm(Ok(confirmed)) => self.establish_as_caller(now, device, *confirmed, rng),
            Next::Confirm(Err(outcome)) => self.leg_gone((call, device), outcome, rng),
        }
    }

    /// A device is out of the call, and told so.
    fn leg_gone(&mut self, (call, device): (CallId, DeviceId), outcome: Outcome, rng: &mut impl rand_core::CryptoRng) {
        let State::Outgoing(outgoing) = &mut self.state else { return };
        let Some(leg) = outgoing.leg(device) else { return };
        leg.state = LegState::Gone(outcome);
        let (address, key) = (leg.address.clone(), leg.key.clone());
        self.tell(&address, &key, call, &Signal::Over(outcome), rng);
        self.settle();
    }

    pub(super) fn establish_as_caller(
        &mut self,
        now: Time,
        device: DeviceId,
        confirmed: Confirmed,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let State::Outgoing(outgoing) = core::mem::replace(&mut self.state, State::Idle) else { return };
        let call = outgoing.call;
        let mut agreement = Agreement::P256;
        let confirm = Signal::Confirm { half: *confirmed.half.as_bytes(), mac: confirmed.mac };
        for leg in &outgoing.legs {
            if leg.address.device == device {
                agreement = leg.agreement();
                let envelope = self.tell(&leg.address, &leg.key, call, &confirm, rng);
                self.state = State::Active(Active {
                    call,
                    peer: leg.address.clone(),
                    key: leg.key.clone(),
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
            agreement,
            grant: outgoing.grant,
            peer_grant: confirmed.peer_grant,
            told: confirmed.told,
            quorum: confirmed.quorum,
        }))));
    }
}
