//! Believing a room's access list (rule GRP-8): version by version, each against the proven devices of its signer.

use undertone_protocol::access::{Access, AccessError, ClaimedAccess};
use undertone_transparency::TrustedPeer;

/// Why a version of an access list is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disbelief {
    /// The list itself does not hold, or not after the one before it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Whoever signed it is not the user that was looked up, or not with the account key that stands in the list.
    #[error("whoever signed the room's access list has another account key than the list names")]
    Account,
    /// The device that signed it is none of its user's, or may not act any more.
    #[error("the device that signed the room's access list may not act for its user")]
    Device,
}

/// Checks the version that follows `known`, or the first one where nothing is known. `newest` says that none follows it:
/// its signer's device must still be one that may act, while an older version may be by one that was revoked since.
///
/// # Errors
/// [`Disbelief`].
pub fn believe(
    known: Option<&Access>,
    claimed: ClaimedAccess,
    signer: &TrustedPeer,
    newest: bool,
) -> Result<Access, Disbelief> {
    let list = claimed.claimed();
    let address = list.signer.clone();
    // Whoever signs was on the list before, or is the creator of a new one.
    let authority = known.map_or(list, Access::list);
    let listed = authority.listed(&address.user).ok_or(AccessError::Rights)?;
    if address.user != *signer.user() || listed.account != *signer.account() {
        return Err(Disbelief::Account);
    }
    let record = if newest { signer.device(address.device) } else { signer.past_device(address.device) };
    let access = claimed.verify(&record.ok_or(Disbelief::Device)?.identity)?;
    match known {
        Some(known) => access.follows(known)?,
        None if access.list().version == 1 => {}
        None => return Err(AccessError::Chain.into()),
    }
    Ok(access)
}
