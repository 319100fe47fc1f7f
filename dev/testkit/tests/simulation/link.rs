//! A device's links: how long things take, what is lost, and when nothing comes through.

use undertone_keys::Time;
use undertone_keys::testing::SeededRng;

/// A random number below `bound`.
pub(crate) fn below(rng: &mut SeededRng, bound: u64) -> u64 {
    use rand_core::Rng as _;
    if bound == 0 { 0 } else { rng.next_u64() % bound }
}

/// Whether something with this chance, in percent, happens.
pub(crate) fn chance(rng: &mut SeededRng, percent: u64) -> bool {
    below(rng, 100) < percent
}

/// A device's way to the server or to the relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// One way, in microseconds.
    pub(crate) delay: u64,
    /// On top, at most; what comes later may come earlier (datagrams alone).
    pub(crate) jitter: u64,
    /// Percent of datagrams that are lost.
    pub(crate) loss: u64,
    /// Percent of datagrams that come twice.
    pub(crate) twice: u64,
    /// Nothing comes through until then.
    pub(crate) cut_until: Time,
    /// Since when, if nothing does.
    pub(crate) cut_since: Time,
    /// In order: nothing overtakes what was sent before. Up, down.
    last: [Time; 2],
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Link {
    pub(crate) fn random(rng: &mut SeededRng) -> Self {
        let lossy = [0, 0, 1, 5, 20, 50];
        let place = usize::try_from(below(rng, 6)).unwrap_or_default();
        Self {
            delay: 1_000 + below(rng, 120_000),
            jitter: below(rng, 60_000),
            loss: lossy.get(place).copied().unwrap_or_default(),
            twice: below(rng, 5),
            cut_until: Time::ZERO,
            cut_since: Time::ZERO,
            last: [Time::ZERO; 2],
        }
    }

    /// The same way in other weather.
    pub(crate) fn renewed(&self, rng: &mut SeededRng) -> Self {
        Self { cut_until: self.cut_until, cut_since: self.cut_since, last: self.last, ..Self::random(rng) }
    }

    pub(crate) fn is_cut(&self, now: Time) -> bool {
        now < self.cut_until
    }

    /// Cuts it until then.
    pub(crate) fn cut(&mut self, now: Time, until: Time) {
        if !self.is_cut(now) {
            self.cut_since = now;
        }
        self.cut_until = self.cut_until.max(until);
    }

    /// When something comes that is sent in order and repeated until it is there.
    pub(crate) fn ordered(&mut self, now: Time, way: Way, rng: &mut SeededRng) -> Time {
        let sent = now.max(self.cut_until);
        // A loss costs a retransmission.
        let again = if chance(rng, self.loss) { 2 * self.delay + 30_000 } else { 0 };
        let at = Time::from_micros(sent.as_micros() + self.delay + below(rng, self.jitter / 4 + 1) + again);
        let last = match way {
            Way::Up => self.last.first_mut(),
            Way::Down => self.last.last_mut(),
        };
        let Some(last) = last else { return at };
        *last = at.max(*last);
        *last
    }

    /// When a datagram comes: never, once, or twice.
    pub(crate) fn datagram(&self, now: Time, rng: &mut SeededRng) -> Vec<Time> {
        if self.is_cut(now) || chance(rng, self.loss) {
            return Vec::new();
        }
        let copies = if chance(rng, self.twice) { 2 } else { 1 };
        let at = |rng: &mut SeededRng| Time::from_micros(now.as_micros() + self.delay + below(rng, self.jitter + 1));
        (0..copies).map(|_| at(rng)).collect()
    }

    /// A new connection: what was under way on the old one is gone.
    pub(crate) const fn renew(&mut self) {
        self.last = [Time::ZERO; 2];
    }
}
