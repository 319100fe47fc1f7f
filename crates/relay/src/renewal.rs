//! When a hop room's epochs are renewed (rule MED-8): on the events that a group call's keys change on (rule GRP-2), and every
//! five minutes. All connections of a room are renewed together.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use undertone_keys::{RoomId, Time};
use undertone_media::ring::{PREVIOUS_AFTER_REMOVAL, PREVIOUS_VIDEO};
use undertone_protocol::control::ToMember;

use crate::rooms::{AnyRoom, Output, Rooms};

/// New epochs at least this often: what a stolen hop key opens is bounded by it.
pub const RENEW: Duration = Duration::from_secs(300);
/// Who comes within this of a newcomer shares a renewal with them.
pub const COALESCE: Duration = Duration::from_millis(100);
/// From one renewal of a room to the next at least. The first who goes is followed by new epochs at once; those who go right
/// behind share the next. Longer than a packet is on its way, so that none is two epochs late; and whoever has gone holds no
/// key of anybody who stays, so that nothing is open meanwhile.
pub const BETWEEN: Duration = Duration::from_secs(1);

/// When one room's epochs change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Schedule {
    /// When the present ones began.
    last: Time,
    /// When the next ones begin.
    due: Time,
    /// Somebody is gone since.
    removed: bool,
    /// Until when those before the present ones open.
    previous: Option<Time>,
}

impl Schedule {
    fn new(now: Time) -> Self {
        Self { last: now, due: now + RENEW, removed: false, previous: None }
    }

    /// Renews no later than `at`, if the last renewal is long enough ago by then.
    fn hasten(&mut self, at: Time) {
        self.due = self.due.min(at.max(self.last + BETWEEN));
    }

    fn next(&self) -> Time {
        self.previous.map_or(self.due, |previous| previous.min(self.due))
    }
}

/// What is to be done about a room's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The next ones begin.
    Renew { removed: bool },
    /// Those before the present ones are over.
    Expire,
}

/// The schedules of all hop rooms that somebody is in.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    rooms: HashMap<RoomId, Schedule>,
    /// The soonest first; each room once.
    order: BTreeSet<(Time, RoomId)>,
}

impl Renewals {
    /// Somebody came into a hop room that has so many members now.
    pub(crate) fn came(&mut self, now: Time, room: RoomId, members: usize) {
        self.change(room, members, now, |schedule| {
            // The newcomer's own keys are new.
            if members > 1 {
                schedule.hasten(now + COALESCE);
            }
        });
    }

    /// Somebody is gone from a room, of whatever protection, that has so many members now.
    pub(crate) fn gone(&mut self, now: Time, room: RoomId, members: usize) {
        if self.rooms.contains_key(&room) {
            self.change(room, members, now, |schedule| {
                schedule.removed = true;
                schedule.hasten(now);
            });
        }
    }

    /// When there is something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    fn change(&mut self, room: RoomId, members: usize, now: Time, change: impl FnOnce(&mut Schedule)) {
        if let Some(schedule) = self.rooms.get(&room) {
            self.order.remove(&(schedule.next(), room));
        }
        if members == 0 {
            self.rooms.remove(&room);
            return;
        }
        let schedule = self.rooms.entry(room).or_insert_with(|| Schedule::new(now));
        change(schedule);
        self.order.insert((schedule.next(), room));
    }

    /// What is due now, room by room.
    fn poll(&mut self, now: Time) -> Option<(RoomId, Due)> {
        let (at, room) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        let schedule = self.rooms.get_mut(&room)?;
        let due = if schedule.due <= now {
            let removed = schedule.removed;
            let lasts = if removed { PREVIOUS_AFTER_REMOVAL } else { PREVIOUS_VIDEO };
            *schedule = Schedule { previous: Some(now + lasts), ..Schedule::new(now) };
            Due::Renew { removed }
        } else {
            schedule.previous = None;
            Due::Expire
        };
        self.order.insert((schedule.next(), room));
        Some((room, due))
    }
}

impl Rooms {
    /// Renews the epochs of the rooms whose time has come, and tells their members.
    pub(crate) fn renew_due(&mut self, now: Time) {
        while let Some((room, due)) = self.renewals.poll(now) {
            let Some(AnyRoom::Hop(room)) = self.rooms.get_mut(&room) else { continue };
            match due {
                Due::Expire => room.expire(now),
                Due::Renew { removed } => {
                    for (connection, epoch) in room.renew(now, removed) {
                        let message = ToMember::HopEpoch { epoch: epoch.0, removed };
                        self.outputs.push_back(Output::Control { connection, message });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId::from_bytes([1; 16]);

    /// All that is due until then, and when.
    fn due(renewals: &mut Renewals, until: Time) -> Vec<(Time, Due)> {
        let mut found = Vec::new();
        while let Some(at) = renewals.poll_timeout().filter(|at| *at <= until) {
            let (room, due) = renewals.poll(at).unwrap();
            assert_eq!(room, ROOM);
            found.push((at, due));
        }
        found
    }

    /// The relay is woken for what is to be wiped, and not only when packets come.
    #[test]
    fn grp_4_med_8_hop_epochs_that_are_over_are_wiped_in_their_time() {
        let at = |seconds: u64| Time::from_millis(seconds * 1_000);
        for removed in [true, false] {
            let mut renewals = Renewals::default();
            renewals.came(at(0), ROOM, 1);
            renewals.came(at(10), ROOM, 2);
            assert!(due(&mut renewals, at(10)).is_empty());
            let (begins, over) = if removed {
                renewals.gone(at(10), ROOM, 1);
                (at(10), at(12))
            } else {
                (at(10) + COALESCE, at(130) + COALESCE)
            };
            let expected = [(begins, Due::Renew { removed }), (over, Due::Expire)];
            assert_eq!(due(&mut renewals, at(309)), expected);
            assert_eq!(renewals.poll_timeout(), Some(begins + RENEW));
            renewals.gone(at(309), ROOM, 0);
            assert_eq!((renewals.poll_timeout(), renewals.rooms.len()), (None, 0));
        }
    }

    #[test]
    fn rooms_are_looked_at_in_the_order_of_their_times() {
        let mut renewals = Renewals::default();
        for number in 1..=50_u8 {
            renewals.came(Time::from_millis(u64::from(number)), RoomId::from_bytes([number; 16]), 1);
        }
        // The last room's comes first, since somebody came into it.
        renewals.came(Time::from_millis(2_000), RoomId::from_bytes([50; 16]), 2);
        let mut order = Vec::new();
        while let Some(at) = renewals.poll_timeout().filter(|at| *at < Time::ZERO + RENEW * 2) {
            let (room, due) = renewals.poll(at).unwrap();
            if due == (Due::Renew { removed: false }) {
                order.push(room.as_bytes()[0]);
            }
        }
        let first: Vec<u8> = [50].into_iter().chain(1..=49).collect();
        assert_eq!(order[..50], first);
    }
}
