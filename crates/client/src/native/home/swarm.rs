//! The swarm that this device is enrolled in, and its coins' keys there.

use undertone_raida::swarm::Swarm;
use undertone_raida::wallet::Wallet;

use super::{Home, HomeError};

pub(super) const SWARM: &str = "swarm";
pub(super) const WALLET: &str = "wallet";

impl Home {
    /// The swarm and the wallet, if this device is enrolled.
    ///
    /// # Errors
    /// [`HomeError`].
    pub(in crate::native) fn swarm(&self) -> Result<Option<(Swarm, Wallet)>, HomeError> {
        let [Some(swarm), Some(wallet)] = self.get_together([SWARM, WALLET])? else { return Ok(None) };
        let damaged = |name: &str| HomeError::Damaged(name.to_owned());
        let text = std::str::from_utf8(&swarm).map_err(|_| damaged(SWARM))?;
        let swarm = Swarm::read(text).map_err(|_| damaged(SWARM))?;
        let text = std::str::from_utf8(&wallet).map_err(|_| damaged(WALLET))?;
        let wallet = Wallet::read(text).map_err(|_| damaged(WALLET))?;
        Ok(Some((swarm, wallet)))
    }

    /// Keeps both.
    ///
    /// # Errors
    /// [`HomeError`].
    pub(in crate::native) fn put_swarm(&self, swarm: &Swarm, wallet: &Wallet) -> Result<(), HomeError> {
        let (swarm, wallet) = (swarm.write(), wallet.write());
        self.put(&[(SWARM, Some(swarm.as_bytes())), (WALLET, Some(wallet.as_bytes()))])
    }
}
