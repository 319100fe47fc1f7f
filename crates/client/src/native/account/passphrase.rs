//! Another passphrase, or none: what the server keeps of it besides the recovery key (rule ID-6).

use undertone_keys::recovery::RecoveryKey;
use undertone_keys::secret::SecretBytes;
use undertone_protocol::rest::{Bytes, ChangeDevices};

use super::change::open_own;
use super::open::{self, Unlock};
use crate::native::directory::Directory;
use crate::native::error::ClientError;

/// Sets another passphrase: by the present one, as this device, or by the recovery key, also where it is switched off. What was opened by
/// the one before ends.
pub(in crate::native) async fn set(
    directory: &Directory,
    unlock: Unlock<'_>,
    new: &SecretBytes,
) -> Result<(), ClientError> {
    unlock.check()?;
    open::new_passphrase(new)?;
    let (met, opened, _) = open_own(directory, unlock, Some(new)).await?;
    let list = Bytes(opened.list.to_bytes());
    let (exchange, passphrase) = (opened.exchange, opened.passphrase);
    let change = ChangeDevices { exchange, list, passphrase, passphrase_off: false };
    met.post_for_nothing("/v1/devices/change", &change).await
}

/// Switches the way by a passphrase off: the server keeps nothing of it, and the recovery key alone opens the account.
pub(in crate::native) async fn switch_off(directory: &Directory, key: &RecoveryKey) -> Result<(), ClientError> {
    let unlock = Unlock::Recovery { key, passphrase: None };
    let (met, opened, _) = open_own(directory, unlock, None).await?;
    let list = Bytes(opened.list.to_bytes());
    let change = ChangeDevices { exchange: opened.exchange, list, passphrase: None, passphrase_off: true };
    met.post_for_nothing("/v1/devices/change", &change).await
}
