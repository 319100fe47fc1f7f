//! An account begins anew, as nobody has what opens its key (rule ID-7).
//!
//! ```text
//! operator's token --> announcement, stored --> published in an epoch --> its leaf's time + 72 h: in force
//!                                         \--> the old key keeps the account: as it was
//! ```
//! Each arrow is one transaction, and a server that was cut off between two goes on with the next at its start.

use tracing::{info, warn};
use undertone_keys::device_list::DeviceList;
use undertone_keys::{AccessToken, UserId, WallTime};
use undertone_protocol::rest::Enrolled;
use undertone_transparency::leaf::Leaf;
use undertone_transparency::verify::ANEW;

use super::proof::stored;
use super::{AccountError, Desk, rng};
use crate::answers::announcement;
use crate::directory::{DirectoryError, StorageError};
use crate::store::{Accounts, Secrets, StoreError, StoredList, Token, Waiting};

/// Seconds for which an operator's token is good: a week.
const TOKEN_LIFETIME: u64 = 7 * 24 * 3_600;

impl<S: Accounts> Desk<S> {
    /// Whether this token lets the account begin anew: the list in force, behind which it does. With the token that is used
    /// up for an announcement that waits the same may be announced again: the answer may have been lost.
    pub(super) async fn may_begin_anew(
        &self,
        user: &UserId,
        token: &[u8; 32],
        now: WallTime,
    ) -> Result<Vec<u8>, AccountError> {
        let since = WallTime::from_unix(now.as_unix().saturating_sub(TOKEN_LIFETIME));
        let good = self.store.has_anew(token, user, since).await?;
        match self.store.waiting(user).await? {
            Some(waiting) if waiting.token == *token => {}
            // What waits is told to nobody who has no token.
            Some(_) if good => return Err(AccountError::Announced),
            None if good => {}
            Some(_) | None => return Err(AccountError::NoAnew),
        }
        Ok(self.store.list(user).await?.ok_or(AccountError::Store(StoreError::Damaged))?.list)
    }

    /// Takes the list by which an account begins anew: announced where another device may act, else at once.
    pub(super) async fn announce(
        &self,
        user: &UserId,
        list: &DeviceList,
        secrets: Secrets,
        permit: [u8; 32],
        now: WallTime,
    ) -> Result<Enrolled, AccountError> {
        let before = self.in_force(user).await?;
        list.follows(&before).map_err(|_| AccountError::BadList)?;
        let (Some(_), [record]) = (list.begins_anew(), list.records()) else { return Err(AccountError::BadList) };
        let conflict = |error| match error {
            StoreError::Conflict => AccountError::BadList,
            StoreError::NoInvite => AccountError::NoAnew,
            error => error.into(),
        };
        match self.store.waiting(user).await? {
            Some(waiting) if waiting.token == permit && waiting.list.list == list.to_bytes() => {
                self.store.announce_again(user, list.version(), secrets).await.map_err(conflict)?;
            }
            Some(_) => return Err(AccountError::Announced),
            None => {
                let token = AccessToken::random(&mut rng());
                // Where the account began anew before, those who knew it then have devices of that time that may object, and wait.
                let lists: Vec<Vec<u8>> =
                    self.store.lists_above(user, 0).await?.into_iter().map(|stored| stored.list).collect();
                let at_once = before.active().next().is_none() && announcement(&lists).is_none();
                let stored = Token { hash: token.hash(), user: user.clone(), device: record.device };
                let next = StoredList { version: list.version(), list: list.to_bytes() };
                let announced = self.store.announce(user, next, secrets, permit, at_once.then_some(stored), now);
                announced.await.map_err(conflict)?;
                if at_once {
                    self.exchanges.end(user);
                    self.publish(user).await?;
                    return Ok(Enrolled { token: Some(token.to_text()), effective: None });
                }
                info!("an account is announced to begin anew");
            }
        }
        self.publish(user).await?;
        let waiting = self.store.waiting(user).await?.ok_or(AccountError::BadList)?;
        let effective = self.effective(&waiting).await?;
        Ok(Enrolled { token: None, effective: Some(effective.as_unix()) })
    }

    /// When an announcement takes effect; published first, where it is not yet.
    pub(super) async fn effective(&self, waiting: &Waiting) -> Result<WallTime, AccountError> {
        if let Some(at) = waiting.effective {
            return Ok(at);
        }
        let epoch = if waiting.published == 0 { self.publish(&waiting.user).await? } else { waiting.published };
        let damaged = || AccountError::Directory(DirectoryError::Storage(StorageError::Damaged));
        let shown = self.directory.announced(epoch, self.directory.shown().size()).await?;
        let (_, leaf, _) = shown.ok_or_else(damaged)?;
        let at = Leaf::from_bytes(&leaf).map_err(|_| damaged())?.time.plus(ANEW);
        self.store.set_effective(&waiting.user, waiting.list.version, at).await?;
        Ok(at)
    }

    /// Lets those accounts begin anew whose time has come by the clock of the log, which is what everybody else goes by too
    /// (`now`: the time of the newest leaf shown). To be called every few seconds, once the clock has settled. How many did.
    ///
    /// # Errors
    /// The last [`AccountError`]; one account that fails keeps no other from it.
    pub async fn begin_anew(&self, shown: WallTime, now: WallTime) -> Result<usize, AccountError> {
        let (mut begun, mut failed) = (0, Ok(()));
        for waiting in self.store.all_waiting().await? {
            match self.begin_if_due(&waiting, shown, now).await {
                Ok(due) => begun += usize::from(due),
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| begun)
    }

    async fn begin_if_due(&self, waiting: &Waiting, shown: WallTime, now: WallTime) -> Result<bool, AccountError> {
        if self.effective(waiting).await? > shown {
            return Ok(false);
        }
        let user = &waiting.user;
        let (list, before) = (stored(&waiting.list, user)?, self.in_force(user).await?);
        let revoked = super::devices::gone(&list, &before);
        match self.store.begin(user, waiting.list.version, &revoked, now).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => {
                warn!("an account was kept as it was to begin anew");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        self.put_out(user, &revoked);
        self.exchanges.end(user);
        self.consents.forget(user);
        info!(revoked = revoked.len(), "an account has begun anew");
        Ok(true)
    }
}
