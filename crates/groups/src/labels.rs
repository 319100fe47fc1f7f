//! Every domain string of this crate (rule ID-8), but for the one of RFC 9605.

use undertone_keys::labels::Label;

/// The pre-shared key that ties a group to the one it follows: the label of the MLS exporter.
pub const MIGRATION: Label = Label::declare("undertone/MLS-1/migration/v1");
/// By which members of a group with an audience know each other's words: the label of the MLS exporter.
pub const WORDS: Label = Label::declare("undertone/GRP-9/words/v1");
/// The hash of a quorum secret that says which one it is.
pub const QUORUM_ID: Label = Label::declare("undertone/RKX-5/group-id/v1");
/// What is mixed into a group's epochs, from its quorum secret.
pub const QUORUM: Label = Label::declare("undertone/RKX-5/group/v1");
/// The hash by which a verdict is bound to the commit it is about.
pub const VERDICT: Label = Label::declare("undertone/MLS-1/verdict/v1");
