//! What a person is told about how each participant comes in (rule EKR-8): heard, or why not.
//!
//! ```text
//! reception.handle_input(now, Input::Opened(key_id))              what came in, and what became of it
//! while let Some(output) = reception.poll_output() { .. }          what is told
//! reception.poll_timeout()                                         when to come back with Input::Tick
//! ```
//!
//! A track is one source of one participant: a sender index and a context. What does not open says little by itself: a
//! key may come a moment after the first frames under it, and anybody on the way can send junk in a participant's name.
//! So nothing is told before a track has been without a frame that opened for [`GRACE`].

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use undertone_keys::Time;
use undertone_media::key_id::SenderIndex;
use undertone_media::{Context, KeyId, ring};

/// Whoever sends nothing for so long is not sending: sound has fifty frames in that time, pauses included.
pub const SILENT: Duration = Duration::from_secs(1);
/// Frames that do not open are told of after this. Whoever has just come in is never given the key that the others use, and
/// they take the next 250 ms after it was drawn: nobody needs to hear of that.
pub const GRACE: Duration = Duration::from_millis(500);
/// A key that has not come after this does not come: a request is over by then (EKR-3).
pub const IN_VAIN: Duration = Duration::from_secs(10);
/// After so long of nothing but failed tags the statement about the epoch is asked for (EKR-1).
pub const STATEMENT: Duration = Duration::from_secs(3);
/// Tracks of one participant: what a ring opens.
pub const MAX_TRACKS: usize = ring::MAX_CONTEXTS;

/// Why a frame did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// There is no key for its epoch; it may be kept.
    NoKey,
    /// The tag failed under a key that is here.
    Forged,
    /// It disagrees with itself.
    Malformed,
}

/// What is told about a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its frames open.
    Ok,
    /// Since then frames come whose key is not here; it may yet come.
    WaitingSince(Time),
    /// Frames come under an epoch whose key does not come: it was asked for in vain.
    WrongEpoch,
    /// A key is missing, and whoever could give it is gone.
    HostGone,
    /// A key is missing, and was refused to this device.
    Denied,
    /// What comes fails under the key of its epoch.
    Forged,
    /// Nothing comes.
    NotSending,
}

/// Where this device stands with whoever gives the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The host is there, or needs not be.
    pub host_present: bool,
    /// A request for a key is under way since then.
    pub asked: Option<Time>,
    /// The last request was refused.
    pub denied: bool,
}

