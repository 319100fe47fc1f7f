//! Who is let in (rule MLS-1): the caller's answer, out of the access list and the key directory.

use undertone_keys::sign::{Device, VerifyingKey};
use undertone_keys::{DeviceId, JoinId, UserId};
use undertone_transparency::TrustedPeer;

use crate::leaf::Claim;

/// One device of one user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceRef {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
}

/// What the caller knows of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is on the list, and the directory proves this identity key.
    Listed(VerifyingKey<Device>),
    /// It is not on the list, or is revoked: whatever it signs is refused.
    Refused,
    /// Not looked up yet. The operation says so, and is asked again when the answer is there.
    Unknown,
}

/// Who is let in. The keys in it are proven ones (rule KT-6): what a server says does not get here.
pub trait Roll {
    /// What is known of a device.
    fn standing(&self, user: &UserId, device: &DeviceId) -> Standing;
}

impl<F: Fn(&UserId, &DeviceId) -> Standing> Roll for F {
    fn standing(&self, user: &UserId, device: &DeviceId) -> Standing {
        self(user, device)
    }
}

/// What the directory proved of one user, for a [`Roll`] that is made of such answers: a device that the user's list does not have is
/// refused.
#[must_use]
pub fn standing_of(peer: &TrustedPeer, device: DeviceId) -> Standing {
    peer.device(device).map_or(Standing::Refused, |record| Standing::Listed(record.identity))
}

/// A leaf of the tree, whose device has vouched for its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The leaf index: what key ids call the sender (rule GRP-6).
    pub index: u32,
    /// Whose device it is.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Which of its joins.
    pub join: JoinId,
}

impl Member {
    pub(crate) fn of(index: u32, claim: &Claim) -> Self {
        let said = &claim.said;
        Self { index, user: said.user.clone(), device: said.device, join: said.join }
    }

    /// Which device it is.
    #[must_use]
    pub fn device_ref(&self) -> DeviceRef {
        DeviceRef { user: self.user.clone(), device: self.device }
    }

    /// Whether both are leaves of one device.
    #[must_use]
    pub fn same_device(&self, other: &Self) -> bool {
        self.user == other.user && self.device == other.device
    }
}
