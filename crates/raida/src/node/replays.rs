//! What was answered lately (strict): a request that comes again, as UDP's do, gets the same answer and is not done again; another request
//! under a nonce that was used gets none, because its keystream was.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use undertone_keys::digest;

use crate::coin::Coin;

/// Seconds that an answer is kept.
pub(super) const KEPT: u64 = 600;
/// Answers of one coin.
pub(super) const PER_COIN: usize = 64;
/// Coins that are remembered.
pub(super) const COINS: usize = 8_192;

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new; from now on it is not.
    Never,
    /// It was answered with this.
    Answered(Arc<[u8]>),
    /// It is being answered, or was without success.
    Unanswered,
    /// Another request had its nonce.
    OtherwiseUsed,
}

struct Entry {
    nonce: [u8; 16],
    request: [u8; 32],
    at: u64,
    answer: Option<Arc<[u8]>>,
}

/// The memory, shared by threads.
#[derive(Default)]
pub(super) struct Replays(Mutex<HashMap<Coin, VecDeque<Entry>>>);

impl Replays {
    /// Looks a request of a coin up, and notes it. `request` is the datagram as it came.
    pub(super) fn note(&self, coin: Coin, nonce: &[u8; 16], request: &[u8; 32], now: u64) -> Seen {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= COINS && !all.contains_key(&coin) {
            all.retain(|_, entries| entries.back().is_some_and(|last| last.at.saturating_add(KEPT) > now));
            if all.len() >= COINS {
                // Coins that were issued alone get here: so many at once are a swarm's whole population.
                all.clear();
            }
        }
        let entries = all.entry(coin).or_default();
        while entries.front().is_some_and(|first| first.at.saturating_add(KEPT) <= now) {
            entries.pop_front();
        }
        if let Some(entry) = entries.iter().find(|entry| entry.nonce == *nonce) {
            return match &entry.answer {
                _ if entry.request != *request => Seen::OtherwiseUsed,
                Some(answer) => Seen::Answered(Arc::clone(answer)),
                None => Seen::Unanswered,
            };
        }
        if entries.len() >= PER_COIN {
            entries.pop_front();
        }
        entries.push_back(Entry { nonce: *nonce, request: *request, at: now, answer: None });
        Seen::Never
    }

    /// What the request that was noted was answered with.
    pub(super) fn answered(&self, coin: Coin, nonce: &[u8; 16], answer: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.get_mut(&coin).and_then(|entries| entries.iter_mut().find(|entry| entry.nonce == *nonce));
        if let Some(entry) = entry {
            entry.answer = Some(answer.into());
        }
    }

    /// A request's name in here.
    #[must_use]
    pub(super) fn name(request: &[u8]) -> [u8; 32] {
        digest::sha256(&[request])
    }
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let coins = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Replays({coins} coins)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_2_what_comes_again_is_answered_again_and_a_nonce_is_used_once() {
        let replays = Replays::default();
        let (ada, bob) = ("01.7".parse().unwrap(), "01.8".parse().unwrap());
        let note = |coin, nonce: u8, request: u8, now| replays.note(coin, &[nonce; 16], &[request; 32], now);
        assert_eq!(note(ada, 1, 1, 0), Seen::Never);
        assert_eq!(note(ada, 1, 1, 1), Seen::Unanswered);
        replays.answered(ada, &[1; 16], b"yes");
        assert_eq!(note(ada, 1, 1, 2), Seen::Answered(b"yes".as_slice().into()));
        assert_eq!(note(ada, 1, 2, 3), Seen::OtherwiseUsed);
        assert_eq!(note(bob, 1, 2, 3), Seen::Never);
        assert_eq!(note(ada, 1, 2, KEPT), Seen::Never, "forgotten after a while");
        for nonce in 2..=u8::try_from(PER_COIN).unwrap() + 1 {
            assert_eq!(note(ada, nonce, 1, KEPT), Seen::Never);
        }
        assert_eq!(note(ada, 1, 9, KEPT), Seen::Never, "the oldest of a coin's goes first");
    }
}
