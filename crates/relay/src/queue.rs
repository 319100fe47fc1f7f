//! What waits for one receiver (rule RLY-4).

use std::collections::VecDeque;

use bytes::Bytes;

/// Packets that wait for one receiver, oldest first. Full, it loses the oldest of whoever has most in it: who sends too
/// much drowns nobody but themselves.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    packets: VecDeque<(u16, Bytes)>,
    /// How many of them are whose. Few send at a time: they are looked through.
    shares: Vec<(u16, usize)>,
}

impl Queue {
    /// Queues a packet of the sender with this index. Returns how many had to go for it.
    pub(crate) fn push(&mut self, from: u16, packet: Bytes, limit: usize) -> usize {
        match self.shares.iter_mut().find(|(sender, _)| *sender == from) {
            Some((_, share)) => *share += 1,
            None => self.shares.push((from, 1)),
        }
        let dropped = usize::from(self.packets.len() >= limit && self.drop_one());
        self.packets.push_back((from, packet));
        dropped
    }

    /// The oldest packet, if it has no more than `space` bytes.
    pub(crate) fn pop(&mut self, space: usize) -> Option<Bytes> {
        let (from, packet) = self.packets.pop_front_if(|(_, packet)| packet.len() <= space)?;
        self.give_back(from);
        Some(packet)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Of those with the largest share (what is about to come counts) the oldest packet.
    fn drop_one(&mut self) -> bool {
        let most = self.shares.iter().map(|(_, share)| *share).max().unwrap_or_default();
        let place = self.packets.iter().position(|(sender, _)| self.shares.contains(&(*sender, most)));
        let Some((sender, _)) = place.and_then(|place| self.packets.remove(place)) else { return false };
        self.give_back(sender);
        true
    }

    fn give_back(&mut self, from: u16) {
        let Some(place) = self.shares.iter().position(|(sender, _)| *sender == from) else { return };
        if let Some((_, share)) = self.shares.get_mut(place) {
            *share -= 1;
            if *share == 0 {
                self.shares.swap_remove(place);
            }
        }
    }
}
