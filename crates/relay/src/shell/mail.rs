//! What shards say to each other, and what the relay's owner says to them: letters into a box that each empties once
//! a turn. One lock and one waking for each turn and receiver, however many packets went.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mio::Waker;
use quinn_proto::{ConnectionEvent, ConnectionHandle, EndpointEvent};
use tokio::sync::oneshot;
use tracing::warn;
use undertone_keys::envelope::Address;
use undertone_keys::{RoomId, UserId};
use undertone_protocol::{Origin, OriginCounts};

use super::peer::{News, Peer};
use super::udp::Received;
use crate::rooms::{Limits, Stats};

/// Letters that wait for one shard at most before packets among them are lost, as any packet may be.
const MAX_WAITING: usize = 16_384;
/// Letters that are read in one turn: what came by the socket meanwhile does not wait for all of them.
const READ_AT_ONCE: usize = 2_048;
/// Questions that wait for one shard at most.
const MAX_QUESTIONS: usize = 1_000;

/// Where a connection has its endpoint, and its number there. It may live in another shard: the one its room is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Anchor {
    pub(super) shard: usize,
    pub(super) handle: ConnectionHandle,
}

pub(super) enum Letter {
    /// A packet for a connection that lives with the receiver.
    Packet { anchor: Anchor, event: ConnectionEvent },
    /// What the endpoint answered to one of its connections that lives with the receiver.
    Answer { anchor: Anchor, event: ConnectionEvent },
    /// What a connection tells its endpoint, which is the receiver's.
    Endpoint { handle: ConnectionHandle, event: EndpointEvent },
    /// A packet of one of the receiver's connections that came in by another's socket.
    Stray(Received),
    /// Somebody who wants to join a room of the receiver's, and what they have said so far.
    Newcomer { peer: Box<Peer>, said: Vec<News> },
    /// Who is in these rooms?
    Present { rooms: Vec<RoomId>, answer: oneshot::Sender<Vec<Vec<UserId>>> },
    /// These users' grants for this room are taken back.
    Expel { room: RoomId, users: Vec<UserId> },
    /// These devices may not act any more.
    Revoke { members: Vec<Address> },
}

impl Letter {
    /// Whether the sender of the packet in it sends it again, or does without.
    const fn may_be_lost(&self) -> bool {
        matches!(self, Self::Packet { .. } | Self::Stray(_))
    }
}

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Letter>,
    /// How many of them may be lost.
    packets: usize,
    questions: usize,
}

/// What waits for a shard, and what it last said about itself.
pub(super) struct Desk {
    waiting: Mutex<Waiting>,
    pub(super) stats: Mutex<Stats>,
    waker: Waker,
}

impl Desk {
    pub(super) fn new(waker: Waker) -> Self {
        Self { waiting: Mutex::default(), stats: Mutex::default(), waker }
    }

    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            warn!(%error, "a thread of the relay was not woken");
        }
    }

    /// Puts letters into the box; `letters` is empty after that. Returns how many of the packets were lost.
    pub(super) fn send(&self, letters: &mut Vec<Letter>) -> usize {
        let mut lost = 0;
        let mut waiting = locked(&self.waiting);
        // Whoever put the first one in has woken the receiver already.
        let wake = waiting.letters.is_empty() && !letters.is_empty();
        for letter in letters.drain(..) {
            if letter.may_be_lost() {
                if waiting.packets >= MAX_WAITING {
                    lost += 1;
                    continue;
                }
                waiting.packets += 1;
            }
            waiting.letters.push_back(letter);
        }
        drop(waiting);
        if wake {
            self.wake();
        }
        lost
    }

    /// Asks; `false` when too many questions wait already. That grants are taken back is no question: it is always heard.
    pub(super) fn ask(&self, question: Letter) -> bool {
        {
            let mut waiting = locked(&self.waiting);
            if matches!(question, Letter::Present { .. }) {
                if waiting.questions >= MAX_QUESTIONS {
                    return false;
                }
                waiting.questions += 1;
            }
            waiting.letters.push_back(question);
        }
        self.wake();
        true
    }

    /// Moves the oldest letters into `letters`, as many as a turn reads. Returns whether there are more.
    pub(super) fn take(&self, letters: &mut Vec<Letter>) -> bool {
        let mut waiting = locked(&self.waiting);
        let count = waiting.letters.len().min(READ_AT_ONCE);
        let taken = letters.len();
        letters.extend(waiting.letters.drain(..count));
        let taken = letters.get(taken..).unwrap_or_default();
        let packets = taken.iter().filter(|letter| letter.may_be_lost()).count();
        let questions = taken.iter().filter(|letter| matches!(letter, Letter::Present { .. })).count();
        waiting.packets = waiting.packets.saturating_sub(packets);
        waiting.questions = waiting.questions.saturating_sub(questions);
        !waiting.letters.is_empty()
    }
}

