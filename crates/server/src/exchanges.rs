//! Half-done registrations and logins, bounded in number and time (rule DOS-1).
//!
//! A [`Place`] is taken before any public-key work is done, and kept until its time is over unless the exchange ends
//! well: whoever guesses at passphrases, invites or names pays for each guess with a place, however the guess ends. In
//! OPAQUE the client knows first whether it guessed right, so an exchange that is never finished counts like a wrong one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opaque_ke::ServerLogin;
use undertone_keys::agreement::EphemeralKey;
use undertone_keys::legacy::{self, LegacyPublicKey};
use undertone_keys::{DeviceId, RequestId, UserId};
use undertone_protocol::Origin;
use undertone_protocol::opaque::Suite;

use crate::store::Account;

/// Times what one account may have in flight from one place: the same account from its neighbourhood ...
const USER_NEAR: usize = 2;
/// ... all accounts from one place ...
const PLACE: usize = 8;
/// ... all accounts from its neighbourhood ...
const AROUND: usize = 16;
/// ... and one account from everywhere.
const ACCOUNT: usize = 16;

/// What a device proves possession of its key against (rule ID-2).
#[derive(Debug)]
pub enum Challenge {
    /// A key to agree with.
    P256(EphemeralKey),
    /// Something wrapped to this very key.
    Rsa2048(LegacyPublicKey, Box<legacy::Challenge>),
}

/// What an exchange waits for.
#[derive(Debug)]
pub enum Step {
    /// The registration's upload.
    Register {
        /// To prove possession against.
        challenge: Challenge,
        /// By what right.
        permit: Permit,
    },
    /// The login's finalization. Without an account the login cannot succeed, but looks the same.
    Login {
        /// OPAQUE's state.
        state: Box<ServerLogin<Suite>>,
        /// The account, if there is one.
        account: Option<Box<Account>>,
    },
    /// The signature by the recovery key. Without an account it cannot succeed, but looks the same.
    Recover {
        /// What is signed.
        nonce: [u8; 32],
        /// The account, if there is one.
        account: Option<Box<Account>>,
    },
    /// The next device list, after a login.
    Enrol {
        /// To prove possession against.
        challenge: Challenge,
        /// By what the account was opened.
        opened: Opened,
    },
    /// Nothing: it is under way, or failed.
    Spent,
}

/// By what right an account is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Anybody may.
    Open,
    /// An invite: its SHA-256.
    Invite([u8; 32]),
    /// An operator's token, with which an account that is there begins anew (rule ID-7): its SHA-256.
    Anew([u8; 32]),
}

/// What opened an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The passphrase.
    Passphrase,
    /// The recovery key, which may set another passphrase.
    Recovery,
}

/// By what an account was opened, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// By what.
    pub by: Secret,
    /// Since when.
    pub since: Instant,
}

/// A [`Step`] without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Step::Register`].
    Register,
    /// [`Step::Login`].
    Login,
    /// [`Step::Recover`].
    Recover,
    /// [`Step::Enrol`].
    Enrol,
}

impl Step {
    const fn is(&self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Register { .. }, Kind::Register)
                | (Self::Login { .. }, Kind::Login)
                | (Self::Recover { .. }, Kind::Recover)
                | (Self::Enrol { .. }, Kind::Enrol)
        )
    }
}

struct Exchange {
    user: UserId,
    origin: Origin,
    /// The device of this account whose token came with it: strangers' places are none of its own.
    device: Option<DeviceId>,
    until: Instant,
    step: Step,
}

/// All exchanges in flight.
pub struct Exchanges {
    open: Mutex<HashMap<RequestId, Exchange>>,
    most: usize,
    most_each: usize,
    lifetime: Duration,
}

/// One exchange's place. Dropped, it stays taken until its time is over; only [`Place::release`] gives it back.
#[derive(Debug)]
#[must_use]
pub struct Place<'a> {
    exchanges: &'a Exchanges,
    id: RequestId,
}

