//! Frames that came before their key (rule EKR-1).
//!
//! A key travels by signalling and a frame by the relay, so a frame may overtake the key that opens it. Where its key id
//! names somebody who is in and an epoch that the ring does not have, it is kept for [`WINDOW`] and tried again when a
//! key has come. What is still closed then is dropped, and its sender and epoch are told as [`Overdue`]: the key is lost,
//! or late, and is to be asked for.
//!
//! ```text
//! kept.keep(now, key_id, packet)                                   the ring says UnknownEpoch
//! while let Some(taken) = kept.take(now, opens, &mut packet)       a key was installed
//! while let Some(overdue) = kept.expire(now)                       the time that poll_timeout named has come
//! ```
//!
//! Everything that stands here is sealed, and anybody on the way could have made it: nothing is believed of it but that
//! it takes up room. So each sender has room of its own, that one cannot push out another's frames; in it the oldest go
//! first. Room is made for a sender once, and reused: a flood allocates nothing.

use core::time::Duration;
use std::collections::VecDeque;

use undertone_keys::Time;

use crate::key_id::{KeyId, SenderIndex};
use crate::packet::MAX_PACKET;

/// How long a frame is kept: what comes later than this, no jitter buffer waits for.
pub const WINDOW: Duration = Duration::from_millis(200);
/// Frames of one sender: sound needs ten in that time.
pub const MAX_FRAMES: usize = 64;
/// Bytes of one sender: [`MAX_FRAMES`] packets of sound, or that time of a stream of 600 kbit/s.
pub const MAX_SENDER_BYTES: usize = 16 * 1024;
/// Senders with room here: more than may speak in a room at a time.
pub const MAX_SENDERS: usize = 64;
/// Bytes of all together.
pub const MAX_BYTES: usize = MAX_SENDERS * MAX_SENDER_BYTES;
/// Epochs of one sender that are watched: what a ring holds, and one that it does not.
const MAX_EPOCHS: usize = 5;
/// An epoch whose frames go on is told again after this: a request that got no answer is over by then (EKR-3).
const AGAIN: Duration = Duration::from_secs(10);
/// No frame under an epoch for so long, and nobody sends under it any more.
const OVER: Duration = Duration::from_secs(1);

/// Frames of this sender under this epoch came, and none of them opened within [`WINDOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Whose they say they are.
    pub sender: SenderIndex,
    /// The last eight bits of their epoch.
    pub epoch: u8,
    /// When the first of them came.
    pub since: Time,
}

/// A frame that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What its header says.
    pub id: KeyId,
    /// When it came.
    pub at: Time,
    /// Bytes of its packet.
    pub length: usize,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that were kept.
    pub kept: u64,
    /// Those of them that were never handed out.
    pub dropped: u64,
}

/// The frames that wait for their keys.
#[derive(Debug, Default)]
pub struct Kept {
    queues: Vec<Queue>,
    next: u64,
    counts: Counts,
}

impl Kept {
    /// Keeps a packet whose frame bears this key id. `false` for one that no relay would have taken.
    pub fn keep(&mut self, now: Time, id: KeyId, packet: &[u8]) -> bool {
        if packet.len() > MAX_PACKET {
            return false;
        }
        let (order, place) = (self.next, self.place(now, id.sender));
        let Some(queue) = self.queues.get_mut(place) else { return false };
        self.next += 1;
        self.counts.kept += 1;
        self.counts.dropped += queue.keep(now, order, id, packet);
        true
    }

    /// Hands out the oldest frame whose epoch `opens` now, into the front of `out`, which holds [`MAX_PACKET`] bytes.
    pub fn take(&mut self, now: Time, opens: impl Fn(u8) -> bool, out: &mut [u8]) -> Option<Taken> {
        for queue in &mut self.queues {
            self.counts.dropped += queue.sweep(now);
        }
        let first = |queue: &Queue| {
            let place = queue.frames.iter().position(|frame| !frame.taken && opens(frame.id.epoch))?;
            queue.frames.get(place).map(|frame| (frame.order, place))
        };
        let queues = self.queues.iter_mut().filter_map(|queue| first(queue).map(|(order, at)| (order, at, queue)));
        let (_, place, queue) = queues.min_by_key(|(order, ..)| *order)?;
        queue.take(place, out)
    }

    /// Drops what is too old, and tells of one sender and epoch whose frames have waited in vain: once, and again after
    /// ten seconds if they go on. `None` when there is nothing to tell any more.
    pub fn expire(&mut self, now: Time) -> Option<Overdue> {
        for queue in &mut self.queues {
            self.counts.dropped += queue.sweep(now);
        }
        self.queues.iter_mut().find_map(|queue| queue.overdue(now))
    }

