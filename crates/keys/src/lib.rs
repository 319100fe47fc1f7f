//! Identities, key agreement, envelopes and secrets: everything Undertone knows about a key before media or
//! messages are sealed with it.
//!
//! The crate is pure. It reads no clock, draws no randomness of its own and opens no file: randomness is an
//! argument of the call that draws, and a private agreement key (which may live in a token or a browser's key
//! store) is never a value here. What needs one is split in two around an effect (rule ID-5):
//!
//! ```
//! use undertone_keys::agreement::{DeviceKey, SoftwareKey};
//! use undertone_keys::hpke;
//! # use undertone_keys::testing::SeededRng;
//! # let rng = &mut SeededRng::new(1);
//! let device = SoftwareKey::generate(rng);
//!
//! let sealed = hpke::seal(rng, device.public(), b"what it is for", b"header", b"a key")?;
//! // The opener asks whoever holds the private half for one Diffie-Hellman result ...
//! let shared = device.agree(&sealed.encapsulated)?;
//! // ... and goes on without ever having seen the private half.
//! let opened = hpke::open(&sealed, device.public(), &shared, b"what it is for", b"header")?;
//! assert_eq!(opened.as_slice(), b"a key");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security goals
//! * Keys of different roles are different types, and each is derived by one function under one label of
//!   [`labels`].
//! * A value that came from outside is a *claim* until a function named `verify` or `open` returned another type.
//! * Secrets are boxed, wiped on drop, compared in constant time and print their type's name only.
//!
//! # Not goals
//! Hiding who talks to whom, and protecting against code that reads this process's memory.
//!
//! Primitives come from `aws-lc-rs`, on WebAssembly from RustCrypto; both run the same Wycheproof vectors.
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

pub mod account;
pub mod aead;
pub mod agreement;
pub mod call_agreement;
pub mod cbor;
pub mod choice;
pub mod consent;
pub mod device_list;
pub mod digest;
pub mod envelope;
pub mod epoch_secret;
pub mod hkdf;
pub mod hpke;
pub mod label;
pub mod labels;
pub mod leaf;
pub mod legacy;
pub mod name;
pub mod pairing;
pub mod quorum;
pub mod record;
pub mod recovery;
pub mod sas;
pub mod secret;
pub mod sign;
pub mod static_key;
pub mod time;

mod base32;
mod id;
mod primitives;

#[doc(hidden)]
pub mod testing;

pub use id::{AccessToken, CallId, DeviceId, JoinId, RequestId, RoomId};
pub use name::UserId;
pub use secret::Secret;
pub use time::{Time, WallTime};
