//! What was asked lately (strict): a request that comes again, as UDP's do, gets the same answer and is not done again; another request under
//! a nonce that was used gets none, because its keystream was.
//!
//! A nonce begins with the time. One that is too old, or from before the node's start, is refused: what was forgotten cannot come again.
//! Nothing is forgotten before its time: where there is no room the answer is to wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use undertone_keys::digest;

use crate::coin::Coin;
use crate::status::Status;

/// Seconds that a nonce's time may lie back.
pub(super) const PAST: u64 = 300;
/// Seconds that it may lie ahead; for as long a node that was started refuses what could be from before.
pub(super) const AHEAD: u64 = 30;
/// Seconds that an answer is kept: till a nonce as far ahead as is taken is too old.
const KEPT: u64 = PAST + AHEAD + 1;
/// Requests of all, where nothing else is said.
pub const REMEMBERED: usize = 65_536;

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new; from now on it is not.
    Never,
    /// It was answered with this.
    Answered(Arc<[u8]>),
    /// It is being answered.
    Unanswered,
    /// Another request had its nonce, or its body came under another.
    OtherwiseUsed,
    /// There is no room to remember it.
    Full,
}

/// One request. There are tens of thousands of them, so their places are found by number, and nothing is kept twice.
struct Entry {
    nonce: [u8; 16],
    names: Names,
    /// When it came, in seconds since 1970.
    at: u64,
    answer: Option<Arc<[u8]>>,
}

/// What one coin has asked, the oldest first.
#[derive(Default)]
struct Asked {
    entries: VecDeque<Entry>,
    /// The number of the first of them; it goes round.
    first: u32,
    by_nonce: HashMap<[u8; 16], u32>,
    by_body: HashMap<Name, u32>,
}

impl Asked {
    fn place(&self, number: u32) -> usize {
        usize::try_from(number.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn by_nonce(&self, nonce: &[u8; 16]) -> Option<&Entry> {
        self.entries.get(self.place(*self.by_nonce.get(nonce)?))
    }

    fn by_body(&self, body: &Name) -> Option<&Entry> {
        self.entries.get(self.place(*self.by_body.get(body)?))
    }

    fn insert(&mut self, entry: Entry) {
        let number = self.first.wrapping_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.by_nonce.insert(entry.nonce, number);
        self.by_body.insert(entry.names.body, number);
        self.entries.push_back(entry);
    }

    fn forget(&mut self, now: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.at.saturating_add(KEPT) <= now) {
            self.first = self.first.wrapping_add(1);
            self.by_nonce.remove(&entry.nonce);
            self.by_body.remove(&entry.names.body);
        }
    }
}

/// Half of a SHA-256: who finds two requests of one name has a request of his own that is not done.
type Name = [u8; 16];

/// A request's names in here.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// Of header and body.
    request: Name,
    /// Of the body alone: a tag covers no header, so a body that was heard can be sent under any.
    body: Name,
}

impl Names {
    pub(super) fn of(request: &[u8], body: &[u8]) -> Self {
        let name = |bytes| digest::sha256(&[bytes]).first_chunk().copied().unwrap_or_default();
        Self { request: name(request), body: name(body) }
    }
}

struct State {
    coins: HashMap<Coin, Asked>,
    total: usize,
    most: usize,
    of_a_coin: usize,
    /// When all were looked through last.
    looked: u64,
}

impl State {
    /// Forgets what is too old: of one coin, and of all once in a second at most.
    fn forget(&mut self, coin: Coin, now: u64) {
        if let Some(asked) = self.coins.get_mut(&coin) {
            let before = asked.entries.len();
            asked.forget(now);
            self.total = self.total.saturating_sub(before - asked.entries.len());
        }
        if self.total < self.most || self.looked == now {
            return;
        }
        self.looked = now;
        let mut total = 0;
        self.coins.retain(|_, asked| {
            asked.forget(now);
            total += asked.entries.len();
            !asked.entries.is_empty()
        });
        self.total = total;
    }
}

/// The memory, shared by threads.
pub(super) struct Replays(Mutex<State>);

