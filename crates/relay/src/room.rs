//! One room, by who can open its media: two types, and the second alone can hold a key.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use undertone_keys::{CallId, Time};
use undertone_media::hop::{HopChain, HopError, RelayHop};
use undertone_media::packet::{Kind, MAX_PACKET};
use undertone_media::sframe::Header;
use undertone_media::{Epoch, KeyId, MediaHeader};
use undertone_protocol::limits::CONTROL_PACKET;
use zeroize::Zeroize;

use crate::rooms::{ConnectionId, Limits};
use crate::roster::{Roster, Seat};

/// The protection of a room whose media only members open. It has no fields, and so no key (rule RLY-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blind;

/// The protection of a room of one, whose packets come back as they are. It has no fields either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo;

/// The protection of a room whose relay opens each packet and seals it anew for each receiver (rules RLY-3, MED-8).
#[derive(Debug, Default)]
pub struct Hop {
    /// In the order of the roster's seats: one packet goes to all of them, and nobody has to be looked up for it.
    sessions: Vec<Session>,
    /// Where a packet is opened; wiped after it was sealed for everybody.
    opened: Vec<u8>,
}

/// The keys of one member's connection.
#[derive(Debug)]
struct Session {
    connection: ConnectionId,
    hop: RelayHop,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It went into the queues of all it is for; so many old ones had to go.
    Forwarded { receivers: usize, dropped: usize },
    /// It was not a packet, too large, not the sender's own, did not open, or the sender may not speak.
    Refused,
    /// Its sender sends more than a member may (rule DOS-1). Nothing was done for it.
    Excess,
}

/// A room of protection `P`.
#[derive(Debug)]
pub struct Room<P> {
    pub(crate) roster: Roster,
    protection: P,
}

impl<P: Default> Room<P> {
    pub(crate) fn new(call: CallId, limits: Limits, now: Time) -> Self {
        Self { roster: Roster::new(call, limits, now), protection: P::default() }
    }
}

impl<P> Room<P> {
    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster.seats().len()
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sender's seat, if it may send this now. What is refused is paid for like everything else.
    fn sender(&mut self, now: Time, from: ConnectionId, packet: &Bytes) -> Result<&mut Seat, Verdict> {
        let (seat, enough) = self.roster.pay(from, now, packet.len()).ok_or(Verdict::Refused)?;
        if !enough {
            return Err(Verdict::Excess);
        }
        if packet.len() > MAX_PACKET {
            return Err(Verdict::Refused);
        }
        if seat.rights.speak && !seat.muted {
            return Ok(seat);
        }
        // Nobody in the audience has anything for everybody: thousands who say how they hear are more than what they hear.
        if seat.audience {
            return Err(Verdict::Refused);
        }
        // Who may not speak still shows that it is there and says how it hears the others. What calls itself control and is
        // sound is of no use to its sender: members play by the kind that stands in the seal's associated data, the header's
        // own, and play nothing of this one.
        if !is_control(packet) {
            return Err(Verdict::Refused);
        }
        if seat.pay_control() { Ok(seat) } else { Err(Verdict::Excess) }
    }
}

impl Room<Blind> {
    /// Puts a packet into everybody else's queue, unchanged. Whose queue was empty is `ready`.
    pub(crate) fn forward(
        &mut self,
        now: Time,
        from: ConnectionId,
        packet: &Bytes,
        ready: &mut VecDeque<ConnectionId>,
    ) -> Verdict {
        let index = match self.sender(now, from, packet) {
            Ok(seat) => seat.index,
            Err(verdict) => return verdict,
        };
        if sender_index(packet) != Some(index) {
            return Verdict::Refused;
        }
        if !self.roster.may_deliver(from, now, self.len().saturating_sub(1)) {
            return Verdict::Excess;
        }
        let (limit, mut receivers, mut dropped) = (self.roster.queue_limit(), 0, 0);
        let packet = alone(packet);
        for seat in self.roster.seats_mut().iter_mut().filter(|seat| seat.connection != from) {
            dropped += seat.queue(index, packet.clone(), limit, ready);
            receivers += 1;
        }
        Verdict::Forwarded { receivers, dropped }
    }
}

