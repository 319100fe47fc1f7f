//! What two devices in a room say to each other about keys: the text of an envelope to a join's one-call key.
//!
//! ```text
//! host                                         member
//!   Prepare {statement, roster, secret} --------->        opens at once (rule GRP-3)
//!   <------------- Ready {statement's hash, MAC}
//!   (a HostWord beside the sound: seal under it)
//!
//!   <------------------------- Request {held ..}        something does not open (rule EKR-4)
//!   Answer {secrets from that join on, roster} -->       (rule EKR-5)
//! ```
//! `Told` goes to whoever goes by a statement that another has won over; `Handover` to whom the host leaves its part.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use subtle::ConstantTimeEq;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::epoch_secret::EpochSecret;
use undertone_keys::secret::{Secret, SecretBytes};
use undertone_keys::sign::Signed;
use undertone_keys::{JoinId, cbor};
use undertone_protocol::group::{Roster, RosterChange, SignedStatement};
use zeroize::Zeroizing;

use super::mls::QuorumSignal;

/// Bytes of a text without its roster, at most, so that what is encoded leaves no copy behind.
const ROOM: usize = 8 * 1024;
/// Bytes that one join adds to a text at most.
const ROOM_PER_JOIN: usize = 20;
/// Statements in a [`KeySignal::Told`], and secrets in a [`KeySignal::Answer`], at most: what a ring holds.
pub(super) const MAX_TOLD: usize = 3;

