//! What members tell each other about how they hear each other, sealed like everything else.
//!
//! Four bytes for each sender: its index (u16, big-endian), the percentage of its frames of the last second that did not
//! come, times 2.55 and rounded, and a zero that is kept for later.

use core::time::Duration;

/// A word about hearing counts for so long.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// Senders in one report at most: it has to fit into a datagram.
pub(super) const MAX_SENDERS: usize = 200;

/// The payload of a report.
pub(super) fn encode(heard: &[(u16, f32)]) -> Vec<u8> {
    let one = |(sender, loss): &(u16, f32)| {
        let [s0, s1] = sender.to_be_bytes();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let loss = (loss * 2.55).round().clamp(0.0, 255.0) as u8;
        [s0, s1, loss, 0]
    };
    heard.iter().take(MAX_SENDERS).flat_map(one).collect()
}

/// What a report says about this sender.
pub(super) fn about(report: &[u8], sender: u16) -> Option<f32> {
    let entries = report.as_chunks::<4>().0.iter();
    let mut about = entries.filter(|[s0, s1, ..]| u16::from_be_bytes([*s0, *s1]) == sender);
    about.next().map(|[_, _, loss, _]| f32::from(*loss) / 2.55)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_put_into_it() {
        let report = encode(&[(3, 0.0), (7, 12.5), (65_535, 100.0), (9, 300.0)]);
        assert_eq!(about(&report, 3), Some(0.0));
        assert!((about(&report, 7).unwrap() - 12.5).abs() < 0.3);
        assert_eq!((about(&report, 65_535), about(&report, 9)), (Some(100.0), Some(100.0)));
        assert_eq!(about(&report, 4), None);
        // Whatever a member says instead, it is no more than a number or nothing.
        for cut in 0..report.len() {
            let _ = about(&report[..cut], 7);
        }
    }
}
