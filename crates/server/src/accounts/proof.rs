//! What a device shows of itself: its signed list, and that it holds the key that stands there (rule ID-2).

use undertone_keys::UserId;
use undertone_keys::agreement::{EphemeralKey, possession_is_proven};
use undertone_keys::device_list::{ClaimedList, DeviceList};
use undertone_keys::legacy::{self, LegacyPublicKey};
use undertone_keys::record::DeviceRecord;
use undertone_protocol::rest::Bytes;

use super::{AccountError, rng};
use crate::exchanges::Challenge;
use crate::store::{StoreError, StoredList};

/// Reads a list that somebody sent.
pub(super) fn read_list(bytes: &[u8], user: &UserId) -> Result<DeviceList, AccountError> {
    ClaimedList::from_bytes(bytes).and_then(|claimed| claimed.verify(user)).map_err(|_| AccountError::BadList)
}

/// Reads a list that was taken before.
pub(super) fn stored(list: &StoredList, user: &UserId) -> Result<DeviceList, AccountError> {
    read_list(&list.list, user).map_err(|_| AccountError::Store(StoreError::Damaged))
}

/// Draws a challenge for a device, of the kind of its key, and what of it the device is sent.
pub(super) fn challenge(legacy_key: Option<&Bytes>) -> Result<(Challenge, Bytes), AccountError> {
    let Some(key) = legacy_key else {
        let key = EphemeralKey::generate(&mut rng());
        let public = Bytes(key.public().as_bytes().to_vec());
        return Ok((Challenge::P256(key), public));
    };
    let malformed = AccountError::Malformed("the device's RSA key is none of 2,048 bits in its one encoding");
    let Ok(key) = LegacyPublicKey::from_spki(&key.0) else { return Err(malformed) };
    let Ok(challenge) = legacy::Challenge::new(&mut rng(), &key) else { return Err(malformed) };
    let wrapped = Bytes(challenge.wrapped().as_bytes().to_vec());
    Ok((Challenge::Rsa2048(key, Box::new(challenge)), wrapped))
}

/// Rule ID-2: the device shows that it holds the key it lists. It lists one: which key reaches it is not a choice that a
/// server could make for others (rule ID-3).
pub(super) fn possession(
    challenge: &Challenge,
    record: &DeviceRecord,
    list: &DeviceList,
    proof: &[u8],
) -> Result<(), AccountError> {
    let missing = AccountError::Malformed("the device has not shown that it holds the key it lists");
    let Ok(proof) = proof.try_into() else { return Err(missing) };
    let proven = match (challenge, &record.agreement, &record.legacy) {
        (Challenge::P256(challenge), Some(key), None) => match challenge.agree(key) {
            Ok(shared) => possession_is_proven(&shared, challenge.public(), &list.hash(), proof),
            Err(_) => false,
        },
        (Challenge::Rsa2048(key, challenge), None, Some(listed)) => {
            key == listed && challenge.is_proven(&list.hash(), proof)
        }
        _ => false,
    };
    if proven { Ok(()) } else { Err(missing) }
}
