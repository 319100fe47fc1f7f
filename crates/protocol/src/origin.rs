//! Where connections and requests come from, as far as limits go (rule DOS-1).
//!
//! One host of IPv4 has one address. One customer of IPv6 has a /64 at least and often a /56 or /48, so there two counts
//! are kept: one for the /64 and a wider one for the /48 around it.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What counts as one place, and what as its neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    network: IpAddr,
    around: IpAddr,
}

impl Origin {
    /// The origin of a peer's address. An IPv4 address is the same whether or not the socket speaks IPv6 too
    /// (`::ffff:a.b.c.d`).
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { network: v4.into(), around: v4.into() },
            IpAddr::V6(v6) => {
                let prefix = |bits: u32| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - bits))));
                Self { network: prefix(64), around: prefix(48) }
            }
        }
    }

    /// Whether the two are the same place.
    #[must_use]
    pub fn is_same_network(&self, other: &Self) -> bool {
        self.network == other.network
    }

    /// Whether the two are in one neighbourhood; for IPv4 that is the same place.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        self.around == other.around
    }
}

/// A neighbourhood may hold as many times what a place in it may.
pub const NEIGHBOURHOOD: usize = 4;

/// Counts what each origin holds, up to a limit.
#[derive(Debug)]
pub struct OriginCounts {
    most: usize,
    networks: HashMap<IpAddr, usize>,
    around: HashMap<IpAddr, usize>,
}

impl OriginCounts {
    /// At most `most` for one place and [`NEIGHBOURHOOD`] times as many for a neighbourhood.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, networks: HashMap::new(), around: HashMap::new() }
    }

    /// Takes one; `false` when the origin holds all it may.
    #[must_use]
    pub fn take(&mut self, origin: &Origin) -> bool {
        let near = self.around.get(&origin.around).copied().unwrap_or_default();
        if self.held(origin) >= self.most || near >= self.most.saturating_mul(NEIGHBOURHOOD) {
            return false;
        }
        *self.networks.entry(origin.network).or_default() += 1;
        *self.around.entry(origin.around).or_default() += 1;
        true
    }

    /// Gives one back that was taken.
    pub fn give(&mut self, origin: &Origin) {
        give(self.networks.entry(origin.network));
        give(self.around.entry(origin.around));
    }

    /// How many this very place holds.
    #[must_use]
    pub fn held(&self, origin: &Origin) -> usize {
        self.networks.get(&origin.network).copied().unwrap_or_default()
    }
}

fn give(entry: Entry<'_, IpAddr, usize>) {
    if let Entry::Occupied(mut count) = entry {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().unwrap())
    }

    #[test]
    fn dos_1_ipv4_hosts_stay_apart_on_a_socket_of_ipv6() {
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert!(!origin("::ffff:192.0.2.1").is_near(&origin("::ffff:192.0.2.2")));
    }

    #[test]
    fn dos_1_one_place_and_one_neighbourhood_have_limits() {
        let mut counts = OriginCounts::new(2);
        let here = origin("2001:db8:1:1::1");
        assert!(counts.take(&here) && counts.take(&origin("2001:db8:1:1:ffff::9")));
        assert!(!counts.take(&here), "a /64 is one place");
        for place in 2..5 {
            let neighbour = origin(&format!("2001:db8:1:{place}::1"));
            assert!(counts.take(&neighbour) && counts.take(&neighbour));
        }
        assert!(!counts.take(&origin("2001:db8:1:5::1")), "a /48 is one neighbourhood");
        assert!(counts.take(&origin("2001:db8:2:5::1")));
        counts.give(&here);
        assert!(counts.take(&origin("2001:db8:1:5::1")));
        assert_eq!((counts.held(&here), counts.networks.len()), (1, 6));
        counts.give(&here);
        assert_eq!(counts.networks.len(), 5, "who holds nothing takes no memory");
    }
}
