//! What peers say they were shown of the log, compared with what this device was shown (rule KT-13).
//!
//! ```text
//! told --signed by the log, and not what is seen--> kept in the home --asked--> proven: forgotten
//!                                                        ^    |          +----> two logs: evidence, forgotten
//!                                                        +----+ no answer: asked again
//! ```
//! It is on the disk before the question leaves, so neither a silent server nor a crash makes this device forget what it was
//! told.

use std::time::Duration;

use undertone_keys::{UserId, WallTime};
use undertone_protocol::rest::code;
use undertone_transparency::answer::MAX_HASHES;
use undertone_transparency::checkpoint::NotFollowing;
use undertone_transparency::gossip::{Divergence, Lies, Told};
use undertone_transparency::log::Hash;
use undertone_transparency::seen::Seen;
use undertone_transparency::verify::Purpose;

use super::super::error::ClientError;
use super::super::home::{HomeError, KeptTold};
use super::super::{rest, wall_time};
use super::Directory;
use crate::engine::Owed;

/// How long a server is given that is busy, each time that it is asked for a proof.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// After so long a proof that is owed is told to a person: an honest server is not away from one question for an hour while it
/// answers others.
const OVERDUE: u64 = 60 * 60;

/// What came of asking again.
#[derive(Debug, Default)]
pub(in crate::native) struct Asked {
    /// What is still open, oldest first.
    pub(in crate::native) owed: Vec<Owed>,
    /// Whose log is another one.
    pub(in crate::native) diverged: Vec<(UserId, ClientError)>,
}

impl Directory {
    /// Whether the log that a peer was shown and the one that this device was shown are one: the larger has to have grown from
    /// the smaller. Where the server does not say, what was told stays in the home for [`Self::ask_again`].
    pub(in crate::native) async fn compare(&self, told: &[u8], by: &UserId) -> Result<(), ClientError> {
        let told = Told::read(told, &self.pin.domain, &self.pin.identity).map_err(|_| ClientError::Told)?;
        let level = |seen: &Seen| matches!(told.against(seen.checkpoint()), Ok(Lies::Level));
        if self.seen.lock().await.as_ref().is_some_and(level) {
            return Ok(());
        }
        let kept = KeptTold { note: told.checkpoint().signed().to_bytes(), by: by.clone(), at: wall_time() };
        if let Err(error) = self.home.keep_told(&self.pin, kept) {
            tracing::error!(%error, "what a peer was shown of the log is not kept");
        }
        self.settle(&told).await
    }

    /// Asks for every proof that is owed, one after the other.
    pub(in crate::native) async fn ask_again(&self) -> Result<Asked, ClientError> {
        let mut asked = Asked::default();
        for kept in self.home.told(&self.pin)? {
            let Ok(told) = Told::read(&kept.note, &self.pin.domain, &self.pin.identity) else {
                // It was read before it was kept.
                return Err(HomeError::Damaged("told".into()).into());
            };
            match self.settle(&told).await {
                Ok(()) => {}
                Err(error @ ClientError::Diverged { .. }) => asked.diverged.push((kept.by, error)),
                Err(error) => {
                    tracing::warn!(%error, peer = %kept.by, "the server has not shown again that its log is one");
                    let (size, now) = (told.checkpoint().size(), wall_time());
                    let overdue = is_overdue(kept.at, now);
                    asked.owed.push(Owed { peer: kept.by, size, since: kept.at, overdue });
                }
            }
        }
        Ok(asked)
    }

    /// Whether the server answers something else than what it owes.
    pub(in crate::native) async fn answers(&self) -> bool {
        let Ok(Some(me)) = self.home.device() else { return false };
        self.fetch(&me.address.user, Purpose::Show).await.is_ok()
    }

    /// Compares, and forgets what was told where that came to something.
    async fn settle(&self, told: &Told) -> Result<(), ClientError> {
        let compared = self.weigh(told).await;
        // Two logs without a file that says so are no reason to forget the one trace of them.
        if matches!(compared, Ok(()) | Err(ClientError::Diverged { evidence: Some(_), .. }))
            && let Err(error) = self.home.settle_told(&self.pin, &told.checkpoint().signed().to_bytes())
        {
            tracing::warn!(%error, "a question that is answered stays open");
        }
        compared
    }

    async fn weigh(&self, told: &Told) -> Result<(), ClientError> {
        let (domain, log) = (&self.pin.domain, self.pin.identity);
        let newer = |seen: &Option<Seen>| seen.as_ref().is_none_or(|seen| seen.size() < told.checkpoint().size());
        if newer(&*self.seen.lock().await) {
            // The peer has seen more: what they saw is there for everybody to see.
            let me = self.home.device()?.ok_or(ClientError::NotLoggedIn)?.address.user;
            drop(self.fetch(&me, Purpose::Begin).await?);
        }
        let seen = self.seen.lock().await.clone().ok_or(ClientError::Told)?;
        let seen = seen.checkpoint();
        let (wrong, proof) = match told.against(seen) {
            Ok(Lies::Level) => return Ok(()),
            Ok(Lies::Behind { from, to }) => {
                let proof = self.grown(from, to).await?;
                match told.settle(seen, &proof) {
                    Ok(()) => return Ok(()),
                    Err(wrong) => (wrong, proof),
                }
            }
            Ok(Lies::Ahead) => {
                let (known, shown) = (told.checkpoint().size(), seen.size());
                (NotFollowing::SmallerSize { known, shown }, Vec::new())
            }
            Err(wrong) => (wrong, Vec::new()),
        };
        let evidence = Divergence::new(domain, log, seen, told, proof, wall_time());
        let kept = self.home.keep_divergence(&evidence);
        if let Err(error) = &kept {
            tracing::error!(%error, "the evidence of two logs was not kept");
        }
        Err(ClientError::Diverged { wrong, evidence: kept.ok() })
    }

    /// What the server has for a proof that its log of `to` leaves grew from that of `from`; nothing where it has none. One that
    /// is busy, or has heard too many questions, has not answered.
    async fn grown(&self, from: u64, to: u64) -> Result<Vec<Hash>, ClientError> {
        let connector = self.connector().await;
        let path = format!("/log/consistency/{from}/{to}");
        let mut pauses = PAUSES.iter();
        loop {
            match rest::get_bytes(connector.tcp().await?, connector.address(), &path).await {
                Ok(bytes) => {
                    let (hashes, rest) = bytes.as_chunks();
                    let proof = rest.is_empty() && hashes.len() <= MAX_HASHES;
                    return Ok(if proof { hashes.to_vec() } else { Vec::new() });
                }
                Err(busy) if busy.is(code::UNAVAILABLE) || busy.is(code::TOO_MANY) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(busy),
                },
                // Whatever else is answered is no proof.
                Err(ClientError::Refused { .. } | ClientError::BadAnswer(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether what is open since then is open for too long. A clock that went back makes nothing older.
fn is_overdue(since: WallTime, now: WallTime) -> bool {
    since < now && now.distance(since) > OVERDUE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kt_13_a_proof_is_overdue_after_an_hour_by_a_clock_that_goes_on() {
        let at = WallTime::from_unix;
        assert!(!is_overdue(at(1_000), at(1_000 + OVERDUE)));
        assert!(is_overdue(at(1_000), at(1_001 + OVERDUE)));
        assert!(!is_overdue(at(1_001 + OVERDUE), at(1_000)));
    }
}
