//! Consents on their way from a device that is there to one that wants in (rule ID-6): in memory, bounded in number and time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use undertone_keys::cbor;
use undertone_keys::consent::Consent;
use undertone_keys::sign::Signed;
use undertone_keys::{DeviceId, UserId};
use undertone_protocol::limits::{CONSENT_TIMEOUT, CONSENT_WAIT};
use undertone_protocol::rest::{AwaitConsent, Bytes, Consented, GiveConsent};

use super::{AccountError, Desk};
use crate::store::{Accounts, Token};

#[derive(Debug)]
struct Kept {
    consent: Vec<u8>,
    until: Instant,
}

/// Consents that wait to be fetched.
#[derive(Debug)]
pub(super) struct Consents {
    kept: Mutex<HashMap<UserId, HashMap<DeviceId, Kept>>>,
    most: usize,
    most_each: usize,
    lifetime: Duration,
    /// Changes with each that comes.
    news: watch::Sender<u64>,
}

impl Consents {
    /// At most `most` in all, `most_each` for one account, each for `lifetime`.
    pub(super) fn new(most: usize, most_each: usize, lifetime: Duration) -> Self {
        Self { kept: Mutex::default(), most, most_each, lifetime, news: watch::Sender::new(0) }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<UserId, HashMap<DeviceId, Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a consent; of an account that has too many the oldest gives way. `false` where there are too many in all.
    fn put(&self, user: &UserId, device: DeviceId, consent: Vec<u8>) -> bool {
        let mut kept = self.kept();
        let count: usize = kept.values().map(HashMap::len).sum();
        let own = kept.entry(user.clone()).or_default();
        if !own.contains_key(&device) && own.len() >= self.most_each {
            let oldest = own.iter().min_by_key(|(_, kept)| kept.until).map(|(device, _)| *device);
            oldest.and_then(|oldest| own.remove(&oldest));
        } else if !own.contains_key(&device) && count >= self.most {
            if own.is_empty() {
                kept.remove(user);
            }
            return false;
        }
        own.insert(device, Kept { consent, until: Instant::now() + self.lifetime });
        drop(kept);
        self.news.send_modify(|news| *news = news.wrapping_add(1));
        true
    }

    fn find(&self, user: &UserId, device: DeviceId) -> Option<Vec<u8>> {
        let kept = self.kept();
        let found = kept.get(user)?.get(&device)?;
        (found.until > Instant::now()).then(|| found.consent.clone())
    }

    /// Waits for a consent: `None` when none came in this time.
    async fn wait(&self, user: &UserId, device: DeviceId, time: Duration) -> Option<Vec<u8>> {
        let (mut news, end) = (self.news.subscribe(), tokio::time::Instant::now() + time);
        loop {
            // What comes from here on is news.
            news.borrow_and_update();
            if let Some(consent) = self.find(user, device) {
                return Some(consent);
            }
            tokio::time::timeout_at(end, news.changed()).await.ok()?.ok()?;
        }
    }

    /// Forgets a user's.
    pub(super) fn forget(&self, user: &UserId) {
        self.kept().remove(user);
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.kept().retain(|_, own| {
            own.retain(|_, kept| kept.until > now);
            !own.is_empty()
        });
    }
}

impl<S: Accounts> Desk<S> {
    /// Keeps a consent of the device with this token for the one that it is about. It is checked now, against the list in
    /// force, and by everybody again in the list that it goes into.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn give_consent(&self, giver: &Token, request: GiveConsent) -> Result<(), AccountError> {
        let bad = || AccountError::Malformed("not a consent of this device to one of its own account");
        if self.store.waiting(&giver.user).await?.is_some() {
            return Err(AccountError::Announced);
        }
        let list = self.in_force(&giver.user).await?;
        let record = list.device(giver.device).ok_or_else(bad)?;
        let signed: Signed = cbor::decode(&request.consent.0).map_err(|_| bad())?;
        let consent = Consent::verify(&signed, &record.identity).map_err(|_| bad())?;
        if consent.user != giver.user || consent.by != giver.device {
            return Err(bad());
        }
        let kept = self.consents.put(&giver.user, consent.device, request.consent.0);
        if kept { Ok(()) } else { Err(AccountError::TooMany) }
    }

    /// Waits for the consent to a device that wants in: for a while, after which it asks again.
    ///
    /// # Errors
    /// [`AccountError::ExchangeOver`] where nobody who logged in asks, or for too long.
    pub async fn await_consent(&self, request: AwaitConsent) -> Result<Consented, AccountError> {
        let device = DeviceId::parse(&request.device).ok_or(AccountError::Malformed("not a device id"))?;
        let renew = || self.exchanges.renew(&request.exchange, CONSENT_TIMEOUT).ok_or(AccountError::ExchangeOver);
        let consent = self.consents.wait(&renew()?, device, CONSENT_WAIT).await;
        // What remains of the time begins when the answer goes out.
        renew()?;
        Ok(Consented { consent: consent.map(Bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u32) -> UserId {
        UserId::parse(&format!("u{n}"), "x").unwrap()
    }

    fn device(n: u8) -> DeviceId {
        DeviceId::from_bytes([n; 16])
    }

    #[tokio::test]
    async fn id_6_consents_are_bounded_and_reach_whoever_waits() {
        let consents = Consents::new(4, 2, Duration::from_secs(600));
        let later = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(consents.put(&user(1), device(9), vec![8]), "another's wakes nobody for good");
            assert!(consents.put(&user(0), device(1), vec![7]));
        };
        let user_zero = user(0);
        let (found, ()) = tokio::join!(consents.wait(&user_zero, device(1), Duration::from_secs(20)), later);
        assert_eq!(found, Some(vec![7]));
        assert_eq!(consents.wait(&user_zero, device(1), Duration::ZERO).await, Some(vec![7]), "an answer may be lost");
        assert_eq!(consents.wait(&user_zero, device(2), Duration::from_millis(10)).await, None);

        // An account has two, the newest; all together four.
        assert!(consents.put(&user(0), device(2), vec![]) && consents.put(&user(0), device(3), vec![]));
        assert_eq!((consents.find(&user_zero, device(1)), consents.find(&user_zero, device(3))), (None, Some(vec![])));
        assert!(consents.put(&user(2), device(1), vec![]));
        assert!(!consents.put(&user(3), device(1), vec![]));
        assert!(consents.kept().get(&user(3)).is_none());
        consents.forget(&user_zero);
        assert!(consents.put(&user(3), device(1), vec![]));

        let brief = Consents::new(4, 2, Duration::ZERO);
        assert!(brief.put(&user_zero, device(1), vec![]));
        assert_eq!(brief.find(&user_zero, device(1)), None);
        brief.expire();
        assert!(brief.kept().is_empty());
    }
}
