//! What the host of a group call signs: the statement of each epoch, its signs of life, and who is to follow it (rules
//! GRP-1 to GRP-3).
//!
//! ```text
//! statement 1 <-- statement 2 <-- statement 3      each names the hash of the one before, across terms
//!   term 1          term 1          term 2         the term grows when another becomes host
//!   epoch 70        epoch 71        epoch 72       epochs only grow
//! ```
//! None of it is secret; it travels sealed to members all the same, but for what a relay is shown of the sealed media.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use undertone_keys::digest::sha256;
use undertone_keys::sign::{BadSignature, Device, Signed, SigningKey, VerifyingKey};
use undertone_keys::{CallId, JoinId, cbor};

use crate::labels;
use crate::limits::MAX_MEMBERS;
use crate::terms::Terms;

/// The only format so far.
pub const FORMAT: u8 = 1;
/// Bytes of one place in a roster: the join id and the index.
const PLACE_LENGTH: usize = 18;

/// One join in a host's roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which join: the device's own signed join says whose.
    pub join: JoinId,
    /// The sender index that the relay gave it.
    pub index: u16,
}

/// Whom an epoch is for, the longest present first: the order in which they follow the host (rule GRP-1). On the wire a
/// byte string of 18 bytes each, join id and index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(Vec<Place>);

impl Roster {
    /// These places, in this order. `None` where one join or one index stands twice, or more are in than a room holds.
    #[must_use]
    pub fn new(places: Vec<Place>) -> Option<Self> {
        let mut joins: Vec<_> = places.iter().map(|place| place.join).collect();
        let mut indices: Vec<_> = places.iter().map(|place| place.index).collect();
        joins.sort_unstable();
        indices.sort_unstable();
        let twice = joins.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
            || indices.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
        (places.len() <= MAX_MEMBERS && !twice).then_some(Self(places))
    }

    /// In order of succession.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.0
    }

    /// Whether this join is in it.
    #[must_use]
    pub fn has(&self, join: JoinId) -> bool {
        self.0.iter().any(|place| place.join == join)
    }

    /// What a statement names it by: SHA-256 over the label, a zero byte and the bytes on the wire.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[labels::ROSTER.as_bytes(), &[0], &self.to_bytes()])
    }

    /// The roster that follows from this one. Whoever stays keeps their place; who came stands behind, by index.
    #[must_use]
    pub fn next(&self, present: &[Place]) -> Self {
        let stays = self.0.iter().filter(|place| present.contains(place)).copied();
        let mut new: Vec<Place> = present.iter().filter(|place| !self.0.contains(place)).copied().collect();
        new.sort_unstable_by_key(|place| place.index);
        Self(stays.chain(new).collect())
    }

    /// What leads from `earlier` to this one.
    #[must_use]
    pub fn change_from(&self, earlier: &Self) -> RosterChange {
        RosterChange {
            gone: earlier.0.iter().filter(|place| !self.0.contains(place)).map(|place| place.join).collect(),
            new: Self(self.0.iter().filter(|place| !earlier.0.contains(place)).copied().collect()),
        }
    }

    /// This roster after a change; `None` where the change does not fit.
    #[must_use]
    pub fn changed(&self, change: &RosterChange) -> Option<Self> {
        if change.gone.iter().any(|join| !self.has(*join)) {
            return None;
        }
        let stays = self.0.iter().filter(|place| !change.gone.contains(&place.join));
        Self::new(stays.chain(&change.new.0).copied().collect())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * PLACE_LENGTH);
        for place in &self.0 {
            bytes.extend_from_slice(place.join.as_bytes());
            bytes.extend_from_slice(&place.index.to_be_bytes());
        }
        bytes
    }
}

impl<C> Encode<C> for Roster {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Roster {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let (places, rest) = d.bytes()?.as_chunks::<PLACE_LENGTH>();
        if !rest.is_empty() {
            return Err(DecodeError::message("not a roster"));
        }
        let place = |bytes: &[u8; PLACE_LENGTH]| {
            let (join, index) = bytes.split_first_chunk::<16>()?;
            Some(Place { join: JoinId::from_bytes(*join), index: u16::from_be_bytes(index.try_into().ok()?) })
        };
        let places: Option<Vec<Place>> = places.iter().map(place).collect();
        places.and_then(Self::new).ok_or_else(|| DecodeError::message("not a roster"))
    }
}

