//! What a user's devices are, and how that is proven: the directory's answer, with the lists it is about.

use undertone_keys::UserId;
use undertone_keys::device_list::ClaimedList;
use undertone_transparency::answer::{Answer, Found, Hashes, Head, LeafOf, MAX_LISTS, MAX_OLDER, Older};
use undertone_transparency::checkpoint::SignedCheckpoint;
use undertone_transparency::history::{HistoryAnswer, Lists};

use crate::accounts::{AccountError, Desk};
use crate::directory::{DirectoryError, Proof, Shown};
use crate::store::{Accounts, StoreError};

/// How often an answer is begun again since an epoch has come in between.
const TRIES: usize = 8;
/// Bytes of the lists of one answer at most: with the proof, and as JSON, it stays below what a client reads.
const MAX_LIST_BYTES: usize = 3 << 20;

impl<S: Accounts> Desk<S> {
    /// The newest list of a user with its proof, for somebody who has seen `seen` leaves of the log and knows the lists up
    /// to version `known`.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn prove(&self, user: &UserId, seen: u64, known: u32) -> Result<Answer, AccountError> {
        for _ in 0..TRIES {
            if let Some(answer) = self.prove_now(user, seen, known).await? {
                return Ok(answer);
            }
        }
        Err(AccountError::Directory(DirectoryError::Stopped))
    }

    /// One try: none where two proofs were of two epochs.
    async fn prove_now(&self, user: &UserId, seen: u64, known: u32) -> Result<Option<Answer>, AccountError> {
        let looked_up = self.directory().lookup(user).await?;
        let shown = looked_up.shown;
        let mut announced = None;
        let found = match looked_up.proof {
            Proof::Absent(proof) => Found::Absent(proof),
            Proof::Present(proof) => {
                // Whoever knows none needs the newest alone.
                let above = if known == 0 { proof.version.saturating_sub(1) } else { known };
                let mut lists = self.lists(user, above, proof.version).await?;
                let behind = announcement(&lists).map(|index| lists.len() - 1 - index);
                let version = behind.and_then(|behind| proof.version.checked_sub(u32::try_from(behind).ok()?));
                if let Some(version) = version {
                    // And who was there before: while any of those may act, an announcement waits (rule ID-7).
                    self.who_was_before(user, &mut lists, proof.version, known).await?;
                    let newest = (version == proof.version).then_some(proof.epoch);
                    let Some(leaf) = self.announced(user, version, newest, &shown).await? else { return Ok(None) };
                    announced = Some(leaf);
                }
                Found::Present { lists, proof: Box::new(proof) }
            }
        };
        Ok(Some(Answer { head: self.head(seen, &shown).await?, found, announced }))
    }

    /// The newest state of the log, for somebody who has seen `seen` leaves of it.
    async fn head(&self, seen: u64, shown: &Shown) -> Result<Head, AccountError> {
        let consistency = self.directory().consistency(seen, shown.size()).await?;
        let (newest, witnessed) = self.witnessed(shown).await?;
        Ok(Head {
            checkpoint: newest.to_bytes(),
            // Whoever has seen more than there is has seen another log, or this one before it lost something: they will
            // say so, and there is nothing to be said for it.
            consistency: Hashes(consistency.unwrap_or_default()),
            leaf: shown.inclusion.entry.clone(),
            inclusion: Hashes(shown.inclusion.proof.clone()),
            witnessed,
        })
    }

    /// Puts those in front whose place the first of these lists takes, for somebody who knows none: up to one that begins nothing.
    async fn who_was_before(
        &self,
        user: &UserId,
        lists: &mut Vec<Vec<u8>>,
        newest: u32,
        known: u32,
    ) -> Result<(), AccountError> {
        while known == 0 && lists.len() < MAX_LISTS {
            let shown = u32::try_from(lists.len()).unwrap_or(u32::MAX);
            let (Some(first), oldest) = (lists.first(), newest.saturating_sub(shown) + 1) else { return Ok(()) };
            if oldest <= 1 || announcement(std::slice::from_ref(first)).is_none() {
                return Ok(());
            }
            let before = self.lists(user, oldest - 2, oldest - 1).await?;
            lists.splice(..0, before);
        }
        Ok(())
    }

    /// When the log first showed this version of a user's list, and, unless it is the newest, of `epoch`, that it was this one.
    /// None where the directory has gone on since.
    async fn announced(
        &self,
        user: &UserId,
        version: u32,
        epoch: Option<u64>,
        shown: &Shown,
    ) -> Result<Option<LeafOf>, AccountError> {
        let (epoch, version) = match epoch {
            Some(epoch) => (epoch, None),
            None => {
                let history = self.directory().history(user, version).await?;
                let Proof::Present(mut proof) = history.proof else { return Ok(None) };
                let behind = proof.latest.checked_sub(version).and_then(|behind| usize::try_from(behind).ok());
                let Some(behind) = behind.filter(|behind| *behind < proof.updates.len()) else { return Ok(None) };
                if history.shown.epoch() != shown.epoch() {
                    return Ok(None);
                }
                let update = proof.updates.swap_remove(behind);
                (update.epoch, Some(Box::new(update)))
            }
        };
        let leaf = self.directory().announced(epoch, shown.size()).await?;
        Ok(leaf.map(|(index, leaf, inclusion)| LeafOf { index, leaf, inclusion: Hashes(inclusion), version }))
    }

    /// Every version of an account's list from `from` on, with the proof that these are all (rule KT-11), for a device of that
    /// account that has seen `seen` leaves of the log.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn history(&self, user: &UserId, seen: u64, from: u32) -> Result<HistoryAnswer, AccountError> {
        let found = self.directory().history(user, from).await?;
        let head = self.head(seen, &found.shown).await?;
        // Whoever has a token has an account, and an account is in the directory before its first token.
        let Proof::Present(proof) = found.proof else { return Err(AccountError::Store(StoreError::Damaged)) };
        let lists = self.lists(user, from.clamp(1, proof.latest), proof.latest).await?;
        Ok(HistoryAnswer { head, proof, lists: Lists(lists) })
    }

    /// The checkpoint shown, with its witnesses' lines, and older ones with the lines of those who have not come so far.
    pub(crate) async fn witnessed(
        &self,
        shown: &Shown,
    ) -> Result<(SignedCheckpoint, Option<Vec<Older>>), AccountError> {
        let (mut newest, mut witnessed) = (shown.checkpoint.clone(), Vec::new());
        for checkpoint in self.directory().witnessed(MAX_OLDER).await? {
            let size = checkpoint.claimed().size;
            if size == shown.size() {
                newest = checkpoint;
            // What is beyond what is shown here comes with the next answer.
            } else if let Some(proof) = self.directory().consistency(size, shown.size()).await? {
                witnessed.push(Older { checkpoint: checkpoint.to_bytes(), consistency: Hashes(proof) });
            }
        }
        Ok((newest, (!witnessed.is_empty()).then_some(witnessed)))
    }

    /// The lists above a version up to the one that the directory proves: a newer one may be stored already.
    async fn lists(&self, user: &UserId, above: u32, newest: u32) -> Result<Vec<Vec<u8>>, AccountError> {
        let stored = self.store().lists_above(user, above).await?;
        let mut lists: Vec<Vec<u8>> =
            stored.into_iter().take_while(|list| list.version <= newest).map(|list| list.list).collect();
        if lists.is_empty() && above < newest {
            return Err(AccountError::Store(StoreError::Damaged));
        }
        // Somebody who slept through more than an answer holds is shown the end of it, and sees that something is missing.
        let mut room = MAX_LIST_BYTES;
        let fits = lists.iter().rev().take(MAX_LISTS).take_while(|list| {
            let fits = list.len() <= room;
            room = room.saturating_sub(list.len());
            fits
        });
        let fits = fits.count();
        Ok(lists.split_off(lists.len() - fits))
    }
}

/// Which of these lists, oldest first, is the last that begins the account anew and was not taken back.
pub(crate) fn announcement(lists: &[Vec<u8>]) -> Option<usize> {
    let mut anew = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        let claim = ClaimedList::from_bytes(list).ok().and_then(|claimed| claimed.claim())?;
        match (claim.anew, anew.last()) {
            (Some(replaced), _) => anew.push((index, replaced)),
            // The key that was to be replaced speaks once more: it has taken that back.
            (None, Some((_, replaced))) if claim.account == *replaced => drop(anew.pop()),
            (None, _) => {}
        }
    }
    anew.last().map(|(index, _)| *index)
}
