//! How much is said and by whom, and what came of it.

use std::time::Duration;

/// Between two packets of one speaker.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// Bytes that a speaker says in each.
pub(crate) const PAYLOAD: usize = 80;
/// Bytes of a [`stamp`].
pub(crate) const STAMP: usize = 6;

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) rooms: usize,
    /// Members of each room.
    pub(crate) members: usize,
    /// How many of them speak: the first. The others listen.
    pub(crate) speakers: usize,
    /// How long the relay is looked at.
    pub(crate) seconds: u64,
    /// Whether its instructions are counted meanwhile. The counters make its changes of thread dearer, so CPU time is
    /// best taken from a run without.
    pub(crate) instructions: bool,
}

impl Load {
    /// All members: the room of each, and its place in it.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = (usize, usize)> {
        let members = self.members;
        (0..self.rooms).flat_map(move |room| (0..members).map(move |member| (room, member)))
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Packets that should have arrived, from the first to the last.
    pub(crate) expected: u64,
    /// Packets that did.
    pub(crate) received: u64,
    /// Those that arrived while the relay was looked at.
    pub(crate) window_received: u64,
    /// How long that was.
    pub(crate) window_ns: u64,
    /// The relay's CPU time meanwhile.
    pub(crate) window_cpu_ns: u64,
    /// From a speaker to a listener: half of the packets were no slower ...
    pub(crate) p50_us: u64,
    /// ... and 99 % no slower than this.
    pub(crate) p99_us: u64,
    /// 99 % of the packets were sent at most this much behind their time. More than a millisecond or two says that this
    /// program was the bottleneck and not the relay.
    pub(crate) late_p99_us: u64,
    /// Instructions the relay retired in as many seconds; why not, where they cannot be counted; `None` where nobody
    /// asked.
    pub(crate) instructions: Option<Result<u64, String>>,
}

#[expect(clippy::cast_precision_loss, reason = "ratios of counts")]
impl Run {
    pub(crate) fn delivered(&self) -> f64 {
        self.received as f64 / self.expected.max(1) as f64
    }

    pub(crate) fn cpu_us_per_delivery(&self) -> f64 {
        self.window_cpu_ns as f64 / 1000.0 / self.window_received.max(1) as f64
    }

    /// How many CPUs the relay kept busy.
    pub(crate) fn cores(&self) -> f64 {
        self.window_cpu_ns as f64 / self.window_ns.max(1) as f64
    }

    /// `None` where they were not asked for or could not be counted.
    pub(crate) fn instructions_per_delivery(&self) -> Option<f64> {
        let counted = self.instructions.as_ref()?.as_ref().ok()?;
        Some(*counted as f64 / self.window_received.max(1) as f64)
    }
}

/// Writes a speaker's place in its room and the packet's number to the front of `buffer`; returns what is behind them.
/// For relays that have no header of their own.
pub(crate) fn stamp(buffer: &mut [u8], place: u16, sequence: u32) -> Option<&mut [u8]> {
    let (head, rest) = buffer.split_first_chunk_mut::<STAMP>()?;
    let ([p0, p1], [s0, s1, s2, s3]) = (place.to_be_bytes(), sequence.to_be_bytes());
    *head = [p0, p1, s0, s1, s2, s3];
    Some(rest)
}

/// Reads what [`stamp`] wrote.
pub(crate) fn stamped(packet: &[u8]) -> Option<(u16, u32)> {
    let [p0, p1, s0, s1, s2, s3] = *packet.first_chunk::<STAMP>()?;
    Some((u16::from_be_bytes([p0, p1]), u32::from_be_bytes([s0, s1, s2, s3])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let mut buffer = [0; 10];
        assert_eq!(stamp(&mut buffer, 700, 70_000).map(|rest| rest.len()), Some(4));
        assert_eq!(stamped(&buffer), Some((700, 70_000)));
        assert_eq!(stamped(&[0; 5]), None);
    }
}
