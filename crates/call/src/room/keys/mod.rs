//! Where a blind room's keys come from: a host draws them, everybody else is sent them (rules GRP-1 to GRP-5).
//!
//! * `chain`: the newest statement, and which other wins over it; `succession`: who is host, and who follows.
//! * `host`: drawing and handing out epochs; `answers`: those who ask for them.
//! * `member`: reading letters; `taking`: going by a statement; `words`: signs of life; `gossip`: which directory the host
//!   was shown (rule KT-13).
//! * `recovery`: when something that does not come is asked for; `asking`: of whom.
//! * `post`: the letters that all of it travels in.
//!
//! A device is host while the statement that it goes by is its own. Everything else it does as a member.

mod answers;
mod asking;
mod chain;
mod explain;
mod gossip;
mod host;
mod member;
mod post;
mod recovery;
mod succession;
mod taking;
mod words;

use std::collections::{HashMap, HashSet, VecDeque};

use undertone_keys::epoch_secret::EpochSecret;
use undertone_keys::{JoinId, Time};
use undertone_media::Epoch;
use undertone_media::faults::{Fault, is_planted};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::group::{Cause, Handover, Roster, SignedStatement};

use super::{KeySignal, Leaving, Output, RoomCall};
use chain::Head;
pub use explain::{Explanation, LetterCount, OpenedEpoch, Present, Requests};
use gossip::Gossip;
use host::Hosting;
use post::Letters;
pub(super) use post::{About, Pace};
use recovery::{Failure, Recovery};

/// Words that wait for the next input, at most.
const MAX_WORDS: usize = 16;

/// Who is told which statement is gone by, when nothing opens, at most.
const MAX_DOUBTED: usize = 8;

/// An epoch that is in the ring and not sealed under so far.
#[derive(Clone, Copy, Debug)]
struct Coming {
    epoch: u32,
    removed: bool,
    /// Sealed under then, whatever the host says.
    at: Time,
}

/// A statement of a higher term that came while the host before is heard.
#[derive(Debug)]
struct Contender {
    index: SenderIndex,
    since: Time,
    signed: SignedStatement,
    secret: Option<EpochSecret>,
    roster: Option<Roster>,
}

/// What a device keeps about the call's keys.
#[derive(Debug)]
pub(super) struct Keys {
    head: Option<Head>,
    /// The highest term that was heard of.
    term: u32,
    hosting: Option<Hosting>,
    /// The newest epoch that was put into the ring, and by which statement.
    newest: Option<u32>,
    newest_hash: Option<[u8; 32]>,
    /// The epoch that is sealed under.
    sealing: Option<u32>,
    coming: Vec<Coming>,
    /// The ring could not take the newest epoch.
    stuck: bool,
    recovery: Recovery,
    contender: Option<Contender>,
    /// What comes in does not open, and others are to be told what is gone by here.
    doubts: bool,
    /// Nothing that comes in from these opens.
    doubted: Vec<SenderIndex>,
    /// Somebody was proven, or there is a newer list: letters that came before are looked at again.
    again: bool,
    /// Somebody who says to be host, and of whose statements none is here.
    rumour: Option<(JoinId, Time)>,
    /// Words of hosts, still to be read.
    words: VecDeque<(SenderIndex, Vec<u8>)>,
    /// Term and number of the last word of each: who becomes host again counts from the beginning, in a higher term.
    word_numbers: HashMap<SenderIndex, (u32, u64)>,
    host_heard: Time,
    /// When the host itself was last heard in this join, and not what others say of it.
    host_spoke: Option<Time>,
    host_gone: Option<Time>,
    /// Since when letters go nowhere.
    offline: Option<Time>,
    /// When they last went somewhere again.
    reachable_at: Option<Time>,
    joined_at: Time,
    /// A host that has shown the statement of another that it follows now.
    ceded: Option<JoinId>,
    /// The host before, which has left and named this device.
    leaver: Option<JoinId>,
    /// This device has handed the host's part over and leaves: it follows nobody, and itself least of all.
    leaving: bool,
    /// Hosts that told two stories: obeyed no more.
    convicted: HashSet<JoinId>,
    /// Secrets of each host that did not fit.
    faults: HashMap<JoinId, u32>,
    /// How often each has followed a host that was still there.
    takeovers: HashMap<JoinId, u32>,
    /// When each was last told of the newest statement.
    told: HashMap<SenderIndex, Time>,
    /// By when the next epoch must be there, or nothing is sealed any more.
    overdue_at: Option<Time>,
    /// Nothing is sealed, and since when.
    held: Option<Time>,
    gossip: Gossip,
    letters: Letters,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            head: None,
            term: 0,
            hosting: None,
            newest: None,
            newest_hash: None,
            sealing: None,
            coming: Vec::new(),
            stuck: false,
            recovery: Recovery::default(),
            contender: None,
            doubts: false,
            doubted: Vec::new(),
            again: false,
            rumour: None,
            words: VecDeque::new(),
            word_numbers: HashMap::new(),
            host_heard: Time::ZERO,
            host_spoke: None,
            host_gone: None,
            offline: None,
            reachable_at: None,
            joined_at: Time::ZERO,
            ceded: None,
            leaver: None,
            leaving: false,
            convicted: HashSet::new(),
            faults: HashMap::new(),
            takeovers: HashMap::new(),
            told: HashMap::new(),
            overdue_at: None,
            held: None,
            gossip: Gossip::default(),
            letters: Letters::default(),
        }
    }
}

