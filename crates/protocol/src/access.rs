//! A room's access list (rule GRP-8): who may come in and with which rights, signed by a device of somebody who may
//! say so, and chained by hash.
//!
//! The server keeps every version and signs grants for those who are listed. Members keep the newest version they have
//! checked, and believe a roster only as far as it goes: what the server says about who belongs into a room is worth
//! nothing by itself.

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, Signed, SigningKey, VerifyingKey};
use undertone_keys::{DeviceId, RoomId, UserId, WallTime};

use crate::grant::Rights;
use crate::labels;
use crate::limits::{MAX_LISTED, MAX_LISTED_WITH_AUDIENCE, MAX_LISTED_X_WING, MAX_SPEAKERS};
use crate::terms::Terms;

/// The only format so far.
pub const FORMAT: u8 = 1;
/// Bytes of a room's name at most.
pub const MAX_NAME: usize = 64;

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Listed {
    /// Who.
    #[n(0)]
    pub user: UserId,
    /// Their account key, as whoever listed them had pinned it: a name alone could be given to somebody else.
    #[n(1)]
    pub account: VerifyingKey<Account>,
    /// What they may do.
    #[n(2)]
    pub rights: Rights,
}

/// One version of a room's list. CBOR map with these keys, signed by the device `signer`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccessList {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// Which room; drawn at random by its creator.
    #[n(1)]
    pub room: RoomId,
    /// Counts from 1.
    #[n(2)]
    pub version: u32,
    /// SHA-256 of the version before, with its signature; absent in the first.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub previous: Option<[u8; 32]>,
    /// What people call it: 1 to [`MAX_NAME`] bytes, no control characters. Never changes.
    #[n(4)]
    pub name: String,
    /// What every call in it is like (rule NEG-1). Never changes.
    #[n(5)]
    pub terms: Terms,
    /// Who made it and holds its keys. Never changes.
    #[n(6)]
    pub creator: UserId,
    /// Everybody who may come in, ascending by name. Nobody: the room is closed for good.
    #[n(7)]
    pub members: Vec<Listed>,
    /// Who signed this version.
    #[n(8)]
    pub signer: Address,
    /// When, by the signer's clock. For people.
    #[n(9)]
    pub created: WallTime,
}

/// Characters that a name is not made of: they cannot be seen, or turn others round.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Why a list is not one, or not the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Not the deterministic encoding of a list, or one whose parts contradict each other.
    #[error("the room's access list is malformed")]
    Malformed,
    /// More people, or more who may speak, than a room can have.
    #[error(
        "a room has at most {MAX_SPEAKERS} people who may speak and {MAX_LISTED} in all, under X-Wing {MAX_LISTED_X_WING}; \
         with an audience {MAX_LISTED_WITH_AUDIENCE}"
    )]
    TooMany,
    /// The device named in it did not sign it.
    #[error("the room's access list is not signed by the device it names")]
    Signature,
    /// It does not follow the version before, or changes what never changes.
    #[error("the room's access list does not follow the one before it")]
    Chain,
    /// Whoever signed it may not make this change.
    #[error("whoever signed the room's access list may not change it like this")]
    Rights,
}

impl AccessList {
    /// The rights of a listed user.
    #[must_use]
    pub fn listed(&self, user: &UserId) -> Option<&Listed> {
        self.members.binary_search_by(|listed| listed.user.cmp(user)).ok().and_then(|place| self.members.get(place))
    }

    /// Whether the room is closed for good.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.members.is_empty()
    }

    /// What one version can show by itself.
    fn check(&self) -> Result<(), AccessError> {
        let name = !self.name.is_empty() && self.name.len() <= MAX_NAME && !self.name.contains(is_misleading);
        let terms = self.terms.are_of_a_room();
        let ordered = self.members.is_sorted_by(|a, b| a.user < b.user);
        let first = self.version == 1;
        if self.format != FORMAT || self.version == 0 || first != self.previous.is_none() || !name || !ordered || !terms
        {
            return Err(AccessError::Malformed);
        }
        let speakers = self.members.iter().filter(|listed| listed.rights.speak).count();
        let members = self.members.iter().filter(|listed| !self.terms.is_audience(listed.rights)).count();
        let many = self.members.len() > self.terms.max_listed() || members > self.terms.max_members();
        if many || speakers > MAX_SPEAKERS {
            return Err(AccessError::TooMany);
        }
        // Its creator is in it for as long as it is open: nobody else holds the keys.
        let creator = self.listed(&self.creator);
        if !self.is_closed() && creator.is_none_or(|listed| !listed.rights.moderate || !listed.rights.speak) {
            return Err(AccessError::Malformed);
        }
        if first && (self.signer.user != self.creator || self.is_closed()) {
            return Err(AccessError::Rights);
        }
        Ok(())
    }

    /// Whether this version's signer may make it out of `earlier`.
    fn may_follow(&self, earlier: &Self) -> Result<(), AccessError> {
        let signer = earlier.listed(&self.signer.user).ok_or(AccessError::Rights)?;
        // Everybody may go.
        let leaving = earlier.members.iter().filter(|listed| listed.user != signer.user);
        if signer.user != self.creator && self.members.iter().eq(leaving) {
            return Ok(());
        }
        if !signer.rights.moderate {
            return Err(AccessError::Rights);
        }
        if signer.user == self.creator {
            return Ok(());
        }
        // Who may moderate is the creator's to say, and only the creator closes the room.
        let moderators = |list: &Self| {
            let moderators = list.members.iter().filter(|listed| listed.rights.moderate);
            moderators.map(|listed| (listed.user.clone(), listed.account)).collect::<Vec<_>>()
        };
        // Nor does anybody else say that somebody has another account key now.
        let swapped =
            self.members.iter().any(|new| earlier.listed(&new.user).is_some_and(|old| old.account != new.account));
        if self.is_closed() || swapped || moderators(self) != moderators(earlier) {
            Err(AccessError::Rights)
        } else {
            Ok(())
        }
    }
}

