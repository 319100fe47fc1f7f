//! A call this device makes: one leg for each of the callee's devices.

use undertone_keys::agreement::{AgreementPublicKey, EphemeralKey, SharedSecret};
use undertone_keys::call_agreement::{CallKeys, Shares, Transcript};
use undertone_keys::cbor;
use undertone_keys::choice::{Agreement, ChoiceError, LegacyPolicy, choose};
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::legacy::LegacyHalf;
use undertone_keys::quorum::QuorumSecret;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sas::{Half, Sas};
use undertone_keys::sign::Signed;
use undertone_keys::static_key::StaticKey;
use undertone_keys::{CallId, DeviceId, Time};
use undertone_protocol::{Grant, Terms};
use undertone_transparency::TrustedPeer;

use crate::local::Local;
use crate::outcome::Outcome;
use crate::quorum::{self, QuorumNodes};
use crate::signal::{Answer, Invite, Signal};

/// Where one of the callee's devices stands.
#[derive(Debug)]
pub(crate) enum LegState {
    /// The invite is out.
    AwaitingRing,
    /// The device rings.
    AwaitingAnswer,
    /// It answered; two agreements of this device's key are asked for.
    AwaitingAgreement(Box<Answered>),
    /// It is out of the game.
    Gone(Outcome),
}

/// An answer that is not confirmed yet.
#[derive(Debug)]
pub(crate) struct Answered {
    body: Vec<u8>,
    answer: Answer,
    mac: [u8; 32],
    static_static: Option<SharedSecret>,
    static_ephemeral: Option<SharedSecret>,
    /// The callee's half, where nothing agrees.
    legacy: Option<LegacyHalf>,
    quorum: Quorum,
}

/// The quorum secret of a leg.
#[derive(Debug)]
enum Quorum {
    /// None is mixed in.
    NotOfTheTerms,
    /// Its shares are being fetched.
    Awaited,
    /// It is there.
    Taken(QuorumSecret, QuorumNodes),
}

/// What an answer leads to.
#[derive(Debug)]
pub(crate) enum Next {
    /// It is not one to our invite.
    Nothing,
    /// This device's key must agree with the callee's static key, and with this ephemeral of it, where there is one; and the quorum secret is to be
    /// fetched from where this says, where there is one.
    Obtain(Option<AgreementPublicKey>, Option<Vec<u8>>),
    /// Everything is there.
    Confirm(Result<Box<Confirmed>, Outcome>),
}

/// Which of the two agreements of a leg an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerShare {
    StaticStatic,
    StaticEphemeral,
}

#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) address: Address,
    pub(crate) key: StaticKey,
    share: Share,
    wants_quorum: bool,
    half: Half,
    /// The exact bytes of the invite's body.
    pub(crate) invite: Vec<u8>,
    pub(crate) state: LegState,
    /// The last envelope sent, to be sent again until something comes back.
    pub(crate) envelope: Vec<u8>,
    pub(crate) resend_at: Time,
}

/// What this side brings to the key besides its static key.
#[derive(Debug)]
pub(crate) enum Share {
    /// An ephemeral, to agree with (rule CALL-1).
    Agreement(EphemeralKey),
    /// A half, to be sealed (rule CALL-2).
    Legacy(LegacyHalf),
}

/// What a leg whose answer confirmed brings.
#[derive(Debug)]
pub(crate) struct Confirmed {
    pub(crate) keys: CallKeys,
    pub(crate) sas: Sas,
    /// For the callee: our half and our MAC.
    pub(crate) half: Half,
    pub(crate) mac: [u8; 32],
    pub(crate) peer_grant: [u8; 32],
    /// What the callee was shown of the log.
    pub(crate) told: Vec<u8>,
    /// Over which nodes the quorum secret came.
    pub(crate) quorum: Option<QuorumNodes>,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) call: CallId,
    pub(crate) peer: TrustedPeer,
    pub(crate) terms: Terms,
    pub(crate) grant: Signed,
    pub(crate) legs: Vec<Leg>,
    pub(crate) deadline: Time,
    pub(crate) rang: bool,
    /// What was said about devices that have RSA alone.
    pub(crate) legacy: LegacyPolicy,
}

