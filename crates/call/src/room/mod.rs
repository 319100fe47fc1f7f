//! A call in a room: who is really in it, and where its keys come from.
//!
//! ```text
//! room.handle_input(now, Input::Arrived { .. }, rng);           what happened
//! while let Some(output) = room.poll_output() { .. }            what to do: prove, admit, seal keys, install keys
//! room.poll_timeout()                                            when to come back with Input::Tick
//! ```
//!
//! * [`access`]: which access list is believed. `roster`: nobody is heard, and nobody is sent a key, before their papers
//!   and devices are proven and they stand on that list (rule GRP-8).
//! * `mls`: in a blind room whose terms say so, keys come from an MLS group of all who are in (rules GRP-6, MLS-1 to MLS-4, EKR-7).
//! * `keys`: in another blind room one member is host. It draws the secret of each epoch, states whom it is for, and seals it to
//!   the one-call key of every join that it has proven itself (rules GRP-1 to GRP-7, ID-4). Who cannot open something asks
//!   for what is missing (rules EKR-1 to EKR-8). [`policy`] has the numbers.
//!
//! # Security goals
//! * The server's grant admits nobody: a member is somebody whose device the key directory proves, whose user the signed
//!   list names with that account key, and whose join this very call has seen.
//! * Keys are taken from a host alone that is a proven member, whose statement commits to them, and only while both go by
//!   the same list. Of two hosts everybody chooses the same one.
//! * Whoever left or was taken off the list opens nothing that is sealed a moment later (rule GRP-5): the epoch changes
//!   at once. A host that is gone or silent is followed by the next in order; until then nothing is sealed for long.
//!
//! # Not goals
//! That a member who is host gives the keys to nobody else: whoever can hear can pass on what they hear.

pub mod access;
pub mod policy;
pub mod reception;

mod audience;
mod interface;
mod keys;
mod mls;
mod roster;
mod signal;

use std::collections::{BTreeMap, HashSet, VecDeque};

use undertone_keys::agreement::EphemeralKey;
use undertone_keys::sign::{Server, VerifyingKey};
use undertone_keys::{CallId, JoinId, Time, UserId, WallTime};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::control::Refusal;
use undertone_protocol::{Access, Protection, Rights};

use crate::local::Local;
pub use audience::AudienceExplained;
pub use interface::{Compared, Event, Input, Leaving, Output, Unproven};
use keys::Keys;
pub use keys::{Explanation, KeysReport, LetterCount, OpenedEpoch, Present, Requests};
pub use mls::{GroupExplained, QuorumExplained, QuorumSignal};
use policy::GroupPolicy;
use roster::{Known, Seat};
pub use signal::{EpochKey, KeySignal, ListenersKey, RosterNews};

/// This device's present join.
#[derive(Debug)]
struct Me {
    index: Option<SenderIndex>,
    join: JoinId,
    ephemeral: Option<EphemeralKey>,
}

/// One device's view of a room's call.
#[derive(Debug)]
pub struct RoomCall {
    local: Local,
    server: VerifyingKey<Server>,
    call: CallId,
    access: Access,
    /// What the own grant says; it must be what the list says.
    rights: Rights,
    wall: WallTime,
    me: Option<Me>,
    /// How many of those who were in at the own join are still to be shown, and who was.
    expected: Option<(usize, Vec<SenderIndex>)>,
    seats: BTreeMap<SenderIndex, Seat>,
    known: BTreeMap<UserId, Known>,
    fetching: bool,
    /// When a list was last asked for, and the newest version that was heard of.
    fetched_at: Option<Time>,
    wanted_version: u32,
    /// Joins that were in and have gone: none comes again (rule MED-3).
    past: HashSet<JoinId>,
    /// When a list that could not be fetched is asked for again.
    refetch_at: Option<Time>,
    recheck_at: Option<Time>,
    /// When time last passed here.
    ticked: Option<Time>,
    policy: GroupPolicy,
    keys: Keys,
    mls: Option<Box<mls::Mls>>,
    listening: Option<Box<audience::Listening>>,
    /// What this device says of its swarm, where a quorum secret is mixed in.
    quorum_offer: Vec<u8>,
    /// Since when this device goes by its list.
    access_since: Time,
    forward_secrecy: bool,
    /// Letters about keys that came to this device.
    received: LetterCount,
    /// The newest checkpoint of the key directory that this device was shown (rule KT-13).
    checkpoint: Vec<u8>,
    outputs: VecDeque<Output>,
}

