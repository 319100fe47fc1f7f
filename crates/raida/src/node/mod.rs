//! A node: the coin store, the posted keys, and what it answers.
//!
//! [`Node::answer`] is all there is to a node, for UDP and TCP alike: bytes in, bytes out, by any number of threads at once.
//! [`Node::waits_for`] says beforehand what of the disk an answer needs, and [`Node::read_keys`] reads what shows by whom a request is.

mod alerts;
pub mod coins;
mod keys;
mod limits;
mod own_coins;
mod profile;
mod replays;
pub mod serve;
mod service;
#[cfg(test)]
pub(crate) mod testing;

pub use self::alerts::{Alert, LISTENS};
pub use self::keys::{Held, KeyOptions, Keys, Owned, PostError};
pub use self::limits::AddressLimit;
pub use self::own_coins::OwnCoins;
pub use self::profile::Profile;
pub use self::replays::REMEMBERED;
pub use self::service::{Asked, Node, NodeOptions, WaitsFor};
