//! Every entry where bytes come in from outside, as a plain function of bytes: it may refuse, it may not panic, and
//! what it accepts it writes again as the same bytes.
//!
//! The tests replay the corpus in `corpus/<target>/` and thousands of random inputs. `make fuzz` runs the same
//! functions under libFuzzer, where cargo-fuzz and a nightly toolchain are installed; what it finds goes into the
//! corpus.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")
)]
#![allow(clippy::panic, reason = "a target says by a panic that it found something")]

mod directory;
mod groups;
mod raida;
mod swarm;
mod targets;

pub use targets::TARGETS;

/// One entry: its name, which is its corpus folder's, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

#[cfg(test)]
mod tests;
