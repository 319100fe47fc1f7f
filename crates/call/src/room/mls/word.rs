//! What members say to each other about the group: beside the sound, and by letter where nothing opens (rules MLS-3, EKR-7, KT-13).

use minicbor::{Decode, Encode};
use subtle::ConstantTimeEq as _;
use undertone_groups::member::Input;
use undertone_groups::{Authenticator, Shares};
use undertone_keys::hkdf::{Prk, Sha256};
use undertone_keys::{RequestId, Secret, Time, cbor};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::labels;

use super::{MAX_UNOPENED, MAX_WORDS, Mls, device_ref};
use crate::room::keys::About;
use crate::room::{KeySignal, Output, RoomCall};

/// Bytes of a checkpoint in a word at most.
const MAX_CHECKPOINT: usize = 900;

/// A word beside the sound: sealed as a control frame for all members, so whoever opens it is one. Which of them said it is the
/// word of them all, as with any frame (rule MED-11).
#[derive(Debug, Encode, Decode)]
pub(super) struct GroupWord {
    /// Of which epoch.
    #[n(0)]
    epoch: u64,
    /// Its authenticator.
    #[cbor(n(1), with = "minicbor::bytes")]
    authenticator: [u8; 32],
    /// The newest checkpoint of the key directory that the speaker was shown (rule KT-13).
    #[cbor(n(2), with = "minicbor::bytes")]
    checkpoint: Vec<u8>,
    /// In a room with an audience, which can seal such a frame too if the relay helps it: that a member has said all this (rule GRP-9).
    #[cbor(n(3), with = "minicbor::bytes")]
    tag: Option<[u8; 16]>,
    /// The version of the access list that the speaker goes by: whom a server keeps from a newer one hears of it here (rule GRP-8).
    #[n(4)]
    version: Option<u32>,
}

impl GroupWord {
    /// The tag of a word of the member with this index.
    fn tag(&self, words: &Secret<32>, speaker: SenderIndex) -> Option<[u8; 16]> {
        let (speaker, epoch) = (speaker.to_be_bytes(), self.epoch.to_be_bytes());
        let version = self.version.unwrap_or_default().to_be_bytes();
        let said = [&speaker[..], &epoch, &self.authenticator, &version, &self.checkpoint];
        let said = Prk::<Sha256>::extract(words.expose(), &said);
        said.derive::<16>(labels::WORD, &[]).expose().as_slice().try_into().ok()
    }

    /// Whether the member with this index has said it.
    fn is_of(&self, words: &Secret<32>, speaker: SenderIndex) -> bool {
        let right = self.tag(words, speaker).zip(self.tag).map(|(right, tag)| right.ct_eq(&tag));
        right.is_some_and(bool::from)
    }
}

impl RoomCall {
    /// A word came beside the sound. On the media path, so it is read at the next [`Tick`](crate::room::Input::Tick).
    pub(in crate::room) fn group_heard(&mut self, index: SenderIndex, bytes: &[u8]) {
        if let Some(mls) = self.mls.as_mut().filter(|mls| mls.words.len() < MAX_WORDS) {
            mls.words.push_back((index, bytes.to_vec()));
        }
    }

    /// Frames of a member do not open: their epoch is not in the ring, or is and does not help. On the media path too.
    pub(in crate::room) fn group_missed(&mut self, index: SenderIndex, epoch: Option<u8>) {
        if let Some(listening) = &mut self.listening {
            listening.missed(epoch);
        }
        if let Some(mls) = &mut self.mls
            && mls.unopened.len() < MAX_UNOPENED
            && !mls.unopened.contains(&(index, epoch))
        {
            mls.unopened.push((index, epoch));
        }
    }

    pub(super) fn say_group(&mut self, mls: &mut Mls, epoch: u64, authenticator: Authenticator) {
        // One that is longer than a packet has room for is left out: the authenticator must not be lost with it.
        let checkpoint = if self.checkpoint.len() <= MAX_CHECKPOINT { self.checkpoint.clone() } else { Vec::new() };
        let version = Some(self.access.list().version);
        let mut word = GroupWord { epoch, authenticator: *authenticator.as_bytes(), checkpoint, tag: None, version };
        if let (Some(shares), Some(own)) = (self.shares_for_words(mls, epoch), self.own_index()) {
            word.tag = word.tag(&shares.words, own);
        }
        self.outputs.push_back(Output::Say(cbor::encode(&word)));
    }

