//! The bit rate and the error correction that fit the path, from what the others say they hear and from round trips.
//!
//! The rate has steps, and between two changes it is constant: the size of a packet says nothing about what is said (rule
//! META-1), and what moves it is the network alone. Random loss is no reason to go down, since a higher rate leaves error
//! correction more room; congestion is.

use core::time::Duration;

use undertone_keys::Time;

/// Bits per second of the encoder, lowest first.
pub const STEPS: [u32; 3] = [16_000, 24_000, 32_000];
/// Loss, in percent, that the encoder prepares for at least: below this Opus sends no error correction.
const LEAST_EXPECTED: u32 = 10;
const MOST_EXPECTED: u32 = 30;
/// Two changes of the rate are so far apart at least.
const HOLD: Duration = Duration::from_secs(3);
/// So long all must be well before the rate goes up.
const CALM: Duration = Duration::from_secs(10);
/// The same after it went up and had to come down again soon.
const WARY: Duration = Duration::from_secs(60);
/// A round trip that is longer than the shortest by this is a full queue somewhere.
const QUEUE: Duration = Duration::from_millis(250);
/// With loss, by this.
const QUEUE_WITH_LOSS: Duration = Duration::from_millis(100);
/// And by less than this, none.
const NO_QUEUE: Duration = Duration::from_millis(50);

/// How the path does, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Percent of this device's frames that whoever hears it worst did not get.
    pub loss: Option<f32>,
    /// The round trip to the relay now.
    pub rtt: Duration,
    /// The shortest there was.
    pub least_rtt: Duration,
}

/// What the encoder is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Bits per second.
    pub bitrate: u32,
    /// Loss to prepare for, in percent.
    pub expected_loss: u32,
}

/// Decides, once a second.
#[derive(Debug)]
pub struct Adapter {
    step: usize,
    /// Smoothed.
    loss: f32,
    expected: u32,
    changed: Option<Time>,
    raised: Option<Time>,
    calm_since: Option<Time>,
    /// How long all must be well before the next rise.
    patience: Duration,
    /// Since when less loss is expected than before.
    lower_since: Option<Time>,
    suspicious: bool,
}

impl Default for Adapter {
    fn default() -> Self {
        Self {
            step: STEPS.len() - 1,
            loss: 0.0,
            expected: LEAST_EXPECTED,
            changed: None,
            raised: None,
            calm_since: None,
            patience: CALM,
            lower_since: None,
            suspicious: false,
        }
    }
}

impl Adapter {
    /// What holds now.
    #[must_use]
    pub fn setting(&self) -> Setting {
        let bitrate = STEPS.get(self.step).copied().unwrap_or(32_000);
        Setting { bitrate, expected_loss: self.expected }
    }

    /// Takes the news of a second; what holds from now on.
    pub fn update(&mut self, now: Time, link: Link) -> Setting {
        if let Some(loss) = link.loss {
            self.loss += (loss.clamp(0.0, 100.0) - self.loss) * 0.2;
        }
        self.expect(now);
        let queue = link.rtt.saturating_sub(link.least_rtt);
        let lossy = link.loss.is_some_and(|loss| loss > 10.0);
        let suspicious = lossy && queue > QUEUE_WITH_LOSS;
        // Twice in a row, where it might have been chance.
        let congested = queue > QUEUE || (suspicious && self.suspicious);
        self.suspicious = suspicious;
        let calm = self.loss < 2.0 && queue < NO_QUEUE;
        self.calm_since = if calm { Some(self.calm_since.unwrap_or(now)) } else { None };
        if self.changed.is_some_and(|at| now.since(at) < HOLD) {
            return self.setting();
        }
        if congested && self.step > 0 {
            self.patience = if self.raised.is_some_and(|at| now.since(at) < CALM) { WARY } else { CALM };
            self.step -= 1;
            self.changed = Some(now);
            self.calm_since = None;
        } else if self.step + 1 < STEPS.len() && self.calm_since.is_some_and(|since| now.since(since) >= self.patience)
        {
            self.step += 1;
            (self.changed, self.raised) = (Some(now), Some(now));
            self.calm_since = None;
        }
        self.setting()
    }

    /// More loss is prepared for at once, less only after a while.
    fn expect(&mut self, now: Time) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
        let wanted = (self.loss * 1.25) as u32;
        let wanted = wanted.next_multiple_of(5).clamp(LEAST_EXPECTED, MOST_EXPECTED);
        if wanted >= self.expected {
            (self.expected, self.lower_since) = (wanted, None);
        } else {
            let since = *self.lower_since.get_or_insert(now);
            if now.since(since) >= CALM {
                (self.expected, self.lower_since) = (wanted, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(loss: f32, rtt: u64) -> Link {
        Link { loss: Some(loss), rtt: Duration::from_millis(rtt), least_rtt: Duration::from_millis(20) }
    }

    /// The settings over so many seconds of the same path.
    fn run(adapter: &mut Adapter, from: u64, seconds: u64, link: Link) -> Vec<Setting> {
        (from..from + seconds).map(|second| adapter.update(Time::from_millis(second * 1000), link)).collect()
    }

    #[test]
    fn random_loss_brings_correction_and_no_lower_rate() {
        let mut adapter = Adapter::default();
        let settings = run(&mut adapter, 0, 60, link(15.0, 25));
        assert!(settings.iter().all(|setting| setting.bitrate == 32_000));
        assert_eq!(settings.last().unwrap().expected_loss, 20);
        // When it is over, it is prepared for a while longer.
        let after = run(&mut adapter, 60, 60, link(0.0, 25));
        assert_eq!(after[5].expected_loss, 20);
        assert_eq!(after.last().unwrap().expected_loss, 10);
    }

    #[test]
    fn congestion_lowers_the_rate_step_by_step_and_calm_raises_it() {
        let mut adapter = Adapter::default();
        let down = run(&mut adapter, 0, 20, link(12.0, 400));
        assert_eq!(down.last().unwrap().bitrate, 16_000);
        let changes = down.windows(2).filter(|pair| pair[0].bitrate != pair[1].bitrate).count();
        assert!(changes <= 2, "one step at a time");
        let up = run(&mut adapter, 20, 120, link(0.0, 22));
        assert_eq!(up.last().unwrap().bitrate, 32_000);
        let first = up.iter().position(|setting| setting.bitrate > 16_000).unwrap();
        assert!(first >= 10, "after {first} s already");
    }

    /// Up, and down again soon: the next attempt waits longer.
    #[test]
    fn a_rise_that_was_taken_back_makes_the_next_one_wait() {
        let mut adapter = Adapter::default();
        run(&mut adapter, 0, 20, link(12.0, 400));
        let mut now = 20;
        while adapter.setting().bitrate == 16_000 {
            run(&mut adapter, now, 1, link(0.0, 22));
            now += 1;
        }
        assert!(now < 60, "{now}");
        let down = run(&mut adapter, now, 5, link(12.0, 400));
        assert_eq!(down.last().unwrap().bitrate, 16_000);
        let wary = run(&mut adapter, now + 5, 120, link(0.0, 22));
        let first = wary.iter().position(|setting| setting.bitrate > 16_000).unwrap();
        assert!(first >= 60, "after {first} s already");
    }

    #[test]
    fn a_path_that_nobody_reports_on_is_left_as_it_is() {
        let mut adapter = Adapter::default();
        let before = adapter.setting();
        let quiet = Link { loss: None, ..link(0.0, 20) };
        assert!(run(&mut adapter, 0, 100, quiet).iter().all(|setting| *setting == before));
    }
}
