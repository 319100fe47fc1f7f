//! The control stream of a relay connection: the first bidirectional stream, opened by the member. Each message is
//! its length as 16 bits, big-endian, and one structure in deterministic CBOR.

use minicbor::{Decode, Encode};
use undertone_keys::cbor;
use undertone_keys::sign::Signed;

use crate::limits::MAX_CONTROL;

/// A member as the relay shows it to the others, who verify grant and join themselves.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// Its sender index.
    #[n(0)]
    pub index: u16,
    /// The signed [`crate::Grant`] it came with.
    #[n(1)]
    pub grant: Signed,
    /// The signed [`crate::Join`] it came with.
    #[n(2)]
    pub join: Signed,
}

/// Why a relay lets nobody in, or somebody go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// Another version; the relay's stands in the message.
    #[n(1)]
    Version,
    /// Bytes that are no message, or one out of turn.
    #[n(2)]
    Malformed,
    /// The grant is forged, expired or not this device's.
    #[n(3)]
    Grant,
    /// The join does not belong to the grant or this connection.
    #[n(4)]
    Join,
    /// The room or the relay is full.
    #[n(5)]
    Full,
    /// The same device joined anew.
    #[n(6)]
    Replaced,
    /// It answered nothing for too long.
    #[n(7)]
    Silent,
    /// It left.
    #[n(8)]
    Left,
    /// This relay has no such protection.
    #[n(9)]
    Protection,
    /// The relay goes down.
    #[n(10)]
    ShuttingDown,
    /// Somebody who may removed it.
    #[n(11)]
    Removed,
    /// Its user revoked the device.
    #[n(12)]
    Revoked,
}

impl Refusal {
    /// A sentence for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "relay and client speak different versions",
            Self::Malformed => "the relay could not read a message",
            Self::Grant => "the relay did not accept the grant",
            Self::Join => "the relay did not accept the signed join",
            Self::Full => "the room is full",
            Self::Replaced => "the same device joined again",
            Self::Silent => "no answer for too long",
            Self::Left => "left",
            Self::Protection => "the relay does not offer the protection asked for",
            Self::ShuttingDown => "the relay is shutting down",
            Self::Removed => "removed by somebody who may",
            Self::Revoked => "this device was revoked",
        }
    }
}

/// From a member to the relay.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ToRelay {
    /// First of all.
    #[n(0)]
    Join {
        /// [`crate::VERSION`].
        #[n(0)]
        version: u16,
        /// Signed [`crate::Grant`].
        #[n(1)]
        grant: Signed,
        /// Signed [`crate::Join`].
        #[n(2)]
        join: Signed,
    },
    /// Still here; `sent_ms` is the member's own clock and comes back in the answer.
    #[n(1)]
    Ping {
        /// The member's clock.
        #[n(0)]
        sent_ms: u64,
    },
    /// Goes, and says so.
    #[n(2)]
    Leave,
    /// Put a member out of the room. Its user comes back with a grant that is newer than this alone. For those whose
    /// grant says `moderate`; from others it is nothing.
    #[n(3)]
    Remove {
        /// Whom.
        #[n(0)]
        index: u16,
    },
    /// Forward nothing of a member's, or forward it again. For those whose grant says `moderate`.
    #[n(4)]
    Mute {
        /// Whom.
        #[n(0)]
        index: u16,
        /// Whether it is to be silent.
        #[n(1)]
        muted: bool,
    },
}