impl Keys {
    /// Letters that came too early are looked at again.
    pub(super) const fn look_again(&mut self) {
        self.again = true;
    }

    /// Letters to an earlier join are of no use to the next: the device's key is asked about none of them.
    pub(super) fn ask_no_more(&mut self) {
        self.letters.ask_no_more();
    }

    /// An epoch was put into the ring.
    fn opened(&mut self, epoch: u32) {
        self.newest = self.newest.max(Some(epoch));
        self.stuck = false;
    }

    /// An epoch is sealed under.
    fn seals(&mut self, epoch: u32) {
        self.sealing = Some(epoch);
        self.coming.retain(|coming| coming.epoch > epoch);
    }

    /// The epochs that can be opened, for a request.
    fn held(&self) -> Vec<u32> {
        let coming = self.coming.iter().map(|coming| coming.epoch);
        self.sealing.into_iter().chain(coming).take(super::signal::MAX_TOLD).collect()
    }

    fn expect_by(&mut self, at: Time) {
        self.overdue_at = Some(self.overdue_at.map_or(at, |before| before.min(at)));
    }
}

/// What a person can be shown about a call's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysReport {
    /// The epoch that is sealed under.
    pub epoch: Option<u32>,
    /// The host's term; 0 where nobody was host so far.
    pub term: u32,
    /// The host's index, if it is in.
    pub host: Option<SenderIndex>,
    /// This device is host.
    pub me: bool,
    /// Letters about keys that this device has sent, and their bytes.
    pub sent: (u64, u64),
    /// Since when an answer is waited for.
    pub asked: Option<Time>,
    /// The host is there and has not answered.
    pub denied: bool,
}

impl RoomCall {
    /// What there is to say about the call's keys.
    #[must_use]
    pub fn keys_report(&self) -> KeysReport {
        let head = self.keys.head.as_ref();
        let host = head.map(|head| head.statement.host);
        let me = host.is_some() && self.keys.hosting.is_some();
        KeysReport {
            epoch: match (&self.mls, &self.listening) {
                (Some(mls), _) => mls.sealing(),
                (None, Some(listening)) => listening.opens(),
                (None, None) => self.keys.sealing,
            },
            term: head.map_or(0, |head| head.statement.term),
            host: host.and_then(|host| self.seated(host)).or_else(|| self.own_index().filter(|_| me)),
            me,
            sent: self.keys.letters.sent,
            asked: self.keys.recovery.waits_since(),
            denied: self.keys.recovery.is_denied(),
        }
    }

