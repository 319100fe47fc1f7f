//! Where a blind room's keys come from an MLS group: all who are in make them together, and nobody hands them out (rules GRP-6, MLS-1
//! to MLS-4, EKR-7).
//!
//! [`Membership`] decides what is to be done in the group; here it is told who is in the room, given its roll, and what it says is
//! carried: to the delivery service (`desk`), into the ring and onto the roster (`ring`), to other members (`word`).
//!
//! * `quorum`: how a device comes by the secret that such a group mixes in, where the terms say so.
//! * `roll`: who is let into the group: the access list and the key directory, as for seats.
//! * The relay's seat stays the sender index (docs/adr/0028). What binds a seat to a leaf is the device that signed both.

mod desk;
mod explain;
mod part;
mod quorum;
mod ring;
mod roll;
mod word;

use std::collections::{BTreeSet, VecDeque};

use undertone_groups::member::policy::MemberPolicy;
use undertone_groups::member::{Input, Means, Membership, OutReason, Standpoint};
use undertone_groups::{DeviceRef, GroupId, KeyPackage, Member, Protection, Store, Suite, Terms};
use undertone_keys::Time;
use undertone_keys::envelope::Address;
use undertone_media::faults::{Fault, is_planted};
use undertone_media::key_id::SenderIndex;
use undertone_protocol::delivery::GroupNews;
use undertone_protocol::terms::GroupSuite;

use super::audience::Audience;
use super::{Output, RoomCall};
use desk::Desk;
use explain::Began;
pub use explain::GroupExplained;
use quorum::Quorum;
pub use quorum::{QuorumExplained, QuorumSignal};
pub(in crate::room) use ring::in_the_ring;
use roll::RoomRoll;

// What the group makes and takes is what the delivery service takes and hands out.
const _: () = {
    use undertone_groups::limits as group;
    use undertone_protocol::limits as service;
    assert!(group::COMMIT == service::MAX_COMMIT && group::WELCOME == service::MAX_WELCOMES);
    assert!(group::TREE == service::MAX_TREE && group::GROUP_INFO == service::MAX_GROUP_INFO);
    assert!(group::ADDED_AT_ONCE == service::MAX_WELCOMED && group::KEY_PACKAGE > service::MAX_KEY_PACKAGE);
    assert!(group::MEMBERS == service::MAX_LISTED && group::MEMBERS_X_WING == service::MAX_LISTED_X_WING);
};

/// Words beside the sound that wait for the next input, at most.
const MAX_WORDS: usize = 64;
/// Seats whose frames do not open and of which the group has not been told, at most.
const MAX_UNOPENED: usize = 64;

/// What a device has of the call's group.
#[derive(Debug)]
pub(super) struct Mls {
    pub(super) membership: Membership,
    /// All groups of this device; the shell keeps the same on its disk.
    pub(super) store: Store,
    suite: Suite,
    desk: Desk,
    /// What the group is still to be told.
    inbox: VecDeque<Input>,
    /// The way to the server is there.
    online: bool,
    /// The group was told that the delivery service can be reached, and that the relay has shown everybody.
    reachable: bool,
    complete: bool,
    shown: usize,
    /// Who is in the tree.
    roster: Vec<Member>,
    /// Who was, and is not any more: they are not heard.
    put_out: BTreeSet<DeviceRef>,
    /// The epoch that is sealed under; none before the first, and when the group is joined anew.
    sealing: Option<u32>,
    /// The group says that nothing is to be sealed.
    pub(super) held: bool,
    /// What was said of both.
    said_held: bool,
    pub(super) began: Option<Began>,
    /// Words beside the sound, still to be read.
    words: VecDeque<(SenderIndex, Vec<u8>)>,
    /// Whose frames do not open, and the last eight bits of the epoch that they name; none for the present one.
    unopened: Vec<(SenderIndex, Option<u8>)>,
    /// The ring has no key of the present epoch.
    key_lost: bool,
    /// Those who only listen, and are given keys by this device.
    pub(super) audience: Audience,
    /// Where the terms say that a quorum secret is mixed in.
    pub(super) quorum: Option<Box<Quorum>>,
}

