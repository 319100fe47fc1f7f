//! A present device's word that another one may join, and the wait for it (rule ID-6).

use std::time::Duration;

use tokio::time::{Instant, sleep};
use undertone_keys::consent::Consent;
use undertone_keys::device_list::DeviceList;
use undertone_keys::sign::Signed;
use undertone_keys::{DeviceId, cbor, pairing};
use undertone_protocol::limits::CONSENT_TIMEOUT;
use undertone_protocol::rest::{AwaitConsent, Bytes, Consented, GiveConsent, code};

use super::meet::Met;
use super::open::Opened;
use crate::native::directory::Directory;
use crate::native::error::ClientError;
use crate::native::{rest, wall_time};

/// Between two questions at least: a server that does not let us wait is not asked in a circle.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows the code of `device` and waits until one of those in `opened` lets it in.
pub(super) async fn wait(
    met: &Met,
    opened: &Opened,
    device: DeviceId,
    show: &(dyn Fn(&str) + Sync),
) -> Result<Signed, ClientError> {
    show(&pairing::to_text(device));
    let ask = AwaitConsent { exchange: opened.exchange.clone(), device: device.to_string() };
    let end = Instant::now() + CONSENT_TIMEOUT;
    loop {
        let asked = Instant::now();
        match met.post_patiently::<Consented>("/v1/devices/consent", &ask).await {
            Ok(Consented { consent: Some(bytes) }) => {
                let signed = cbor::decode(&bytes.0).map_err(|_| met.bad())?;
                return if holds(&opened.list, device, &signed) { Ok(signed) } else { Err(ClientError::BadConsent) };
            }
            Ok(Consented { consent: None }) | Err(ClientError::Unreachable { .. }) if Instant::now() < end => {}
            Ok(Consented { consent: None }) => return Err(ClientError::NoConsent),
            Err(ClientError::Refused { code, .. }) if code == code::EXCHANGE_OVER => {
                return Err(ClientError::NoConsent);
            }
            Err(error) => return Err(error),
        }
        sleep(PAUSE.saturating_sub(asked.elapsed())).await;
    }
}

/// Whether this is the word of a device that may act in `list`, about this very device.
pub(super) fn holds(list: &DeviceList, device: DeviceId, signed: &Signed) -> bool {
    let by = Consent::claimed(signed).ok().and_then(|claimed| list.device(claimed.by));
    let consent = by.and_then(|by| Consent::verify(signed, &by.identity).ok());
    consent.is_some_and(|consent| consent.user == *list.user() && consent.device == device)
}

/// Lets `device` into the account of this one.
pub(in crate::native) async fn give(directory: &Directory, device: DeviceId) -> Result<(), ClientError> {
    let own = directory.home().device()?.ok_or(ClientError::NotLoggedIn)?;
    let list = directory.own_devices().await?;
    let user = own.address.user.clone();
    if list.device(own.address.device).is_none() {
        return Err(ClientError::NotListed(user.display()));
    }
    if list.is_revoked(device) {
        return Err(ClientError::Revoked(device.to_string()));
    }
    if list.device(device).is_some() {
        return Err(ClientError::AlreadyListed);
    }
    let consent = Consent::new(user, own.address.device, device, wall_time()).sign(&own.identity());
    let body = GiveConsent { consent: Bytes(cbor::encode(&consent)) };
    let connector = directory.connector().await;
    let (stream, address) = (connector.tcp().await?, connector.address());
    rest::post_for_nothing(stream, address, "/v1/consents", directory.token(), &body).await?;
    // Whoever lets it in knows it: it is no alarm here when the history shows it (rule KT-11).
    Ok(directory.home().acknowledge(device, false)?)
}

#[cfg(test)]
mod tests {
    use undertone_keys::agreement::{DeviceKey, SoftwareKey};
    use undertone_keys::record::DeviceRecord;
    use undertone_keys::sign::SigningKey;
    use undertone_keys::testing::SeededRng;
    use undertone_keys::{UserId, WallTime};

    use super::*;

    /// A server hands over whatever it likes; what lets a device in is the word of one that may act, about this very device.
    #[test]
    fn id_6_a_consent_is_of_a_device_that_may_act_and_about_this_one() {
        let rng = &mut SeededRng::new(5);
        let (ada, bob) = (UserId::parse("ada", "x").unwrap(), UserId::parse("bob", "x").unwrap());
        let now = WallTime::from_unix(1);
        let (account, phone, laptop) =
            (SigningKey::generate(rng), SigningKey::generate(rng), SigningKey::generate(rng));
        let [phone_id, laptop_id] = [&phone, &laptop].map(|key| DeviceId::of(key.public()));
        let agreement = SoftwareKey::generate(rng);
        let record = DeviceRecord::new(ada.clone(), *phone.public(), *agreement.public(), now, "phone".into());
        let list = DeviceList::first(&account, &ada, record.sign(&phone)).unwrap();
        let consent = |user: &UserId, by, device| Consent::new(user.clone(), by, device, now);

        let good = consent(&ada, phone_id, laptop_id).sign(&phone);
        assert!(holds(&list, laptop_id, &good));
        assert!(!holds(&list, phone_id, &good), "about another");
        assert!(!holds(&list, laptop_id, &consent(&bob, phone_id, laptop_id).sign(&phone)), "of another account");
        assert!(!holds(&list, laptop_id, &consent(&ada, phone_id, laptop_id).sign(&laptop)), "of another key");
        assert!(!holds(&list, laptop_id, &consent(&ada, laptop_id, phone_id).sign(&laptop)), "of nobody in the list");
        let revoked = list.revoke(&account, phone_id).unwrap();
        assert!(!holds(&revoked, laptop_id, &good), "of one that was revoked");
    }
}
