//! The jitter buffer: frames arrive when they like, and one is played every 20 ms.
//!
//! It waits until it holds as many frames as the network's jitter asks for, then gives one per tick. A lost frame is
//! rebuilt from the next one's forward error correction if that is there, else concealed. What is concealed while nothing
//! is there may be late or lost: when frames come again, and they are later ones, it was lost, and is not concealed a
//! second time. When nothing comes for a while it fills again from the start. When it holds more than it needs it skips frames: now and then where that is
//! little, the more often the more it is, and all of them at once after a stall, whose frames come in one burst.

use core::time::Duration;
use std::collections::BTreeMap;

use undertone_keys::Time;

/// Frames held at least before the first is played.
pub const MIN_DEPTH: usize = 2;
/// Frames waited for at most: 500 ms.
pub const MAX_DEPTH: usize = 25;
/// Frames held at most, whatever comes.
pub const CAPACITY: usize = 100;
/// Frames concealed in a row before there is nothing to go on from: what follows is silence.
const MAX_CONCEALED: u32 = 5;
/// Ticks without any frame before the stream counts as paused, and fills anew when it goes on.
const PAUSED: u32 = 25;
/// Frames above the target that are not too many: the next jitter may want them.
const SLACK: usize = 3;
/// How many ticks the buffer must be too full by one frame before one is skipped; by two, half as many, and so on.
const PATIENCE: usize = 50;
/// Too full by so many frames (500 ms), and all that are too many are skipped at once.
const STALE: usize = 25;
const TICK: Duration = Duration::from_millis(20);

/// What to play in one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Play {
    /// This frame.
    Frame(Vec<u8>),
    /// The frame before this one, from this one's error correction; this one is still to come.
    Recover(Vec<u8>),
    /// Something that sounds like what was before.
    Conceal,
    /// Nothing: the stream has not begun or paused.
    Silence,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Frames that came in time.
    pub played: u64,
    /// Frames rebuilt from the next one.
    pub recovered: u64,
    /// Frames concealed.
    pub concealed: u64,
    /// Frames that came after their time.
    pub late: u64,
    /// Frames skipped to catch up.
    pub skipped: u64,
}

/// One sender's buffer.
#[derive(Debug, Default)]
pub struct JitterBuffer {
    frames: BTreeMap<u64, Vec<u8>>,
    /// The frame to be played next; `None` until the buffer has filled.
    next: Option<u64>,
    /// Arrival of the first frame and its number, to tell early from late.
    origin: Option<(Time, u64)>,
    /// Smoothed lateness against the earliest frame, in microseconds.
    floor: i64,
    spread: i64,
    /// Ticks in a row without a frame.
    concealed: u32,
    /// How many of them played on without knowing whether their frame was lost or late.
    waited: u64,
    too_full: usize,
    stats: JitterStats,
}

impl JitterBuffer {
    /// Takes a frame with its consecutive number.
    pub fn push(&mut self, now: Time, number: u64, payload: Vec<u8>) {
        if self.concealed > MAX_CONCEALED && self.frames.is_empty() {
            // What comes after a stall says nothing about the network's jitter.
            (self.origin, self.floor) = (None, 0);
        }
        self.measure(now, number);
        if self.next.is_some_and(|next| number < next) {
            self.stats.late += 1;
            return;
        }
        self.frames.insert(number, payload);
        while self.frames.len() > CAPACITY {
            self.frames.pop_first();
        }
    }

    /// Frames it waits for before it begins to play.
    #[must_use]
    pub fn target(&self) -> usize {
        let tick = i64::try_from(TICK.as_micros()).unwrap_or(1);
        // A quarter of a frame is within what the two of the minimum bear; more than that is another frame.
        let frames = (self.spread.max(0) + tick * 3 / 4) / tick;
        (usize::try_from(frames).unwrap_or_default() + MIN_DEPTH).min(MAX_DEPTH)
    }

    /// What to play now; to be called every 20 ms.
    pub fn pop(&mut self) -> Play {
        let target = self.target();
        let Some(next) = self.next else {
            if self.frames.len() < target {
                return Play::Silence;
            }
            self.drop_all_but(target);
            self.next = self.frames.first_key_value().map(|(number, _)| *number);
            return self.pop_filled(target);
        };
        // Further ahead than anything that would be waited for: the other side has begun anew.
        if let Some((first, _)) = self.frames.first_key_value()
            && *first > next.saturating_add(MAX_DEPTH as u64)
        {
            self.next = Some(*first - 1);
        }
        self.pop_filled(target)
    }