/// What leads from one roster to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RosterChange {
    /// Who is in it no more.
    #[n(0)]
    pub gone: Vec<JoinId>,
    /// Who stands behind all others now.
    #[n(1)]
    pub new: Roster,
}

/// Why there is a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Cause {
    /// The call's first.
    #[n(1)]
    Opened,
    /// It was time (rule GRP-2).
    #[n(2)]
    Rotated,
    /// Somebody came.
    #[n(3)]
    Joined,
    /// Somebody left, was put out, or lost their device.
    #[n(4)]
    Removed,
    /// The host was silent or gone, and the next in order followed it.
    #[n(5)]
    TakenOver,
    /// The host before named its follower.
    #[n(6)]
    HandedOver,
    /// Somebody holds an epoch of a higher number, which they cannot go back behind.
    #[n(7)]
    Overtaken,
}

impl Cause {
    /// As it stands in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Rotated => "rotated",
            Self::Joined => "joined",
            Self::Removed => "removed",
            Self::TakenOver => "taken_over",
            Self::HandedOver => "handed_over",
            Self::Overtaken => "overtaken",
        }
    }
}

/// What opens an epoch, the same for all (rule GRP-3). CBOR map with these keys, signed by the host's device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statement {
    /// [`FORMAT`].
    #[n(0)]
    pub format: u8,
    /// Which call.
    #[n(1)]
    pub call: CallId,
    /// The host's term: it grows with each new host.
    #[n(2)]
    pub term: u32,
    /// The epoch's number; it grows with each statement.
    #[n(3)]
    pub epoch: u32,
    /// The host's join.
    #[n(4)]
    pub host: JoinId,
    /// [`Roster::hash`] of whom it is for.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub roster: [u8; 32],
    /// [`SignedStatement::hash`] of the one before; absent in a call's first.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub previous: Option<[u8; 32]>,
    /// Fits the epoch's secret and no other.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
    /// What the call is like; it never changes (rule NEG-1).
    #[n(8)]
    pub terms: Terms,
    /// SHA-256 of the access list that the host goes by.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub access: [u8; 32],
    /// That list's version.
    #[n(10)]
    pub version: u32,
    /// Why.
    #[n(11)]
    pub cause: Cause,
    /// Somebody who had the key before does not get this one.
    #[n(12)]
    pub removed: bool,
    /// Seal under it this many milliseconds after it came; 0: when the host says so.
    #[n(13)]
    pub apply_ms: u16,
    /// With [`Cause::HandedOver`]: the signed [`Handover`] of the host before.
    #[n(14)]
    pub handover: Option<Signed>,
}

/// A statement with its host's signature. Its content is a claim until [`Self::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct SignedStatement(#[n(0)] Signed);

/// Why a statement or a word is none of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// Not the deterministic encoding, or of another format.
    #[error("malformed")]
    Malformed,
    /// The device did not sign it.
    #[error("not signed by the host's device")]
    Signature,
    /// Of another call or with other terms.
    #[error("of another call or with other terms")]
    Place,
}

impl From<BadSignature> for GroupError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

fn read<T: for<'b> Decode<'b, ()> + Encode<()>>(bytes: &[u8]) -> Result<T, GroupError> {
    cbor::decode(bytes).map_err(|_| GroupError::Malformed)
}

impl SignedStatement {
    /// Signs a statement.
    #[must_use]
    pub fn sign(statement: &Statement, key: &SigningKey<Device>) -> Self {
        Self(Signed::new(key, labels::EPOCH, cbor::encode(statement)))
    }

