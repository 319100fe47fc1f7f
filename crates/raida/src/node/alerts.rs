//! Telling whom a key is for (42). A coin's owner says where it listens, by an alert about nothing from the coin to itself; what others say that is
//! for that coin is sent there, as a request of the node's own under the coin's key.
//!
//! An endpoint is asked for under its coin's key; its address is that of the datagram, which a coin's owner could forge. So nobody is told more than
//! a few things in a second, nor by one sender more than one.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::coin::Coin;

/// Seconds that an endpoint is kept: whoever listens says so again in time.
pub const LISTENS: u64 = 300;
/// Coins that may listen at once.
const MOST: usize = 16_384;
/// Things that a coin's owner is told in a second, each by another sender.
const IN_A_SECOND: usize = 8;
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
    /// The second in which it was told something last, and by whom.
    second: u64,
    by: Vec<Coin>,
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
        let until = now.saturating_add(LISTENS);
        let endpoint = state.endpoints.entry(coin).or_insert(Endpoint { at, until, second: 0, by: Vec::new() });
        (endpoint.at, endpoint.until) = (at, until);
        true
    }

    /// Where a coin's owner is to be told something now by this sender; `None` where it does not listen, or was told enough in this second.
    pub(super) fn tell(&self, coin: Coin, sender: Coin, now: u64) -> Option<SocketAddr> {
        let mut state = self.state();
        let endpoint = state.endpoints.get_mut(&coin).filter(|endpoint| endpoint.until > now)?;
        if endpoint.second != now {
            endpoint.second = now;
            endpoint.by.clear();
        }
        if endpoint.by.len() >= IN_A_SECOND || endpoint.by.contains(&sender) {
            return None;
        }
        endpoint.by.push(sender);
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
