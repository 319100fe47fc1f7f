//! Every domain string of this crate (rule ID-8).

use undertone_keys::labels::Label;

/// The base key of one sender's frames.
pub const SENDER_KEY: Label = Label::declare("undertone/MED-3/sender/v1");

/// All of them.
pub const ALL: &[Label] = &[SENDER_KEY];
