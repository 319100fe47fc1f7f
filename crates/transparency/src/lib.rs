//! Whom a device trusts, and why.
//!
//! A server says which devices a user has. [`trust::PeerTrust`] holds what this device has seen and decided about
//! one peer and turns a verified [`DeviceList`] into a [`TrustedPeer`], or says why not. There is no other way to
//! a `TrustedPeer`, and nothing that talks to a peer takes anything else.
//!
//! What the server says has to be proven first: [`verify`] checks an answer of its key directory against the log behind it, and
//! makes [`verify::VerifiedDevices`] of it or an accusation. [`log`], [`checkpoint`], [`cosignature`] and [`directory`] are what that is made
//! of, for servers and witnesses as well.
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

pub mod accusation;
pub mod answer;
mod chain;
pub mod checkpoint;
pub mod cosignature;
pub mod directory;
pub mod evidence;
pub mod follow;
pub mod gossip;
pub mod head;
pub mod history;
pub mod known;
pub mod label;
pub mod labels;
pub mod leaf;
pub mod log;
pub mod note;
pub mod policy;
pub mod seen;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trust;
pub mod verify;

pub use trust::{PeerTrust, Standing, TrustedPeer};
pub use undertone_keys::device_list::DeviceList;
