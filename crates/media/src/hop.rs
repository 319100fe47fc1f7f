//! Hop sealing (rule MED-8): between one member and its relay, in a room whose relay is trusted with the media.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 16 | header of the packet (MED-7), in the clear |
//! | 16 | 2 | sender index: whose frame this is |
//! | 18 | 8 | counter of this connection in this direction |
//! | 26 | n | the frame's inside (7 bytes) and its payload, sealed with AES-256-GCM |
//! | 26 + n | 16 | tag |
//!
//! The first 26 bytes are the associated data. The nonce is four zero bytes and the counter. A key belongs to one
//! connection, one direction and one grant, and the counter to the key: audio, video and data of a connection share it,
//! so that no two seals under a key share a nonce, whoever's frame it is.
//!
//! ```
//! use undertone_keys::Secret;
//! use undertone_media::hop::{Direction, HopExporter};
//! use undertone_media::packet::{Codec, Flags, Kind};
//! use undertone_media::{Context, FrameInfo, MediaHeader};
//! # let exported = || HopExporter::new(Secret::from_slice(&[7; 32]).unwrap());
//! // Both ends of one TLS session export the same bytes, and know the grant that was shown on it.
//! let (member, relay, grant) = (exported(), exported(), [1; 32]);
//! let mut sealer = member.key(Direction::ToRelay, &grant).sealer();
//! let mut opener = relay.key(Direction::ToRelay, &grant).opener();
//!
//! let header = MediaHeader { flags: Flags::default(), kind: Kind::Audio, codec: Codec::OPUS_32K, stream: 0, fec_ratio: 0,
//!     sequence: 0, timestamp_ms: 0, fec_block: 0 };
//! let info = FrameInfo { kind: Kind::Audio, codec: Codec::OPUS_32K, context: Context::MAIN_AUDIO, captured_ms: 0 };
//! let mut packet = [0; 200];
//! let length = sealer.seal(&header, 3, info, b"twenty milliseconds", &mut packet)?;
//! let opened = opener.open(&mut packet[..length])?;
//! assert_eq!((opened.sender, opened.payload), (3, b"twenty milliseconds".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security goals
//! Nobody on the network reads, changes, replays or reorders beyond the window what a member and its relay say to each
//! other; a packet that comes back in the other direction, or on another connection, does not open.
//!
//! # Not goals
//! Secrecy towards the relay, and authenticity of the sender against it: it opens everything and could say anything. That
//! is what such a room is; who wants neither asks for a blind one.

use undertone_keys::Secret;
use undertone_keys::aead::{AeadKey, NONCE_LENGTH, TAG_LENGTH};
use undertone_keys::hkdf::{Prk, Sha256};

use crate::frame::{FrameInfo, INNER_LENGTH};
use crate::key_id::{Context, SenderIndex};
use crate::labels;
use crate::packet::{HEADER_LENGTH, MediaHeader};
use crate::replay::ReplayWindow;
use crate::sframe::{MAX_FRAMES, SealError};

/// Bytes of the hop prefix behind the header.
pub const PREFIX_LENGTH: usize = 10;
/// Bytes in the clear.
const CLEAR: usize = HEADER_LENGTH + PREFIX_LENGTH;
/// Bytes that hop sealing adds to a payload.
pub const OVERHEAD: usize = CLEAR + INNER_LENGTH + TAG_LENGTH;

/// Which way packets go on a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the member to its relay.
    ToRelay,
    /// From the relay to the member.
    ToMember,
}

/// What one TLS session exports for hop keys: 32 bytes. Neither a key nor convertible into one but by [`Self::key`].
#[derive(Debug)]
pub struct HopExporter(Secret<32>);

impl HopExporter {
    /// Takes the exporter's output under the label of rule MED-8.
    #[must_use]
    pub const fn new(exported: Secret<32>) -> Self {
        Self(exported)
    }

    /// The key of one direction, for the grant with this hash.
    #[must_use]
    pub fn key(&self, direction: Direction, grant: &[u8; 32]) -> HopKey {
        let label = match direction {
            Direction::ToRelay => labels::HOP_TO_RELAY,
            Direction::ToMember => labels::HOP_TO_MEMBER,
        };
        HopKey(Prk::<Sha256>::extract(&[], &[self.0.expose()]).derive(label, &[grant]))
    }
}

/// The key of one direction of one hop. It is not a [`MediaKey`](undertone_keys::call_agreement::MediaKey): what a relay
/// holds cannot be put where a call's own key belongs.
///
/// ```compile_fail
/// # use undertone_keys::{CallId, Secret, Time};
/// # use undertone_media::hop::{Direction, HopExporter};
/// # use undertone_media::{Epoch, Ring};
/// let hop = HopExporter::new(Secret::from_slice(&[7; 32]).unwrap()).key(Direction::ToRelay, &[1; 32]);
/// Ring::new(CallId::from_bytes([1; 16])).install(Time::ZERO, Epoch(1), hop);
/// ```
///
/// The same with the key that belongs there compiles:
///
/// ```
/// # use undertone_keys::call_agreement::MediaKey;
/// # use undertone_keys::{CallId, Secret, Time};
/// # use undertone_media::{Epoch, Ring};
/// let media = MediaKey::new(Secret::from_slice(&[7; 32]).unwrap());
/// Ring::new(CallId::from_bytes([1; 16])).install(Time::ZERO, Epoch(1), media);
/// ```
#[derive(Debug)]
pub struct HopKey(Secret<32>);

impl HopKey {
    /// The end that seals. Takes the key: there is one sealer to a key, and so one counter.
    #[must_use]
    pub fn sealer(self) -> HopSealer {
        HopSealer { key: AeadKey::new(&self.0), next: 0 }
    }

    /// The end that opens.
    #[must_use]
    pub fn opener(self) -> HopOpener {
        HopOpener { key: AeadKey::new(&self.0), window: ReplayWindow::default() }
    }
}

fn nonce(counter: u64) -> [u8; NONCE_LENGTH] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = counter.to_be_bytes();
    [0, 0, 0, 0, c0, c1, c2, c3, c4, c5, c6, c7]
}

/// Seals one direction of a hop. Owns the counter.
#[derive(Debug)]
pub struct HopSealer {
    key: AeadKey,
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
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.next.to_be_bytes();
        prefix.copy_from_slice(&[s0, s1, c0, c1, c2, c3, c4, c5, c6, c7]);
        let (body, tag) = rest.split_at_mut(text);
        // Two copies of known length; byte by byte, this would cost more than the cipher.
        let (inner_out, payload_out) = body.split_at_mut(inner.len());
        inner_out.copy_from_slice(inner);
        payload_out.copy_from_slice(payload);
        let counter = self.next;
        self.next += 1;
        tag.copy_from_slice(&self.key.seal(nonce(counter), clear, body));
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

/// Opens one direction of a hop.
#[derive(Debug)]
pub struct HopOpener {
    key: AeadKey,
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
        let (sender, counter) = prefix.split_first_chunk().ok_or(HopError::Malformed)?;
        let (sender, counter) = (SenderIndex::from_be_bytes(*sender), counter.try_into().map(u64::from_be_bytes));
        let counter = counter.ok().filter(|counter| *counter < MAX_FRAMES).ok_or(HopError::Malformed)?;
        if !self.window.is_fresh(counter) {
            return Err(HopError::Replayed);
        }
        let inside = self.key.open(nonce(counter), clear, sealed).map_err(|_| HopError::Forged)?;
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
