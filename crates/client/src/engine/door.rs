//! Those who ask to be let into a room: the server's word, told to a person once (rule GRP-8).

use std::collections::VecDeque;

use undertone_keys::{RoomId, Time, UserId};
use undertone_protocol::limits::KNOCK_LIFETIME;

use super::{Engine, Event};

/// Those who were told of and are remembered at most. A server can name whom it likes: beyond that nobody is told anything.
const MAX_HEARD: usize = 64;

/// Who was told of a short while ago.
#[derive(Debug, Default)]
pub(super) struct Door(VecDeque<(RoomId, UserId, Time)>);

impl Door {
    /// Whether a person should hear of it.
    fn is_news(&mut self, now: Time, room: RoomId, user: &UserId) -> bool {
        while self.0.front().is_some_and(|(.., at)| now.since(*at) >= KNOCK_LIFETIME) {
            self.0.pop_front();
        }
        let known = self.0.iter().any(|(heard, who, _)| *heard == room && who == user);
        let news = !known && self.0.len() < MAX_HEARD;
        if news {
            self.0.push_back((room, user.clone(), now));
        }
        news
    }
}

impl Engine {
    pub(super) fn knocked(&mut self, now: Time, room: RoomId, user: UserId) {
        if self.door.is_news(now, room, &user) {
            self.event(Event::Knocked { room, user });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grp_8_who_knocks_on_is_told_of_once_and_a_server_cannot_fill_the_screen() {
        let mut door = Door::default();
        let room = |number: u8| RoomId::from_bytes([number; 16]);
        let ada: UserId = "ada@x".parse().unwrap();
        assert!(door.is_news(Time::ZERO, room(0), &ada));
        assert!(!door.is_news(Time::ZERO, room(0), &ada));
        assert!(door.is_news(Time::from_millis(1), room(1), &ada));
        let told = (2..=u8::MAX).filter(|number| door.is_news(Time::from_millis(2), room(*number), &ada)).count();
        assert_eq!(told, MAX_HEARD - 2);
        assert!(door.is_news(Time::ZERO + KNOCK_LIFETIME, room(0), &ada), "she asks anew");
    }
}
