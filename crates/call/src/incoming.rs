//! A call somebody makes to this device.

use undertone_keys::agreement::{AgreementPublicKey, EphemeralKey, SharedSecret};
use undertone_keys::call_agreement::{CallKeys, Shares, Transcript};
use undertone_keys::cbor;
use undertone_keys::choice::Agreement;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::legacy::LegacyHalf;
use undertone_keys::record::DeviceRecord;
use undertone_keys::sas::{Half, Sas};
use undertone_keys::sign::Signed;
use undertone_keys::static_key::StaticKey;
use undertone_keys::{CallId, Time, WallTime};
use undertone_protocol::Grant;
use undertone_transparency::TrustedPeer;

use crate::local::Local;
use crate::outcome::Outcome;
use crate::quorum::{self, Exchanged, QuorumNodes};
use crate::signal::{Answer, Invite};

/// Why an invite is not shown to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InviteFault {
    /// Not an invite for this device, or about another call or sender than its envelope.
    Malformed,
    /// Too old or too new.
    Stale,
    /// It names keys that are not the proven ones.
    Keys,
    /// The server's grant says otherwise than the invite (NEG-1), or there is none.
    Grant,
    /// Terms this version does not speak.
    Terms,
}

impl InviteFault {
    /// What the caller is told, if anything.
    pub(crate) const fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Malformed | Self::Stale => None,
            Self::Keys => Some(Outcome::RefusedByProof),
            Self::Grant | Self::Terms => Some(Outcome::RefusedByPolicy),
        }
    }
}

/// An invite that holds.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) invite: Invite,
    pub(crate) body: Vec<u8>,
    pub(crate) caller_key: StaticKey,
    pub(crate) grant: Signed,
    /// The caller's half, where nothing agrees (rule CALL-2).
    pub(crate) legacy: Option<LegacyHalf>,
}

impl Checked {
    /// How the call's key comes about.
    pub(crate) const fn agreement(&self) -> Agreement {
        if self.legacy.is_some() { Agreement::Rsa2048 } else { Agreement::P256 }
    }
}

/// Checks an invite against its envelope, the proven sender and the server's grant.
#[expect(clippy::too_many_arguments, reason = "everything an invite is checked against")]
pub(crate) fn check(
    local: &Local,
    peer: &TrustedPeer,
    sender: &Address,
    call: CallId,
    (body, legacy): (Vec<u8>, Option<LegacyHalf>),
    grant: Option<Signed>,
    wall: WallTime,
    validity: u64,
) -> Result<Checked, InviteFault> {
    let invite: Invite = cbor::decode(&body).map_err(|_| InviteFault::Malformed)?;
    if invite.call != call || invite.caller != *sender || invite.callee != local.address {
        return Err(InviteFault::Malformed);
    }
    if invite.created.distance(wall) > validity {
        return Err(InviteFault::Stale);
    }
    let caller_key = peer.device(sender.device).and_then(DeviceRecord::static_key).ok_or(InviteFault::Keys)?;
    if invite.caller_key != caller_key || invite.callee_key != local.key {
        return Err(InviteFault::Keys);
    }
    // Two P-256 keys agree, and nothing less is taken in their place (rule ID-3).
    let agrees = caller_key.p256().is_some() && local.key.p256().is_some();
    if invite.ephemeral.is_some() != agrees || legacy.is_none() != agrees {
        return Err(InviteFault::Keys);
    }
    // Records are signed by devices alone, so they fit under any account key: without this, two people who compare
    // their SAS would not know whose account they have pinned.
    if invite.caller_account != *peer.account() || invite.callee_account != local.account {
        return Err(InviteFault::Keys);
    }
    if !invite.terms.are_of_a_call() {
        return Err(InviteFault::Terms);
    }
    // What the terms say of the quorum secret, the invite does.
    if invite.quorum.is_some() != invite.terms.quorum
        || invite.quorum.as_ref().is_some_and(|offer| offer.len() > quorum::LONGEST)
    {
        return Err(InviteFault::Terms);
    }
    let grant = grant.ok_or(InviteFault::Grant)?;
    if !grant_fits(&grant, local, call, &invite.terms) {
        return Err(InviteFault::Grant);
    }
    Ok(Checked { invite, body, caller_key, grant, legacy })
}

