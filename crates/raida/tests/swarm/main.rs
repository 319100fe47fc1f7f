//! A client and 25 nodes in one process, in virtual time: what a swarm survives, and what it notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod alerts;
mod healing;
#[path = "../node/house.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of one node")]
mod house;
mod net;
mod quorum;
