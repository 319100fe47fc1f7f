//! How often one address may ask (strict): a bucket for each that fills with time. Datagrams and connections have buckets of their own, since a
//! datagram's sender is whoever it says.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are told apart at once. More than that share what is left.
const ADDRESSES: usize = 65_536;

/// What one address may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLimit {
    /// Requests a second, in the long run; 0 for as many as come.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

impl AddressLimit {
    /// Enough for a few hundred people behind one address.
    pub const USUAL: Self = Self { per_second: 200, burst: 1_000 };
}

struct Bucket {
    since: Instant,
    /// Millionths of a request that were used and have not come back.
    used: u64,
}

const WHOLE: u64 = 1_000_000;

impl Bucket {
    /// What of it is used at a time.
    fn used_at(&self, now: Instant, per_second: u32) -> u64 {
        let passed = now.saturating_duration_since(self.since).min(Duration::from_secs(3_600));
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.used.saturating_sub(micros.saturating_mul(u64::from(per_second)))
    }
}

/// The buckets, shared by threads.
pub(super) struct Limits {
    limit: AddressLimit,
    buckets: Mutex<HashMap<(IpAddr, bool), Bucket>>,
}

/// Whoever has one address of IPv6 has all of its network's.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

impl Limits {
    pub(super) fn new(limit: AddressLimit) -> Self {
        Self { limit, buckets: Mutex::default() }
    }

    /// Whether one more may ask, without asking.
    pub(super) fn would_allow(&self, from: IpAddr, datagram: bool, now: Instant) -> bool {
        let AddressLimit { per_second, burst } = self.limit;
        if per_second == 0 {
            return true;
        }
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |of| (of, datagram);
        let others = || buckets.get(&name(Ipv6Addr::UNSPECIFIED.into())).filter(|_| buckets.len() >= ADDRESSES);
        let bucket = buckets.get(&name(network(from))).or_else(others);
        bucket.is_none_or(|bucket| bucket.used_at(now, per_second) + WHOLE <= u64::from(burst) * WHOLE)
    }

    /// Whether this one more may ask.
    pub(super) fn allow(&self, from: IpAddr, datagram: bool, now: Instant) -> bool {
        let AddressLimit { per_second, burst } = self.limit;
        if per_second == 0 {
            return true;
        }
        let back = |bucket: &Bucket| bucket.used_at(now, per_second);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = (network(from), datagram);
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&name) {
            buckets.retain(|_, bucket| back(bucket) > 0);
            if buckets.len() >= ADDRESSES {
                name.0 = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let bucket = buckets.entry(name).or_insert(Bucket { since: now, used: 0 });
        (bucket.used, bucket.since) = (back(bucket), now);
        let may = bucket.used + WHOLE <= u64::from(burst) * WHOLE;
        if may {
            bucket.used += WHOLE;
        }
        may
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Limits({:?})", self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_2_an_address_has_its_share_and_gets_it_back_with_time() {
        let limits = Limits::new(AddressLimit { per_second: 10, burst: 3 });
        let (start, one, other) = (Instant::now(), IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        // What is said beforehand is what is done.
        let allow = |from, datagram, at| {
            let would = limits.would_allow(from, datagram, at);
            assert_eq!(limits.allow(from, datagram, at), would);
            would
        };
        let allowed = |from, datagram, at| (0..5).filter(|_| allow(from, datagram, at)).count();
        assert_eq!((allowed(one, true, start), allowed(one, true, start)), (3, 0));
        assert_eq!((allowed(one, false, start), allowed(other, true, start)), (3, 3), "each has its own");
        assert_eq!(allowed(one, true, start + Duration::from_millis(100)), 1);
        assert_eq!(allowed(one, true, start + Duration::from_secs(10)), 3);
        // A network of IPv6 is one; an address of IPv4 is the same however it is written.
        let v6 = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        assert_eq!((allowed(v6(1), true, start), allowed(v6(2), true, start)), (3, 0));
        assert_eq!(allowed("::ffff:192.0.2.2".parse().unwrap(), true, start), 0);
        let free = Limits::new(AddressLimit { per_second: 0, burst: 0 });
        assert!((0..10_000).all(|_| free.allow(one, true, start)));
    }

    #[test]
    fn rkx_2_addresses_without_end_take_memory_that_ends() {
        let limits = Limits::new(AddressLimit { per_second: 1, burst: 2 });
        let start = Instant::now();
        for n in 0..70_000_u32 {
            limits.allow(IpAddr::from(n.to_be_bytes()), true, start);
        }
        let known = |limits: &Limits| limits.buckets.lock().unwrap().len();
        assert!(known(&limits) <= ADDRESSES + 1);
        // Those beyond share one; when the others have their share back, they are forgotten, and whoever is new has their own.
        assert!(!limits.would_allow(IpAddr::from([250, 0, 0, 1]), true, start));
        assert!(!limits.allow(IpAddr::from([250, 0, 0, 1]), true, start));
        assert!(limits.allow(IpAddr::from([250, 0, 0, 1]), true, start + Duration::from_secs(2)));
        assert!(known(&limits) <= 2);
    }
}
