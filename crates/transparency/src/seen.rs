//! What a device remembers of a log (rule KT-4): the last checkpoint it saw, and the leaf at its end.

use minicbor::{Decode, Encode};
use undertone_keys::WallTime;
use undertone_keys::cbor::{self, Malformed};
use undertone_keys::sign::{Server, VerifyingKey};

use crate::checkpoint::{SignedCheckpoint, VerifiedCheckpoint, origin};
use crate::leaf::Leaf;
use crate::note::LogKey;

/// A checkpoint of the pinned log, and its last leaf, which was proven to be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    checkpoint: VerifiedCheckpoint,
    leaf: Leaf,
}

/// The stored form. CBOR map.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    /// 1.
    #[n(0)]
    format: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    checkpoint: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    leaf: Vec<u8>,
}

impl Seen {
    pub(crate) const fn new(checkpoint: VerifiedCheckpoint, leaf: Leaf) -> Self {
        Self { checkpoint, leaf }
    }

    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// The leaf at its end.
    #[must_use]
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Leaves of the log: what a server is told when it is asked for more.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// When the log said so, by the server's clock.
    #[must_use]
    pub const fn time(&self) -> WallTime {
        self.leaf.time
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (checkpoint, leaf) = (self.checkpoint.signed().to_bytes(), self.leaf.to_bytes());
        cbor::encode(&Stored { format: 1, checkpoint, leaf })
    }

    /// Reads the stored form: the signature is verified again, that the leaf is the last one is not.
    ///
    /// # Errors
    /// [`Malformed`], also when it is of another log or key.
    pub fn from_bytes(bytes: &[u8], domain: &str, log: &VerifyingKey<Server>) -> Result<Self, Malformed> {
        let Stored { format: 1, checkpoint, leaf } = cbor::decode(bytes)? else { return Err(Malformed) };
        let key = LogKey::new(origin(domain).map_err(|_| Malformed)?, *log);
        let checkpoint = SignedCheckpoint::from_bytes(&checkpoint).and_then(|claimed| claimed.verify(&key));
        let leaf = Leaf::from_bytes(&leaf).map_err(|_| Malformed)?;
        Ok(Self { checkpoint: checkpoint.map_err(|_| Malformed)?, leaf })
    }
}
