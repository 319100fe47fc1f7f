//! A device on its way into an account, and what is kept of it until the server has answered (rule STO-2).
//!
//! The server may have taken a device although its answer was lost, or the process was killed before it came. So keys
//! and list are on the disk before they leave, and the next attempt goes on with the same ones.

use minicbor::{Decode, Encode};
use undertone_keys::agreement::{AgreementPublicKey, DeviceKey, SoftwareKey, prove_possession};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::envelope::Address;
use undertone_keys::record::DeviceRecord;
use undertone_keys::recovery::RecoveryKey;
use undertone_keys::sign::{Account, Device, Signed, SigningKey, VerifyingKey};
use undertone_keys::{DeviceId, Secret, UserId, cbor};
use undertone_protocol::rest::Bytes;
use zeroize::{Zeroize, Zeroizing};

use super::error::ClientError;
use super::home::{DeviceSecrets, HomeError};
use super::{rng, wall_time};

/// Characters of a device's label at most.
const MAX_LABEL: usize = 16;

/// Fresh keys of a device that is not part of an account yet.
pub(super) struct NewDevice {
    identity: SigningKey<Device>,
    agreement: SoftwareKey,
    record: DeviceRecord,
}

impl NewDevice {
    pub(super) fn generate(user: &UserId, label: &str) -> Self {
        let (identity, agreement) = (SigningKey::generate(&mut rng()), SoftwareKey::generate(&mut rng()));
        let label: String = label.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect();
        let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), wall_time(), label);
        Self { identity, agreement, record }
    }

    pub(super) fn signed_record(&self) -> Signed {
        self.record.sign(&self.identity)
    }

    pub(super) const fn id(&self) -> &DeviceId {
        &self.record.device
    }

    /// Shows the server that the agreement key is ours.
    pub(super) fn possession(&self, challenge: &[u8], list: &DeviceList, server: &str) -> Result<Bytes, ClientError> {
        let bad = || ClientError::BadAnswer(server.to_owned());
        let challenge = AgreementPublicKey::from_sec1(challenge).map_err(|_| bad())?;
        let shared = self.agreement.agree(&challenge).map_err(|_| bad())?;
        Ok(Bytes(prove_possession(&shared, &challenge, &list.hash()).to_vec()))
    }

    pub(super) fn secrets(&self, account: VerifyingKey<Account>) -> DeviceSecrets {
        DeviceSecrets {
            address: Address { user: self.record.user.clone(), device: self.record.device },
            label: self.record.label.clone(),
            account,
            identity_seed: Secret::filled_by(|out| out.copy_from_slice(self.identity.seed().expose())),
            agreement_scalar: Secret::filled_by(|out| out.copy_from_slice(self.agreement.scalar().expose())),
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
    /// The list that the server was asked to take.
    #[cbor(n(4), with = "minicbor::bytes")]
    list: Vec<u8>,
    /// The recovery key of a registration, as text: it has not been shown yet.
    #[n(5)]
    recovery: Option<String>,
}

impl Drop for PendingRecord {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.agreement.zeroize();
        self.recovery.zeroize();
    }
}

/// An enrolment that has not been answered.
pub(super) struct Pending {
    pub(super) device: NewDevice,
    pub(super) list: DeviceList,
    pub(super) recovery: Option<RecoveryKey>,
}

/// Bytes of a pending enrolment beside its list, at most.
const ROOM: usize = 1024;

impl Pending {
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let record = PendingRecord {
            format: 1,
            user: self.list.user().clone(),
            identity: self.device.identity.seed().expose().to_vec(),
            agreement: self.device.agreement.scalar().expose().to_vec(),
            list: self.list.to_bytes(),
            recovery: self.recovery.as_ref().map(RecoveryKey::to_text),
        };
        cbor::encode_secret(&record, record.list.len() + ROOM)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let record: PendingRecord = cbor::decode(bytes).ok()?;
        let identity = SigningKey::from_seed(Secret::from_slice(&record.identity)?);
        let agreement = SoftwareKey::from_scalar(Secret::from_slice(&record.agreement)?)?;
        let list = ClaimedList::from_bytes(&record.list).and_then(|claimed| claimed.verify(&record.user)).ok()?;
        let own = list.records().iter().find(|own| own.identity == *identity.public())?.clone();
        let recovery = record.recovery.as_deref().map(RecoveryKey::parse).transpose().ok()?;
        Some(Self { device: NewDevice { identity, agreement, record: own }, list, recovery })
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

    #[test]
    fn sto_2_a_pending_enrolment_survives_being_stored() {
        let user = UserId::parse("ada", "x").unwrap();
        let (account, device) = (SigningKey::generate(&mut rng()), NewDevice::generate(&user, "laptop"));
        let list = DeviceList::first(&account, &user, device.signed_record()).unwrap();
        let pending = Pending { device, list, recovery: Some(RecoveryKey::generate(&mut rng())) };
        let bytes = pending.to_bytes();
        let again = Pending::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.device.id(), pending.device.id());
        assert!(bytes.capacity() >= pending.list.to_bytes().len() + ROOM, "it did not have to grow");
        for cut in 0..bytes.len() {
            assert!(Pending::from_bytes(&bytes[..cut]).is_none());
        }
    }
}