impl Mls {
    fn new(room: &RoomCall, suite: Suite, store: Store, online: bool) -> Self {
        let id = GroupId::from_bytes(*room.call.as_bytes());
        let with_quorum = room.access.list().terms.quorum;
        let terms = Terms::new(Protection::Blind, suite, with_quorum);
        let me = device_ref(&room.local.address);
        let membership = Membership::new(id, terms, me, MemberPolicy::DEFAULT, &store);
        let quorum =
            with_quorum.then(|| Box::new(Quorum::new(room.quorum_offer.clone(), membership.quorum(&store).is_some())));
        Self {
            membership,
            store,
            suite,
            desk: Desk::default(),
            inbox: VecDeque::new(),
            online,
            reachable: false,
            complete: false,
            shown: 0,
            roster: Vec::new(),
            put_out: BTreeSet::new(),
            sealing: None,
            held: false,
            said_held: false,
            began: None,
            words: VecDeque::new(),
            unopened: Vec::new(),
            key_lost: false,
            audience: Audience::new(),
            quorum,
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.inbox.push_back(input);
    }

    /// Something is to be done at the next input, whenever that comes.
    fn is_waiting(&self) -> bool {
        let quorum = self.quorum.as_ref().is_some_and(|quorum| quorum.is_waiting());
        !self.inbox.is_empty() || !self.words.is_empty() || !self.unopened.is_empty() || self.key_lost || quorum
    }
}

/// The suite of a group, by the word of a room's terms.
const fn suite_of(suite: GroupSuite) -> Suite {
    match suite {
        GroupSuite::P256 => Suite::P256,
        GroupSuite::X25519 => Suite::X25519,
        GroupSuite::XWing => Suite::XWing,
    }
}

fn device_ref(address: &Address) -> DeviceRef {
    DeviceRef { user: address.user.clone(), device: address.device }
}

fn address_of(device: DeviceRef) -> Address {
    Address { user: device.user, device: device.device }
}

impl RoomCall {
    pub(super) fn group_told(&mut self, input: Input) {
        if let Some(mls) = &mut self.mls {
            mls.tell(input);
        }
    }

    pub(super) fn group_online(&mut self, online: bool) {
        if let Some(listening) = &mut self.listening {
            listening.online = online;
        }
        if let Some(mls) = &mut self.mls {
            mls.online = online;
            // A new connection has heard nothing of what was asked before.
            mls.reachable &= online;
            if !online {
                mls.tell(Input::Unreachable);
            }
        }
    }

    /// A member is in, or is not any more.
    pub(super) fn group_sees(&mut self, member: &Address, here: bool) {
        let device = device_ref(member);
        if let Some(mls) = &mut self.mls {
            // Who comes again comes as another join.
            mls.put_out.remove(&device);
        }
        if here {
            self.group_told(Input::Present(device));
        } else if !is_planted(Fault::KeepsTheLeaf) {
            self.group_told(Input::Absent(device));
        }
    }

    pub(super) fn group_news(&mut self, news: GroupNews) {
        let Some(mls) = &mut self.mls else { return };
        // What was asked from elsewhere, or before this device went away, is asked again.
        if mls.reachable {
            mls.inbox.extend(mls.desk.read(news));
        }
    }

    pub(super) fn group_tree(&mut self, epoch: u64, bytes: Option<Vec<u8>>) {
        self.group_told(Input::Tree { epoch, bytes });
    }

    pub(super) fn group_claimed(&mut self, claimed: Vec<(Address, Option<Vec<u8>>)>) {
        let Some(mls) = &mut self.mls else { return };
        for (device, message) in claimed {
            let package = message.map(|message| KeyPackage::put_in(mls.suite, message));
            mls.tell(Input::Claimed { device: device_ref(&device), package });
        }
    }

