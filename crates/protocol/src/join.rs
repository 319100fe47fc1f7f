//! A device's signed join (rule GRP-8): what makes a server's grant good for anything, and what every member checks
//! before it opens a newcomer's frames.

use minicbor::{Decode, Encode};
use undertone_keys::agreement::AgreementPublicKey;
use undertone_keys::cbor;
use undertone_keys::sign::{Device, Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::{CallId, DeviceId, JoinId, WallTime};

use crate::grant::{Grant, GrantError};
use crate::labels;

/// Bytes of a channel binding: an exporter of the TLS session that the join is sent in.
pub const BINDING_LENGTH: usize = 32;

/// One join. CBOR map with these keys, signed by the device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Join {
    /// SHA-256 of the grant's signed bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub grant: [u8; 32],
    /// Which call.
    #[n(1)]
    pub call: CallId,
    /// Drawn for this join.
    #[n(2)]
    pub join: JoinId,
    /// A key for this join alone, to which group keys are sealed. Absent: they are sealed to the key in the device's record,
    /// and have no forward secrecy (rule GRP-7).
    #[n(3)]
    pub ephemeral: Option<AgreementPublicKey>,
    /// Ties the join to the connection it is sent in: a relay cannot replay it elsewhere.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub binding: [u8; BINDING_LENGTH],
    /// The smallest sender index that was not yet given in this call, as far as the device knows; a relay that has
    /// forgotten a call goes on counting from there.
    #[n(5)]
    pub min_index: u16,
}

/// Why a join does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The grant is not good.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// Not a join.
    #[error("the join is malformed")]
    Malformed,
    /// The device did not sign it.
    #[error("the join is not signed by the device")]
    Signature,
    /// It belongs to another grant or call.
    #[error("the join belongs to another grant or call")]
    Place,
}

impl Join {
    /// The join as it travels.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Device>) -> Signed {
        Signed::new(key, labels::JOIN, cbor::encode(self))
    }
}

/// A grant and the join that uses it, checked as a pair. What is left to check is the looker's own: the relay compares
/// the channel binding with its connection's, a member compares device and identity key with the proven list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server's permission.
    pub grant: Grant,
    /// The device's own word.
    pub join: Join,
}

impl Entry {
    /// Checks that `grant` is this server's and still good, and that `join` is by the very device it is for, about the
    /// same call and this grant.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn verify(
        grant: &Signed,
        join: &Signed,
        server: &VerifyingKey<Server>,
        now: WallTime,
    ) -> Result<Self, JoinError> {
        let granted = Grant::verify(grant, server, now)?;
        if granted.member.device != DeviceId::of(&granted.identity) {
            return Err(JoinError::Place);
        }
        let bytes = join.verify(&granted.identity, labels::JOIN).map_err(|_| JoinError::Signature)?;
        let joined: Join = cbor::decode(bytes).map_err(|_| JoinError::Malformed)?;
        if joined.call != granted.call || joined.grant != Grant::hash(grant) {
            return Err(JoinError::Place);
        }
        Ok(Self { grant: granted, join: joined })
    }
}
