//! A present device lets another one in (rule ID-6).
//!
//! The account key alone adds no device beside others: a server that guessed at a weak passphrase, or whoever learned it,
//! would have a silent listener with it. What adds a device carries the signature of one that was there, or revokes all of
//! those; see [`crate::device_list`].

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::labels;
use crate::name::UserId;
use crate::sign::{Device, Signed, SigningKey, VerifyingKey};
use crate::{DeviceId, WallTime};

/// The only format so far.
pub const FORMAT: u8 = 1;

/// One device's word that another may join its account. CBOR map. It is about a key and not about a moment: a device id is
/// derived from the identity key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Consent {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// Whose account.
    #[n(1)]
    pub user: UserId,
    /// Who says so.
    #[n(2)]
    pub by: DeviceId,
    /// About whom.
    #[n(3)]
    pub device: DeviceId,
    /// When, by the clock of the device that says so.
    #[n(4)]
    pub created: WallTime,
}

/// Why a consent is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// Not the deterministic encoding of a consent, or one of another format.
    #[error("the consent is malformed")]
    Malformed,
    /// The device named in it did not sign it, or consents to itself.
    #[error("the consent is not signed by another device of the account")]
    Signature,
}

impl Consent {
    /// That `by` lets `device` into the account of `user`.
    #[must_use]
    pub const fn new(user: UserId, by: DeviceId, device: DeviceId, created: WallTime) -> Self {
        Self { format: FORMAT, user, by, device, created }
    }

    /// As it travels.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Device>) -> Signed {
        Signed::new(key, labels::CONSENT, cbor::encode(self))
    }

    /// What a consent says of itself, to find the key it has to be signed by. Nothing is believed yet.
    ///
    /// # Errors
    /// [`ConsentError::Malformed`].
    pub fn claimed(signed: &Signed) -> Result<Self, ConsentError> {
        let consent: Self = cbor::decode(&signed.bytes).map_err(|_| ConsentError::Malformed)?;
        if consent.format == FORMAT { Ok(consent) } else { Err(ConsentError::Malformed) }
    }

    /// Checks a consent against the key of the device that is to have signed it.
    ///
    /// # Errors
    /// [`ConsentError`].
    pub fn verify(signed: &Signed, by: &VerifyingKey<Device>) -> Result<Self, ConsentError> {
        let consent = Self::claimed(signed)?;
        signed.verify(by, labels::CONSENT).map_err(|_| ConsentError::Signature)?;
        let another = consent.by == DeviceId::of(by) && consent.device != consent.by;
        if another { Ok(consent) } else { Err(ConsentError::Signature) }
    }
}
