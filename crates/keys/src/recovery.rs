//! The recovery key: 256 random bits, shown once, written down by a person.

use core::fmt;

use crate::digest::sha256;
use crate::secret::Secret;

/// Crockford's base 32: no I, L, O or U to be misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 256 bits and 24 bits of checksum are 56 digits: fourteen groups of four.
const DIGITS: usize = 56;

/// A recovery key (rule ID-6). Printed only by [`RecoveryKey::to_text`].
pub struct RecoveryKey(Secret<32>);

/// A text that is no recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// Not 56 digits, or a character that no digit looks like.
    #[error("a recovery key has 14 groups of 4 letters and digits")]
    Shape,
    /// The checksum does not match: something was misread.
    #[error("the recovery key has a mistake in it: compare it with your note, group by group")]
    Checksum,
}

impl RecoveryKey {
    /// Draws a fresh one.
    pub fn generate(rng: &mut impl rand_core::CryptoRng) -> Self {
        Self(Secret::random(rng))
    }

    pub(crate) const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Fourteen groups of four digits, the last five digits a checksum.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Room for all of it from the start: growing would leave the key behind in freed memory.
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(35));
        bytes.extend_from_slice(self.0.expose());
        bytes.extend_from_slice(sha256(&[self.0.expose()]).get(..3).unwrap_or_default());
        let mut text = String::with_capacity(DIGITS + DIGITS / 4);
        for five in bytes.chunks(5) {
            let value = five.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            for shift in (0..8).rev() {
                if text.len() % 5 == 4 {
                    text.push('-');
                }
                let digit = (value >> (shift * 5)) & 31;
                text.push(usize::try_from(digit).ok().and_then(|i| ALPHABET.get(i)).map_or('?', |d| char::from(*d)));
            }
        }
        text
    }

    /// Reads what a person typed: any case, any spacing, O for 0 and I or L for 1.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub fn parse(text: &str) -> Result<Self, RecoveryError> {
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(35));
        let (mut value, mut count) = (0_u64, 0);
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let c = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let digit = ALPHABET.iter().position(|d| char::from(*d) == c).ok_or(RecoveryError::Shape)?;
            value = value << 5 | u64::try_from(digit).unwrap_or_default();
            count += 1;
            if count % 8 == 0 {
                bytes.extend_from_slice(value.to_be_bytes().get(3..).unwrap_or_default());
                value = 0;
            }
            if count > DIGITS {
                return Err(RecoveryError::Shape);
            }
        }
        if count != DIGITS {
            return Err(RecoveryError::Shape);
        }
        let (key, check) = bytes.split_at(32);
        if sha256(&[key]).get(..3) != Some(check) {
            return Err(RecoveryError::Checksum);
        }
        Secret::from_slice(key).map(Self).ok_or(RecoveryError::Shape)
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn id_6_recovery_key_survives_a_person() {
        let key = RecoveryKey::generate(&mut SeededRng::new(3));
        let text = key.to_text();
        assert_eq!(text.len(), 69);
        let sloppy = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(RecoveryKey::parse(&sloppy).unwrap().expose(), key.expose());
        let wrong = if text.starts_with('7') { "8" } else { "7" };
        assert_eq!(RecoveryKey::parse(&format!("{wrong}{}", &text[1..])).unwrap_err(), RecoveryError::Checksum);
        assert_eq!(RecoveryKey::parse(&text[1..]).unwrap_err(), RecoveryError::Shape);
        assert_eq!(RecoveryKey::parse(&format!("{text}0")).unwrap_err(), RecoveryError::Shape);
        assert_eq!(RecoveryKey::parse("\u{1f600}").unwrap_err(), RecoveryError::Shape);
    }
}