    /// Reads them, in the epoch that this device is in now: to be done when all that the server said before has been followed.
    pub(super) fn read_words(&mut self, mls: &mut Mls, now: Time) {
        while let Some((index, bytes)) = mls.words.pop_front() {
            let Ok(word) = cbor::decode::<GroupWord>(&bytes) else { continue };
            let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted()) else { continue };
            let device = device_ref(seat.member());
            // Where others than members can say such a word, one counts that a member of the present epoch has said.
            let open = self.access.list().terms.audience.is_none();
            let shares = self.shares_for_words(mls, word.epoch);
            if !open && !shares.is_some_and(|shares| word.is_of(&shares.words, index)) {
                continue;
            }
            mls.tell(Input::Told {
                device,
                epoch: word.epoch,
                authenticator: Authenticator::claimed(word.authenticator),
            });
            self.told_checkpoint(index, word.checkpoint);
            if let Some(version) = word.version {
                self.compare_lists(mls, now, index, version);
            }
        }
    }

    /// What members know each other's words by, where others can say them too.
    fn shares_for_words<'m>(&self, mls: &'m mut Mls, epoch: u64) -> Option<&'m Shares> {
        self.access.list().terms.audience?;
        mls.shares_of(epoch)
    }

    /// By letter: to whom frames do not open.
    pub(super) fn write(
        &mut self,
        to: &[undertone_groups::DeviceRef],
        epoch: u64,
        authenticator: Authenticator,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        let seats = self.seats.iter().filter(|(_, seat)| to.contains(&device_ref(seat.member())));
        let seats: Vec<SenderIndex> = seats.map(|(index, _)| *index).collect();
        for index in seats {
            let about = About { term: 0, epoch: 0, request: RequestId::random(rng) };
            let signal = KeySignal::Group { epoch, authenticator: *authenticator.as_bytes() };
            self.post(index, about, &signal, rng);
        }
    }

    /// Such a letter has come from a proven device.
    pub(in crate::room) fn group_letter(&mut self, index: SenderIndex, epoch: u64, authenticator: [u8; 32]) {
        let Some(device) = self.seats.get(&index).map(|seat| device_ref(seat.member())) else { return };
        self.group_told(Input::Told { device, epoch, authenticator: Authenticator::claimed(authenticator) });
    }

    /// Tells the group whose frames do not open. A frame names the last eight bits of its epoch: of those that it may be, it is the
    /// present one or the next to come, for an older one opens or has had its time.
    pub(super) fn say_unopened(&mut self, mls: &mut Mls) {
        let Some(present) = mls.began.as_ref().map(|began| began.epoch) else { return mls.unopened.clear() };
        for (index, byte) in core::mem::take(&mut mls.unopened) {
            let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted()) else { continue };
            let [.., last] = present.to_be_bytes();
            let ahead = byte.map_or(0, |byte| byte.wrapping_sub(last));
            if ahead < 128 {
                let epoch = present.saturating_add(u64::from(ahead));
                mls.tell(Input::CannotOpen { device: device_ref(seat.member()), epoch });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule GRP-9: a word is of the member that said it in this epoch, all of it, or it is nobody's.
    #[test]
    fn grp_9_a_word_without_the_tag_of_its_speaker_is_nobodys() {
        let (words, others) = (Secret::from_slice(&[7; 32]).unwrap(), Secret::from_slice(&[8; 32]).unwrap());
        let word = |epoch, authenticator: u8, checkpoint: &[u8], version| GroupWord {
            epoch,
            authenticator: [authenticator; 32],
            checkpoint: checkpoint.to_vec(),
            tag: None,
            version,
        };
        let mut said = word(5, 1, b"checkpoint", Some(3));
        assert!(!said.is_of(&words, 2), "without a tag");
        said.tag = said.tag(&words, 2);
        assert!(said.is_of(&words, 2));
        assert!(!said.is_of(&words, 3) && !said.is_of(&others, 2));
        for other in [
            word(6, 1, b"checkpoint", Some(3)),
            word(5, 2, b"checkpoint", Some(3)),
            word(5, 1, b"other", Some(3)),
            word(5, 1, b"checkpoint", Some(4)),
        ] {
            assert!(!GroupWord { tag: said.tag, ..other }.is_of(&words, 2));
        }
        let read = cbor::decode::<GroupWord>(&cbor::encode(&said)).unwrap();
        assert!(read.is_of(&words, 2));
    }
}
