//! What an answer is accused of: the first check that it did not pass, by the number of its rule.

use undertone_keys::UserId;
use undertone_keys::device_list::ListError;

use crate::checkpoint::{CheckpointError, NotFollowing};
use crate::directory::{AbsenceError, ClaimError, HistoryError, LookupError};
use crate::leaf::LeafOrder;
use crate::log::BadProof;
use crate::policy::TooFew;

/// Which check of which rule an answer did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Accusation {
    /// The bytes are no answer.
    #[error("the server's proof cannot be read")]
    Malformed,
    /// KT-1.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// KT-2.
    #[error(transparent)]
    Witnesses(#[from] TooFew),
    /// KT-3: what is shown as the last leaf is none.
    #[error("the log's last leaf cannot be read")]
    Leaf,
    /// KT-3: it is not the last leaf of the log.
    #[error("the directory shown is not the one the log ends with: {0}")]
    Inclusion(#[from] BadProof),
    /// KT-14: the directory works with another VRF key than the pinned one.
    #[error("the directory's VRF key is not the pinned one")]
    VrfKey,
    /// KT-4: the log went back, or is not the one that was seen before.
    #[error(transparent)]
    Log(#[from] NotFollowing),
    /// KT-3, KT-8: epochs, roots or times of the log went back.
    #[error(transparent)]
    Order(#[from] LeafOrder),
    /// KT-5, KT-6: the user's version is not proven.
    #[error("the device list is not proven by the directory: {0}")]
    Lookup(#[from] LookupError),
    /// KT-5, KT-6, KT-11: the versions of the own account's list are not proven to be all there are.
    #[error("the history of the account's device lists is not proven by the directory: {0}")]
    History(#[from] HistoryError),
    /// KT-6: that there is no such user is not proven.
    #[error(transparent)]
    Absence(#[from] AbsenceError),
    /// KT-6: a user that has been there is denied.
    #[error("{} is denied, and was there", .0.display())]
    Denied(UserId),
    /// KT-7: the newest list is not the one the directory names.
    #[error("the device list is another one than the directory names")]
    OtherList,
    /// KT-7: a list of the answer does not hold, or does not follow the one before it.
    #[error("a device list does not hold: {0}")]
    List(#[from] ListError),
    /// KT-7: a list with this number stands in the directory under another.
    #[error("list {list} stands in the directory as version {proven}")]
    Version {
        /// The number in the list.
        list: u32,
        /// The directory's.
        proven: u32,
    },
    /// KT-7: an older version than this device knows.
    #[error("version {proven} of the device list was shown, and version {known} is known")]
    OldList {
        /// The version known.
        known: u32,
        /// The directory's.
        proven: u32,
    },
    /// KT-6: a version is said to have been published when an earlier one was still the newest.
    #[error(
        "version {version} of the device list stands in the directory as published in epoch {published}, and in epoch {newest} \
         version {known} was still the newest"
    )]
    Backdated {
        /// The later version.
        version: u32,
        /// In which epoch it is said to have been published.
        published: u64,
        /// The version known.
        known: u32,
        /// An epoch in which that was proven to be the newest.
        newest: u64,
    },
    /// ID-7: the account begins anew, and since when is not proven.
    #[error("the account begins anew, and since when is not proven by the log")]
    Announcement,
    /// KT-8: nothing newer than this.
    #[error(
        "the newest that the server shows of its directory is {} minutes old: it is kept from the newest, or a clock is wrong",
        .age / 60
    )]
    Stale {
        /// Seconds by the wall clock.
        age: u64,
    },
    /// KT-8: a leaf from the future.
    #[error("the server's directory is {} minutes ahead of this device's clock: one of the two is wrong", .ahead / 60)]
    Ahead {
        /// Seconds by the wall clock.
        ahead: u64,
    },
}

impl Accusation {
    /// The rule whose check failed, as the specification numbers it.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Malformed | Self::Checkpoint(_) => "KT-1",
            Self::Witnesses(_) => "KT-2",
            Self::Leaf | Self::Inclusion(_) => "KT-3",
            Self::Log(_) => "KT-4",
            Self::Lookup(LookupError::Claim(ClaimError::Vrf(_)))
            | Self::History(HistoryError::Claim(ClaimError::Vrf(_)))
            | Self::Absence(AbsenceError(ClaimError::Vrf(_))) => "KT-5",
            Self::History(_) => "KT-11",
            Self::Lookup(_) | Self::Absence(_) | Self::Denied(_) | Self::Backdated { .. } => "KT-6",
            Self::OtherList | Self::List(_) | Self::Version { .. } | Self::OldList { .. } => "KT-7",
            Self::Order(order) => order.rule(),
            Self::Stale { .. } | Self::Ahead { .. } => "KT-8",
            Self::Announcement => "ID-7",
            Self::VrfKey => "KT-14",
        }
    }
}
