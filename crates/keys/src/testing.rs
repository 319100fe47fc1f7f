//! A random number generator whose output is a function of its seed, for tests and simulations. Not for keys that
//! protect anything.

use core::convert::Infallible;

use crate::WallTime;
use crate::consent::Consent;
use crate::digest::sha256;
use crate::record::DeviceRecord;
use crate::sign::{Device, SigningKey};

/// A new device's record with the consent of the device that has this key, as if a person had given it there.
#[must_use]
pub fn let_in(by: &SigningKey<Device>, newcomer: DeviceRecord) -> DeviceRecord {
    let (user, by_id) = (newcomer.user.clone(), crate::DeviceId::of(by.public()));
    let consent = Consent::new(user, by_id, newcomer.device, WallTime::from_unix(1)).sign(by);
    DeviceRecord { consent: Some(consent), ..newcomer }
}

/// SHA-256 in counter mode over a seed.
#[derive(Clone, Debug)]
pub struct SeededRng {
    seed: u64,
    counter: u64,
    left: Vec<u8>,
}

impl SeededRng {
    /// A generator for this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, counter: 0, left: Vec::new() }
    }
}

impl rand_core::TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            if self.left.is_empty() {
                self.left = sha256(&[&self.seed.to_be_bytes(), &self.counter.to_be_bytes()]).to_vec();
                self.counter += 1;
            }
            *byte = self.left.pop().unwrap_or_default();
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SeededRng {}
