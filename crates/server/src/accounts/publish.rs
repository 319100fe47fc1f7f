//! What happens when something is stored: the key directory has it, and everybody is told whom it concerns.

use futures_util::StreamExt;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;
use undertone_keys::{DeviceId, UserId, WallTime};
use undertone_protocol::limits::{GRANT_LIFETIME, MAX_REVOKED};

use super::{AccountError, Desk};
use crate::directory::DirectoryError;
use crate::store::{Accounts, StoreError, StoredList};

/// Lists that wait to be published at the same time, where many do.
const AT_ONCE: usize = 4_096;

impl<S: Accounts> Desk<S> {
    /// Publishes what the directory does not have yet: a server that was cut off between storing a list and publishing it
    /// does so before anybody asks.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn catch_up(&self) -> Result<usize, AccountError> {
        self.publish_all(self.store.unpublished(self.directory.shown().epoch()).await?).await
    }

    /// Publishes what was stored while the directory could not take it: to be called every few seconds.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn publish_waiting(&self) -> Result<usize, AccountError> {
        self.publish_all(self.store.not_published().await?).await
    }

    async fn publish_all(&self, waiting: Vec<(UserId, StoredList)>) -> Result<usize, AccountError> {
        // All at once: as many as can go into one epoch, and one epoch after the other.
        let count = waiting.len();
        let publish =
            waiting.into_iter().map(|(user, list)| async move { self.publish_one(&user, &list).await.map(drop) });
        let mut published = futures_util::stream::iter(publish).buffer_unordered(AT_ONCE);
        let mut failed = Ok(());
        while let Some(published) = published.next().await {
            // One that cannot be published keeps nobody else from it.
            if let Err(error) = published {
                failed = Err(error);
            }
        }
        failed.map(|()| count)
    }

    /// Tells the relay, which has just started, whose grants it is to refuse: of devices that were revoked while grants of
    /// theirs may still be good (rule CALL-6). How many that are.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn revoke_again(&self, now: WallTime) -> Result<usize, AccountError> {
        let since = WallTime::from_unix(now.as_unix().saturating_sub(GRANT_LIFETIME.as_secs()));
        let revoked = self.store.revoked_since(since, MAX_REVOKED).await?;
        if let Some(relay) = &self.relay {
            relay.revoke(&revoked);
        }
        Ok(revoked.len())
    }

    /// These devices may not act any more: their connections end, and they leave every room.
    pub(super) fn put_out(&self, user: &UserId, devices: &[DeviceId]) {
        if let Some(board) = &self.board {
            board.revoke(user, devices);
        }
        if let Some(relay) = &self.relay {
            let address = |device: &DeviceId| Address { user: user.clone(), device: *device };
            relay.revoke(&devices.iter().map(address).collect::<Vec<_>>());
        }
    }

    /// Publishes a user's lists up to the newest stored, whatever of them is published already; the epoch of the newest.
    pub(super) async fn publish(&self, user: &UserId) -> Result<u64, AccountError> {
        let newest = self.store.newest(user).await?.ok_or(AccountError::Store(StoreError::Damaged))?;
        match self.publish_one(user, &newest).await {
            Err(AccountError::Directory(DirectoryError::Gap { newest })) => {
                let mut epoch = Err(AccountError::Store(StoreError::Damaged));
                for list in self.store.lists_above(user, newest).await? {
                    epoch = Ok(self.publish_one(user, &list).await?);
                }
                epoch
            }
            published => published,
        }
    }

    async fn publish_one(&self, user: &UserId, list: &StoredList) -> Result<u64, AccountError> {
        let published = self.directory.publish(user, list.version, sha256(&[&list.list])).await;
        let epoch = published?.epoch;
        // Where this is lost, it is published once more, to no effect.
        match self.store.published(user, list.version, epoch).await {
            Ok(()) => {
                if let Some(board) = &self.board {
                    board.devices_changed(user);
                }
            }
            Err(error) => tracing::warn!(%error, "that a list is published was not noted"),
        }
        Ok(epoch)
    }
}
