//! What a server answers when it is asked for a user's devices: everything that rules KT-1 to KT-8 are checked against.
//!
//! | key | what |
//! |-----|------|
//! | 0   | the newest checkpoint, a C2SP note with the log's signature and its witnesses' |
//! | 1   | consistency proof from the size that the asker has seen (RFC 6962, 2.1.2), 32 bytes for each hash |
//! | 2   | the log's last leaf, [103 bytes](crate::leaf) |
//! | 3   | its inclusion proof (RFC 6962, 2.1.1), 32 bytes for each hash |
//! | 4   | `[0, proof, [list]]`, the newest list last, or `[1, proof]` where there is no such user |
//! | 5   | older checkpoints that witnesses cosigned, 8 at most: `[{0: note, 1: consistency proof from it to the newest}]` |
//! | 6   | where one of the lists begins the account anew: the leaf of the epoch that published the last such one, `{0: index, 1: leaf, 2: inclusion proof}`, and, where it is not the newest, 3: its proof |
//!
//! Nothing of it is signed as a whole, and nothing has to be: what is not the log's word is proven by it.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use undertone_keys::cbor::{self, Malformed};

use crate::directory::wire::Update;
use crate::directory::{AbsenceProof, LookupProof};
use crate::log::Hash;

/// Bytes of an answer at most: sixty-four device lists with all their records are far from it.
pub const MAX_BYTES: usize = 4 << 20;
/// Lists that an answer may bring at most.
pub const MAX_LISTS: usize = 1_024;
/// Older checkpoints that an answer may bring at most.
pub const MAX_OLDER: usize = 8;
/// Hashes of a proof about the log at most: two for each of its 64 levels, and one.
pub const MAX_HASHES: usize = 129;

/// The part of every answer that is about the log, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest checkpoint, as a note.
    pub checkpoint: Vec<u8>,
    /// That the log only grew since the size asked for.
    pub consistency: Hashes,
    /// The last leaf.
    pub leaf: Vec<u8>,
    /// That it is the last leaf.
    pub inclusion: Hashes,
    /// Older checkpoints that witnesses cosigned, where they have not all cosigned the newest; absent where there is none.
    pub witnessed: Option<Vec<Older>>,
}

/// The answer, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The newest state of the log.
    pub head: Head,
    /// What the directory says.
    pub found: Found,
    /// When the last of the lists that begins the account anew was published, if one does (rule ID-7).
    pub announced: Option<LeafOf>,
}

/// The CBOR map of every answer: the head's fields stand in one with the others.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct Fields<F, M> {
    #[cbor(n(0), with = "minicbor::bytes")]
    checkpoint: Vec<u8>,
    #[n(1)]
    consistency: Hashes,
    #[cbor(n(2), with = "minicbor::bytes")]
    leaf: Vec<u8>,
    #[n(3)]
    inclusion: Hashes,
    #[n(4)]
    found: F,
    #[n(5)]
    witnessed: Option<Vec<Older>>,
    #[n(6)]
    more: M,
}

impl<F, M> Fields<F, M> {
    pub(crate) fn join(head: Head, found: F, more: M) -> Self {
        let Head { checkpoint, consistency, leaf, inclusion, witnessed } = head;
        Self { checkpoint, consistency, leaf, inclusion, found, witnessed, more }
    }

    pub(crate) fn split(self) -> (Head, F, M) {
        let Self { checkpoint, consistency, leaf, inclusion, found, witnessed, more } = self;
        (Head { checkpoint, consistency, leaf, inclusion, witnessed }, found, more)
    }
}

/// An older checkpoint, and that the newest one grew from it. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Older {
    /// As a note, with its witnesses' lines.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub checkpoint: Vec<u8>,
    /// Consistency proof from there to the newest checkpoint.
    #[n(1)]
    pub consistency: Hashes,
}

/// A leaf of the log that is not the last one. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LeafOf {
    /// Its place.
    #[n(0)]
    pub index: u64,
    /// Its bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub leaf: Vec<u8>,
    /// Its inclusion proof.
    #[n(2)]
    pub inclusion: Hashes,
    /// That the list was published in the leaf's epoch, where the look-up does not say so, since a newer list is shown.
    #[n(3)]
    pub version: Option<Box<Update>>,
}

/// What the directory says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is one.
    Present {
        /// The newest version and the hash of its list.
        proof: Box<LookupProof>,
        /// The lists behind the version that the asker knows, oldest first; the newest alone where it knows none.
        lists: Vec<Vec<u8>>,
    },
    /// There is none, and never was.
    Absent(Box<AbsenceProof>),
}

/// Hashes of a proof about the log. CBOR: one byte string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hashes(pub Vec<Hash>);

impl Answer {
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

impl<C> Encode<C> for Answer {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        Fields::join(self.head.clone(), &self.found, &self.announced).encode(e, context)
    }
}

impl<'b, C> Decode<'b, C> for Answer {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let (head, found, announced) = Fields::decode(d, context)?.split();
        Ok(Self { head, found, announced })
    }
}

impl<C> Encode<C> for Hashes {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.0.as_flattened())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Hashes {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let (hashes, rest) = d.bytes()?.as_chunks();
        let bounded = rest.is_empty() && hashes.len() <= MAX_HASHES;
        bounded.then(|| Self(hashes.to_vec())).ok_or_else(|| DecodeError::message("no hashes"))
    }
}

impl<C> Encode<C> for Found {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, context: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Present { proof, lists } => {
                e.array(3)?.u8(0)?;
                proof.encode(e, context)?;
                e.array(lists.len() as u64)?;
                for list in lists {
                    e.bytes(list)?;
                }
                Ok(())
            }
            Self::Absent(proof) => {
                e.array(2)?.u8(1)?;
                proof.encode(e, context)
            }
        }
    }
}

impl<'b, C> Decode<'b, C> for Found {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, DecodeError> {
        let unknown = || DecodeError::message("neither a user's devices nor a user's absence");
        match (d.array()?, d.u8()?) {
            (Some(3), 0) => {
                let proof = Box::new(LookupProof::decode(d, context)?);
                let count = d.array()?.filter(|count| *count <= MAX_LISTS as u64).ok_or_else(unknown)?;
                let lists = (0..count).map(|_| d.bytes().map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
                Ok(Self::Present { proof, lists })
            }
            (Some(2), 1) => AbsenceProof::decode(d, context).map(Box::new).map(Self::Absent),
            _ => Err(unknown()),
        }
    }
}
