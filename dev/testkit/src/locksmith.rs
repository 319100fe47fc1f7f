//! A locksmith who has everything a server has: its memory, every file of its folder, and every packet its relay took. Tries all
//! runs of bytes as the key of a packet, or as what that key is derived from.

mod image;
mod keyhole;

use std::path::Path;

use undertone_media::packet::HEADER_LENGTH;
use undertone_media::sframe::{Header, Opener, SframeKey};
use undertone_media::{MediaHeader, packet};

pub use self::image::Image;
pub use self::keyhole::{Keyhole, Shape, Tried};

/// The packets of a tap file.
///
/// # Errors
/// The file system's own.
pub fn packets(tap: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(tap)?;
    let (mut rest, mut packets) = (bytes.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((packet, after)) = after.get(16..).and_then(|after| after.split_at_checked(length)) else { break };
        packets.push(packet.to_vec());
        rest = after;
    }
    Ok(packets)
}

/// Writes packets as a tap file has them, with zeros for the room: for whoever is to try some of a tap.
///
/// # Errors
/// The file system's own.
pub fn write(path: &Path, packets: &[Vec<u8>]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for packet in packets {
        bytes.extend_from_slice(&u32::try_from(packet.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(packet);
    }
    std::fs::write(path, bytes)
}

/// How many keys were tried, and whether one fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Runs of 32 bytes.
    pub tried: usize,
    /// Whether one of them opened the packet.
    pub opened: bool,
}

/// Tries every run of 32 bytes in every file of `folder` on one packet of a call.
///
/// # Errors
/// The file system's own.
pub fn try_folder(folder: &Path, packet: &[u8], call: &[u8; 16]) -> std::io::Result<Attempt> {
    let mut attempt = Attempt { tried: 0, opened: false };
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            for key in std::fs::read(entry.path())?.windows(32).filter(|key| key.iter().any(|byte| *byte != 0)) {
                attempt.tried += 1;
                attempt.opened |= opens(key, packet, call);
            }
        }
    }
    Ok(attempt)
}

/// Whether `key` is the SFrame base key of this packet.
#[must_use]
pub fn opens(key: &[u8], packet: &[u8], call: &[u8; 16]) -> bool {
    let Ok((media, sealed)) = MediaHeader::decode(packet) else { return false };
    let Ok((header, length)) = Header::decode(sealed) else { return false };
    let kind = if media.kind == packet::Kind::Audio { 0 } else { 1 };
    let metadata = [&[undertone_media::frame::FORMAT, kind, media.codec.0], call.as_slice()].concat();
    let mut copy = packet.get(HEADER_LENGTH..).unwrap_or_default().to_vec();
    Opener::new(SframeKey::derive(key, header.key_id)).open(header, length, &metadata, &mut copy).is_ok()
}

#[cfg(test)]
mod tests {
    use undertone_media::packet::{Codec, Flags, Kind};
    use undertone_media::sframe::Sealer;

    use super::*;

    #[test]
    fn the_locksmith_finds_a_key_that_lies_about() {
        let (call, key) = ([4; 16], [0x5a; 32]);
        let media = MediaHeader {
            flags: Flags::default(),
            kind: Kind::Audio,
            codec: Codec::OPUS_32K,
            stream: 0,
            fec_ratio: 0,
            sequence: 0,
            timestamp_ms: 0,
            fec_block: 0,
        };
        let mut sealed = [0; 200];
        let metadata = [&[1, 0, 6], call.as_slice()].concat();
        let length = Sealer::new(SframeKey::derive(&key, 1)).seal(&metadata, &[b"sound"], &mut sealed).unwrap();
        let packet = [media.encode().as_slice(), &sealed[..length]].concat();
        let folder = crate::Folder::new("locksmith").unwrap();
        std::fs::write(folder.join("other"), [7; 500]).unwrap();
        assert!(!try_folder(folder.path(), &packet, &call).unwrap().opened);
        std::fs::write(folder.join("careless"), [&[1; 77], key.as_slice(), &[2; 9]].concat()).unwrap();
        assert!(try_folder(folder.path(), &packet, &call).unwrap().opened);
    }
}
