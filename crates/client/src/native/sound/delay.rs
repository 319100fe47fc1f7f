//! Sound held back for a while.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Pcm, Sink, SoundError};
use crate::audio::{FRAME, FRAME_MS};

/// Plays what it is given some frames later, and silence until then.
pub(super) struct Delayed {
    sink: Box<dyn Sink>,
    held: VecDeque<Pcm>,
}

impl Delayed {
    pub(super) fn new(sink: Box<dyn Sink>, by: Duration) -> Self {
        let frames = by.as_millis() / u128::from(FRAME_MS);
        let held = core::iter::repeat_n([0; FRAME], usize::try_from(frames).unwrap_or_default()).collect();
        Self { sink, held }
    }
}

impl Sink for Delayed {
    fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
        self.held.push_back(*frame);
        self.held.pop_front().map_or(Ok(()), |frame| self.sink.write(&frame))
    }

    fn finish(&mut self) -> Result<(), SoundError> {
        self.sink.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Heard(Arc<Mutex<Vec<i16>>>);

    impl Sink for Heard {
        fn write(&mut self, frame: &Pcm) -> Result<(), SoundError> {
            self.0.lock().unwrap().push(frame[0]);
            Ok(())
        }
    }

    #[test]
    fn what_is_held_back_comes_in_order_and_late() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut sink = Delayed::new(Box::new(Heard(heard.clone())), Duration::from_millis(60));
        for number in 1..=5 {
            sink.write(&[number; FRAME]).unwrap();
        }
        assert_eq!(*heard.lock().unwrap(), [0, 0, 0, 1, 2]);
    }
}
