//! Speaking on time, and counting what arrives: the same for every relay, whatever carries the packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::load::{Load, Run, TICK};
use crate::perf::Counting;
use crate::process::Served;

/// Before anybody speaks: what everybody is told of the others may still be under way.
const SETTLE: Duration = Duration::from_millis(500);
const WARM_UP: Duration = Duration::from_secs(1);
/// Spoken on behind the window where instructions are counted: the counter starts and ends a little late.
const TAIL: Duration = Duration::from_millis(300);
const DRAIN: Duration = Duration::from_millis(500);
/// The system wakes a waiting thread by whole milliseconds, rounded up. What is nearer than this is waited for awake:
/// packets leave at their time rather than a millisecond's worth of them at once.
const AWAKE: Duration = Duration::from_millis(1);

/// A packet that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// At which client.
    pub(crate) client: usize,
    pub(crate) at: Instant,
    /// Its speaker's place in the room and its number, if they can be read.
    pub(crate) said: Option<(u16, u32)>,
}

/// All clients of a relay, room by room, connected and in their rooms.
pub(crate) trait Crowd {
    /// Sends a client's packet with this number at once; whether it left.
    fn say(&mut self, client: usize, sequence: u32) -> anyhow::Result<bool>;

    /// Does what is due, and takes what has come. Waits for that, but not longer than `until`.
    fn turn(&mut self, until: Instant, hear: &mut dyn FnMut(Heard)) -> anyhow::Result<()>;
}

/// Waits for sockets: asleep while there is time, then awake.
pub(crate) fn wait(poll: &mut mio::Poll, events: &mut mio::Events, until: Instant) -> std::io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    match poll.poll(events, Some(left.saturating_sub(AWAKE))) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => events.clear(),
        Err(error) => return Err(error),
    }
    if events.is_empty() && !left.is_zero() {
        // Where there is one CPU for everybody, the relay gets it.
        std::thread::yield_now();
    }
    Ok(())
}

/// Lets a crowd speak, and measures the relay meanwhile.
pub(crate) fn converse(crowd: &mut impl Crowd, relay: &Served, load: &Load) -> anyhow::Result<Run> {
    let mut talk = Talk::new(load);
    talk.go_on(crowd, SETTLE, false)?;
    talk.begin(Instant::now());
    talk.go_on(crowd, WARM_UP, true)?;
    let counting = load.instructions.then(|| Counting::start(relay.id(), load.seconds));
    let (begun, received, cpu_ns) = (Instant::now(), talk.log.received, relay.cpu_ns()?);
    talk.log.timing = true;
    talk.go_on(crowd, Duration::from_secs(load.seconds), true)?;
    talk.log.timing = false;
    let window_cpu_ns = relay.cpu_ns()?.saturating_sub(cpu_ns);
    let window_ns = u64::try_from(begun.elapsed().as_nanos())?;
    let window_received = talk.log.received - received;
    if counting.is_some() {
        talk.go_on(crowd, TAIL, true)?;
    }
    talk.go_on(crowd, DRAIN, false)?;
    let log = talk.log;
    Ok(Run {
        expected: log.accepted * u64::try_from(load.members.saturating_sub(1))?,
        received: log.received,
        window_received,
        window_ns,
        window_cpu_ns,
        p50_us: log.latency.quantile_us(500),
        p99_us: log.latency.quantile_us(990),
        late_p99_us: log.late.quantile_us(990),
        instructions: counting.map(|counting| counting.and_then(Counting::finish)),
    })
}

struct Talk {
    load: Load,
    /// When each speaker is due, the soonest first: all have the same rhythm, so it stays sorted.
    due: VecDeque<(Instant, usize)>,
    log: Log,
}

/// What is known of the packets.
struct Log {
    load: Load,
    /// For each speaker, when each of its packets was sent.
    sent: Vec<Vec<Instant>>,
    accepted: u64,
    received: u64,
    /// Whether the clock is looked at.
    timing: bool,
    latency: Histogram,
    late: Histogram,
}