    /// The statement, signed by this device, of this call and these terms.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn verify(&self, key: &VerifyingKey<Device>, call: CallId, terms: &Terms) -> Result<Statement, GroupError> {
        let statement: Statement = read(self.0.verify(key, labels::EPOCH)?)?;
        if statement.format != FORMAT {
            return Err(GroupError::Malformed);
        }
        if statement.call != call || statement.terms != *terms {
            return Err(GroupError::Place);
        }
        Ok(statement)
    }

    /// The join that it names as the host, while nothing about it is known to hold: for finding the key.
    #[must_use]
    pub fn claimed_host(&self) -> Option<JoinId> {
        read::<Statement>(&self.0.bytes).ok().map(|statement| statement.host)
    }

    /// What the next statement names it by: SHA-256 over its signed bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[&self.0.bytes])
    }
}

/// A host's sign of life, once a second and whenever an epoch is to be used. It travels sealed under the epoch that the
/// host seals under, beside the sound. CBOR map with these keys, signed by the host's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostWord {
    /// Which call.
    #[n(0)]
    pub call: CallId,
    /// The host's join.
    #[n(1)]
    pub host: JoinId,
    /// The host's term.
    #[n(2)]
    pub term: u32,
    /// Seal under this epoch.
    #[n(3)]
    pub applied: u32,
    /// The hash of the newest statement.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub newest: [u8; 32],
    /// Grows with each word, so that none counts twice.
    #[n(5)]
    pub number: u64,
}

impl HostWord {
    /// The word as it is sealed.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Device>) -> Vec<u8> {
        cbor::encode(&Signed::new(key, labels::HOST_WORD, cbor::encode(self)))
    }

    /// Reads a word of this device's in this call.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn verify(bytes: &[u8], key: &VerifyingKey<Device>, call: CallId) -> Result<Self, GroupError> {
        let signed: Signed = read(bytes)?;
        let word: Self = read(signed.verify(key, labels::HOST_WORD)?)?;
        if word.call == call { Ok(word) } else { Err(GroupError::Place) }
    }
}

/// A host's word that another is to follow it. CBOR map with these keys, signed by the host's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Handover {
    /// Which call.
    #[n(0)]
    pub call: CallId,
    /// The term that ends.
    #[n(1)]
    pub term: u32,
    /// The host's join.
    #[n(2)]
    pub from: JoinId,
    /// The join that follows it.
    #[n(3)]
    pub to: JoinId,
    /// Whether the host leaves: it gets no key any more.
    #[n(4)]
    pub leaves: bool,
}

impl Handover {
    /// As it travels.
    #[must_use]
    pub fn sign(&self, key: &SigningKey<Device>) -> Signed {
        Signed::new(key, labels::HANDOVER, cbor::encode(self))
    }

    /// Reads one by this device in this call.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn verify(signed: &Signed, key: &VerifyingKey<Device>, call: CallId) -> Result<Self, GroupError> {
        let handover: Self = read(signed.verify(key, labels::HANDOVER)?)?;
        if handover.call == call { Ok(handover) } else { Err(GroupError::Place) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(numbers: &[u16]) -> Vec<Place> {
        numbers.iter().map(|n| Place { join: JoinId::from_bytes([u8::try_from(*n).unwrap(); 16]), index: *n }).collect()
    }

    fn roster(numbers: &[u16]) -> Roster {
        Roster::new(places(numbers)).unwrap()
    }

    #[test]
    fn grp_1_who_stays_keeps_the_place_and_who_comes_stands_behind() {
        let (before, after) = (roster(&[3, 1, 7]), roster(&[3, 1, 7]).next(&places(&[9, 1, 3, 8])));
        assert_eq!(after, roster(&[3, 1, 8, 9]));
        let change = after.change_from(&before);
        assert_eq!(before.changed(&change), Some(after.clone()));
        assert_eq!(roster(&[3, 1]).changed(&change), None, "who goes was not there");
        assert_ne!(roster(&[1, 3]).hash(), roster(&[3, 1]).hash());
        let bytes = cbor::encode(&after);
        assert_eq!(cbor::decode::<Roster>(&bytes).unwrap(), after);
    }

    #[test]
    fn grp_1_no_roster_has_anybody_twice() {
        assert_eq!(Roster::new(places(&[1, 2, 1])), None);
        let mut two = places(&[1, 2]);
        two[1].index = 1;
        assert_eq!(Roster::new(two), None);
        assert!(cbor::decode::<Roster>(&[0x41, 0]).is_err());
    }
}