/// There are too many exchanges in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Exchanges {
    /// At most `most` in all, `most_each` for one user from one place, each for `lifetime`.
    #[must_use]
    pub fn new(most: usize, most_each: usize, lifetime: Duration) -> Self {
        Self { open: Mutex::default(), most, most_each, lifetime }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<RequestId, Exchange>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, before any work is done for whoever asks.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn reserve(
        &self,
        rng: &mut impl rand_core::CryptoRng,
        user: &UserId,
        address: IpAddr,
    ) -> Result<Place<'_>, TooMany> {
        let (id, origin, now) = (RequestId::random(rng), Origin::of(address), Instant::now());
        let mut open = self.open();
        open.retain(|_, exchange| exchange.until > now);
        let strangers = || open.values().filter(|exchange| exchange.device.is_none());
        let count = |pick: &dyn Fn(&Exchange) -> bool| strangers().filter(|exchange| pick(exchange)).count();
        // Many people may sit behind one address. One person logs in to one account from one place; that others try
        // from elsewhere must not keep them out.
        let here = count(&|other| other.user == *user && other.origin.is_same_network(&origin));
        let near = count(&|other| other.user == *user && other.origin.is_near(&origin));
        let place = count(&|other| other.origin.is_same_network(&origin));
        let around = count(&|other| other.origin.is_near(&origin));
        let account = count(&|other| other.user == *user);
        let each = self.most_each;
        if strangers().count() >= self.most
            || here >= each
            || near >= USER_NEAR * each
            || place >= PLACE * each
            || around >= AROUND * each
            || account >= ACCOUNT * each
        {
            return Err(TooMany);
        }
        let until = now + self.lifetime;
        open.insert(id, Exchange { user: user.clone(), origin, device: None, until, step: Step::Spent });
        Ok(Place { exchanges: self, id })
    }

    /// The same for a device that has shown its token, about its own account: it has as many places as a stranger from one place, and
    /// nobody else can use them up.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn reserve_own(
        &self,
        rng: &mut impl rand_core::CryptoRng,
        user: &UserId,
        device: DeviceId,
        address: IpAddr,
    ) -> Result<Place<'_>, TooMany> {
        let (id, origin, now) = (RequestId::random(rng), Origin::of(address), Instant::now());
        let mut open = self.open();
        open.retain(|_, exchange| exchange.until > now);
        let own = open.values().filter(|exchange| exchange.device == Some(device)).count();
        if own >= self.most_each || open.values().filter(|exchange| exchange.device.is_some()).count() >= self.most {
            return Err(TooMany);
        }
        let (user, device, until) = (user.clone(), Some(device), now + self.lifetime);
        open.insert(id, Exchange { user, origin, device, until, step: Step::Spent });
        Ok(Place { exchanges: self, id })
    }

    /// Takes the step of an exchange that waits for `kind`. Each step is taken once; a wrong name or kind changes
    /// nothing.
    pub fn take(&self, id: &str, kind: Kind) -> Option<(UserId, Place<'_>, Step)> {
        let id = RequestId::parse(id)?;
        let mut open = self.open();
        let exchange = open.get_mut(&id)?;
        if exchange.until <= Instant::now() || !exchange.step.is(kind) {
            return None;
        }
        let step = core::mem::replace(&mut exchange.step, Step::Spent);
        Some((exchange.user.clone(), Place { exchanges: self, id }, step))
    }

    /// Gives an exchange that waits for a device's list, as whoever is at it waits for a consent, all its time again: up to
    /// `most` from the login. Whose it is; `None` where it is over.
    pub fn renew(&self, id: &str, most: Duration) -> Option<UserId> {
        let (id, now) = (RequestId::parse(id)?, Instant::now());
        let mut open = self.open();
        let exchange = open.get_mut(&id).filter(|exchange| exchange.until > now)?;
        let Step::Enrol { opened, .. } = &exchange.step else { return None };
        let end = opened.since + most;
        if end <= now {
            return None;
        }
        exchange.until = (now + self.lifetime).min(end).max(exchange.until);
        Some(exchange.user.clone())
    }

    /// Ends what is under way for a user: the secrets that opened it are not theirs any more. Places stay taken.
    pub fn end(&self, user: &UserId) {
        for exchange in self.open().values_mut().filter(|exchange| exchange.user == *user) {
            exchange.step = Step::Spent;
        }
    }

    /// How many hold a place.
    pub fn len(&self) -> usize {
        self.open().len()
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets those whose time is over.
    pub fn expire(&self) {
        let now = Instant::now();
        self.open().retain(|_, exchange| exchange.until > now);
    }
}

