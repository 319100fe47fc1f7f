//! People as far as an engine needs them, and what is proven of them. Both the crowd on sockets and the room in virtual time are
//! made of such.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, bail};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use undertone_call::Local;
use undertone_client::engine::{Engine, Memory};
use undertone_keys::agreement::AgreementPublicKey;
use undertone_keys::envelope::Address;
use undertone_keys::sign::{Account, Device, Server, SigningKey, VerifyingKey};
use undertone_keys::{UserId, WallTime};
use undertone_protocol::limits::MAX_SPEAKERS;
use undertone_protocol::{Listed, Rights};
use undertone_transparency::verify::{Pins, Proven, Purpose, Question};
use undertone_transparency::{PeerTrust, TrustedPeer};

/// What is proven of everybody. One look-up serves all: what looking up costs belongs to a join, and is measured there.
pub(crate) type Peers = HashMap<UserId, TrustedPeer>;

pub(crate) const fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(crate) fn wall_time() -> WallTime {
    WallTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// A device of somebody's.
pub(crate) struct Person {
    pub(crate) address: Address,
    pub(crate) identity: Arc<SigningKey<Device>>,
    pub(crate) account: VerifyingKey<Account>,
    pub(crate) key: AgreementPublicKey,
}

impl Person {
    /// The shipped engine, for this device.
    pub(crate) fn engine(&self, server: VerifyingKey<Server>) -> Engine {
        let (address, identity) = (self.address.clone(), self.identity.clone());
        let local = Local { address, identity, account: self.account, key: self.key.into() };
        Engine::new(local, server, Memory::default())
    }

    /// The entry in a room's list of whoever is the `place`th on it: the first may do everything, and no more may speak than a
    /// list can have.
    pub(crate) fn listed(&self, place: usize) -> Listed {
        Listed { user: self.address.user.clone(), account: self.account, rights: rights(place) }
    }
}

/// See [`Person::listed`].
pub(crate) const fn rights(place: usize) -> Rights {
    Rights { speak: place < MAX_SPEAKERS, moderate: place == 0 }
}

/// What a server's answer proves of a user, checked as every client checks it.
pub(crate) fn trusted(pins: &Pins, user: &UserId, answer: &[u8]) -> anyhow::Result<TrustedPeer> {
    let question = Question { pins, user, seen: None, known: None, now: wall_time(), purpose: Purpose::Begin };
    match question.verify(answer).map_err(|accusation| anyhow!("{user}: {accusation}"))? {
        Proven::Devices(devices) => Ok(PeerTrust::pin(&devices).observe(&devices)?),
        Proven::Absent(_) => bail!("{user} is not in the directory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_may_speak_than_a_list_can_have() {
        let speakers = (0..1_000).filter(|place| rights(*place).speak).count();
        assert_eq!(speakers, MAX_SPEAKERS);
        assert_eq!((0..1_000).filter(|place| rights(*place).moderate).count(), 1);
    }
}
