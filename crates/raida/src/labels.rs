//! Every domain string of this crate (rule ID-8).

use undertone_keys::labels::Label;

/// The key of a strict node's ticket.
pub const TICKET: Label = Label::declare("undertone/RKX-3/ticket/v1");
/// The name of a swarm, from what its members have to agree on.
pub const SWARM: Label = Label::declare("undertone/RKX-5/swarm/v1");
/// The name of a set of shares, from what they are found by.
pub const SET: Label = Label::declare("undertone/RKX-5/set/v1");
/// The id that a share is posted under.
pub const SHARE_ID: Label = Label::declare("undertone/RKX-5/share-id/v1");
/// What commits to a share.
pub const COMMITMENT: Label = Label::declare("undertone/RKX-5/commitment/v1");
/// The key of the shares' MACs, from the secret that they make.
pub const SHARE_MAC: Label = Label::declare("undertone/RKX-5/share-mac/v1");
