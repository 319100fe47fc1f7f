//! The log's leaves (rule KT-3): which directory was current when.

use undertone_keys::WallTime;

use crate::labels;
use crate::log::{Hash, leaf_hash};

/// Bytes of a leaf.
pub const LENGTH: usize = 103;

/// One leaf of the log: the directory as it was in one epoch at one time.
///
/// | bytes | what |
/// |-------|------|
/// | 22    | `undertone/KT-3/leaf/v1` |
/// | 1     | zero |
/// | 8     | epoch, big-endian |
/// | 32    | root of the directory's tree |
/// | 32    | SHA-256 of the directory's VRF public key |
/// | 8     | unix time in seconds, big-endian |
///
/// A log has a leaf for every epoch, in order, and repeats the newest one with a newer time where nothing changed for
/// a while (rule KT-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The epoch of the directory; the first is 1.
    pub epoch: u64,
    /// The root of the directory's tree in that epoch.
    pub root: Hash,
    /// SHA-256 of the directory's VRF public key.
    pub vrf_key: Hash,
    /// When the leaf was made, by the server's clock.
    pub time: WallTime,
}

/// Bytes that are no leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a leaf of a key directory's log")]
pub struct BadLeaf;

/// Why a leaf cannot stand behind another one in an honest log. Two such leaves under one checkpoint convict it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafOrder {
    /// An older epoch than the one before.
    #[error("the log went back from epoch {before} to {after}")]
    Epoch {
        /// The epoch of the earlier leaf.
        before: u64,
        /// The epoch of the later leaf.
        after: u64,
    },
    /// An older time than the one before; between neighbours also the same time again for the same epoch.
    #[error("the log's time went back from {before} to {after}")]
    Time {
        /// The time of the earlier leaf.
        before: WallTime,
        /// The time of the later leaf.
        after: WallTime,
    },
    /// Two roots for one epoch.
    #[error("the log has two directories for epoch {epoch}")]
    Root {
        /// The epoch of both.
        epoch: u64,
    },
    /// Another VRF key. It changes only by a statement of the log's key (rule KT-14).
    #[error("the directory's VRF key changed between epochs {before} and {after}")]
    VrfKey {
        /// The epoch of the earlier leaf.
        before: u64,
        /// The epoch of the later leaf.
        after: u64,
    },
    /// An epoch is left out between neighbours.
    #[error("the log left out epochs between {before} and {after}")]
    Gap {
        /// The epoch of the earlier leaf.
        before: u64,
        /// The epoch of the later leaf.
        after: u64,
    },
}

impl LeafOrder {
    /// The rule that is broken.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Epoch { .. } | Self::Root { .. } | Self::Gap { .. } => "KT-3",
            Self::Time { .. } => "KT-8",
            Self::VrfKey { .. } => "KT-14",
        }
    }
}

