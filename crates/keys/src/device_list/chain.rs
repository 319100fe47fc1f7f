//! What may follow what: the chain of a user's lists (rules ID-2, ID-6, ID-7).

use super::{DeviceList, ListError};
use crate::DeviceId;
use crate::consent::Consent;
use crate::record::DeviceRecord;

impl DeviceList {
    /// Whether this list may follow `earlier`: same user, next version, chained by hash; of the same account key, nothing
    /// taken back and nobody added who was not let in; or beginning the account anew in that key's place.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn follows(&self, earlier: &Self) -> Result<(), ListError> {
        self.hangs_on(earlier)?;
        match self.body.anew {
            Some(replaced) if replaced == earlier.body.account => Ok(()),
            None if self.body.account == earlier.body.account => self.keeps(earlier),
            Some(_) | None => Err(ListError::Chain),
        }
    }

    /// Whether this list takes `announcement`, which was to begin the account anew behind `before`, back: it is of the old
    /// key, and everything is as it was.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn keeps_on(&self, announcement: &Self, before: &Self) -> Result<(), ListError> {
        self.hangs_on(announcement)?;
        announcement.follows(before)?;
        let unchanged = self.body.records == before.body.records && self.body.revoked == before.body.revoked;
        let kept = announcement.body.anew == Some(before.body.account) && self.body.anew.is_none();
        if kept && unchanged && self.body.account == before.body.account { Ok(()) } else { Err(ListError::Chain) }
    }

    /// Same user, next version, chained by hash.
    fn hangs_on(&self, earlier: &Self) -> Result<(), ListError> {
        if self.body.user != earlier.body.user {
            return Err(ListError::User);
        }
        let next = earlier.body.version.checked_add(1);
        let hangs = Some(self.body.version) == next && self.body.previous == Some(earlier.hash());
        if hangs { Ok(()) } else { Err(ListError::Chain) }
    }

    /// Whether nothing of `earlier` was taken back (no record gone, older or let in by another; no revocation undone), and
    /// nobody added who was not let in.
    pub(super) fn keeps(&self, earlier: &Self) -> Result<(), ListError> {
        let kept = |old: &DeviceRecord| {
            let newer = |new: &DeviceRecord| new.version > old.version && new.consent == old.consent;
            self.records.iter().any(|new| new.device == old.device && (new == old || newer(new)))
        };
        let still_revoked = |id: &DeviceId| self.body.revoked.contains(id);
        if !earlier.records.iter().all(kept) || !earlier.body.revoked.iter().all(still_revoked) {
            return Err(ListError::Records);
        }
        let is_new = |record: &&DeviceRecord| !earlier.records.iter().any(|old| old.device == record.device);
        let alone = earlier.active().all(|old| self.is_revoked(old.device));
        let let_in = |record: &DeviceRecord| match self.let_in_by(record) {
            Some(by) => earlier.device(by).is_some(),
            None => alone,
        };
        if self.records.iter().filter(is_new).all(let_in) { Ok(()) } else { Err(ListError::Consent) }
    }

    /// Whether a record's consent, if it has one, is that of another device in this list, whoever may still act.
    pub(super) fn consent_holds(&self, record: &DeviceRecord) -> Result<(), ListError> {
        let Some(signed) = &record.consent else { return Ok(()) };
        let claimed = Consent::claimed(signed).map_err(|_| ListError::Consent)?;
        let by = self.records.iter().find(|other| other.device == claimed.by).ok_or(ListError::Consent)?;
        let consent = Consent::verify(signed, &by.identity).map_err(|_| ListError::Consent)?;
        let fits = consent.user == self.body.user && consent.device == record.device;
        if fits { Ok(()) } else { Err(ListError::Consent) }
    }

    /// Whether a list that begins an account anew does so with one device, under another key, and not at the first version.
    pub(super) fn begins_rightly(&self) -> Result<(), ListError> {
        let Some(replaced) = &self.body.anew else { return Ok(()) };
        let alone = matches!(self.records.as_slice(), [record] if record.consent.is_none());
        let right = alone && self.body.revoked.is_empty() && self.body.version > 1 && *replaced != self.body.account;
        if right { Ok(()) } else { Err(ListError::Anew) }
    }
}
