//! Hop sealing (rule MED-8): between one member and its relay, in a room whose relay is trusted with the media.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 16 | header of the packet (MED-7), in the clear |
//! | 16 | 2 | sender index: whose frame this is |
//! | 18 | 1 | epoch of this connection, modulo 256 |
//! | 19 | 7 | counter under this epoch's key |
//! | 26 | n | the frame's inside (7 bytes) and its payload, sealed with AES-256-GCM |
//! | 26 + n | 16 | tag |
//!
//! The first 26 bytes are the associated data. The nonce is four zero bytes, the epoch's byte and the counter. A key belongs
//! to one connection, one grant, one epoch and one direction, and the counter to the key: audio, video and data of a
//! connection share it, so that no two seals under a key share a nonce, whoever's frame it is. A new epoch has a new key, and
//! its counter begins at 0.
//!
//! The relay alone says when the next epoch begins ([`RelayHop::renew`]); the member follows, by the relay's word or by the
//! first packet that opens under it ([`MemberHop`]). Each epoch's keys come out of a chain that leads one way ([`HopChain`]).
//!
//! ```
//! use undertone_keys::{Secret, Time};
//! use undertone_media::hop::{HopExporter, MemberHop, RelayHop};
//! use undertone_media::packet::{Codec, Flags, Kind};
//! use undertone_media::{Context, Epoch, FrameInfo, MediaHeader};
//! # let exported = || HopExporter::new(Secret::from_slice(&[7; 32]).unwrap());
//! // Both ends of one TLS session export the same bytes, and know the grant that was shown on it.
//! let grant = [1; 32];
//! let (mut member, mut relay) = (MemberHop::new(exported().chain(grant)), RelayHop::new(exported().chain(grant)));
//!
//! let header = MediaHeader { flags: Flags::default(), kind: Kind::Audio, codec: Codec::OPUS_32K, stream: 0, fec_ratio: 0,
//!     sequence: 0, timestamp_ms: 0, fec_block: 0 };
//! let info = FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };
//! let mut packet = [0; 200];
//! let length = member.seal(&header, 3, info, b"twenty milliseconds", &mut packet)?;
//! // What is on its way when the relay renews its epoch opens all the same.
//! assert_eq!(relay.renew(Time::ZERO, false), Epoch(1));
//! let opened = relay.open(Time::ZERO, &mut packet[..length])?;
//! assert_eq!((opened.sender, opened.payload), (3, b"twenty milliseconds".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security goals
//! * Nobody on the network reads, changes, replays or reorders beyond the window what a member and its relay say to each
//!   other; a packet that comes back in the other direction, on another connection or under another epoch does not open.
//! * Whoever holds the keys of one epoch opens nothing of an earlier one.
//! * Bytes that anybody can forge move no epoch, and cost no derivation.
//!
//! # Not goals
//! Secrecy towards the relay, and authenticity of the sender against it: it opens everything and could say anything. That
//! is what such a room is; who wants neither asks for a blind one. Nor does a chain help against whoever takes the memory of
//! a connection that stands: the TLS session in it can export the chain's beginning again.

mod chain;
mod member;
mod openers;
mod relay;

use undertone_keys::aead::{AeadKey, NONCE_LENGTH, TAG_LENGTH};

use crate::frame::{FrameInfo, INNER_LENGTH};
use crate::key_id::{Context, SenderIndex};
use crate::packet::{HEADER_LENGTH, MediaHeader};
use crate::replay::ReplayWindow;
use crate::sframe::{MAX_FRAMES, SealError};

pub use chain::{Direction, HopChain, HopExporter, HopKey, HopKeys};
pub use member::{MemberHop, Skipped};
pub use relay::RelayHop;

/// Bytes of the hop prefix behind the header.
pub const PREFIX_LENGTH: usize = 10;
/// Where in a packet the epoch's byte is.
const EPOCH_AT: usize = HEADER_LENGTH + 2;
/// Bytes in the clear.
const CLEAR: usize = HEADER_LENGTH + PREFIX_LENGTH;
/// Bytes that hop sealing adds to a payload.
pub const OVERHEAD: usize = CLEAR + INNER_LENGTH + TAG_LENGTH;

/// Epoch and counter as they stand in the prefix: a byte, and seven.
const fn field(epoch: u8, counter: u64) -> [u8; 8] {
    // Counters end far below 2^56.
    let [_, c1, c2, c3, c4, c5, c6, c7] = counter.to_be_bytes();
    [epoch, c1, c2, c3, c4, c5, c6, c7]
}

const fn nonce(field: [u8; 8]) -> [u8; NONCE_LENGTH] {
    let [epoch, c1, c2, c3, c4, c5, c6, c7] = field;
    [0, 0, 0, 0, epoch, c1, c2, c3, c4, c5, c6, c7]
}

/// The epoch that a packet says it is of, modulo 256; anybody can write anything there.
fn claimed_epoch(packet: &[u8]) -> Option<u8> {
    packet.get(EPOCH_AT).copied()
}

/// Seals one direction of a hop in one epoch. Owns the counter.
#[derive(Debug)]
pub struct HopSealer {
    key: AeadKey,
    epoch: u8,
    next: u64,
}

