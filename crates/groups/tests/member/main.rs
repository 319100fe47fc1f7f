//! Members of a group over a delivery service, in virtual time: they come, leave, crash, lose the way, and are lied to.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "../world/mod.rs"]
mod world;

mod malicious;
mod net;
mod recovery;
mod schedules;
mod service;
mod together;
