//! Half-done registrations and logins, bounded in number and time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
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
    /// Nothing: a login failed. It keeps its place until its time is over, so that guessing has a rate.
    Failed,
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
        let address = network(address);
        let count = |pick: &dyn Fn(&Exchange) -> bool| open.values().filter(|exchange| pick(exchange)).count();
        // Many people may sit behind one address. One person logs in to one account from one place; that others try
        // from elsewhere must not keep them out.
        let here = count(&|exchange| exchange.user == *user && exchange.address == address) < self.most_each;
        let place = count(&|exchange| exchange.address == address) < 8 * self.most_each;
        let account = count(&|exchange| exchange.user == *user) < 16 * self.most_each;
        if open.len() < self.most && here && place && account { Ok(()) } else { Err(TooMany) }
    }

    /// Keeps a step and returns the name under which it waits.
    pub fn put(&self, rng: &mut impl rand_core::CryptoRng, user: UserId, address: IpAddr, step: Step) -> RequestId {
        let id = RequestId::random(rng);
        let until = Instant::now() + self.lifetime;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, Exchange { user, address: network(address), until, step });
        id
    }

    /// Takes a step out: each name is good once.
    pub fn take(&self, id: &str) -> Option<(UserId, IpAddr, Step)> {
        let id = RequestId::parse(id)?;
        let exchange = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        (exchange.until > Instant::now()).then_some((exchange.user, exchange.address, exchange.step))
    }
}

/// What counts as one address: for IPv6 the /64 that one customer has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
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
        assert_eq!(exchanges.allow(&user(0), IpAddr::from([127, 0, 0, 2])), Ok(()), "others do not keep one out");
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
