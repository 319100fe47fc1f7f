//! MediaPacket v2 (rule MED-7): one QUIC datagram.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | version, 2 |
//! | 1 | 1 | flags: 7 repair, 6 quality report, 5 key frame, 4 frame end, 3-0 zero |
//! | 2 | 1 | media type: 0 audio, 1 video, 2 data, 3 control |
//! | 3 | 1 | codec |
//! | 4 | 1 | stream id |
//! | 5 | 1 | FEC ratio in hundredths, at most 200 |
//! | 6 | 4 | sequence number of the stream |
//! | 10 | 4 | timestamp, ms since the stream's start |
//! | 14 | 2 | FEC block |
//! | 16 | - | payload, sealed |
//!
//! All numbers are big-endian. The header is a hint for routing: a bridge may rewrite it, and nothing that matters
//! is believed because it stands there.

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 16;
/// The only version spoken.
pub const VERSION: u8 = 2;
/// Bytes of a packet at most: what a relay accepts, whatever the path would carry.
pub const MAX_PACKET: usize = 1500;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Application data.
    Data,
    /// Control between members.
    Control,
}

impl Kind {
    /// The byte on the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Audio => 0,
            Self::Video => 1,
            Self::Data => 2,
            Self::Control => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Audio),
            1 => Some(Self::Video),
            2 => Some(Self::Data),
            3 => Some(Self::Control),
            _ => None,
        }
    }
}

/// A codec's number. A relay forwards numbers it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec(pub u8);

impl Codec {
    /// Opus at 24 kbit/s in frames of 20 ms.
    pub const OPUS_24K: Self = Self(0);
    /// Opus at 16 kbit/s in frames of 20 ms.
    pub const OPUS_16K: Self = Self(1);
    /// Opus at 32 kbit/s in frames of 20 ms.
    pub const OPUS_32K: Self = Self(6);

    /// Whether this is one of the Opus numbers: they differ in the encoder's rate only.
    #[must_use]
    pub const fn is_opus(self) -> bool {
        matches!(self.0, 0..=2 | 6..=8)
    }
}

/// The four flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// The payload repairs others.
    pub repair: bool,
    /// A quality report follows the payload.
    pub quality_report: bool,
    /// The frame can be decoded without an earlier one.
    pub key_frame: bool,
    /// The frame's last packet.
    pub frame_end: bool,
}

impl Flags {
    const fn to_byte(self) -> u8 {
        (self.repair as u8) << 7
            | (self.quality_report as u8) << 6
            | (self.key_frame as u8) << 5
            | (self.frame_end as u8) << 4
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        if byte & 0x0f != 0 {
            return None;
        }
        Some(Self {
            repair: byte & 0x80 != 0,
            quality_report: byte & 0x40 != 0,
            key_frame: byte & 0x20 != 0,
            frame_end: byte & 0x10 != 0,
        })
    }
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MediaHeader {
    /// Flags.
    pub flags: Flags,
    /// What the packet carries.
    pub kind: Kind,
    /// How it is encoded.
    pub codec: Codec,
    /// 0 for the base stream, more for its layers.
    pub stream: u8,
    /// Repair data in hundredths of the data, at most 200.
    pub fec_ratio: u8,
    /// Counts the stream's packets.
    pub sequence: u32,
    /// Milliseconds since the stream's start.
    pub timestamp_ms: u32,
    /// The FEC block.
    pub fec_block: u16,
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than a header, or a field out of its range.
    #[error("not a media packet")]
    Malformed,
    /// Another version.
    #[error("media packet of version {0}, this version speaks {VERSION}")]
    Version(u8),
}

impl MediaHeader {
    /// The header as it stands on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let [s0, s1, s2, s3] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp_ms.to_be_bytes();
        let [b0, b1] = self.fec_block.to_be_bytes();
        let (flags, kind) = (self.flags.to_byte(), self.kind.to_byte());
        [VERSION, flags, kind, self.codec.0, self.stream, self.fec_ratio, s0, s1, s2, s3, t0, t1, t2, t3, b0, b1]
    }

    /// Reads a header; the rest is the payload.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn decode(packet: &[u8]) -> Result<(Self, &[u8]), PacketError> {
        let (head, payload) = packet.split_first_chunk::<HEADER_LENGTH>().ok_or(PacketError::Malformed)?;
        let [version, flags, kind, codec, stream, fec_ratio, s0, s1, s2, s3, t0, t1, t2, t3, b0, b1] = *head;
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        if fec_ratio > 200 {
            return Err(PacketError::Malformed);
        }
        let header = Self {
            flags: Flags::from_byte(flags).ok_or(PacketError::Malformed)?,
            kind: Kind::from_byte(kind).ok_or(PacketError::Malformed)?,
            codec: Codec(codec),
            stream,
            fec_ratio,
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            timestamp_ms: u32::from_be_bytes([t0, t1, t2, t3]),
            fec_block: u16::from_be_bytes([b0, b1]),
        };
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn med_7_the_header_is_exact_to_the_byte() {
        let header = MediaHeader {
            flags: Flags { key_frame: true, frame_end: true, ..Flags::default() },
            kind: Kind::Video,
            codec: Codec(12),
            stream: 3,
            fec_ratio: 50,
            sequence: 0x0102_0304,
            timestamp_ms: 0x0506_0708,
            fec_block: 0x090a,
        };
        let bytes = [2, 0x30, 1, 12, 3, 50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        assert_eq!(header.encode(), bytes);
        assert_eq!(MediaHeader::decode(&[&bytes[..], b"rest"].concat()), Ok((header, &b"rest"[..])));
    }

    #[test]
    fn med_10_another_version_is_named() {
        assert_eq!(MediaHeader::decode(&[1; 16]), Err(PacketError::Version(1)));
    }

    proptest! {
        #[test]
        fn med_7_what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = 2; }
            if let Ok((header, payload)) = MediaHeader::decode(&bytes) {
                prop_assert_eq!([&header.encode()[..], payload].concat(), bytes);
            }
        }
    }
}