impl Place<'_> {
    /// The exchange waits for its next step, with all its time before it. Returns the name under which it waits.
    pub fn wait_for(self, step: Step) -> RequestId {
        if let Some(exchange) = self.exchanges.open().get_mut(&self.id) {
            (exchange.step, exchange.until) = (step, Instant::now() + self.exchanges.lifetime);
        }
        self.id
    }

    /// The exchange ended well: its place is free at once.
    pub fn release(self) {
        self.exchanges.open().remove(&self.id);
    }
}

impl std::fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchanges")
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::testing::SeededRng;

    use super::*;

    fn step() -> Step {
        let challenge = Challenge::P256(EphemeralKey::generate(&mut SeededRng::new(2)));
        Step::Enrol { challenge, opened: Opened { by: Secret::Passphrase, since: Instant::now() } }
    }

    fn user(n: usize) -> UserId {
        UserId::parse(&format!("u{n}"), "x").unwrap()
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn dos_1_exchanges_in_flight_are_bounded_and_end() {
        let rng = &mut SeededRng::new(1);
        let exchanges = Exchanges::new(5, 2, Duration::from_secs(60));
        let first = exchanges.reserve(rng, &user(0), HOME).unwrap().wait_for(step());
        let _ = exchanges.reserve(rng, &user(0), HOME).unwrap();
        assert!(exchanges.reserve(rng, &user(0), HOME).is_err());
        let elsewhere = exchanges.reserve(rng, &user(0), IpAddr::from([127, 0, 0, 2]));
        elsewhere.expect("others do not keep one out").release();
        for n in 1..4 {
            let _ = exchanges.reserve(rng, &user(n), HOME).unwrap();
        }
        assert!(exchanges.reserve(rng, &user(9), HOME).is_err());
        let (_, place, _) = exchanges.take(&first.to_string(), Kind::Enrol).unwrap();
        place.release();
        assert!(exchanges.take(&first.to_string(), Kind::Enrol).is_none());
        assert!(exchanges.take("nonsense", Kind::Enrol).is_none());
        assert!(exchanges.reserve(rng, &user(9), HOME).is_ok());

        let brief = Exchanges::new(1, 1, Duration::ZERO);
        let id = brief.reserve(rng, &user(0), HOME).unwrap().wait_for(step());
        assert!(brief.take(&id.to_string(), Kind::Enrol).is_none());
        assert!(brief.reserve(rng, &user(0), HOME).is_ok());
        brief.expire();
        assert!(brief.open().is_empty());
    }

    #[test]
    fn dos_1_a_guess_keeps_its_place_however_it_ends() {
        let rng = &mut SeededRng::new(1);
        let exchanges = Exchanges::new(100, 3, Duration::from_secs(60));
        for way in 0..3 {
            let id = exchanges.reserve(rng, &user(0), HOME).unwrap().wait_for(step()).to_string();
            match way {
                // Never finished; finished at the wrong door; finished with what cannot be read.
                0 => {}
                1 => {
                    assert!(exchanges.take(&id, Kind::Register).is_none() && exchanges.take(&id, Kind::Login).is_none())
                }
                _ => drop(exchanges.take(&id, Kind::Enrol)),
            }
        }
        assert!(exchanges.reserve(rng, &user(0), HOME).is_err());
    }

    /// However many strangers try at an account, or at the server, from however many networks: its own devices can still change it.
    #[test]
    fn dos_1_strangers_cannot_use_up_the_places_of_an_accounts_own_devices() {
        let rng = &mut SeededRng::new(1);
        let exchanges = Exchanges::new(40, 2, Duration::from_secs(60));
        let (phone, laptop) = (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
        for n in 0..200_u8 {
            let _ = exchanges.reserve(rng, &user(0), IpAddr::from([n, 1, 1, 1]));
        }
        assert!(exchanges.reserve(rng, &user(0), IpAddr::from([250, 1, 1, 1])).is_err());
        for n in 0..200_u8 {
            let _ = exchanges.reserve(rng, &user(usize::from(n)), IpAddr::from([n, 1, 1, 1]));
        }
        assert!(exchanges.reserve(rng, &user(999), HOME).is_err(), "all are taken");
        let own = |exchanges: &Exchanges, rng: &mut SeededRng, device| {
            exchanges.reserve_own(rng, &user(0), device, HOME).map(drop).is_ok()
        };
        assert!(own(&exchanges, rng, phone) && own(&exchanges, rng, phone));
        assert!(!own(&exchanges, rng, phone), "a thief of a device guesses no faster");
        assert!(own(&exchanges, rng, laptop), "and keeps no other one out");
        // Nor do a device's own count for others.
        let quiet = Exchanges::new(2, 2, Duration::from_secs(60));
        assert!(own(&quiet, rng, phone) && own(&quiet, rng, laptop) && !own(&quiet, rng, phone));
        assert!(quiet.reserve(rng, &user(0), HOME).is_ok());
    }

    #[test]
    fn id_6_whoever_waits_for_a_consent_keeps_the_exchange_and_not_for_ever() {
        let rng = &mut SeededRng::new(1);
        let (lifetime, most) = (Duration::from_secs(60), Duration::from_secs(600));
        let exchanges = Exchanges::new(100, 10, lifetime);
        let until = |id: RequestId| exchanges.open().get(&id).map(|exchange| exchange.until);
        let id = exchanges.reserve(rng, &user(0), HOME).unwrap().wait_for(step());
        let first = until(id).unwrap();
        assert_eq!(exchanges.renew(&id.to_string(), most), Some(user(0)));
        assert!(until(id).unwrap() >= first);
        // Not beyond its end, and not when that has passed.
        assert_eq!(exchanges.renew(&id.to_string(), Duration::from_secs(61)), Some(user(0)));
        assert!(until(id).unwrap() <= Instant::now() + Duration::from_secs(61));
        assert_eq!(exchanges.renew(&id.to_string(), Duration::ZERO), None);
        assert_eq!(exchanges.renew("nonsense", most), None);
        // Nothing else waits for a consent.
        let nonce = Step::Recover { nonce: [0; 32], account: None };
        let other = exchanges.reserve(rng, &user(0), HOME).unwrap().wait_for(nonce);
        assert_eq!(exchanges.renew(&other.to_string(), most), None);

        // Another passphrase ends what the one before opened, and frees no place.
        exchanges.end(&user(0));
        assert!(exchanges.take(&id.to_string(), Kind::Enrol).is_none());
        assert!(exchanges.take(&other.to_string(), Kind::Recover).is_none());
        assert_eq!(exchanges.len(), 2);
    }

    #[test]
    fn dos_1_a_neighbourhood_cannot_lock_an_account() {
        let rng = &mut SeededRng::new(1);
        let exchanges = Exchanges::new(1000, 2, Duration::from_secs(60));
        let mut taken = 0;
        for network in 0..200_u16 {
            let address = IpAddr::from([0x2001, 0xdb8, 1, network, 0, 0, 0, 1]);
            taken += usize::from(exchanges.reserve(rng, &user(0), address).is_ok());
        }
        assert_eq!(taken, 4);
        assert!(exchanges.reserve(rng, &user(0), HOME).is_ok());
    }
}
