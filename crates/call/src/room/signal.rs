//! What two devices in a room say to each other about keys: the text of an envelope to a join's one-call key.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use undertone_keys::secret::SecretBytes;
use undertone_keys::{JoinId, Secret, cbor};
use zeroize::Zeroizing;

/// Bytes of a text at most, so that what is encoded leaves no copy behind.
const ROOM: usize = 256;

/// The secret of an epoch as it travels.
#[derive(Debug)]
pub struct EpochSecret(pub Secret<32>);

impl<C> Encode<C> for EpochSecret {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EpochSecret {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        Secret::from_slice(d.bytes()?).map(Self).ok_or_else(|| DecodeError::message("not a secret"))
    }
}

/// A word about keys. It stands in an envelope of purpose `RoomKey` whose epoch is that of the key, or 0.
#[derive(Debug, Encode, Decode)]
#[cbor(flat)]
pub enum KeySignal {
    /// From the holder: open with this at once, seal with it a moment later (rule GRP-3).
    #[n(0)]
    Key {
        /// Epochs only grow.
        #[n(0)]
        epoch: u32,
        /// It is the epoch's media key.
        #[n(1)]
        secret: EpochSecret,
        /// The receiver's join that it is for.
        #[n(2)]
        join: JoinId,
        /// SHA-256 of the access list that the holder went by.
        #[cbor(n(3), with = "minicbor::bytes")]
        access: [u8; 32],
        /// That list's version.
        #[n(4)]
        version: u32,
        /// Whether somebody left since the epoch before.
        #[n(5)]
        removed: bool,
    },
    /// To the holder: I have no key for my join, or one that I cannot take.
    #[n(1)]
    Wanted {
        /// The asker's join.
        #[n(0)]
        join: JoinId,
        /// The newest epoch it has seen; 0 for none.
        #[n(1)]
        newest: u32,
        /// The version of the access list that it goes by.
        #[n(2)]
        version: u32,
        /// It was sent that epoch and cannot take it.
        #[n(3)]
        stuck: bool,
    },
}

impl KeySignal {
    /// The envelope's text.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        cbor::encode_secret(self, ROOM)
    }

    /// Reads an envelope's text.
    ///
    /// # Errors
    /// [`cbor::Malformed`].
    pub fn decode(text: &SecretBytes) -> Result<Self, cbor::Malformed> {
        cbor::decode(text.as_slice())
    }
}