    /// This device's join is in.
    pub(super) fn keys_joined(&mut self, now: Time) {
        let keys = &mut self.keys;
        keys.joined_at = now;
        keys.host_heard = now;
        keys.host_spoke = None;
        keys.hosting = None;
        keys.leaving = false;
        keys.recovery.wish(Failure::NoKey, now + self.policy.first_key);
    }

    /// Somebody was proven and is in.
    pub(super) fn keys_admitted(&mut self, now: Time) {
        let pause = self.policy.coalesce_with(self.seats.len());
        if let Some(hosting) = &mut self.keys.hosting {
            // The first to come has a key drawn at once; who comes soon after it shares the next with all who do.
            let last = hosting.newest().map_or(now, |_| self.keys.head.as_ref().map_or(now, |head| head.since));
            hosting.due(now.max(last + pause), Cause::Joined, false);
        }
    }

    /// Somebody who was in is gone.
    pub(super) fn keys_left(&mut self, now: Time, index: SenderIndex, join: JoinId) {
        // The next epoch may have come before the word that somebody has gone.
        let roster = self.keys.head.as_ref().and_then(|head| head.roster.as_ref());
        let had = roster.is_none_or(|roster| roster.has(join));
        if self.keys.newest.is_some() && had {
            let overdue = now + self.policy.overdue_removed;
            self.keys.expect_by(overdue);
        }
        self.keys.word_numbers.remove(&index);
        self.keys.told.remove(&index);
        self.keys.gossip.forget(index);
        if let Some(hosting) = &mut self.keys.hosting {
            hosting.forget(index, join);
            // Whoever never had a key takes none along.
            let had = hosting.keys.iter().any(|drawn| drawn.roster.has(join));
            if had && !is_planted(Fault::KeepsTheKey) {
                hosting.due(now, Cause::Removed, true);
            }
        }
    }

    /// Members go by the list that the host names: it names the newest.
    pub(super) fn keys_list_changed(&mut self, now: Time) {
        if let Some(hosting) = &mut self.keys.hosting {
            hosting.due(now, Cause::Joined, false);
        }
    }

    /// The ring did not take an epoch: the host must go further than it has.
    pub(super) fn not_installed(&mut self, now: Time, epoch: Epoch) {
        if let Some(listening) = &mut self.listening {
            listening.not_installed();
        }
        if self.has_group() {
            return;
        }
        self.keys.newest = self.keys.newest.max(Some(epoch.0));
        self.keys.newest_hash = None;
        self.keys.stuck = true;
        self.keys.coming.retain(|coming| coming.epoch != epoch.0);
        let policy = self.policy;
        match &mut self.keys.hosting {
            Some(hosting) => {
                hosting.floor = hosting.floor.max(epoch.0);
                hosting.overtaken(now, &policy);
            }
            None => self.keys.recovery.wish(Failure::Stuck, now),
        }
    }

    /// Nothing can be handed out or asked for.
    pub(super) fn keys_unreachable(&mut self, now: Time) {
        self.keys.offline = self.keys.offline.or(Some(now));
    }

    /// What a server may have swallowed is asked for.
    pub(super) fn keys_reachable(&mut self, now: Time) {
        if self.keys.offline.take().is_some() {
            self.keys.reachable_at = Some(now);
        }
        let unkeyed = self.keys.newest.is_none();
        match &mut self.keys.hosting {
            // Perhaps another has followed meanwhile: whoever has gone by that one says so.
            Some(hosting) => hosting.send_to_all(),
            None => {
                self.keys.recovery.reachable(now);
                let pause = if unkeyed { core::time::Duration::ZERO } else { self.policy.first_key };
                self.keys.recovery.wish(Failure::Statement, now + pause);
            }
        }
    }

