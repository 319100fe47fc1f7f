//! A device is part of its account when the directory proves it.

use undertone_keys::device_list::DeviceList;
use undertone_keys::{AccessToken, DeviceId};
use undertone_protocol::rest::{Bytes, Enrol, Enrolled};
use undertone_transparency::PeerTrust;
use undertone_transparency::known::KnownList;
use undertone_transparency::trust::TrustError;
use undertone_transparency::verify::Purpose;

use super::anew;
use super::meet::Met;
use super::open::Opened;
use super::register::Registered;
use crate::native::device_key::Holder;
use crate::native::enrolment::Pending;
use crate::native::error::ClientError;
use crate::native::home::Home;
use crate::native::lookup::{Asked, Lookup};

/// Hands the list with the new device to the server. The device is in the home already.
pub(super) async fn enrol(
    home: &Home,
    met: &Met,
    opened: Opened,
    (pending, holder): (Pending, Holder),
) -> Result<Registered, ClientError> {
    let Opened { exchange, challenge, passphrase, .. } = opened;
    let enrol = Enrol {
        exchange,
        device: pending.device.id().to_string(),
        list: Bytes(pending.list.to_bytes()),
        possession: pending.device.possession(&holder, &challenge, &pending.list, met.connector.address())?,
        passphrase,
    };
    let enrolled: Enrolled = met.post("/v1/devices", &enrol).await?;
    settle(home, met, pending, &enrolled).await
}

/// Makes the home a device of the account, now that the server has taken it, and others are shown that it has: what the
/// directory proves of the account is what this device has signed.
pub(super) async fn settle(
    home: &Home,
    met: &Met,
    pending: Pending,
    enrolled: &Enrolled,
) -> Result<Registered, ClientError> {
    let Some(token) = &enrolled.token else { return anew::announced(home, met, pending, enrolled) };
    let token = AccessToken::parse(token).ok_or_else(|| met.bad())?;
    let Met { pin, connector, .. } = met;
    let Pending { device, list, recovery, .. } = pending;
    let (mut seen, lookup) = (home.seen(pin)?, Lookup { home, pin, token: &token, connector });
    // That its versions follow the list signed here is checked with it, and that it is this account's is checked here: nothing is
    // pinned yet that another key could be held against.
    let known = KnownList::new(list);
    let asked = Asked { user: known.list.user(), known: Some(&known), purpose: Purpose::Begin };
    let devices = lookup.devices(asked, &mut seen).await?;
    let list = &known.list;
    is_ours(list, devices.list(), device.id())?;
    home.settle(pin, &device.secrets(*list.account()), &token, &PeerTrust::pin(&devices), list)?;
    let (server_key, account) = (pin.identity.fingerprint(), list.account().fingerprint());
    Ok(Registered { user: list.user().clone(), recovery, server_key, account, effective: None })
}

/// Whether what the directory has of the account is of the key that signed `signed`, and lets this device act.
fn is_ours(signed: &DeviceList, proven: &DeviceList, device: &DeviceId) -> Result<(), ClientError> {
    let (old, new) = (*signed.account(), *proven.account());
    if old != new {
        return Err(ClientError::Trust(TrustError::Changed { user: signed.user().clone(), old, new }));
    }
    proven.device(*device).map(|_| ()).ok_or_else(|| ClientError::NotListed(signed.user().display()))
}

#[cfg(test)]
mod tests {
    use undertone_keys::agreement::{DeviceKey, SoftwareKey};
    use undertone_keys::record::DeviceRecord;
    use undertone_keys::sign::{Account, Device, SigningKey};
    use undertone_keys::testing::SeededRng;
    use undertone_keys::{Secret, UserId, WallTime};

    use super::*;

    /// A server that publishes a list of a key of its own behind the first one pins nothing in a device that has just begun.
    #[test]
    fn kt_7_what_the_directory_has_of_a_new_account_is_of_its_own_key_and_with_this_device() {
        let rng = &mut SeededRng::new(1);
        let user = UserId::parse("ada", "localhost").unwrap();
        let mut record = || {
            let (identity, agreement) = (SigningKey::<Device>::generate(rng), SoftwareKey::generate(rng));
            let now = WallTime::from_unix(1);
            let record = DeviceRecord::new(user.clone(), *identity.public(), *agreement.public(), now, "phone".into());
            (record, identity)
        };
        let account = |n: u8| SigningKey::<Account>::from_seed(Secret::filled_by(|seed| seed.fill(n)));
        let ((mine, my_key), (mut second, second_key), (theirs, their_key)) = (record(), record(), record());
        let signed = DeviceList::first(&account(1), &user, mine.sign(&my_key)).unwrap();
        let now = WallTime::from_unix(2);
        let consent = undertone_keys::consent::Consent::new(user.clone(), mine.device, second.device, now);
        second.consent = Some(consent.sign(&my_key));
        let grown = signed.with(&account(1), second.sign(&second_key)).unwrap();
        let mine = mine.device;
        assert!(is_ours(&signed, &signed, &mine).is_ok() && is_ours(&signed, &grown, &mine).is_ok());
        let impostor = DeviceList::first(&account(2), &user, theirs.sign(&their_key)).unwrap();
        let refused = is_ours(&signed, &impostor, &mine);
        assert!(matches!(refused, Err(ClientError::Trust(TrustError::Changed { .. }))), "{refused:?}");
        let revoked = grown.revoke(&account(1), mine).unwrap();
        assert!(matches!(is_ours(&signed, &revoked, &mine), Err(ClientError::NotListed(_))));
    }
}
