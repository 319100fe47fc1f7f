//! What a member may send, and what it may cause (rule DOS-1): so much in a second, and what of two seconds was not used at
//! once.

use undertone_keys::Time;

use undertone_protocol::limits::CONTROL_PACKETS;

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

    /// Whether so much is left.
    const fn has(&self, amount: u64) -> bool {
        self.left >= amount.saturating_mul(WHOLE)
    }

    /// The same, but what is more than it ever holds is to be had when it is full: seldom, and not never.
    fn has_or_is_full(&self, amount: u64) -> bool {
        self.has(amount.min((self.rate * BURST_SECONDS).max(1)))
    }

    const fn take(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(amount.saturating_mul(WHOLE));
    }
}

/// What all members of a room together may have the relay deliver.
#[derive(Debug)]
pub(crate) struct Deliveries {
    bucket: Bucket,
    at: Time,
}

impl Deliveries {
    pub(crate) fn new(limits: &Limits, now: Time) -> Self {
        Self { bucket: Bucket::new(limits.room_deliveries), at: now }
    }

    /// Whether one more packet may go to so many; it is paid for then.
    fn take(&mut self, now: Time, receivers: u64) -> bool {
        self.bucket.fill(micros(self.at, now));
        self.at = self.at.max(now);
        let enough = self.bucket.has_or_is_full(receivers);
        if enough {
            self.bucket.take(receivers);
        }
        enough
    }
}

/// What one member may still send.
#[derive(Debug)]
pub(crate) struct Allowance {
    packets: Bucket,
    bytes: Bucket,
    deliveries: Bucket,
    /// Control packets of somebody whose other packets are not forwarded.
    control: Bucket,
    at: Time,
}

impl Allowance {
    pub(crate) fn new(limits: &Limits, now: Time) -> Self {
        Self {
            packets: Bucket::new(limits.member_packets),
            bytes: Bucket::new(limits.member_bytes),
            // One alone does not use up what the others share.
            deliveries: Bucket::new(limits.room_deliveries.div_ceil(2)),
            control: Bucket::new(CONTROL_PACKETS),
            at: now,
        }
    }

    /// Whether one more packet of this size may come; it is paid for then.
    pub(crate) fn take(&mut self, now: Time, bytes: usize) -> bool {
        self.fill(now);
        let bytes = bytes as u64;
        let enough = self.packets.has(1) && self.bytes.has(bytes);
        if enough {
            self.packets.take(1);
            self.bytes.take(bytes);
        }
        enough
    }

    /// Whether one more control packet of somebody who may not speak may come, which was paid for like every packet; it is paid
    /// for as one of those then.
    pub(crate) const fn take_control(&mut self) -> bool {
        let enough = self.control.has(1);
        if enough {
            self.control.take(1);
        }
        enough
    }

    /// Whether a packet that came may go to so many, by what is left to its sender and to the `room`; it is paid for then.
    pub(crate) fn deliver(&mut self, now: Time, receivers: usize, room: &mut Deliveries) -> bool {
        let receivers = receivers as u64;
        let enough = self.deliveries.has_or_is_full(receivers) && room.take(now, receivers);
        if enough {
            self.deliveries.take(receivers);
        }
        enough
    }

    /// Whether so much time has passed that a new one would be the same.
    pub(crate) fn is_full(&self, now: Time) -> bool {
        micros(self.at, now) >= BURST_SECONDS * WHOLE
    }

    fn fill(&mut self, now: Time) {
        let micros = micros(self.at, now);
        self.at = self.at.max(now);
        self.packets.fill(micros);
        self.bytes.fill(micros);
        self.deliveries.fill(micros);
        self.control.fill(micros);
    }
}

fn micros(from: Time, to: Time) -> u64 {
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX)
}