    /// A new epoch is there.
    fn renewed(&mut self, now: Time) {
        self.keys.overdue_at = Some(now + self.policy.rotate + self.policy.overdue_rotation);
        if self.keys.held.take().is_some() {
            self.outputs.push_back(Output::Hold(false));
        }
    }

    /// Frames of a sender who belongs here came under an epoch that is not in the ring, and its key did not come
    /// (rule EKR-1). On the media path, so nothing comes of it before the next [`super::Input::Tick`].
    pub fn missed(&mut self, now: Time, index: SenderIndex, epoch: u8) {
        self.group_missed(index, Some(epoch));
        self.keys.recovery.wish(Failure::Epoch(epoch), now);
    }

    /// The ring has no key of the epoch that is sealed under. On the media path too.
    pub fn lost_key(&mut self, now: Time, epoch: u8) {
        self.group_key_lost();
        self.keys.recovery.wish(Failure::Epoch(epoch), now);
    }

    /// Nothing that comes in opens, though its epoch is here: perhaps others were given another key under the same number.
    /// Some of them are told which statement this device goes by (rule EKR-1).
    pub const fn doubts(&mut self) {
        self.keys.doubts = true;
    }

    /// Nothing that comes in from this member opens, though its epoch is here: it is told which statement this device goes
    /// by. On the media path, so nothing comes of it before the next [`super::Input::Tick`].
    pub fn doubts_of(&mut self, index: SenderIndex) {
        self.group_missed(index, None);
        if self.keys.doubted.len() < MAX_DOUBTED {
            self.keys.doubted.push(index);
        }
    }

    /// A word of a host came beside the sound. On the media path, so it is read at the next [`super::Input::Tick`].
    pub fn heard_word(&mut self, index: SenderIndex, bytes: &[u8]) {
        if self.has_group() {
            return self.group_heard(index, bytes);
        }
        if self.keys.words.len() < MAX_WORDS {
            self.keys.words.push_back((index, bytes.to_vec()));
        }
    }

    pub(super) fn keys_timeout(&self, now: Time) -> Option<Time> {
        if self.has_group() {
            return self.group_timeout(now);
        }
        // Away, or in a hop room, there is nothing to do about keys at any time.
        if !self.is_blind() || self.own_index().is_none() {
            return None;
        }
        let (keys, policy) = (&self.keys, &self.policy);
        let hosting = keys.hosting.as_ref().and_then(|hosting| hosting.poll_timeout(policy));
        let words = (!keys.words.is_empty() || keys.doubts || !keys.doubted.is_empty() || keys.again).then_some(now);
        let coming = keys.coming.iter().map(|coming| coming.at).min();
        let recovery = keys.recovery.poll_timeout(self.target(now), policy);
        let held = keys.held.map(|since| since + policy.held);
        let member = keys.hosting.is_none();
        let probe = keys.host_heard + policy.host_probe;
        let probe = (member && keys.head.is_some() && probe > now).then_some(probe);
        let doubtful = keys.contender.as_ref().map(|_| keys.host_heard + policy.host_doubtful);
        let turn = if member && self.expected.is_none() { self.turn(now).map(|(at, _)| at) } else { None };
        let unseen = keys.head.as_ref().filter(|_| member);
        let unseen = unseen.map(|head| head.since.max(keys.joined_at) + policy.unseen);
        let unseen = unseen.filter(|at| *at > now);
        let gossip = self.gossip_timeout();
        let all = [hosting, words, coming, recovery, held, keys.overdue_at, probe, doubtful, turn, unseen, gossip];
        all.into_iter().flatten().min()
    }

