//! Every domain string of this crate (rule ID-8).

use undertone_keys::labels::Label;

/// The base key of one sender's frames.
pub const SENDER_KEY: Label = Label::declare("undertone/MED-3/sender/v1");

/// The key of a hop, from member to relay.
pub const HOP_TO_RELAY: Label = Label::declare("undertone/MED-8/to-relay/v1");
/// The key of a hop, from relay to member.
pub const HOP_TO_MEMBER: Label = Label::declare("undertone/MED-8/to-member/v1");

/// What the next epoch of a hop comes from.
pub const HOP_NEXT: Label = Label::declare("undertone/MED-8/next/v1");

/// What tells an epoch's key from others, where the key itself is not kept.
pub const FINGERPRINT: Label = Label::declare("undertone/MED-3/fingerprint/v1");

/// All of them.
pub const ALL: &[Label] = &[SENDER_KEY, FINGERPRINT, HOP_TO_RELAY, HOP_TO_MEMBER, HOP_NEXT];
