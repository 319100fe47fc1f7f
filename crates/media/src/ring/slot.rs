//! One epoch of a ring: its key, and what opens under it.

use subtle::ConstantTimeEq;
use undertone_keys::call_agreement::MediaKey;
use undertone_keys::{CallId, Secret, Time};

use super::{MAX_CONTEXTS, OpenError, Sender};
use crate::key_id::{Context, Epoch, KeyId, SenderIndex};
use crate::labels;
use crate::packet::Kind;
use crate::replay::ReplayWindow;
use crate::sframe::{Opener, SframeKey};

/// One source of one sender within an epoch.
#[derive(Debug)]
pub(super) struct Source {
    id: (SenderIndex, Context),
    pub(super) opener: Opener,
    pub(super) window: ReplayWindow,
    /// A frame of it opened, so its place is not a stranger's to take.
    confirmed: bool,
}

/// What tells an epoch's key from others without giving it away.
pub(super) fn fingerprint(epoch: Epoch, key: &MediaKey) -> [u8; 32] {
    *key.derive::<32>(labels::FINGERPRINT, &[&epoch.0.to_be_bytes()]).expose()
}

/// What an epoch has opened, without the means to open more.
pub(super) type Remembered = Vec<((SenderIndex, Context), ReplayWindow)>;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) epoch: Epoch,
    key: MediaKey,
    audio_until: Option<Time>,
    other_until: Option<Time>,
    sources: Vec<Source>,
    /// From an earlier stay in the ring.
    remembered: Remembered,
}

impl Slot {
    pub(super) const fn new(epoch: Epoch, key: MediaKey, until: Option<Time>) -> Self {
        Self { epoch, key, audio_until: until, other_until: until, sources: Vec::new(), remembered: Vec::new() }
    }

    pub(super) fn remember(&mut self, remembered: Remembered) {
        self.remembered = remembered;
    }

    pub(super) fn into_remembered(self) -> Remembered {
        let mut remembered = self.remembered;
        let opened = self.sources.into_iter().filter(|source| source.confirmed);
        remembered.extend(opened.map(|source| (source.id, source.window)));
        remembered
    }

    pub(super) fn has_key(&self, key: &MediaKey) -> bool {
        self.key.ct_eq(key).into()
    }

    /// Whether anything opened under it.
    pub(super) fn has_opened(&self) -> bool {
        !self.remembered.is_empty() || self.sources.iter().any(|source| source.confirmed)
    }

    /// What tells its key from others without giving it away.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        fingerprint(self.epoch, &self.key)
    }

    /// Rule MED-3: the key of one source of one join, in this epoch, in this call.
    pub(super) fn sender_key(&self, call: &CallId, sender: &Sender, context: Context) -> SframeKey {
        let base: Secret<32> = self.key.derive(
            labels::SENDER_KEY,
            &[
                call.as_bytes(),
                &self.epoch.0.to_be_bytes(),
                sender.user.as_str().as_bytes(),
                sender.device.as_bytes(),
                sender.join.as_bytes(),
                &context.0.to_be_bytes(),
            ],
        );
        SframeKey::derive(base.expose(), KeyId::new(context, sender.index, self.epoch).to_u64())
    }

    pub(super) const fn expire_at(&mut self, audio: Time, other: Time) {
        (self.audio_until, self.other_until) = (Some(audio), Some(other));
    }

    pub(super) const fn keep(&mut self) {
        (self.audio_until, self.other_until) = (None, None);
    }

    pub(super) fn opens(&self, now: Time, kind: Kind) -> bool {
        let until = if kind == Kind::Audio { self.audio_until } else { self.other_until };
        until.is_none_or(|until| now < until)
    }

    pub(super) fn end(&self) -> Option<Time> {
        self.other_until
    }

    pub(super) fn is_over(&self, now: Time) -> bool {
        self.other_until.is_some_and(|until| now >= until)
    }

    /// The source a key id names. A frame that never opens holds a place only until the next new source needs it.
    pub(super) fn source(
        &mut self,
        call: &CallId,
        sender: &Sender,
        context: Context,
    ) -> Result<&mut Source, OpenError> {
        let id = (sender.index, context);
        let place = match self.sources.iter().position(|source| source.id == id) {
            Some(place) => place,
            None => {
                let of_sender = || self.sources.iter().filter(|source| source.id.0 == sender.index);
                if of_sender().count() >= MAX_CONTEXTS {
                    let idle = self.sources.iter().position(|source| source.id.0 == sender.index && !source.confirmed);
                    self.sources.remove(idle.ok_or(OpenError::TooManySources)?);
                }
                let opener = Opener::new(self.sender_key(call, sender, context));
                let seen = self.remembered.iter().position(|(remembered, _)| *remembered == id);
                let seen = seen.map(|place| self.remembered.swap_remove(place).1);
                let (confirmed, window) = (seen.is_some(), seen.unwrap_or_default());
                self.sources.push(Source { id, opener, window, confirmed });
                self.sources.len() - 1
            }
        };
        self.sources.get_mut(place).ok_or(OpenError::TooManySources)
    }

    /// What opens a source that was heard already.
    pub(super) fn opener(&self, id: KeyId) -> Option<&Opener> {
        self.sources.iter().find(|source| source.id == (id.sender, id.context)).map(|source| &source.opener)
    }

    pub(super) fn confirm(&mut self, id: KeyId) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == (id.sender, id.context)) {
            source.confirmed = true;
        }
    }

    pub(super) fn forget(&mut self, index: SenderIndex) {
        self.sources.retain(|source| source.id.0 != index);
        self.remembered.retain(|((sender, _), _)| *sender != index);
    }
}
