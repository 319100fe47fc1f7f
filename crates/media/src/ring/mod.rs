//! The ring of epoch keys (rule GRP-4): the previous one, the current one and up to two that are coming.
//!
//! Every source of keys (a call's agreement, a host, MLS) feeds the one socket [`Ring::install`]. What is installed
//! opens frames at once; it seals only after [`Ring::promote`]. A ring that is dropped wipes its keys.

mod slot;

use core::time::Duration;
use std::collections::VecDeque;

use undertone_keys::call_agreement::MediaKey;
use undertone_keys::{CallId, DeviceId, JoinId, Time, UserId};

use crate::faults::{Fault, is_planted};
use crate::frame::{Frame, FrameInfo, associated};
use crate::key_id::{Context, Epoch, KeyId, SenderIndex};
use crate::packet::{Codec, Kind};
use crate::sframe::{Header, MAX_FRAMES, Opener, SealError, Sealer};
use slot::{Remembered, Slot, fingerprint};

/// How long the previous epoch's video still opens.
pub const PREVIOUS_VIDEO: Duration = Duration::from_secs(120);
/// How long the previous epoch's audio still opens: a jitter buffer holds far less.
pub const PREVIOUS_AUDIO: Duration = Duration::from_secs(30);
/// How long the previous epoch opens when the change removed somebody.
pub const PREVIOUS_AFTER_REMOVAL: Duration = Duration::from_secs(2);
/// How long an epoch may wait to be promoted.
pub const PENDING: Duration = Duration::from_secs(60);
/// How many epochs may wait.
pub const MAX_PENDING: usize = 2;
/// How long an epoch that was overtaken before anybody sealed under it still opens (rule GRP-2).
pub const OVERTAKEN: Duration = Duration::from_secs(10);
/// Epochs that sealed and were [cleared](Ring::clear) of which is remembered that they did.
const MAX_CLEARED: usize = 64;
/// Sources of one sender that are opened at the same time.
pub const MAX_CONTEXTS: usize = 16;

/// One join of one device: what sender keys are derived for (rule MED-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// Whose device.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Which of its joins.
    pub join: JoinId,
    /// Its number in this call.
    pub index: SenderIndex,
}

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The epoch is in the ring with another key: somebody tells two stories.
    #[error("epoch {0} was installed before with another key")]
    Conflict(Epoch),
    /// Epochs only grow; this one is not newer than the current one, nor in the ring.
    #[error("epoch {0} is older than the current one")]
    Old(Epoch),
    /// [`MAX_PENDING`] epochs wait already.
    #[error("too many epochs wait to be applied")]
    Full,
    /// Its last eight bits are those of another epoch in the ring.
    #[error("epoch {0} cannot be told from one in the ring")]
    Ambiguous(Epoch),
}

/// What [`Ring::install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The key is new. The very first one is current at once, others wait for [`Ring::promote`].
    New,
    /// It was there already, with the same key: nothing changed.
    Held,
}

/// The epoch is not waiting in this ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch {0} does not wait to be applied")]
pub struct NotPending(pub Epoch);

/// Why a sender was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// The index stands for another join that is here, or, for one's own, stood for another before (MED-2).
    #[error("sender index {0} was given before")]
    IndexReused(SenderIndex),
    /// The join id was used before (MED-3).
    #[error("the join id was used before")]
    JoinReused,
}

/// Why a frame did not open. None of these ends a stream (rule MED-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not a frame, or one that disagrees with itself.
    #[error("not a frame")]
    Malformed,
    /// It bears our own index: somebody reflects us.
    #[error("a frame of our own came back")]
    Reflected,
    /// Nobody with this index is in the call.
    #[error("unknown sender {0}")]
    UnknownSender(SenderIndex),
    /// The ring has no key for its epoch.
    #[error("no key for the epoch of this frame")]
    UnknownEpoch,
    /// Opened before, or too old to tell.
    #[error("a replay")]
    Replayed,
    /// The tag does not match.
    #[error("the frame does not open")]
    Forged,
    /// The sender has more than [`MAX_CONTEXTS`] sources.
    #[error("too many sources of one sender")]
    TooManySources,
}

/// What is kept of an epoch that sealed and is not in the ring any more: no keys.
#[derive(Debug)]
struct Lost {
    epoch: Epoch,
    fingerprint: [u8; 32],
    sealed: Vec<(Context, u64)>,
    opened: Remembered,
}

