//! The short authentication string (rule CALL-4): what two people read to each other to know that nobody sits
//! between them.
//!
//! The caller commits to its random half in the invite, the callee sends its half with the answer, the caller opens
//! its own with the confirmation. Neither can choose a half knowing the other's, so an attacker has one guess in
//! 2^42 (emoji) or 10^12 (digits).

use core::fmt;

use subtle::ConstantTimeEq;

use crate::CallId;
use crate::call_agreement::{SasKey, Transcript};
use crate::digest::labelled_sha256;
use crate::hkdf::{Prk, Sha256};
use crate::labels;
use crate::secret::Secret;

/// One side's random half: 32 bytes, not secret once opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Half([u8; 32]);

impl Half {
    /// Draws a fresh one.
    pub fn random(rng: &mut impl rand_core::CryptoRng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The half with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The commitment to this half within one call.
    #[must_use]
    pub fn commit(&self, call: &CallId) -> [u8; 32] {
        labelled_sha256(labels::SAS_COMMITMENT, &[call.as_bytes(), &self.0])
    }

    /// Whether this half is the one committed to.
    #[must_use]
    pub fn opens(&self, commitment: &[u8; 32], call: &CallId) -> bool {
        self.commit(call).ct_eq(commitment).into()
    }
}

/// What both sides show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sas {
    emoji: u64,
    digits: u64,
}

impl Sas {
    /// Derives it once both halves are open.
    #[must_use]
    pub fn derive(key: &SasKey, transcript: &Transcript, caller: &Half, callee: &Half) -> Self {
        let prk = Prk::<Sha256>::extract(transcript.as_bytes(), &[key.0.expose()]);
        let bytes: Secret<16> = prk.derive(labels::SAS_TEXT, &[&caller.0, &callee.0]);
        let value = u128::from_be_bytes(*bytes.expose());
        let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
        Self { emoji: half(value >> 64) >> (64 - 42), digits: half(value) % 1_000_000_000_000 }
    }

    /// Seven pictures and their names.
    #[must_use]
    pub fn emoji(&self) -> [(&'static str, &'static str); 7] {
        core::array::from_fn(|i| {
            let index = (self.emoji >> (6 * (6 - i))) & 63;
            usize::try_from(index).ok().and_then(|i| EMOJI.get(i)).copied().unwrap_or(("?", "?"))
        })
    }

    /// Three groups of four digits.
    #[must_use]
    pub fn digits(&self) -> [u16; 3] {
        let group = |value: u64| u16::try_from(value % 10_000).unwrap_or_default();
        [group(self.digits / 100_000_000), group(self.digits / 10_000), group(self.digits)]
    }
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Half")
    }
}

impl fmt::Display for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.digits();
        write!(f, "{a:04} {b:04} {c:04}")
    }
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sas")
    }
}

/// Sixty-four pictures that differ in shape, colour and name.
const EMOJI: [(&str, &str); 64] = [
    ("🐶", "dog"),
    ("🐱", "cat"),
    ("🦁", "lion"),
    ("🐎", "horse"),
    ("🦄", "unicorn"),
    ("🐷", "pig"),
    ("🐘", "elephant"),
    ("🐰", "rabbit"),
    ("🐼", "panda"),
    ("🐓", "rooster"),
    ("🐧", "penguin"),
    ("🐢", "turtle"),
    ("🐟", "fish"),
    ("🐙", "octopus"),
    ("🦋", "butterfly"),
    ("🌷", "flower"),
    ("🌳", "tree"),
    ("🌵", "cactus"),
    ("🍄", "mushroom"),
    ("🌏", "globe"),
    ("🌙", "moon"),
    ("☁️", "cloud"),
    ("🔥", "fire"),
    ("🍌", "banana"),
    ("🍎", "apple"),
    ("🍓", "strawberry"),
    ("🌽", "corn"),
    ("🍕", "pizza"),
    ("🎂", "cake"),
    ("❤️", "heart"),
    ("🙂", "smiley"),
    ("🤖", "robot"),
    ("🎩", "hat"),
    ("👓", "glasses"),
    ("🔧", "spanner"),
    ("🎅", "santa"),
    ("👍", "thumbs up"),
    ("☂️", "umbrella"),
    ("⌛", "hourglass"),
    ("⏰", "clock"),
    ("🎁", "gift"),
    ("💡", "light bulb"),
    ("📕", "book"),
    ("✏️", "pencil"),
    ("📎", "paperclip"),
    ("✂️", "scissors"),
    ("🔒", "lock"),
    ("🔑", "key"),
    ("🔨", "hammer"),
    ("☎️", "telephone"),
    ("🏁", "flag"),
    ("🚂", "train"),
    ("🚲", "bicycle"),
    ("✈️", "aeroplane"),
    ("🚀", "rocket"),
    ("🏆", "trophy"),
    ("⚽", "ball"),
    ("🎸", "guitar"),
    ("🎺", "trumpet"),
    ("🔔", "bell"),
    ("⚓", "anchor"),
    ("🎧", "headphones"),
    ("📁", "folder"),
    ("📌", "pin"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn call_4_a_half_opens_its_own_commitment_in_its_own_call_only() {
        let rng = &mut SeededRng::new(4);
        let (half, other) = (Half::random(rng), Half::random(rng));
        let (call, elsewhere) = (CallId::random(rng), CallId::random(rng));
        let commitment = half.commit(&call);
        assert!(half.opens(&commitment, &call));
        assert!(!other.opens(&commitment, &call));
        assert!(!half.opens(&commitment, &elsewhere));
    }

    #[test]
    fn call_4_pictures_are_distinct() {
        for (i, (picture, name)) in EMOJI.iter().enumerate() {
            assert!(EMOJI[..i].iter().all(|(p, n)| p != picture && n != name), "{name} stands twice");
        }
    }
}
