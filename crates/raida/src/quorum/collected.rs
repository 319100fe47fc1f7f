//! Shares that came, and the secret that some of them make.

use subtle::ConstantTimeEq;
use undertone_keys::quorum::QuorumSecret;

use super::share::{self, Share};
use super::{Set, SetError, commit};
use crate::swarm::Swarm;

/// Choices of shares that are tried at most for each share that comes. One is enough where whoever split the secret is honest: what is not what was committed to is no
/// share. Others are there for one who committed to shares that do not belong together.
pub(super) const CHOICES: usize = 256;

/// Why what came is no share of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ShareFault {
    /// It is not what its sender has committed to: the node has changed it.
    #[error("it gave something else than was posted")]
    NotCommitted,
    /// It is what its sender has committed to, and no share of this set.
    #[error("what was posted there is no share of this set")]
    NoShare,
}

/// Why there is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incomplete {
    /// Too few shares.
    #[error("{have} good shares, and {need} make the secret")]
    TooFew {
        /// How many there are.
        have: usize,
        /// How many it takes.
        need: usize,
    },
    /// Whoever split it has committed to shares that make nothing.
    #[error("the shares are those that were committed to, and make no secret: the other side posted wrong ones")]
    NoChoice,
}

/// Shares on their way to a secret.
pub struct Collected {
    set: Set,
    threshold: u8,
    nodes: u8,
    shares: Vec<Share>,
    /// Which places they are of.
    places: Vec<usize>,
    secret: Option<QuorumSecret>,
}

impl core::fmt::Debug for Collected {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Collected({} of {})", self.shares.len(), self.threshold)
    }
}

impl Collected {
    /// None yet.
    ///
    /// # Errors
    /// [`SetError`], for a set that is not of this swarm.
    pub fn new(swarm: &Swarm, set: &Set) -> Result<Self, SetError> {
        if set.swarm != swarm.id() {
            return Err(SetError::AnotherSwarm);
        }
        let nodes = u8::try_from(swarm.nodes().len()).map_err(|_| SetError::Malformed)?;
        let (shares, places, secret) = (Vec::new(), Vec::new(), None);
        Ok(Self { set: set.clone(), threshold: swarm.threshold(), nodes, shares, places, secret })
    }

    /// Takes what the node at this place of the swarm gave. One that is there already is not taken twice.
    ///
    /// # Errors
    /// [`ShareFault`].
    pub fn add(&mut self, place: usize, bytes: &[u8]) -> Result<(), ShareFault> {
        let committed = self.set.commitment(place).ok_or(ShareFault::NoShare)?;
        if !bool::from(commit(bytes).ct_eq(committed)) {
            return Err(ShareFault::NotCommitted);
        }
        let number = u8::try_from(place + 1).map_err(|_| ShareFault::NoShare)?;
        let share = Share::read(bytes, &self.set.name(), number, self.threshold, self.nodes);
        let share = share.ok_or(ShareFault::NoShare)?;
        if !self.places.contains(&place) {
            self.places.push(place);
            self.shares.push(share);
            if self.secret.is_none() {
                self.secret = self.choose();
            }
        }
        Ok(())
    }

    /// How many good shares there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shares.len()
    }

    /// Whether the secret is there.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.secret.is_some()
    }

    /// The secret. A choice of shares whose MACs do not all hold makes none, and the next is tried; never is there a wrong secret.
    ///
    /// # Errors
    /// [`Incomplete`].
    pub fn secret(&self) -> Result<&QuorumSecret, Incomplete> {
        self.secret.as_ref().ok_or_else(|| self.missing())
    }

    /// The same, to keep.
    ///
    /// # Errors
    /// [`Incomplete`].
    pub fn into_secret(mut self) -> Result<QuorumSecret, Incomplete> {
        let secret = self.secret.take();
        secret.ok_or_else(|| self.missing())
    }

    fn missing(&self) -> Incomplete {
        let (have, need) = (self.shares.len(), usize::from(self.threshold));
        if have < need { Incomplete::TooFew { have, need } } else { Incomplete::NoChoice }
    }

    /// Tries choices that have the newest share in them: the others were tried before.
    fn choose(&self) -> Option<QuorumSecret> {
        let (newest, others) = self.shares.split_last()?;
        let more = usize::from(self.threshold).checked_sub(1)?;
        if others.len() < more {
            return None;
        }
        let mut choice: Vec<usize> = (0..more).collect();
        for _ in 0..CHOICES {
            let mut chosen: Vec<&Share> = choice.iter().filter_map(|at| others.get(*at)).collect();
            chosen.push(newest);
            if let Some(secret) = share::combine(&chosen) {
                return Some(secret);
            }
            if !advance(&mut choice, others.len()) {
                break;
            }
        }
        None
    }
}

/// The next choice out of `of`, in the order of a dictionary. `false` behind the last.
fn advance(choice: &mut [usize], of: usize) -> bool {
    let count = choice.len();
    for at in (0..count).rev() {
        let Some(place) = choice.get(at).copied().filter(|place| *place + count < of + at) else {
            continue;
        };
        for (offset, place_at) in choice.iter_mut().skip(at).enumerate() {
            *place_at = place + 1 + offset;
        }
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_5_every_choice_is_tried_once() {
        let mut choice = vec![0, 1, 2];
        let mut seen = vec![choice.clone()];
        while advance(&mut choice, 5) {
            seen.push(choice.clone());
        }
        assert_eq!(seen.len(), 10);
        assert_eq!(seen.last(), Some(&vec![2, 3, 4]));
        seen.dedup();
        assert!(seen.len() == 10 && seen.iter().all(|choice| choice.is_sorted()));
    }
}