    /// When [`Self::expire`] next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.queues.iter().filter_map(Queue::end).min()
    }

    /// Drops all of a sender that is gone, and its room.
    pub fn forget(&mut self, sender: SenderIndex) {
        for queue in self.queues.extract_if(.., |queue| queue.sender == sender) {
            self.counts.dropped += queue.waiting();
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Where a sender's frames are. If there are too many senders, it gets the room of the one that was not heard of for
    /// the longest.
    fn place(&mut self, now: Time, sender: SenderIndex) -> usize {
        if let Some(place) = self.queues.iter().position(|queue| queue.sender == sender) {
            return place;
        }
        let oldest = self.queues.iter().enumerate().min_by_key(|(_, queue)| queue.last).map(|(place, _)| place);
        if self.queues.len() >= MAX_SENDERS
            && let Some(place) = oldest
            && let Some(queue) = self.queues.get_mut(place)
        {
            self.counts.dropped += queue.waiting();
            queue.begin(now, sender);
            return place;
        }
        self.queues.push(Queue::new(now, sender));
        self.queues.len() - 1
    }
}

#[derive(Debug)]
struct Frame {
    id: KeyId,
    at: Time,
    /// Among the frames of all senders.
    order: u64,
    length: usize,
    /// It was handed out; its bytes go when those before it do.
    taken: bool,
}

/// Frames under one epoch, none of which has opened.
#[derive(Debug)]
struct Wait {
    epoch: u8,
    since: Time,
    last: Time,
    told: Option<Time>,
}

impl Wait {
    const fn new(now: Time, epoch: u8) -> Self {
        Self { epoch, since: now, last: now, told: None }
    }

    fn due(&self) -> Option<Time> {
        match self.told {
            None => Some(self.since + WINDOW),
            Some(told) => (self.last > told).then(|| told + AGAIN),
        }
    }
}

/// What is kept of one sender.
#[derive(Debug)]
struct Queue {
    sender: SenderIndex,
    last: Time,
    /// The packets, one behind the other.
    bytes: VecDeque<u8>,
    frames: VecDeque<Frame>,
    waits: Vec<Wait>,
}

impl Queue {
    fn new(now: Time, sender: SenderIndex) -> Self {
        Self {
            sender,
            last: now,
            bytes: VecDeque::with_capacity(MAX_SENDER_BYTES),
            frames: VecDeque::with_capacity(MAX_FRAMES),
            waits: Vec::with_capacity(MAX_EPOCHS),
        }
    }

    /// The same room for another sender.
    fn begin(&mut self, now: Time, sender: SenderIndex) {
        self.bytes.clear();
        self.frames.clear();
        self.waits.clear();
        (self.sender, self.last) = (sender, now);
    }

    /// Returns how many others were dropped for it.
    fn keep(&mut self, now: Time, order: u64, id: KeyId, packet: &[u8]) -> u64 {
        let mut dropped = self.sweep(now);
        while self.frames.len() >= MAX_FRAMES || self.bytes.len() + packet.len() > MAX_SENDER_BYTES {
            match self.pop() {
                Some(frame) => dropped += u64::from(!frame.taken),
                None => break,
            }
        }
        self.bytes.extend(packet);
        self.frames.push_back(Frame { id, at: now, order, length: packet.len(), taken: false });
        self.last = now;
        self.wait(now, id.epoch);
        dropped
    }

    fn wait(&mut self, now: Time, epoch: u8) {
        if let Some(wait) = self.waits.iter_mut().find(|wait| wait.epoch == epoch) {
            // Eight bits come round again: after a pause it is another epoch.
            if wait.told.is_some() && now.since(wait.last) >= OVER {
                *wait = Wait::new(now, epoch);
            }
            wait.last = now;
            return;
        }
        if self.waits.len() >= MAX_EPOCHS
            && let Some(oldest) = self.waits.iter_mut().min_by_key(|wait| wait.last)
        {
            *oldest = Wait::new(now, epoch);
            return;
        }
        self.waits.push(Wait::new(now, epoch));
    }

    fn take(&mut self, place: usize, out: &mut [u8]) -> Option<Taken> {
        let offset: usize = self.frames.iter().take(place).map(|frame| frame.length).sum();
        let frame = self.frames.get_mut(place)?;
        frame.taken = true;
        let taken = Taken { id: frame.id, at: frame.at, length: frame.length };
        self.waits.retain(|wait| wait.epoch != taken.id.epoch);
        let bytes = self.bytes.iter().skip(offset).take(taken.length);
        out.get_mut(..taken.length)?.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        Some(taken)
    }

    /// Drops what is too old and returns how much that was.
    fn sweep(&mut self, now: Time) -> u64 {
        let mut dropped = 0;
        while self.frames.front().is_some_and(|frame| frame.taken || now.since(frame.at) >= WINDOW) {
            dropped += u64::from(self.pop().is_some_and(|frame| !frame.taken));
        }
        dropped
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes.drain(..frame.length.min(self.bytes.len()));
        Some(frame)
    }

    fn overdue(&mut self, now: Time) -> Option<Overdue> {
        self.waits.retain(|wait| wait.told.is_none() || now.since(wait.last) < OVER);
        let wait = self.waits.iter_mut().find(|wait| wait.due().is_some_and(|due| due <= now))?;
        wait.told = Some(now);
        Some(Overdue { sender: self.sender, epoch: wait.epoch, since: wait.since })
    }

    fn waiting(&self) -> u64 {
        self.frames.iter().filter(|frame| !frame.taken).count() as u64
    }

    fn end(&self) -> Option<Time> {
        // The oldest frames may go with the newest: one awakening for all of them.
        let frames = self.frames.back().map(|frame| frame.at + WINDOW);
        self.waits.iter().filter_map(Wait::due).chain(frames).min()
    }
}

#[cfg(test)]
mod tests;
