//! The code by which a person tells a device they hold which new device to let in (rule ID-6).
//!
//! A device id is half of the hash of the device's identity key, so whoever copies the code copies which key is meant:
//! no server in between can put another in its place.

use crate::DeviceId;
use crate::base32;

/// Bytes of checksum behind the 16 of the id: a digit that was misread is noticed.
const CHECK: usize = 4;

/// A new device's code: 32 digits of Crockford's base 32 in eight groups of four.
#[must_use]
pub fn to_text(device: DeviceId) -> String {
    base32::to_text(device.as_bytes(), CHECK)
}

/// Reads what a person typed: any case, any spacing. `None` where it is no such code, or has a mistake in it.
#[must_use]
pub fn parse(text: &str) -> Option<DeviceId> {
    base32::parse::<16>(text, CHECK).ok().map(|bytes| DeviceId::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_6_a_pairing_code_survives_a_person_and_no_mistake() {
        let device = DeviceId::from_bytes(*b"sixteen bytes id");
        let text = to_text(device);
        assert_eq!((text.len(), text.split('-').count()), (39, 8));
        assert_eq!(parse(&text.to_lowercase().replace('-', " ")), Some(device));
        for (i, digit) in text.char_indices().filter(|(_, digit)| *digit != '-') {
            let other = if digit == '7' { "8" } else { "7" };
            let mut wrong = text.clone();
            wrong.replace_range(i..=i, other);
            assert_eq!(parse(&wrong), None, "digit {i}");
        }
        assert_eq!((parse(""), parse(&text[1..]), parse(&format!("{text}0"))), (None, None, None));
    }
}
