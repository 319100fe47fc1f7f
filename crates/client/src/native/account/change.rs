//! Changing an account's devices without adding one: revoking, renaming, taking an announcement back (rules ID-6, ID-7).

use undertone_keys::DeviceId;
use undertone_keys::device_list::DeviceList;
use undertone_keys::secret::SecretBytes;
use undertone_protocol::rest::{Bytes, ChangeDevices};
use undertone_transparency::trust::TrustError;

use super::meet::Met;
use super::open::{Opened, Unlock, open};
use crate::native::directory::Directory;
use crate::native::enrolment;
use crate::native::error::ClientError;
use crate::native::home::DeviceSecrets;

/// What is to become of an account's devices.
#[derive(Clone, Copy, Debug)]
pub(in crate::native) enum Change<'a> {
    /// This device may act no more.
    Revoke(DeviceId),
    /// This device is called so.
    Rename(&'a str),
    /// The account does not begin anew.
    Keep,
}

/// Makes the change; the list that it led to, as the directory proves it, or as it was signed where this device can ask no more.
pub(in crate::native) async fn change(
    directory: &Directory,
    unlock: Unlock<'_>,
    change: Change<'_>,
) -> Result<DeviceList, ClientError> {
    unlock.check()?;
    let home = directory.home();
    if let Change::Rename(name) = change
        && enrolment::label(name)?.trim().is_empty()
    {
        return Err(ClientError::NoLabel);
    }
    let (met, opened, own) = open_own(directory, unlock, None).await?;
    if !matches!(change, Change::Keep) {
        opened.must_be_quiet()?;
    }
    let list = match change {
        Change::Revoke(device) => opened.list.revoke(&opened.account, device)?,
        Change::Rename(label) => renamed(&opened, &own, label)?,
        Change::Keep => kept(&opened)?,
    };
    hand_over(&met, &opened, &list).await?;
    match change {
        Change::Revoke(device) if device == own.address.device => {
            home.forget()?;
            return Ok(list);
        }
        Change::Rename(label) => home.rename(&enrolment::label(label)?)?,
        // Known here, and so no alarm (rule KT-11).
        Change::Revoke(device) => home.acknowledge(device, true)?,
        Change::Keep => {}
    }
    let proven = directory.own_devices().await?;
    if proven.hash() == list.hash() || proven.version() > list.version() {
        Ok(proven)
    } else {
        Err(ClientError::NotPublished)
    }
}

/// Opens the account of this device, and looks that it is the one that the directory proves.
pub(super) async fn open_own(
    directory: &Directory,
    unlock: Unlock<'_>,
    another: Option<&SecretBytes>,
) -> Result<(Met, Opened, DeviceSecrets), ClientError> {
    let home = directory.home();
    let own = home.device()?.ok_or(ClientError::NotLoggedIn)?;
    // What is signed here must follow the newest list there is, and not one that a server would like to be followed.
    let proven = directory.own_devices().await?;
    let (pin, connector, user) = (directory.pin().clone(), directory.connector().await, own.address.user.clone());
    let met = Met { pin, connector, user: user.clone(), token: home.token()? };
    let opened = open(&met, unlock, None, another).await?;
    let (old, new) = (own.account, *opened.account.public());
    if old != new {
        return Err(ClientError::Trust(TrustError::Changed { user, old, new }));
    }
    if opened.list.hash() != proven.hash() {
        return Err(ClientError::Contended);
    }
    Ok((met, opened, own))
}

/// Takes an announcement back, for somebody who is no device yet.
pub(super) async fn keep(met: &Met, opened: Opened) -> Result<(), ClientError> {
    hand_over(met, &opened, &kept(&opened)?).await
}

fn kept(opened: &Opened) -> Result<DeviceList, ClientError> {
    let announced = opened.announced.as_ref().ok_or(ClientError::NothingAnnounced)?;
    Ok(opened.list.keep(&opened.account, announced)?)
}

fn renamed(opened: &Opened, own: &DeviceSecrets, label: &str) -> Result<DeviceList, ClientError> {
    let not_listed = || ClientError::NotListed(own.address.user.display());
    let mut record = opened.list.device(own.address.device).ok_or_else(not_listed)?.clone();
    record.version = record.version.saturating_add(1);
    record.label = enrolment::label(label)?;
    Ok(opened.list.with(&opened.account, record.sign(&own.identity()))?)
}

async fn hand_over(met: &Met, opened: &Opened, list: &DeviceList) -> Result<(), ClientError> {
    let (exchange, passphrase) = (opened.exchange.clone(), opened.passphrase.clone());
    let change = ChangeDevices { exchange, list: Bytes(list.to_bytes()), passphrase, passphrase_off: false };
    met.post_for_nothing("/v1/devices/change", &change).await
}
