//! Proven devices without a directory, for the tests of what stands on top of one. Only there with the feature `testing`,
//! which nothing but tests may ask for.

use undertone_keys::WallTime;
use undertone_keys::device_list::DeviceList;
use undertone_keys::sign::{Server, SigningKey, VerifyingKey};
use undertone_keys::testing::SeededRng;

use crate::checkpoint::{Checkpoint, VerifiedCheckpoint, origin};
use crate::known::NewestAt;
use crate::leaf::Leaf;
use crate::note::LogKey;
use crate::policy::Witnessed;
use crate::seen::Seen;
use crate::verify::{Provenance, VerifiedDevices};

/// The list as if a directory had proven it: in epoch 1, by a log of one leaf.
///
/// # Panics
/// Never: what it makes holds.
#[must_use]
pub fn proven(list: &DeviceList) -> VerifiedDevices {
    proven_in(list, 1)
}

/// The key of the log that [`proven`] speaks of.
#[must_use]
pub fn log_key() -> VerifyingKey<Server> {
    *key().public()
}

fn key() -> SigningKey<Server> {
    SigningKey::generate(&mut SeededRng::new(1))
}

/// The same by one of many logs under one key, of which an honest server has but one.
///
/// # Panics
/// Never: what it makes holds.
#[must_use]
#[expect(clippy::expect_used, reason = "for tests")]
pub fn proven_in(list: &DeviceList, branch: u8) -> VerifiedDevices {
    let key = key();
    let leaf = Leaf { epoch: 1, root: [branch; 32], vrf_key: [2; 32], time: WallTime::from_unix(1) };
    let name = origin(list.user().domain()).expect("a user's domain is one");
    let signed = Checkpoint { origin: name.clone(), size: 1, root: leaf.hash() }.sign(&key);
    let checkpoint: VerifiedCheckpoint = signed.verify(&LogKey::new(name, *key.public())).expect("it was signed");
    let witnessed = Witnessed { threshold: 0, witnesses: Vec::new(), ignored: Vec::new() };
    let newest = Some(NewestAt { epoch: leaf.epoch, time: leaf.time });
    let provenance = Provenance { seen: Seen::new(checkpoint, leaf), witnessed };
    VerifiedDevices { list: list.clone(), announced: None, published: 1, newest, provenance }
}
