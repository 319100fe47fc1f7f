//! What devices do to each other, in virtual time: shipped engines and the shipped relay core, and a network that the tests make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod adversaries;
mod call;
mod clocks;
mod echo;
mod ghosts;
mod hop;
mod host_leaves;
mod hosts_hostile;
mod letters_hostile;
mod members_hostile;
mod reception;
mod room_trust;
mod rooms;
mod rooms_hostile;
mod servers_hostile;
mod world;
