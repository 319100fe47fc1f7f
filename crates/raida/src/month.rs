//! When a coin was last changed: months since February 2023, in one byte (MFS). 0 says that the coin is free.

/// The month of a time in seconds since 1970, never 0: the first month, what is before it and a clock that is wrong count as 1, and from
/// April 2044 on it stays at 255 (the original wraps round, to "free").
#[must_use]
pub fn at(unix: u64) -> u8 {
    let (year, month) = civil(unix / 86_400);
    let months = (year.saturating_mul(12) + month).saturating_sub(2023 * 12 + 2);
    u8::try_from(months.clamp(1, 255)).unwrap_or(u8::MAX)
}

/// Year and month of a day since 1970 in the Gregorian calendar: of years that begin in March, so that the leap day is a year's last.
const fn civil(day: u64) -> (u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + (month <= 2) as u64, month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rkx_1_months_count_from_february_2023_and_are_never_zero() {
        // 2023-02-01, 2023-03-01, 2025-09-06, 2026-11-27, 2024-02-29, the last second of April 2044, the next, 2100-01-01
        for (unix, month) in [
            (0, 1),
            (1_675_209_600, 1),
            (1_677_628_800, 1),
            (1_757_116_800, 31),
            (1_795_737_600, 45),
            (1_709_164_800, 12),
            (2_345_673_599, 254),
            (2_345_673_600, 255),
            (4_102_444_800, 255),
            (u64::MAX / 2, 255),
        ] {
            assert_eq!(at(unix), month, "{unix}");
        }
    }
}
