//! Who is let into the group (rule MLS-1): the access list, and what the key directory proved of whoever is on it.

use std::collections::BTreeMap;

use undertone_groups::{Roll, Standing, standing_of};
use undertone_keys::{DeviceId, UserId};
use undertone_media::faults::{Fault, is_planted};
use undertone_protocol::Access;

use crate::local::Local;
use crate::room::roster::Known;

/// What this device knows at one moment.
pub(super) struct RoomRoll<'a> {
    pub(super) access: &'a Access,
    pub(super) known: &'a BTreeMap<UserId, Known>,
    pub(super) local: &'a Local,
}

impl Roll for RoomRoll<'_> {
    fn standing(&self, user: &UserId, device: &DeviceId) -> Standing {
        let Some(listed) = self.access.list().listed(user) else {
            // Never, but where that fault is planted.
            let taken = self.known.get(user).and_then(|known| known.peer.as_ref());
            let taken = taken.filter(|_| is_planted(Fault::TakesTheServersWord));
            return taken.map_or(Standing::Refused, |peer| standing_of(peer, *device));
        };
        // Who is in the audience has no leaf (rule GRP-9).
        if self.access.list().terms.is_audience(listed.rights) {
            return Standing::Refused;
        }
        if *user == self.local.address.user && *device == self.local.address.device {
            return Standing::Listed(*self.local.identity.public());
        }
        let Some(known) = self.known.get(user) else { return Standing::Unknown };
        match &known.peer {
            Some(peer) if *peer.account() != listed.account => Standing::Refused,
            // A device may be newer than what was last looked up.
            Some(peer) if peer.device(*device).is_none() && known.is_asked() => Standing::Unknown,
            Some(peer) => standing_of(peer, *device),
            None if known.is_untrusted() => Standing::Refused,
            None => Standing::Unknown,
        }
    }
}