    /// Does what is due after any input.
    pub(super) fn mind_keys(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if self.has_group() {
            if self.own_index().is_some() && core::mem::take(&mut self.keys.again) {
                self.again_early(now, rng);
            }
            self.mind_listening(now, rng);
            return self.mind_group(now, rng);
        }
        if !self.is_blind() || self.own_index().is_none() {
            return;
        }
        if core::mem::take(&mut self.keys.again) {
            self.again_early(now, rng);
        }
        if core::mem::take(&mut self.keys.doubts) {
            if self.keys.hosting.is_none() {
                self.keys.recovery.wish(Failure::Statement, now);
            }
            let own = self.own_index();
            let others = self.succession().into_iter().map(|(index, _)| index).filter(|index| Some(*index) != own);
            for index in others.take(MAX_DOUBTED).collect::<Vec<_>>() {
                self.tell(now, index, rng);
            }
        }
        for index in core::mem::take(&mut self.keys.doubted) {
            self.tell(now, index, rng);
        }
        self.mind_words(now, rng);
        self.mind_presence(now);
        self.mind_contender(now, rng);
        let due = self.keys.coming.iter().filter(|coming| coming.at <= now).map(|coming| coming.epoch).max();
        if let Some(epoch) = due {
            self.apply_coming(epoch);
        }
        self.mind_succession(now, rng);
        self.mind_hosting(now, rng);
        let silent = self.keys.hosting.is_none()
            && self.keys.head.is_some()
            && now.since(self.keys.host_heard) >= self.policy.host_probe;
        if silent {
            self.keys.recovery.wish(Failure::Silence, now);
        }
        self.mind_recovery(now, rng);
        self.mind_overdue(now);
        self.mind_unseen(now);
        self.mind_gossip(now);
    }

    /// A host of a higher term that came while the one before was heard is gone by when that one is heard no more.
    fn mind_contender(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        if !matches!(self.host_state(now), chain::HostState::Doubtful | chain::HostState::Gone) {
            return;
        }
        if let Some(contender) = self.keys.contender.take()
            && now.since(contender.since) < self.policy.request_timeout
        {
            self.reconsider(now, contender, rng);
        }
    }

    fn mind_overdue(&mut self, now: Time) {
        if self.keys.overdue_at.take_if(|at| *at <= now).is_some() && self.keys.held.is_none() {
            // Somebody may be listening who should not: until there is a new epoch, nothing is said.
            self.keys.held = Some(now);
            self.outputs.push_back(Output::Hold(true));
        }
        if self.keys.held.take_if(|since| now.since(*since) >= self.policy.held).is_some() {
            self.leave(Leaving::HostGone);
        }
    }

    /// Nobody is in a call of whom the host says so and the relay does not (rule GRP-8).
    fn mind_unseen(&mut self, now: Time) {
        let Some(head) = &self.keys.head else { return };
        let lately = |at: Time| now.since(at) < self.policy.unseen;
        if self.keys.hosting.is_some() || self.expected.is_some() || lately(head.since) || lately(self.keys.joined_at) {
            return;
        }
        let own = self.own_join();
        let unseen = head.roster.iter().flat_map(Roster::places).any(|place| {
            let seated = self.seats.values().any(|seat| seat.entry().join.join == place.join);
            !seated && Some(place.join) != own && !self.past.contains(&place.join)
        });
        if unseen {
            self.leave(Leaving::Proof(
                "the host gives the room's keys to somebody whom the relay does not show".into(),
            ));
        }
    }

    /// This device is about to leave: a host names who follows it (rule GRP-1).
    pub(super) fn hand_over(&mut self, leaves: bool, rng: &mut impl rand_core::CryptoRng) {
        let Some(join) = self.own_join() else { return };
        let Some(term) = self.keys.hosting.as_ref().map(|hosting| hosting.term) else { return };
        let Some((index, to)) = self.succession().into_iter().find(|(_, other)| *other != join) else { return };
        let handover = Handover { call: self.call, term, from: join, to, leaves };
        let handover = handover.sign(&self.local.identity);
        let about = About { term, epoch: 0, request: undertone_keys::RequestId::random(rng) };
        self.post(index, about, &KeySignal::Handover { handover }, rng);
        if leaves {
            self.keys.hosting = None;
            self.keys.leaving = true;
        }
    }
}