/// The media keys of one call as one member holds them, with everything that seals and opens under them.
#[derive(Debug)]
pub struct Ring {
    call: CallId,
    /// By epoch, oldest first.
    slots: Vec<Slot>,
    /// The epoch that seals; its slot is there.
    sealing: Option<Epoch>,
    /// The newest epoch that ever sealed. What is not newer and not in the ring never comes back: its counters would
    /// begin anew.
    floor: Option<Epoch>,
    /// Replay windows of waiting epochs that ran out of time, in case they are installed again.
    remembered: Vec<(Epoch, Remembered)>,
    installs: u64,
    /// The epoch that sealed and was taken away: if its key comes again, its counters go on.
    lost: Option<Lost>,
    /// Fingerprints of keys that sealed before the ring was cleared: their counters would begin anew.
    cleared: VecDeque<[u8; 32]>,
    me: Option<Sender>,
    senders: Vec<Sender>,
    /// Of whom nothing opens for now.
    suspended: Vec<Sender>,
    used: Vec<(SenderIndex, JoinId)>,
    sealers: Vec<(Context, Sealer)>,
}

impl Ring {
    /// A ring without keys.
    #[must_use]
    pub fn new(call: CallId) -> Self {
        Self {
            call,
            slots: Vec::with_capacity(2 + MAX_PENDING),
            sealing: None,
            floor: None,
            remembered: Vec::new(),
            installs: 0,
            lost: None,
            cleared: VecDeque::new(),
            me: None,
            senders: Vec::new(),
            suspended: Vec::new(),
            used: Vec::new(),
            sealers: Vec::new(),
        }
    }

    /// Takes a key. Installing the same again changes nothing.
    ///
    /// # Errors
    /// [`InstallError`]; the ring is then as before.
    pub fn install(&mut self, now: Time, epoch: Epoch, key: MediaKey) -> Result<Installed, InstallError> {
        self.expire(now);
        if let Some(slot) = self.slots.iter().find(|slot| slot.epoch == epoch) {
            return if slot.has_key(&key) { Ok(Installed::Held) } else { Err(InstallError::Conflict(epoch)) };
        }
        if let Some(lost) = self.lost.take_if(|lost| lost.epoch == epoch) {
            return Ok(self.resume(lost, key));
        }
        if !self.cleared.is_empty() && self.cleared.contains(&fingerprint(epoch, &key)) {
            return Err(InstallError::Old(epoch));
        }
        if self.floor.is_some_and(|floor| epoch <= floor) {
            return Err(InstallError::Old(epoch));
        }
        if self.slots.iter().any(|slot| slot.epoch.0 % 256 == epoch.0 % 256) {
            return Err(InstallError::Ambiguous(epoch));
        }
        if self.slots.iter().filter(|slot| Some(slot.epoch) > self.floor).count() >= MAX_PENDING {
            return Err(InstallError::Full);
        }
        let first = self.floor.is_none();
        let mut slot = Slot::new(epoch, key, (!first).then(|| now + PENDING));
        if let Some(place) = self.remembered.iter().position(|(remembered, _)| *remembered == epoch) {
            slot.remember(self.remembered.remove(place).1);
        }
        let place = self.slots.iter().take_while(|slot| slot.epoch < epoch).count();
        self.slots.insert(place, slot);
        self.installs += 1;
        if first {
            (self.sealing, self.floor) = (Some(epoch), Some(epoch));
        }
        Ok(Installed::New)
    }

    /// The key that was lost is back: nothing is sealed or opened twice under it.
    fn resume(&mut self, lost: Lost, key: MediaKey) -> Installed {
        let mut slot = Slot::new(lost.epoch, key, None);
        slot.remember(lost.opened);
        if let Some(me) = &self.me {
            let from = |next| if is_planted(Fault::CountsAnew) { 0 } else { next };
            let sealer =
                |(context, next)| (context, Sealer::resuming(slot.sender_key(&self.call, me, context), from(next)));
            self.sealers = lost.sealed.into_iter().map(sealer).collect();
        }
        let place = self.slots.iter().take_while(|other| other.epoch < lost.epoch).count();
        self.slots.insert(place, slot);
        self.sealing = Some(lost.epoch);
        self.installs += 1;
        Installed::New
    }

