//! MLS groups (RFC 9420) behind a wall: what a call needs of them, in our own types, over openmls.
//!
//! The crate is pure. A device's groups live in a [`Store`], a map in memory that the shell keeps on disk. Every operation reads it, and
//! what it would change comes out as a [`Step`]: a write set to be committed as one transaction, and bytes to be sent after
//! that (rule STO-2). Whoever refuses what came drops the write set; whoever is killed goes on from the last one committed, and
//! finds in the outbox the very bytes that were to be sent.
//!
//! ```
//! use undertone_groups::{Change, Group, GroupId, Joiner, KeyPackage, Outgoing, Protection, Standing, Store, Suite, Terms};
//! # use undertone_keys::sign::SigningKey;
//! # use undertone_keys::testing::SeededRng;
//! # use undertone_keys::{DeviceId, JoinId, UserId, WallTime};
//! # let rng = &mut SeededRng::new(1);
//! # let now = WallTime::from_unix(1_800_000_000);
//! # let (ada, bob) = (UserId::parse("ada", "x")?, UserId::parse("bob", "x")?);
//! # let (ada_key, bob_key) = (SigningKey::generate(rng), SigningKey::generate(rng));
//! // Who is let in, and by which key the directory knows them.
//! let roll = |user: &UserId, device: &DeviceId| {
//!     let known = [(&ada, ada_key.public()), (&bob, bob_key.public())];
//!     let found = known.iter().find(|(name, key)| *name == user && DeviceId::of(key) == *device);
//!     found.map_or(Standing::Refused, |(_, key)| Standing::Listed(**key))
//! };
//! let (id, terms) = (GroupId::from_bytes([1; 16]), Terms::new(Protection::Blind, Suite::X25519, false));
//!
//! // Bob leaves a key package behind.
//! let mut his = Store::new();
//! let joiner = Joiner { user: &bob, identity: &bob_key, join: JoinId::random(rng), now };
//! let step = KeyPackage::generate(&his, rng, terms.suite, &joiner)?;
//! let Outgoing::KeyPackage { bytes } = &step.send[0].what else { unreachable!() };
//! let package = KeyPackage::parse(bytes, terms.suite, now)?;
//! his.apply(step.store);
//!
//! // Ada makes a group and adds him.
//! let mut hers = Store::new();
//! let joiner = Joiner { user: &ada, identity: &ada_key, join: JoinId::random(rng), now };
//! hers.apply(Group::create(&hers, rng, id, &terms, &joiner)?.store);
//! let change = Change { add: vec![package], ..Change::default() };
//! let step = Group::open(&hers, id)?.commit(rng, change, &roll)?;
//! hers.apply(step.store);
//! // ... the shell sends step.send, the delivery service takes it ...
//! let Outgoing::Commit(upload) = &step.send[0].what else { unreachable!() };
//! let step = Group::open(&hers, id)?.accepted(rng)?;
//! hers.apply(step.store);
//!
//! let welcome = upload.welcome.as_deref().unwrap_or_default();
//! his.apply(Group::join(&his, rng, id, &terms, welcome, &upload.tree, &roll)?.store);
//! let (hers, his) = (Group::open(&hers, id)?, Group::open(&his, id)?);
//! assert_eq!(hers.authenticator()?, his.authenticator()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security goals
//! * Nobody is in a group whose device the directory does not prove and the caller's [`Roll`] does not let in; a leaf's key is the one its
//!   device vouched for (rule MLS-1). An external commit does nothing but join (rule MLS-2).
//! * What NEG-1 fixes is in the group context and never changes.
//! * No two messages leave under one generation of a ratchet, whenever the process is killed (rule STO-2).
//! * Everything that takes bytes from outside is total, and looks at their number first ([`limits`]).
//!
//! # Not goals
//! Ordering commits (a delivery service does that, by compare-and-set), deciding who commits when (rule MLS-4), looking anybody up,
//! hiding the size of a group or its membership from a delivery service that sees external commits.
//!
//! # What is left out of MLS
//! * Proposals that stand alone, and external senders. Commits carry their own proposals, so that which commit a member can follow depends
//!   on nothing that got lost on the way. Who leaves says so, and is removed by somebody who stays.
//! * ReInit and branching: see [`Group::migration`].
//! * Signature keys that change during a join. A leaf keeps its key and its credential; a new key is a new join.
//! * openmls's feature `extensions-draft`: nothing here needs what it adds, and each proposal type more is one more to be refused.
//!
//! # Time and chance
//! No clock is read by us; openmls compares lifetimes with its own, so ours never end, and the age of a key package stands in what its
//! device signed. Randomness is an argument of the call that draws, but for the ephemeral keys of HPKE, which both backends draw from
//! the operating system.
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

mod config;
mod failure;
mod group;
mod key_package;
pub mod labels;
mod leaf;
pub mod limits;
pub mod member;
mod provider;
pub mod psk;
pub mod quorum;
mod refused;
mod roll;
mod sealable;
mod step;
mod store;
mod suite;
mod terms;

pub use failure::{Blame, Broken};
pub use group::{
    Attest, Authenticator, Change, CommitError, CreateError, ExternalJoin, Group, GroupId, JoinError, JudgeError, Kind,
    MergeError, NewLeaf, OpenError, Opened, ReceiveError, Received, Rejoin, SealError, SettleError, Shares, Staged,
    Verdict,
};
pub use key_package::{KeyPackage, KeyPackageError};
pub use leaf::Joiner;
pub use psk::PskId;
pub use quorum::QuorumId;
pub use refused::Refused;
pub use roll::{DeviceRef, Member, Roll, Standing, standing_of};
pub use step::{OutboxId, Outgoing, Sent, Step, Upload, acknowledge, waiting};
pub use store::{Store, StoreError, WriteSet};
pub use suite::Suite;
pub use terms::{KeyIdLayout, KeySource, Protection, Quorum, Terms};
