//! The command line as people have it: real processes, real servers, real terminals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod audit;
mod bench;
mod blind_relay;
mod devices;
mod directory;
mod errands;
mod false_lists;
mod forked_log;
mod killed_change;
mod killed_server;
mod killed_server_room;
mod legacy;
mod lying_answers;
mod lying_log;
mod no_room_no_rights;
mod passphrase;
mod proof;
#[path = "../../../../dev/interop/python.rs"]
mod python;
mod quorum;
mod room_door;
mod room_explain;
mod rooms;
mod second_opinion;
mod terminal;
mod token;
mod witnesses;
