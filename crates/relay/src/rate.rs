//! What a member may send (rule DOS-1): so much in a second, and what of two seconds was not sent at once.

use undertone_keys::Time;

use crate::rooms::Limits;

/// A network that stalls hands over what was said meanwhile all at once, and a picture comes in a burst.
const BURST_SECONDS: u64 = 2;
/// What a rate of one in a second brings in a microsecond is one of so many.
const WHOLE: u64 = 1_000_000;

#[derive(Debug)]
struct Bucket {
    rate: u64,
    left: u64,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        let rate = u64::from(rate);
        Self { rate, left: rate * BURST_SECONDS * WHOLE }
    }

    fn fill(&mut self, micros: u64) {
        let gained = self.rate.saturating_mul(micros);
        self.left = self.left.saturating_add(gained).min(self.rate * BURST_SECONDS * WHOLE);
    }
}

/// What one member may still send.
#[derive(Debug)]
pub(crate) struct Allowance {
    packets: Bucket,
    bytes: Bucket,
    at: Time,
}

impl Allowance {
    pub(crate) fn new(limits: &Limits, now: Time) -> Self {
        Self { packets: Bucket::new(limits.member_packets), bytes: Bucket::new(limits.member_bytes), at: now }
    }

    /// Whether one more packet of this size may come; it is paid for then.
    pub(crate) fn take(&mut self, now: Time, bytes: usize) -> bool {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
        self.packets.fill(micros);
        self.bytes.fill(micros);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(WHOLE);
        let enough = self.packets.left >= WHOLE && self.bytes.left >= bytes;
        if enough {
            self.packets.left -= WHOLE;
            self.bytes.left -= bytes;
        }
        enough
    }
}