impl Replays {
    /// Room for `most` requests of all coins together, and for so many of one.
    pub(super) fn new(most: usize, of_a_coin: usize) -> Self {
        Self(Mutex::new(State { coins: HashMap::new(), total: 0, most, of_a_coin, looked: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a nonce's time is one that is remembered by a node that was started then.
    ///
    /// # Errors
    /// [`Status::Parameter`] for one that is too old or too far ahead, [`Status::Rate`] for one that may be from before the start.
    pub(super) const fn check_time(time: u64, now: u64, started: u64) -> Result<(), Status> {
        if time > now + AHEAD || time + PAST < now {
            return Err(Status::Parameter);
        }
        if time > started + AHEAD { Ok(()) } else { Err(Status::Rate) }
    }

    /// Looks a request of a coin up, and notes it.
    pub(super) fn note(&self, coin: Coin, nonce: &[u8; 16], names: &Names, now: u64) -> Seen {
        let mut state = self.state();
        let crowded = |state: &State| {
            state.total >= state.most
                || state.coins.get(&coin).is_some_and(|asked| asked.entries.len() >= state.of_a_coin)
        };
        if crowded(&state) {
            state.forget(coin, now);
        }
        let full = crowded(&state);
        let asked = state.coins.entry(coin).or_default();
        if let Some(entry) = asked.by_nonce(nonce).or_else(|| asked.by_body(&names.body)) {
            return match &entry.answer {
                _ if entry.names.request != names.request => Seen::OtherwiseUsed,
                Some(answer) => Seen::Answered(Arc::clone(answer)),
                None => Seen::Unanswered,
            };
        }
        if full {
            return Seen::Full;
        }
        asked.insert(Entry { nonce: *nonce, names: *names, at: now, answer: None });
        state.total += 1;
        Seen::Never
    }

    /// What the request that was noted was answered with.
    pub(super) fn answered(&self, coin: Coin, nonce: &[u8; 16], answer: &[u8]) {
        let mut state = self.state();
        let Some(asked) = state.coins.get_mut(&coin) else { return };
        let place = asked.by_nonce.get(nonce).map(|number| asked.place(*number));
        if let Some(entry) = place.and_then(|place| asked.entries.get_mut(place)) {
            entry.answer = Some(answer.into());
        }
    }
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replays({})", self.state().total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_2_what_comes_again_is_answered_again_and_a_nonce_is_used_once() {
        let replays = Replays::new(REMEMBERED, 1_024);
        let (ada, bob) = ("01.7".parse().unwrap(), "01.8".parse().unwrap());
        let note = |coin, nonce: u8, request: u8, now| {
            replays.note(coin, &[nonce; 16], &Names { request: [request; 16], body: [request; 16] }, now)
        };
        assert_eq!(note(ada, 1, 1, 0), Seen::Never);
        assert_eq!(note(ada, 1, 1, 1), Seen::Unanswered);
        replays.answered(ada, &[1; 16], b"yes");
        assert_eq!(note(ada, 1, 1, 2), Seen::Answered(b"yes".as_slice().into()));
        assert_eq!(note(ada, 1, 2, 3), Seen::OtherwiseUsed);
        let same_body = Names { request: [9; 16], body: [1; 16] };
        assert_eq!(replays.note(ada, &[2; 16], &same_body, 3), Seen::OtherwiseUsed, "a body under another header");
        assert_eq!(note(bob, 1, 2, 3), Seen::Never);
        // Nothing is forgotten for somebody else's sake.
        for n in 1..1_024_u64 {
            let mut nonce = [7; 16];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            assert_eq!(replays.note(ada, &nonce, &Names::of(&nonce, &nonce), 4), Seen::Never);
        }
        assert_eq!(note(ada, 3, 3, 4), Seen::Full);
        assert_eq!(note(ada, 1, 1, 4), Seen::Answered(b"yes".as_slice().into()));
        assert_eq!(note(ada, 3, 3, KEPT - 1), Seen::Full);
        assert_eq!(note(ada, 3, 3, KEPT + 3), Seen::Never, "till its nonce is too old");
        // A clock that is as far ahead as is taken: its nonce is taken for as long as it is known.
        let ahead = 10_000 + AHEAD;
        let last = (10_000..11_000).take_while(|now| Replays::check_time(ahead, *now, 0).is_ok()).last().unwrap();
        assert!(last < 10_000 + KEPT);
    }

    #[test]
    fn rkx_2_a_nonce_is_of_its_time_and_of_this_start() {
        let check = |time| Replays::check_time(time, 10_000, 9_000);
        for (time, good) in [(10_000, true), (9_700, true), (9_699, false), (10_030, true), (10_031, false)] {
            assert_eq!(check(time), if good { Ok(()) } else { Err(Status::Parameter) }, "{time}");
        }
        // What could have been sent before the start is not taken after it.
        assert_eq!(Replays::check_time(9_030, 9_031, 9_000), Err(Status::Rate));
        assert_eq!(Replays::check_time(9_031, 9_031, 9_000), Ok(()));
    }
}
