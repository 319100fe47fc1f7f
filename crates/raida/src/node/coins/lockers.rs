//! Lockers: keys that end in ff ff ff ff, which the owner of several coins may give to all of them. Requests of type 2 are encrypted with
//! one, named by its first five bytes.

use std::sync::Mutex;

use super::locked;
use super::page::Record;
use crate::coin::Authenticity;

const END: [u8; 4] = [0xff; 4];

/// Lockers that are remembered at most, as the original has it.
pub const LOCKERS: usize = 10_000;

/// Every locker, and how many coins are in it.
#[derive(Default)]
pub struct Lockers(Mutex<Vec<(Authenticity, u32)>>);

impl Lockers {
    /// A coin's record is another from now on.
    pub(super) fn change(&self, before: Option<&Record>, after: &Record) {
        if let Some(before) = before.filter(|record| is_locker(record)) {
            let mut all = locked(&self.0);
            if let Some(at) = all.iter().position(|(key, _)| key.expose() == before.key.expose())
                && let Some((_, coins)) = all.get_mut(at)
            {
                *coins -= 1;
                if *coins == 0 {
                    all.remove(at);
                }
            }
        }
        if is_locker(after) {
            let mut all = locked(&self.0);
            if let Some((_, coins)) = all.iter_mut().find(|(key, _)| key.expose() == after.key.expose()) {
                *coins += 1;
            } else if all.len() < LOCKERS {
                all.push((Authenticity::from_bytes(after.key.expose()), 1));
            }
        }
    }

    /// The key of the first locker that begins with these bytes.
    #[must_use]
    pub fn key(&self, prefix: &[u8; 5]) -> Option<Authenticity> {
        let all = locked(&self.0);
        let found = all.iter().find(|(key, _)| key.expose().starts_with(prefix));
        found.map(|(key, _)| Authenticity::from_bytes(key.expose()))
    }
}

impl std::fmt::Debug for Lockers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lockers({})", locked(&self.0).len())
    }
}

fn is_locker(record: &Record) -> bool {
    record.is_used() && record.key.expose().ends_with(&END)
}
