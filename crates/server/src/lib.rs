//! The server: accounts, device lists, signalling and the relay behind one port.
//!
//! TCP carries HTTPS and one WebSocket per device, UDP carries QUIC. Everything that users say to each other passes
//! through sealed. The crates that could open it (`call`, `text`, `groups`) cannot be linked here; `cargo xtask
//! layers` checks that.
//!
//! [`Server::start`] is the whole of it: the binary and the tests start the same thing.
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

pub mod accounts;
pub mod answers;
pub mod budget;
pub mod clock;
pub mod config;
pub mod data;
pub mod delivery;
pub mod directory;
pub mod doctor;
pub mod exchanges;
pub mod files;
pub mod http;
pub mod listener;
pub mod metrics;
pub mod raida;
pub mod rooms;
pub mod running;
pub mod signal;
pub mod store;
pub mod switchboard;
pub mod tls;
pub mod witness;

mod knocks;
mod memberships;
mod rate;
mod spread;

pub use config::Config;
pub use running::{Server, StartError};