/// From the relay to a member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ToMember {
    /// In.
    #[n(0)]
    Joined {
        /// The member's own sender index.
        #[n(0)]
        index: u16,
        /// Everybody else, or as many as fit into this message.
        #[n(1)]
        members: Vec<Member>,
        /// How many others are in: those beyond `members` follow at once, each in a [`ToMember::Arrived`].
        #[n(2)]
        others: u16,
    },
    /// Not in, or out.
    #[n(1)]
    Refused {
        /// Why.
        #[n(0)]
        reason: Refusal,
        /// The version the relay speaks.
        #[n(1)]
        version: u16,
    },
    /// Somebody joined.
    #[n(2)]
    Arrived {
        /// Who.
        #[n(0)]
        member: Member,
    },
    /// Somebody is gone.
    #[n(3)]
    Gone {
        /// Who.
        #[n(0)]
        index: u16,
        /// Why.
        #[n(1)]
        reason: Refusal,
    },
    /// The answer to a ping.
    #[n(4)]
    Pong {
        /// The ping's clock.
        #[n(0)]
        sent_ms: u64,
    },
    /// A member was silenced, or may be heard again.
    #[n(5)]
    Muted {
        /// Whom.
        #[n(0)]
        index: u16,
        /// Whether the relay forwards nothing of it.
        #[n(1)]
        muted: bool,
    },
    /// In a hop room: this connection's next epoch, in which the relay seals and the member is to seal from now on
    /// (rule MED-8). Each is named, in order, and the first of a connection is 0 without a word.
    #[n(6)]
    HopEpoch {
        /// Which.
        #[n(0)]
        epoch: u32,
        /// Whether it begins since somebody is gone: the one before then opens for a short while only (rule GRP-4).
        #[n(1)]
        removed: bool,
    },
}

/// A message with its length in front; `None` when it is longer than [`MAX_CONTROL`].
fn framed(body: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok().filter(|length| usize::from(*length) <= MAX_CONTROL)?;
    Some([&length.to_be_bytes(), body].concat())
}

/// Bytes that are no control message, or too long for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a control message")]
pub struct Malformed;

/// Collects a stream's bytes into messages.
#[derive(Debug, Default)]
pub struct Unframer {
    buffer: Vec<u8>,
    /// Up to here it was read.
    read: usize,
}

impl Unframer {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        // Once for each piece that comes, not for each message in it.
        self.buffer.drain(..core::mem::take(&mut self.read));
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets what has come: nobody wants it any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next whole message's body, if it is all there.
    ///
    /// # Errors
    /// [`Malformed`] when the next message would be empty or too long: the stream cannot go on.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let unread = self.buffer.get(self.read..).unwrap_or_default();
        let Some((length, rest)) = unread.split_first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > MAX_CONTROL {
            return Err(Malformed);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.read += 2 + length;
        Ok(Some(body.to_vec()))
    }
}

macro_rules! message {
    ($name:ident) => {
        impl $name {
            /// The message with its length in front; `None` when it is longer than [`MAX_CONTROL`].
            #[must_use]
            pub fn frame(&self) -> Option<Vec<u8>> {
                framed(&cbor::encode(self))
            }

            /// Reads a message's body.
            ///
            /// # Errors
            /// [`Malformed`].
            pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
                cbor::decode(body).map_err(|_| Malformed)
            }
        }
    };
}
message!(ToRelay);
message!(ToMember);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cutting_of_the_stream() {
        let messages = [ToRelay::Ping { sent_ms: 1 }, ToRelay::Leave, ToRelay::Ping { sent_ms: u64::MAX }];
        let stream: Vec<u8> = messages.iter().filter_map(ToRelay::frame).flatten().collect();
        for size in 1..stream.len() {
            let (mut unframer, mut read) = (Unframer::default(), Vec::new());
            for piece in stream.chunks(size) {
                unframer.push(piece);
                while let Some(body) = unframer.next_message().unwrap() {
                    read.push(ToRelay::decode(&body).unwrap());
                }
            }
            assert_eq!(read, messages);
        }
    }

    #[test]
    fn a_message_too_long_ends_the_stream() {
        let mut unframer = Unframer::default();
        unframer.push(&[0xff, 0xff]);
        assert_eq!(unframer.next_message(), Err(Malformed));
        let mut unframer = Unframer::default();
        unframer.push(&[0; 100]);
        assert_eq!(unframer.next_message(), Err(Malformed), "nor is there an empty one");
    }

    #[test]
    fn med_8_hop_epochs_are_named_to_the_byte() {
        let message = ToMember::HopEpoch { epoch: 257, removed: true };
        let framed = message.frame().unwrap();
        assert_eq!(framed, [0, 6, 0x83, 0x06, 0x19, 0x01, 0x01, 0xf5]);
        assert_eq!(ToMember::decode(&framed[2..]), Ok(message));
    }
}
