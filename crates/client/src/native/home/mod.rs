//! The home folder of one device: a small transactional store with one owner at a time (rules STO-1, STO-2).
//!
//! `undertone.redb`, mode 0600 in a folder of mode 0700: records by name, versioned by their first CBOR field; and the MLS groups of the
//! device, in a table of their own.

mod device;
mod evidence;
mod groups;
mod known;
mod peers;
mod server;
mod store;
mod swarm;
mod told;

pub use device::{DeviceSecrets, KeyPlace};
pub(super) use known::{Audited, KnownDevices};
pub use server::ServerPin;
pub use store::{Home, HomeError};
pub(super) use told::KeptTold;

#[cfg(test)]
mod tests;
