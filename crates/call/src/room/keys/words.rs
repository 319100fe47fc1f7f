//! What hosts say beside the sound, and whoever knows better (rule GRP-1).

use undertone_keys::Time;
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::HostWord;

use super::member::about_nothing;
use super::recovery::Failure;
use crate::room::{KeySignal, RoomCall};

impl RoomCall {
    /// Tells somebody which statement is gone by, now and then.
    pub(super) fn tell(&mut self, now: Time, index: SenderIndex, rng: &mut impl rand_core::CryptoRng) {
        let Some(head) = &self.keys.head else { return };
        let told = KeySignal::Told { statements: vec![head.signed.clone()] };
        let lately = self.keys.told.get(&index).is_some_and(|at| now.since(*at) < self.policy.answer_device);
        if !lately {
            self.keys.told.insert(index, now);
            self.post(index, about_nothing(rng), &told, rng);
        }
    }

    pub(super) fn heard(&mut self, now: Time) {
        self.keys.host_heard = now;
        self.keys.recovery.heard();
    }

    /// The host itself has said something.
    pub(super) fn spoke(&mut self, now: Time) {
        self.keys.host_spoke = Some(now);
        self.heard(now);
    }

    /// Words of hosts that came beside the sound.
    pub(super) fn mind_words(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        while let Some((index, bytes)) = self.keys.words.pop_front() {
            self.word(now, index, &bytes, rng);
        }
    }

    pub(super) fn word(&mut self, now: Time, index: SenderIndex, bytes: &[u8], rng: &mut impl rand_core::CryptoRng) {
        let Some(entry) = self.seats.get(&index).filter(|seat| seat.is_admitted()).map(|seat| seat.entry()) else {
            return;
        };
        let (key, join) = (entry.grant.identity, entry.join.join);
        let Ok(word) = HostWord::verify(bytes, &key, self.call) else { return };
        if word.host != join || self.keys.convicted.contains(&join) {
            return;
        }
        let last = self.keys.word_numbers.entry(index).or_default();
        if (word.term, word.number) <= *last {
            return;
        }
        *last = (word.term, word.number);
        let soon = now + self.policy.kept;
        let Some(head) = &self.keys.head else {
            self.keys.rumour = Some((join, now));
            return self.keys.recovery.wish(Failure::Statement, soon);
        };
        let (term, host) = (head.statement.term, head.statement.host);
        if (word.term, word.host) == (term, host) {
            let behind = word.newest != head.hash || self.keys.newest_hash != Some(head.hash);
            self.spoke(now);
            self.apply_coming(word.applied);
            let missing = self.keys.sealing.is_some_and(|sealing| sealing < word.applied);
            if behind || missing {
                self.keys.recovery.wish(Failure::Statement, soon);
            }
        } else if word.term > term || (word.term == term && (index, join) < (head.index, host)) {
            self.keys.rumour = Some((join, now));
            self.keys.recovery.wish(Failure::Statement, soon);
        } else {
            self.tell(now, index, rng);
        }
    }
}
