//! Moments as people write them.

use undertone_keys::WallTime;

/// Such as `2026-11-26 06:56 UTC`.
#[must_use]
pub fn utc(time: WallTime) -> String {
    let seconds = time.as_unix();
    let (day, minute) = (seconds / 86_400, seconds / 60 % 1_440);
    // Days since 1 March of the year 0, in eras of 400 years: each then ends with its leap day.
    let day = day.saturating_add(719_468);
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!("{:04}-{month:02}-{date:02} {:02}:{:02} UTC", year + era * 400, minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_people_do() {
        let written = |seconds| utc(WallTime::from_unix(seconds));
        assert_eq!(written(0), "1970-01-01 00:00 UTC");
        assert_eq!(written(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(written(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(written(4_107_542_400), "2100-03-01 00:00 UTC");
        assert_eq!(written(1_795_676_173), "2026-11-26 06:56 UTC");
        assert!(written(u64::MAX).ends_with("UTC"));
    }
}
