//! The account key at rest (rule ID-6): it lies on no device. The server keeps it sealed twice, under what only
//! the passphrase opens and under the recovery key; a client opens it to sign a device list and wipes it.

use crate::aead::{AeadKey, NONCE_LENGTH, OpenError};
use crate::hkdf::{Prk, Sha256};
use crate::labels::{self, Label};
use crate::name::UserId;
use crate::recovery::RecoveryKey;
use crate::secret::Secret;
use crate::sign::{Account, SigningKey};

/// A key that wraps account keys and nothing else.
#[derive(Debug)]
pub struct AccountWrap {
    key: AeadKey,
    label: Label,
}

impl AccountWrap {
    /// From OPAQUE's export key, which only the passphrase yields.
    #[must_use]
    pub fn from_export_key(export_key: &[u8], user: &UserId) -> Self {
        Self::derive(export_key, labels::ACCOUNT_BY_PASSPHRASE, user)
    }

    /// From the recovery key.
    #[must_use]
    pub fn from_recovery_key(recovery: &RecoveryKey, user: &UserId) -> Self {
        Self::derive(recovery.expose(), labels::ACCOUNT_BY_RECOVERY, user)
    }

    fn derive(input: &[u8], label: Label, user: &UserId) -> Self {
        let key: Secret<32> = Prk::<Sha256>::extract(&[], &[input]).derive(label, &[user.as_str().as_bytes()]);
        Self { key: AeadKey::new(&key), label }
    }

    /// Wraps `account`: 12 bytes of random nonce, then the sealed 32-byte seed (60 bytes in all).
    #[must_use]
    pub fn wrap(&self, rng: &mut impl rand_core::CryptoRng, account: &SigningKey<Account>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LENGTH];
        rng.fill_bytes(&mut nonce);
        let mut seed = zeroize::Zeroizing::new(*account.seed().expose());
        let tag = self.key.seal(nonce, self.label.as_bytes(), seed.as_mut_slice());
        [nonce.as_slice(), seed.as_slice(), &tag].concat()
    }

    /// Unwraps what [`Self::wrap`] made.
    ///
    /// # Errors
    /// [`OpenError`] when it was wrapped under another key, or damaged.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<SigningKey<Account>, OpenError> {
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LENGTH>().ok_or(OpenError)?;
        let mut sealed = zeroize::Zeroizing::new(sealed.to_vec());
        let seed = self.key.open(*nonce, self.label.as_bytes(), &mut sealed)?;
        Secret::from_slice(seed).map(SigningKey::from_seed).ok_or(OpenError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn id_6_account_key_opens_by_either_secret_and_no_other() {
        let rng = &mut SeededRng::new(6);
        let user = UserId::parse("ada", "localhost").unwrap();
        let account = SigningKey::generate(rng);
        let recovery = RecoveryKey::generate(rng);
        let by_passphrase = AccountWrap::from_export_key(&[7; 64], &user);
        let by_recovery = AccountWrap::from_recovery_key(&recovery, &user);
        let (a, b) = (by_passphrase.wrap(rng, &account), by_recovery.wrap(rng, &account));
        assert_eq!(by_passphrase.unwrap(&a).unwrap().public(), account.public());
        assert_eq!(by_recovery.unwrap(&b).unwrap().public(), account.public());
        let other = UserId::parse("eve", "localhost").unwrap();
        assert!(by_passphrase.unwrap(&b).is_err());
        assert!(by_recovery.unwrap(&a).is_err());
        assert!(AccountWrap::from_export_key(&[8; 64], &user).unwrap(&a).is_err());
        assert!(AccountWrap::from_recovery_key(&recovery, &other).unwrap(&b).is_err());
        for cut in 0..a.len() {
            assert!(by_passphrase.unwrap(&a[..cut]).is_err());
        }
    }
}
