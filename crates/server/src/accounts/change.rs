//! Changes of a list that add no device: some are revoked, one gets another name, an account is kept (rules ID-2, ID-7).

use undertone_keys::WallTime;
use undertone_keys::device_list::DeviceList;
use undertone_keys::record::DeviceRecord;
use undertone_protocol::rest::ChangeDevices;

use super::devices::{gone, plain_labels, revoked};
use super::proof::{read_list, stored};
use super::{AccountError, Desk, passphrase};
use crate::exchanges::{Kind, Secret, Step};
use crate::store::{Accounts, Change, Passphrase, StoredList, Token};

/// So long before an account begins anew it can be kept: who keeps it must be in the log before that.
const IN_TIME: u64 = 60;

impl<S: Accounts> Desk<S> {
    /// Takes a list that changes what is there, after a login; with the list in force, another passphrase or none alone. `bearer` is the
    /// device that brings it, where it has shown its token.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn change(
        &self,
        request: ChangeDevices,
        bearer: Option<&Token>,
        now: WallTime,
    ) -> Result<(), AccountError> {
        let taken = self.exchanges.take(&request.exchange, Kind::Enrol);
        let Some((user, place, Step::Enrol { opened, .. })) = taken else {
            return Err(AccountError::ExchangeOver);
        };
        let own = bearer.is_some_and(|token| token.user == user);
        let passphrase = new_passphrase(&request, opened.by, own)?;
        let known = self.in_force(&user).await?;
        let list = read_list(&request.list.0, &user)?;
        let mut change = Change { on: known.version(), passphrase, ..Change::default() };
        match self.store.waiting(&user).await? {
            _ if list.hash() == known.hash() => {}
            Some(waiting) => {
                let announcement = stored(&waiting.list, &user)?;
                list.keeps_on(&announcement, &known).map_err(|_| AccountError::Announced)?;
                let shown = now.max(self.directory.shown().time());
                if shown.plus(IN_TIME) >= self.effective(&waiting).await? {
                    return Err(AccountError::TooLate);
                }
                change.keeps = Some(waiting.list.version);
            }
            None => {
                changes(&list, &known)?;
                plain_labels(&list, Some(&known))?;
            }
        }
        change.revoked = revoked(&list);
        if list.hash() != known.hash() {
            if gone(&list, &known).is_empty() && change.keeps.is_none() {
                self.has_room(&user, &list, opened.by).await?;
            }
            change.list = Some(StoredList { version: list.version(), list: request.list.0 });
        }
        self.take(&user, change, now).await?;
        place.release();
        self.publish(&user).await?;
        Ok(())
    }
}

/// What is to be stored of a passphrase. Whoever has the recovery key may set another one, or switch it off. Whoever has the passphrase
/// alone may not: one who guessed it could lock the owner out. A device of the account that has it may set another.
fn new_passphrase(request: &ChangeDevices, by: Secret, own: bool) -> Result<Option<Passphrase>, AccountError> {
    match (&request.passphrase, request.passphrase_off) {
        (None, false) => Ok(None),
        (Some(_), true) => Err(AccountError::Malformed("another passphrase, or none: not both")),
        (None, true) if by == Secret::Recovery => Ok(Some(Passphrase::off())),
        (Some(new), false) if by == Secret::Recovery || own => passphrase(new.clone()).map(Some),
        (Some(_), false) | (None, true) => Err(AccountError::NotRecovered),
    }
}

/// No device more, and of those that are there nothing but the name has changed: a key is proven when a device joins, and
/// stays what it was.
fn changes(list: &DeviceList, known: &DeviceList) -> Result<(), AccountError> {
    list.follows(known).map_err(|_| AccountError::BadList)?;
    let renamed = |new: &DeviceRecord| {
        let named = |old: &DeviceRecord| DeviceRecord { version: new.version, label: new.label.clone(), ..old.clone() };
        known.records().iter().any(|old| named(old) == *new)
    };
    let same = list.records().len() == known.records().len() && list.records().iter().all(renamed);
    if same && list.begins_anew().is_none() { Ok(()) } else { Err(AccountError::BadList) }
}
