//! The MLS group of a room's call: what its machine asks of the shell and the server, and what comes back (rule GRP-6).

use undertone_call::Outcome;
use undertone_call::room::Input as RoomInput;
use undertone_groups::{Store, WriteSet};
use undertone_keys::envelope::Address;
use undertone_keys::{CallId, RoomId, Time};
use undertone_protocol::delivery::{GroupNews, GroupRequest};
use undertone_protocol::signal::ToServer;

use super::{Engine, Output};

/// Frames that this device seals under one epoch, told to the group each time there are so many more.
const COUNTED: u64 = 4_096;

impl Engine {
    /// Gives the engine the groups of this device, as they are on its disk. Without this it has none from before.
    #[must_use]
    pub fn with_groups(mut self, groups: Store) -> Self {
        self.groups = Some(groups);
        self
    }

    /// A request to the delivery service; what cannot be sent now is asked again by whoever asks.
    pub(super) fn ask_service(&mut self, room: RoomId, call: CallId, number: u32, request: GroupRequest) {
        if self.online {
            self.outputs.push_back(Output::Signal(ToServer::Group { room, call, number, request }));
        }
    }

    pub(super) fn group_news(&mut self, now: Time, call: CallId, news: GroupNews, rng: &mut impl rand_core::CryptoRng) {
        if self.is_in_call(call) {
            self.room(now, RoomInput::Group(news), rng);
        }
    }

    pub(super) fn tree_fetched(
        &mut self,
        now: Time,
        call: CallId,
        (epoch, tree): (u64, Option<Vec<u8>>),
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if self.is_in_call(call) {
            self.room(now, RoomInput::Tree { epoch, bytes: tree }, rng);
        }
    }

    pub(super) fn packages_claimed(
        &mut self,
        now: Time,
        call: CallId,
        claimed: Vec<(Address, Option<Vec<u8>>)>,
        rng: &mut impl rand_core::CryptoRng,
    ) {
        if self.is_in_call(call) {
            self.room(now, RoomInput::Claimed(claimed), rng);
        }
    }

    /// Whoever goes is told no more of the group, is not waited for in it, and follows one less: a connection has a few.
    pub(super) fn unfollow(&mut self) {
        let followed = self.room.as_ref().filter(|room| room.has_group() && !room.only_listens());
        let room = followed.map(|room| room.access().list().room);
        let call = self.media.as_ref().filter(|media| media.is_room()).map(|media| media.call);
        if let (Some(room), Some(call)) = (room, call) {
            self.ask_service(room, call, 0, GroupRequest::Unfollow);
        }
    }

    fn is_in_call(&self, call: CallId) -> bool {
        self.media.as_ref().is_some_and(|media| media.is_room() && media.call == call)
    }

    /// What could not be made durable must not be acted on (rule STO-2): this device leaves.
    pub(super) fn groups_not_stored(&mut self, now: Time, writes: WriteSet) {
        // Nothing more is asked of a disk that takes nothing. What it owes goes before whatever is written next, or else what lies there
        // would be of a group that this device has left, with a commit in it that is sent again after a start.
        self.unfollow();
        let mut owed = self.groups_owed.take().unwrap_or_default().then(writes);
        if let Some(room) = self.room.take() {
            self.reject("the home folder cannot be written: this device leaves the room");
            if let Some((store, last)) = room.into_groups() {
                self.groups = Some(store);
                owed = last.into_iter().fold(owed, WriteSet::then);
            }
            self.room_over(now, Outcome::RefusedByPolicy);
        }
        self.groups_owed = Some(owed);
    }

    /// This device's groups, for a room; what its disk still owes of them is written first.
    pub(super) fn take_groups(&mut self) -> Store {
        self.outputs.extend(self.groups_owed.take().map(Output::StoreGroups));
        self.groups.take().unwrap_or_default()
    }

    /// What a room's machine leaves behind.
    pub(super) fn keep_groups(&mut self, (store, writes): (Store, Vec<WriteSet>)) {
        self.groups = Some(store);
        // Every write set says the format; one that says nothing else changes nothing.
        let writes = writes.into_iter().filter(|writes| writes.len() > 1);
        self.outputs.extend(writes.map(Output::StoreGroups));
    }

    /// A frame was sealed under an epoch of the room's: now and then its group is told how many there are.
    pub(super) fn count_sealed(&mut self) {
        let (Some(media), Some(room)) = (&mut self.media, &mut self.room) else { return };
        media.sealed_in_epoch += 1;
        if media.sealed_in_epoch.is_multiple_of(COUNTED) {
            room.sealed(media.sealed_in_epoch);
        }
    }
}
