//! A client's one call against a server that answers honestly, and against one that lies: each lie is named after the rule
//! that catches it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "the world is shared by two test programs")]

mod anew;
mod history;
mod honest;
mod lies;
mod server;
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../directory/world.rs"]
mod world;
