//! The lists that an answer shows, each behind the one before, and which of them is in force (rules KT-7, ID-7).

use undertone_keys::device_list::{DeviceList, ListError};

use crate::accusation::Accusation;
use crate::answer::Answer;
use crate::directory::{Lookup, VrfKey, verify_version};
use crate::head::Provenance;
use crate::known::{KnownList, NewestAt};
use crate::leaf::Leaf;
use crate::log::verify_inclusion;
use crate::seen::Seen;
use crate::verify::{ANEW, Announced};

/// The end of a user's lists, of which each follows the one before.
#[derive(Debug)]
pub(crate) struct Chain {
    newest: Option<DeviceList>,
    before: Option<DeviceList>,
    /// The lists shown that begin the account anew and were not taken back, oldest first, each with the one before it.
    anew: Vec<(DeviceList, Option<DeviceList>)>,
}

impl Chain {
    /// Behind a list that was known before, if there was one.
    pub(crate) const fn new(known: Option<DeviceList>) -> Self {
        Self { newest: known, before: None, anew: Vec::new() }
    }

    /// The newest list.
    pub(crate) const fn newest(&self) -> Option<&DeviceList> {
        self.newest.as_ref()
    }

    /// One more. Behind an announcement to begin anew comes what the new key says, or that the old one takes it back (rule
    /// ID-7).
    pub(crate) fn add(&mut self, list: DeviceList) -> Result<(), ListError> {
        if let Some(newest) = &self.newest
            && let Err(error) = list.follows(newest)
        {
            let before = self.before.as_ref().filter(|_| newest.begins_anew().is_some()).ok_or(error)?;
            list.keeps_on(newest, before)?;
            self.anew.pop();
        }
        if list.begins_anew().is_some() {
            self.anew.push((list.clone(), self.newest.clone()));
        }
        self.before = self.newest.replace(list);
        Ok(())
    }
}

/// An answer about a user who is there, as far as it is checked.
pub(crate) struct Shown<'a> {
    pub(crate) answer: &'a Answer,
    pub(crate) key: &'a VrfKey,
    pub(crate) place: &'a [u8],
    pub(crate) found: Lookup,
    pub(crate) provenance: &'a Provenance,
    /// What was seen of the log before this answer.
    pub(crate) seen: Option<&'a Seen>,
    /// What was known of the user before this answer.
    pub(crate) known: Option<&'a KnownList>,
}

/// The list in force.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) list: DeviceList,
    /// That another account key is to take its place.
    pub(crate) announced: Option<Announced>,
    /// Up to when it was the newest, if that is known.
    pub(crate) newest: Option<NewestAt>,
}

impl Shown<'_> {
    /// Which list of a chain is in force: the newest, or, while an announcement to begin anew waits, the one before it (rule
    /// ID-7). Nothing of a new key is in force that did not wait. Of several announcements the last has to have waited, and the
    /// list before the first is in force until then: none of them makes way for the next.
    ///
    /// An announcement that was put into an epoch in which the list known was still the newest does not wait any less: the time
    /// runs from a moment at which this device had looked.
    pub(crate) fn in_force(&self, chain: Chain) -> Result<InForce, Accusation> {
        let newest = chain.newest.ok_or(Accusation::OtherList)?;
        let Some((announcement, _)) = chain.anew.last() else { return Ok(self.newest(newest)) };
        let mut waits = None;
        for (_, before) in &chain.anew {
            let before = before.as_ref().ok_or(Accusation::Announcement)?;
            if waits.is_none() && before.active().next().is_some() {
                waits = Some(before.clone());
            }
        }
        // Nobody is left to object.
        let Some(before) = waits else { return Ok(self.newest(newest)) };
        let leaf = self.announced_in(announcement).ok_or(Accusation::Announcement)?;
        if let Some(known) = self.known {
            known.comes_before_leaf(announcement.version(), &leaf)?;
        }
        let effective = leaf.time.plus(ANEW);
        if self.provenance.seen().time() >= effective {
            return Ok(self.newest(newest));
        }
        if announcement.version() != newest.version() {
            return Err(Accusation::Announcement);
        }
        // It was the newest until the one behind it came. Of several, each may be taken back and leave an earlier one.
        let next = announcement.version() == before.version().saturating_add(1);
        let until = next.then(|| NewestAt { epoch: leaf.epoch.saturating_sub(1), time: leaf.time });
        let announced = Some(Announced { account: *newest.account(), effective });
        Ok(InForce { list: before, announced, newest: until.or_else(|| self.known.and_then(|known| known.newest)) })
    }

    /// Nothing came behind this one.
    fn newest(&self, list: DeviceList) -> InForce {
        let leaf = self.provenance.seen().leaf();
        InForce { list, announced: None, newest: Some(NewestAt { epoch: leaf.epoch, time: leaf.time }) }
    }

    /// The leaf with which the log first showed this list, if that is proven.
    fn announced_in(&self, announcement: &DeviceList) -> Option<Leaf> {
        let shown = self.answer.announced.as_ref()?;
        let (seen, version) = (self.provenance.seen(), announcement.version());
        let published = match &shown.version {
            None if version == self.found.version => self.found.epoch,
            None => return None,
            Some(update) => {
                let found = verify_version(self.key, &seen.leaf().root, self.place, version, update).ok()?;
                (found.value == announcement.hash()).then_some(found.epoch)?
            }
        };
        let (leaf, log) = (Leaf::from_bytes(&shown.leaf).ok()?, seen.checkpoint());
        verify_inclusion(shown.index, log.size(), &leaf.hash(), &shown.inclusion.0, log.root()).ok()?;
        // It stands in the order of the log: a leaf that was put in since this device looked last is not from before that.
        seen.leaf().follows(&leaf).ok()?;
        if let Some(before) = self.seen.filter(|before| shown.index >= before.size()) {
            leaf.follows(before.leaf()).ok()?;
        }
        (leaf.epoch == published).then_some(leaf)
    }
}
