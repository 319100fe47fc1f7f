//! Who sealed a frame, from which source, in which epoch (rule MED-2).

use core::fmt;

use crate::sframe::Header;

/// The number of a key epoch in full. Epochs only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sender's number within a call, given at its join and never given again.
pub type SenderIndex = u16;

/// One source of one sender: its microphone, its camera, a layer of that, a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(pub u16);

impl Context {
    /// A sender's main audio.
    pub const MAIN_AUDIO: Self = Self(0);
    /// What a host says to everybody about the room's keys.
    pub const HOST: Self = Self(0xfffe);
    /// What a member says about how it hears the others.
    pub const QUALITY: Self = Self(0xffff);
}

/// The key id in a frame's SFrame header: context << 24 | sender index << 8 | epoch mod 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// Which source.
    pub context: Context,
    /// Which sender.
    pub sender: SenderIndex,
    /// The epoch's last eight bits.
    pub epoch: u8,
}

impl KeyId {
    /// The key id of a source in an epoch.
    #[must_use]
    pub const fn new(context: Context, sender: SenderIndex, epoch: Epoch) -> Self {
        Self { context, sender, epoch: epoch.0.to_be_bytes()[3] }
    }

    /// Whether it names sound or a picture, and not what members or the host say about those.
    #[must_use]
    pub const fn is_track(self) -> bool {
        self.context.0 < Context::HOST.0
    }

    /// As the number SFrame carries.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.context.0) << 24 | u64::from(self.sender) << 8 | u64::from(self.epoch)
    }

    /// From the number SFrame carries; `None` when it has more than the 40 bits of this layout.
    #[must_use]
    pub fn from_u64(value: u64) -> Option<Self> {
        let [0, 0, 0, c1, c0, s1, s0, epoch] = value.to_be_bytes() else { return None };
        Some(Self { context: Context(u16::from_be_bytes([c1, c0])), sender: u16::from_be_bytes([s1, s0]), epoch })
    }

    /// What the header of a sealed frame says, before anything is proven.
    #[must_use]
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        Header::decode(frame).ok().and_then(|(header, _)| Self::from_u64(header.key_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn med_2_key_ids_keep_their_parts() {
        let id = KeyId::new(Context(0x0102), 0x0304, Epoch(0x1105));
        assert_eq!(id.to_u64(), 0x01_02_03_04_05);
        assert_eq!(KeyId::from_u64(id.to_u64()), Some(id));
        assert_eq!(KeyId::from_u64(1 << 40), None);
    }
}
