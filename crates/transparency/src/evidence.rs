//! What a failed proof leaves behind (rule KT-9): everything that the check was made of, so that anybody can make it again.
//! A proof that holds can be kept in the same way, for whoever does not want to take somebody's word for it.
//!
//! A checkpoint is signed by the log's key, the rest of an answer by nobody. So two kinds of evidence are told apart: what
//! [convicts](Evidence::convicts) shows two signatures by one key that cannot both be honest, whoever brings it; anything
//! else shows what a device says it was answered, and is worth as much as that device's word.

use minicbor::{Decode, Encode};
use undertone_keys::cbor::{self, Malformed};
use undertone_keys::device_list::ClaimedList;
use undertone_keys::digest::labelled_sha256;
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{UserId, WallTime};

use crate::answer::Answer;
use crate::checkpoint::{SignedCheckpoint, origin};
use crate::history::{History, HistoryAnswer, HistoryQuestion};
use crate::known::{KnownList, NewestAt};
use crate::note::{LogKey, WitnessKey};
use crate::policy::Witnesses;
use crate::seen::Seen;
use crate::verify::{Accusation, Pins, Proven, Purpose, Question};

/// Bytes of a file of evidence at most.
pub const MAX_BYTES: usize = 8 << 20;

/// A check with all it was made of; mostly one that failed. CBOR map.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Evidence {
    /// 1.
    #[n(0)]
    format: u8,
    /// The domain of the directory.
    #[n(1)]
    domain: String,
    /// The pinned key of its log.
    #[n(2)]
    log: VerifyingKey<Server>,
    /// The pinned VRF key.
    #[cbor(n(3), with = "minicbor::bytes")]
    vrf: [u8; 32],
    /// How many witnesses had to cosign, and their keys in C2SP's text form.
    #[n(4)]
    threshold: u32,
    #[n(5)]
    witnesses: Vec<String>,
    /// Whose devices were asked for.
    #[n(6)]
    user: UserId,
    /// What was seen of the log before.
    #[cbor(n(7), with = "minicbor::bytes")]
    seen: Option<Vec<u8>>,
    /// The newest list of the user that was known.
    #[cbor(n(8), with = "minicbor::bytes")]
    known: Option<Vec<u8>>,
    /// The wall clock of the device.
    #[n(9)]
    at: WallTime,
    /// Whether something was to begin with the answer.
    #[n(10)]
    begins: bool,
    /// The answer as it came.
    #[cbor(n(11), with = "minicbor::bytes")]
    answer: Vec<u8>,
    /// Whether the device insisted on its witnesses.
    #[n(12)]
    insisted: Option<bool>,
    /// True where the answer is of the own account's history, from the list above on (rule KT-11).
    #[n(13)]
    history: Option<bool>,
    /// An epoch in which the list above was the newest, as the device has seen it proven.
    #[n(14)]
    newest_in: Option<u64>,
    /// The log's time then; none where the history was asked for.
    #[n(15)]
    newest_time: Option<WallTime>,
}

/// Which directory evidence of a device is about, and when that looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// The domain of the directory.
    pub domain: &'a str,
    /// The pinned key of its log.
    pub log: &'a VerifyingKey<Server>,
    /// By the clock of the device.
    pub at: WallTime,
}

/// What holds, where evidence accuses nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// An answer about a user.
    Answer(Proven),
    /// The history of the device's own account.
    History(Box<History>),
}

impl Evidence {
    /// Keeps a question and the answer to it.
    #[must_use]
    pub fn new(question: &Question<'_>, answer: &[u8]) -> Self {
        let Question { pins, user, seen, known, now, purpose } = *question;
        Self {
            format: 1,
            domain: pins.domain.clone(),
            log: pins.log,
            vrf: pins.vrf,
            threshold: u32::try_from(pins.witnesses.threshold()).unwrap_or(u32::MAX),
            witnesses: pins.witnesses.keys().iter().map(ToString::to_string).collect(),
            user: user.clone(),
            seen: seen.map(Seen::to_bytes),
            known: known.map(|known| known.list.to_bytes()),
            at: now,
            begins: purpose == Purpose::Begin,
            answer: answer.to_vec(),
            insisted: pins.witnesses.insists().then_some(true),
            history: None,
            newest_in: known.and_then(|known| known.newest).map(|newest| newest.epoch),
            newest_time: known.and_then(|known| known.newest).map(|newest| newest.time),
        }
    }

    /// Keeps a question about the own account's history and the answer to it that did not hold.
    #[must_use]
    pub fn of_history(question: &HistoryQuestion<'_>, answer: &[u8]) -> Self {
        let HistoryQuestion { pins, seen, from, newest_in, now } = *question;
        let (known, purpose) = (KnownList::new(from.clone()), Purpose::Begin);
        let question = Question { pins, user: from.user(), seen, known: Some(&known), now, purpose };
        Self { history: Some(true), newest_in, ..Self::new(&question, answer) }
    }

