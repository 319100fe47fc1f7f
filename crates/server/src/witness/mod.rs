//! A witness of a key directory's log (rules KT-2 and KT-12): a second pair of eyes, run by somebody else than the
//! server.
//!
//! ```text
//! checkpoint --KT-1, KT-4--> kept --entries, audit proofs: KT-12--> kept --cosign--> kept --> posted to the log
//! ```
//! A client that asks for t of n cosignatures knows that t witnesses were shown the same log as it was, and that each
//! of them checked that the directory behind it never changed or lost an entry. [`Check`] is one look at a log and
//! computes alone (its machine, [`undertone_transparency::follow`], is the one of everybody who audits a log); [`Kept`] is what a witness knows, and hands out a cosignature only once it is durable; [`Folder`]
//! keeps it, [`Client`] moves the bytes, and [`Watch`] is the loop around them.
//!
//! # Security goals
//! * A cosignature says that every leaf up to there was read in order, and that every epoch among them only added to
//!   the one before, from the empty tree on. Nothing of that is ever skipped: a witness that starts anew starts at the
//!   first leaf.
//! * No two trees of one size are ever cosigned, and none that the last one is not the beginning of. What is to be
//!   cosigned is on the disk before the line leaves the process, and after a crash the same line goes out again.
//! * The largest checkpoint that was seen is kept before its leaves are read, so a log that shows another one instead
//!   of explaining this one is caught (rule KT-4).
//! * Two statements of the log that cannot both be honest are kept as [`Evidence`] that anybody can check with the
//!   log's key alone. Nothing is cosigned from then on until a person has looked at it and moved the file away.
//! * A witness whose memory was lost or set back meets its own cosignatures in the log and stops likewise.
//!
//! # Not goals
//! * Whether the right devices stand in the directory: only their owners know that (rule KT-11). A witness learns no
//!   names; it sees roots, places of leaves and commitments.
//! * Secrecy and authenticity of the way to the log. Any TLS certificate is taken, since all that comes is verified by
//!   itself and all that goes is public. Somebody on the way can keep a witness from its work, which shows: the
//!   cosignatures stop.
//! * Wrong proofs that nobody signed convict nobody, since anybody on the way could have made them. They are reported
//!   and kept in a small number, and the next look begins anew.
//! * Telling the log's time: leaves never go back (rule KT-8), but whether their clock is right is for clients to
//!   compare.
//! * A changed VRF key is refused also where the log's key allows it (rule KT-14): a witness for it starts in a new
//!   folder.

mod address;
mod core;
mod fetch;
mod keep;
mod memory;
mod report;
mod run;
mod state;

pub use self::core::{Asking, Check, Step};
pub use address::{BadAddress, LogAddress};
pub use fetch::{Client, FetchError};
pub use keep::{Keep, Kept};
pub use memory::{BadMemory, CannotCosign, Memory};
pub use report::{Report, Trouble};
pub use run::{Options, StartError, Watch};
pub use state::{Folder, StateError, read_or_make_key, witness_key};
pub use undertone_transparency::follow::{Accused, Evidence, Fault, MAX_EVIDENCE, Resource};

#[cfg(test)]
mod tests;