/// The roster that a statement names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum RosterNews {
    /// All of it.
    #[n(0)]
    Whole(#[n(0)] Roster),
    /// What has changed since the statement before, for whoever has shown that it has that one.
    #[n(1)]
    Change(#[n(0)] RosterChange),
}

/// An epoch's statement and its secret.
#[derive(Debug, Encode, Decode)]
pub struct EpochKey {
    /// As signed by the host that opened it.
    #[n(0)]
    pub statement: SignedStatement,
    /// What the statement commits to.
    #[n(1)]
    pub secret: EpochSecret,
}

/// The media key of an epoch of a group, for a listener: 32 bytes.
#[derive(Debug)]
pub struct ListenersKey(Secret<32>);

impl ListenersKey {
    /// For one more letter.
    pub(super) fn of(key: &Secret<32>) -> Self {
        Self(Secret::filled_by(|out| out.copy_from_slice(key.expose())))
    }

    /// The same key again, to know it by.
    pub(super) fn again(&self) -> Self {
        Self::of(&self.0)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn into_media_key(self) -> MediaKey {
        MediaKey::new(self.0)
    }
}

impl<C> Encode<C> for ListenersKey {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ListenersKey {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Secret::from_slice(d.bytes()?).map(Self).ok_or_else(|| DecodeError::message("not a key"))
    }
}

/// A word about keys. It stands in an envelope of purpose `RoomKey` whose term and epoch are those of the key, or 0.
#[derive(Debug, Encode, Decode)]
#[cbor(flat)]
pub enum KeySignal {
    /// From the host: open with this at once, and seal with it when the statement or the host says so.
    #[n(0)]
    Prepare {
        /// The epoch.
        #[n(0)]
        key: EpochKey,
        /// Whom it is for.
        #[n(1)]
        roster: RosterNews,
        /// The newest checkpoint of the key directory that the host was shown (rule KT-13).
        #[cbor(n(2), with = "minicbor::bytes")]
        checkpoint: Vec<u8>,
        /// The epoch that is sealed under: this one for whoever comes late.
        #[n(3)]
        applied: u32,
    },
    /// To the host: I have it.
    #[n(1)]
    Ready {
        /// The statement's hash.
        #[cbor(n(0), with = "minicbor::bytes")]
        statement: [u8; 32],
        /// `EpochSecret::ready`.
        #[cbor(n(1), with = "minicbor::bytes")]
        mac: [u8; 32],
    },
    /// To the host: something does not open here, or I have no key for my join (rule EKR-4).
    #[n(2)]
    Request {
        /// The asker's join.
        #[n(0)]
        join: JoinId,
        /// The epochs that it can open.
        #[n(1)]
        held: Vec<u32>,
        /// The newest epoch that it ever had; 0 for none. It cannot go back behind it.
        #[n(2)]
        newest: u32,
        /// It was sent an epoch that it cannot take.
        #[n(3)]
        stuck: bool,
        /// The version of the access list that it goes by.
        #[n(4)]
        version: u32,
        /// The highest term of a host that it has gone by; 0 for none.
        #[n(5)]
        term: u32,
    },
    /// From the host, under the request's id: what is sealed under now, and what is coming (rule EKR-5).
    #[n(3)]
    Answer {
        /// By epoch, oldest first; of none that was opened before the asker was in.
        #[n(0)]
        keys: Vec<EpochKey>,
        /// Whom the newest of them is for.
        #[n(1)]
        roster: Roster,
        /// The epoch that is sealed under.
        #[n(2)]
        applied: u32,
    },
    /// This is the newest statement, or these two contradict each other.
    #[n(4)]
    Told {
        /// One, or two of one host for one epoch.
        #[n(0)]
        statements: Vec<SignedStatement>,
    },
    /// From the host: what it says beside the sound, for whom that does not reach.
    #[n(6)]
    Word {
        /// A signed `HostWord`.
        #[cbor(n(0), with = "minicbor::bytes")]
        word: Vec<u8>,
    },
    /// From a member of the call's MLS group to one whose frames do not open: the group that this one is in (rule MLS-3).
    #[n(7)]
    Group {
        /// The epoch.
        #[n(0)]
        epoch: u64,
        /// Its authenticator.
        #[cbor(n(1), with = "minicbor::bytes")]
        authenticator: [u8; 32],
    },
    /// From a listener to the member that is to serve it (rule GRP-9): give me the key, or, where it has the newest: I am still here.
    #[n(8)]
    Listen {
        /// The newest epoch whose key it has and that opens.
        #[n(0)]
        newest: Option<u64>,
    },
    /// The answer, and then one for each epoch.
    #[n(9)]
    Hear {
        /// Which epoch.
        #[n(0)]
        epoch: u64,
        /// Its media key: what the group exports, and nothing else of it.
        #[n(1)]
        key: ListenersKey,
        /// The newest checkpoint of the key directory that the member was shown (rule KT-13).
        #[cbor(n(2), with = "minicbor::bytes")]
        checkpoint: Vec<u8>,
        /// Somebody's leaf went: what is sealed under the epoch before is good for a moment only (rule GRP-4).
        #[n(3)]
        removed: bool,
    },
    /// About the quorum secret of the room's group (rule RKX-5).
    #[n(10)]
    Quorum(#[n(0)] QuorumSignal),
    /// To whom follows the host.
    #[n(5)]
    Handover {
        /// A signed `Handover`.
        #[n(0)]
        handover: Signed,
    },
}

impl KeySignal {
    /// The envelope's text.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let joins = match self {
            Self::Prepare { roster: RosterNews::Whole(roster), .. } | Self::Answer { roster, .. } => {
                roster.places().len()
            }
            Self::Prepare { roster: RosterNews::Change(change), .. } => change.gone.len() + change.new.places().len(),
            Self::Ready { .. }
            | Self::Request { .. }
            | Self::Told { .. }
            | Self::Word { .. }
            | Self::Group { .. }
            | Self::Listen { .. }
            | Self::Hear { .. }
            | Self::Quorum(_)
            | Self::Handover { .. } => 0,
        };
        cbor::encode_secret(self, ROOM + joins * ROOM_PER_JOIN)
    }

    /// Reads an envelope's text.
    ///
    /// # Errors
    /// [`cbor::Malformed`].
    pub fn decode(text: &SecretBytes) -> Result<Self, cbor::Malformed> {
        let signal: Self = cbor::decode(text.as_slice())?;
        let few = match &signal {
            Self::Answer { keys, .. } => keys.len() <= MAX_TOLD,
            Self::Told { statements } => statements.len() <= MAX_TOLD,
            Self::Request { held, .. } => held.len() <= MAX_TOLD + 1,
            Self::Prepare { .. }
            | Self::Ready { .. }
            | Self::Word { .. }
            | Self::Group { .. }
            | Self::Listen { .. }
            | Self::Hear { .. }
            | Self::Handover { .. } => true,
            Self::Quorum(signal) => signal.is_short(),
        };
        if few { Ok(signal) } else { Err(cbor::Malformed) }
    }
}
