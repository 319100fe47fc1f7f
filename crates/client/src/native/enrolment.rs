//! A device on its way into an account, and what is kept of it until the server has answered (rule STO-2).
//!
//! The server may have taken a device although its answer was lost, or the process was killed before it came. So keys
//! and list are on the disk before they leave, and the next attempt goes on with the same ones.

use minicbor::{Decode, Encode};
use undertone_keys::agreement::{AgreementPublicKey, prove_possession};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::envelope::Address;
use undertone_keys::legacy::{self, Wrapped};
use undertone_keys::record::DeviceRecord;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::sign::{Account, Device, Signed, SigningKey, VerifyingKey};
use undertone_keys::static_key::{Answer, Question, StaticKey};
use undertone_keys::{DeviceId, Secret, UserId, WallTime, cbor, label};
use undertone_protocol::rest::Bytes;
use zeroize::{Zeroize, Zeroizing};

use super::device_key::{Holder, KeyChoice, Pins, StoredKey, TokenRecord};
use super::error::ClientError;
use super::home::{DeviceSecrets, HomeError};
use super::{rng, wall_time};

/// Characters of a device's label at most.
const MAX_LABEL: usize = 16;

/// What a person calls a device, as far as it can be one's label.
///
/// # Errors
/// [`ClientError::HiddenLabel`] where it has characters that nobody sees.
pub(super) fn label(text: &str) -> Result<String, ClientError> {
    if !label::is_plain(text) {
        return Err(ClientError::HiddenLabel(label::shown(text).into_owned()));
    }
    Ok(text.chars().take(MAX_LABEL).collect())
}

/// Fresh keys of a device that is not part of an account yet.
pub(super) struct NewDevice {
    identity: SigningKey<Device>,
    key: StoredKey,
    record: DeviceRecord,
}

impl NewDevice {
    /// Draws its keys; where the static key is to lie on a token, it is made there. Returns who answers for it, too.
    pub(super) fn generate(
        user: &UserId,
        label: &str,
        choice: &KeyChoice,
        pins: &dyn Pins,
    ) -> Result<(Self, Holder), ClientError> {
        Self::of(SigningKey::generate(&mut rng()), user, label, choice, pins)
    }

    /// The same for an identity key that was drawn before: a present device has let it in, and the other key comes last.
    pub(super) fn of(
        identity: SigningKey<Device>,
        user: &UserId,
        label: &str,
        choice: &KeyChoice,
        pins: &dyn Pins,
    ) -> Result<(Self, Holder), ClientError> {
        let id = *DeviceId::of(identity.public()).as_bytes();
        let label = self::label(label)?;
        let (key, holder) = StoredKey::generate(choice, id, pins)?;
        let record = DeviceRecord::new(user.clone(), *identity.public(), holder.public(), wall_time(), label);
        Ok((Self { identity, key, record }, holder))
    }

    /// The word of a present device by which this one comes in, if one has given it.
    pub(super) const fn consent(&self) -> Option<&Signed> {
        self.record.consent.as_ref()
    }

    /// Puts that word into the record, or takes one away that holds no more.
    pub(super) fn let_in(&mut self, consent: Option<Signed>) {
        self.record.consent = consent;
    }

    /// Whether its static key is what was asked for.
    pub(super) fn has(&self, choice: &KeyChoice) -> bool {
        self.key.is(choice)
    }

    /// Who answers for its static key.
    pub(super) fn holder(&self, pins: &dyn Pins) -> Result<Holder, ClientError> {
        self.key.open(pins)
    }

    /// The RSA key that a server must know before it can make a challenge.
    pub(super) fn legacy_key(&self) -> Option<Bytes> {
        self.record.legacy.as_ref().map(|key| Bytes(key.as_bytes().to_vec()))
    }

    pub(super) fn signed_record(&self) -> Signed {
        self.record.sign(&self.identity)
    }

    pub(super) const fn id(&self) -> &DeviceId {
        &self.record.device
    }

    /// Shows the server that the static key is ours.
    pub(super) fn possession(
        &self,
        holder: &Holder,
        challenge: &[u8],
        list: &DeviceList,
        server: &str,
    ) -> Result<Bytes, ClientError> {
        let bad = || ClientError::BadAnswer(server.to_owned());
        let refused = |_| ClientError::NoKey;
        let proof = match holder.public() {
            StaticKey::P256(_) => {
                let challenge = AgreementPublicKey::from_sec1(challenge).map_err(|_| bad())?;
                let answer = holder.answer(&Question::Agree(challenge)).map_err(refused)?;
                prove_possession(&answer.agreed().ok_or_else(bad)?, &challenge, &list.hash())
            }
            StaticKey::Rsa2048(_) => {
                let wrapped = Wrapped::from_slice(challenge).ok_or_else(bad)?;
                let question = Question::Unwrap(wrapped.clone(), legacy::possession_label());
                let Answer::Unwrapped(unwrapped) = holder.answer(&question).map_err(refused)? else {
                    return Err(bad());
                };
                legacy::prove_possession(&unwrapped, &wrapped, &list.hash())
            }
        };
        Ok(Bytes(proof.to_vec()))
    }

