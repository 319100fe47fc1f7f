//! The replay window (rule MED-4).

/// How far behind the newest counter a frame may be.
pub const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// Which counters of one sender key were opened. Moved by authenticated frames only.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// The newest counter seen.
    newest: Option<u64>,
    /// Bit `c % 1024` stands for counter `c` of the last 1024.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Whether `counter` may still be opened. Asked before the tag is checked, changes nothing.
    #[must_use]
    pub fn is_fresh(&self, counter: u64) -> bool {
        match self.newest {
            Some(newest) if counter <= newest => newest - counter < WINDOW && !self.bit(counter),
            Some(_) | None => true,
        }
    }

    /// Marks `counter` as opened, after its tag was checked.
    pub fn mark(&mut self, counter: u64) {
        match self.newest {
            Some(newest) if counter <= newest => {}
            Some(newest) if counter - newest <= WINDOW => {
                (newest + 1..counter).for_each(|skipped| self.set(skipped, false));
                self.newest = Some(counter);
            }
            Some(_) | None => {
                self.seen = [0; WORDS];
                self.newest = Some(counter);
            }
        }
        self.set(counter, true);
    }

    fn position(counter: u64) -> (usize, u64) {
        let bit = counter % WINDOW;
        (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
    }

    fn bit(&self, counter: u64) -> bool {
        let (word, mask) = Self::position(counter);
        self.seen.get(word).is_some_and(|word| word & mask != 0)
    }

    fn set(&mut self, counter: u64, on: bool) {
        let (word, mask) = Self::position(counter);
        if let Some(word) = self.seen.get_mut(word) {
            if on { *word |= mask } else { *word &= !mask }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a model that remembers everything.
        #[test]
        fn med_4_each_counter_opens_once(steps in proptest::collection::vec((0_u64..3000, any::<bool>()), 1..600)) {
            let (mut window, mut model, mut newest) = (ReplayWindow::default(), BTreeSet::new(), None::<u64>);
            let mut base = 0;
            for (step, jump) in steps {
                let counter = if jump { base += step; base } else { base.saturating_sub(step % 1100) };
                let expected = !model.contains(&counter)
                    && newest.is_none_or(|newest| counter > newest || newest - counter < WINDOW);
                prop_assert_eq!(window.is_fresh(counter), expected);
                if expected {
                    window.mark(counter);
                    model.insert(counter);
                    newest = newest.max(Some(counter));
                }
            }
        }
    }

    #[test]
    fn med_4_the_last_counter_does_not_wrap() {
        let mut window = ReplayWindow::default();
        window.mark(u64::MAX);
        assert!(!window.is_fresh(u64::MAX), "the last counter opens once");
        let mut window = ReplayWindow::default();
        window.mark(u64::MAX - 1);
        assert!(!window.is_fresh(u64::MAX - 1));
        assert!(window.is_fresh(u64::MAX - 2));
    }
}
