//! The client: an engine that computes, and drivers that move bytes.
//!
//! [`Engine`] is pure: signalling, calls, rosters and sealed media without a socket, a file or a clock. The module
//! `native` (feature `native`, on by default) drives it with TLS, WebSocket, QUIC, Opus, sound cards and a store;
//! another driver will do the same in a browser.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use undertone_client::native::{Client, Sound};
//! use undertone_client::Event;
//!
//! let client = Client::open(std::path::Path::new("home"))?;
//! let mut online = client.connect().await?;
//! online.call("bob", Sound::silent()).await?;
//! while let Some(event) = online.next_event().await {
//!     println!("{event:?}");
//!     if matches!(event, Event::Over { .. }) { break }
//! }
//! # Ok(()) }
//! ```
//!
//! # Security goals
//! * A call's media leaves this process sealed under keys that both ends confirmed, or not at all.
//! * The server's word decides who *may* join; who *is* in a call is decided by proofs this device checks.
//!
//! # Assumptions
//! The home folder is readable by its owner alone; whoever reads it is the device.
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

pub mod audio;
pub mod engine;
#[cfg(feature = "native")]
pub mod native;

pub use engine::{Engine, Event};
// What the client's own interface is made of, so that programs need no other crate of ours.
pub use undertone_call::room;
pub use undertone_call::room::Event as RoomEvent;
pub use undertone_call::room::reception::Reason as ReceptionReason;
pub use undertone_call::{Outcome, Role};
/// What nodes of a swarm do.
pub mod swarm {
    pub use undertone_call::quorum::QuorumNodes;
    pub use undertone_raida::client::{Lie, NodeReport, Report, Said};
}
/// What happens in the MLS group of a room's call.
pub mod group {
    pub use undertone_groups::member::{Event, How, Lie, OutReason, Reason, Spent, Standpoint};
    pub use undertone_groups::{DeviceRef, Member, Suite};
}
pub use undertone_keys::choice::{Agreement, LegacyPolicy};
pub use undertone_keys::device_list::DeviceList;
pub use undertone_keys::envelope::Address;
pub use undertone_keys::record::DeviceRecord;
pub use undertone_keys::recovery::RecoveryKey;
pub use undertone_keys::{CallId, DeviceId, RoomId, UserId, WallTime, label, secret};
pub use undertone_media::Context;
pub use undertone_protocol::group::Cause;
pub use undertone_protocol::rest::Bytes;
pub use undertone_protocol::signal::Reason;
pub use undertone_protocol::terms::GroupSuite;
pub use undertone_protocol::{Access, AccessList, Listed, Protection, Rights, Terms};
pub use undertone_transparency::{PeerTrust, Standing, trust};
