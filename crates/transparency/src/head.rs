//! What stands before every proof: the newest state of the log that a server shows, checked against the pinned keys, the
//! witnesses, what was seen before and the clock (rules KT-1 to KT-4, KT-8, KT-14).

use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_keys::sign::{Server, VerifyingKey};

use crate::accusation::Accusation;
use crate::answer::{Head, MAX_OLDER, Older};
use crate::checkpoint::{CheckpointError, SignedCheckpoint, VerifiedCheckpoint, origin};
use crate::leaf::Leaf;
use crate::log::verify_inclusion;
use crate::note::LogKey;
use crate::policy::{TooFew, Witnessed, Witnesses};
use crate::seen::Seen;

/// Seconds that a checkpoint may be old where a call, a session or a key begins (rule KT-8).
pub const FRESH: u64 = 10 * 60;
/// Seconds for which trust may be shown without asking again (rule KT-8).
pub const SHOWABLE: u64 = 24 * 60 * 60;
/// Seconds that a cosignature may be old where a policy insists on witnesses and something begins (rule KT-2).
pub const WITNESSED_WITHIN: u64 = 10 * 60;
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

/// From which state of the directory something was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pub(crate) seen: Seen,
    pub(crate) witnessed: Witnessed,
}

impl Pins {
    /// Checks the head of an answer by everything but the clock: rules KT-1 to KT-4 and KT-14, and that the log's order holds.
    /// `seen` is what was seen of the log before.
    ///
    /// # Errors
    /// The first [`Accusation`].
    pub fn head(
        &self,
        head: &Head,
        seen: Option<&Seen>,
        now: WallTime,
        purpose: Purpose,
    ) -> Result<Provenance, Accusation> {
        let checkpoint = self.signed(&head.checkpoint)?;
        let witnessed = self.witnessed(&checkpoint, head.witnessed.as_deref().unwrap_or_default(), now, purpose)?;
        let leaf = self.last_leaf(head, &checkpoint)?;
        if let Some(seen) = seen {
            checkpoint.follows(seen.checkpoint(), &head.consistency.0)?;
            leaf.follows(seen.leaf())?;
        }
        Ok(Provenance { seen: Seen::new(checkpoint, leaf), witnessed })
    }

    /// Rule KT-1.
    fn signed(&self, note: &[u8]) -> Result<VerifiedCheckpoint, Accusation> {
        let name = origin(&self.domain).map_err(|_| CheckpointError::Origin)?;
        Ok(SignedCheckpoint::from_bytes(note)?.verify(&LogKey::new(name, self.log))?)
    }

    /// Rule KT-2: as many witnesses as are wanted saw this checkpoint, or older ones that it is shown to have grown from.
    /// Where they did not, that is an accusation only for a policy that insists: a witness that is down stops nobody.
    fn witnessed(
        &self,
        newest: &VerifiedCheckpoint,
        older: &[Older],
        now: WallTime,
        purpose: Purpose,
    ) -> Result<Witnessed, Accusation> {
        if older.len() > MAX_OLDER {
            return Err(Accusation::Malformed);
        }
        let insists = self.witnesses.insists();
        let most = if purpose == Purpose::Begin { WITNESSED_WITHIN } else { SHOWABLE };
        let count = |checkpoint: &VerifiedCheckpoint| {
            let (Ok(found) | Err(TooFew(found))) = self.witnesses.check(checkpoint, now);
            if insists { found.since(now, most) } else { found }
        };
        let mut found = count(newest);
        for Older { checkpoint, consistency } in older {
            let earlier = self.signed(checkpoint)?;
            newest.follows(&earlier, &consistency.0)?;
            found = found.and(count(&earlier));
        }
        if insists && !found.is_enough() { Err(TooFew(found).into()) } else { Ok(found) }
    }

    /// Rules KT-3 and KT-14: the leaf is the last one, of a directory with the pinned VRF key. An earlier leaf, though it is in
    /// the log, would show an old directory.
    fn last_leaf(&self, head: &Head, checkpoint: &VerifiedCheckpoint) -> Result<Leaf, Accusation> {
        let leaf = Leaf::from_bytes(&head.leaf).map_err(|_| Accusation::Leaf)?;
        let last = checkpoint.size().checked_sub(1).ok_or(Accusation::Leaf)?;
        verify_inclusion(last, checkpoint.size(), &leaf.hash(), &head.inclusion.0, checkpoint.root())?;
        if leaf.vrf_key == sha256(&[&self.vrf]) { Ok(leaf) } else { Err(Accusation::VrfKey) }
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

    /// Rule KT-8: the newest leaf is not too old for the purpose, nor from the future.
    ///
    /// # Errors
    /// [`Accusation::Stale`] or [`Accusation::Ahead`].
    pub fn is_fresh(&self, now: WallTime, purpose: Purpose) -> Result<(), Accusation> {
        let most = match purpose {
            Purpose::Begin => FRESH,
            Purpose::Show => SHOWABLE,
        };
        let time = self.seen.time();
        let apart = now.distance(time);
        if time > now {
            return if apart > AHEAD { Err(Accusation::Ahead { ahead: apart }) } else { Ok(()) };
        }
        if apart > most { Err(Accusation::Stale { age: apart }) } else { Ok(()) }
    }
}