impl Leg {
    /// A leg to one device, if the policy allows the algorithm it needs.
    #[expect(clippy::too_many_arguments, reason = "everything an invite's body names")]
    pub(crate) fn new(
        local: &Local,
        peer: &TrustedPeer,
        record: &DeviceRecord,
        call: CallId,
        (terms, quorum): (Terms, Option<&[u8]>),
        grant: &Signed,
        wall: undertone_keys::WallTime,
        legacy: LegacyPolicy,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, ChoiceError> {
        choose(peer.offer(record), legacy)?;
        let key = record.static_key().ok_or(ChoiceError::NoKey)?;
        let address = Address { user: record.user.clone(), device: record.device };
        let half = Half::random(rng);
        let agrees = key.p256().is_some() && local.key.p256().is_some();
        let share =
            if agrees { Share::Agreement(EphemeralKey::generate(rng)) } else { Share::Legacy(LegacyHalf::random(rng)) };
        let ephemeral = match &share {
            Share::Agreement(ephemeral) => Some(*ephemeral.public()),
            Share::Legacy(_) => None,
        };
        let invite = Invite {
            call,
            caller: local.address.clone(),
            callee: address.clone(),
            caller_key: local.key.clone(),
            callee_key: key.clone(),
            caller_account: local.account,
            callee_account: *peer.account(),
            ephemeral,
            commitment: half.commit(&call),
            terms,
            grant: Grant::hash(grant),
            created: wall,
            checkpoint: peer.checkpoint().to_vec(),
            quorum: quorum.map(<[u8]>::to_vec),
        };
        Ok(Self {
            wants_quorum: terms.quorum,
            address,
            key,
            share,
            half,
            invite: cbor::encode(&invite),
            state: LegState::AwaitingRing,
            envelope: Vec::new(),
            resend_at: Time::ZERO,
        })
    }

    /// Whether the device may still answer.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, LegState::AwaitingRing | LegState::AwaitingAnswer)
    }

    /// The invite as it is sent.
    pub(crate) fn signal(&self) -> Signal {
        match &self.share {
            Share::Agreement(_) => Signal::Invite(self.invite.clone()),
            Share::Legacy(half) => Signal::LegacyInvite { body: self.invite.clone(), half: half.again() },
        }
    }

    /// How this leg's key comes about.
    pub(crate) const fn agreement(&self) -> Agreement {
        match self.share {
            Share::Agreement(_) => Agreement::P256,
            Share::Legacy(_) => Agreement::Rsa2048,
        }
    }

    /// Takes an answer, with the callee's half where it has one.
    pub(crate) fn answered(&mut self, local: &Local, body: Vec<u8>, mac: [u8; 32], legacy: Option<LegacyHalf>) -> Next {
        let answer = cbor::decode::<Answer>(&body).ok().filter(|answer| answer.invite == sha256(&[&self.invite]));
        let Some(answer) = answer.filter(|_| self.is_open()) else { return Next::Nothing };
        let ephemeral = match (&self.share, answer.ephemeral, &legacy) {
            (Share::Agreement(_), Some(ephemeral), None) => Some(ephemeral),
            (Share::Legacy(_), None, Some(_)) => None,
            // One that goes the other way is not an answer to this invite (rule NEG-1).
            _ => return Next::Nothing,
        };
        let set = answer.quorum.clone();
        // Neither is one that leaves the quorum secret out, or brings one that was not asked for.
        if set.is_some() != self.wants_quorum || set.as_ref().is_some_and(|set| set.len() > quorum::LONGEST) {
            return Next::Nothing;
        }
        let quorum = if self.wants_quorum { Quorum::Awaited } else { Quorum::NotOfTheTerms };
        let answered = Answered { body, answer, mac, static_static: None, static_ephemeral: None, legacy, quorum };
        self.state = LegState::AwaitingAgreement(Box::new(answered));
        if ephemeral.is_none() && set.is_none() {
            return Next::Confirm(self.confirm(local).map(Box::new).ok_or(Outcome::RefusedByProof));
        }
        Next::Obtain(ephemeral, set)
    }

    /// Takes one of the two agreements. With everything there, checks the callee's MAC.
    ///
    /// # Errors
    /// When the answer does not confirm: the leg is gone.
    pub(crate) fn agreed(
        &mut self,
        local: &Local,
        share: CallerShare,
        secret: SharedSecret,
    ) -> Result<Option<Box<Confirmed>>, Outcome> {
        let LegState::AwaitingAgreement(answered) = &mut self.state else { return Ok(None) };
        match share {
            CallerShare::StaticStatic => answered.static_static = Some(secret),
            CallerShare::StaticEphemeral => answered.static_ephemeral = Some(secret),
        }
        self.confirm_if_complete(local)
    }