impl Talk {
    fn new(load: &Load) -> Self {
        let speakers = load.rooms * load.speakers;
        let log = Log {
            load: *load,
            sent: vec![Vec::new(); speakers],
            accepted: 0,
            received: 0,
            timing: false,
            latency: Histogram::default(),
            late: Histogram::default(),
        };
        Self { load: *load, due: VecDeque::new(), log }
    }

    fn begin(&mut self, now: Instant) {
        let phases = phases(self.log.sent.len()).into_iter();
        let mut due: Vec<(Instant, usize)> = phases.map(|phase| now + phase).zip(0..).collect();
        due.sort_unstable();
        self.due = due.into();
    }

    /// Speaks if it is to, and listens, for so long.
    fn go_on(&mut self, crowd: &mut impl Crowd, length: Duration, speaking: bool) -> anyhow::Result<()> {
        let end = Instant::now() + length;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            if speaking {
                self.speak(crowd, now)?;
            }
            let next = if speaking { self.due.front().map(|(at, _)| *at) } else { None };
            crowd.turn(next.unwrap_or(end).min(end), &mut |heard| self.log.hear(&heard))?;
        }
    }

    fn speak(&mut self, crowd: &mut impl Crowd, now: Instant) -> anyhow::Result<()> {
        let Load { members, speakers, .. } = self.load;
        while let Some((at, speaker)) = self.due.front().copied()
            && at <= now
        {
            self.due.pop_front();
            self.due.push_back((at + TICK, speaker));
            let Some(sent) = self.log.sent.get_mut(speaker) else { continue };
            let client = speaker / speakers.max(1) * members + speaker % speakers.max(1);
            let (sequence, now) = (u32::try_from(sent.len())?, Instant::now());
            sent.push(now);
            if self.log.timing {
                self.log.late.add(now.saturating_duration_since(at));
            }
            self.log.accepted += u64::from(crowd.say(client, sequence)?);
        }
        Ok(())
    }
}

impl Log {
    fn hear(&mut self, heard: &Heard) {
        self.received += 1;
        if !self.timing {
            return;
        }
        // The receiver knows its room; the packet says who of it spoke.
        let sent = heard.said.and_then(|(place, sequence)| {
            let (room, place) = (heard.client / self.load.members.max(1), usize::from(place));
            let speaker = (place < self.load.speakers).then_some(room * self.load.speakers + place)?;
            self.sent.get(speaker)?.get(usize::try_from(sequence).ok()?)
        });
        if let Some(sent) = sent {
            self.latency.add(heard.at.saturating_duration_since(*sent));
        }
    }
}

/// When each of so many speakers begins within the first [`TICK`]. Each has a slot of its own, so that they are spread
/// evenly, and no pattern: the slots are shuffled and the place within each is drawn. The draw is always the same.
fn phases(speakers: usize) -> Vec<Duration> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    };
    let mut slots: Vec<u64> = (0..).take(speakers).collect();
    for last in (1..speakers).rev() {
        let other = draw(u64::try_from(last).unwrap_or(u64::MAX) + 1);
        slots.swap(last, usize::try_from(other).unwrap_or(last));
    }
    let tick = u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX);
    let width = tick / u64::try_from(speakers).unwrap_or(u64::MAX).max(1);
    slots.into_iter().map(|slot| Duration::from_nanos(slot * width + draw(width))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_slot_and_neighbours_do_not_follow_each_other() {
        assert!(phases(0).is_empty());
        let drawn = phases(100);
        let mut sorted = drawn.clone();
        sorted.sort_unstable();
        let slot = |phase: &Duration| phase.as_micros() / 200;
        assert!(sorted.iter().map(slot).eq(0..100));
        assert_ne!(drawn, sorted);
        assert_eq!(drawn, phases(100));
    }
}