impl Room<Echo> {
    /// Puts a packet into its sender's own queue, unchanged.
    pub(crate) fn forward(
        &mut self,
        now: Time,
        from: ConnectionId,
        packet: &Bytes,
        ready: &mut VecDeque<ConnectionId>,
    ) -> Verdict {
        let limit = self.roster.queue_limit();
        match self.sender(now, from, packet) {
            Ok(seat) if sender_index(packet) == Some(seat.index) => {
                Verdict::Forwarded { receivers: 1, dropped: seat.queue(seat.index, alone(packet), limit, ready) }
            }
            Ok(_) => Verdict::Refused,
            Err(verdict) => verdict,
        }
    }
}

impl Room<Hop> {
    /// Gives the member that entered last its keys: a chain of what its connection's TLS session exports, bound to its grant.
    pub(crate) fn admit(&mut self, connection: ConnectionId, chain: HopChain) {
        self.protection.sessions.push(Session { connection, hop: RelayHop::new(chain) });
    }

    /// Wipes the keys of a connection that is gone.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.protection.sessions.retain(|session| session.connection != connection);
    }

    /// Begins the next epoch of every connection (rule MED-8), since somebody is gone or for another reason. Each is to be told
    /// which one it is in.
    pub(crate) fn renew(&mut self, now: Time, removed: bool) -> impl Iterator<Item = (ConnectionId, Epoch)> {
        self.protection.sessions.iter_mut().map(move |session| (session.connection, session.hop.renew(now, removed)))
    }

    /// Wipes the keys of epochs that have outlived their time.
    pub(crate) fn expire(&mut self, now: Time) {
        self.protection.sessions.iter_mut().for_each(|session| session.hop.expire(now));
    }

    /// Opens a packet once and puts it, sealed anew for each, into everybody else's queue. Whose queue was empty is `ready`.
    pub(crate) fn forward(
        &mut self,
        now: Time,
        from: ConnectionId,
        packet: &Bytes,
        ready: &mut VecDeque<ConnectionId>,
    ) -> Verdict {
        let index = match self.sender(now, from, packet) {
            Ok(seat) => seat.index,
            Err(verdict) => return verdict,
        };
        let others = self.len().saturating_sub(1);
        let Hop { sessions, opened: buffer } = &mut self.protection;
        buffer.clear();
        buffer.extend_from_slice(packet);
        // The sessions are in the order of the seats.
        let session = self.roster.place(from).and_then(|place| sessions.get_mut(place));
        let session = session.filter(|session| session.connection == from);
        let opened = session.ok_or(HopError::Forged).and_then(|session| session.hop.open(now, buffer));
        let verdict = match opened {
            Ok(opened) if opened.sender == index && !self.roster.may_deliver(from, now, others) => Verdict::Excess,
            Ok(opened) if opened.sender == index => {
                let (limit, mut receivers, mut dropped) = (self.roster.queue_limit(), 0, 0);
                for (seat, session) in self.roster.seats_mut().iter_mut().zip(sessions) {
                    if seat.connection == from || seat.connection != session.connection {
                        continue;
                    }
                    // As long as it came: the hops differ in nothing but keys and counters.
                    let mut sealed = BytesMut::zeroed(packet.len());
                    // A key that is used up seals no more, until the next epoch.
                    if session.hop.forward(&opened, &mut sealed).is_ok() {
                        dropped += seat.queue(index, sealed.freeze(), limit, ready);
                        receivers += 1;
                    }
                }
                Verdict::Forwarded { receivers, dropped }
            }
            Ok(_) | Err(_) => Verdict::Refused,
        };
        buffer.zeroize();
        verdict
    }
}

/// The packet in memory of its own. As it came it is a slice of everything that was read at once, and would keep all of that
/// for as long as it waits: a few bytes in a queue would stand for tens of thousands.
fn alone(packet: &Bytes) -> Bytes {
    Bytes::copy_from_slice(packet)
}

/// Whether this is a control packet that is small enough for whoever may not speak.
fn is_control(packet: &[u8]) -> bool {
    packet.len() <= CONTROL_PACKET && MediaHeader::decode(packet).is_ok_and(|(header, _)| header.kind == Kind::Control)
}

/// The sender index a packet claims in the clear part of its seal.
fn sender_index(packet: &[u8]) -> Option<u16> {
    let (_, payload) = MediaHeader::decode(packet).ok()?;
    let (header, _) = Header::decode(payload).ok()?;
    KeyId::from_u64(header.key_id).map(|id| id.sender)
}
