//! Telling whom a key is for (42). A coin's owner says where it listens, by an alert about nothing from the coin to itself; what others say that is
//! for that coin is sent there, as a request of the node's own under the coin's key.
//!
//! Nobody is sent anything that did not ask for it under its coin's key, and not more often than once in a second.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::coin::Coin;

/// Seconds that an endpoint is kept: whoever listens says so again in time.
pub const LISTENS: u64 = 300;
/// Coins that may listen at once.
const MOST: usize = 16_384;
/// Alerts that wait to be sent.
const WAITING: usize = 1_024;

/// An alert on its way to whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Where the coin's owner listens, by UDP.
    pub to: SocketAddr,
    /// A whole datagram.
    pub bytes: Vec<u8>,
}

struct Endpoint {
    at: SocketAddr,
    until: u64,
    /// The second in which it was told something last.
    told: u64,
}

#[derive(Default)]
struct State {
    endpoints: HashMap<Coin, Endpoint>,
    waiting: VecDeque<Alert>,
}

/// Who listens, and what they are to be told.
#[derive(Default)]
pub(super) struct Alerts(Mutex<State>);

impl Alerts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A coin's owner listens there. `false` where too many others do.
    pub(super) fn listen(&self, coin: Coin, at: SocketAddr, now: u64) -> bool {
        let mut state = self.state();
        if state.endpoints.len() >= MOST && !state.endpoints.contains_key(&coin) {
            state.endpoints.retain(|_, endpoint| endpoint.until > now);
            if state.endpoints.len() >= MOST {
                return false;
            }
        }
        let told = state.endpoints.get(&coin).map_or(0, |before| before.told);
        state.endpoints.insert(coin, Endpoint { at, until: now.saturating_add(LISTENS), told });
        true
    }

    /// Where a coin's owner is to be told something now; `None` where it does not listen, or was told a moment ago.
    pub(super) fn tell(&self, coin: Coin, now: u64) -> Option<SocketAddr> {
        let mut state = self.state();
        let endpoint = state.endpoints.get_mut(&coin).filter(|endpoint| endpoint.until > now && endpoint.told < now)?;
        endpoint.told = now;
        Some(endpoint.at)
    }

    pub(super) fn send(&self, alert: Alert) {
        let mut state = self.state();
        if state.waiting.len() < WAITING {
            state.waiting.push_back(alert);
        }
    }

    pub(super) fn poll(&self) -> Option<Alert> {
        self.state().waiting.pop_front()
    }
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alerts({} listen)", self.state().endpoints.len())
    }
}