impl Default for KeyState {
    fn default() -> Self {
        Self { host_present: true, asked: None, denied: false }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// A participant is in who may be heard: main audio is to come.
    Expected(SenderIndex),
    /// A frame opened, be it one that was kept.
    Opened(KeyId),
    /// A frame did not open, so far.
    Unopened(KeyId, Unopened),
    /// A participant is gone.
    Gone(SenderIndex),
    /// This device is in the room (again): that nothing came meanwhile is nobody's silence.
    Here,
    /// Something about the keys has changed.
    Keys(KeyState),
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Another reason holds for a track.
    Changed {
        /// Whose.
        index: SenderIndex,
        /// Which of its sources.
        context: Context,
        /// What holds now.
        reason: Reason,
    },
    /// A track is heard again, or for the first time, after frames of it did not open.
    Recovered {
        /// Whose.
        index: SenderIndex,
        /// Which of its sources.
        context: Context,
        /// From the first frame that would not open to the first that did; frames that were kept count for both.
        ms: u64,
    },
    /// Nothing but forgeries from anybody: the key of this epoch may be another than the others have, so its statement is
    /// to be asked for. Said once until something opens.
    AskStatement,
    /// Nothing but forgeries from this participant, though others may open: the two may have been given two keys under one
    /// number. Said once until something of it opens.
    Doubt(SenderIndex),
}

/// All tracks of a room.
#[derive(Debug, Default)]
pub struct Reception {
    tracks: BTreeMap<(SenderIndex, Context), Track>,
    keys: KeyState,
    failing: Failing,
    failing_by: BTreeMap<SenderIndex, Failing>,
    outputs: VecDeque<Output>,
}

/// Failed tags in a row.
#[derive(Debug, Default)]
struct Failing {
    /// Since when, and the last.
    row: Option<(Time, Time)>,
    said: bool,
}

impl Failing {
    /// One more. Whether it is to be said now that there was nothing else for [`STATEMENT`].
    fn goes_on(&mut self, now: Time) -> bool {
        let row = self.row.filter(|(_, last)| now.since(*last) < SILENT);
        let since = row.map_or(now, |(since, _)| since);
        self.row = Some((since, now));
        now.since(since) >= STATEMENT && !core::mem::replace(&mut self.said, true)
    }
}

impl Reception {
    /// Takes an input.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        match input {
            Input::Expected(index) => {
                self.tracks.entry((index, Context::MAIN_AUDIO)).or_insert_with(|| Track::new(now));
            }
            Input::Opened(id) => {
                self.failing = Failing::default();
                self.failing_by.remove(&id.sender);
                let Some(track) = self.track(now, id, true) else { return };
                if let Some(ms) = track.opened(now, id.epoch) {
                    self.outputs.push_back(Output::Recovered { index: id.sender, context: id.context, ms });
                }
                self.settle_one(now, id);
            }
            Input::Unopened(id, why) => {
                if why == Unopened::Forged {
                    self.failed(now, id.sender);
                }
                let answered = self.keys.asked.is_none();
                if let Some(track) = self.track(now, id, false) {
                    track.unopened(now, id.epoch, why, answered);
                    self.settle_one(now, id);
                }
            }
            Input::Gone(index) => {
                self.tracks.retain(|(sender, _), _| *sender != index);
                self.failing_by.remove(&index);
            }
            Input::Here => self.tracks.values_mut().for_each(|track| track.arrived = now),
            Input::Keys(keys) if keys == self.keys => {}
            Input::Keys(keys) => {
                self.keys = keys;
                self.settle(now);
            }
            Input::Tick => self.settle(now),
        }
    }

    /// The next thing to tell. `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.tracks.values().filter_map(|track| track.next_change(self.keys)).min()
    }

    /// What holds for a track, once something was told.
    #[must_use]
    pub fn reason(&self, index: SenderIndex, context: Context) -> Option<Reason> {
        self.tracks.get(&(index, context)).and_then(|track| track.told)
    }

    /// The track that a key id names. Only a frame that opened proves that there is one: others get a place for as long
    /// as there is room, and give it back to it.
    fn track(&mut self, now: Time, id: KeyId, proven: bool) -> Option<&mut Track> {
        let place = (id.sender, id.context);
        if !self.tracks.contains_key(&place) {
            let all = (id.sender, Context(0))..=(id.sender, Context(u16::MAX));
            if self.tracks.range(all.clone()).count() >= MAX_TRACKS {
                let idle = |(place, track): &(&(SenderIndex, Context), &Track)| !track.is_lasting(place.1);
                let idle = self.tracks.range(all).find(idle).map(|(place, _)| *place);
                self.tracks.remove(&idle.filter(|_| proven)?);
            }
        }
        Some(self.tracks.entry(place).or_insert_with(|| Track::new(now)))
    }

    fn failed(&mut self, now: Time, sender: SenderIndex) {
        if self.failing_by.entry(sender).or_default().goes_on(now) {
            self.outputs.push_back(Output::Doubt(sender));
        }
        if self.failing.goes_on(now) {
            self.outputs.push_back(Output::AskStatement);
        }
    }

    fn settle_one(&mut self, now: Time, id: KeyId) {
        let (index, context, keys) = (id.sender, id.context, self.keys);
        let changed = self.tracks.get_mut(&(index, context)).and_then(|track| track.settle(now, keys));
        self.outputs.extend(changed.map(|reason| Output::Changed { index, context, reason }));
    }

    fn settle(&mut self, now: Time) {
        let (keys, outputs) = (self.keys, &mut self.outputs);
        self.tracks.retain(|(index, context), track| {
            // Junk in the name of a source that nobody has heard of is not worth a word when it is over.
            let known = track.is_lasting(*context) || track.told.is_some();
            if let Some(reason) = track.settle(now, keys).filter(|reason| known || *reason != Reason::NotSending) {
                outputs.push_back(Output::Changed { index: *index, context: *context, reason });
            }
            track.is_lasting(*context) || track.told != Some(Reason::NotSending)
        });
    }
}

/// Frames that do not open, since the last that settled it.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    why: Unopened,
    epoch: u8,
    since: Time,
    last: Time,
    /// A key was asked for meanwhile.
    asked: bool,
    /// That is over, and a frame without a key has come since.
    in_vain: bool,
    /// It was told.
    told: bool,
}