/// Who is connected, over all shards.
pub(super) struct Gate {
    pub(super) connections: usize,
    pub(super) most: usize,
    pub(super) origins: OriginCounts,
}

/// What the shards of a relay and its owner share.
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    pub(super) desks: Vec<Desk>,
    gate: Mutex<Gate>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("shards", &self.desks.len()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(desks: Vec<Desk>, limits: &Limits) -> Self {
        let origins = OriginCounts::new(limits.connections_per_address);
        let gate = Gate { connections: 0, most: limits.connections, origins };
        Self { stop: AtomicBool::new(false), desks, gate: Mutex::new(gate) }
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        locked(&self.gate)
    }

    /// A connection is gone for good.
    pub(super) fn left(&self, origin: &Origin) {
        let last = {
            let mut gate = self.gate();
            gate.origins.give(origin);
            gate.connections = gate.connections.saturating_sub(1);
            gate.connections == 0
        };
        if last && self.stopping() {
            self.wake();
        }
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        self.desks.iter().for_each(Desk::wake);
    }

    pub(super) fn stats(&self) -> Stats {
        let rooms = self.desks.iter().map(|desk| *locked(&desk.stats)).fold(Stats::default(), sum);
        Stats { connections: self.gate().connections as u64, ..rooms }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sum(one: Stats, other: Stats) -> Stats {
    Stats {
        received: one.received + other.received,
        queued: one.queued + other.queued,
        dropped: one.dropped + other.dropped,
        refused: one.refused + other.refused,
        excess: one.excess + other.excess,
        opened: one.opened + other.opened,
        joins: one.joins + other.joins,
        rooms: one.rooms + other.rooms,
        members: one.members + other.members,
        connections: one.connections + other.connections,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::BytesMut;

    use super::*;

    /// However many packets and questions wait for a shard, it hears whose grants are taken back, which devices are revoked,
    /// and of connections.
    #[test]
    fn dos_1_a_full_box_loses_packets_and_no_removal() {
        let poll = mio::Poll::new().unwrap();
        let desk = Desk::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let from = SocketAddr::from(([127, 0, 0, 1], 9));
        let stray = || Letter::Stray(Received { from, to: None, ecn: None, bytes: BytesMut::new() });
        let mut letters: Vec<Letter> = (0..MAX_WAITING + 10).map(|_| stray()).collect();
        assert_eq!(desk.send(&mut letters), 10);
        let ask = || {
            let (answer, present) = oneshot::channel();
            drop(present);
            desk.ask(Letter::Present { rooms: Vec::new(), answer })
        };
        assert!((0..MAX_QUESTIONS).all(|_| ask()) && !ask());
        let room = RoomId::from_bytes([1; 16]);
        assert!(desk.ask(Letter::Expel { room, users: Vec::new() }));
        assert!(desk.ask(Letter::Revoke { members: Vec::new() }));
        let mut taken = Vec::new();
        let mut turns = 1;
        while desk.take(&mut taken) {
            assert_eq!(taken.len(), READ_AT_ONCE * turns, "a turn does not read everything");
            turns += 1;
        }
        assert_eq!(taken.len(), MAX_WAITING + MAX_QUESTIONS + 2);
        assert!(matches!(taken.as_slice(), [.., Letter::Expel { .. }, Letter::Revoke { .. }]));
        assert!(desk.send(&mut vec![stray()]) == 0 && ask(), "an emptied box takes everything again");
    }
}
