//! One call from a server's answer to devices that may be believed (rules KT-1 to KT-8), or a precise accusation.
//!
//! ```text
//! checkpoint --pinned key, KT-1--> signed --witnesses, KT-2--> --last leaf, KT-3--> --seen before, KT-4-->
//!     directory root --VRF and path, KT-5, KT-6--> hash of a list --signatures and chain, KT-7--> devices, KT-8: of when?
//! ```
//! The checks are made in this order, and the first that fails is the accusation. None of them can be overridden
//! (rule KT-9).

use minicbor::{Decode, Encode};
use undertone_keys::device_list::{ClaimedList, DeviceList, ListError};
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{UserId, WallTime};

use crate::answer::{Answer, Found};
use crate::checkpoint::{CheckpointError, NotFollowing, SignedCheckpoint, VerifiedCheckpoint, origin};
use crate::directory::{AbsenceError, ClaimError, LookupError, VrfKey, verify_absence, verify_lookup};
use crate::label;
use crate::leaf::{Leaf, LeafOrder};
use crate::log::{BadProof, verify_inclusion};
use crate::note::LogKey;
use crate::policy::{TooFew, Witnessed, Witnesses};
use crate::seen::Seen;

/// Seconds that a checkpoint may be old where a call, a session or a key begins (rule KT-8).
pub const FRESH: u64 = 10 * 60;
/// Seconds for which trust may be shown without asking again (rule KT-8).
pub const SHOWABLE: u64 = 24 * 60 * 60;
/// Seconds by which the log's clock may be ahead of ours.
pub const AHEAD: u64 = 5 * 60;

/// The keys of a domain that a device has pinned together (rule KT-14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// The domain.
    pub domain: String,
    /// The key that signs the log's checkpoints, which is the server's identity.
    pub log: VerifyingKey<Server>,
    /// The directory's VRF key.
    pub vrf: [u8; 32],
    /// Which witnesses are known, and how many have to cosign.
    pub witnesses: Witnesses,
}

/// What the answer is wanted for: it says how old a checkpoint may be (rule KT-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A call, a session or a key begins: [`FRESH`].
    Begin,
    /// Trust is shown to a person: [`SHOWABLE`].
    Show,
}

/// What a device asks, and what it compares the answer with.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The pinned keys.
    pub pins: &'a Pins,
    /// Whose devices.
    pub user: &'a UserId,
    /// What this device saw last of the log: a later checkpoint must follow it.
    pub seen: Option<&'a Seen>,
    /// The newest list of this user that this device knows.
    pub known: Option<&'a DeviceList>,
    /// The wall clock.
    pub now: WallTime,
    /// What for.
    pub purpose: Purpose,
}

/// What an answer proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The user's devices.
    Devices(Box<VerifiedDevices>),
    /// No such user, now or ever before.
    Absent(Box<Provenance>),
}

/// A user's newest device list, as the directory proves it. Made by [`Question::verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDevices {
    pub(crate) list: DeviceList,
    pub(crate) published: u64,
    pub(crate) provenance: Provenance,
}

/// From which state of the directory something was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pub(crate) seen: Seen,
    pub(crate) witnessed: Witnessed,
}

/// The same in short: what is stored beside a peer, and shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attested {
    /// The epoch of the directory.
    #[n(0)]
    pub epoch: u64,
    /// The epoch in which the device list was published.
    #[n(1)]
    pub published: u64,
    /// Leaves of the log.
    #[n(2)]
    pub size: u64,
    /// The root of the log.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub root: [u8; 32],
    /// When the log said so, by the server's clock.
    #[n(4)]
    pub time: WallTime,
    /// The witnesses that cosigned, by name.
    #[n(5)]
    pub witnesses: Vec<String>,
    /// How many had to.
    #[n(6)]
    pub threshold: u32,
}

impl Attested {
    /// Whether as many witnesses as were asked for, and at least one, saw the same log (rule KT-12).
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        self.threshold > 0 && u32::try_from(self.witnesses.len()).is_ok_and(|count| count >= self.threshold)
    }
}