    /// Seals under `epoch` from now on. What was current becomes the previous epoch; waiting epochs that were
    /// overtaken open for [`OVERTAKEN`], since somebody may have sealed under them for a moment. `removed` says that the change removed a member.
    ///
    /// # Errors
    /// [`NotPending`].
    pub fn promote(&mut self, now: Time, epoch: Epoch, removed: bool) -> Result<(), NotPending> {
        self.expire(now);
        if self.sealing == Some(epoch) {
            return Ok(());
        }
        let waits = self.slots.iter().any(|slot| slot.epoch == epoch) && Some(epoch) > self.floor;
        if !waits {
            return Err(NotPending(epoch));
        }
        let previous = self.sealing;
        // One of each kind: what is older than the previous epoch has had its time.
        let overtaken =
            self.slots.iter().map(|slot| slot.epoch).rfind(|waits| *waits < epoch && Some(*waits) > previous);
        self.slots.retain(|slot| Some(slot.epoch) == previous || Some(slot.epoch) == overtaken || slot.epoch >= epoch);
        let (audio, other) =
            if removed { (PREVIOUS_AFTER_REMOVAL, PREVIOUS_AFTER_REMOVAL) } else { (PREVIOUS_AUDIO, PREVIOUS_VIDEO) };
        for slot in &mut self.slots {
            if Some(slot.epoch) == previous {
                slot.expire_at(now + audio, now + other);
            } else if Some(slot.epoch) == overtaken {
                let until = now + if removed { PREVIOUS_AFTER_REMOVAL } else { OVERTAKEN };
                slot.expire_at(until, until);
            } else if slot.epoch == epoch {
                slot.keep();
            }
        }
        self.lost = None;
        (self.sealing, self.floor) = (Some(epoch), Some(epoch));
        self.remembered.retain(|(remembered, _)| *remembered > epoch);
        self.sealers.clear();
        Ok(())
    }

    /// Forgets an epoch at once: its key is wiped. Without the current one there is nothing to seal under until
    /// another is promoted, or the same key comes again.
    pub fn retire(&mut self, epoch: Epoch) {
        self.forget(|slot| slot.epoch == epoch);
    }

    /// Forgets all epochs: what comes next is of another line, which may have the same numbers (an MLS group that was joined
    /// anew). The first that is installed then is current at once. A key that has sealed here does not come back.
    pub fn clear(&mut self) {
        // One that has sealed and opened nothing has no counters that could begin anew.
        let fresh = |slot: &Slot| {
            Some(slot.epoch) == self.sealing
                && !slot.has_opened()
                && self.sealers.iter().all(|(_, sealer)| sealer.sealed() == 0)
        };
        let sealed = self.slots.iter().filter(|slot| Some(slot.epoch) <= self.floor && !fresh(slot));
        let lost = self.lost.iter().map(|lost| lost.fingerprint);
        let sealed: Vec<[u8; 32]> = sealed.map(Slot::fingerprint).chain(lost).collect();
        self.cleared.extend(sealed);
        while self.cleared.len() > MAX_CLEARED {
            self.cleared.pop_front();
        }
        self.slots.clear();
        self.sealers.clear();
        self.remembered.clear();
        (self.sealing, self.floor, self.lost) = (None, None, None);
    }

    /// Drops what has outlived its time.
    pub fn expire(&mut self, now: Time) {
        let sealing = self.sealing;
        self.forget(|slot| Some(slot.epoch) != sealing && slot.is_over(now));
    }

    fn forget(&mut self, over: impl Fn(&Slot) -> bool) {
        for slot in self.slots.extract_if(.., |slot| over(slot)) {
            if self.sealing == Some(slot.epoch) {
                self.sealing = None;
                let sealed = self.sealers.drain(..).map(|(context, sealer)| (context, sealer.sealed())).collect();
                let (epoch, fingerprint) = (slot.epoch, slot.fingerprint());
                self.lost = Some(Lost { epoch, fingerprint, sealed, opened: slot.into_remembered() });
            } else if Some(slot.epoch) > self.floor {
                // It may come again, by a second delivery of its key; what it has opened it must not open again.
                if self.remembered.len() >= 2 * MAX_PENDING {
                    self.remembered.remove(0);
                }
                self.remembered.push((slot.epoch, slot.into_remembered()));
            }
        }
    }