/// One source of one participant.
#[derive(Debug)]
struct Track {
    /// When something came last, or was to come from.
    arrived: Time,
    opened: Option<Time>,
    trouble: Option<Trouble>,
    told: Option<Reason>,
}

impl Track {
    const fn new(now: Time) -> Self {
        Self { arrived: now, opened: None, trouble: None, told: None }
    }

    /// Whether it stays though nothing comes: it was heard, or is what everybody has.
    fn is_lasting(&self, context: Context) -> bool {
        self.opened.is_some() || context == Context::MAIN_AUDIO
    }

    /// Returns for how many milliseconds it was not heard, if this ends that.
    fn opened(&mut self, now: Time, epoch: u8) -> Option<u64> {
        (self.arrived, self.opened) = (now, Some(now));
        let trouble = self.trouble?;
        // A frame under another epoch ends a trouble only if that was one: till then the two may have changed places on
        // the way, or the one without a key is somebody's junk.
        let ends = trouble.told || (trouble.why == Unopened::NoKey && trouble.epoch == epoch);
        if ends || now.since(trouble.last) >= GRACE {
            self.trouble = None;
        }
        let passed = now.since(trouble.since).as_millis();
        ends.then(|| u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn unopened(&mut self, now: Time, epoch: u8, why: Unopened, answered: bool) {
        self.arrived = now;
        let new = Trouble { why, epoch, since: now, last: now, asked: false, in_vain: false, told: false };
        let trouble = self.trouble.get_or_insert(new);
        (trouble.why, trouble.epoch, trouble.last) = (why, epoch, now);
        trouble.in_vain |= trouble.asked && answered;
    }

    /// Since when a trouble counts: the last frame that opened was not part of it.
    fn counts_from(&self, trouble: &Trouble) -> Time {
        trouble.since.max(self.opened.unwrap_or_default()) + GRACE
    }

    /// What holds, where that is another than was told.
    fn settle(&mut self, now: Time, keys: KeyState) -> Option<Reason> {
        let silent = now.since(self.arrived) >= SILENT;
        let from = self.trouble.as_ref().map(|trouble| self.counts_from(trouble));
        if let Some(trouble) = &mut self.trouble
            && keys.asked.is_some()
        {
            (trouble.asked, trouble.in_vain) = (true, false);
        }
        let counted = self.trouble.as_mut().filter(|_| from.is_some_and(|from| from <= now));
        if counted.is_none() && !silent && self.opened.is_none_or(|opened| now.since(opened) >= SILENT) {
            // Something is to come, or has just come and may open yet.
            return None;
        }
        let reason = reason(silent, counted.as_deref(), keys, now);
        if let Some(trouble) = counted {
            trouble.told |= !silent;
        }
        (self.told.replace(reason) != Some(reason)).then_some(reason)
    }

    /// When [`Self::settle`] may say something else though nothing has come.
    fn next_change(&self, keys: KeyState) -> Option<Time> {
        let silent = (self.told != Some(Reason::NotSending)).then(|| self.arrived + SILENT);
        let Some(trouble) = self.trouble.filter(|_| self.told != Some(Reason::NotSending)) else { return silent };
        let waiting = matches!(self.told, Some(Reason::WaitingSince(_))) && keys.asked.is_none();
        let counts = (!trouble.told).then(|| self.counts_from(&trouble));
        [silent, counts, waiting.then(|| trouble.since + IN_VAIN)].into_iter().flatten().min()
    }
}

/// The one table: what holds for a track.
fn reason(silent: bool, trouble: Option<&Trouble>, keys: KeyState, now: Time) -> Reason {
    match (silent, trouble) {
        (true, _) => Reason::NotSending,
        (false, None) => Reason::Ok,
        (false, Some(Trouble { why: Unopened::Forged | Unopened::Malformed, .. })) => Reason::Forged,
        (false, Some(Trouble { why: Unopened::NoKey, since, in_vain, .. })) => match keys {
            KeyState { host_present: false, .. } => Reason::HostGone,
            KeyState { denied: true, asked: None, .. } => Reason::Denied,
            KeyState { asked: None, .. } if *in_vain || now.since(*since) >= IN_VAIN => Reason::WrongEpoch,
            _ => Reason::WaitingSince(*since),
        },
    }
}

#[cfg(test)]
mod tests;
