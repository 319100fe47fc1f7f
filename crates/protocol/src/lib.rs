//! What clients, server and relay say to each other: versions, limits and messages.
//!
//! * [`rest`]: accounts, in JSON.
//! * [`signal`]: one WebSocket per device, in deterministic CBOR.
//! * [`control`]: one control stream per relay connection, in deterministic CBOR.
//! * [`delivery`]: the MLS group of a room's call, as far as its server has to do with it (rule RLY-6).
//! * [`access`]: who may come into a room, as its members sign it (rule GRP-8).
//! * [`grant`] and [`join`]: the signed papers with which a device enters a room (rules RLY-1, GRP-8).
//! * [`origin`]: what counts as one place where limits are per address (rule DOS-1).
//! * [`statement`]: how a server shows that a TLS key is its own (rule KT-14).
//!
//! What two devices say to each other end to end is not here: it travels sealed, and the server's crates never see
//! its types.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may fail"
    )
)]

pub mod access;
pub mod control;
pub mod delivery;
pub mod grant;
pub mod group;
pub mod join;
pub mod labels;
pub mod limits;
pub mod opaque;
pub mod origin;
pub mod rest;
pub mod signal;
pub mod statement;
pub mod terms;

pub use access::{Access, AccessList, ClaimedAccess, Listed};
pub use grant::{Grant, Rights};
pub use join::{Entry, Join};
pub use origin::{Origin, OriginCounts};
pub use terms::{Audience, Protection, Terms};

/// The protocol version spoken on WebSocket and control stream. Any other is refused by name (rule MED-10).
pub const VERSION: u16 = 8;
/// ALPN of the media connection.
pub const ALPN_MEDIA: &[u8] = b"undertone/1";
/// ALPN of REST and WebSocket.
pub const ALPN_HTTP: &[u8] = b"http/1.1";
