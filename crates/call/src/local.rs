//! This device, as far as a core may know it: everything but the private agreement key.

use std::sync::Arc;

use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, SigningKey, VerifyingKey};
use undertone_keys::static_key::StaticKey;

/// The device that makes and takes calls.
#[derive(Clone, Debug)]
pub struct Local {
    /// User and device.
    pub address: Address,
    /// Signs envelopes and joins.
    pub identity: Arc<SigningKey<Device>>,
    /// The account this device belongs to: what peers pin.
    pub account: VerifyingKey<Account>,
    /// The public half of the device's static key; the private half answers `Output::Ask`.
    pub key: StaticKey,
}