/// A list as it came in: well formed, and signed by nobody in particular so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedAccess {
    signed: Signed,
    list: AccessList,
}

impl ClaimedAccess {
    /// Takes bytes from outside: the CBOR of a [`Signed`].
    ///
    /// # Errors
    /// [`AccessError::Malformed`] and what one version can show by itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AccessError> {
        let signed: Signed = cbor::decode(bytes).map_err(|_| AccessError::Malformed)?;
        let list: AccessList = cbor::decode(&signed.bytes).map_err(|_| AccessError::Malformed)?;
        list.check()?;
        Ok(Self { signed, list })
    }

    /// What it claims, for finding the signer's key.
    #[must_use]
    pub const fn claimed(&self) -> &AccessList {
        &self.list
    }

    /// Checks that the device with this key signed it.
    ///
    /// # Errors
    /// [`AccessError::Signature`].
    pub fn verify(self, key: &VerifyingKey<Device>) -> Result<Access, AccessError> {
        if self.list.signer.device != DeviceId::of(key) {
            return Err(AccessError::Signature);
        }
        self.signed.verify(key, labels::ACCESS).map_err(|_| AccessError::Signature)?;
        Ok(Access { signed: self.signed, list: self.list })
    }
}

/// A list that its signer's device signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    signed: Signed,
    list: AccessList,
}

impl Access {
    /// Signs a list.
    ///
    /// # Errors
    /// [`AccessError`] when it is none.
    pub fn sign(list: AccessList, key: &SigningKey<Device>) -> Result<Self, AccessError> {
        list.check()?;
        if list.signer.device != DeviceId::of(key.public()) {
            return Err(AccessError::Signature);
        }
        Ok(Self { signed: Signed::new(key, labels::ACCESS, cbor::encode(&list)), list })
    }

    /// Reads what this device stored after it had checked it.
    ///
    /// # Errors
    /// [`AccessError::Malformed`].
    pub fn from_stored(bytes: &[u8]) -> Result<Self, AccessError> {
        ClaimedAccess::from_bytes(bytes).map(|ClaimedAccess { signed, list }| Self { signed, list })
    }

    /// The list.
    #[must_use]
    pub const fn list(&self) -> &AccessList {
        &self.list
    }

    /// The bytes that [`ClaimedAccess::from_bytes`] takes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(&self.signed)
    }

    /// SHA-256 over [`Self::to_bytes`]: what the next version names.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[&self.to_bytes()])
    }

    /// The version that follows this one, with other members, still to be signed.
    #[must_use]
    pub fn next(&self, mut members: Vec<Listed>, signer: Address, created: WallTime) -> AccessList {
        members.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        let version = self.list.version.saturating_add(1);
        AccessList { version, previous: Some(self.hash()), members, signer, created, ..self.list.clone() }
    }

    /// Whether this version follows `earlier`: the next of the same room, chained by hash, with nothing changed that
    /// never changes, by somebody who may make the change.
    ///
    /// # Errors
    /// [`AccessError::Chain`] or [`AccessError::Rights`].
    pub fn follows(&self, earlier: &Self) -> Result<(), AccessError> {
        let (new, old) = (&self.list, &earlier.list);
        let same = new.room == old.room && new.name == old.name && new.terms == old.terms && new.creator == old.creator;
        let next = old.version.checked_add(1) == Some(new.version) && new.previous == Some(earlier.hash());
        if !same || !next || old.is_closed() {
            return Err(AccessError::Chain);
        }
        new.may_follow(old)
    }
}

#[cfg(test)]
mod tests;