impl HopSealer {
    /// Seals a frame of `sender` into the front of `out` and returns the packet's length.
    ///
    /// # Errors
    /// [`SealError`]; the counter then stays where it was.
    pub fn seal(
        &mut self,
        header: &MediaHeader,
        sender: SenderIndex,
        info: FrameInfo,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        self.seal_inside(header, sender, &info.inner(), payload, out)
    }

    /// Seals what another hop's opener brought to light, unchanged: what a relay does.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn forward(&mut self, opened: &Opened<'_>, out: &mut [u8]) -> Result<usize, SealError> {
        self.seal_inside(&opened.header, opened.sender, &[], opened.inside, out)
    }

    fn seal_inside(
        &mut self,
        header: &MediaHeader,
        sender: SenderIndex,
        inner: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        if self.next >= MAX_FRAMES {
            return Err(SealError::Exhausted);
        }
        let text = inner.len() + payload.len();
        let total = CLEAR + text + TAG_LENGTH;
        let out = out.get_mut(..total).ok_or(SealError::Buffer)?;
        let (clear, rest) = out.split_at_mut(CLEAR);
        let (head, prefix) = clear.split_at_mut(HEADER_LENGTH);
        head.copy_from_slice(&header.encode());
        let [s0, s1] = sender.to_be_bytes();
        let field = field(self.epoch, self.next);
        let [f0, f1, f2, f3, f4, f5, f6, f7] = field;
        prefix.copy_from_slice(&[s0, s1, f0, f1, f2, f3, f4, f5, f6, f7]);
        let (body, tag) = rest.split_at_mut(text);
        // Two copies of known length; byte by byte, this would cost more than the cipher.
        let (inner_out, payload_out) = body.split_at_mut(inner.len());
        inner_out.copy_from_slice(inner);
        payload_out.copy_from_slice(payload);
        self.next += 1;
        tag.copy_from_slice(&self.key.seal(nonce(field), clear, body));
        Ok(total)
    }
}

/// Why a packet of a hop did not open. None of these ends a stream (rule MED-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HopError {
    /// Not a packet, or one that disagrees with itself.
    #[error("not a packet of a hop")]
    Malformed,
    /// No key of its epoch opens this kind now: too early, too late, or nobody's.
    #[error("no key for the epoch of this packet")]
    UnknownEpoch,
    /// Opened before, or too old to tell.
    #[error("a replay")]
    Replayed,
    /// The tag does not match.
    #[error("the packet does not open")]
    Forged,
}

/// What a hop's packet brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'b> {
    /// The header, now known to be the sealer's.
    pub header: MediaHeader,
    /// Whose frame it is, as the other end of this hop says.
    pub sender: SenderIndex,
    /// Which of its sources.
    pub context: Context,
    /// When it was captured, in ms since the source's start.
    pub captured_ms: u32,
    /// The encoded sound or picture.
    pub payload: &'b [u8],
    /// Everything that was sealed.
    inside: &'b [u8],
}

/// Opens one direction of a hop in one epoch.
#[derive(Debug)]
pub struct HopOpener {
    key: AeadKey,
    epoch: u8,
    window: ReplayWindow,
}

impl HopOpener {
    /// Opens a packet where it stands.
    ///
    /// # Errors
    /// [`HopError`]; on any of them the bytes in `packet` are not text.
    pub fn open<'b>(&mut self, packet: &'b mut [u8]) -> Result<Opened<'b>, HopError> {
        let (clear, sealed) = packet.split_first_chunk_mut::<CLEAR>().ok_or(HopError::Malformed)?;
        let (header, prefix) = MediaHeader::decode(clear).map_err(|_| HopError::Malformed)?;
        let [s0, s1, epoch, c1, c2, c3, c4, c5, c6, c7] = *prefix.first_chunk().ok_or(HopError::Malformed)?;
        if epoch != self.epoch {
            return Err(HopError::UnknownEpoch);
        }
        let (sender, counter) = (SenderIndex::from_be_bytes([s0, s1]), [0, c1, c2, c3, c4, c5, c6, c7]);
        let counter = u64::from_be_bytes(counter);
        if counter >= MAX_FRAMES {
            return Err(HopError::Malformed);
        }
        if !self.window.is_fresh(counter) {
            return Err(HopError::Replayed);
        }
        let inside = self.key.open(nonce(field(epoch, counter)), clear, sealed).map_err(|_| HopError::Forged)?;
        self.window.mark(counter);
        let inside: &'b [u8] = inside;
        let (inner, payload) = inside.split_first_chunk::<INNER_LENGTH>().ok_or(HopError::Malformed)?;
        let [flags, c0, c1, t0, t1, t2, t3] = *inner;
        if flags != 0 {
            return Err(HopError::Malformed);
        }
        let context = Context(u16::from_be_bytes([c0, c1]));
        let captured_ms = u32::from_be_bytes([t0, t1, t2, t3]);
        Ok(Opened { header, sender, context, captured_ms, payload, inside })
    }
}

#[cfg(test)]
mod tests;
