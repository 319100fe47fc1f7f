//! Two devices compare what they were shown of the log (rule KT-13).
//!
//! Each puts its newest checkpoint into the sealed part of what it says to the other. A server that shows them two logs has
//! signed both, and cannot show that one grew from the other: whichever of the two asks it holds the evidence.

use minicbor::{Decode, Encode};
use undertone_keys::WallTime;
use undertone_keys::cbor::{self, Malformed};
use undertone_keys::digest::labelled_sha256;
use undertone_keys::sign::{Server, VerifyingKey};

use crate::answer::Hashes;
use crate::checkpoint::{CheckpointError, NotFollowing, SignedCheckpoint, VerifiedCheckpoint, origin};
use crate::evidence::About;
use crate::log::Hash;
use crate::note::{BadNote, LogKey};

/// Bytes of a checkpoint that is passed on at most: three lines and one signature.
pub const MAX_BYTES: usize = 1_024;

/// A checkpoint that a peer was shown, signed by the log's pinned key. One that is not is the peer's fault and nobody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(VerifiedCheckpoint);

/// How what a peer was shown lies to what this device has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// It is the same.
    Level,
    /// It is older: the server can prove that what this device has seen grew from it.
    Behind {
        /// Leaves that the peer was shown.
        from: u64,
        /// Leaves that this device has seen.
        to: u64,
    },
    /// It is newer: this device has to look again first.
    Ahead,
}

impl Told {
    /// Reads what a peer passed on.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(bytes: &[u8], domain: &str, log: &VerifyingKey<Server>) -> Result<Self, CheckpointError> {
        if bytes.len() > MAX_BYTES {
            return Err(BadNote::TooLong.into());
        }
        let name = origin(domain).map_err(|_| CheckpointError::Origin)?;
        SignedCheckpoint::from_bytes(bytes)?.verify(&LogKey::new(name, *log)).map(Self)
    }

    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.0
    }

    /// Compares it with the newest that this device has seen.
    ///
    /// # Errors
    /// [`NotFollowing::SameSizeOtherRoot`]: two signatures of the log's key convict it.
    pub fn against(&self, seen: &VerifiedCheckpoint) -> Result<Lies, NotFollowing> {
        let (from, to) = (self.0.size(), seen.size());
        if from > to {
            return Ok(Lies::Ahead);
        }
        if from < to {
            return Ok(Lies::Behind { from, to });
        }
        seen.follows(&self.0, &[]).map(|()| Lies::Level)
    }

    /// Takes the server's proof that what this device has seen grew from it.
    ///
    /// # Errors
    /// [`NotFollowing`].
    pub fn settle(&self, seen: &VerifiedCheckpoint, proof: &[Hash]) -> Result<(), NotFollowing> {
        seen.follows(&self.0, proof)
    }
}

/// Evidence that two devices were shown two logs. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Divergence {
    /// 2: a file of a failed look-up has 1.
    #[n(0)]
    format: u8,
    /// The domain of the directory.
    #[n(1)]
    domain: String,
    /// The pinned key of its log.
    #[n(2)]
    log: VerifyingKey<Server>,
    /// What the device had seen, as a note.
    #[cbor(n(3), with = "minicbor::bytes")]
    seen: Vec<u8>,
    /// What its peer had been shown, as a note.
    #[cbor(n(4), with = "minicbor::bytes")]
    told: Vec<u8>,
    /// What the server gave for a proof between them; nothing where it gave none.
    #[n(5)]
    proof: Hashes,
    /// The wall clock of the device.
    #[n(6)]
    at: WallTime,
}

impl Divergence {
    /// Keeps two checkpoints that did not go together.
    #[must_use]
    pub fn new(
        domain: &str,
        log: VerifyingKey<Server>,
        seen: &VerifiedCheckpoint,
        told: &Told,
        proof: Vec<Hash>,
        at: WallTime,
    ) -> Self {
        let [seen, told] = [seen, told.checkpoint()].map(|checkpoint| checkpoint.signed().to_bytes());
        Self { format: 2, domain: domain.into(), log, seen, told, proof: Hashes(proof), at }
    }

