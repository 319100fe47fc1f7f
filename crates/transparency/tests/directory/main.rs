//! The directory's verifiers against a real `akd` directory, honest and lying.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail"
)]

mod append_only;
mod forged;
mod honest;
mod mutated;
mod world;
