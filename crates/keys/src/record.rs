//! A device's record (rule ID-2): which keys it has, signed by itself.

use minicbor::{Decode, Encode};

use crate::agreement::AgreementPublicKey;
use crate::cbor;
use crate::choice::Offer;
use crate::labels;
use crate::legacy::LegacyPublicKey;
use crate::name::UserId;
use crate::sign::{Device, Signed, SigningKey, VerifyingKey};
use crate::static_key::StaticKey;
use crate::{DeviceId, WallTime};

/// The only record format so far.
pub const FORMAT: u8 = 1;
/// Bytes of a device's label at most.
pub const MAX_LABEL: usize = 64;

/// One device of one user. CBOR map; keys 7 (Curve25519) and 8 (MLS) belong to layers that do not exist
/// yet. Whether the device may still act is not for itself to say: the list says it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceRecord {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// Whose device it is.
    #[n(1)]
    pub user: UserId,
    /// Derived from `identity`.
    #[n(2)]
    pub device: DeviceId,
    /// Grows with each change of the record.
    #[n(3)]
    pub version: u32,
    /// P-256, SEC1 uncompressed, 65 bytes.
    #[n(4)]
    pub agreement: Option<AgreementPublicKey>,
    /// RSA-2048, SPKI, 294 bytes, where the device has no other.
    #[n(5)]
    pub legacy: Option<LegacyPublicKey>,
    /// Ed25519, 32 bytes.
    #[n(6)]
    pub identity: VerifyingKey<Device>,
    /// When the device was made.
    #[n(9)]
    pub created: WallTime,
    /// What its owner calls it, at most [`MAX_LABEL`] bytes.
    #[n(11)]
    pub label: String,
    /// The [`Consent`](crate::consent::Consent) of the device that let this one in (rule ID-6). Absent in the first device of an account, and in
    /// one that came when nobody else was there.
    #[n(12)]
    pub consent: Option<Signed>,
}

/// Why a record is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not the deterministic encoding of a record.
    #[error("the device record is malformed")]
    Malformed,
    /// A format this version does not know.
    #[error("the device record has an unknown format")]
    Format,
    /// The device id is not that of the identity key.
    #[error("the device id does not belong to the identity key")]
    Id,
    /// The device did not sign it.
    #[error("the device record is not signed by the device")]
    Signature,
    /// The label is too long or has control characters.
    #[error("a device label has at most 64 bytes and no control characters")]
    Label,
}

impl DeviceRecord {
    /// A first record for new keys.
    #[must_use]
    pub fn new(
        user: UserId,
        identity: VerifyingKey<Device>,
        key: impl Into<StaticKey>,
        created: WallTime,
        label: String,
    ) -> Self {
        let (agreement, legacy) = match key.into() {
            StaticKey::P256(key) => (Some(key), None),
            StaticKey::Rsa2048(key) => (None, Some(key)),
        };
        Self {
            format: FORMAT,
            user,
            device: DeviceId::of(&identity),
            version: 1,
            agreement,
            legacy,
            identity,
            created,
            label,
            consent: None,
        }
    }

    /// The record as it travels, signed by the device itself.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Device>) -> Signed {
        Signed::new(key, labels::DEVICE_RECORD, cbor::encode(self))
    }

    /// Reads and checks a record.
    ///
    /// # Errors
    /// [`RecordError`] says which check failed.
    pub fn verify(signed: &Signed) -> Result<Self, RecordError> {
        let record: Self = cbor::decode(&signed.bytes).map_err(|_| RecordError::Malformed)?;
        if record.format != FORMAT {
            return Err(RecordError::Format);
        }
        if record.device != DeviceId::of(&record.identity) {
            return Err(RecordError::Id);
        }
        if record.label.len() > MAX_LABEL || record.label.contains(char::is_control) {
            return Err(RecordError::Label);
        }
        signed.verify(&record.identity, labels::DEVICE_RECORD).map_err(|_| RecordError::Signature)?;
        Ok(record)
    }

    /// What the record offers to [`crate::choice::choose`]. Whether the device had P-256 before is for whoever remembers
    /// its earlier records to say.
    #[must_use]
    pub const fn offer(&self, had_p256: bool) -> Offer {
        Offer { p256: self.agreement.is_some(), rsa: self.legacy.is_some(), had_p256 }
    }

    /// The key that reaches the device: P-256 where it has one (rule ID-3).
    #[must_use]
    pub fn static_key(&self) -> Option<StaticKey> {
        let legacy = || self.legacy.clone().map(StaticKey::Rsa2048);
        self.agreement.map(StaticKey::P256).or_else(legacy)
    }
}
