//! A device joins an account (rules ID-2, ID-6).

use undertone_keys::device_list::DeviceList;
use undertone_keys::record::DeviceRecord;
use undertone_keys::{AccessToken, DeviceId, UserId, WallTime, label};
use undertone_protocol::limits;
use undertone_protocol::rest::{Enrol, Enrolled, NewPassphrase};

use super::proof::{possession, read_list, stored};
use super::{AccountError, Desk, passphrase, rng};
use crate::exchanges::{Kind, Opened, Secret, Step};
use crate::store::{Accounts, Change, Passphrase, StoreError, StoredList, Token};

impl<S: Accounts> Desk<S> {
    /// Takes the list that adds a device, after a login. A device that is in the list already, and shows that it holds its
    /// key, gets a new token: the answer to its first attempt may have been lost.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn enrol(&self, request: Enrol, now: WallTime) -> Result<Enrolled, AccountError> {
        let taken = self.exchanges.take(&request.exchange, Kind::Enrol);
        let Some((user, place, Step::Enrol { challenge, opened })) = taken else {
            return Err(AccountError::ExchangeOver);
        };
        let device = DeviceId::parse(&request.device).ok_or(AccountError::Malformed("not a device id"))?;
        let passphrase = another_passphrase(opened, request.passphrase)?;
        let known = self.in_force(&user).await?;
        let list = read_list(&request.list.0, &user)?;
        let record = list.device(device).ok_or(AccountError::BadList)?;
        possession(&challenge, record, &list, &request.possession.0)?;
        let token = AccessToken::random(&mut rng());
        let mut change = Change {
            on: known.version(),
            token: Some(Token { hash: token.hash(), user: user.clone(), device }),
            passphrase,
            ..Change::default()
        };
        if list.hash() != known.hash() {
            if self.store.waiting(&user).await?.is_some() {
                return Err(AccountError::Announced);
            }
            joins(&list, &known, device)?;
            plain_labels(&list, Some(&known))?;
            self.has_room(&user, &list, opened.by).await?;
            change.list = Some(StoredList { version: list.version(), list: request.list.0 });
        }
        // All of them, also where this was taken before and only the answer lost: whoever was revoked is out.
        change.revoked = revoked(&list);
        self.take(&user, change, now).await?;
        place.release();
        self.publish(&user).await?;
        Ok(Enrolled { token: Some(token.to_text()), effective: None })
    }

    /// Whether an account may have this list as well: one that adds a device or changes a name. All lists of an account are kept, and
    /// shown in one answer to whoever knows the first of them. What is left is for revoking, which ends by itself; and places for
    /// devices are left to whoever has the recovery key.
    pub(super) async fn has_room(&self, user: &UserId, list: &DeviceList, by: Secret) -> Result<(), AccountError> {
        let (versions, bytes) = self.store.lists_size(user).await?;
        // What it takes to revoke every device of it, one after the other.
        let revoking = list.active().count() + 1;
        let all = bytes + u64::try_from(list.to_bytes().len() * revoking).unwrap_or(u64::MAX);
        let half = if by == Secret::Passphrase { 2 } else { 1 };
        let many = versions >= limits::MAX_DEVICE_LISTS / half || all > limits::MAX_DEVICE_LIST_BYTES / u64::from(half);
        let full = by == Secret::Passphrase && list.records().len() > limits::MAX_DEVICES_BY_PASSPHRASE;
        if many || full { Err(AccountError::TooManyChanges) } else { Ok(()) }
    }

    /// The list in force.
    pub(super) async fn in_force(&self, user: &UserId) -> Result<DeviceList, AccountError> {
        let list = self.store.list(user).await?.ok_or(AccountError::Store(StoreError::Damaged))?;
        stored(&list, user)
    }

    /// Stores a change, and acts on it at once: whoever is revoked does not wait for the key directory.
    pub(super) async fn take(&self, user: &UserId, change: Change, now: WallTime) -> Result<(), AccountError> {
        let (revoked, another) = (change.revoked.clone(), change.passphrase.is_some());
        match self.store.change(user, change, now).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(AccountError::BadList),
            Err(error) => return Err(error.into()),
        }
        self.put_out(user, &revoked);
        if another {
            self.exchanges.end(user);
        }
        Ok(())
    }
}

/// One device more, and no other than the one that proves its key here; the others' records are as they were. Whether
/// somebody let it in, the list itself has to show (rule ID-6).
fn joins(list: &DeviceList, known: &DeviceList, device: DeviceId) -> Result<(), AccountError> {
    list.follows(known).map_err(|_| AccountError::BadList)?;
    let kept = known.records().iter().all(|old| list.records().contains(old));
    let one_more = kept && list.records().len() == known.records().len() + 1;
    let is_new = !known.records().iter().any(|record| record.device == device);
    if one_more && is_new && list.begins_anew().is_none() { Ok(()) } else { Err(AccountError::BadList) }
}

/// No name hides anything, but for such as stood there before names were looked at.
pub(super) fn plain_labels(list: &DeviceList, known: Option<&DeviceList>) -> Result<(), AccountError> {
    let old = |record: &DeviceRecord| {
        let mut records = known.into_iter().flat_map(DeviceList::records);
        records.any(|old| old.device == record.device && old.label == record.label)
    };
    let plain = list.records().iter().all(|record| label::is_plain(&record.label) || old(record));
    if plain { Ok(()) } else { Err(AccountError::HiddenLabel) }
}

/// The devices that may not act by a list.
pub(super) fn revoked(list: &DeviceList) -> Vec<DeviceId> {
    list.records().iter().map(|record| record.device).filter(|device| list.is_revoked(*device)).collect()
}

/// The devices that could act by one list and cannot by the next.
pub(super) fn gone(list: &DeviceList, before: &DeviceList) -> Vec<DeviceId> {
    before.active().map(|record| record.device).filter(|device| list.device(*device).is_none()).collect()
}

/// Whoever has the recovery key may set another passphrase. One who has the passphrase may not: a server that guessed it
/// could lock the owner out.
pub(super) fn another_passphrase(
    opened: Opened,
    new: Option<NewPassphrase>,
) -> Result<Option<Passphrase>, AccountError> {
    match (new, opened.by) {
        (None, _) => Ok(None),
        (Some(_), Secret::Passphrase) => Err(AccountError::NotRecovered),
        (Some(new), Secret::Recovery) => passphrase(new).map(Some),
    }
}
