//! The RAIDA key exchange (rules RKX-1 to RKX-6): 25 small key servers, each of which shares a 16-byte secret with the owner of every
//! coin, and which together give two people a secret that no single one of them learns.
//!
//! Without the feature `node` the crate is pure: headers, frames, commands and tickets. With it there is a node too: the coin store, the
//! posted keys, and what is answered to whom. Layouts stand in `docs/spec/raida.md`.
//!
//! ```
//! use undertone_raida::frame::{self, FrameKey};
//! use undertone_raida::header::{Encryption, RequestHeader};
//!
//! // An echo to node 14, as the original understands it.
//! let challenge = frame::with_checksum([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
//! let header = RequestHeader {
//!     version: 1, split: 0, raida: 14, shard: 0, group: 0, command: 0, coin_id: 6,
//!     encryption: Ok(Encryption::None), body: 0, nonce: [0; 24], echo: [0x12, 0x34],
//! };
//! let request = frame::seal_request(header, &FrameKey::None, &challenge, &[]).unwrap();
//! assert_eq!(request.len(), 32 + 16 + 2);
//! ```
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

pub mod client;
pub mod coin;
pub mod coin_file;
pub mod command;
pub mod header;
pub mod labels;
#[cfg(feature = "legacy")]
pub mod legacy;
pub mod month;
#[cfg(feature = "node")]
pub mod node;
pub mod quorum;
mod sealing;
pub mod sixteen;
pub mod status;
pub mod swarm;
pub mod wallet;

pub use sealing::{frame, ticket};
