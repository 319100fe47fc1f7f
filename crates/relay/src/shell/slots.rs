//! The connections that live in a shard, and when to look at them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::mail::Anchor;
use super::peer::Peer;
use crate::rooms::ConnectionId;

/// When a connection wants to be looked at, the soonest first.
type Timers = BinaryHeap<Reverse<(Instant, usize)>>;

#[derive(Default)]
pub(super) struct Slots {
    peers: Vec<Option<Box<Peer>>>,
    free: Vec<usize>,
    by_id: FxHashMap<ConnectionId, usize>,
    /// Those whose endpoint is another shard's.
    guests: HashMap<Anchor, usize>,
    timers: Timers,
    touched: Vec<usize>,
}

impl Slots {
    /// Takes a connection in, whose number is new. Its endpoint is another shard's if it is a guest.
    pub(super) fn insert(&mut self, peer: Box<Peer>, guest: bool) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.peers.len() - 1
        });
        self.by_id.insert(peer.id, slot);
        if guest {
            self.guests.insert(peer.anchor, slot);
        }
        if let Some(place) = self.peers.get_mut(slot) {
            *place = Some(peer);
        }
        self.touch(slot);
        slot
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Box<Peer>> {
        let peer = self.peers.get_mut(slot)?.take()?;
        self.by_id.remove(&peer.id);
        if self.guests.get(&peer.anchor) == Some(&slot) {
            self.guests.remove(&peer.anchor);
        }
        self.free.push(slot);
        Some(peer)
    }

    pub(super) fn get(&mut self, slot: usize) -> Option<&mut Peer> {
        self.peers.get_mut(slot)?.as_deref_mut()
    }

    pub(super) fn of(&self, connection: ConnectionId) -> Option<usize> {
        self.by_id.get(&connection).copied()
    }

    pub(super) fn guest(&self, anchor: Anchor) -> Option<usize> {
        self.guests.get(&anchor).copied()
    }

    /// Has this turn of the loop look at a connection.
    pub(super) fn touch(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_deref_mut)
            && !core::mem::replace(&mut peer.touched, true)
        {
            self.touched.push(slot);
        }
    }

    /// The slots to look at, some of them perhaps empty by now. Nothing is touched any more.
    pub(super) fn take_touched(&mut self) -> Vec<usize> {
        core::mem::take(&mut self.touched)
    }

    /// Gives back what was taken, where nothing was touched meanwhile: this turn looks at them once more.
    pub(super) fn put_back(&mut self, touched: Vec<usize>) {
        self.touched = touched;
    }

    /// Keeps a connection among the touched for the next turn.
    pub(super) fn keep_touched(&mut self, slot: usize) {
        if let Some(peer) = self.get(slot) {
            peer.touched = true;
            self.touched.push(slot);
        }
    }

    /// Writes down when to look at a connection again, if that is sooner than what stands there.
    pub(super) fn schedule(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_deref_mut)
            && let Some(at) = peer.deadline()
            && peer.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            peer.scheduled = Some(at);
            self.timers.push(Reverse((at, slot)));
        }
    }

    /// When the next one wants to be looked at.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Tells those whose time has come.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, slot))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            // Deadlines move with every packet: what was written down is when to look, not what is due, and what was
            // written down before that, or for a connection that is gone, is nothing.
            if let Some(peer) = self.get(slot)
                && peer.scheduled == Some(at)
            {
                peer.scheduled = None;
                peer.timeout(now);
                self.touch(slot);
            }
        }
    }
}
