//! Half-done registrations and logins, bounded in number and time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opaque_ke::ServerLogin;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::{RequestId, UserId};
use undertone_protocol::opaque::Suite;

use crate::store::Account;

/// What an exchange waits for.
#[derive(Debug)]
pub enum Step {
    /// The registration's upload.
    Register {
        /// To prove possession against.
        challenge: EphemeralKey,
        /// SHA-256 of the invite, where one is needed.
        invite: Option<[u8; 32]>,
    },
    /// The login's finalization. Without an account the login cannot succeed, but looks the same.
    Login {
        /// OPAQUE's state.
        state: Box<ServerLogin<Suite>>,
        /// The account, if there is one.
        account: Option<Box<Account>>,
    },
    /// The new device's list, after a login.
    Enrol {
        /// To prove possession against.
        challenge: EphemeralKey,
    },
}

struct Exchange {
    user: UserId,
    address: IpAddr,
    until: Instant,
    step: Step,
}

/// All exchanges in flight.
pub struct Exchanges {
    open: Mutex<HashMap<RequestId, Exchange>>,
    most: usize,
    most_each: usize,
    lifetime: Duration,
}

/// There are too many exchanges in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Exchanges {
    /// At most `most` in all, `most_each` for one user or one address, each for `lifetime`.
    #[must_use]
    pub fn new(most: usize, most_each: usize, lifetime: Duration) -> Self {
        Self { open: Mutex::default(), most, most_each, lifetime }
    }

    /// Checks that one more is allowed, before any public-key work is done for it (rule DOS-1).
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn allow(&self, user: &UserId, address: IpAddr) -> Result<(), TooMany> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|_, exchange| exchange.until > now);
        let of_user = open.values().filter(|exchange| exchange.user == *user).count();
        let of_address = open.values().filter(|exchange| exchange.address == address).count();
        // Many people may sit behind one address; one account has one person.
        if open.len() >= self.most || of_user >= self.most_each || of_address >= 8 * self.most_each {
            return Err(TooMany);
        }
        Ok(())
    }

    /// Keeps a step and returns the name under which it waits.
    pub fn put(&self, rng: &mut impl rand_core::CryptoRng, user: UserId, address: IpAddr, step: Step) -> RequestId {
        let id = RequestId::random(rng);
        let until = Instant::now() + self.lifetime;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, Exchange { user, address, until, step });
        id
    }

    /// Takes a step out: each name is good once.
    pub fn take(&self, id: &str) -> Option<(UserId, IpAddr, Step)> {
        let id = RequestId::parse(id)?;
        let exchange = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        (exchange.until > Instant::now()).then_some((exchange.user, exchange.address, exchange.step))
    }
}

impl std::fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchanges")
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::testing::SeededRng;

    use super::*;

    fn step() -> Step {
        Step::Enrol { challenge: EphemeralKey::generate(&mut SeededRng::new(2)) }
    }

    #[test]
    fn dos_1_exchanges_in_flight_are_bounded_and_end() {
        let rng = &mut SeededRng::new(1);
        let user = |n: usize| UserId::parse(&format!("u{n}"), "x").unwrap();
        let home = IpAddr::from([127, 0, 0, 1]);
        let exchanges = Exchanges::new(5, 2, Duration::from_secs(60));
        let first = exchanges.put(rng, user(0), home, step());
        exchanges.put(rng, user(0), home, step());
        assert_eq!(exchanges.allow(&user(0), home), Err(TooMany));
        for n in 1..4 {
            assert_eq!(exchanges.allow(&user(n), home), Ok(()));
            exchanges.put(rng, user(n), home, step());
        }
        assert_eq!(exchanges.allow(&user(9), home), Err(TooMany));
        assert!(exchanges.take(&first.to_string()).is_some());
        assert!(exchanges.take(&first.to_string()).is_none());
        assert!(exchanges.take("nonsense").is_none());
        assert_eq!(exchanges.allow(&user(9), home), Ok(()));

        let brief = Exchanges::new(1, 1, Duration::ZERO);
        let id = brief.put(rng, user(0), home, step());
        assert!(brief.take(&id.to_string()).is_none());
        brief.put(rng, user(0), home, step());
        assert_eq!(brief.allow(&user(0), home), Ok(()));
    }
}