    /// The file's contents.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let read: Self = cbor::decode(bytes)?;
        if read.format == 2 { Ok(read) } else { Err(Malformed) }
    }

    /// Makes the check again. An `Ok` inside means that the two go together, and nobody is accused.
    ///
    /// # Errors
    /// [`Malformed`] where the log's key did not sign both.
    pub fn check(&self) -> Result<Result<(), NotFollowing>, Malformed> {
        let read = |bytes| Told::read(bytes, &self.domain, &self.log).map_err(|_| Malformed);
        let (Told(seen), Told(told)) = (read(&self.seen)?, read(&self.told)?);
        // Whichever is the larger has to have grown from the other.
        let (older, newer) = if told.size() > seen.size() { (&seen, &told) } else { (&told, &seen) };
        Ok(newer.follows(older, &self.proof.0))
    }

    /// Whether the log's own signatures are enough: two of them, over two trees of one size.
    #[must_use]
    pub fn convicts(&self) -> bool {
        matches!(self.check(), Ok(Err(NotFollowing::SameSizeOtherRoot { .. })))
    }

    /// What the same two checkpoints have in common, whenever they were compared.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        labelled_sha256(crate::labels::DIVERGENCE, &[self.domain.as_bytes(), &self.seen, &self.told])
    }

    /// Which directory it is about.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        About { domain: &self.domain, log: &self.log, at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use undertone_keys::sign::SigningKey;
    use undertone_keys::testing::SeededRng;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::log::{Subtrees, leaf_hash, node_hash, prove_consistency, root};

    struct Log(Vec<Vec<u8>>);

    impl Subtrees for Log {
        type Error = Infallible;

        fn subtree(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
            if level == 0 {
                return Ok(leaf_hash(&self.0[usize::try_from(index).unwrap()]));
            }
            Ok(node_hash(&self.subtree(level - 1, index * 2)?, &self.subtree(level - 1, index * 2 + 1)?))
        }
    }

    fn told(key: &SigningKey<Server>, log: &Log, size: u64) -> Told {
        let Ok(root) = root(size, log);
        let signed = Checkpoint { origin: origin("x.org").unwrap(), size, root }.sign(key);
        Told::read(&signed.to_bytes(), "x.org", key.public()).unwrap()
    }

    #[test]
    fn kt_13_two_who_were_shown_one_log_agree_and_two_logs_are_evidence() {
        let key = SigningKey::<Server>::generate(&mut SeededRng::new(1));
        let leaves = |last: u8| Log((0..10_u8).map(|n| if n == 9 { vec![last] } else { vec![n] }).collect());
        let (log, fork) = (leaves(9), leaves(77));
        let (seen, same, older, newer) =
            (told(&key, &log, 9), told(&key, &log, 9), told(&key, &log, 4), told(&key, &log, 10));
        let seen = seen.checkpoint();
        assert_eq!(same.against(seen), Ok(Lies::Level));
        assert_eq!(newer.against(seen), Ok(Lies::Ahead));
        assert_eq!(older.against(seen), Ok(Lies::Behind { from: 4, to: 9 }));
        let Ok(proof) = prove_consistency(4, 9, &log);
        assert_eq!(older.settle(seen, &proof), Ok(()));
        assert!(older.settle(seen, &[]).is_err());

        // Another log of the same size convicts by itself; an older state of one that nothing is proven of accuses.
        let (mine, theirs) = (told(&key, &log, 10), told(&key, &fork, 10));
        assert_eq!(theirs.against(mine.checkpoint()), Err(NotFollowing::SameSizeOtherRoot { size: 10 }));
        let evidence =
            Divergence::new("x.org", *key.public(), mine.checkpoint(), &theirs, Vec::new(), WallTime::default());
        let read = Divergence::from_bytes(&evidence.to_bytes()).unwrap();
        assert!(read.convicts() && read.check().unwrap().is_err());
        let unproven = Divergence::new("x.org", *key.public(), seen, &older, Vec::new(), WallTime::default());
        assert!(!unproven.convicts() && unproven.check().unwrap().is_err());
        let proven = Divergence::new("x.org", *key.public(), seen, &older, proof, WallTime::default());
        assert_eq!(proven.check(), Ok(Ok(())));

        // What the log's key did not sign is nobody's evidence but the peer's.
        let stranger = SigningKey::<Server>::generate(&mut SeededRng::new(2));
        assert!(Told::read(&theirs.checkpoint().signed().to_bytes(), "x.org", stranger.public()).is_err());
        let forged = Divergence { log: *stranger.public(), ..evidence };
        assert!(forged.check().is_err() && !forged.convicts());
    }
}
