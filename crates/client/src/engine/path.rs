//! Whether the relay can be reached, and whether the peer is there: the timers of the media path.

use core::time::Duration;

use undertone_keys::Time;

/// How often the relay is asked whether it is there.
const PING: Duration = Duration::from_secs(1);
/// No answer for this long, and the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(3);
/// The same when the signalling connection broke: the server has probably gone.
const SUSPECT: Duration = Duration::from_millis(700);
/// Pause before connecting again.
const RETRY: Duration = Duration::from_millis(300);
/// How long this device tries to come back before the call is over.
const GIVE_UP: Duration = Duration::from_secs(60);
/// A peer that hangs up leaves the room a moment before its word arrives: no alarm before that.
const GOODBYE: Duration = Duration::from_millis(800);
/// How long a peer that left without a word may take to come back. Counted only while this device is in the room.
const PEER_GRACE: Duration = Duration::from_secs(15);

/// Where this device stands with the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// A connection was asked for.
    AwaitingConnection,
    /// The join is out.
    AwaitingJoin,
    /// In the room.
    Joined,
    /// Lost; to be tried again soon.
    AwaitingRetry,
}

/// What came of time passing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PathNews {
    /// Send a ping with this clock.
    pub(super) ping: Option<u64>,
    /// The connection was just lost.
    pub(super) interrupted: bool,
    /// Connect again.
    pub(super) open: bool,
    /// The peer is gone and nothing has explained it.
    pub(super) alone: bool,
    /// This device or the peer has been away for too long.
    pub(super) given_up: bool,
}

#[derive(Debug)]
pub(super) struct Path {
    state: PathState,
    /// Since when there is no room around us.
    away_since: Option<Time>,
    retry_at: Time,
    ping_at: Time,
    heard: Time,
    patience: Duration,
    /// Since when the peer is not in the room with us, and whether that was said.
    alone_since: Option<Time>,
    alone_told: bool,
}

impl Path {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            state: PathState::AwaitingConnection,
            away_since: Some(now),
            retry_at: now,
            ping_at: now,
            heard: now,
            patience: SILENCE,
            alone_since: None,
            alone_told: false,
        }
    }

    pub(super) const fn state(&self) -> PathState {
        self.state
    }

    pub(super) const fn connected(&mut self, now: Time) {
        self.state = PathState::AwaitingJoin;
        self.heard = now;
    }

    pub(super) fn joined(&mut self, now: Time, peer_present: bool) {
        self.state = PathState::Joined;
        (self.heard, self.patience) = (now, SILENCE);
        self.ping_at = now + PING;
        self.away_since = None;
        self.alone_since = (!peer_present).then_some(now);
    }

    pub(super) const fn heard(&mut self, now: Time) {
        (self.heard, self.patience) = (now, SILENCE);
    }

    pub(super) fn peer_present(&mut self, now: Time, present: bool) {
        self.alone_told = false;
        self.alone_since = if present { None } else { Some(self.alone_since.unwrap_or(now)) };
    }

    /// The signalling connection broke: ask the relay at once.
    pub(super) fn suspect(&mut self, now: Time) {
        if self.state == PathState::Joined {
            self.ping_at = now;
            // What was heard before does not count as an answer to this question.
            (self.heard, self.patience) = (now, SUSPECT);
        }
    }

    /// The connection is gone, or did not come about.
    pub(super) fn lost(&mut self, now: Time) -> PathNews {
        if self.state == PathState::AwaitingRetry {
            return PathNews::default();
        }
        let interrupted = self.state == PathState::Joined;
        self.state = PathState::AwaitingRetry;
        self.retry_at = now + RETRY;
        self.away_since = Some(self.away_since.unwrap_or(now));
        self.alone_since = None;
        PathNews { interrupted, ..PathNews::default() }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let state = match self.state {
            PathState::AwaitingConnection => None,
            PathState::AwaitingJoin => Some(self.heard + SILENCE),
            PathState::Joined => Some(self.ping_at.min(self.heard + self.patience)),
            PathState::AwaitingRetry => Some(self.retry_at),
        };
        let away = self.away_since.map(|since| since + GIVE_UP);
        let grace = if self.alone_told { PEER_GRACE } else { GOODBYE };
        let alone = self.alone_since.map(|since| since + grace);
        [state, away, alone].into_iter().flatten().min()
    }

    pub(super) fn tick(&mut self, now: Time) -> PathNews {
        let mut news = PathNews::default();
        let away = self.away_since.is_some_and(|since| now.since(since) >= GIVE_UP);
        let alone = self.alone_since.is_some_and(|since| now.since(since) >= PEER_GRACE);
        if away || alone {
            news.given_up = true;
            return news;
        }
        if !self.alone_told && self.alone_since.is_some_and(|since| now.since(since) >= GOODBYE) {
            self.alone_told = true;
            news.alone = true;
        }
        match self.state {
            PathState::AwaitingConnection => {}
            PathState::AwaitingJoin => {
                if now.since(self.heard) >= SILENCE {
                    news = PathNews { alone: news.alone, ..self.lost(now) };
                }
            }
            PathState::Joined => {
                if now.since(self.heard) >= self.patience {
                    return PathNews { alone: news.alone, ..self.lost(now) };
                }
                if now >= self.ping_at {
                    self.ping_at = now + PING;
                    news.ping = Some(now.as_millis());
                }
            }
            PathState::AwaitingRetry => {
                if now >= self.retry_at {
                    self.state = PathState::AwaitingConnection;
                    news.open = true;
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_silent_relay_is_left_and_tried_again() {
        let mut path = Path::new(at(0));
        path.connected(at(10));
        path.joined(at(20), true);
        assert_eq!(path.tick(at(1020)).ping, Some(1020));
        path.heard(at(1030));
        assert!(!path.tick(at(4020)).interrupted);
        assert!(path.tick(at(4030)).interrupted);
        assert!(!path.tick(at(4200)).open);
        assert!(path.tick(at(4330)).open);
        assert!(!path.lost(at(5000)).interrupted);
        assert!(path.tick(at(64_030)).given_up);
    }

    #[test]
    fn a_broken_signalling_connection_makes_it_look_at_once() {
        let mut path = Path::new(at(0));
        path.connected(at(10));
        path.joined(at(20), true);
        path.suspect(at(500));
        assert_eq!(path.tick(at(500)).ping, Some(500));
        assert!(path.tick(at(1200)).interrupted);
    }

    #[test]
    fn rly_5_a_peer_that_does_not_come_back_ends_the_call_but_not_while_we_are_away() {
        let mut path = Path::new(at(0));
        path.connected(at(10));
        path.joined(at(20), true);
        path.peer_present(at(1000), false);
        path.heard(at(15_500));
        assert!(!path.tick(at(15_900)).given_up);
        assert!(path.tick(at(16_000)).given_up);
        path.peer_present(at(16_000), true);
        assert!(!path.tick(at(16_100)).given_up);
        path.peer_present(at(17_000), false);
        path.lost(at(18_000));
        assert!(!path.tick(at(40_000)).given_up);
    }
}
