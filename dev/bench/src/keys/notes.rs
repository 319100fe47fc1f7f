//! What is noted of a member while it goes on, and what is read from that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Milliseconds of sound in a frame: frames are numbered by when they were captured.
pub(super) const FRAME_MS: u32 = 20;
/// Frames that are noted of one join at most: an hour. What a packet says of itself is not believed further.
const MOST: usize = 180_000;

/// What became of a frame at its speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It left.
    Sent,
    /// There was nothing to seal it with.
    Unsealed,
    /// It was sealed, and the connection did not take it.
    Unsent,
}

/// What became of it at a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ear {
    /// It never came.
    #[default]
    Nothing,
    /// It came and has not opened.
    Came,
    /// It opened.
    Opened,
}

/// A key that was lost on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub(super) at: Instant,
    /// When the first frame after it opened.
    pub(super) opened: Option<Instant>,
    /// The round trip to the relay then, as QUIC measures it.
    pub(super) round_trip: Duration,
}

/// Of one member.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Its index, while it is in.
    pub(super) index: Option<u16>,
    pub(super) host: bool,
    /// What it seals under since when, in its present join.
    pub(super) epochs: Vec<(u32, Instant)>,
    /// When it began to leave last.
    pub(super) left: Option<Instant>,
    /// Its frames by their number: when they were due, and what became of them.
    pub(super) said: Vec<(Instant, Said)>,
    /// Others' frames, by index and number.
    pub(super) heard: HashMap<u16, Vec<Ear>>,
    pub(super) losses: Vec<Loss>,
    /// Why it can go on no longer.
    pub(super) fault: Option<String>,
}

/// Shared by the member that writes and whoever reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Notebook(Arc<Mutex<Notes>>);

impl Notebook {
    pub(super) fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// A new join begins: what was noted of the one before is of no use any more.
    pub(super) fn join(&mut self) {
        *self = Self { losses: std::mem::take(&mut self.losses), fault: self.fault.take(), ..Self::default() };
    }

    /// A frame with this capture time came, or opened.
    pub(super) fn hear(&mut self, sender: u16, captured_ms: u32, ear: Ear) {
        let Ok(number) = usize::try_from(captured_ms / FRAME_MS) else { return };
        if number >= MOST {
            return;
        }
        let heard = self.heard.entry(sender).or_default();
        if heard.len() <= number {
            heard.resize(number + 1, Ear::Nothing);
        }
        if let Some(noted) = heard.get_mut(number)
            && *noted != Ear::Opened
        {
            *noted = ear;
        }
    }

    /// What it seals under now.
    pub(super) fn epoch(&self) -> Option<u32> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    /// Since when it has sealed under something newer than this.
    pub(super) fn beyond(&self, epoch: u32) -> Option<Instant> {
        self.epochs.iter().find(|(newer, _)| *newer > epoch).map(|(_, at)| *at)
    }
}

/// Frames of some speakers that were due within a time, each counted once for everybody who should hear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    /// How many there should have been.
    pub(super) due: u64,
    /// Nothing to seal with.
    pub(super) unsealed: u64,
    /// Came and never opened.
    pub(super) unopened: u64,
    /// Lost on the path: not taken by the connection, or never come.
    pub(super) astray: u64,
}

impl Frames {
    /// What a speaker said within this time, as one listener heard it.
    pub(super) fn between(said: &[(Instant, Said)], heard: &[Ear], from: Instant, to: Instant) -> Self {
        let mut frames = Self::default();
        for (number, (due, said)) in said.iter().enumerate() {
            if *due < from || *due >= to {
                continue;
            }
            frames.due += 1;
            match (said, heard.get(number).copied().unwrap_or_default()) {
                (Said::Unsealed, _) => frames.unsealed += 1,
                (Said::Sent, Ear::Opened) => {}
                (Said::Sent, Ear::Came) => frames.unopened += 1,
                (Said::Unsent, _) | (Said::Sent, Ear::Nothing) => frames.astray += 1,
            }
        }
        frames
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.due += other.due;
        self.unsealed += other.unsealed;
        self.unopened += other.unopened;
        self.astray += other.astray;
    }

    /// Never played for want of a key, at either end.
    pub(super) const fn without_key(&self) -> u64 {
        self.unsealed + self.unopened
    }
}

/// How long somebody would have waited with a machine of their own: less what the CPU was busy with for the other members, spread
/// over all CPUs. Never less than what is waited on purpose, nor more than it was.
pub(super) fn alone(took: Duration, cpu: Duration, members: u32, cpus: u32, waited: Duration) -> Duration {
    let (members, cpus) = (members.max(1), cpus.max(1));
    let others = cpu * (members - 1) / members / cpus;
    took.saturating_sub(others).max(waited).min(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_frame_that_came_and_did_not_open_is_no_loss_of_the_path() {
        let start = Instant::now();
        let due = |number: u64| start + ms(20 * number);
        let fates = [Said::Sent, Said::Sent, Said::Sent, Said::Unsealed, Said::Unsent, Said::Sent, Said::Sent];
        let said: Vec<_> = (0..).zip(fates).map(|(number, said)| (due(number), said)).collect();
        let mut notes = Notes::default();
        for number in [0, 1, 5] {
            notes.hear(7, number * FRAME_MS, Ear::Came);
        }
        notes.hear(7, 0, Ear::Opened);
        // A copy that comes later takes nothing back.
        notes.hear(7, 0, Ear::Came);
        let heard = notes.heard.get(&7).unwrap();
        let frames = Frames::between(&said, heard, due(0), due(7));
        assert_eq!(frames, Frames { due: 7, unsealed: 1, unopened: 2, astray: 3 });
        assert_eq!(frames.without_key(), 3);
        let some = Frames::between(&said, heard, due(1), due(3));
        assert_eq!(some, Frames { due: 2, unsealed: 0, unopened: 1, astray: 1 });
        let mut sum = frames;
        sum.add(some);
        assert_eq!((sum.due, sum.without_key()), (9, 4));
    }

    #[test]
    fn what_a_packet_says_of_itself_costs_no_memory() {
        let mut notes = Notes::default();
        notes.hear(1, u32::MAX, Ear::Came);
        assert!(notes.heard.is_empty());
    }

    #[test]
    fn a_member_is_beyond_an_epoch_since_the_first_newer_one() {
        let (mut notes, start) = (Notes::default(), Instant::now());
        notes.epochs = vec![(4, start), (6, start + ms(1)), (9, start + ms(2))];
        assert_eq!((notes.epoch(), notes.beyond(4)), (Some(9), Some(start + ms(1))));
        assert_eq!((notes.beyond(3), notes.beyond(9)), (Some(start), None));
    }

    #[test]
    fn a_machine_of_ones_own_is_spared_the_others_work_and_nothing_else() {
        // 200 members worked 300 ms in all; with two CPUs one waited for half of the others' 298.5 ms.
        assert_eq!(alone(ms(600), ms(300), 200, 2, ms(250)), Duration::from_micros(450_750));
        assert_eq!(alone(ms(300), ms(300), 200, 2, ms(250)), ms(250), "what is waited on purpose stays");
        assert_eq!(alone(ms(300), ms(300), 1, 2, ms(250)), ms(300), "alone there is nobody else's work");
        assert_eq!(alone(ms(200), ms(0), 0, 0, ms(250)), ms(200), "never more than it was");
    }
}
