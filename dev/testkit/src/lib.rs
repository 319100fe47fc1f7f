//! What tests and demonstrations share: folders that vanish, servers on loopback, terminals, and ears.
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

pub mod delivery_house;
pub mod distant;
pub mod ears;
pub mod flood;
pub mod folder;
pub mod locksmith;
pub mod lossy;
pub mod process;
pub mod server;
mod speech_path;
mod swarm;
pub mod terminal;
pub mod tls;
pub mod tones;
mod two_faces;
mod witness;

pub use delivery_house::House;
pub use distant::DistantProxy;
pub use folder::Folder;
pub use lossy::{Loss, LossyProxy, Weather};
pub use process::Process;
pub use server::{ServerProcess, TestServer};
pub use speech_path::{Heard, talk_through};
pub use swarm::SwarmProcess;
pub use terminal::Terminal;
pub use two_faces::{Asked, Face, Proofs, TwoFaces};
pub use witness::{Look, Witness};

use std::path::PathBuf;

/// Ten seconds of speech by `ada` or `bob`; see `speech/PROVENANCE.md`.
#[must_use]
pub fn speech(who: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("speech").join(format!("{who}.wav"))
}
