//! What members say to each other about the group: beside the sound, and by letter where nothing opens (rules MLS-3, EKR-7, KT-13).

use minicbor::{Decode, Encode};
use undertone_groups::member::Input;
use undertone_groups::{Authenticator, Shares};
use undertone_keys::hkdf::{Prk, Sha256};
use undertone_keys::{RequestId, Secret, cbor};
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
}

impl GroupWord {
    /// The tag of a word of the member with this index.
    fn tag(&self, words: &Secret<32>, speaker: SenderIndex) -> Option<[u8; 16]> {
        let (speaker, epoch) = (speaker.to_be_bytes(), self.epoch.to_be_bytes());
        let said = Prk::<Sha256>::extract(words.expose(), &[&speaker, &epoch, &self.authenticator, &self.checkpoint]);
        said.derive::<16>(labels::WORD, &[]).expose().as_slice().try_into().ok()
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
        let mut word = GroupWord { epoch, authenticator: *authenticator.as_bytes(), checkpoint, tag: None };
        if let (Some(shares), Some(own)) = (self.shares_for_words(mls, epoch), self.own_index()) {
            word.tag = word.tag(&shares.words, own);
        }
        self.outputs.push_back(Output::Say(cbor::encode(&word)));
    }

    pub(super) fn read_words(&mut self, mls: &mut Mls) {
        while let Some((index, bytes)) = mls.words.pop_front() {
            let Ok(word) = cbor::decode::<GroupWord>(&bytes) else { continue };
            let Some(seat) = self.seats.get(&index).filter(|seat| seat.is_admitted()) else { continue };
            let device = device_ref(seat.member());
            // What is said of another epoch than the present one makes this device ask where the group is, and nothing else.
            let shares = self.shares_for_words(mls, word.epoch);
            let by_a_member = shares.map(|shares| word.tag.is_some() && word.tag == word.tag(&shares.words, index));
            if by_a_member == Some(false) {
                continue;
            }
            mls.tell(Input::Told {
                device,
                epoch: word.epoch,
                authenticator: Authenticator::claimed(word.authenticator),
            });
            if self.access.list().terms.audience.is_none() || by_a_member == Some(true) {
                self.told_checkpoint(index, word.checkpoint);
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