    pub(super) fn secrets(self, account: VerifyingKey<Account>) -> DeviceSecrets {
        DeviceSecrets {
            address: Address { user: self.record.user.clone(), device: self.record.device },
            label: self.record.label.clone(),
            account,
            identity_seed: Secret::filled_by(|out| out.copy_from_slice(self.identity.seed().expose())),
            key: self.key,
        }
    }
}

/// The stored form of an enrolment that has not been answered.
#[derive(Encode, Decode)]
#[cbor(map)]
struct PendingRecord {
    #[n(0)]
    format: u8,
    #[n(1)]
    user: UserId,
    #[cbor(n(2), with = "minicbor::bytes")]
    identity: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    agreement: Vec<u8>,
    /// PKCS#8 of an RSA key.
    #[cbor(n(6), with = "minicbor::bytes")]
    legacy: Option<Vec<u8>>,
    /// Where on which token the key is.
    #[n(7)]
    token: Option<TokenRecord>,
    /// The list that the server was asked to take.
    #[cbor(n(4), with = "minicbor::bytes")]
    list: Vec<u8>,
    /// The recovery key of a registration, as text: it has not been shown yet.
    #[n(5)]
    recovery: Option<String>,
    /// When the account begins anew by this list, in seconds since 1970: the server has taken it, and the time has not come.
    #[n(8)]
    effective: Option<u64>,
}

impl Drop for PendingRecord {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.agreement.zeroize();
        self.legacy.zeroize();
        self.recovery.zeroize();
    }
}

/// An enrolment that has not been answered.
pub(super) struct Pending {
    pub(super) device: NewDevice,
    pub(super) list: DeviceList,
    pub(super) recovery: Option<RecoveryKey>,
    /// When it becomes effective, where the server has taken a list that begins the account anew (rule ID-7).
    pub(super) effective: Option<WallTime>,
}

/// Bytes of a pending enrolment beside its list, at most.
const ROOM: usize = 4096;

impl Pending {
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let (agreement, legacy, token) = self.device.key.fields();
        let record = PendingRecord {
            format: 1,
            user: self.list.user().clone(),
            identity: self.device.identity.seed().expose().to_vec(),
            agreement,
            legacy,
            token,
            list: self.list.to_bytes(),
            recovery: self.recovery.as_ref().map(RecoveryKey::to_text),
            effective: self.effective.map(WallTime::as_unix),
        };
        cbor::encode_secret(&record, record.list.len() + ROOM)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record: PendingRecord = cbor::decode(bytes).ok()?;
        let identity = SigningKey::from_seed(Secret::from_slice(&record.identity)?);
        let key = StoredKey::from_fields(&record.agreement, record.legacy.as_deref(), record.token.as_ref())?;
        let list = ClaimedList::from_bytes(&record.list).and_then(|claimed| claimed.verify(&record.user)).ok()?;
        let own = list.records().iter().find(|own| own.identity == *identity.public())?.clone();
        let recovery = record.recovery.as_deref().map(RecoveryKey::parse).transpose().ok()?;
        let effective = record.effective.map(WallTime::from_unix);
        Some(Self { device: NewDevice { identity, key, record: own }, list, recovery, effective })
    }
}

impl super::home::Home {
    /// The enrolment that was not answered, if there is one. One that cannot be read is no use to anybody.
    pub(super) fn pending(&self) -> Result<Option<Pending>, HomeError> {
        Ok(self.pending_bytes()?.and_then(|bytes| Pending::from_bytes(&bytes)))
    }

    /// Keeps an enrolment, before the server is asked to take it.
    pub(super) fn put_pending(&self, pending: &Pending) -> Result<(), HomeError> {
        self.put_pending_bytes(&pending.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::device_key::NoPins;

    #[test]
    fn sto_2_a_pending_enrolment_survives_being_stored() {
        let user = UserId::parse("ada", "x").unwrap();
        for choice in [KeyChoice::P256, KeyChoice::Rsa2048] {
            survives(&user, &choice);
        }
    }

    fn survives(user: &UserId, choice: &KeyChoice) {
        let account = SigningKey::generate(&mut rng());
        let (device, holder) = NewDevice::generate(user, "laptop", choice, &NoPins).unwrap();
        let list = DeviceList::first(&account, user, device.signed_record()).unwrap();
        let (recovery, effective) = (Some(RecoveryKey::generate(&mut rng())), Some(WallTime::from_unix(7)));
        let pending = Pending { device, list, recovery, effective };
        let bytes = pending.to_bytes();
        let again = Pending::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!((again.device.id(), again.effective), (pending.device.id(), pending.effective));
        assert_eq!(again.device.holder(&NoPins).unwrap().public(), holder.public());
        assert!(bytes.capacity() >= pending.list.to_bytes().len() + ROOM, "it did not have to grow");
        for cut in 0..bytes.len() {
            assert!(Pending::from_bytes(&bytes[..cut]).is_none());
        }
    }
}