    fn pop_filled(&mut self, target: usize) -> Play {
        if self.concealed > MAX_CONCEALED && !self.frames.is_empty() {
            // There was silence already: what was held up meanwhile is not made up for.
            self.drop_all_but(target);
            self.next = self.frames.first_key_value().map(|(number, _)| *number);
            self.waited = 0;
        }
        let excess = self.span().saturating_sub(target + SLACK);
        if excess >= STALE {
            self.drop_all_but(target);
            self.next = self.frames.first_key_value().map(|(number, _)| *number);
        }
        let Some(next) = self.next else { return Play::Silence };
        if excess > 0 {
            self.too_full += excess;
            if self.too_full >= PATIENCE {
                self.too_full = 0;
                self.frames.remove(&next);
                self.stats.skipped += 1;
                self.next = Some(next.saturating_add(1));
                return self.take(next.saturating_add(1));
            }
        } else {
            self.too_full = 0;
        }
        self.take(next)
    }

    /// Skips the oldest frames: what a stall held up is old by now.
    fn drop_all_but(&mut self, target: usize) {
        while self.frames.len() > target && self.frames.pop_first().is_some() {
            self.stats.skipped += 1;
        }
        self.too_full = 0;
    }

    fn take(&mut self, mut next: u64) -> Play {
        if let Some((first, _)) = self.frames.first_key_value()
            && self.waited > 0
        {
            // These are the later ones: what was concealed meanwhile was lost, but for the last, which may be rebuilt.
            next = next.saturating_add(self.waited.min(first.saturating_sub(next).saturating_sub(1)));
            self.waited = 0;
        }
        if let Some(frame) = self.frames.remove(&next) {
            self.next = Some(next.saturating_add(1));
            (self.concealed, self.waited) = (0, 0);
            self.stats.played += 1;
            return Play::Frame(frame);
        }
        if let Some(following) = self.frames.get(&next.saturating_add(1)) {
            let following = following.clone();
            self.next = Some(next.saturating_add(1));
            (self.concealed, self.waited) = (0, 0);
            self.stats.recovered += 1;
            return Play::Recover(following);
        }
        self.concealed += 1;
        if self.frames.is_empty() {
            if self.concealed > PAUSED {
                // Paused: begin anew with whatever comes. The pause says nothing about the network's jitter.
                (self.concealed, self.waited) = (0, 0);
                self.next = None;
                self.origin = None;
                self.floor = 0;
                return Play::Silence;
            }
            // Late or lost, nobody knows yet.
            self.waited += 1;
        } else {
            self.next = Some(next.saturating_add(1));
        }
        if self.concealed > MAX_CONCEALED {
            return Play::Silence;
        }
        self.stats.concealed += 1;
        Play::Conceal
    }

    /// Frames from the next to the newest, those that are missing among them.
    #[must_use]
    pub fn span(&self) -> usize {
        let newest = self.frames.last_key_value().map(|(newest, _)| *newest);
        let first = self.next.or_else(|| self.frames.first_key_value().map(|(first, _)| *first));
        let span = newest.zip(first).map_or(0, |(newest, first)| newest.saturating_add(1).saturating_sub(first));
        usize::try_from(span).unwrap_or(CAPACITY).min(CAPACITY)
    }