impl Leaf {
    /// The 103 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (epoch, time) = (self.epoch.to_be_bytes(), self.time.as_unix().to_be_bytes());
        [labels::LEAF.as_bytes(), &[0], &epoch, &self.root, &self.vrf_key, &time].concat()
    }

    /// Reads the 103 bytes.
    ///
    /// # Errors
    /// [`BadLeaf`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadLeaf> {
        let fields = bytes.strip_prefix(labels::LEAF.as_bytes()).and_then(|rest| rest.strip_prefix(&[0]));
        let (epoch, rest) = fields.and_then(<[u8]>::split_first_chunk).ok_or(BadLeaf)?;
        let (root, rest) = rest.split_first_chunk().ok_or(BadLeaf)?;
        let (vrf_key, time) = rest.split_first_chunk().ok_or(BadLeaf)?;
        let time = time.try_into().map_err(|_| BadLeaf)?;
        Ok(Self {
            epoch: u64::from_be_bytes(*epoch),
            root: *root,
            vrf_key: *vrf_key,
            time: WallTime::from_unix(u64::from_be_bytes(time)),
        })
    }

    /// Its hash in the log's tree.
    #[must_use]
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.to_bytes())
    }

    /// Compares with any `earlier` leaf of the same log, such as the last one a client saw.
    ///
    /// # Errors
    /// [`LeafOrder`], never [`LeafOrder::Gap`].
    pub fn follows(&self, earlier: &Self) -> Result<(), LeafOrder> {
        let (before, after) = (earlier.epoch, self.epoch);
        if after < before {
            return Err(LeafOrder::Epoch { before, after });
        }
        if self.time < earlier.time {
            return Err(LeafOrder::Time { before: earlier.time, after: self.time });
        }
        if after == before && self.root != earlier.root {
            return Err(LeafOrder::Root { epoch: after });
        }
        if self.vrf_key != earlier.vrf_key {
            return Err(LeafOrder::VrfKey { before, after });
        }
        Ok(())
    }

    /// Compares with the leaf directly `before` it in the log, as one who reads all of it does: no epoch is left out,
    /// and a repeated epoch has a newer time.
    ///
    /// # Errors
    /// [`LeafOrder`].
    pub fn comes_after(&self, before: &Self) -> Result<(), LeafOrder> {
        self.follows(before)?;
        if self.epoch == before.epoch && self.time == before.time {
            return Err(LeafOrder::Time { before: before.time, after: self.time });
        }
        if self.epoch - before.epoch > 1 {
            return Err(LeafOrder::Gap { before: before.epoch, after: self.epoch });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(epoch: u64, time: u64) -> Leaf {
        Leaf { epoch, root: [2; 32], vrf_key: [3; 32], time: WallTime::from_unix(time) }
    }

    #[test]
    fn kt_3_the_layout_is_fixed() {
        let bytes = leaf(0x0102_0304_0506_0708, 0x1112_1314_1516_1718).to_bytes();
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(&bytes[..23], b"undertone/KT-3/leaf/v1\0");
        assert_eq!(bytes[23..31], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[31..63], [2; 32]);
        assert_eq!(bytes[63..95], [3; 32]);
        assert_eq!(bytes[95..], [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert_eq!(leaf(1, 1).hash(), undertone_keys::digest::sha256(&[&[0], &leaf(1, 1).to_bytes()]));
    }

    #[test]
    fn kt_3_bytes_that_are_no_leaf_are_refused() {
        let good = leaf(1, 1).to_bytes();
        for cut in 0..good.len() {
            assert_eq!(Leaf::from_bytes(&good[..cut]), Err(BadLeaf), "{cut}");
        }
        assert_eq!(Leaf::from_bytes(&[good.as_slice(), &[0]].concat()), Err(BadLeaf));
        for place in 0..23 {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert_eq!(Leaf::from_bytes(&bad), Err(BadLeaf), "{place}");
        }
    }

    proptest! {
        #[test]
        fn kt_3_a_leaf_is_read_as_it_was_written(epoch: u64, root: Hash, vrf_key: Hash, time: u64) {
            let leaf = Leaf { epoch, root, vrf_key, time: WallTime::from_unix(time) };
            prop_assert_eq!(Leaf::from_bytes(&leaf.to_bytes()), Ok(leaf));
        }
    }

    #[test]
    fn kt_8_leaves_never_go_back() {
        let last = leaf(5, 100);
        for good in [leaf(5, 100), leaf(5, 101), leaf(6, 100), leaf(9, 900), leaf(u64::MAX, u64::MAX)] {
            assert_eq!(good.follows(&last), Ok(()), "{good:?}");
        }
        assert_eq!(leaf(4, 200).follows(&last), Err(LeafOrder::Epoch { before: 5, after: 4 }));
        let before = last.time;
        let fell = LeafOrder::Time { before, after: WallTime::from_unix(99) };
        assert_eq!(leaf(6, 99).follows(&last), Err(fell));
        let two_roots = Leaf { root: [9; 32], ..leaf(5, 101) };
        assert_eq!(two_roots.follows(&last), Err(LeafOrder::Root { epoch: 5 }));
        let other_key = Leaf { vrf_key: [9; 32], ..leaf(6, 101) };
        assert_eq!(other_key.follows(&last), Err(LeafOrder::VrfKey { before: 5, after: 6 }));
    }

    #[test]
    fn kt_8_neighbours_leave_out_no_epoch_and_repeat_none_without_a_newer_time() {
        let last = leaf(5, 100);
        for good in [leaf(5, 101), leaf(6, 100), leaf(6, 101)] {
            assert_eq!(good.comes_after(&last), Ok(()), "{good:?}");
        }
        let again = LeafOrder::Time { before: last.time, after: last.time };
        assert_eq!(leaf(5, 100).comes_after(&last), Err(again));
        assert_eq!(leaf(7, 101).comes_after(&last), Err(LeafOrder::Gap { before: 5, after: 7 }));
        assert_eq!(leaf(u64::MAX, 101).comes_after(&last), Err(LeafOrder::Gap { before: 5, after: u64::MAX }));
        assert_eq!(leaf(4, 101).comes_after(&last), Err(LeafOrder::Epoch { before: 5, after: 4 }));
    }
}
