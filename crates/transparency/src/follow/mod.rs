//! Reading a whole log (rules KT-3, KT-4, KT-8, KT-12, KT-14): from a checkpoint to "every leaf was read in order, and every
//! epoch only added", for witnesses and for whoever audits a log.
//!
//! ```text
//! checkpoint --KT-1, KT-4--> kept --entries, audit proofs: KT-3, KT-8, KT-12, KT-14--> kept
//! ```
//! [`Progress`] is how far a log was read; [`Check`] is one look at it, and computes alone: [`Step`] says what is to be
//! fetched or kept next. What does not hold ends it with an [`Accused`], whose [`Evidence`] anybody can check with the
//! log's key alone.
//!
//! # Security goals
//! * Every leaf is read, from the first on, and every epoch among them is shown to have only added to the one before,
//!   from the empty tree on. Nothing of that is ever skipped: who starts anew starts at the first leaf.
//! * The largest checkpoint that was seen is to be kept before its leaves are read, so a log that shows another one instead
//!   of explaining this one is caught.
//! * Time and memory are bounded by what was asked for, whatever comes.
//!
//! # Not goals
//! Whether the right devices stand in the directory: only their owners know that (rule KT-11). Wrong proofs that nobody signed
//! convict nobody, since anybody on the way could have made them.

mod check;
mod evidence;
mod fault;
mod progress;
mod resource;
mod tiles;

pub use check::{Asking, Check, Step};
pub use evidence::{Evidence, MAX_EVIDENCE};
pub use fault::{Accused, Fault};
pub use progress::Progress;
pub use resource::Resource;
