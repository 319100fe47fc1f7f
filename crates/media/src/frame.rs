//! What is inside a seal and what the seal is bound to (rule MED-7).
//!
//! Associated data, behind the SFrame header: format (1), media type (1), codec (1), call (16). The sealed text
//! begins with flags (1, zero so far), context (2) and capture time in ms (4); the payload follows.

use undertone_keys::CallId;

use crate::key_id::{Context, KeyId};
use crate::packet::{Codec, Kind};

/// The format of sealed frames; stands in the associated data, so another one does not open.
pub const FORMAT: u8 = 1;
/// Bytes in front of the payload inside the seal.
pub const INNER_LENGTH: usize = 7;

/// What a sender says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// What it carries.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// Which source it comes from.
    pub context: Context,
    /// When it was captured, in ms since the source's start.
    pub captured_ms: u32,
}

impl FrameInfo {
    pub(crate) fn inner(&self) -> [u8; INNER_LENGTH] {
        let [c0, c1] = self.context.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.captured_ms.to_be_bytes();
        [0, c0, c1, t0, t1, t2, t3]
    }
}

/// The associated data of a frame.
pub(crate) fn associated(call: &CallId, kind: Kind, codec: Codec) -> [u8; 19] {
    let mut out = [0; 19];
    let (claims, place) = out.split_at_mut(3);
    claims.copy_from_slice(&[FORMAT, kind.to_byte(), codec.0]);
    place.copy_from_slice(call.as_bytes());
    out
}

/// A frame that opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Who sealed it, as the key id says and the key proves (within the limits of MED-11).
    pub key_id: KeyId,
    /// The frame's number under its sender key: consecutive, so a gap is a loss.
    pub counter: u64,
    /// When it was captured, in ms since the source's start.
    pub captured_ms: u32,
    /// The encoded sound or picture.
    pub payload: &'b [u8],
}

impl<'b> Frame<'b> {
    /// Reads the sealed text; `None` when the frame disagrees with itself.
    pub(crate) fn parse(key_id: KeyId, counter: u64, text: &'b [u8]) -> Option<Self> {
        let (inner, payload) = text.split_first_chunk::<INNER_LENGTH>()?;
        let [flags, c0, c1, t0, t1, t2, t3] = *inner;
        let context = Context(u16::from_be_bytes([c0, c1]));
        (flags == 0 && context == key_id.context).then(|| Self {
            key_id,
            counter,
            captured_ms: u32::from_be_bytes([t0, t1, t2, t3]),
            payload,
        })
    }
}