    /// How much later than the earliest ones frames come; quick to grow, slow to shrink.
    fn measure(&mut self, now: Time, number: u64) {
        let (start, first) = *self.origin.get_or_insert((now, number));
        let due = i128::from(number) - i128::from(first);
        let late = i128::from(now.as_micros()) - i128::from(start.as_micros()) - due * 20_000;
        let late = i64::try_from(late).unwrap_or(i64::MAX).clamp(-60_000_000, 60_000_000);
        // The floor follows the earliest frames at once and drifts up with the clocks.
        self.floor = if late < self.floor { late } else { self.floor + (late - self.floor) / 2048 };
        let above = late - self.floor;
        self.spread = if above > self.spread { above } else { self.spread - (self.spread - above) / 256 };
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> JitterStats {
        self.stats
    }

    /// Frames waiting to be played.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    /// Plays a stream whose frame `n` arrives `delay(n)` ms after it was sent, or never.
    fn play(frames: u64, delay: impl Fn(u64) -> Option<u64>) -> (Vec<Play>, JitterStats) {
        let mut arrivals: Vec<(u64, u64)> =
            (0..frames).filter_map(|n| delay(n).map(|late| (n * 20 + late, n))).collect();
        arrivals.sort_unstable();
        let (mut buffer, mut played, mut arrivals) =
            (JitterBuffer::default(), Vec::new(), arrivals.into_iter().peekable());
        for tick in 0..frames + 200 {
            while let Some((at, number)) = arrivals.next_if(|(at, _)| *at <= tick * 20 + 10) {
                buffer.push(Time::from_millis(at), number, frame(number));
            }
            played.push(buffer.pop());
        }
        (played, buffer.stats())
    }

    #[test]
    fn an_even_stream_is_played_whole_and_in_order() {
        let (played, stats) = play(200, |_| Some(30));
        let frames: Vec<&Play> = played.iter().filter(|play| matches!(play, Play::Frame(_))).collect();
        assert_eq!(frames.len(), 200);
        assert!(frames.iter().enumerate().all(|(n, play)| **play == Play::Frame(frame(n as u64))));
        assert_eq!(stats.late, 0);
    }

    #[test]
    fn single_losses_are_recovered_from_the_next_frame() {
        let (_, stats) = play(200, |n| (n % 10 != 7).then_some(30));
        assert_eq!(stats.played, 180);
        assert_eq!(stats.recovered, 20);
    }

    #[test]
    fn jitter_is_learned() {
        let jitter = |n: u64| Some(20 + (n * 7919 % 80));
        let (_, stats) = play(1000, jitter);
        assert!(stats.played >= 980, "{stats:?}");
        assert!(stats.late <= 15, "{stats:?}");
    }

    #[test]
    fn a_pause_does_not_end_the_stream() {
        let (played, stats) = play(300, |n| Some(if n >= 150 { 3000 } else { 20 }));
        assert!(stats.played >= 295, "{stats:?}");
        assert!(played.iter().filter(|play| matches!(play, Play::Conceal)).count() <= 10);
    }

    /// Frames held up by a stall come in one burst; within a second nothing of the delay is left.
    #[test]
    fn a_stall_leaves_no_delay() {
        for stalled in [20, 60, 150] {
            // Frames 100 and on are held up and come together, then all is as before.
            let delay =
                |n: u64| Some(if (100..100 + stalled).contains(&n) { 20 + (100 + stalled - n) * 20 } else { 20 });
            let mut arrivals: Vec<(u64, u64)> = (0..600).map(|n| (n * 20 + delay(n).unwrap(), n)).collect();
            arrivals.sort_unstable();
            let (mut buffer, mut arrivals) = (JitterBuffer::default(), arrivals.into_iter().peekable());
            for tick in 0..550 {
                while let Some((at, number)) = arrivals.next_if(|(at, _)| *at <= tick * 20 + 10) {
                    buffer.push(Time::from_millis(at), number, frame(number));
                }
                buffer.pop();
                let held = buffer.depth();
                if tick > 100 + stalled + 50 {
                    assert!(held <= buffer.target() + SLACK, "{stalled}: {held} frames held at tick {tick}");
                }
            }
            let stats = buffer.stats();
            assert!(stats.skipped <= stalled, "{stalled}: {stats:?}");
        }
    }

    /// The same when it is the one who plays that stood still.
    #[test]
    fn a_player_that_stood_still_catches_up_at_once() {
        let mut buffer = JitterBuffer::default();
        for n in 0..200 {
            buffer.push(Time::from_millis(n * 20), n, frame(n));
            // Asleep for a second and a half.
            if !(100..175).contains(&n) {
                buffer.pop();
            }
            if n == 178 {
                assert!(buffer.depth() <= buffer.target() + SLACK, "{} frames held", buffer.depth());
            }
        }
    }

    /// Three lost in a row while the buffer runs dry: each of them costs its own tick, and none a second one.
    #[test]
    fn what_was_lost_is_not_concealed_twice() {
        for burst in 1..=4_u64 {
            let (played, stats) = play(400, |n| (!(200..200 + burst).contains(&n)).then_some(20));
            // The end of the stream is concealed, too.
            let missing = stats.concealed + stats.recovered - u64::from(MAX_CONCEALED);
            assert_eq!(missing, burst, "{burst}: {stats:?}");
            assert_eq!(stats.skipped, 0, "{burst}: {stats:?}");
            let gap = played.iter().position(|play| *play == Play::Frame(frame(200 + burst))).unwrap()
                - played.iter().position(|play| *play == Play::Frame(frame(199))).unwrap();
            assert_eq!(gap as u64, burst + 1, "{burst} frames lost, {gap} ticks until it goes on");
        }
    }

    /// Frames that are merely late are played, and what they were late by is held from then on.
    #[test]
    fn what_was_late_is_played() {
        let (_, stats) = play(400, |n| Some(if n >= 200 { 80 } else { 20 }));
        assert!(stats.played >= 397, "{stats:?}");
        assert!(stats.concealed <= 4 + u64::from(MAX_CONCEALED), "{stats:?}");
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut buffer = JitterBuffer::default();
        for number in 0..10_000 {
            buffer.push(Time::ZERO, number * 3, frame(number));
        }
        buffer.push(Time::ZERO, u64::MAX - 1, frame(0));
        assert!(buffer.depth() <= CAPACITY);
        for _ in 0..1000 {
            buffer.pop();
        }
    }
}
