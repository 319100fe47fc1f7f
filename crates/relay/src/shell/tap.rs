//! The tap: every packet a relay takes, in a file, for showing that there is nothing in it that the relay could open.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Mutex;

use tracing::warn;
use undertone_keys::RoomId;

use super::mail::locked;

/// Written by all shards; `None` once it cannot be written any more.
pub(super) struct Tap(Mutex<Option<BufWriter<File>>>);

impl Tap {
    pub(super) fn new(file: File) -> Self {
        Self(Mutex::new(Some(BufWriter::new(file))))
    }

    /// Writes a packet: length as 32 bits, big-endian, the room's id, the packet.
    pub(super) fn record(&self, room: RoomId, packet: &[u8]) {
        let mut file = locked(&self.0);
        if let Some(open) = file.as_mut()
            && write(open, room.as_bytes(), packet).is_err()
        {
            warn!("the tap file cannot be written; the tap ends");
            *file = None;
        }
    }

    pub(super) fn flush(&self) {
        if let Some(file) = locked(&self.0).as_mut() {
            let _ = file.flush();
        }
    }
}

fn write(file: &mut impl Write, room: &[u8; 16], packet: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    file.write_all(&length.to_be_bytes())?;
    file.write_all(room)?;
    file.write_all(packet)
}
