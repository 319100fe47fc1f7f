//! A server's permission to join a room (rule RLY-1). It admits nobody by itself: it is good only together with
//! the device's own signed join.

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Device, Server, Signed, SigningKey, VerifyingKey};
use undertone_keys::{CallId, RoomId, WallTime};

use crate::labels;
use crate::terms::{Audience, Protection};

/// What a member may do in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Rights {
    /// Send media.
    #[n(0)]
    pub speak: bool,
    /// Remove or mute others.
    #[n(1)]
    pub moderate: bool,
}

impl Rights {
    /// Whether whoever has these says nothing and decides nothing.
    #[must_use]
    pub const fn only_listen(self) -> bool {
        !self.speak && !self.moderate
    }
}

/// The permission. CBOR map with these keys, signed by the server's identity key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// Which room.
    #[n(0)]
    pub room: RoomId,
    /// For which call.
    #[n(1)]
    pub call: CallId,
    /// For which device.
    #[n(2)]
    pub member: Address,
    /// The device's identity key as the server knows it; members check it against the proven list.
    #[n(3)]
    pub identity: VerifyingKey<Device>,
    /// Who can open the media in this room.
    #[n(4)]
    pub protection: Protection,
    /// What the member may do.
    #[n(5)]
    pub rights: Rights,
    /// Good until then.
    #[n(6)]
    pub expires: WallTime,
    /// As in the room's terms: those who only listen are an audience, whom the relay does not show to each other (rule GRP-9).
    #[n(7)]
    pub audience: Option<Audience>,
}

/// Why a grant is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Not a grant.
    #[error("the grant is malformed")]
    Malformed,
    /// This server did not sign it.
    #[error("the grant is not signed by this server")]
    Signature,
    /// Its time is over.
    #[error("the grant has expired")]
    Expired,
}

impl Grant {
    /// Whether it is for a place in the audience.
    #[must_use]
    pub const fn is_audience(&self) -> bool {
        self.audience.is_some() && self.rights.only_listen()
    }

    /// The grant as it travels.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Server>) -> Signed {
        Signed::new(key, labels::GRANT, cbor::encode(self))
    }

    /// Reads and checks a grant.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn verify(signed: &Signed, key: &VerifyingKey<Server>, now: WallTime) -> Result<Self, GrantError> {
        let bytes = signed.verify(key, labels::GRANT).map_err(|_| GrantError::Signature)?;
        let grant: Self = cbor::decode(bytes).map_err(|_| GrantError::Malformed)?;
        if grant.expires <= now {
            return Err(GrantError::Expired);
        }
        Ok(grant)
    }

    /// The room that a grant names, while nothing about it is known to hold: enough to choose who looks at it, and for
    /// nothing else.
    #[must_use]
    pub fn claimed_room(signed: &Signed) -> Option<RoomId> {
        let mut decoder = minicbor::Decoder::new(&signed.bytes);
        decoder.map().ok()?;
        // Keys ascend.
        (decoder.u8().ok()? == 0).then(|| decoder.decode().ok())?
    }

    /// The hash by which joins and transcripts name a grant: SHA-256 over its signed bytes.
    #[must_use]
    pub fn hash(signed: &Signed) -> [u8; 32] {
        sha256(&[&signed.bytes])
    }
}