/// Whether a grant says what the terms say (rule NEG-1).
pub(crate) fn grant_fits(grant: &Signed, local: &Local, call: CallId, terms: &undertone_protocol::Terms) -> bool {
    cbor::decode::<Grant>(&grant.bytes)
        .is_ok_and(|grant| grant.call == call && grant.member == local.address && grant.protection == terms.protection)
}

/// Where the call stands on this side.
#[derive(Debug)]
#[expect(clippy::enum_variant_names, reason = "states are named for what they await")]
pub(crate) enum IncomingState {
    /// It rings; a person decides.
    AwaitingDecision,
    /// The person said yes; two agreements of this device's key are asked for where the keys agree, and a quorum secret where the terms say so.
    AwaitingAgreement(Awaited),
    /// The answer is out.
    AwaitingConfirm(Box<Pending>),
}

/// What an answer is made of.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    ephemeral_static: Option<SharedSecret>,
    static_static: Option<SharedSecret>,
    quorum: Option<Exchanged>,
}

/// Keys that the caller has not confirmed yet.
#[derive(Debug)]
pub(crate) struct Pending {
    transcript: Transcript,
    keys: CallKeys,
    half: Half,
    quorum: Option<QuorumNodes>,
}

/// An answer as it leaves.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) body: Vec<u8>,
    pub(crate) mac: [u8; 32],
    /// This side's half, where nothing agrees (rule CALL-2).
    pub(crate) legacy: Option<LegacyHalf>,
}

/// Which of the two agreements an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalleeShare {
    EphemeralStatic,
    StaticStatic,
}

#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) peer: TrustedPeer,
    pub(crate) caller: Address,
    pub(crate) checked: Checked,
    pub(crate) state: IncomingState,
    /// The last envelope sent: `Ringing` or the answer.
    pub(crate) envelope: Vec<u8>,
    pub(crate) resent_at: Time,
    pub(crate) deadline: Time,
}

impl Incoming {
    pub(crate) const fn call(&self) -> CallId {
        self.checked.invite.call
    }

