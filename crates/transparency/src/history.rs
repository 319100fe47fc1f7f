//! The history of one's own account (rule KT-11): what a server answers a device that asks for every version of its own list
//! from the newest that it knows, and the one call that checks it.
//!
//! A look-up shows the newest version, and that its successor is not in force; it cannot show that nothing else was ever shown to
//! others. A history can: every version is there without a gap, each was put in the place of the one before, and whatever
//! others could be shown behind the newest is denied. So the owner, who knows every version they made, sees any other.
//!
//! | key | what |
//! |-----|------|
//! | 0-3, 5 | the newest state of the log, as in an [answer](crate::answer) |
//! | 4   | the [history](crate::directory::HistoryProof) from the version asked for |
//! | 6   | the lists behind that version, oldest first |

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use undertone_keys::WallTime;
use undertone_keys::cbor::{self, Malformed};
use undertone_keys::device_list::{ClaimedList, DeviceList};

use crate::accusation::Accusation;
use crate::answer::{Fields, Head, MAX_BYTES, MAX_LISTS};
use crate::chain::Chain;
use crate::directory::{HistoryProof, Lookup, VrfKey, verify_history};
use crate::head::{Pins, Provenance, Purpose};
use crate::known::later;
use crate::label;
use crate::seen::Seen;

/// The answer, not yet believed. Nothing of it is signed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryAnswer {
    /// The newest state of the log.
    pub head: Head,
    /// The versions.
    pub proof: HistoryProof,
    /// The lists behind the version asked for, oldest first.
    pub lists: Lists,
}

/// Device lists, not yet believed. CBOR: an array of byte strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists(pub Vec<Vec<u8>>);

/// What a device asks about its own account, and what it compares the answer with.
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuestion<'a> {
    /// The pinned keys.
    pub pins: &'a Pins,
    /// What this device saw last of the log: a later checkpoint must follow it.
    pub seen: Option<&'a Seen>,
    /// The newest list of the account that this device has checked: the history begins with it.
    pub from: &'a DeviceList,
    /// An epoch in which that list was the newest, if one is known: every later version was published in a later one.
    pub newest_in: Option<u64>,
    /// The wall clock.
    pub now: WallTime,
}

/// Every version of an account's list from one on, as the directory proves them. Made by [`HistoryQuestion::verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    versions: Vec<Version>,
    provenance: Provenance,
}

/// One version of an account's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The list.
    pub list: DeviceList,
    /// The epoch of the directory in which it was published.
    pub epoch: u64,
}

impl HistoryAnswer {
    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`Malformed`] when they are too many, or not the deterministic encoding of an answer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_BYTES { Err(Malformed) } else { cbor::decode(bytes) }
    }

    /// The deterministic encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }
}

impl HistoryQuestion<'_> {
    /// Checks an answer: the log as for every answer (rules KT-1 to KT-4, KT-14), then the versions (KT-5, KT-6, KT-11), then the
    /// lists (KT-7), then of when it is (KT-8).
    ///
    /// # Errors
    /// The first [`Accusation`]. The answer and everything in this question are the evidence for it.
    pub fn verify(&self, answer: &[u8]) -> Result<History, Accusation> {
        let answer = HistoryAnswer::from_bytes(answer).map_err(|_| Accusation::Malformed)?;
        let provenance = self.pins.head(&answer.head, self.seen, self.now, Purpose::Begin)?;
        let key = VrfKey::from_bytes(&self.pins.vrf).map_err(|_| Accusation::VrfKey)?;
        let (label, leaf) = (label::devices(self.from.user()), *provenance.seen().leaf());
        let from = self.from.version();
        let proven = verify_history(&key, &leaf.root, leaf.epoch, &label, from, &answer.proof)?;
        let versions = self.versions(&proven, &answer.lists.0)?;
        provenance.is_fresh(self.now, Purpose::Begin)?;
        Ok(History { versions, provenance })
    }

    /// Rule KT-7: every list is the one that the directory names, and they follow each other from the one known on.
    fn versions(&self, proven: &[Lookup], lists: &[Vec<u8>]) -> Result<Vec<Version>, Accusation> {
        let from = self.from.version();
        let mut proven = proven.iter().skip_while(|version| version.version < from);
        // The proof reaches down to it, or it would not have held.
        let first = proven.next().filter(|first| first.version == from).ok_or(Accusation::OtherList)?;
        if first.value != self.from.hash() {
            return Err(Accusation::OtherList);
        }
        let mut versions = vec![Version { list: self.from.clone(), epoch: first.epoch }];
        let mut chain = Chain::new(Some(self.from.clone()));
        let behind: Vec<&Lookup> = proven.collect();
        // Who was asked from an earlier version on may show more than these.
        let lists =
            lists.len().checked_sub(behind.len()).and_then(|more| lists.get(more..)).ok_or(Accusation::OtherList)?;
        for (version, bytes) in behind.into_iter().zip(lists) {
            let list = ClaimedList::from_bytes(bytes)?.verify(self.from.user())?;
            if list.hash() != version.value {
                return Err(Accusation::OtherList);
            }
            if list.version() != version.version {
                return Err(Accusation::Version { list: list.version(), proven: version.version });
            }
            later(from, self.newest_in, version.version, version.epoch)?;
            chain.add(list.clone())?;
            versions.push(Version { list, epoch: version.epoch });
        }
        Ok(versions)
    }
}

impl History {
    /// The versions, oldest first: the one that was asked from, and all behind it.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The last epoch in which this version was the newest; none where it is not among these.
    #[must_use]
    pub fn newest_in(&self, version: u32) -> Option<u64> {
        let place = self.versions.iter().position(|shown| shown.list.version() == version)?;
        let next = self.versions.get(place.saturating_add(1));
        Some(next.map_or_else(|| self.provenance.epoch(), |next| next.epoch.saturating_sub(1)))
    }

    /// From which state of the directory they were proven.
    #[must_use]
    pub const fn provenance(&self) -> &Provenance {
        &self.provenance
    }
}

impl<C> Encode<C> for HistoryAnswer {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        Fields::join(self.head.clone(), &self.proof, &self.lists).encode(e, context)
    }
}

impl<'b, C> Decode<'b, C> for HistoryAnswer {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let (head, proof, lists) = Fields::decode(d, context)?.split();
        Ok(Self { head, proof, lists })
    }
}

impl<C> Encode<C> for Lists {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.0.len() as u64)?;
        for list in &self.0 {
            e.bytes(list)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Lists {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let count = d.array()?.filter(|count| *count <= MAX_LISTS as u64);
        let count = count.ok_or_else(|| DecodeError::message("too many device lists"))?;
        (0..count).map(|_| d.bytes().map(<[u8]>::to_vec)).collect::<Result<_, _>>().map(Self)
    }
}
