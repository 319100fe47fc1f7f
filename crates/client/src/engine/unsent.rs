//! Signals kept while the server is away: a goodbye has nobody who would send it again.

use core::time::Duration;
use std::collections::VecDeque;

use undertone_keys::Time;
use undertone_protocol::limits::{MAX_LETTERS, MAX_LISTED};
use undertone_protocol::signal::ToServer;

/// Signals kept at most, and for how long they are worth sending.
const MAX_UNSENT: usize = 32;
const UNSENT_FOR: Duration = Duration::from_secs(20);
/// Spreads kept beside them: one key for the largest of rooms. Large as they are, they push out no goodbye.
const MAX_SPREADS: usize = MAX_LISTED.div_ceil(MAX_LETTERS);

/// What waits for the server, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unsent(VecDeque<(Time, ToServer)>);

impl Unsent {
    /// Keeps a signal; the oldest of its sort gives way when there are too many.
    pub(super) fn keep(&mut self, now: Time, message: ToServer) {
        let is_spread = |message: &ToServer| matches!(message, ToServer::Spread { .. });
        let most = if is_spread(&message) { MAX_SPREADS } else { MAX_UNSENT };
        let alike = |(_, kept): &(Time, ToServer)| is_spread(kept) == is_spread(&message);
        if self.0.iter().filter(|kept| alike(kept)).count() >= most
            && let Some(oldest) = self.0.iter().position(alike)
        {
            self.0.remove(oldest);
        }
        self.0.push_back((now, message));
    }

    /// Takes all that is still worth sending, in the order in which it was said.
    pub(super) fn take(&mut self, now: Time) -> impl Iterator<Item = ToServer> {
        self.0.drain(..).filter(move |(at, _)| now.since(*at) < UNSENT_FOR).map(|(_, message)| message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use undertone_keys::envelope::Address;
    use undertone_keys::{CallId, DeviceId, RoomId};
    use undertone_protocol::signal::Letter;

    use super::*;

    fn letter(number: u8) -> Letter {
        let to = Address { user: "ada@x".parse().unwrap(), device: DeviceId::from_bytes([number; 16]) };
        Letter { to, envelope: vec![number] }
    }

    fn spread(number: u8) -> ToServer {
        let (call, room) = (CallId::from_bytes([1; 16]), RoomId::from_bytes([2; 16]));
        ToServer::Spread { call, room, letters: vec![letter(number)] }
    }

    fn goodbye(number: u8) -> ToServer {
        let Letter { to, envelope } = letter(number);
        ToServer::Send { to, call: CallId::from_bytes([1; 16]), envelope }
    }

    #[test]
    fn grp_5_spreads_that_wait_for_the_server_push_out_no_goodbye() {
        let (mut unsent, now) = (Unsent::default(), Time::from_millis(0));
        unsent.keep(now, goodbye(0));
        (0..100).for_each(|number| unsent.keep(now, spread(number)));
        unsent.keep(now, goodbye(1));
        let newest = (84..100).map(spread);
        let expected: Vec<ToServer> = [goodbye(0)].into_iter().chain(newest).chain([goodbye(1)]).collect();
        assert_eq!(unsent.take(now).collect::<Vec<_>>(), expected);
        assert!(unsent.is_empty());

        // Nor do other signals push out a key.
        unsent.keep(now, spread(0));
        (0..100).for_each(|number| unsent.keep(now, goodbye(number)));
        let expected: Vec<ToServer> = [spread(0)].into_iter().chain((68..100).map(goodbye)).collect();
        assert_eq!(unsent.take(now).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_waited_for_too_long_is_not_sent() {
        let mut unsent = Unsent::default();
        unsent.keep(Time::from_millis(0), spread(0));
        unsent.keep(Time::from_millis(1), goodbye(1));
        assert_eq!(unsent.take(Time::from_millis(20_000)).collect::<Vec<_>>(), [goodbye(1)]);
    }
}
