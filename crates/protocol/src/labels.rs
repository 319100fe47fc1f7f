//! Every domain string of this crate (rule ID-8).

use undertone_keys::labels::Label;

/// A server's signature over its statement.
pub const STATEMENT: Label = Label::declare("undertone/KT-14/statement/v1");
/// A server's signature over a grant.
pub const GRANT: Label = Label::declare("undertone/RLY-1/grant/v1");
/// A device's signature over a room's access list.
pub const ACCESS: Label = Label::declare("undertone/GRP-8/access/v1");
/// A device's signature over its join.
pub const JOIN: Label = Label::declare("undertone/GRP-8/join/v1");
/// A host's signature over an epoch's statement.
pub const EPOCH: Label = Label::declare("undertone/GRP-3/statement/v1");
/// A host's signature over a sign of life.
pub const HOST_WORD: Label = Label::declare("undertone/GRP-1/word/v1");
/// A host's signature over the word that another is to follow it.
pub const HANDOVER: Label = Label::declare("undertone/GRP-1/handover/v1");
/// What the hash of a roster begins with.
pub const ROSTER: Label = Label::declare("undertone/GRP-1/roster/v1");
/// The TLS exporter label of a join's channel binding (RFC 9266 in spirit, our own label so that nothing else
/// exports the same bytes).
pub const CHANNEL_BINDING: Label = Label::declare("undertone/GRP-8/channel-binding/v1");
/// The TLS exporter label of a connection's hop keys (rule MED-8).
pub const HOP: Label = Label::declare("undertone/MED-8/hop/v1");

/// What the digest of an MLS epoch begins with.
pub const MLS_EPOCH: Label = Label::declare("undertone/RLY-6/epoch/v1");

/// Which member serves a listener (rule GRP-9).
pub const SERVES: Label = Label::declare("undertone/GRP-9/serves/v1");

/// The tag by which members know each other's words in a room with an audience (rule GRP-9).
pub const WORD: Label = Label::declare("undertone/GRP-9/word/v1");

/// The context of every OPAQUE login.
pub const LOGIN: Label = Label::declare("undertone/ID-6/opaque/v1");

/// All of them.
pub const ALL: &[Label] = &[
    STATEMENT,
    GRANT,
    ACCESS,
    JOIN,
    EPOCH,
    HOST_WORD,
    HANDOVER,
    ROSTER,
    CHANNEL_BINDING,
    HOP,
    MLS_EPOCH,
    SERVES,
    WORD,
    LOGIN,
];
