//! How much of what, checked before anything is parsed (rule DOS-1). What the delivery service has a limit for has the same one here:
//! a commit that one of the two takes and the other does not would stop the group.
//!
//! Where the numbers come from: in a tree in which nobody has updated, a commit seals to everybody one by one, 118 bytes each under P-256,
//! 83 under X25519 and 1,166 under X-Wing. So under P-256 a removal from a thousand such leaves has 120 kB and under X-Wing one from
//! 150 has 190 kB. In a tree in which all have updated it has 2 kB, and 21.

/// Members of a group at most.
pub const MEMBERS: usize = 1_000;
/// The same where a commit seals to each with X-Wing: so many that somebody can be removed though nobody has updated yet.
pub const MEMBERS_X_WING: usize = 150;
/// Leaves that one commit adds at most. One commit for many is cheaper for everybody than many for one each; but the paths to
/// leaves that have never updated make it long.
pub const ADDED_AT_ONCE: usize = 64;
/// Bytes of a commit at most.
pub const COMMIT: usize = 192 << 10;
/// Bytes of a Welcome at most.
pub const WELCOME: usize = 96 << 10;
/// Bytes of a ratchet tree at most.
pub const TREE: usize = 4 << 20;
/// Bytes of a leaf at most: one has 400 bytes, 1,600 under X-Wing. The delivery service takes nodes of twice as many.
pub const LEAF: usize = 4 << 10;
/// Bytes of a group info at most.
pub const GROUP_INFO: usize = 8 << 10;
/// Bytes of a key package at most, with the envelope that says its suite.
pub const KEY_PACKAGE: usize = (4 << 10) + 16;
/// Bytes that are sealed as one message between members at most: control data, never media.
pub const MESSAGE: usize = 16 << 10;
/// Bytes of a sealed message at most: the message, its padding, its signature and its frame.
pub const SEALED_MESSAGE: usize = MESSAGE + 1_024;
/// Pre-shared keys in one commit at most.
pub const PSKS: usize = 8;
/// Bytes of a pre-shared key's id at most.
pub const PSK_ID: usize = 64;
/// Messages and handshakes are padded to a multiple of this many bytes.
pub const PADDING: usize = 128;
/// Epochs before the current one whose messages still open. One: what was sealed just before a commit arrives just after it, and
/// what is older than that is lost rather than kept readable. Commits are taken in the current epoch alone.
pub const PAST_EPOCHS: usize = 1;
/// Messages of one sender that may arrive behind later ones.
pub const OUT_OF_ORDER: u32 = 16;
/// Messages of one sender that may be lost in a row.
pub const LOST_IN_A_ROW: u32 = 1_000;
/// Seconds a key package is good for, from when its device made it.
pub const KEY_PACKAGE_LIFE: u64 = 28 * 24 * 3_600;
/// Seconds by which clocks may differ.
pub const CLOCK_SKEW: u64 = 3_600;
