//! Adding a device to an account: opened, let in, enrolled (rules ID-2, ID-6).

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use undertone_keys::DeviceId;
use undertone_keys::device_list::DeviceList;
use undertone_keys::sign::{Device, Signed, SigningKey};

use super::meet::{Met, meet};
use super::open::{Opened, Unlock, open};
use super::register::Registered;
use super::settle::enrol;
use super::{anew, change, consent};
use crate::native::device_key::{Holder, KeyChoice, Pins};
use crate::native::enrolment::{self, NewDevice, Pending};
use crate::native::error::ClientError;
use crate::native::home::Home;
use crate::native::rng;

/// How a device is added to an account.
#[derive(Debug)]
pub struct Login<'a> {
    /// Host and port of the server.
    pub server: &'a str,
    /// The account's name, bare or in full.
    pub name: &'a str,
    /// What opens the account.
    pub unlock: Unlock<'a>,
    /// What the device is called.
    pub label: &'a str,
    /// Which key the device is to have.
    pub key: KeyChoice,
    /// How it gets past the devices that are there.
    pub entrance: Entrance<'a>,
    /// Takes an announcement to begin the account anew back first, if there is one (rule ID-7).
    pub keep: bool,
}

/// How a device that joins an account gets past those that are there (rule ID-6). Where there is none, it needs neither.
#[derive(Clone, Copy)]
pub enum Entrance<'a> {
    /// One of them lets it in: this shows the code that is to be typed there.
    LetIn(&'a (dyn Fn(&str) + Sync)),
    /// There is nobody to ask: all of them are revoked. This is shown who they are, and says whether that is meant.
    Alone(&'a (dyn Fn(&DeviceList) -> bool + Sync)),
}

impl fmt::Debug for Entrance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LetIn(_) => "LetIn",
            Self::Alone(_) => "Alone",
        })
    }
}

/// A server's exchange does not wait for long: after this, the account is opened once more.
const THOUGHT: Duration = Duration::from_secs(10);

pub(in crate::native) async fn login(
    home: &Home,
    login: Login<'_>,
    pins: &dyn Pins,
) -> Result<Registered, ClientError> {
    login.unlock.check()?;
    enrolment::label(login.label)?;
    let met = meet(home, login.server, login.name).await?;
    // An earlier attempt may have been taken, and only its answer lost.
    let earlier = home.pending()?;
    if let Some(other) = earlier.as_ref().map(|pending| pending.list.user()).filter(|user| **user != met.user) {
        return Err(ClientError::Unfinished(other.display()));
    }
    // A challenge for an RSA key is made for this very key, which must be there first. A key on a token is made when all
    // else is known to be right: what lies on a token does not go away by itself.
    let early = match &earlier {
        None if login.key == KeyChoice::Rsa2048 => Some(NewDevice::generate(&met.user, login.label, &login.key, pins)?),
        Some(_) | None => None,
    };
    let device = earlier.as_ref().map(|pending| &pending.device).or_else(|| early.as_ref().map(|(device, _)| device));
    let legacy_key = device.and_then(NewDevice::legacy_key);
    let again = || open(&met, login.unlock, legacy_key.clone(), None);
    let mut opened = again().await.map_err(|error| anew::not_yet(error, earlier.as_ref()))?;
    if login.keep && opened.announced.is_some() {
        change::keep(&met, opened).await?;
        opened = again().await?;
    }
    opened.must_be_quiet()?;
    if earlier.as_ref().is_some_and(|pending| !pending.device.has(&login.key)) {
        return Err(ClientError::OtherKey);
    }
    let (pending, holder) = match earlier {
        // With the recovery key of a registration, if it was one: nobody has seen it yet.
        Some(pending) if opened.list.device(*pending.device.id()).is_some() => {
            let holder = pending.device.holder(pins)?;
            (Pending { list: opened.list.clone(), effective: None, ..pending }, holder)
        }
        earlier => {
            // It was never taken, and its keys are as good as any; but for those of a device that was revoked since.
            let earlier = earlier.map(|pending| pending.device).filter(|old| !opened.list.is_revoked(*old.id()));
            let newcomer = match (earlier, early) {
                (Some(device), _) => Newcomer::Whole(Box::new(device), None),
                (None, Some((device, holder))) => Newcomer::Whole(Box::new(device), Some(holder)),
                (None, None) => Newcomer::Identity(SigningKey::generate(&mut rng())),
            };
            let (let_in, reopened) = past_the_others(&met, opened, &newcomer, login.entrance, again).await?;
            opened = reopened;
            let (mut device, holder) = newcomer.whole(&met, &login, pins)?;
            let alone = let_in.is_none() && opened.list.active().next().is_some();
            device.let_in(let_in);
            let record = device.signed_record();
            let list = if alone {
                opened.list.with_alone(&opened.account, record)?
            } else {
                opened.list.with(&opened.account, record)?
            };
            (Pending { device, list, recovery: None, effective: None }, holder)
        }
    };
    home.put_pending(&pending)?;
    enrol(home, &met, opened, (pending, holder)).await
}

/// The consent of a device that is there, or that it goes without; and the account, opened again where that took its time.
async fn past_the_others<F: Future<Output = Result<Opened, ClientError>>>(
    met: &Met,
    opened: Opened,
    newcomer: &Newcomer,
    entrance: Entrance<'_>,
    again: impl Fn() -> F,
) -> Result<(Option<Signed>, Opened), ClientError> {
    if opened.list.active().next().is_none() {
        return Ok((None, opened));
    }
    match entrance {
        Entrance::LetIn(show) => {
            let id = newcomer.id();
            let kept = newcomer.consent().filter(|signed| consent::holds(&opened.list, id, signed)).cloned();
            let consent = match kept {
                Some(kept) => kept,
                None => consent::wait(met, &opened, id, show).await?,
            };
            Ok((Some(consent), opened))
        }
        Entrance::Alone(meant) => {
            let asked = Instant::now();
            if !meant(&opened.list) {
                return Err(ClientError::NotMeant);
            }
            if asked.elapsed() < THOUGHT {
                return Ok((None, opened));
            }
            let reopened = again().await?;
            // Nobody is cut off who was not named.
            let same = reopened.list.hash() == opened.list.hash() && reopened.announced.is_none();
            if same { Ok((None, reopened)) } else { Err(ClientError::Contended) }
        }
    }
}

/// A device on its way, as far as it is there: a key on a token is made last.
enum Newcomer {
    Identity(SigningKey<Device>),
    Whole(Box<NewDevice>, Option<Holder>),
}

impl Newcomer {
    fn id(&self) -> DeviceId {
        match self {
            Self::Identity(key) => DeviceId::of(key.public()),
            Self::Whole(device, _) => *device.id(),
        }
    }

    fn consent(&self) -> Option<&Signed> {
        match self {
            Self::Identity(_) => None,
            Self::Whole(device, _) => device.consent(),
        }
    }

    fn whole(self, met: &Met, login: &Login<'_>, pins: &dyn Pins) -> Result<(NewDevice, Holder), ClientError> {
        match self {
            Self::Identity(key) => NewDevice::of(key, &met.user, login.label, &login.key, pins),
            Self::Whole(device, Some(holder)) => Ok((*device, holder)),
            Self::Whole(device, None) => {
                let holder = device.holder(pins)?;
                Ok((*device, holder))
            }
        }
    }
}