    /// So many frames are sealed under the present epoch of the group. On the media path, so nothing comes of it before the next
    /// [`Tick`](super::Input::Tick).
    pub fn sealed(&mut self, frames: u64) {
        self.group_told(Input::Sealed { frames });
    }

    pub(super) fn group_key_lost(&mut self) {
        if let Some(mls) = &mut self.mls {
            mls.key_lost = true;
        }
    }

    pub(super) fn group_timeout(&self, now: Time) -> Option<Time> {
        if let Some(listening) = self.listening.as_ref().filter(|_| self.own_index().is_some()) {
            return listening.timeout(now).into_iter().chain(self.gossip_timeout()).min();
        }
        let mls = self.mls.as_ref()?;
        let waiting = mls.is_waiting().then_some(now);
        let gossip = self.own_index().and_then(|_| self.gossip_timeout());
        let audience = self.own_index().and_then(|_| self.audience_timeout(mls));
        let quorum = self.own_index().and(mls.quorum.as_ref()).and_then(|quorum| quorum.timeout());
        waiting.into_iter().chain(mls.membership.poll_timeout()).chain(gossip).chain(audience).chain(quorum).min()
    }

    /// Does what is due about the group after any input.
    pub(super) fn mind_group(&mut self, now: Time, rng: &mut impl rand_core::CryptoRng) {
        let Some(mut mls) = self.mls.take() else { return };
        let here = self.own_index().is_some();
        self.say_unopened(&mut mls);
        if core::mem::take(&mut mls.key_lost) {
            mls.tell(Input::KeyLost);
        }
        // Whoever the relay does not show is removed: the group is followed while this device is in the room, and no longer.
        let reachable = here && mls.online;
        if reachable != core::mem::replace(&mut mls.reachable, reachable) {
            mls.desk.forget();
            mls.inbox.push_front(if reachable { Input::Reachable } else { Input::Unreachable });
        }
        let shown = self.seats.values().filter(|seat| !seat.is_audience()).count();
        if shown != core::mem::replace(&mut mls.shown, shown) {
            mls.tell(Input::Shown(shown));
        }
        let complete = here && self.expected.is_none();
        if complete != core::mem::replace(&mut mls.complete, complete) {
            mls.tell(Input::Complete(complete));
        }
        if mls.inbox.is_empty() && mls.membership.poll_timeout().is_some_and(|at| at <= now) {
            mls.tell(Input::Tick);
        }
        self.hear_quorum(&mut mls, now, rng);
        while let Some(input) = mls.inbox.pop_front() {
            self.drive(&mut mls, now, input, rng);
        }
        self.read_words(&mut mls, now);
        while let Some(input) = mls.inbox.pop_front() {
            self.drive(&mut mls, now, input, rng);
        }
        self.say_held(&mut mls);
        self.mind_quorum(&mut mls, now, rng);
        if here {
            self.mind_audience(&mut mls, now, rng);
            self.mind_gossip(now);
        }
        self.mls = Some(mls);
    }

    fn drive(&mut self, mls: &mut Mls, now: Time, input: Input, rng: &mut impl rand_core::CryptoRng) {
        let roll = RoomRoll { access: &self.access, known: &self.known, local: &self.local };
        let mut means = Means { store: &mut mls.store, identity: &self.local.identity, roll: &roll, wall: self.wall };
        mls.membership.handle_input(now, input, &mut means, rng);
        while let Some(output) = mls.membership.poll_output() {
            self.carry(mls, now, output, rng);
        }
        if mls.membership.standpoint() == Standpoint::Out(OutReason::Removed) {
            self.leave(super::Leaving::Removed);
        }
    }

    /// Nothing is sealed where the group says so, nor before it says under which epoch.
    fn say_held(&mut self, mls: &mut Mls) {
        let held = mls.held || mls.sealing.is_none();
        if held != core::mem::replace(&mut mls.said_held, held) {
            self.outputs.push_back(Output::Hold(held));
        }
    }
}