    /// When [`Self::expire`] next has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.slots.iter().filter(|slot| Some(slot.epoch) != self.sealing).filter_map(Slot::end).min()
    }

    /// Where as many epochs wait as can: the newest of them. Another has room when that one is promoted.
    #[must_use]
    pub fn overtaken(&self) -> Option<Epoch> {
        let waiting = || self.slots.iter().map(|slot| slot.epoch).filter(|epoch| Some(*epoch) > self.floor);
        (waiting().count() >= MAX_PENDING).then(|| waiting().max()).flatten()
    }

    /// Whether an epoch with these last eight bits is here, be it that it opens nothing of some kind any more.
    #[must_use]
    pub fn holds(&self, epoch: u8) -> bool {
        self.slots.iter().any(|slot| slot.epoch.0.to_be_bytes()[3] == epoch)
    }

    /// What a frame says of itself whose sender was admitted, and whose key has not come (or is long gone).
    #[must_use]
    pub fn early(&self, frame: &[u8]) -> Option<KeyId> {
        let id = KeyId::of_frame(frame)?;
        let admitted = self.senders.iter().any(|sender| sender.index == id.sender);
        (admitted && !self.holds(id.epoch)).then_some(id)
    }

    /// How many keys have come so far: when there are more, frames that were kept may open.
    #[must_use]
    pub const fn installs(&self) -> u64 {
        self.installs
    }

    /// The epochs that open something, oldest first, each with the time after which it opens nothing any more; that which seals
    /// has none.
    pub fn epochs(&self) -> impl Iterator<Item = (Epoch, Option<Time>)> {
        self.slots.iter().map(|slot| (slot.epoch, slot.end().filter(|_| Some(slot.epoch) != self.sealing)))
    }

    /// The epoch that seals.
    #[must_use]
    pub const fn current_epoch(&self) -> Option<Epoch> {
        self.sealing
    }

    /// Seals as `me` from now on. Each join brings a fresh join id, so that nothing is ever sealed under a key that
    /// an earlier join used (rule MED-3).
    ///
    /// # Errors
    /// [`AdmitError`] when index or join id were used before.
    pub fn join(&mut self, me: Sender) -> Result<(), AdmitError> {
        // One's own join named the smallest index that is free, as far as this member knows.
        if self.used.iter().any(|(index, _)| *index == me.index) {
            return Err(AdmitError::IndexReused(me.index));
        }
        self.use_up(&me)?;
        self.sealers.clear();
        // Another join has keys of its own.
        if let Some(lost) = &mut self.lost {
            lost.sealed.clear();
        }
        self.me = Some(me);
        Ok(())
    }

    /// Opens frames of `sender` from now on. The caller has verified its signed join.
    ///
    /// A relay that has forgotten the call may give an index again that some members saw given and the newcomer did not.
    /// That is taken, if its holder has gone: sender keys hang on the join id, so nothing is sealed or opened twice.
    ///
    /// # Errors
    /// [`AdmitError`] when somebody here has the index, or the join id was used before.
    pub fn admit(&mut self, sender: Sender) -> Result<(), AdmitError> {
        if self.senders.contains(&sender) {
            return Ok(());
        }
        if let Some(place) = self.suspended.iter().position(|suspended| *suspended == sender) {
            self.senders.push(self.suspended.swap_remove(place));
            return Ok(());
        }
        if self.senders.iter().chain(&self.suspended).chain(&self.me).any(|here| here.index == sender.index) {
            return Err(AdmitError::IndexReused(sender.index));
        }
        self.use_up(&sender)?;
        self.senders.push(sender);
        Ok(())
    }

    /// Opens nothing of this sender until it is admitted again, as the same join. What it sent before is still known, so
    /// nothing opens twice.
    pub fn suspend(&mut self, index: SenderIndex) {
        let sender = self.senders.iter().position(|sender| sender.index == index);
        self.suspended.extend(sender.map(|place| self.senders.swap_remove(place)));
    }

    /// Opens nothing of this sender any more.
    pub fn dismiss(&mut self, index: SenderIndex) {
        self.senders.retain(|sender| sender.index != index);
        self.suspended.retain(|sender| sender.index != index);
        self.slots.iter_mut().for_each(|slot| slot.forget(index));
        for (_, remembered) in &mut self.remembered {
            remembered.retain(|((sender, _), _)| *sender != index);
        }
    }

    /// The senders whose frames open.
    #[must_use]
    pub fn senders(&self) -> &[Sender] {
        &self.senders
    }

    /// The smallest index above all that joins in this call have had, as far as this member knows; `None` when
    /// indices have run out.
    #[must_use]
    pub fn next_index(&self) -> Option<SenderIndex> {
        self.used.iter().map(|(index, _)| *index).max().map_or(Some(0), |newest| newest.checked_add(1))
    }

    fn use_up(&mut self, sender: &Sender) -> Result<(), AdmitError> {
        if self.used.iter().any(|(_, join)| *join == sender.join) {
            return Err(AdmitError::JoinReused);
        }
        self.used.push((sender.index, sender.join));
        Ok(())
    }

    /// Seals `payload` into the front of `out` and returns the frame's length.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&mut self, info: FrameInfo, payload: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let slot = self.slots.iter().find(|slot| Some(slot.epoch) == self.sealing).ok_or(SealError::NoKey)?;
        let me = self.me.as_ref().ok_or(SealError::NoKey)?;
        let place = match self.sealers.iter().position(|(context, _)| *context == info.context) {
            Some(place) => place,
            None => {
                self.sealers.push((info.context, Sealer::new(slot.sender_key(&self.call, me, info.context))));
                self.sealers.len() - 1
            }
        };
        let (_, sealer) = self.sealers.get_mut(place).ok_or(SealError::NoKey)?;
        sealer.seal(&associated(&self.call, info.kind, info.codec), &[&info.inner(), payload], out)
    }

    /// Opens a frame where it stands. `kind` and `codec` are the packet header's claims; if they are not what the
    /// sender sealed, the frame does not open.
    ///
    /// # Errors
    /// [`OpenError`]; on any of them the bytes in `frame` are not text.
    pub fn open<'b>(
        &mut self,
        now: Time,
        kind: Kind,
        codec: Codec,
        frame: &'b mut [u8],
    ) -> Result<Frame<'b>, OpenError> {
        let (header, header_length) = Header::decode(frame).map_err(|_| OpenError::Malformed)?;
        let key_id = KeyId::from_u64(header.key_id).ok_or(OpenError::Malformed)?;
        if header.counter >= MAX_FRAMES {
            return Err(OpenError::Malformed);
        }
        if self.me.as_ref().is_some_and(|me| me.index == key_id.sender) {
            return Err(OpenError::Reflected);
        }
        let sender = self
            .senders
            .iter()
            .find(|sender| sender.index == key_id.sender)
            .ok_or(OpenError::UnknownSender(key_id.sender))?;
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.epoch.0.to_be_bytes()[3] == key_id.epoch && slot.opens(now, kind))
            .ok_or(OpenError::UnknownEpoch)?;
        let source = slot.source(&self.call, sender, key_id.context)?;
        if !source.window.is_fresh(header.counter) {
            return Err(OpenError::Replayed);
        }
        let text = source
            .opener
            .open(header, header_length, &associated(&self.call, kind, codec), frame)
            .map_err(|_| OpenError::Forged)?;
        source.window.mark(header.counter);
        slot.confirm(key_id);
        Frame::parse(key_id, header.counter, text).ok_or(OpenError::Malformed)
    }

    /// Whether a recorded frame opens under a key that is still in this ring, without counting as received and
    /// whether or not it was received before. For showing what a relay's records are worth.
    #[must_use]
    pub fn would_open(&self, kind: Kind, codec: Codec, frame: &[u8]) -> bool {
        let Ok((header, header_length)) = Header::decode(frame) else { return false };
        let Some(key_id) = KeyId::from_u64(header.key_id) else { return false };
        let everybody = self.senders.iter().chain(self.me.as_ref());
        let senders = everybody.filter(|sender| sender.index == key_id.sender);
        let opens = |opener: &Opener| {
            let mut copy = zeroize::Zeroizing::new(frame.to_vec());
            opener.open(header, header_length, &associated(&self.call, kind, codec), &mut copy).is_ok()
        };
        let mut slots = self.slots.iter().filter(|slot| slot.epoch.0.to_be_bytes()[3] == key_id.epoch);
        slots.any(|slot| {
            let derived = |sender| opens(&Opener::new(slot.sender_key(&self.call, sender, key_id.context)));
            slot.opener(key_id).is_some_and(opens) || senders.clone().any(derived)
        })
    }
}

#[cfg(test)]
mod tests;
