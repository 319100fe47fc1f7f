//! What a member whose grant says `moderate` may do to others: silence them, and put them out.
//!
//! A relay's own word binds nobody who holds keys: members hold to the room's signed access list. This is what makes a
//! removal felt at once, and a mute at all.

use undertone_keys::{RoomId, Time, UserId, WallTime};
use undertone_protocol::control::{Refusal, ToMember};
use undertone_protocol::limits::GRANT_LIFETIME;

use crate::rooms::{ConnectionId, Output, Rooms};

impl Rooms {
    fn moderates(&self, by: ConnectionId, room: RoomId) -> bool {
        let seat = self.rooms.get(&room).and_then(|room| room.roster().seat(by));
        seat.is_some_and(|seat| seat.rights.moderate)
    }

    /// Puts a device out. Grants of it that were signed up to now are good for nothing any more: whether it gets a new one
    /// is for the server to say, by the room's list.
    pub(crate) fn take_out(&mut self, now: Time, by: ConnectionId, room: RoomId, index: u16) {
        if !self.moderates(by, room) {
            return;
        }
        let until = self.latest;
        let Some(any) = self.rooms.get_mut(&room) else { return };
        let roster = any.roster_mut();
        let seat = roster.seats().iter().find(|seat| seat.index == index && seat.connection != by);
        let Some((connection, device)) = seat.map(|seat| (seat.connection, seat.device)) else { return };
        roster.bar(device, until);
        self.refuse(now, connection, Refusal::Removed);
    }

    /// The server's own word: these users' grants are taken back.
    pub(crate) fn expel(&mut self, now: Time, room: RoomId, users: Vec<UserId>, wall: WallTime) {
        self.latest = self.latest.max(wall.plus(GRANT_LIFETIME.as_secs()));
        let until = self.latest;
        let Some(any) = self.rooms.get_mut(&room) else { return };
        let roster = any.roster_mut();
        let mut gone = Vec::new();
        for user in users {
            let devices = roster.seats().iter().filter(|seat| seat.user == user);
            gone.extend(devices.map(|seat| seat.connection));
            roster.expel(user, until);
        }
        for connection in gone {
            self.refuse(now, connection, Refusal::Removed);
        }
    }

    /// Forwards nothing of a user's devices, or forwards it again; everybody is told, the one it is about among them.
    pub(crate) fn silence(&mut self, by: ConnectionId, room: RoomId, index: u16, muted: bool) {
        if !self.moderates(by, room) {
            return;
        }
        let Some(any) = self.rooms.get_mut(&room) else { return };
        let roster = any.roster_mut();
        let Some(user) = roster.seats().iter().find(|seat| seat.index == index).map(|seat| seat.user.clone()) else {
            return;
        };
        if !roster.mute(&user, muted) {
            return;
        }
        let mut indices = Vec::new();
        for seat in roster.seats_mut().iter_mut().filter(|seat| seat.user == user) {
            seat.muted = muted;
            indices.push((seat.index, seat.audience));
        }
        for seat in roster.seats() {
            for (index, _) in indices.iter().filter(|(_, audience)| seat.sees(*audience)) {
                let message = ToMember::Muted { index: *index, muted };
                self.outputs.push_back(Output::Control { connection: seat.connection, message });
            }
        }
    }
}
