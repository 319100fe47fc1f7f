//! Every domain string of this crate (rule ID-8).

use undertone_keys::labels::Label;

/// The key of a strict node's ticket.
pub const TICKET: Label = Label::declare("undertone/RKX-3/ticket/v1");