    /// The file's contents.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_BYTES {
            return Err(Malformed);
        }
        let evidence: Self = cbor::decode(bytes)?;
        if evidence.format == 1 { Ok(evidence) } else { Err(Malformed) }
    }

    /// Makes the check again, at the time at which it was made. An `Ok` means that it holds: nobody is accused by this file.
    ///
    /// # Errors
    /// [`Malformed`] where what the device knew cannot be read, or was not signed by the keys that stand beside it.
    pub fn check(&self) -> Result<Result<Held, Accusation>, Malformed> {
        let keys = self.witnesses.iter().map(|text| text.parse::<WitnessKey>()).collect::<Result<_, _>>();
        let threshold = usize::try_from(self.threshold).map_err(|_| Malformed)?;
        let witnesses = Witnesses::new(threshold, keys.map_err(|_| Malformed)?).map_err(|_| Malformed)?;
        let witnesses = if self.insisted == Some(true) { witnesses.insisting() } else { witnesses };
        let pins = Pins { domain: self.domain.clone(), log: self.log, vrf: self.vrf, witnesses };
        let seen = self.seen.as_deref().map(|bytes| Seen::from_bytes(bytes, &self.domain, &self.log)).transpose()?;
        let read = |bytes: &Vec<u8>| ClaimedList::from_bytes(bytes)?.verify(&self.user);
        let known = self.known.as_ref().map(read).transpose().map_err(|_| Malformed)?;
        let newest = self.newest_in.zip(self.newest_time).map(|(epoch, time)| NewestAt { epoch, time });
        let known = known.map(|list| KnownList { list, newest });
        let purpose = if self.begins { Purpose::Begin } else { Purpose::Show };
        let question = Question {
            pins: &pins,
            user: &self.user,
            seen: seen.as_ref(),
            known: known.as_ref(),
            now: self.at,
            purpose,
        };
        if !self.is_of_history() {
            return Ok(question.verify(&self.answer).map(Held::Answer));
        }
        let from = &known.as_ref().ok_or(Malformed)?.list;
        let question =
            HistoryQuestion { pins: &pins, seen: seen.as_ref(), from, newest_in: self.newest_in, now: self.at };
        Ok(question.verify(&self.answer).map(|history| Held::History(Box::new(history))))
    }

    /// Whether the log's own signatures are enough: two of them, over two trees of one size. Whichever check failed first.
    #[must_use]
    pub fn convicts(&self) -> bool {
        let Some(Ok(seen)) = self.seen.as_deref().map(|bytes| Seen::from_bytes(bytes, &self.domain, &self.log)) else {
            return false;
        };
        let checkpoint = if self.is_of_history() {
            HistoryAnswer::from_bytes(&self.answer).map(|answer| answer.head.checkpoint)
        } else {
            Answer::from_bytes(&self.answer).map(|answer| answer.head.checkpoint)
        };
        let shown = checkpoint.ok().and_then(|checkpoint| {
            let name = origin(&self.domain).ok()?;
            SignedCheckpoint::from_bytes(&checkpoint).ok()?.verify(&LogKey::new(name, self.log)).ok()
        });
        shown.is_some_and(|shown| shown.size() == seen.size() && shown.root() != seen.checkpoint().root())
    }

    /// What the same answer to the same question has in common, whenever it was given. Which witnesses a device wants, and whether
    /// something was to begin, is part of the question: what is wrong with an answer depends on it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let known = [&self.seen, &self.known].map(|bytes| bytes.as_deref().unwrap_or_default());
        let [seen, known] = known;
        let wanted = cbor::encode(&(self.threshold, &self.witnesses, self.insisted, self.begins));
        let parts: [&[u8]; 5] = [self.user.as_str().as_bytes(), seen, known, &wanted, &self.answer];
        labelled_sha256(crate::labels::EVIDENCE, &parts)
    }

    /// Which directory it is about.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        About { domain: &self.domain, log: &self.log, at: self.at }
    }

    /// Whether the own account's history was asked for (rule KT-11).
    #[must_use]
    pub fn is_of_history(&self) -> bool {
        self.history == Some(true)
    }

    /// Whose devices were asked for.
    #[must_use]
    pub const fn user(&self) -> &UserId {
        &self.user
    }

    /// The answer as it came.
    #[must_use]
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Leaves of the log that the device had seen before; none where it had seen nothing.
    #[must_use]
    pub fn seen(&self) -> Option<u64> {
        let bytes = self.seen.as_deref()?;
        Seen::from_bytes(bytes, &self.domain, &self.log).ok().map(|seen| seen.size())
    }

    /// The version of the newest list of the user that the device had before.
    #[must_use]
    pub fn known(&self) -> Option<u32> {
        let claimed = ClaimedList::from_bytes(self.known.as_ref()?).ok()?;
        claimed.verify(&self.user).ok().map(|list| list.version())
    }
}
