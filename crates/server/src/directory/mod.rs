//! The key directory: who has which device list, in a form that leaves evidence of every lie (rules KT-1 to KT-8).
//!
//! ```text
//! publish --> queue --> epoch --> one transaction { tree, versions, audit proof, leaf of the log } --> signature
//!                                                                                                       |
//! look-up <-- proof <-- snapshot of the tree <--------------- shown only from here on ------------------+
//! ```
//! A tree (`akd` 0.13, configuration `WhatsAppV1`) maps users to the hashes of their signed device lists. Each change
//! of it is an epoch, and each epoch a leaf of a log. One writer changes all of it; it runs on a
//! thread of its own, since neither SQLite nor the tree waits for anything in an asynchronous way. Readers never wait
//! for it: they work on what was shown last.
//!
//! # What holds
//! * An epoch has one root for ever, and what was shown is durable: the tree, the leaf and the proof that the epoch
//!   only added are one transaction, and nobody is told before it is on the disk and signed.
//! * A server killed at any point starts with the last durable epoch. Its checkpoint is signed again, with the same
//!   bytes: Ed25519 signs deterministically, and size and root come from what is durable.
//! * A database is bound to its domain and keys. With others the server does not start (rule KT-14).
//! * What is not there is proven not to be there; an error is never taken for an absence.
//!
//! # Who waits for whom
//! [`Directory::publish`] waits in a bounded channel for its epoch, at most about a second. Look-ups take a connection
//! of a bounded pool and run on blocking threads.

mod ahead;
mod akd_store;
mod clock;
mod codec;
mod epoch;
mod error;
mod handle;
mod prover;
mod queue;
mod serve;
mod settings;
mod shown;
mod snapshot;
mod sqlite;
mod storage;
mod tree;
mod vrf;
mod writer;

pub use error::{DirectoryError, OpenError};
pub use handle::{Answer, Directory, Published};
pub use prover::Proof;
pub use settings::{Keys, Settings};
pub use shown::{LeafProof, Shown};
pub use sqlite::{Sqlite, SqliteView};
pub use storage::{
    Batch, Binding, Head, LogLeaf, NewEpoch, NodeRow, Storage, StorageError, Version, View, Visit, VrfPair, VrfProof,
};

#[cfg(test)]
mod tests;
