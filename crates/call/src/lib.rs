//! The call machine: invite, ring, answer, confirm, end. One device's view of its calls, without sockets or clocks.
//!
//! A [`Phone`] is fed inputs and drained of outputs, as every machine of Undertone:
//!
//! ```text
//! phone.handle_input(now, Input::Dial { .. }, rng)?;          what happened
//! while let Some(output) = phone.poll_output() { .. }          what is to be done: send, agree, store, tell
//! phone.poll_timeout()                                          when to come back with Input::Tick
//! ```
//!
//! Outputs are to be carried out in order; each `handle_input` may add some. `Output::Agree` is answered by
//! `Input::Agreed`, as private agreement keys live elsewhere (rule ID-5).
//!
//! # What goes between two devices
//!
//! Each signal travels in an envelope of its own (rule ID-4), so the server learns who calls whom and when, and
//! nothing else. One invite goes to each of the callee's devices, each with its own transcript (rule CALL-5):
//!
//! ```text
//! caller                                   callee's device
//!   Invite {eA, H(rA), terms, grant} ------->
//!   <------------------------------ Ringing
//!   <-------------- Answer {eB, rB, grant, MAC}
//!   Confirm {rA, MAC} ---------------------->     (Taken to the callee's other devices)
//! ```
//! Signals may be lost: what has no answer yet is sent again, as the same bytes, and a signal seen twice is
//! answered twice but applied once.
//!
//! # Security goals
//! * A call begins only with a [`undertone_transparency::TrustedPeer`]; there is no other constructor.
//! * Neither side is told that a call is established before the other has proven the same keys and terms by its MAC,
//!   so no frame is sealed to somebody who could not open it (CALL-1, NEG-1).
//! * A call id is accepted once, and an invite only while it is fresh (CALL-5).
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

pub mod local;
pub mod outcome;
pub mod policy;
pub mod quorum;
pub mod room;
pub mod signal;

mod incoming;
mod mailbox;
mod outgoing;
mod phone;

pub use local::Local;
pub use outcome::Outcome;
pub use phone::{DialError, Established, Event, Input, Output, Phone, Ringing, Role};
pub use policy::Policy;