impl RoomCall {
    /// A call in the room of this list, as the device `local` whose grant gave it `rights`.
    #[must_use]
    pub fn new(local: Local, server: VerifyingKey<Server>, call: CallId, access: Access, rights: Rights) -> Self {
        Self {
            local,
            server,
            call,
            access,
            rights,
            wall: WallTime::default(),
            me: None,
            expected: None,
            seats: BTreeMap::new(),
            known: BTreeMap::new(),
            fetching: false,
            fetched_at: None,
            wanted_version: 0,
            past: HashSet::new(),
            refetch_at: None,
            recheck_at: None,
            ticked: None,
            policy: GroupPolicy::DEFAULT,
            keys: Keys::default(),
            mls: None,
            listening: None,
            quorum_offer: Vec::new(),
            access_since: Time::ZERO,
            forward_secrecy: true,
            received: LetterCount::default(),
            checkpoint: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Nothing that happens is an error of the room.
    pub fn handle_input(&mut self, now: Time, input: Input, rng: &mut impl rand_core::CryptoRng) {
        match input {
            Input::Joining { join, ephemeral } => {
                let before = self.me.replace(Me { index: None, join, ephemeral });
                self.past.extend(before.map(|me| me.join));
                self.keys.ask_no_more();
                if let Some(listening) = &mut self.listening {
                    listening.joined();
                }
                if let Some(quorum) = self.mls.as_mut().and_then(|mls| mls.quorum.as_mut()) {
                    quorum.joined();
                }
            }
            Input::Joined { index, members, others, wall } => {
                self.wall = wall;
                self.joined(now, index, members, others);
            }
            Input::Arrived { member, wall } => {
                self.wall = wall;
                self.arrived(now, &member);
            }
            Input::Gone { index, reason } => self.gone(now, index, reason),
            Input::Away => {
                self.past.extend(self.me.take().map(|me| me.join));
                self.expected = None;
            }
            Input::Resolved { user, peer } => self.resolved(now, &user, peer),
            Input::Access(access) => self.access_fetched(now, access.map(|access| *access)),
            Input::Changed { version } => {
                self.want_version(now, version);
            }
            Input::Received { from, envelope } => {
                self.received.add(envelope.len());
                self.received(now, from, envelope, rng);
            }
            Input::Group(news) => self.group_news(news),
            Input::Tree { epoch, bytes } => self.group_tree(epoch, bytes),
            Input::Claimed(claimed) => self.group_claimed(claimed),
            Input::Unreachable => {
                self.group_online(false);
                self.keys_unreachable(now);
            }
            Input::Reachable => {
                self.group_online(true);
                self.look_up_again(now);
                self.fetch_access(now);
                self.keys_reachable(now);
            }
            Input::NotAdmitted { index } => self.gone(now, index, Refusal::Join),
            Input::NotInstalled { epoch } => self.not_installed(now, epoch),
            Input::Answered { request, answer } => self.key_answered(now, request, answer, rng),
            Input::Exchanged { request, exchanged } => self.quorum_exchanged(request, exchanged),
            Input::Compared(compared) => self.compared(compared),
            Input::HandOver { leaves } => self.hand_over(leaves, rng),
            Input::Tick => self.tick_roster(now),
        }
        self.mind_keys(now, rng);
    }

    /// The next thing to do. `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let now = self.ticked.unwrap_or(Time::ZERO);
        [self.roster_timeout(), self.keys_timeout(now)].into_iter().flatten().min()
    }

    /// The list that this device goes by.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Has keys sealed to the device's own key rather than to one of each join: what a token answers for is then all
    /// that opens them, and whoever gets that key one day opens all that was said (rule GRP-7).
    #[must_use]
    pub const fn without_forward_secrecy(mut self) -> Self {
        self.forward_secrecy = false;
        self
    }

    /// Whether each join is to have a key of its own.
    #[must_use]
    pub const fn has_forward_secrecy(&self) -> bool {
        self.forward_secrecy
    }

    /// What this device may do.
    #[must_use]
    pub const fn rights(&self) -> Rights {
        self.rights
    }

    /// Who is in and proven: index, address.
    pub fn members(&self) -> impl Iterator<Item = (SenderIndex, &undertone_keys::envelope::Address)> {
        self.seats.iter().filter(|(_, seat)| seat.is_admitted()).map(|(index, seat)| (*index, seat.member()))
    }

    /// Takes the rights of a new grant.
    pub const fn regranted(&mut self, rights: Rights) {
        self.rights = rights;
    }

    fn is_blind(&self) -> bool {
        self.access.list().terms.protection == Protection::Blind
    }

    fn leave(&mut self, why: Leaving) {
        self.outputs.push_back(Output::Leave(why));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