    /// Takes the quorum secret. With everything there, checks the callee's MAC: under a wrong secret it does not hold.
    ///
    /// # Errors
    /// When the answer does not confirm: the leg is gone.
    pub(crate) fn took_quorum(
        &mut self,
        local: &Local,
        (secret, nodes): (QuorumSecret, QuorumNodes),
    ) -> Result<Option<Box<Confirmed>>, Outcome> {
        let LegState::AwaitingAgreement(answered) = &mut self.state else { return Ok(None) };
        if !matches!(answered.quorum, Quorum::Awaited) {
            return Ok(None);
        }
        answered.quorum = Quorum::Taken(secret, nodes);
        self.confirm_if_complete(local)
    }

    fn confirm_if_complete(&mut self, local: &Local) -> Result<Option<Box<Confirmed>>, Outcome> {
        let LegState::AwaitingAgreement(answered) = &self.state else { return Ok(None) };
        let agreed = answered.static_static.is_some() && answered.static_ephemeral.is_some();
        let has_shares = agreed || matches!(self.share, Share::Legacy(_));
        if !has_shares || matches!(answered.quorum, Quorum::Awaited) {
            return Ok(None);
        }
        self.confirm(local).map(|confirmed| Some(Box::new(confirmed))).ok_or(Outcome::RefusedByProof)
    }

    fn confirm(&mut self, local: &Local) -> Option<Confirmed> {
        let LegState::AwaitingAgreement(answered) = &mut self.state else { return None };
        let transcript = Transcript::new(&local.key, &self.key, &self.invite, &answered.body);
        let quorum = match &answered.quorum {
            Quorum::Taken(secret, _) => Some(secret),
            Quorum::NotOfTheTerms => None,
            Quorum::Awaited => return None,
        };
        let keys = match &self.share {
            Share::Legacy(mine) => CallKeys::derive_legacy(&transcript, mine, answered.legacy.as_ref()?, quorum),
            Share::Agreement(ephemeral) => {
                let shares = Shares {
                    ephemeral_static: ephemeral.agree(self.key.p256()?).ok()?,
                    static_static: answered.static_static.take()?,
                    ephemeral_ephemeral: ephemeral.agree(&answered.answer.ephemeral?).ok()?,
                    static_ephemeral: answered.static_ephemeral.take()?,
                };
                CallKeys::derive(&transcript, &shares, quorum)
            }
        };
        answered.check(&self.half, &transcript, keys)
    }
}

impl Answered {
    fn check(&self, half: &Half, transcript: &Transcript, keys: CallKeys) -> Option<Confirmed> {
        if !keys.confirm_callee.verify(transcript, &self.mac) {
            return None;
        }
        let sas = Sas::derive(&keys.sas, transcript, half, &Half::from_bytes(self.answer.half));
        let mac = keys.confirm_caller.mac(transcript);
        let (peer_grant, told) = (self.answer.grant, self.answer.checkpoint.clone());
        Some(Confirmed { keys, sas, half: *half, mac, peer_grant, told, quorum: self.quorum() })
    }

    const fn quorum(&self) -> Option<QuorumNodes> {
        match &self.quorum {
            Quorum::Taken(_, nodes) => Some(*nodes),
            Quorum::NotOfTheTerms | Quorum::Awaited => None,
        }
    }
}

impl Outgoing {
    pub(crate) fn leg(&mut self, device: DeviceId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.address.device == device)
    }

    /// How the call ends when no leg is left in the game.
    pub(crate) fn verdict(&self) -> Option<Outcome> {
        let rank = |outcome: &Outcome| match outcome {
            Outcome::RefusedByProof => 4,
            Outcome::RefusedByPolicy => 3,
            Outcome::NoQuorum => 2,
            Outcome::Busy => 1,
            _ => 0,
        };
        let mut worst = Outcome::Offline;
        for leg in &self.legs {
            let LegState::Gone(outcome) = &leg.state else { return None };
            if rank(outcome) > rank(&worst) {
                worst = *outcome;
            }
        }
        Some(worst)
    }
}
