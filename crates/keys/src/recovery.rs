//! The recovery key: 256 random bits, shown once, written down by a person.

use core::fmt;

use crate::base32::{self, Unread};
use crate::digest::labelled_sha256;
use crate::hkdf::{Prk, Sha256};
use crate::labels;
use crate::name::UserId;
use crate::secret::Secret;
use crate::sign::{Recovery, Signature, SigningKey, VerifyingKey};

/// Bytes of checksum behind the key: 256 bits and 24 are 56 digits, fourteen groups of four.
const CHECK: usize = 3;

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

    /// Fourteen groups of four digits of Crockford's base 32, the last five digits a checksum.
    #[must_use]
    pub fn to_text(&self) -> String {
        base32::to_text(self.0.expose(), CHECK)
    }

    /// Reads what a person typed: any case, any spacing, O for 0 and I or L for 1.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub fn parse(text: &str) -> Result<Self, RecoveryError> {
        let bytes = base32::parse::<32>(text, CHECK)?;
        Ok(Self(Secret::filled_by(|out| out.copy_from_slice(&*bytes))))
    }

    /// The key that shows a server that this recovery key is at hand, for the account of `user`. It signs nothing else, and
    /// neither opens the account key nor is opened by it.
    #[must_use]
    pub fn signer(&self, user: &UserId) -> SigningKey<Recovery> {
        let seed = Prk::<Sha256>::extract(&[], &[self.expose()]);
        SigningKey::from_seed(seed.derive(labels::RECOVERY_SIGNER, &[user.as_str().as_bytes()]))
    }
}

/// Answers a server's challenge: whoever holds the recovery key of `user` signs in at the server of `domain`.
#[must_use]
pub fn sign_in(key: &SigningKey<Recovery>, domain: &str, user: &UserId, nonce: &[u8; 32]) -> Signature {
    key.sign(labels::RECOVERY_SIGN_IN, &signed_in(domain, user, nonce))
}

/// Whether this is the holder of the recovery key, and the answer to this challenge.
#[must_use]
pub fn is_signed_in(
    key: &VerifyingKey<Recovery>,
    domain: &str,
    user: &UserId,
    nonce: &[u8; 32],
    signature: &Signature,
) -> bool {
    key.verify(labels::RECOVERY_SIGN_IN, &signed_in(domain, user, nonce), signature).is_ok()
}

fn signed_in(domain: &str, user: &UserId, nonce: &[u8; 32]) -> [u8; 32] {
    labelled_sha256(labels::RECOVERY_SIGN_IN, &[domain.as_bytes(), user.as_str().as_bytes(), nonce])
}

impl From<Unread> for RecoveryError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Shape => Self::Shape,
            Unread::Checksum => Self::Checksum,
        }
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

    #[test]
    fn id_6_the_recovery_key_signs_in_for_its_account_at_its_server_and_once() {
        let (ada, bob) = (UserId::parse("ada", "x").unwrap(), UserId::parse("bob", "x").unwrap());
        let key = RecoveryKey::generate(&mut SeededRng::new(4));
        let signer = key.signer(&ada);
        let answer = sign_in(&signer, "x", &ada, &[1; 32]);
        assert!(is_signed_in(signer.public(), "x", &ada, &[1; 32], &answer));
        assert!(!is_signed_in(signer.public(), "x", &ada, &[2; 32], &answer));
        assert!(!is_signed_in(signer.public(), "y", &ada, &[1; 32], &answer));
        assert!(!is_signed_in(signer.public(), "x", &bob, &[1; 32], &answer));
        assert_ne!(key.signer(&bob).public(), signer.public());
    }
}
