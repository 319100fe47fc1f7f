//! The relay: rooms that forward sealed media, and the QUIC shell around them.
//!
//! [`Rooms`] is the core: it knows connections by number, takes what they send and says what to send to whom. It
//! reads no clock and owns no socket. [`shell`] is the only part that does.
//!
//! ```text
//! rooms.handle_input(now, Input::Datagram { connection, bytes })?;
//! while let Some(output) = rooms.poll_output() { .. }              control messages, closings
//! while let Some(connection) = rooms.poll_ready() { .. }           somebody's queue has packets:
//!     while let Some(packet) = rooms.poll_media(connection, space) { .. }
//! ```
//!
//! # Security goals
//! * A [`Room`]`<`[`Blind`]`>` has no field that could hold a key (rule RLY-2); what comes in goes out, byte for byte.
//! * A [`Room`]`<`[`Hop`]`>` opens a packet with its sender's hop key and seals it with each receiver's; it holds nothing
//!   longer than that takes (rule RLY-3), and renews all these keys whenever somebody comes or goes (MED-8).
//! * A [`Room`]`<`[`Echo`]`>` has no key either, and one member: what it takes goes back to whoever sent it.
//! * Nobody enters without a server's grant *and* the device's own join, signed over this very connection (RLY-1).
//! * A frame that names another sender than its connection's is dropped (MED-11).
//! * Whatever a member does, its room-mates' packets keep coming: queues are bounded, the oldest go first (RLY-4).
//!
//! # Not goals
//! Hiding who is in a room, or when somebody speaks.
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

pub mod renewal;
pub mod room;
pub mod rooms;
pub mod shell;

mod moderation;
mod queue;
mod rate;
mod revocation;
mod roster;

pub use room::{Blind, Echo, Hop, Room};
pub use rooms::{ConnectionId, Input, Limits, Output, Rooms, Stats};
