//! Members of a group over a delivery service, in virtual time: they come, leave, crash, lose the way, and are lied to.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(clippy::print_stdout, reason = "how long it took, and how much, is worth reading")]
#![allow(unreachable_pub, reason = "the world is shared by several test programs")]

#[path = "../world/mod.rs"]
mod world;

mod malicious;
mod net;
mod quorum;
mod recovery;
mod schedules;
mod service;
mod together;