/// Which check of which rule an answer did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Accusation {
    /// The bytes are no answer.
    #[error("the server's proof cannot be read")]
    Malformed,
    /// KT-1.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// KT-2.
    #[error(transparent)]
    Witnesses(#[from] TooFew),
    /// KT-3: what is shown as the last leaf is none.
    #[error("the log's last leaf cannot be read")]
    Leaf,
    /// KT-3: it is not the last leaf of the log.
    #[error("the directory shown is not the one the log ends with: {0}")]
    Inclusion(#[from] BadProof),
    /// KT-14: the directory works with another VRF key than the pinned one.
    #[error("the directory's VRF key is not the pinned one")]
    VrfKey,
    /// KT-4: the log went back, or is not the one that was seen before.
    #[error(transparent)]
    Log(#[from] NotFollowing),
    /// KT-3, KT-8: epochs, roots or times of the log went back.
    #[error(transparent)]
    Order(#[from] LeafOrder),
    /// KT-5, KT-6: the user's version is not proven.
    #[error("the device list is not proven by the directory: {0}")]
    Lookup(#[from] LookupError),
    /// KT-6: that there is no such user is not proven.
    #[error(transparent)]
    Absence(#[from] AbsenceError),
    /// KT-6: a user that has been there is denied.
    #[error("{} is denied, and was there", .0.display())]
    Denied(UserId),
    /// KT-7: the newest list is not the one the directory names.
    #[error("the device list is another one than the directory names")]
    OtherList,
    /// KT-7: a list of the answer does not hold, or does not follow the one before it.
    #[error("a device list does not hold: {0}")]
    List(#[from] ListError),
    /// KT-7: a list with this number stands in the directory under another.
    #[error("list {list} stands in the directory as version {proven}")]
    Version {
        /// The number in the list.
        list: u32,
        /// The directory's.
        proven: u32,
    },
    /// KT-7: an older version than this device knows.
    #[error("version {proven} of the device list was shown, and version {known} is known")]
    OldList {
        /// The version known.
        known: u32,
        /// The directory's.
        proven: u32,
    },
    /// KT-8: nothing newer than this.
    #[error(
        "the newest that the server shows of its directory is {} minutes old: it is kept from the newest, or a clock is wrong",
        .age / 60
    )]
    Stale {
        /// Seconds by the wall clock.
        age: u64,
    },
    /// KT-8: a leaf from the future.
    #[error("the server's directory is {} minutes ahead of this device's clock: one of the two is wrong", .ahead / 60)]
    Ahead {
        /// Seconds by the wall clock.
        ahead: u64,
    },
}

impl Accusation {
    /// The rule whose check failed, as the specification numbers it.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Malformed | Self::Checkpoint(_) => "KT-1",
            Self::Witnesses(_) => "KT-2",
            Self::Leaf | Self::Inclusion(_) => "KT-3",
            Self::Log(_) => "KT-4",
            Self::Lookup(LookupError::Claim(ClaimError::Vrf(_))) | Self::Absence(AbsenceError(ClaimError::Vrf(_))) => {
                "KT-5"
            }
            Self::Lookup(_) | Self::Absence(_) | Self::Denied(_) => "KT-6",
            Self::OtherList | Self::List(_) | Self::Version { .. } | Self::OldList { .. } => "KT-7",
            Self::Order(order) => order.rule(),
            Self::Stale { .. } | Self::Ahead { .. } => "KT-8",
            Self::VrfKey => "KT-14",
        }
    }
}

impl Question<'_> {
    /// Checks an answer.
    ///
    /// # Errors
    /// The first [`Accusation`]. The answer and everything in this question are the evidence for it.
    pub fn verify(&self, answer: &[u8]) -> Result<Proven, Accusation> {
        let answer = Answer::from_bytes(answer).map_err(|_| Accusation::Malformed)?;
        let (checkpoint, witnessed) = self.checkpoint(&answer)?;
        let leaf = self.leaf(&answer, &checkpoint)?;
        if let Some(seen) = self.seen {
            checkpoint.follows(seen.checkpoint(), &answer.consistency.0)?;
            leaf.follows(seen.leaf())?;
        }
        let key = VrfKey::from_bytes(&self.pins.vrf).map_err(|_| Accusation::VrfKey)?;
        let (place, provenance) =
            (label::devices(self.user), Provenance { seen: Seen::new(checkpoint, leaf), witnessed });
        let proven = match &answer.found {
            Found::Absent(proof) => {
                verify_absence(&key, &leaf.root, &place, proof)?;
                if self.known.is_some() {
                    return Err(Accusation::Denied(self.user.clone()));
                }
                Proven::Absent(Box::new(provenance))
            }
            Found::Present { proof, lists } => {
                let found = verify_lookup(&key, &leaf.root, leaf.epoch, &place, proof)?;
                let list = self.newest(lists, found.version, &found.value)?;
                Proven::Devices(Box::new(VerifiedDevices { list, published: found.epoch, provenance }))
            }
        };
        self.is_fresh(leaf.time)?;
        Ok(proven)
    }

    /// Rules KT-1 and KT-2.
    fn checkpoint(&self, answer: &Answer) -> Result<(VerifiedCheckpoint, Witnessed), Accusation> {
        let name = origin(&self.pins.domain).map_err(|_| CheckpointError::Origin)?;
        let checkpoint = SignedCheckpoint::from_bytes(&answer.checkpoint)?.verify(&LogKey::new(name, self.pins.log))?;
        let witnessed = self.pins.witnesses.check(&checkpoint, self.now)?;
        Ok((checkpoint, witnessed))
    }

    /// Rule KT-3: the leaf is the last one. An earlier one, though it is in the log, would show an old directory.
    fn leaf(&self, answer: &Answer, checkpoint: &VerifiedCheckpoint) -> Result<Leaf, Accusation> {
        let leaf = Leaf::from_bytes(&answer.leaf).map_err(|_| Accusation::Leaf)?;
        let last = checkpoint.size().checked_sub(1).ok_or(Accusation::Leaf)?;
        verify_inclusion(last, checkpoint.size(), &leaf.hash(), &answer.inclusion.0, checkpoint.root())?;
        if leaf.vrf_key != undertone_keys::digest::sha256(&[&self.pins.vrf]) {
            return Err(Accusation::VrfKey);
        }
        Ok(leaf)
    }

    /// Rule KT-7: the newest list is the one that the directory names, and all that are shown follow each other.
    fn newest(&self, lists: &[Vec<u8>], version: u32, value: &[u8; 32]) -> Result<DeviceList, Accusation> {
        if let Some(known) = self.known.map(DeviceList::version).filter(|known| version < *known) {
            return Err(Accusation::OldList { known, proven: version });
        }
        let mut newest: Option<DeviceList> = self.known.cloned();
        for bytes in lists {
            let list = ClaimedList::from_bytes(bytes)?.verify(self.user)?;
            // An account that began anew is another key's, and another alarm (rule ID-7).
            if let Some(before) = newest.filter(|before| before.account() == list.account()) {
                list.follows(&before)?;
            }
            newest = Some(list);
        }
        let newest = newest.ok_or(Accusation::OtherList)?;
        if newest.hash() != *value {
            return Err(Accusation::OtherList);
        }
        if newest.version() != version {
            return Err(Accusation::Version { list: newest.version(), proven: version });
        }
        Ok(newest)
    }

    /// Rule KT-8.
    fn is_fresh(&self, time: WallTime) -> Result<(), Accusation> {
        let most = match self.purpose {
            Purpose::Begin => FRESH,
            Purpose::Show => SHOWABLE,
        };
        let apart = self.now.distance(time);
        if time > self.now {
            return if apart > AHEAD { Err(Accusation::Ahead { ahead: apart }) } else { Ok(()) };
        }
        if apart > most { Err(Accusation::Stale { age: apart }) } else { Ok(()) }
    }
}

impl VerifiedDevices {
    /// The list.
    #[must_use]
    pub const fn list(&self) -> &DeviceList {
        &self.list
    }

    /// The epoch of the directory in which it was published.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// From which state of the directory it was proven.
    #[must_use]
    pub const fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The same in short.
    #[must_use]
    pub fn attested(&self) -> Attested {
        let Provenance { seen, witnessed } = &self.provenance;
        Attested {
            epoch: seen.leaf().epoch,
            published: self.published,
            size: seen.size(),
            root: *seen.checkpoint().root(),
            time: seen.time(),
            witnesses: witnessed.names().map(ToString::to_string).collect(),
            threshold: u32::try_from(witnessed.threshold).unwrap_or(u32::MAX),
        }
    }
}

impl Provenance {
    /// The checkpoint and the last leaf: to be remembered, since the next must follow them.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Who else saw this checkpoint.
    #[must_use]
    pub const fn witnessed(&self) -> &Witnessed {
        &self.witnessed
    }

    /// The epoch of the directory.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.seen.leaf().epoch
    }
}
