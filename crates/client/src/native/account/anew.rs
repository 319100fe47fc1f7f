//! An account begins anew, since nobody has what opens its key: announced, and effective later (rule ID-7).

use undertone_keys::WallTime;
use undertone_keys::device_list::{ClaimedList, DeviceList, ListError};
use undertone_keys::sign::{Account, SigningKey};
use undertone_protocol::rest::{Enrolled, RegisterChallenge};

use super::meet::Met;
use super::register::Registered;
use crate::native::enrolment::{NewDevice, Pending};
use crate::native::error::ClientError;
use crate::native::home::Home;

/// The first list of a new account, or the one that puts a new account key in the place of a lost one. What the server says of
/// the list before is believed here; the directory takes no list that does not follow the one it has.
pub(super) fn first_list(
    met: &Met,
    challenge: &RegisterChallenge,
    account: &SigningKey<Account>,
    (device, anew): (&NewDevice, bool),
) -> Result<DeviceList, ClientError> {
    let record = device.signed_record();
    match (&challenge.list, anew) {
        (None, false) => Ok(DeviceList::first(account, &met.user, record)?),
        (Some(bytes), true) => {
            let before = ClaimedList::from_bytes(&bytes.0)?.verify(&met.user)?;
            Ok(DeviceList::anew(account, &before, record)?)
        }
        // Nobody begins anew without having said so, and nobody makes a new account who wants an old name.
        (Some(_), false) | (None, true) => Err(met.bad()),
    }
}

/// What the server says is announced behind `list`.
pub(super) fn announcement(list: &DeviceList, bytes: &[u8]) -> Result<DeviceList, ListError> {
    let announced = ClaimedList::from_bytes(bytes)?.verify(list.user())?;
    if announced.begins_anew().is_none() {
        return Err(ListError::Anew);
    }
    announced.follows(list)?;
    Ok(announced)
}

/// The server has taken the list and the time has not come: the device waits in the home.
pub(super) fn announced(
    home: &Home,
    met: &Met,
    mut pending: Pending,
    enrolled: &Enrolled,
) -> Result<Registered, ClientError> {
    let effective = enrolled.effective.map(WallTime::from_unix).filter(|_| pending.list.begins_anew().is_some());
    pending.effective = Some(effective.ok_or_else(|| met.bad())?);
    let recovery = pending.recovery.take();
    home.put_pending(&pending)?;
    let (user, account) = (pending.list.user().clone(), pending.list.account().fingerprint());
    Ok(Registered { user, recovery, server_key: met.pin.identity.fingerprint(), account, effective })
}

/// A passphrase that is wrong may be right later: the one of an account that has not begun anew yet.
pub(super) fn not_yet(error: ClientError, earlier: Option<&Pending>) -> ClientError {
    match (error, earlier.filter(|pending| pending.list.begins_anew().is_some())) {
        (ClientError::WrongCredentials, Some(pending)) => {
            ClientError::NotYet { user: pending.list.user().display(), effective: pending.effective }
        }
        (error, _) => error,
    }
}