    /// Takes one of the two agreements. With everything there, makes the answer.
    pub(crate) fn agreed(
        &mut self,
        local: &Local,
        share: CalleeShare,
        secret: SharedSecret,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Option<Made> {
        let IncomingState::AwaitingAgreement(awaited) = &mut self.state else { return None };
        match share {
            CalleeShare::EphemeralStatic => awaited.ephemeral_static = Some(secret),
            CalleeShare::StaticStatic => awaited.static_static = Some(secret),
        }
        self.answer_if_complete(local, rng)
    }

    /// Takes the quorum secret, whose shares are posted. With everything there, makes the answer.
    pub(crate) fn gave_quorum(
        &mut self,
        local: &Local,
        exchanged: Exchanged,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Option<Made> {
        let IncomingState::AwaitingAgreement(awaited) = &mut self.state else { return None };
        if self.checked.invite.terms.quorum && awaited.quorum.is_none() {
            awaited.quorum = Some(exchanged);
        }
        self.answer_if_complete(local, rng)
    }

    /// Makes the answer, once all that it is made of is there.
    pub(crate) fn answer_if_complete(&mut self, local: &Local, rng: &mut impl rand_core::CryptoRng) -> Option<Made> {
        let IncomingState::AwaitingAgreement(awaited) = &mut self.state else { return None };
        if self.checked.invite.terms.quorum && awaited.quorum.is_none() {
            return None;
        }
        let legacy = self.checked.legacy.is_some();
        if !legacy && (awaited.ephemeral_static.is_none() || awaited.static_static.is_none()) {
            return None;
        }
        let Awaited { ephemeral_static, static_static, quorum } = core::mem::take(awaited);
        let (secret, set, nodes) = match quorum {
            Some(Exchanged { secret, set, nodes }) => (Some(secret), Some(set), Some(nodes)),
            None => (None, None, None),
        };
        let transcript = |body: &[u8]| Transcript::new(&self.checked.caller_key, &local.key, &self.checked.body, body);
        let (body, half, keys, mine) = if let Some(theirs) = &self.checked.legacy {
            // Nothing agrees: each side has sealed a half to the other.
            let mine = LegacyHalf::random(rng);
            let (body, half) = self.answer(None, set, rng);
            let transcript = transcript(&body);
            let keys = CallKeys::derive_legacy(&transcript, theirs, &mine, secret.as_ref());
            (body, half, (transcript, keys), Some(mine))
        } else {
            let ephemeral = EphemeralKey::generate(rng);
            let (body, half) = self.answer(Some(*ephemeral.public()), set, rng);
            let shares = Shares {
                ephemeral_static: ephemeral_static?,
                static_static: static_static?,
                ephemeral_ephemeral: ephemeral.agree(self.checked.invite.ephemeral.as_ref()?).ok()?,
                static_ephemeral: ephemeral.agree(self.checked.caller_key.p256()?).ok()?,
            };
            let transcript = transcript(&body);
            let keys = CallKeys::derive(&transcript, &shares, secret.as_ref());
            (body, half, (transcript, keys), None)
        };
        let (transcript, keys) = keys;
        let mac = keys.confirm_callee.mac(&transcript);
        self.state = IncomingState::AwaitingConfirm(Box::new(Pending { transcript, keys, half, quorum: nodes }));
        Some(Made { body, mac, legacy: mine })
    }

    fn answer(
        &self,
        ephemeral: Option<AgreementPublicKey>,
        quorum: Option<Vec<u8>>,
        rng: &mut impl rand_core::CryptoRng,
    ) -> (Vec<u8>, Half) {
        let half = Half::random(rng);
        let answer = Answer {
            invite: sha256(&[&self.checked.body]),
            ephemeral,
            half: *half.as_bytes(),
            grant: Grant::hash(&self.checked.grant),
            checkpoint: self.peer.checkpoint().to_vec(),
            quorum,
        };
        (cbor::encode(&answer), half)
    }

    /// Takes the confirmation: checks MAC and commitment, and yields keys and SAS.
    pub(crate) fn confirmed(self, half: [u8; 32], mac: &[u8; 32]) -> Result<(CallKeys, Sas, Answerable), Box<Self>> {
        let call = self.call();
        let half = Half::from_bytes(half);
        let holds = match &self.state {
            IncomingState::AwaitingConfirm(pending) => {
                pending.keys.confirm_caller.verify(&pending.transcript, mac)
                    && half.opens(&self.checked.invite.commitment, &call)
            }
            IncomingState::AwaitingDecision | IncomingState::AwaitingAgreement(_) => false,
        };
        match self.state {
            IncomingState::AwaitingConfirm(pending) if holds => {
                let sas = Sas::derive(&pending.keys.sas, &pending.transcript, &half, &pending.half);
                let quorum = pending.quorum;
                let rest = Answerable { peer: self.peer, caller: self.caller, checked: self.checked, quorum };
                Ok((pending.keys, sas, rest))
            }
            state => Err(Box::new(Self { state, ..self })),
        }
    }
}

/// What is left of an incoming call once it is established.
#[derive(Debug)]
pub(crate) struct Answerable {
    pub(crate) peer: TrustedPeer,
    pub(crate) caller: Address,
    pub(crate) checked: Checked,
    /// Over which nodes the quorum secret went.
    pub(crate) quorum: Option<QuorumNodes>,
}
