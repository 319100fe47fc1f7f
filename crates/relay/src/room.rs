//! One room: who is in it, and what each of them is still to be sent.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use undertone_keys::sign::Signed;
use undertone_keys::{DeviceId, Time, UserId};
use undertone_media::packet::MAX_PACKET;
use undertone_media::sframe::Header;
use undertone_media::{KeyId, MediaHeader};
use undertone_protocol::control;
use undertone_protocol::grant::Rights;

use crate::rooms::ConnectionId;

/// The protection of a room whose media only members open. It has no fields, and so no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blind;

/// One member as the room sees it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) connection: ConnectionId,
    pub(crate) index: u16,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) rights: Rights,
    pub(crate) grant: Signed,
    pub(crate) join: Signed,
    pub(crate) heard: Time,
    queue: VecDeque<Bytes>,
}

impl Member {
    pub(crate) fn shown(&self) -> control::Member {
        control::Member { index: self.index, grant: self.grant.clone(), join: self.join.clone() }
    }
}

/// Somebody whose papers hold, on the way in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) connection: ConnectionId,
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    pub(crate) rights: Rights,
    pub(crate) grant: Signed,
    pub(crate) join: Signed,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It went into the queues of all others; so many old ones had to go.
    Forwarded { receivers: usize, dropped: usize },
    /// It was not a packet, too large, not the sender's own, or the sender may not speak.
    Refused,
}

/// A room of protection `P`.
#[derive(Debug)]
pub struct Room<P> {
    members: Vec<Member>,
    /// Indices are never given twice in a call (rule MED-2).
    next_index: u16,
    queue_limit: usize,
    /// Since when nobody is in.
    empty_since: Option<Time>,
    #[expect(dead_code, reason = "the type says what the room may do; Blind has nothing to say it with")]
    protection: P,
}

/// How long an empty room is kept: longer than a member tries to come back.
const KEEP_EMPTY: Duration = Duration::from_secs(120);
/// A returning device may be ahead of a relay that forgot the call, but not by more than this many joins ...
const MAX_INDEX_STEP: u16 = 4096;
/// ... nor by more than this once somebody else is in: nobody can use up the others' indices.
const MAX_INDEX_STEP_LATER: u16 = 16;

impl<P> Room<P> {
    pub(crate) const fn new(protection: P, queue_limit: usize) -> Self {
        Self { members: Vec::new(), next_index: 0, queue_limit, empty_since: None, protection }
    }

    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a join that has seen all indices below `min_index` given can be given one. 65,535 is the last that can.
    pub(crate) const fn has_index_for(&self, min_index: u16) -> bool {
        let most = if self.next_index == 0 { MAX_INDEX_STEP } else { MAX_INDEX_STEP_LATER };
        min_index.saturating_sub(self.next_index) <= most && self.next_index < u16::MAX && min_index < u16::MAX
    }

    pub(crate) fn left_at(&mut self, now: Time) {
        self.empty_since = self.members.is_empty().then_some(now);
    }

    /// Whether an empty room has been kept for long enough.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.empty_since.is_some_and(|since| now.since(since) >= KEEP_EMPTY)
    }

    /// Since when nobody is in, if nobody is.
    pub(crate) const fn empty_since(&self) -> Option<Time> {
        self.empty_since
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn member_mut(&mut self, connection: ConnectionId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.connection == connection)
    }

    /// Gives the next index, at least `min_index`, to a newcomer. `None` when there is none for it.
    pub(crate) fn enter(&mut self, newcomer: Newcomer, min_index: u16, now: Time) -> Option<u16> {
        if !self.has_index_for(min_index) {
            return None;
        }
        let index = self.next_index.max(min_index);
        self.next_index = index.checked_add(1)?;
        self.empty_since = None;
        let Newcomer { connection, user, device, rights, grant, join } = newcomer;
        let queue = VecDeque::with_capacity(self.queue_limit);
        self.members.push(Member { connection, index, user, device, rights, grant, join, heard: now, queue });
        Some(index)
    }

    pub(crate) fn leave(&mut self, connection: ConnectionId) -> Option<Member> {
        let place = self.members.iter().position(|member| member.connection == connection)?;
        Some(self.members.remove(place))
    }

    pub(crate) fn take_packet(&mut self, connection: ConnectionId) -> Option<Bytes> {
        self.member_mut(connection)?.queue.pop_front()
    }

    pub(crate) fn peek_packet(&self, connection: ConnectionId) -> Option<&Bytes> {
        self.members.iter().find(|member| member.connection == connection)?.queue.front()
    }
}

impl Room<Blind> {
    /// Puts a packet into everybody else's queue, unchanged.
    pub(crate) fn forward(&mut self, now: Time, from: ConnectionId, packet: &Bytes) -> Verdict {
        let Some(sender) = self.member_mut(from) else { return Verdict::Refused };
        sender.heard = now;
        if !sender.rights.speak || packet.len() > MAX_PACKET || sender_index(packet) != Some(sender.index) {
            return Verdict::Refused;
        }
        let (limit, mut receivers, mut dropped) = (self.queue_limit, 0, 0);
        for member in self.members.iter_mut().filter(|member| member.connection != from) {
            if member.queue.len() >= limit {
                member.queue.pop_front();
                dropped += 1;
            }
            member.queue.push_back(packet.clone());
            receivers += 1;
        }
        Verdict::Forwarded { receivers, dropped }
    }
}

/// The sender index a packet claims in the clear part of its seal.
fn sender_index(packet: &[u8]) -> Option<u16> {
    let (_, payload) = MediaHeader::decode(packet).ok()?;
    let (header, _) = Header::decode(payload).ok()?;
    KeyId::from_u64(header.key_id).map(|id| id.sender)
}
